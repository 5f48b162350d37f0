"""Cases, one at a time, on networks that lose, delay and drop: parts of them, and as a whole."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
from rooms import Spoilt, in_session, labels, reference, with_cookie

from tfocheck.case import Outcome, Probe, Verdict
from tfocheck.memory.hosts import Endpoint
from tfocheck.reference.header import reset_for
from tfocheck.runner.catalogue import load_cases
from tfocheck.server.conduct import conduct
from tfocheck.server.session import Session
from tfocheck.wire.evidence import Captured
from tfocheck.wire.segment import Flags, Segment

CASES = {case.id: case for case in load_cases()}


def part_of(case_id: str, name: str) -> Any:
    """Something of the file that a case is in."""
    return CASES[case_id].run.__globals__[name]


def test_a_pending_request_whose_syn_ack_was_lost_is_counted_and_closed() -> None:
    accepted = itertools.count(1)

    def gives(segment: Segment) -> list[Segment]:
        # The queue has one place, so there is one SYN-ACK that acknowledges data.
        opens = segment.is_syn_ack and segment.fast_open is None
        return [] if opens and next(accepted) == 1 else [segment]

    async def script(session: Session) -> tuple[int, bool, list[str]]:
        probe = await with_cookie(session, CASES["limit.pending"])
        filling = part_of("limit.pending", "_Filling")(probe)
        await filling.fill()
        count = len(filling.pending)
        flows = [flow for flow in probe.evidence.flows if flow.label.startswith("pending")]
        assert flows[0].acknowledged == 1 + len(probe.payload.data)
        assert all(flow.acknowledged == 1 for flow in flows[1:])
        await filling.empty()
        assert flows[0].fin_acknowledged
        ends = [flow.packets_sent - flow.resets_sent for flow in flows[1:]]
        assert ends == [1] * len(ends)  # a SYN each, and a reset of what is half-open
        return count, filling.limit_reached, labels(session)

    count, reached, flows = in_session(script, Spoilt(reference(pending_limit=1), gives=gives))
    assert (count, reached) == (1, True)
    assert flows.count("pending request 1") == 4


def test_an_illegal_option_that_may_have_got_lost_is_sent_again() -> None:
    class Picky:
        """Answers malformed SYNs with a reset, if it gets them: the second of all of length 0."""

        def __init__(self) -> None:
            self.server = reference()
            self.seen = itertools.count(1)
            self.next_timer, self.fire = self.server.next_timer, self.server.fire

        def receive(self, segment: Segment, now: float) -> list[Segment]:
            if not segment.option_list.malformed:
                return self.server.receive(segment, now)
            of_length_0 = segment.options.endswith(bytes.fromhex("2200 0000"))
            return [reset_for(segment)] if of_length_0 and next(self.seen) == 2 else []

    async def script(session: Session) -> tuple[Outcome, list[str]]:
        session.has_lost = True
        probe = Probe(session, CASES["option.illegal-length"])
        outcome = await conduct(session, probe)
        return outcome, [flow.label for flow in probe.evidence.flows]

    outcome, flows = in_session(script, Picky())
    assert outcome.verdict is Verdict.PASS
    # Each kind three times, but the one that was answered the second time.
    assert len(flows) == 8


def plain(at: float, start: int, size: int) -> Captured:
    segment = Segment(
        *("192.0.2.2", 443, "127.0.0.1", 1),
        seq=start,
        ack=1,
        flags=Flags.ACK,
        payload=bytes(size),
    )
    return Captured(segment, at, sent=False)


@pytest.mark.parametrize(
    ("after", "held"),
    [(0.04, False), (0.1, True), (0.2, True), (0.35, False), (1.1, False)],
)
def test_only_an_answer_in_time_was_held_back_by_the_window(after: float, held: bool) -> None:
    flow = SimpleNamespace(
        handshake_done_time=100.0,
        received=[plain(99.9, 1, 180), plain(100 + after, 181, 500)],
        end_of=lambda each: each.segment.seq - 1 + len(each.segment.payload),
    )
    assert part_of("open.peer-window", "_was_held")(flow, 180, 0.1) is held


def after_open(endpoint: Endpoint) -> Outcome:
    """What comes after a Fast Open, behind the case whose connection it looks at first."""

    async def script(session: Session) -> Outcome:
        await with_cookie(session)
        before = await conduct(session, Probe(session, CASES["open.data-acked"]))
        assert before.verdict is Verdict.PASS
        return await conduct(session, Probe(session, CASES["path.after-open"]))

    return in_session(script, endpoint)


def test_an_early_answer_is_no_sign_that_our_segments_arrive() -> None:
    """A box that lets the server's segments through and, after a Fast Open, none of ours."""
    opened: set[int] = set()

    def takes(segment: Segment, now: float) -> bool:
        if segment.flags & Flags.SYN and segment.fast_open and segment.fast_open.cookie:
            opened.add(segment.source_port)
            return True
        return segment.source_port not in opened

    assert after_open(reference()).verdict is Verdict.PASS
    outcome = after_open(Spoilt(reference(), takes))
    assert outcome.verdict is Verdict.FAIL
    assert "while plain connections go on" in outcome.seen


def test_the_server_that_ignores_fins_still_shows_that_our_segments_arrive() -> None:
    assert after_open(reference("ignores-fin")).verdict is Verdict.PASS
