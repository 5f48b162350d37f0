"""Judging: presence is conclusive, absence needs agreement, and loss is never a verdict."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

import pytest

from tfocheck.case import Case, Level, Outcome, Severity, Verdict
from tfocheck.judging.trust import distrust
from tfocheck.model.report import CaseResult
from tfocheck.server import probe as judging
from tfocheck.server.probe import Probe, SettledError, Syn, UnansweredError, UnusableError
from tfocheck.wire.evidence import FlowRecord

PASS = Outcome(Verdict.PASS, "ack 1")
BREACH = Outcome(Verdict.FAIL, "accepted", conclusive=True)
FALLBACK = Outcome(Verdict.FAIL, "fell back")
HONOURED = Outcome(Verdict.PASS, "honoured", conclusive=True)
SILENT = UnansweredError("no answer")
RESET = UnansweredError("a reset")
UNUSABLE = UnusableError("came late")


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "FALLBACK_PAUSES", (0.0,))
    monkeypatch.setattr(judging, "SILENCE_PAUSE", 0.0)


async def _never_run(probe: Probe) -> Outcome:
    raise AssertionError("not run")


def a_case(level: Level = Level.MUST, severity: Severity | None = Severity.MAJOR) -> Case:
    return Case("some.case", "4.2", level, severity, "title", "asks", "expects", "do", _never_run)


class FakeControl:
    """A control SYN, answered or not."""

    def __init__(self, answered: bool) -> None:
        self.syn_ack = "a SYN-ACK" if answered else None


class FakeSession:
    """A session of which judging only wants the number of attempts and a control."""

    def __init__(self, attempts: int, answering: bool) -> None:
        self.attempts = attempts
        self.answering = answering
        self.controls = 0
        self.flows_by_case: dict[str, object] = {}
        self.silences: dict[str, str] = {}

    async def is_answering(self) -> bool:
        self.controls += 1
        return self.answering

    async def plain_syn(self, label: str) -> FakeControl:
        self.controls += 1
        return FakeControl(self.answering)

    def close_later(self, flow: FakeControl) -> None:
        pass


def judge(
    attempts: Iterable[Outcome | Exception],
    *,
    answering: bool = True,
    unanswered: str | None = "the SYN",
    together: bool = True,
    need: int = 3,
    case: Case | None = None,
) -> tuple[Outcome, int]:
    """The outcome over these attempts, the last one repeated for ever, and how many were made."""
    made = 0

    def endless() -> Iterator[Outcome | Exception]:
        last: Outcome | Exception = PASS
        for last in attempts:
            yield last
        while True:
            yield last

    script = endless()

    async def attempt() -> Outcome:
        nonlocal made
        made += 1
        found = next(script)
        if isinstance(found, Exception):
            raise found
        return found

    session = FakeSession(need, answering)
    probe = Probe(session, case or a_case())  # type: ignore[arg-type]
    outcome = asyncio.run(probe.agree(attempt, unanswered=unanswered, together=together))
    return outcome, made


def test_one_accepted_forgery_is_a_finding() -> None:
    outcome, _ = judge([PASS, PASS, BREACH])
    assert outcome == BREACH


def test_a_single_rejection_is_no_pass() -> None:
    _, made = judge([PASS])
    assert made == 3


def test_one_honoured_cookie_is_enough() -> None:
    outcome, made = judge([HONOURED], together=False)
    assert (outcome, made) == (HONOURED, 1)


@pytest.mark.parametrize("before", [[FALLBACK], [FALLBACK, FALLBACK], [SILENT, FALLBACK]])
def test_an_unexpected_fallback_is_repeated_not_reported(
    before: list[Outcome | Exception],
) -> None:
    outcome, _ = judge([*before, HONOURED], together=False)
    assert outcome == HONOURED


def test_a_steady_fallback_is_a_failure() -> None:
    outcome, made = judge([FALLBACK], together=False)
    assert outcome.verdict is Verdict.FAIL
    assert "(3 of 3)" in outcome.seen
    assert made == 3


def test_lost_packets_are_made_up_for() -> None:
    outcome, made = judge([PASS, SILENT, PASS, SILENT, PASS])
    assert outcome.verdict is Verdict.PASS
    assert made == 5


def test_silence_is_a_breach_only_while_plain_syns_are_answered() -> None:
    outcome, made = judge([SILENT])
    assert outcome.verdict is Verdict.FAIL
    assert "while plain SYNs are answered" in outcome.seen
    assert made >= 5
    outcome, _ = judge([SILENT], answering=False)
    assert outcome.verdict is Verdict.INCONCLUSIVE


def test_silence_proves_nothing_for_a_case_that_does_not_expect_an_answer() -> None:
    outcome, _ = judge([SILENT], unanswered=None)
    assert outcome.verdict is Verdict.INCONCLUSIVE


def test_silence_that_ends_with_an_outage_or_a_rate_limit_is_no_breach() -> None:
    outcome, made = judge([SILENT] * 6 + [PASS])
    assert outcome.verdict is Verdict.PASS
    assert made > 5


def test_resets_and_silence_mixed_decide_nothing() -> None:
    outcome, _ = judge([SILENT, RESET, SILENT, RESET, RESET])
    assert outcome.verdict is Verdict.INCONCLUSIVE


def test_attempts_that_disagree_decide_nothing() -> None:
    flapping = [PASS, FALLBACK] * 20
    outcome, made = judge(flapping)
    assert outcome.verdict is Verdict.INCONCLUSIVE
    assert "do not agree" in outcome.seen
    assert made == 11


def test_unusable_attempts_decide_nothing() -> None:
    outcome, made = judge([UNUSABLE])
    assert outcome.verdict is Verdict.INCONCLUSIVE
    assert "came late" in outcome.seen
    assert made == 11


def test_a_should_is_a_warning_unless_attackers_get_in() -> None:
    minor = a_case(Level.SHOULD, Severity.MINOR)
    critical = a_case(Level.SHOULD, Severity.CRITICAL)
    procedure = a_case(Level.PROCEDURE, Severity.MINOR)
    assert minor.breach("x").verdict is Verdict.WARN
    assert critical.breach("x").verdict is Verdict.FAIL
    assert procedure.breach("x").verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("verdict", "conclusive", "drops", "kernel_resets", "trusted"),
    [
        (Verdict.PASS, False, 0, 0, True),
        (Verdict.PASS, False, 1, 0, False),
        (Verdict.FAIL, False, 1, 0, False),
        (Verdict.FAIL, True, 1, 0, True),
        (Verdict.PASS, False, 0, 1, False),
        (Verdict.SKIP, False, 1, 0, True),
    ],
)
def test_nothing_rests_on_absence_when_the_capture_lost_packets(
    verdict: Verdict, conclusive: bool, drops: int, kernel_resets: int, trusted: bool
) -> None:
    flow = FlowRecord("a SYN", ("192.0.2.1", 1), ("192.0.2.2", 2), 0, None, ())
    result = CaseResult(a_case(), verdict, "seen", 0.1, (flow,), conclusive=conclusive)
    expected = verdict if trusted else Verdict.INCONCLUSIVE
    assert distrust(result, drops, kernel_resets).verdict is expected


class SettledProbe(Probe):
    """A probe whose valid cookie has this fate, and which counts the attempts."""

    def __init__(self, fate: Outcome) -> None:
        super().__init__(FakeSession(3, True), a_case())  # type: ignore[arg-type]
        self.session.accepted_at = None
        self.fate = fate
        self.tried = 0

    async def accepts_valid_cookie(self, label: str) -> Outcome:
        self.tried += 1
        return self.fate


def test_a_rejection_proves_nothing_while_the_valid_cookie_is_not_accepted() -> None:
    probe = SettledProbe(FALLBACK)
    with pytest.raises(SettledError, match="proves nothing") as settled:
        asyncio.run(probe.rejects([("forged", Syn)]))
    assert settled.value.outcome.verdict is Verdict.INCONCLUSIVE
    assert probe.tried == 3


def test_every_one_of_several_forgeries_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    fates = {"first": PASS, "second": BREACH, "third": PASS}

    async def rejects_one(self: Probe, name: str, *_: object, **__: object) -> Outcome:
        return fates[name]

    monkeypatch.setattr(Probe, "_rejects_one", rejects_one)
    outcome = asyncio.run(SettledProbe(HONOURED).rejects([(name, Syn) for name in fates]))
    assert outcome == BREACH
