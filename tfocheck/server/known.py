"""The facts as one case may see them: those that it says it learns or reads."""

from __future__ import annotations

from tfocheck.model.case import Case
from tfocheck.model.facts import Fact, Facts


class Known:
    """A case's view of the facts of its address. Raises LookupError for a fact it did not declare.

    What cases are loaded with makes sure that who reads a fact rests on a case that learns it.
    """

    def __init__(self, facts: Facts, case: Case) -> None:
        self._facts = facts
        self._case = case

    def learn(self, fact: Fact, value: object) -> None:
        """Note a fact, for this case and for those that rest on it."""
        if fact not in self._case.learns:
            raise LookupError(f"case {self._case.id} learns {fact}, which its learns= does not say")
        setattr(self._facts, fact.value, value)

    def _read(self, fact: Fact) -> Facts:
        if fact not in (*self._case.reads, *self._case.learns):
            raise LookupError(f"case {self._case.id} reads {fact}, which its reads= does not say")
        return self._facts

    @property
    def server_mss(self) -> int | None:
        """See ``Fact.SERVER_MSS``."""
        return self._read(Fact.SERVER_MSS).server_mss

    @property
    def answers_early(self) -> bool:
        """See ``Fact.ANSWERS_EARLY``."""
        return self._read(Fact.ANSWERS_EARLY).answers_early

    @property
    def acknowledges_plain_data(self) -> bool:
        """See ``Fact.ACKNOWLEDGES_PLAIN_DATA``."""
        return self._read(Fact.ACKNOWLEDGES_PLAIN_DATA).acknowledges_plain_data

    @property
    def silences(self) -> dict[str, str]:
        """See ``Fact.SILENCES``."""
        return self._read(Fact.SILENCES).silences

    @property
    def cookies_seen(self) -> set[bytes]:
        """See ``Fact.COOKIES_SEEN``."""
        return self._read(Fact.COOKIES_SEEN).cookies_seen
