"""Cookies: asking for them, replaying them, and what it means that one is turned down."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tfocheck.engine.flow import Flow
from tfocheck.judging.ballot import OtherKeyError, UnansweredError, UnusableError
from tfocheck.server.opener import Opener, brings_other_cookie
from tfocheck.server.session import Session
from tfocheck.wire.options import FastOpen

WAVES = 3
WAVE = 8
"""So often, one after another, so many cookies are asked for at a time to tell a key that changes
from servers with a key each."""

MOST_CHANGES = 4
"""So many cookies a wave may bring at once from a server whose key changes: requests pass it."""

QUICKEST_CHANGE = 0.5
"""Seconds for each further one, where a wave takes its time: what got lost is asked for again."""

T = TypeVar("T")


@dataclass(frozen=True)
class Issued:
    """A cookie, and between which times the server made it, in Unix seconds."""

    cookie: bytes
    asked: float
    came: float


class Cookies:
    """The target's cookies, asked for and replayed by an opener."""

    def __init__(self, session: Session, opener: Opener) -> None:
        self._session = session
        self._opener = opener

    async def persistently(self, part: Callable[[], Awaitable[T]]) -> T:
        """One of several steps of an attempt: what got lost is done again, on another flow.

        Raises what the last one raised when all are lost.
        """
        for _ in range(0 if self._session.facts.silences else self._session.attempts + 1):
            with contextlib.suppress(UnansweredError, UnusableError):
                return await part()
        return await part()

    async def issued_now(
        self, count: int = 16, *, source: str | None = None, label: str = "cookie request"
    ) -> list[bytes]:
        """The legal cookies of so many requests at the same time, in the order of the requests.

        ``source`` replaces our usual address. What gets lost, or has no cookie, is asked for again.
        """
        return [each.cookie for each in await self._issued(count, source, label)]

    async def _issued(
        self, count: int, source: str | None = None, label: str = "cookie request"
    ) -> list[Issued]:
        async def one() -> Issued:
            asked = FastOpen()
            async with self._opener.beside_others(
                label, asked, rejected=True, source=source
            ) as flow:
                option, syn_ack = flow.offered, flow.syn_ack
                if option is None or not option.has_legal_cookie:
                    raise UnusableError("no legal cookie this time")
                assert flow.syn_time is not None
                assert syn_ack is not None
                return Issued(option.cookie, flow.syn_time, syn_ack.time)

        async def surely() -> Issued | None:
            with contextlib.suppress(UnansweredError, UnusableError):
                return await self.persistently(one)
            return None

        found = await asyncio.gather(*(surely() for _ in range(count)))
        return [each for each in found if each is not None]

    async def has_one_key(self) -> bool:
        """True if all servers that answer now have the same key; then its cookie is taken over.

        A key that changes while we ask is not one that comes back.
        """
        issued = [Issued(self._session.facts.cookie or b"", 0.0, 0.0)]
        for _ in range(WAVES):
            wave = await self._issued(WAVE)
            issued += wave
            if not wave or are_too_many(wave) or any_comes_back(issued):
                return False
        self._session.facts.cookie = max(issued, key=lambda each: each.asked).cookie
        return True

    async def still_offered(self) -> bool:
        """True if a cookie request is answered with a cookie now; what gets lost is sent again.

        Linux stops issuing cookies while its queue of pending requests is full, or its backlog. One
        answer without a cookie is enough to tell that this happens here.
        """
        for _ in range(self._session.attempts):
            with contextlib.suppress(UnansweredError, UnusableError):
                async with self._opener.beside_others(
                    "control: cookie request", FastOpen(), rejected=True
                ) as flow:
                    return flow.offered_cookie is not None
        return False

    def must_be_open(self, flow: Flow) -> None:
        """Go on only if the valid cookie was honoured this time, with all of the SYN's data.

        Else the attempt proves nothing, and UnusableError is raised.
        """
        if flow.acknowledged != 1 + len(flow.syn_data):
            raise UnusableError("the valid cookie was not honoured this time")

    def accepted(self, flow: Flow) -> None:
        """Note that the valid cookie was accepted: there was room in the queue of requests."""
        self._session.note_acceptance(flow)

    def refuse_other_key(self, flow: Flow) -> None:
        """Take over the other cookie that came with a rejection, if one did.

        Raises OtherKeyError then: the server's key has changed, or another server has answered.
        """
        fresh = flow.offered
        if fresh is not None and brings_other_cookie(flow):
            self._session.facts.cookie = fresh.cookie
            raise OtherKeyError("turned down with another cookie (has the key changed?)")


def are_too_many(wave: Sequence[Issued]) -> bool:
    """True if no key changes as often as a wave of requests has brought another cookie."""
    took = max(each.came for each in wave) - min(each.asked for each in wave)
    return len({each.cookie for each in wave}) > MOST_CHANGES + took // QUICKEST_CHANGE


def any_comes_back(issued: Sequence[Issued]) -> bool:
    """True if a cookie was made both before and after another one: there are two keys for certain.

    Requests of the same time prove nothing, whatever their order: each may have been delayed.
    """

    def may_end_before(one: bytes, other: bytes) -> bool:
        last = max(each.asked for each in issued if each.cookie == one)
        return last <= min(each.came for each in issued if each.cookie == other)

    return any(
        not may_end_before(one, other) and not may_end_before(other, one)
        for one, other in itertools.combinations({each.cookie for each in issued}, 2)
    )
