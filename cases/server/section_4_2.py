"""RFC 7413 section 4.2: a server with Fast Open off."""

from __future__ import annotations

import functools

from tfocheck.case import (
    FastOpen,
    Level,
    Option,
    Outcome,
    Probe,
    Severity,
    case,
)


@case(
    "off.ignores-option",
    section="4.2",
    level=Level.MUST,
    severity=Severity.MINOR,
    title="Off means off",
    requirement="While FastOpenEnabled is off, a server ignores the option.",
    expected="sends no cookie and takes no data on the port where Fast Open is off",
    advice="Fast Open is served on a port where it is meant to be off: on Linux, bit 0x400 of "
    "net.ipv4.tcp_fastopen switches it on for every listener; otherwise look for a load balancer "
    "that ends connections for all ports.",
    why="Fast Open can deliver a request twice. An application that can't bear that is safe only "
    "while it stays off where nobody asked for it.",
    needs=("option.cookie-format",),
    faults=("answers-when-off",),
    option=Option.OFF_PORT,
)
async def ignores_option(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie request (to the --off-port)
    <- SYN-ACK, ack 1, no Fast Open option
    -> ACK, FIN,ACK
    -> SYN, seq 0, cookie (valid at the other port), n bytes
    <- SYN-ACK, ack 1 (the SYN alone), no Fast Open option
    -> RST,ACK (half-open)
    acknowledged with its data:
    -> SYN, seq 0, n bytes (to the same port)
    <- SYN-ACK, ack 1+n: then it is so without the option, too
    """
    port, data = probe.plan.off_port, probe.payload.data
    seen: list[str] = []

    async def send(what: str, option: FastOpen, load: bytes) -> Outcome | None:
        label = f"{what} to port {port}"
        async with probe.beside_others(label, option, data=load, port=port) as flow:
            if flow.offered is not None:
                return probe.breach(
                    f"port {port}: {what} is answered with the option", conclusive=True
                )
            if flow.acknowledged != 1:
                label = f"control: data without the option to port {port}"
                async with probe.beside_others(label, data=load, port=port) as plain:
                    is_usual = plain.acknowledged == flow.acknowledged
                if not is_usual:
                    return probe.breach(f"port {port}: {what} opens", conclusive=True)
                if await probe.application.early_answer(flow):
                    return probe.breach(
                        f"port {port}: {what} is answered before the handshake ends",
                        conclusive=True,
                    )
            as_ever = "" if flow.acknowledged == 1 else ", as without the option"
            seen.append(f"ack {flow.acknowledged} to {what}{as_ever}")
        return None

    for what, option, load in (
        ("a cookie request", FastOpen(), b""),
        ("a cookie with data", FastOpen(probe.cookie), data),
    ):
        step = functools.partial(send, what, option, load)
        outcome = await probe.cookies.persistently(step)
        if outcome is not None:
            return outcome
    return probe.passed(f"port {port}: no cookie; {', '.join(seen)}")
