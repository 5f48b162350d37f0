"""How the application behaves on plain connections, found out once for all cases of an address."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass
class OrdinaryAnswer:
    """What the application answers on plain connections.

    ``signatures`` are the stable parts of the answers seen (``Payload.signature``), empty for an
    application that says nothing; ``delays`` are the times in seconds from the request, or the
    handshake, to the first byte, less a round trip.
    """

    signatures: set[bytes] = field(default_factory=set)
    delays: list[float] = field(default_factory=list)

    @property
    def delay(self) -> float:
        """The longest of them so far."""
        return max([0.0, *self.delays])


class Once(Generic[T]):
    """Something that is found out once, by whoever asks first, and for everybody."""

    def __init__(self) -> None:
        self._finding: asyncio.Task[T] | None = None

    async def find(self, out: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What was found, or is being found; ``out`` is how to, if nobody has asked yet.

        Who asked first may go away: the others still get it.
        """
        if self._finding is None:
            self._finding = asyncio.create_task(out())
        return await asyncio.shield(self._finding)

    def forget(self) -> None:
        """Nobody waits for it any more."""
        if self._finding is not None:
            self._finding.cancel()


class Manners:
    """What is known of the application."""

    def __init__(self) -> None:
        self.answer: Once[OrdinaryAnswer] = Once()
        self.shows_input: Once[bool] = Once()
        """Whether it answers a damaged request otherwise than a whole one."""
        self.errs: Once[bool] = Once()
        """Whether it fails now and then, whatever it is asked."""
        self.has_erred = False
        """Whether a plain connection was seen that it did not serve, while it served others."""

    def forget(self) -> None:
        """Nobody asks any more."""
        self.answer.forget()
        self.shows_input.forget()
        self.errs.forget()
