"""The route to a server, hop by hop: SYNs with a small TTL, and what the routers quote of them.

A router where the TTL runs out sends the packet's beginning back (RFC 792, RFC 4443). Compared with
what was sent, the quotes of successive routers tell between which two of them an option was taken
out, a number was shifted or a packet was thrown away. The idea is that of tracebox (Detal et al.,
"Revealing middlebox interference with tracebox", IMC 2013).

Stimuli are sent to each hop before the server, never to the server itself: what the server makes of
them is what the cases look at.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tfocheck.engine.flow import Flow
from tfocheck.model.report import Hop
from tfocheck.server.session import Session
from tfocheck.wire import options as tcp_options
from tfocheck.wire.evidence import Captured
from tfocheck.wire.options import FastOpen
from tfocheck.wire.quote import Change, compare
from tfocheck.wire.segment import Flags

FARTHEST = 30
FIRST_BATCH = 8
PAUSES = (0.0, 0.3, 1.1)
"""Seconds before each try: routers limit how many errors they send, Linux to one a second."""

INITIAL_TTLS = (64, 128, 255)

PLAIN = "plain SYN"
OPTION = "SYN with the option"
DATA = "SYN with data"
OPEN = "SYN with cookie and data"
AFTER_OPEN = "segment after a Fast Open"


def distance(ttl: int) -> int:
    """How many hops away a packet was sent that arrives with this TTL, as far as that shows."""
    return next((start - ttl for start in INITIAL_TTLS if ttl <= start), 0) + 1


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


class Tracer:
    """Sends the stimuli of one address, hop by hop."""

    def __init__(self, session: Session, new_flow: Callable[[str], Flow]) -> None:
        self._session = session
        self._new_flow = new_flow
        self.route = Route()

    async def trace(self, *, cookie: bytes | None) -> Route:
        """Find the routers by plain SYNs, then see how the others fare there."""
        await self._find_routers()
        data = self._session.payload.data
        stimuli: list[tuple[str, tuple[FastOpen, ...], bytes]] = [
            (OPTION, (FastOpen(),), b""),
            (DATA, (), data),
        ]
        if cookie is not None:
            stimuli.append((OPEN, (FastOpen(cookie),), data))
        for name, fast_open, load in stimuli:
            self.route.echoes[name] = {}
            await self._send_to(sorted(self.route.echoes[PLAIN]), name, fast_open, load)
        return self.route

    async def _find_routers(self) -> None:
        self.route.echoes[PLAIN] = {}
        first = 1
        while first <= FARTHEST and self.route.reached_at is None:
            batch = range(first, min(first + FIRST_BATCH, FARTHEST + 1))
            await self._send_to(batch, PLAIN, (), b"")
            first = batch.stop
            if self.route.reached_at is None and not any(
                ttl in self.route.echoes[PLAIN] for ttl in batch
            ):
                break  # nothing but silence: it will not get better behind it
        if self.route.reached_at is not None:
            plain = self.route.echoes[PLAIN]
            for ttl in [ttl for ttl in plain if ttl >= self.route.reached_at]:
                del plain[ttl]

    async def _send_to(
        self, ttls: Sequence[int], name: str, fast_open: tuple[FastOpen, ...], data: bytes
    ) -> None:
        """Send the stimulus with each of these TTLs until it is answered, at most some times."""
        left = list(ttls)
        for pause in PAUSES:
            if not left:
                return
            await self._session.clock.sleep(pause)
            await asyncio.gather(*(self._send(ttl, name, fast_open, data) for ttl in left))
            reached = self.route.reached_at or FARTHEST + 1
            known = self.route.echoes[name]
            left = [ttl for ttl in left if ttl not in known and ttl < reached]

    async def _send(
        self, ttl: int, name: str, fast_open: tuple[FastOpen, ...], data: bytes
    ) -> None:
        session = self._session
        flow = self._new_flow(f"{name}, TTL {ttl}")
        area = session.syn_options(*fast_open, flow=flow)
        await flow.send_syn(area, data, ttl=ttl)
        wait = session.round_trips.syn_wait(session.timeout)
        await flow.wait(lambda: flow.is_answered, wait)
        session.close_later(flow)
        sent = next((each for each in flow.packets if each.sent), None)
        if name == PLAIN and (flow.syn_acks or flow.reset):
            self.route.reached_at = min(ttl, self.route.reached_at or ttl)
        for error in flow.icmps:
            if error.is_time_exceeded and sent is not None:
                self._note(ttl, name, sent, error.sender, error.quote, error.time)

    def _note(
        self, ttl: int, name: str, sent: Captured, router: str, quote: bytes, time: float
    ) -> None:
        found = compare(sent.segment, quote)
        if found is not None:
            seconds = max(0.0, time - sent.time)
            self.route.echoes[name].setdefault(
                ttl, Echo(router, seconds, found.shows_options, found.changes)
            )


def holes(plain: Captured, asked: Captured) -> int:
    """How many more bytes of NOPs a SYN-ACK has than the one for a plain SYN.

    A box that takes an option out overwrites it: what was there shows by the hole.
    """
    return _padding(asked) - _padding(plain)


def _padding(captured: Captured) -> int:
    options = captured.segment.option_list.options
    return sum(option.kind == tcp_options.NO_OPERATION for option in options)


def nearer(first: Captured, others: Sequence[Captured]) -> tuple[int, int] | None:
    """(hops to the sender of the first, hops to the others) if the first is certainly nearer."""
    far = {distance(each.segment.ttl) for each in others}
    near = distance(first.segment.ttl)
    if far and near < min(far):
        return near, min(far)
    return None


def contradicting_acks(packets: Sequence[Captured]) -> tuple[int, int] | None:
    """The server's two acknowledgements if its SYN-ACK and the data behind it contradict.

    Both were sent before anything of ours could have come between, so a box has changed one.
    """
    syn_ack = None
    for captured in packets:
        if captured.sent and not captured.segment.flags & Flags.SYN:
            return None
        if captured.sent:
            continue
        if captured.segment.is_syn_ack:
            syn_ack = syn_ack or captured.segment
        elif syn_ack is not None and captured.segment.payload and captured.segment.has_ack:
            then = captured.segment.ack
            return (syn_ack.ack, then) if then != syn_ack.ack else None
    return None
