"""RFC 7413 section 5.2: what a spoofed SYN makes the server send; with --intrusive."""

from __future__ import annotations

from collections.abc import Sequence

from tfocheck.case import (
    FAST_OPEN_WORKS,
    IN_TURN,
    Captured,
    FastOpen,
    Level,
    Option,
    Outcome,
    Probe,
    Turn,
    case,
)

GIVES_UP = 40.0
"""Seconds of silence after which a server has given up: its timer doubles from one second."""


@case(
    "abuse.amplification",
    section="5.2",
    level=Level.INFO,
    title="What one spoofed SYN makes the server send",
    requirement="A stolen cookie lets an attacker have the server answer somebody else "
    "(section 5.2): the fewer bytes for one SYN, the better.",
    expected="sends little for one SYN with data and then silence",
    advice="Less is sent with a smaller initial window (Linux: `ip route change ... initcwnd 4`) "
    "and fewer repetitions (net.ipv4.tcp_synack_retries), least by an application that answers a "
    "SYN briefly.",
    why="With a stolen cookie, or one shared behind a NAT, an attacker chooses who gets those "
    "bytes: this is the lever that the server lends.",
    needs=FAST_OPEN_WORKS,
    option=Option.INTRUSIVE,
    turn=Turn.INTRUSIVE,
    agree=IN_TURN,
)
async def amplification(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie (valid), n bytes
    <- SYN-ACK, ack 1+n; the answer may start
    ...we are silent until nothing has come for 40 s...
    <- SYN-ACK and data, again and again
    -> ACK, FIN,ACK
    all that came is weighed against our SYN
    """
    data = probe.payload.data
    label = "one SYN with data, then silence"
    async with probe.alone(label, FastOpen(probe.cookie), data=data) as flow:
        await probe.must_be_open(flow)
        known = 0

        def more() -> bool:
            return len(flow.received) > known

        while await flow.wait(more, GIVES_UP):
            known = len(flow.received)
        back = flow.received
        sent = _ip_bytes([captured for captured in flow.packets if captured.sent])
        received = _ip_bytes(back)
        return probe.info(
            f"{len(back)} packets, {received} bytes over {back[-1].time - back[0].time:.0f} s"
            f" for one SYN of {sent} bytes: {received / sent:.1f} times as much",
            conclusive=True,
        )


def _ip_bytes(packets: Sequence[Captured]) -> int:
    segments = [captured.segment for captured in packets]
    return sum(
        (40 if ":" in segment.source else 20) + 20 + len(segment.options) + len(segment.payload)
        for segment in segments
    )
