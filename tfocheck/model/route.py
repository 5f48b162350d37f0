"""The route to a server: which routers are on it, and what happens to what is sent through them."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from tfocheck.model.report import Hop
from tfocheck.wire.quote import Change

PLAIN = "plain SYN"
OPTION = "SYN with the option"
DATA = "SYN with data"
OPEN = "SYN with cookie and data"
AFTER_OPEN = "segment after a Fast Open"


@dataclass
class Echo:
    """What a router said of one stimulus."""

    router: str
    seconds: float | None
    shows_options: bool
    changes: tuple[Change, ...]


@dataclass
class Route:
    """The hops before a server, and what happens on the way.

    ``reached_at`` is the smallest TTL with which a plain SYN was answered by the server's address,
    None if that was never seen. ``echoes`` maps a stimulus to TTL → what the router there said.
    """

    reached_at: int | None = None
    echoes: dict[str, dict[int, Echo]] = field(default_factory=dict)

    @property
    def routers(self) -> dict[int, str]:
        """TTL → address of the router there, as far as it answers."""
        known: dict[int, str] = {}
        for echoes in self.echoes.values():
            for ttl, echo in echoes.items():
                known.setdefault(ttl, echo.router)
        return dict(sorted(known.items()))

    def changed(self, name: str, stimulus: str | None = None) -> tuple[Change, str] | None:
        """The first change of that field, and between which hops it happens; None if none."""
        for each, echoes in self.echoes.items():
            if stimulus in (None, each):
                for ttl in sorted(echoes):
                    for change in echoes[ttl].changes:
                        if change.field == name:
                            return change, self.between(each, ttl, name)
        return None

    def between(self, stimulus: str, ttl: int, name: str) -> str:
        """ "between A (hop 1) and B (hop 2)": B's quote shows the change, A's did not."""
        echoes = self.echoes[stimulus]
        before = [hop for hop in sorted(echoes) if hop < ttl and _shows(echoes[hop], name)]
        here = f"{echoes[ttl].router} (hop {ttl})"
        if not before:
            return f"between here and {here}"
        return f"between {echoes[before[-1]].router} (hop {before[-1]}) and {here}"

    def vanished(self, stimulus: str) -> str | None:
        """Where the stimulus gets lost, though plain SYNs go on; None if it reaches all routers.

        Only meaningful for a stimulus that the server does not answer either.
        """
        reached = sorted(self.echoes.get(stimulus, {}))
        plain = sorted(self.echoes.get(PLAIN, {}))
        if not plain:
            return None
        beyond = [ttl for ttl in plain if not reached or ttl > reached[-1]]
        last = f"{self.routers[reached[-1]]} (hop {reached[-1]})" if reached else "here"
        if beyond:
            return f"between {last} and {self.routers[beyond[0]]} (hop {beyond[0]})"
        return f"behind {last}, the last router before the server"

    def stops_short(self, stimulus: str) -> bool:
        """True if plain SYNs get further than this stimulus."""
        reached = self.echoes.get(stimulus, {})
        return max(self.echoes.get(PLAIN, {}), default=0) > max(reached, default=0)

    def reaches_the_end(self, stimulus: str) -> bool:
        """True if the stimulus is known to get as far as plain SYNs do: only the server is next."""
        if self.reached_at == 1:
            return True
        return bool(self.echoes.get(stimulus)) and not self.stops_short(stimulus)

    def note_reached(self, stimulus: str, routers: set[str]) -> None:
        """These routers have answered a stimulus of another kind."""
        self.echoes[stimulus] = {
            ttl: Echo(router, None, False, ())
            for ttl, router in self.routers.items()
            if router in routers
        }

    @property
    def shows_options(self) -> bool:
        """True if some router quotes enough to see the options."""
        echoes = self.echoes.get(OPTION, {})
        return any(echo.shows_options for echo in echoes.values())

    @property
    def last_router(self) -> str | None:
        """The last router that quoted the option, as "address (hop n)"."""
        echoes = self.echoes.get(OPTION, {})
        intact = [ttl for ttl in sorted(echoes) if echoes[ttl].shows_options]
        return f"{echoes[intact[-1]].router} (hop {intact[-1]})" if intact else None

    @property
    def changes(self) -> list[tuple[Change, str]]:
        """Everything that is changed on the way, each field once, and where."""
        fields = dict.fromkeys(
            change.field
            for echoes in self.echoes.values()
            for ttl in sorted(echoes)
            for change in echoes[ttl].changes
        )
        found = (self.changed(name) for name in fields)
        return [each for each in found if each is not None]

    def hops(self) -> tuple[Hop, ...]:
        """The table: every TTL before the server, silent hops included."""
        routers = self.routers
        last = max([*routers, (self.reached_at or 1) - 1], default=0)
        seen: set[str] = set()
        table = []
        for ttl in range(1, last + 1):
            new = []
            times = []
            for echoes in self.echoes.values():
                echo = echoes.get(ttl)
                if echo is None:
                    continue
                if echo.seconds is not None:
                    times.append(echo.seconds)
                for change in echo.changes:
                    if change.field not in seen:
                        seen.add(change.field)
                        new.append(change.what)
            missing = [
                stimulus
                for stimulus, echoes in self.echoes.items()
                if ttl in self.echoes.get(PLAIN, {}) and ttl not in echoes
            ]
            new += [f"no {each} gets here" for each in missing]
            table.append(
                Hop(ttl, routers.get(ttl), statistics.median(times) if times else None, tuple(new))
            )
        return tuple(table)


def _shows(echo: Echo, name: str) -> bool:
    return name == "sequence" or echo.shows_options
