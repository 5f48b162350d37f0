"""RFC 7413 section 4.2.2: SYNs and SYN-ACKs that come a second time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from tfocheck.case import (
    FAST_OPEN_WORKS,
    IN_TURN,
    Captured,
    Control,
    FastOpen,
    Flow,
    Level,
    NothingToSeeError,
    Outcome,
    Probe,
    Severity,
    Turn,
    case,
    judge_repeated_syn_ack,
)

COPIES = 4
"""So often a SYN is sent again until something comes of it: copies and answers may get lost."""

EARLIEST = 0.8
"""No answer comes sooner than this part of the shortest round trip; clocks are no better."""

_ENDS = "the application closes, or resets, by itself about when a second copy can come"

TIMESTAMP_TICK = 0.002
"""Seconds after which what a server sends has another timestamp: most count milliseconds."""


def _has_another_isn(flow: Flow, segments: Sequence[Captured]) -> bool:
    """Whether one of the segments is the SYN-ACK of another connection than the first one's."""
    return any(each.segment.is_syn_ack and each.segment.seq != flow.server_isn for each in segments)


@dataclass(frozen=True)
class _Answers:
    """What came after copies of the SYN; ``sure`` if some of it can only be an answer to one."""

    segments: list[Captured]
    sure: bool

    @property
    def how(self) -> str:
        return "acknowledged again" if self.segments else "not answered"


async def _answers_to_copies(
    probe: Probe, flow: Flow, repeat: Callable[[], Awaitable[None]]
) -> _Answers:
    """What comes of sending the SYN again; several times, for one copy may well get lost.

    What the server sent before a copy can have got there is no answer to it. Raises
    NothingToSeeError when the connection has ended by then.
    """
    await probe.clock.sleep(TIMESTAMP_TICK)
    if flow.has_ended:
        raise NothingToSeeError(_ENDS)
    known = len(flow.received)
    wait = probe.round_trips.syn_wait(probe.timeout)
    sent = 0

    def is_sure() -> bool:
        return any(map(flow.is_answer_to_copy, flow.control_segments(known)))

    def has_come() -> bool:
        return is_sure() or len(flow.control_segments(known)) >= sent

    while sent < COPIES and not is_sure():
        await repeat()
        sent += 1
        await flow.wait(has_come, wait)
    return _Answers(flow.control_segments(known), is_sure())


async def _ends_by_itself(probe: Probe, flow: Flow) -> bool:
    """Whether a Fast Open whose SYN comes once is ended by the server as well; after the other one.

    A reset that the application makes a few milliseconds after the SYN-ACK meets the copy on its
    way: it says nothing of that.
    """
    first, reset = flow.first_copy, flow.reset
    least = probe.round_trips.least
    if first is not None and reset is not None and reset.time - first.time < EARLIEST * least:
        return True  # it had left before the copy came
    label = "control: the SYN once, then nothing"
    async with probe.alone(label, FastOpen(probe.cookie), data=flow.syn_data) as once:
        await probe.must_be_open(once)
        return await probe.application.ends_by_itself(once, _lasted(flow))


def _lasted(flow: Flow) -> float:
    """Seconds from the SYN to the last that came: the control has to last as long."""
    began = flow.syn_time
    return flow.received[-1].time - began if began is not None and flow.received else 0.0


