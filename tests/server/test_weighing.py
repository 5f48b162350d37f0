"""Attempts until they come to an answer: loss is never a verdict, and silence needs a control."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from rooms import Nobody, Spoilt, a_case, in_session, is_syn, labels, reference, with_cookie

from tfocheck.case import Agreement, Level, Outcome, Probe, Severity, Verdict
from tfocheck.judging.ballot import OtherKeyError, UnansweredError, UnusableError
from tfocheck.memory.clock import START, VirtualClock
from tfocheck.memory.hosts import Endpoint, TranslatedFarm
from tfocheck.server.erring import CONNECTIONS
from tfocheck.server.session import Session
from tfocheck.server.weighing import SILENCE_CHECKS, agree
from tfocheck.wire.options import FastOpen
from tfocheck.wire.segment import Segment

PASS = Outcome(Verdict.PASS, "ack 1")
BREACH = Outcome(Verdict.FAIL, "accepted", conclusive=True)
FALLBACK = Outcome(Verdict.FAIL, "fell back")
SILENT = UnansweredError("no answer")
RESET = UnansweredError("a reset")
UNUSABLE = UnusableError("came late")
SYN = Agreement(unanswered="the SYN")


class Judged:
    """The outcome over some attempts, the last one repeated for ever, and what it took."""

    def __init__(
        self,
        fates: Iterable[Outcome | Exception],
        how: Agreement = SYN,
        *,
        endpoint: Endpoint | None = None,
        prepare: Callable[[Session], None] = lambda session: None,
        level: Level = Level.MUST,
        **plan: Any,
    ) -> None:
        self.made = 0
        self.controls = 0
        self.decided: list[bool] = []
        self.silences: dict[str, str] = {}
        clock = VirtualClock()
        *first, last = fates
        script = itertools.chain(first, itertools.repeat(last))

        async def attempt(part: Probe) -> Outcome:
            self.made += 1
            part.opener.new_flow(f"attempt {self.made}")
            found = next(script)
            if isinstance(found, Exception):
                raise found
            return found

        async def judge(session: Session) -> Outcome:
            prepare(session)
            probe = Probe(session, a_case(level=level))
            outcome = await agree(session, probe, attempt, how)
            self.controls = labels(session).count("control: plain SYN")
            self.decided = [flow.decided for flow in probe.evidence.flows]
            self.silences = session.facts.silences
            return outcome

        self.outcome = in_session(judge, endpoint, clock=clock, **plan)
        self.seconds = clock.now - START


def test_one_accepted_forgery_decides_and_its_packets_are_the_evidence() -> None:
    judged = Judged([PASS, PASS, BREACH])
    assert judged.outcome == BREACH
    assert judged.decided == [False, False, True]
    assert judged.controls == 0


def test_an_agreement_rests_on_the_first_that_said_so() -> None:
    judged = Judged([SILENT, PASS])
    assert judged.outcome == Outcome(Verdict.PASS, "ack 1 (3 of 4)")
    assert judged.decided == [False, True, False, False]


def test_a_breach_beside_a_pass_is_a_breach() -> None:
    fates = [Outcome(Verdict.PASS, "bare", True), Outcome(Verdict.FAIL, "option", True)]
    assert Judged(fates, Agreement(need=2)).outcome.verdict is Verdict.FAIL


def test_the_users_attempts_must_agree_unless_the_case_says_how_many() -> None:
    assert Judged([PASS], attempts=4).made == 4
    assert Judged([PASS], Agreement(need=2), attempts=4).made == 2


def test_more_must_agree_on_a_path_that_loses_packets() -> None:
    how = Agreement(more_where_lossy=2)
    assert Judged([PASS], how).made == 3

    def lossy(session: Session) -> None:
        session.has_lost = True

    assert Judged([PASS], how, prepare=lossy).made == 5


def test_pauses_are_kept() -> None:
    judged = Judged([FALLBACK], Agreement(together=False))
    assert judged.outcome.verdict is Verdict.FAIL
    assert judged.seconds == pytest.approx(1.3, abs=0.01)


def test_silence_is_a_breach_only_while_plain_syns_are_answered() -> None:
    judged = Judged([SILENT])
    assert judged.outcome == Outcome(
        Verdict.FAIL,
        "the SYN gets no answer (6 of 6 attempts) while plain SYNs are answered: the server, or a "
        "box on the way, refuses it",
    )
    assert judged.made == 6 + SILENCE_CHECKS
    # Each of the further ones stands between two plain SYNs, at an easy pace.
    assert judged.controls == 2 * SILENCE_CHECKS
    assert judged.seconds >= SILENCE_CHECKS
    assert judged.decided == [True] + [False] * (judged.made - 1)
    judged = Judged([SILENT], endpoint=Nobody())
    assert judged.outcome.verdict is Verdict.INCONCLUSIVE
    assert judged.outcome.seen == "no answer in 6 of 6 attempts; nor do plain SYNs get one now"


def test_silence_proves_nothing_for_a_case_that_does_not_expect_an_answer() -> None:
    judged = Judged([SILENT], Agreement())
    assert judged.outcome.verdict is Verdict.INCONCLUSIVE
    assert judged.outcome.seen == "no answer in 11 of 11 attempts; plain SYNs are answered"


def test_silence_that_ends_with_an_outage_or_a_rate_limit_is_no_breach() -> None:
    judged = Judged([SILENT] * 6 + [PASS])
    assert judged.outcome.verdict is Verdict.PASS
    assert judged.made > 6


@pytest.mark.parametrize("silent", [7, 8])
def test_a_silence_must_last_through_every_check(silent: int) -> None:
    assert Judged([SILENT] * silent + [PASS]).outcome.verdict is Verdict.PASS


def test_resets_and_silence_mixed_decide_nothing() -> None:
    assert Judged([SILENT, RESET, SILENT, RESET, RESET]).outcome.verdict is Verdict.INCONCLUSIVE
    # Nor does a silence that turns into resets when it is looked into.
    assert Judged([SILENT] * 6 + [RESET]).outcome.verdict is Verdict.INCONCLUSIVE


def test_resets_alone_are_a_breach_too() -> None:
    judged = Judged([RESET])
    assert judged.outcome.verdict is Verdict.FAIL
    assert judged.outcome.seen.startswith("the SYN gets a reset (6 of 6 attempts)")


@pytest.mark.parametrize("unheard", [1, 2, 3, 6])
def test_one_control_without_an_answer_makes_a_silence_a_moments(unheard: int) -> None:
    """A rate limit, or an outage, may have met the stimulus as well."""
    syns = itertools.count(1)

    def takes(segment: Segment, now: float) -> bool:
        return not is_syn(segment) or next(syns) != unheard

    judged = Judged([SILENT], endpoint=Spoilt(reference(), takes))
    assert judged.outcome.verdict is Verdict.INCONCLUSIVE


def stimulated(takes: Callable[[Segment, float], bool]) -> tuple[Outcome, int]:
    """The outcome for a SYN with a cookie at a server that does not take every segment."""

    async def attempt(part: Probe) -> Outcome:
        async with part.beside_others("stimulus", FastOpen(b"forged!!")):
            return PASS

    async def script(session: Session) -> tuple[Outcome, int]:
        probe = Probe(session, a_case())
        outcome = await agree(session, probe, attempt, SYN)
        behind = labels(session).count("control: plain SYN right behind it")
        await session.finish()
        assert all(flow.is_closed or flow.resets_sent for flow in session.flows if flow.syn_acks)
        return outcome, behind

    return in_session(script, Spoilt(reference(), takes))


def test_a_plain_syn_right_behind_the_stimulus_must_be_answered_too() -> None:
    outcome, behind = stimulated(lambda segment, _: segment.fast_open is None)
    assert outcome.verdict is Verdict.FAIL
    assert behind == SILENCE_CHECKS
    last = 0.0

    def takes(segment: Segment, now: float) -> bool:
        """Nothing gets through for a moment after a stimulus: a rate limit."""
        nonlocal last
        if segment.fast_open is not None:
            last = now
        return now - last > 0.01

    outcome, behind = stimulated(takes)
    assert outcome.verdict is Verdict.INCONCLUSIVE
    assert behind == 1


def test_when_nothing_is_answered_no_more_is_tried() -> None:
    judged = Judged([SILENT], endpoint=Nobody())
    assert judged.made == 6


def test_what_a_case_of_the_path_looks_into_is_left_to_it() -> None:
    judged = Judged([SILENT], Agreement(unanswered="a SYN with data", path="path.syn-data-dropped"))
    assert judged.outcome.verdict is Verdict.SKIP
    assert judged.outcome.seen.endswith("while plain SYNs are answered: see path.syn-data-dropped")
    [(path, seen)] = judged.silences.items()
    assert path == "path.syn-data-dropped"
    assert judged.outcome.seen == f"{seen}: see {path}"


def test_where_such_silence_is_known_it_is_not_looked_into_again() -> None:
    def known(session: Session) -> None:
        session.facts.silences["path.syn-data-dropped"] = "a SYN with data gets no answer"

    judged = Judged([SILENT], prepare=known)
    assert judged.outcome == Outcome(Verdict.SKIP, "no answer: see path.syn-data-dropped")
    assert (judged.made, judged.controls) == (3, 0)
    assert Judged([PASS], prepare=known).outcome.verdict is Verdict.PASS
    assert Judged([SILENT, SILENT, PASS], prepare=known).outcome.verdict is Verdict.PASS


def test_attempts_that_disagree_decide_nothing() -> None:
    judged = Judged([PASS, FALLBACK] * 20)
    assert judged.outcome.verdict is Verdict.INCONCLUSIVE
    assert "do not agree" in judged.outcome.seen
    assert judged.made == 11
    assert not any(judged.decided)


def test_a_should_that_is_never_kept_is_a_warning() -> None:
    judged = Judged([SILENT], level=Level.SHOULD)
    assert judged.outcome.verdict is Verdict.WARN


FARM = Agreement(together=False, other_key="turned down with another cookie")
OTHER_KEY = OtherKeyError("another cookie")


def test_a_cookie_that_is_always_turned_down_with_another_one_is_the_breach() -> None:
    judged = Judged([OTHER_KEY], FARM, endpoint=reference("many-keys"))
    assert judged.outcome == Outcome(Verdict.FAIL, "turned down with another cookie (31 of 31)")


@pytest.mark.parametrize("servers", range(2, 8))
def test_of_servers_that_take_turns_one_is_met_that_gave_the_cookie(servers: int) -> None:
    addresses = [(f"10.0.1.{number}", f"fd00:1::{number}") for number in range(servers)]
    farm = TranslatedFarm([reference() for _ in addresses], addresses)

    async def script(session: Session) -> Outcome:
        probe = await with_cookie(session)

        async def attempt(part: Probe) -> Outcome:
            return await part.accepts_valid_cookie("a valid cookie")

        return await agree(session, probe, attempt, FARM)

    assert in_session(script, farm).verdict is Verdict.PASS


def test_a_key_that_keeps_changing_is_no_farm() -> None:
    judged = Judged([OTHER_KEY], FARM)
    assert judged.outcome.verdict is Verdict.INCONCLUSIVE
    assert judged.outcome.seen == "turned down with another cookie (31 of 31): it keeps changing"


def test_another_key_and_something_else_decide_nothing() -> None:
    judged = Judged([UNUSABLE, OTHER_KEY], FARM)
    assert judged.outcome.verdict is Verdict.INCONCLUSIVE
    assert "do not agree" in judged.outcome.seen


def test_what_goes_wrong_in_an_attempt_goes_wrong_in_the_case() -> None:
    with pytest.raises(ZeroDivisionError):
        Judged([PASS, ZeroDivisionError(), PASS])


def test_who_is_cancelled_leaves_no_attempt_running() -> None:
    cancelled = 0

    async def script(session: Session) -> None:
        async def attempt(part: Probe) -> Outcome:
            nonlocal cancelled
            try:
                await session.clock.sleep(100)
            except BaseException:
                cancelled += 1
                raise
            return PASS

        probe = await with_cookie(session)
        question = asyncio.ensure_future(agree(session, probe, attempt, Agreement()))
        await session.clock.sleep(1)
        question.cancel()
        with pytest.raises(asyncio.CancelledError):
            await question
        await session.clock.sleep(0)
        assert cancelled == 3

    in_session(script)


def test_one_that_goes_wrong_ends_the_others() -> None:
    ended: list[str] = []

    async def script(session: Session) -> None:
        made = itertools.count(1)

        async def attempt(part: Probe) -> Outcome:
            number = next(made)
            if number == 2:
                raise ZeroDivisionError
            try:
                await session.clock.sleep(100)
                ended.append("made")
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise
            return PASS

        with pytest.raises(ZeroDivisionError):
            await agree(session, Probe(session, a_case()), attempt, Agreement())
        await session.clock.sleep(0)
        assert ended == ["cancelled", "cancelled"]

    in_session(script)


def test_a_should_is_a_warning_unless_attackers_get_in() -> None:
    minor = a_case(level=Level.SHOULD, severity=Severity.MINOR)
    critical = a_case(level=Level.SHOULD, severity=Severity.CRITICAL)
    procedure = a_case(level=Level.PROCEDURE, severity=Severity.MINOR)
    assert minor.breach("x").verdict is Verdict.WARN
    assert critical.breach("x").verdict is Verdict.FAIL
    assert procedure.breach("x").verdict is Verdict.FAIL


def once_not_served(*, erred: bool) -> tuple[Outcome, int]:
    """The outcome where one attempt of eleven was not served, and so many plain ones were tried."""
    made = 0

    async def attempt(part: Probe) -> Outcome:
        nonlocal made
        made += 1
        part.application.has_failed = made == 1
        return FALLBACK if made == 1 else PASS

    async def script(session: Session) -> tuple[Outcome, int]:
        session.manners.has_erred = erred
        outcome = await agree(session, Probe(session, a_case()), attempt, Agreement())
        return outcome, labels(session).count("control: does it fail now and then?")

    return in_session(script)


def test_one_that_is_not_served_says_nothing_where_plain_ones_are_not_either() -> None:
    outcome, plain = once_not_served(erred=True)
    assert outcome == Outcome(
        Verdict.PASS,
        "ack 1 (10 of 11); once not served, as plain connections are not now and then",
    )
    assert plain == 0


def test_one_that_is_not_served_stays_open_where_plain_ones_always_are() -> None:
    outcome, plain = once_not_served(erred=False)
    assert outcome.verdict is Verdict.INCONCLUSIVE
    assert outcome.seen == "attempts do not agree: fell back (1 of 11); ack 1 (10 of 11)"
    assert plain == CONNECTIONS


def crowded(most: int) -> tuple[Outcome, int, str | None]:
    """The outcome where so many attempts at a time are served, how many it took, and the limit."""
    made = inside = 0

    async def script(session: Session) -> tuple[Outcome, int, str | None]:
        async def attempt(part: Probe) -> Outcome:
            nonlocal made, inside
            made, inside = made + 1, inside + 1
            await session.clock.sleep(0.1)
            part.application.has_failed = inside > most
            await session.clock.sleep(0.1)
            inside -= 1
            return FALLBACK if part.application.has_failed else PASS

        outcome = await agree(session, Probe(session, a_case()), attempt, Agreement())
        return outcome, made, session.limit

    return in_session(script)


def test_who_is_blamed_for_a_crowd_is_asked_again_one_by_one() -> None:
    outcome, made, limit = crowded(most=2)
    assert outcome == Outcome(Verdict.PASS, "ack 1 (3 of 3)")
    assert made == 3 + 3
    assert limit is not None
    assert limit.startswith("of 3 connections at the same time 3 are not served")


def test_who_serves_nobody_one_by_one_is_blamed() -> None:
    outcome, made, limit = crowded(most=0)
    assert outcome == Outcome(Verdict.FAIL, "fell back (3 of 3)")
    assert made == 3 + 3
    assert limit is None
