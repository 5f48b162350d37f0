"""What a network that loses, doubles and delays can't do to a verdict, good or bad."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from graded import grade

from tfocheck.case import Case, Outcome, Severity, Verdict
from tfocheck.engine.flow import Flow
from tfocheck.linux.guard import PortGuard
from tfocheck.runner.catalogue import load_cases
from tfocheck.server.probe import Issued, Probe, UnansweredError, any_comes_back
from tfocheck.wire.evidence import Captured
from tfocheck.wire.segment import Flags, Segment

CASES = {case.id: case for case in load_cases()}


def part_of(case_id: str, name: str) -> Any:
    """Something of the file that a case is in."""
    return CASES[case_id].run.__globals__[name]


# --- in the lab -----------------------------------------------------------------------------------


def test_the_answer_to_a_doubled_syn_is_none_to_the_bare_one() -> None:
    case = "open.syn-without-option"
    graded = grade(
        "reference",
        *("--case", case),
        fault="resets-bare-syn",
        impair="to-server duplicate 100%, delay 83ms, jitter 67ms, seed 1",
    )
    assert graded.verdicts[case] in ("fail", "inconclusive"), graded.seen(case)


def test_a_slow_path_does_not_make_two_keys_of_one_that_changes() -> None:
    case = "farm.one-key"
    graded = grade(
        "key-rotation",
        *("--case", case),
        impair="loss 10%, delay 83ms, jitter 67ms, seed 1",
    )
    assert graded.verdicts[case] in ("pass", "inconclusive"), graded.seen(case)


# --- with parts of it made up ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("issued", "two_keys"),
    [
        ([("a", 0, 1)], False),
        ([("a", 0, 1), ("b", 2, 3), ("b", 4, 5)], False),
        # At the same time: the first answer may have been delayed most.
        ([("a", 0, 1), ("b", 2, 4), ("a", 2.1, 3), ("b", 2.2, 5), ("c", 6, 7)], False),
        ([("a", 0, 1), ("b", 2, 3), ("a", 4, 5)], True),
        ([("a", 0, 1), ("b", 0.5, 2), ("a", 3, 4), ("b", 3, 4)], True),
    ],
)
def test_a_cookie_that_comes_back_tells_of_two_keys(
    issued: list[tuple[str, float, float]], two_keys: bool
) -> None:
    found = [Issued(cookie.encode(), asked, came) for cookie, asked, came in issued]
    assert any_comes_back(found) is two_keys


class FakeFlow:
    """A flow whose SYN-ACK comes, or not; or late, while one waits for it."""

    def __init__(self, acknowledged: int | None, late: int | None = None) -> None:
        self.acknowledged = acknowledged
        self.late = late
        self.closed = False
        self.received: list[object] = []
        self.icmps: list[object] = []
        self.sent: list[bytes] = []

    @property
    def is_answered(self) -> bool:
        return self.acknowledged is not None

    async def wait(self, seen: Callable[[], bool], seconds: float) -> bool:
        if self.late is not None:
            self.acknowledged = self.late
        return seen()

    async def close(self, round_trip: float) -> None:
        self.closed = True

    async def send_syn(self, options: bytes) -> None:
        self.sent.append(options)


def test_a_pending_request_whose_syn_ack_was_lost_is_counted_and_closed() -> None:
    flows = [FakeFlow(None, late=6), FakeFlow(1), FakeFlow(1), FakeFlow(1)]
    coming = iter(flows)

    class FakeProbe:
        cookie = b"12345678"
        payload = SimpleNamespace(data=b"hello")

        class session:  # noqa: N801
            round_trip = 0.01

            @staticmethod
            async def is_answering() -> bool:
                return True

        def new_flow(self, label: str) -> FakeFlow:
            return next(coming)

        async def answered_syn(self, flow: FakeFlow, syn: object) -> None:
            if flow.acknowledged is None:
                raise UnansweredError("no answer")

    async def fill() -> int:
        filling = part_of("limit.pending", "_Filling")(FakeProbe())
        await filling.fill()
        assert filling.limit_reached
        count = len(filling.pending)
        await filling.empty()
        return count

    assert asyncio.run(fill()) == 1
    assert all(flow.closed for flow in flows)


def test_an_illegal_option_that_may_have_got_lost_is_sent_again() -> None:
    labels: list[str] = []

    class FakeSession:
        attempts = 3
        own_mss = 1460
        timeout = 1.0
        round_trips = SimpleNamespace(syn_wait=lambda bound: bound, variation=0.0)
        has_lost = True

        async def is_answering(self, *, patiently: bool = False) -> bool:
            return True

        def close_later(self, flow: FakeFlow) -> None:
            pass

    class FakeProbe(Probe):
        def __init__(self) -> None:
            self.session = FakeSession()  # type: ignore[assignment]

        def new_flow(self, label: str, **_: object) -> Any:
            flow = FakeFlow(None)
            labels.append(label)
            if labels.count("option of length 0") == 2 and label == "option of length 0":
                flow.received.append("a SYN-ACK")
            return flow

    outcome = asyncio.run(CASES["option.illegal-length"].run(FakeProbe()))
    assert outcome.verdict is Verdict.PASS
    # Each kind three times, but the one that was answered the second time.
    assert len(labels) == 8


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


def test_an_early_answer_is_no_sign_that_our_segments_arrive() -> None:
    """A box that lets the server's segments through and none of ours."""

    def flow(**seen: Any) -> SimpleNamespace:
        early = [plain(100.0, 1, 100)]
        how = {"handshake_done_time": 99.0, "received": early, "fin_acknowledged": False}
        return SimpleNamespace(**{**how, "reset": None, **seen})

    class FakeProbe:
        session = SimpleNamespace(payload=None)
        payload = SimpleNamespace(data=b"hello")

        def __init__(self, borrowed: SimpleNamespace) -> None:
            self.borrowed = borrowed

        def borrow(self, case_id: str, fits: Callable[[Any], bool]) -> bool:
            return fits(self.borrowed)

        def observing(self) -> None:
            pass

        passed = staticmethod(lambda seen, **_: Outcome(Verdict.PASS, seen, True))

        async def agree(self, attempt: object, **_: object) -> Outcome:
            return Outcome(Verdict.INCONCLUSIVE, "looked into")

    def verdict(borrowed: SimpleNamespace) -> Verdict:
        return asyncio.run(CASES["path.after-open"].run(FakeProbe(borrowed))).verdict  # type: ignore[arg-type]

    assert verdict(flow()) is Verdict.INCONCLUSIVE
    assert verdict(flow(fin_acknowledged=True)) is Verdict.PASS


