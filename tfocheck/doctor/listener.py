"""A listening socket with what is known of it."""

from __future__ import annotations

from dataclasses import dataclass

from tfocheck.doctor.netns import View
from tfocheck.doctor.processes import Process
from tfocheck.doctor.sockets import Listening, Options


@dataclass(frozen=True)
class Listener:
    """A listening socket, or several that are alike, which ``count`` says.

    ``options`` is None where the socket may not be asked; ``reason`` then says why. ``holders``
    are the processes that hold it, as far as they may be seen.
    """

    listening: Listening
    view: View
    options: Options | None
    reason: str = ""
    holders: tuple[Process, ...] = ()
    count: int = 1

    @property
    def process(self) -> Process | None:
        """The process to name: the first that holds the socket, rather than a systemd's."""
        others = [each for each in self.holders if each.name != "systemd"]
        return next(iter(others or self.holders), None)

    @property
    def queue(self) -> int | None:
        """The length of the Fast Open queue; None when it could not be read."""
        return self.options.queue if self.options else None

    def answers(self, family: int) -> bool:
        """Whether clients of this family reach it."""
        both = self.options is not None and self.options.takes_ipv4
        return family == self.listening.family or (family == 4 and both)

    @property
    def is_guard(self) -> bool:
        """Whether it is a port that a check running here keeps silent."""
        return self.options is not None and self.options.deaf and not self.options.queue
