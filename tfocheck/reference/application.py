"""What a connection serves: bytes in, bytes out, the time is an argument."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod


class Application(ABC):
    """One connection's application; see ``HttpConversation``.

    Whoever has it says ``at`` what time it is before anything else.
    """

    now = 0.0
    is_accepted = False

    @property
    @abstractmethod
    def unread(self) -> int:
        """How many received bytes wait; the receive window shrinks by as many."""

    @property
    @abstractmethod
    def finished(self) -> bool:
        """It has closed the connection: nothing is left to say and nothing will follow."""

    @abstractmethod
    def receive(self, data: bytes) -> None:
        """Take bytes from the client."""

    @abstractmethod
    def end(self) -> None:
        """The client will send no more (FIN)."""

    @abstractmethod
    def read(self, room: int) -> bytes:
        """At most ``room`` bytes of what it has to say."""

    @property
    def aborts(self) -> bool:
        """It wants the connection reset."""
        return False

    @property
    def deadline(self) -> float:
        """When it does something by itself; infinite if it only ever answers."""
        return math.inf

    def at(self, now: float) -> None:
        """The time is ``now``, in seconds on any clock."""
        self.now = now

    def accepted(self) -> None:
        """The connection is its own from now on: accept() has returned it."""
        self.is_accepted = True

    def closed(self) -> None:
        """The connection is over."""
        self.is_accepted = False