@case(
    "open.duplicate-syn",
    section="4.2.2",
    level=Level.PROCEDURE,
    severity=Severity.CRITICAL,
    title="A SYN that comes twice opens once",
    requirement="A repeated or duplicated SYN belongs to the pending connection: its data must not "
    "reach the application a second time.",
    expected="answers the second copy with the same ISN and ack, or not at all; never with a reset "
    "or another connection",
    advice="The stack makes another connection of a repeated SYN, or breaks the first one: update "
    "it, and switch Fast Open off until then. A load balancer must send both copies to the same "
    "server.",
    why="Networks double packets, and clients repeat them. With a second connection for the "
    "second copy, orders are placed twice.",
    needs=FAST_OPEN_WORKS,
    faults=("second-connection", "delivers-copy", "resets-copy"),
    agree=IN_TURN,
)
async def duplicate_syn(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie (valid), n bytes
    <- SYN-ACK, seq 0, ack 1+n; the answer may start
    -> SYN, the very same again
    <- SYN-ACK, seq 0, or ACK, or nothing
    -> ACK
    <- the answer that plain connections get
    -> FIN,ACK
    no good answer: the SYN once, from another port, for comparison
    """
    data = probe.payload.data
    label = "the same SYN twice"
    async with probe.alone(label, FastOpen(probe.cookie), data=data) as flow:
        await probe.must_be_open(flow)
        await probe.application.early_answer(flow)
        if flow.has_ended:
            # Then the copy rightly opens another connection.
            raise NothingToSeeError(_ENDS)
        # A SYN-ACK again, or a plain ACK for a segment below the window
        # (RFC 9293 section 3.10.7.4).
        came_back = await _answers_to_copies(probe, flow, flow.repeat_syn)
        wronged = _wronged_by_copy(probe, flow, came_back.segments)
        wrong = None
        if wronged is None:
            mute = await probe.application.is_mute()
            wrong = None if mute else await probe.application.serves(flow)
            if not wrong:
                tells = not mute and await probe.application.shows_its_input()
                return await _opened_once(probe, flow, came_back, tells=tells)
    if wronged is not None:
        # Where the first connection has ended, the copy rightly opens another one.
        if await _ends_by_itself(probe, flow):
            raise NothingToSeeError(_ENDS)
        return wronged
    async with probe.alone("control: the SYN once", FastOpen(probe.cookie), data=data) as flow:
        await probe.must_be_open(flow)
        if await probe.application.serves(flow):
            return probe.skipped("a SYN that comes once is not served either")
    return probe.breach(f"after a doubled SYN the connection is broken: {wrong}")


async def _opened_once(probe: Probe, flow: Flow, came_back: _Answers, *, tells: bool) -> Outcome:
    """The outcome of a connection that works after its SYN has come twice."""
    if not tells:
        return probe.info(
            f"{came_back.how}, one connection; whether its data came once, the application does"
            " not show",
            conclusive=came_back.sure,
        )
    count, is_all = await probe.application.answers(flow)
    if count > 1:
        return probe.breach(
            "a SYN that came twice was answered twice: its data was delivered twice",
            conclusive=True,
        )
    return probe.passed(
        f"{came_back.how}, one connection that works", conclusive=came_back.sure and is_all
    )


def _wronged_by_copy(probe: Probe, flow: Flow, came_back: Sequence[Captured]) -> Outcome | None:
    for captured in came_back:
        segment = captured.segment
        if segment.is_reset:
            return probe.breach("the second copy of the SYN was answered with a reset")
        if segment.is_syn_ack and segment.seq != flow.server_isn:
            return probe.breach(
                "the second copy of the SYN opened a second connection (another ISN)",
                conclusive=True,
            )
    return None


@case(
    "open.synack-retransmit",
    section="4.2.2",
    level=Level.SHOULD,
    severity=Severity.MINOR,
    title="A repeated SYN-ACK to an accepted Fast Open is a bare one",
    requirement="When its timer fires, the server repeats the SYN-ACK with neither data nor the "
    "Fast Open option.",
    expected="repeats its SYN-ACK without data and without the Fast Open option",
    advice="The server repeats its SYN-ACK as it was: update the stack. Linux repeats a bare one, "
    "so with a Linux server look for a SYN proxy or load balancer in front.",
    why="Some boxes drop a SYN-ACK that carries more than usual. A bare one gets through; if all "
    "are alike, the connection never comes up.",
    needs=FAST_OPEN_WORKS,
    faults=("repeats-data",),
    turn=Turn.LONG,
    agree=IN_TURN,
)
async def synack_retransmit(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie (valid), n bytes
    <- SYN-ACK, ack 1+n; the answer may start
    ...we are silent until the server's timer fires...
    <- SYN-ACK, no data, no Fast Open option
    -> ACK, FIN,ACK
    """
    silent = await probe.silent_open()
    assert silent.flow is not None
    return judge_repeated_syn_ack(probe, silent.flow)


@case(
    "open.syn-without-option",
    section="RFC 9293 3.10.7.4",
    level=Level.PROCEDURE,
    severity=Severity.MAJOR,
    title="A client that repeats its SYN bare is not lost",
    requirement="When a client's timer fires, it repeats the SYN without data and option "
    "(RFC 7413 4.2.2, client); the pending connection goes on.",
    expected="answers a bare SYN of the same ISN with a SYN-ACK or an ACK, never with a reset, and "
    "goes on serving",
    advice="The stack, or a stateful firewall that does not know the second SYN, gives the "
    "connection up: it must take a bare SYN with the same ISN for the pending connection. Update "
    "it, or relax that rule.",
    why="That is what comes from a client whose SYN-ACK was lost. A reset turns one lost packet "
    "into a failed connection: with Fast Open the site is less reliable than without.",
    needs=FAST_OPEN_WORKS,
    faults=("resets-bare-syn",),
    agree=IN_TURN,
    control=(Control.SERVED,),
)
async def syn_without_option(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie (valid), n bytes
    <- SYN-ACK, ack 1+n; the answer may start
    -> SYN, seq 0, no data, no Fast Open option
    <- SYN-ACK, or ACK, or nothing; no RST
    -> ACK
    <- the answer that plain connections get
    -> FIN,ACK
    a reset comes: the SYN once, from another port, for comparison
    """
    data = probe.payload.data
    label = "then the SYN again, bare"
    async with probe.alone(label, FastOpen(probe.cookie), data=data) as flow:
        await probe.must_be_open(flow)
        await probe.application.early_answer(flow)
        if flow.has_ended:
            # Then a reset is the right answer.
            raise NothingToSeeError(_ENDS)
        bare = probe.syn_options(flow=flow)
        came_back = await _answers_to_copies(probe, flow, lambda: flow.repeat_syn(bare, b""))
        another = _has_another_isn(flow, came_back.segments)
        if flow.reset is None and not another:
            return await _goes_on(probe, flow, came_back)
    if await _ends_by_itself(probe, flow):
        raise NothingToSeeError(_ENDS)
    if flow.reset is None:
        return probe.breach(
            "the bare SYN of the same ISN opened another connection: the first was given up"
        )
    return probe.breach("the bare SYN of the same ISN was answered with a reset")


async def _goes_on(probe: Probe, flow: Flow, came_back: _Answers) -> Outcome:
    """The outcome of a connection that was not reset when its SYN came again, bare."""
    wrong = None if await probe.application.is_mute() else await probe.application.serves(flow)
    if wrong:
        return probe.breach(f"after a bare SYN of the same ISN: {wrong}")
    # The network may have doubled the first SYN, and what came be the answer to that one:
    # the bare SYN's is on its way then, or the bare SYN got lost.
    if not flow.has_ended:
        await probe.application.replies(flow)
    if flow.reset is not None or _has_another_isn(flow, flow.syn_acks):
        raise NothingToSeeError(_ENDS)
    return probe.passed(
        f"{came_back.how}, and the connection goes on",
        conclusive=came_back.sure and not probe.has_lost,
    )
