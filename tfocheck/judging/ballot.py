"""How attempts are weighed: what is to be done next, and what they come to.

Rules that hold here:

* Presence is conclusive, absence needs agreement: unless an attempt is conclusive, several must
  have the same verdict, and more of them to blame than to praise.
* What one attempt has found, no good one beside it undoes.
* An attempt that decides nothing stands in no other's way.
* When every attempt is met with silence, that is looked into, once.
* Unanimous is not disagreement: attempts that all prove nothing for one reason say it once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from tfocheck.model.case import Outcome, Verdict

LEAST_TO_BLAME = 3
"""So many attempts must agree that something is missing, however few the user wants."""

MORE_KEYS = 20
"""So many more attempts where each may meet another server of a farm, with a key of its own."""

LEAST_TO_SUSPECT = 5
"""So many silent attempts make the stimulus suspicious; fewer may be loss."""

PAUSES = (0.0, 0.3, 1.0)
"""Seconds before each further attempt after an unexpected fallback: other clients' pending requests
may fill a short queue for a moment."""

BAD = (Verdict.FAIL, Verdict.WARN)

E = TypeVar("E")
"""The evidence of an attempt, which is only handed back."""


class UnansweredError(Exception):
    """A SYN got no SYN-ACK; ``how`` says what it got."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


class UnusableError(Exception):
    """An attempt that proves nothing either way, with the reason; it is repeated."""


class NothingToSeeError(UnusableError):
    """An attempt that meets something which leaves the case nothing to look at, if all do."""


class OtherKeyError(UnusableError):
    """The valid cookie was turned down, and another one offered: there is another key."""


Said = Outcome | UnansweredError | UnusableError
"""What came of one attempt."""


@dataclass(frozen=True)
class Try:
    """Make so many attempts side by side, after a pause in seconds."""

    count: int
    pause: float


@dataclass(frozen=True)
class LookInto:
    """Every attempt so far was met with silence: is it the stimulus?"""


@dataclass(frozen=True)
class Settled(Generic[E]):
    """The outcome, and the evidence that decided it."""

    outcome: Outcome
    evidence: E


@dataclass(frozen=True)
class Spent:
    """No more tries, and no agreement; ``seen`` says what the attempts came to instead.

    ``nothing_to_see`` says that all of them met what leaves the case nothing to look at.
    """

    seen: str
    nothing_to_see: bool = False