def test_keep_alives_are_not_answered_by_another_connection() -> None:
    async def said(offset: int) -> int | None:
        class NoLink:
            def attend(self, *_: object) -> None: ...
            def leave(self, *_: object) -> None: ...

        guard = PortGuard("127.0.0.1")
        flow = Flow(NoLink(), guard, ("192.0.2.2", 443), scope_id=0, label="test")  # type: ignore[arg-type]
        with contextlib.closing(SimpleNamespace(close=flow.release)):
            flow.server_isn = 1000
            ack = plain(1.0, 1001 + offset, 0)
            flow.segment_captured(ack)
            return flow.said_sent(0)

    assert asyncio.run(said(5)) == 5
    assert asyncio.run(said(-5)) is None
    assert asyncio.run(said(1 << 24)) is None


def test_a_breach_beside_a_pass_is_a_breach() -> None:
    fates = iter([Outcome(Verdict.PASS, "bare", True), Outcome(Verdict.FAIL, "option", True)])

    async def attempt() -> Outcome:
        return next(fates)

    case = Case(
        *("some.case", "4.2", CASES["open.data-acked"].level, Severity.MAJOR),
        *("title", "asks", "expects", "do", CASES["open.data-acked"].run),
    )
    session = SimpleNamespace(attempts=3, flows_by_case={}, silences={})
    outcome = asyncio.run(Probe(session, case).agree(attempt, need=2))  # type: ignore[arg-type]
    assert outcome.verdict is Verdict.FAIL
