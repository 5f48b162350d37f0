"""What Fast Open costs on a path that does not let it through as it is meant: early data, and time.

None of these cases blames the server. They live on what others have sent anyway, and send packets
of their own only where there is something to find out.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from tfocheck.case import (
    FAST_OPEN_WORKS,
    Agreement,
    Fact,
    FastOpen,
    Flow,
    Level,
    Outcome,
    Probe,
    Severity,
    UnusableError,
    advice,
    case,
)

LEAST_TO_MIND = 0.01
"""Seconds below which nobody minds, nor can it be measured on a busy machine."""


@case(
    "path.early-data",
    section="7.1",
    level=Level.PATH,
    severity=Severity.MAJOR,
    title="What the server sends before our ACK gets through",
    requirement="A path that carries a server's data carries it right behind the SYN-ACK, too.",
    expected="is heard before our ACK as after it",
    advice=advice.NOT_THE_SERVER
    + "A stateful firewall, or a load balancer, drops what a server sends "
    "before the client's ACK has passed: have it let data follow the SYN-ACK.",
    why="The answer is sent early, gets lost each time, and comes again only when the server's "
    "timer fires: with Fast Open every connection is slower than without, and nothing says why.",
    needs=FAST_OPEN_WORKS,
    after=("open.early-answer",),
    once=True,
    reads=(Fact.ANSWERS_EARLY,),
)
async def early_data(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie (valid), n bytes (those of open.early-answer)
    <- SYN-ACK, ack 1+n
    <- the first bytes of the answer
    no early answer: how far the server has sent when our ACK gets there,
    when that comes again, and how soon a plain request is answered
    """
    if probe.borrow("open.early-answer", lambda flow: bool(flow.early_data)):
        probe.observing()
        return probe.passed("what the server sends before our ACK arrives", conclusive=True)
    if await probe.application.is_mute():
        return probe.info("the application answers nothing that could come early")
    return await probe.agree(_early_data_arrives, Agreement(together=False, more_where_lossy=2))


async def _early_data_arrives(probe: Probe) -> Outcome:
    """Whether anything was sent before our ACK that has not come; one attempt."""
    data = probe.payload.data
    async with probe.alone("valid cookie, then our ACK", FastOpen(probe.cookie), data=data) as flow:
        await probe.must_be_open(flow)
        if await probe.application.early_answer(flow):
            return probe.passed("what the server sends before our ACK arrives", conclusive=True)
        await flow.acknowledge()
        missing = await probe.application.missing(flow)
        acked_at = flow.handshake_done_time
        if missing is None or acked_at is None:
            raise UnusableError("the server does not say how much it has sent")
        if not missing:
            return probe.info("nothing is sent before our ACK: see open.early-answer")
        if await probe.application.serves(flow) or flow.first_data_time is None:
            raise UnusableError("the answer does not come")
        later = flow.first_data_time - acked_at
    plain = await probe.application.ordinary_delay()
    if plain is None or plain >= later / 2:
        raise UnusableError("plain connections are not answered sooner now")
    return probe.breach(
        f"{missing} bytes that the server sent before our ACK did not arrive: they came again"
        f" {later * 1000:.0f} ms after it; a plain request is answered within {plain * 1000:.0f} ms"
    )


@case(
    "path.slower",
    section="1",
    level=Level.PATH,
    severity=Severity.MINOR,
    title="Fast Open is not slower than a plain connection",
    requirement="Fast Open is for saving a round trip; it must not cost one.",
    expected="is answered with Fast Open no later than without",
    advice="Something loses what Fast Open sends early, or holds it back until a timer fires: see "
    "path.early-data and open.early-answer. Until that is mended, plain connections are faster.",
    why="Who switches Fast Open on does so for speed. Where it costs time it is better off.",
    needs=("control.syn",),
    after=("benefit.latency",),
    once=True,
)
async def slower(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, plain, or with cookie and data (those of others)
    <- the answer's first byte
    those of benefit.latency: the medians are compared, and the spread
    """
    probe.observing()
    timed = probe.flows_of("benefit.latency")
    plain = _first_bytes(flow for flow in timed if flow.is_plain)
    fast = _first_bytes(flow for flow in timed if not flow.is_plain)
    if not plain or not fast:
        return probe.info("nothing was timed: see benefit.latency")
    lost = statistics.median(fast) - statistics.median(plain)
    spread = max(max(each) - min(each) for each in (plain, fast))
    for times, is_plain in ((plain, True), (fast, False)):
        median = statistics.median_low(times)
        probe.borrow(
            "benefit.latency",
            lambda flow, is_plain=is_plain, median=median: (  # type: ignore[misc]
                flow.is_plain is is_plain and _first_bytes([flow]) == [median]
            ),
        )
    if lost <= max(spread, LEAST_TO_MIND):
        return probe.passed("the first byte comes no later with Fast Open than without")
    return probe.warning(
        f"the first byte comes {lost * 1000:.0f} ms later with Fast Open than without (the times of"
        f" either are within {spread * 1000:.0f} ms)"
    )


def _first_bytes(flows: Iterable[Flow]) -> list[float]:
    """Seconds from our SYN to the first byte of the answer, where one came."""
    return [
        flow.first_data_time - flow.syn_time
        for flow in flows
        if flow.first_data_time is not None and flow.syn_time is not None
    ]