@dataclass
class Ballot(Generic[E]):
    """The attempts of one question.

    ``need`` of them must agree; ``together`` makes them side by side; with ``many_keys`` more may
    be turned down; with ``suspects`` a silence is looked into.
    """

    need: int
    together: bool = True
    many_keys: bool = False
    suspects: bool = False
    made: int = 0
    silent: list[tuple[UnansweredError, E]] = field(default_factory=list)
    """The attempts that were met with silence."""
    _agreed: dict[Verdict, list[tuple[Outcome, E]]] = field(default_factory=dict)
    _unusable: list[UnusableError] = field(default_factory=list)
    _conclusive: Settled[E] | None = None
    _looked_into: bool = False
    _given_up: bool = False

    @property
    def tries(self) -> int:
        """How many attempts may be made at most."""
        return 3 * max(self.need, LEAST_TO_BLAME) + 2 + (MORE_KEYS if self.many_keys else 0)

    @property
    def is_silent(self) -> bool:
        """True if there were enough attempts, and no answer to any."""
        return len(self.silent) == self.made >= self.need

    @property
    def turned_down(self) -> int:
        """How many attempts met another key, if all that were answered did; else 0."""
        if self._agreed or not all(isinstance(each, OtherKeyError) for each in self._unusable):
            return 0
        return len(self._unusable)

    def count(self, results: Sequence[tuple[Said, E]]) -> None:
        """Take in what attempts that were made side by side have said."""
        for said, evidence in sorted(results, key=lambda each: not _is_bad(each[0])):
            if self._conclusive is not None:
                break
            if isinstance(said, UnansweredError):
                self.silent.append((said, evidence))
            elif isinstance(said, UnusableError):
                self._unusable.append(said)
            elif said.conclusive:
                self._conclusive = Settled(said, evidence)
            else:
                self._agreed.setdefault(said.verdict, []).append((said, evidence))
        self.made += len(results)

    def give_up(self) -> None:
        """No more attempts: nothing is answered any more."""
        self._given_up = True

    def next(self) -> Try | LookInto | Settled[E] | Spent:
        """What is to be done now."""
        found = self._conclusive or self._agreement()
        if found is not None:
            return found
        if self.suspects and not self._looked_into and self._is_suspicious():
            self._looked_into = True
            return LookInto()
        if self._given_up or self.made >= self.tries:
            return self._without_agreement()
        best = max(map(len, self._agreed.values()), default=0)
        count = max(1, self.need - best) if self.together else 1
        return Try(min(count, self.tries - self.made), self._pause())

    def _is_suspicious(self) -> bool:
        enough = max(2 * self.need - 1, LEAST_TO_SUSPECT)
        return len(self.silent) == self.made >= enough

    def _agreement(self) -> Settled[E] | None:
        decided = {
            verdict: found
            for verdict, found in self._agreed.items()
            if verdict is not Verdict.INCONCLUSIVE
        } or self._agreed
        if len(decided) != 1:
            return None
        [(verdict, found)] = decided.items()
        if len(found) < (max(self.need, LEAST_TO_BLAME) if verdict in BAD else self.need):
            return None
        return self._settled(found)

    def but_for(self, failures: int) -> Settled[E] | None:
        """What the good attempts agree on, if only so many bad ones, too few to blame, do not."""
        good = {each: found for each, found in self._agreed.items() if each not in BAD}
        bad = sum(len(found) for each, found in self._agreed.items() if each in BAD)
        good.pop(Verdict.INCONCLUSIVE, None)
        if bad != failures or bad >= max(self.need, LEAST_TO_BLAME) or len(good) != 1:
            return None
        [found] = good.values()
        return self._settled(found) if len(found) >= max(self.need, LEAST_TO_BLAME * bad) else None

    def _settled(self, found: list[tuple[Outcome, E]]) -> Settled[E]:
        outcome, evidence = found[0]
        count = f" ({len(found)} of {self.made})" if self.need > 1 else ""
        return Settled(Outcome(outcome.verdict, outcome.seen + count), evidence)

    def _pause(self) -> float:
        # Who has just been given another cookie had better use it at once.
        is_fresh = bool(self._unusable) and isinstance(self._unusable[-1], OtherKeyError)
        is_first = self.made < self.need if self.together else not self.made
        if is_fresh or is_first:
            return 0.0
        return PAUSES[min(self.made, len(PAUSES) - 1)]

    def _without_agreement(self) -> Spent:
        nothing = [each for each in self._unusable if isinstance(each, NothingToSeeError)]
        if not set(self._agreed) - {Verdict.INCONCLUSIVE} and len(nothing) >= LEAST_TO_BLAME:
            # Unanimous is not disagreement, however differently it showed; and what was lost, or
            # proves nothing, does not disagree.
            [(text, _)] = Counter(map(str, nothing)).most_common(1)
            return Spent(f"{text} ({len(nothing)} of {self.made} attempts)", nothing_to_see=True)
        if len(self._unusable) == self.made and len(set(map(str, self._unusable))) == 1:
            return Spent(f"{self._unusable[0]} ({self.made} of {self.made} attempts)")
        parts = [
            f"{found[0][0].seen} ({len(found)} of {self.made})"
            for _, found in sorted(self._agreed.items())
        ]
        if self.silent:
            parts.append(f"{self.silent[0][0].how} ({len(self.silent)} of {self.made})")
        if self._unusable:
            parts.append(f"{self._unusable[0]} ({len(self._unusable)} of {self.made})")
        return Spent(f"attempts do not agree: {'; '.join(parts)}")


def _is_bad(said: Said) -> bool:
    return isinstance(said, Outcome) and said.verdict in BAD
