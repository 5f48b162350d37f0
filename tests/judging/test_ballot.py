"""The ballot: presence is conclusive, absence needs agreement, and loss is never a verdict."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from tfocheck.case import Outcome, Verdict
from tfocheck.judging.ballot import (
    LEAST_TO_BLAME,
    LEAST_TO_SUSPECT,
    MORE_KEYS,
    Ballot,
    LookInto,
    NothingToSeeError,
    OtherKeyError,
    Said,
    Settled,
    Spent,
    Try,
    UnansweredError,
    UnusableError,
)

PASS = Outcome(Verdict.PASS, "ack 1")
BREACH = Outcome(Verdict.FAIL, "accepted", conclusive=True)
FALLBACK = Outcome(Verdict.FAIL, "fell back")
WARNING = Outcome(Verdict.WARN, "late")
HONOURED = Outcome(Verdict.PASS, "honoured", conclusive=True)
OPEN = Outcome(Verdict.INCONCLUSIVE, "both ways")
SILENT = UnansweredError("no answer")
RESET = UnansweredError("a reset")
UNUSABLE = UnusableError("came late")
OTHER_KEY = OtherKeyError("another cookie")


@dataclass
class Held:
    """A ballot that was held to its end."""

    end: Settled[int] | Spent
    ballot: Ballot[int]
    tries: list[Try]

    @property
    def outcome(self) -> Outcome:
        assert isinstance(self.end, Settled)
        return self.end.outcome

    @property
    def seen(self) -> str:
        assert isinstance(self.end, Spent)
        return self.end.seen

    @property
    def made(self) -> int:
        return self.ballot.made

    @property
    def pauses(self) -> list[float]:
        return [step.pause for step in self.tries]


def hold(
    attempts: Iterable[Said],
    *,
    need: int = 3,
    together: bool = True,
    many_keys: bool = False,
    suspects: bool = False,
) -> Held:
    """Hold a ballot over these attempts, the last one repeated for ever; evidence is the number."""
    ballot: Ballot[int] = Ballot(need, together, many_keys, suspects)
    *first, last = attempts
    said = enumerate(itertools.chain(first, itertools.repeat(last)), 1)
    tries: list[Try] = []
    while True:
        match ballot.next():
            case Try() as step:
                tries.append(step)
                made = [next(said) for _ in range(step.count)]
                ballot.count([(each, number) for number, each in made])
            case LookInto():
                raise AssertionError("looked into")
            case end:
                return Held(end, ballot, tries)


def test_one_accepted_forgery_is_a_finding() -> None:
    assert hold([PASS, PASS, BREACH]).outcome == BREACH


def test_the_evidence_is_that_of_the_attempt_that_decides() -> None:
    assert hold([PASS, PASS, BREACH]).end == Settled(BREACH, 3)
    assert hold([SILENT, PASS]).end == Settled(Outcome(Verdict.PASS, "ack 1 (3 of 4)"), 2)


def test_a_single_rejection_is_no_pass() -> None:
    assert hold([PASS]).made == 3


def test_one_honoured_cookie_is_enough() -> None:
    held = hold([HONOURED], together=False)
    assert (held.outcome, held.made) == (HONOURED, 1)


@pytest.mark.parametrize("before", [[FALLBACK], [FALLBACK, FALLBACK], [SILENT, FALLBACK]])
def test_an_unexpected_fallback_is_repeated_not_reported(before: list[Said]) -> None:
    assert hold([*before, HONOURED], together=False).outcome == HONOURED


def test_a_steady_fallback_is_a_failure() -> None:
    held = hold([FALLBACK], together=False)
    assert held.outcome.verdict is Verdict.FAIL
    assert "(3 of 3)" in held.outcome.seen
    assert held.made == 3


def test_lost_packets_are_made_up_for() -> None:
    held = hold([PASS, SILENT, PASS, SILENT, PASS])
    assert held.outcome.verdict is Verdict.PASS
    assert held.made == 5


def test_attempts_that_disagree_decide_nothing() -> None:
    held = hold([PASS, FALLBACK] * 20)
    assert "do not agree" in held.seen
    assert held.made == 11


def test_unusable_attempts_decide_nothing() -> None:
    held = hold([UNUSABLE])
    assert "came late" in held.seen
    assert held.made == 11


def test_few_attempts_do_not_blame() -> None:
    held = hold([FALLBACK, HONOURED], need=1, together=False)
    assert (held.outcome, held.made) == (HONOURED, 2)


@pytest.mark.parametrize("bad", [FALLBACK, WARNING])
def test_it_takes_three_to_blame_and_as_many_as_the_user_wants_to_praise(bad: Outcome) -> None:
    held = hold([bad], need=1)
    assert (held.outcome.verdict, held.made) == (bad.verdict, LEAST_TO_BLAME)
    held = hold([PASS], need=1)
    assert (held.outcome, held.made) == (PASS, 1)
    assert hold([bad], need=5).made == 5


def test_a_breach_beside_a_pass_is_a_breach() -> None:
    bare = Outcome(Verdict.PASS, "bare", conclusive=True)
    option = Outcome(Verdict.FAIL, "option", conclusive=True)
    assert hold([bare, option], need=2).end == Settled(option, 2)
    assert hold([option, bare], need=2).end == Settled(option, 1)
    late = Outcome(Verdict.WARN, "late", conclusive=True)
    assert hold([bare, late], need=2).outcome == late


def test_what_decides_nothing_stands_in_no_others_way() -> None:
    held = hold([OPEN, OPEN, OPEN, PASS])
    assert held.outcome == OPEN_AGREED  # three agree that nothing can be told
    held = hold([OPEN, OPEN, PASS])
    assert held.outcome.verdict is Verdict.PASS
    assert held.made == 5


OPEN_AGREED = Outcome(Verdict.INCONCLUSIVE, "both ways (3 of 3)")


def test_as_many_are_made_side_by_side_as_are_missing() -> None:
    assert [step.count for step in hold([PASS]).tries] == [3]
    assert [step.count for step in hold([PASS, SILENT, PASS]).tries] == [3, 1]
    assert [step.count for step in hold([SILENT, SILENT, PASS]).tries] == [3, 2]
    assert [step.count for step in hold([PASS], together=False).tries] == [1, 1, 1]
    # Enough have praised, and one has blamed: each further one may decide.
    assert [step.count for step in hold([PASS, PASS, FALLBACK, PASS]).tries][:2] == [3, 1]


def test_no_more_are_made_than_may_be() -> None:
    counts = [step.count for step in hold([SILENT]).tries]
    assert counts == [3, 3, 3, 2]
    assert hold([SILENT], need=1).made == 11
    assert hold([SILENT], need=4).made == 14


def test_a_farm_may_turn_down_many_more() -> None:
    held = hold([OTHER_KEY], many_keys=True)
    assert held.made == 11 + MORE_KEYS
    assert held.ballot.turned_down == held.made
    assert hold([OTHER_KEY] * 25 + [PASS], many_keys=True).outcome.verdict is Verdict.PASS


def test_another_key_counts_only_if_every_one_that_was_answered_met_it() -> None:
    assert hold([SILENT, OTHER_KEY]).ballot.turned_down == 10
    assert hold([UNUSABLE, OTHER_KEY]).ballot.turned_down == 0
    assert hold([PASS, FALLBACK, OTHER_KEY]).ballot.turned_down == 0


def test_a_fallback_may_be_a_short_queues_so_pauses_grow() -> None:
    assert hold([FALLBACK], together=False).pauses == [0.0, 0.3, 1.0]
    pauses = hold([UNUSABLE], together=False).pauses
    assert pauses == [0.0, 0.3, *[1.0] * 9]
    assert hold([SILENT]).pauses == [0.0, 1.0, 1.0, 1.0]
    assert hold([FALLBACK], need=1).pauses == [0.0, 0.3, 1.0]


def test_who_was_given_another_cookie_uses_it_at_once() -> None:
    assert hold([OTHER_KEY], together=False).pauses == [0.0] * 11
    assert hold([OTHER_KEY, UNUSABLE], together=False).pauses[:3] == [0.0, 0.0, 1.0]


def test_silence_is_looked_into_once() -> None:
    ballot: Ballot[int] = Ballot(3, suspects=True)
    while isinstance(step := ballot.next(), Try):
        ballot.count([(SILENT, 0)] * step.count)
    assert step == LookInto()
    assert ballot.made == 6  # at least five, three at a time
    assert ballot.is_silent
    while isinstance(step := ballot.next(), Try):
        ballot.count([(SILENT, 0)] * step.count)
    assert isinstance(step, Spent)


@pytest.mark.parametrize(("need", "made"), [(1, LEAST_TO_SUSPECT), (3, 5), (4, 7)])
def test_so_many_silent_attempts_are_suspicious(need: int, made: int) -> None:
    ballot: Ballot[int] = Ballot(need, suspects=True)
    ballot.count([(SILENT, 0)] * (made - 1))
    assert isinstance(ballot.next(), Try)
    ballot.count([(SILENT, 0)])
    assert ballot.next() == LookInto()


def test_one_answer_is_no_silence() -> None:
    ballot: Ballot[int] = Ballot(3, suspects=True)
    ballot.count([(PASS, 0), *[(SILENT, 0)] * 8])
    assert not ballot.is_silent
    assert isinstance(ballot.next(), Try)


def test_a_silence_takes_as_many_attempts_as_an_agreement() -> None:
    ballot: Ballot[int] = Ballot(3)
    ballot.count([(SILENT, 0)] * 2)
    assert not ballot.is_silent
    ballot.count([(SILENT, 0)])
    assert ballot.is_silent


def test_who_gives_up_is_told_what_there_is() -> None:
    ballot: Ballot[int] = Ballot(3)
    ballot.count([(SILENT, 0), (SILENT, 0), (PASS, 0)])
    ballot.give_up()
    assert ballot.next() == Spent("attempts do not agree: ack 1 (1 of 3); no answer (2 of 3)")


def test_a_disagreement_says_how_often_each_was_said() -> None:
    ballot: Ballot[int] = Ballot(2)
    for said in (FALLBACK, PASS, SILENT, UNUSABLE, PASS, FALLBACK, SILENT, SILENT, FALLBACK, PASS):
        ballot.count([(said, 0)])
    ballot.count([(OPEN, 0)])
    assert ballot.next() == Spent(
        "attempts do not agree: fell back (3 of 11); both ways (1 of 11); ack 1 (3 of 11); "
        "no answer (3 of 11); came late (1 of 11)"
    )


def test_a_proof_ends_the_count() -> None:
    ballot: Ballot[int] = Ballot(3)
    ballot.count([(HONOURED, 1), (BREACH, 2), (SILENT, 3)])
    assert ballot.next() == Settled(BREACH, 2)
    assert ballot.made == 3
    assert ballot.silent == []
    ballot.count([(BREACH, 4)])
    assert ballot.next() == Settled(BREACH, 2)


def test_with_one_attempt_nothing_is_counted_in_words() -> None:
    assert hold([PASS], need=1).outcome.seen == "ack 1"
    assert hold([PASS], need=2).outcome.seen == "ack 1 (2 of 2)"


@pytest.mark.parametrize("reason", [UNUSABLE, NothingToSeeError("came late")])
def test_unanimous_attempts_say_their_reason_once(reason: UnusableError) -> None:
    end = hold([reason]).end
    nothing = isinstance(reason, NothingToSeeError)
    assert end == Spent("came late (11 of 11 attempts)", nothing)


def test_one_that_finds_something_is_disagreement_and_there_is_something_to_see() -> None:
    end = hold([PASS, NothingToSeeError("came late")]).end
    assert isinstance(end, Spent)
    assert end.seen.startswith("attempts do not agree: ")
    assert not end.nothing_to_see


def test_two_are_too_few_to_tell_that_there_is_nothing_to_see() -> None:
    for first in (UnusableError("was lost"), SILENT):
        end = hold([*[first] * 9, *[NothingToSeeError("came late")] * 2]).end
        assert isinstance(end, Spent)
        assert not end.nothing_to_see


@pytest.mark.parametrize("first", [UnusableError("was lost"), SILENT, OPEN])
def test_what_decides_nothing_does_not_disagree_that_there_is_nothing_to_see(first: Said) -> None:
    end = hold([first, NothingToSeeError("came late")]).end
    assert end == Spent("came late (10 of 11 attempts)", nothing_to_see=True)


def test_silence_is_looked_into_only_where_it_is_suspicious() -> None:
    ballot: Ballot[int] = Ballot(3)
    ballot.count([(SILENT, 0)] * 6)
    assert isinstance(ballot.next(), Try)
    ballot.count([(SILENT, 0)] * 5)
    assert isinstance(ballot.next(), Spent)


@pytest.mark.parametrize(
    ("attempts", "failures", "seen"),
    [
        ([FALLBACK, *[PASS] * 10], 1, "ack 1 (10 of 11)"),
        ([FALLBACK, UNUSABLE, *[PASS] * 9], 1, "ack 1 (9 of 11)"),
        ([*[FALLBACK] * 2, *[PASS] * 9], 2, "ack 1 (9 of 11)"),
        # One of them was bad for another reason.
        ([*[FALLBACK] * 2, *[PASS] * 9], 1, None),
        # Enough to blame.
        ([*[FALLBACK] * 3, *[PASS] * 8], 3, None),
        # Too few that are good, or of two minds.
        ([FALLBACK, *[UNUSABLE] * 8, PASS, PASS], 1, None),
        ([FALLBACK, *[PASS] * 9, Outcome(Verdict.INFO, "odd")], 1, None),
    ],
)
def test_failures_too_few_to_blame_can_be_set_aside(
    attempts: list[Said], failures: int, seen: str | None
) -> None:
    ballot = hold(attempts).ballot
    found = ballot.but_for(failures)
    assert (None if found is None else found.outcome.seen) == seen


def test_where_nothing_is_to_be_seen_it_does_not_matter_how_that_shows() -> None:
    reset, silent = NothingToSeeError("reset, as plain ones are"), NothingToSeeError("no answer")
    end = hold([silent, reset]).end
    assert end == Spent("reset, as plain ones are (11 of 11 attempts)", nothing_to_see=True)
