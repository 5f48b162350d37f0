"""RFC 7413 section 4.2.2: what is sent early keeps to windows and sizes."""

from __future__ import annotations

from tfocheck.case import (
    FAST_OPEN_WORKS,
    IN_TURN,
    INSISTENCE,
    Agreement,
    Fact,
    FastOpen,
    Flow,
    Level,
    Outcome,
    Probe,
    Severity,
    Turn,
    UnusableError,
    case,
)

RFC_3390_SEGMENTS = 4

RFC_6928_SEGMENTS = 10

HELD_MARGIN = 0.01
"""Seconds that a server on a busy machine may take to send what its client's window held back."""


def _initial_window(segments: int, mss: int) -> int:
    """The upper bound of the initial window in bytes, RFC 3390 (4 segments) or RFC 6928 (10)."""
    return min(segments * mss, max(2 * mss, 4380 if segments == RFC_3390_SEGMENTS else 14600))


@case(
    "open.initial-window",
    section="4.2.2",
    level=Level.MUST,
    severity=Severity.MAJOR,
    title="No more than an initial window before the client's ACK",
    requirement="Before the handshake ends the server sends no more than an initial window "
    "(step 6): RFC 3390's 4 segments; RFC 6928's 10 pass as well.",
    expected="sends no more than RFC 6928's initial window before our first ACK",
    advice="A spoofed SYN would make the server send a flood to its victim: limit the initial "
    "window (Linux: `ip route change ... initcwnd 10`).",
    why="Until the ACK comes the client's address may be spoofed with a stolen cookie. All that "
    "is sent before can be aimed at a victim, and the window bounds it.",
    needs=FAST_OPEN_WORKS,
    faults=("floods",),
    turn=Turn.LONG,
    agree=Agreement(together=False, need=1),
)
async def initial_window(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie (valid), n bytes
    <- SYN-ACK, ack 1+n
    <- data, together no more than RFC 6928's initial window
    ...we are silent until the SYN-ACK is repeated...
    -> ACK
    <- the rest of the answer
    -> FIN,ACK
    """
    if await probe.application.is_mute():
        probe.end(probe.skipped("the application answers nothing that could fill a window"))
    silent = await probe.silent_open()
    mss = probe.own_mss
    small, large = (_initial_window(n, mss) for n in (RFC_3390_SEGMENTS, RFC_6928_SEGMENTS))
    seen = f"{silent.early} bytes before our ACK"
    if silent.early > large:
        return probe.breach(f"{seen}: RFC 6928 allows {large}", conclusive=True)
    if silent.early > small:
        return probe.passed(f"{seen}: within RFC 6928's 10 segments, not RFC 3390's 4")
    if not silent.later:
        return probe.skipped(
            f"the whole answer has {silent.early} bytes: too short to tell"
            " (--payload FILE with a request for something long)"
        )
    return probe.passed(f"{seen}, more after it: within RFC 3390's 4 segments")


@case(
    "open.peer-mss",
    section="RFC 9293 3.7.1",
    level=Level.MUST,
    severity=Severity.MAJOR,
    title="Early data keeps to the client's MSS",
    requirement="No segment is larger than the MSS that the other side has announced.",
    expected="sends no segment with more than the 536 bytes that we announce",
    advice="The stack, or a proxy that answers in its place, must apply the SYN's MSS to early "
    "data: update it.",
    why="A client with a small MSS is behind a tunnel or a narrow link. What exceeds it gets "
    "lost, and the answer that was to come early comes late or never.",
    needs=FAST_OPEN_WORKS,
    faults=("ignores-mss",),
    agree=IN_TURN,
)
async def peer_mss(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, MSS 536, cookie (valid), n bytes
    <- SYN-ACK, ack 1+n
    <- data before and after our ACK, no segment above 536 bytes
    -> ACK, FIN,ACK
    """
    announced = 536
    if await probe.application.is_mute():
        probe.end(probe.skipped("the application answers nothing to measure"))
    data = probe.payload.data
    cookie = FastOpen(probe.cookie)
    async with probe.alone("MSS 536", cookie, data=data, mss=announced) as flow:
        await probe.must_be_open(flow)
        await probe.application.early_answer(flow)
        wrong = await probe.application.serves(flow)
        if wrong:
            raise UnusableError(wrong)
        await flow.wait(lambda: len(flow.stream) > announced, await probe.application.reply_wait())
        # What the kernel handed us as one may have been several (DESIGN: GRO, GSO).
        largest = max(
            captured.gso_size or len(captured.segment.payload) for captured in flow.received
        )
        if largest > announced:
            return probe.breach(
                f"a segment of {largest} bytes, though we announced {announced}",
                conclusive=True,
            )
        if len(flow.stream) <= announced:
            return probe.skipped(
                f"the whole answer has {len(flow.stream)} bytes: too short to tell"
            )
        return probe.passed(
            f"no segment above {largest} bytes; we announced {announced}", conclusive=True
        )


@case(
    "open.peer-window",
    section="RFC 9293 3.8.6",
    level=Level.MUST,
    severity=Severity.MAJOR,
    title="Early data keeps to the client's window",
    requirement="The server sends no more than the window of the SYN, which is never scaled "
    "(RFC 7323 section 2.2).",
    expected="sends no more than the 200 bytes of our window before our ACK",
    advice="The stack, or a proxy that answers in its place, must apply the SYN's window to early "
    "data: update it.",
    why="The client throws away what its window does not allow, and waits until it is sent again: "
    "worse than without Fast Open. Small devices announce small windows for want of memory.",
    needs=("open.early-answer",),
    faults=("ignores-window",),
    reads=(Fact.ANSWERS_EARLY,),
    agree=IN_TURN,
)
async def peer_window(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, window 200, cookie (valid), n bytes
    <- SYN-ACK, ack 1+n
    <- data, together no more than 200 bytes
    ...nothing more before our ACK...
    -> ACK, a large window
    <- the rest of the answer
    -> FIN,ACK
    """
    window = 200
    if not probe.facts.answers_early:
        probe.end(probe.skipped("no answer comes before our ACK, whatever the window"))
    data = probe.payload.data
    cookie = FastOpen(probe.cookie)
    async with probe.alone("window 200", cookie, data=data, window=window) as flow:
        await probe.must_be_open(flow)
        quiet = await probe.application.quiet()
        # The first of the segments may be the one that got lost.
        if await flow.wait(lambda: flow.reach > window, quiet):
            return probe.breach(
                f"{flow.reach} bytes before our ACK, though our window was {window}",
                conclusive=True,
            )
        early = flow.reach
        await flow.acknowledge()

        def more() -> bool:
            return len(flow.stream) > early

        if not await flow.wait(more, await probe.application.reply_wait()) and not (
            # Our ACK may have got lost, or what it brought.
            probe.has_lost
            and await probe.application.insist(flow, more, flow.acknowledge, INSISTENCE)
        ):
            return probe.skipped(f"the whole answer has {early} bytes: too short to tell")
        return probe.passed(
            f"{early} bytes before our ACK, more after it; our window was {window}",
            conclusive=_was_held(flow, early, probe.round_trips.least),
        )


def _was_held(flow: Flow, early: int, round_trip: float) -> bool:
    """Whether the byte after the early ones was sent in answer to our ACK, a round trip before.

    If it was sent earlier, it was on its way when we sent that ACK, or got lost and came by a
    timer: Linux's first one fires two round trips after the ACK (its tail loss probe).
    """
    acked = flow.handshake_done_time
    came = next((each.time for each in flow.received if flow.end_of(each) > early), None)
    if acked is None or came is None:
        return False
    return 0.5 * round_trip <= came - acked <= 2 * round_trip + HELD_MARGIN
