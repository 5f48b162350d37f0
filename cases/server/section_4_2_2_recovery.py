"""RFC 7413 section 4.2.2: early data that gets lost is sent again, like any other."""

from __future__ import annotations

from tfocheck.case import (
    FAST_OPEN_WORKS,
    IN_TURN,
    INSISTENCE,
    FastOpen,
    Flow,
    Level,
    NothingToSeeError,
    Outcome,
    Probe,
    Severity,
    UnusableError,
    case,
)

SMALL_MSS = 536
"""With it an answer of a few hundred bytes has several segments."""

DUPLICATE_ACKS = 3
"""So many of them ask for what is missing (RFC 5681 section 3.2)."""


@case(
    "open.recovery",
    section="RFC 9293 3.8.1",
    level=Level.PROCEDURE,
    severity=Severity.MAJOR,
    title="Early data that gets lost is sent again",
    requirement="What is sent before the handshake ends is data like any other: while it is not "
    "acknowledged it is sent again (RFC 9293 3.8.1; RFC 2018 with SACK).",
    expected="sends the first early segment again when our ACK acknowledges the SYN alone, and by "
    "SACK what followed",
    advice="The stack forgets what it sent early, so one lost packet leaves a hole that is never "
    "filled: update it, and switch Fast Open off until then. With a server that does it right, "
    "look for a proxy that sends the early data in its place.",
    why="Networks lose packets. A connection whose first answer is never repeated hangs until "
    "somebody gives up: worse than no Fast Open at all.",
    needs=FAST_OPEN_WORKS,
    faults=("loses-early-data",),
    agree=IN_TURN,
)
async def recovery(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, MSS 536, cookie (valid), n bytes
    <- SYN-ACK, ack 1+n
    <- the first bytes of the answer, in one segment or more
    -> ACK, of the SYN alone; SACK of the later segments
    <- the first bytes again
    -> ACK, FIN,ACK
    not sent again: a plain connection whose answer is not acknowledged
    """
    if await probe.application.is_mute():
        probe.end(probe.info("the application answers nothing that could get lost"))
    data, cookie = probe.payload.data, FastOpen(probe.cookie)
    async with probe.alone("early data lost", cookie, data=data, mss=SMALL_MSS) as flow:
        await probe.must_be_open(flow)
        if not await probe.application.early_answer(flow):
            return probe.info("no answer comes before our ACK, so none of it can get lost")
        # The others of the first flight come right behind the first one.
        await probe.clock.sleep(probe.round_trips.variation)
        if not flow.stream_bytes:
            raise UnusableError("the first early segment got lost by itself, or is late")
        since = len(flow.received)
        count = await _pretend_loss(flow)
        again = await _is_sent_again(probe, flow, since)
        if again:
            wrong = await probe.application.serves(flow)
            if wrong:
                return probe.breach(f"early data was sent again, and then: {wrong}")
            return probe.passed(
                f"the first of {count} early segments, not acknowledged, is sent again; the answer"
                " is whole",
                conclusive=True,
            )
        if flow.has_ended:
            raise NothingToSeeError("the application closes, or resets, by itself")
    if not await _plain_is_sent_again(probe, data):
        raise NothingToSeeError("nor is an answer sent again that a plain connection did not get")
    return probe.breach(
        f"the first of {count} early segments, not acknowledged, is not sent again within"
        f" {INSISTENCE} s"
    )


async def _pretend_loss(flow: Flow) -> int:
    """Acknowledge the early segments as if the first had got lost; how many there are."""
    places = sorted(
        {
            (start, flow.end_of(each))
            for each in flow.early_data
            if (start := flow.start_of(each)) is not None
        }
    )
    later = [place for place in places if place[0] > 0]
    await flow.acknowledge_syn((later[0][0], later[0][1]) if later else None)
    for number in range(1, min(DUPLICATE_ACKS + 1, len(later))):
        await flow.acknowledge_syn((later[0][0], later[number][1]))
    return len(places)


async def _is_sent_again(probe: Probe, flow: Flow, since: int) -> bool:
    """Whether the first byte comes once more, while we go on not to acknowledge it."""
    return (
        await probe.application.insist(
            flow,
            lambda: flow.sent_again(since) is not None or flow.reset is not None,
            flow.acknowledge_syn,
            INSISTENCE,
        )
        and flow.sent_again(since) is not None
    )


async def _plain_is_sent_again(probe: Probe, data: bytes) -> bool:
    """The control: an answer on a plain connection that we do not acknowledge."""
    flow = await probe.plain_connection("control: plain, answer not acknowledged")
    try:
        if flow.syn_ack is None:
            return False
        await flow.send_data(data)
        patience = probe.application.patience(await probe.application.ordinary_answer())
        if not await flow.wait(lambda: bool(flow.stream), patience):
            raise UnusableError("plain connections are not answered now")
        return await _is_sent_again(probe, flow, len(flow.received))
    finally:
        probe.close_later(flow)
