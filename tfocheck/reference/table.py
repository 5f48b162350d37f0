"""The connections that a server knows: a bounded table with the earliest timer at hand."""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict

from tfocheck.reference.connection import Connection
from tfocheck.reference.states import State

Peer = tuple[str, int, str]
"""The client's address and port, and the server's address."""


class ConnectionTable:
    """Connections by peer, the quietest first; at most so many.

    Whoever lets a connection do something calls ``note`` afterwards.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._connections: OrderedDict[Peer, Connection] = OrderedDict()
        self._pending: set[Peer] = set()
        self._half_open: set[Peer] = set()
        # (time, number, peer): a connection is looked at no later than its timer is due. That the
        # timer has moved further away shows only then.
        self._looks: list[tuple[float, int, Peer]] = []
        self._look_at: dict[Peer, float] = {}
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._connections)

    @property
    def pending(self) -> int:
        """How many are pending Fast Opens."""
        return len(self._pending)

    @property
    def half_open(self) -> int:
        """How many wait for the handshake's end, pending Fast Opens not counted."""
        return len(self._half_open)

    def get(self, peer: Peer) -> Connection | None:
        """The peer's connection."""
        return self._connections.get(peer)

    def add(self, peer: Peer, connection: Connection) -> None:
        """A new connection, for which an old one is forgotten if there are too many."""
        self._make_room()
        self._connections[peer] = connection

    def forget(self, peer: Peer) -> None:
        """The connection is over."""
        self._connections.pop(peer, None)
        self._pending.discard(peer)
        self._half_open.discard(peer)
        self._look_at.pop(peer, None)

    def heard(self, peer: Peer) -> None:
        """The peer has sent something: it is the least quiet now."""
        self._connections.move_to_end(peer)

    def note(self, peer: Peer, connection: Connection) -> bool:
        """Keep the table true after an event of this connection; True if it ceased to be pending.

        A connection that is closed is forgotten.
        """
        was_pending = peer in self._pending
        if connection.state is State.CLOSED:
            self.forget(peer)
            return was_pending
        deadline = connection.deadline
        look_at = self._look_at.get(peer)
        if look_at is None or deadline < look_at:
            self._look(peer, deadline)
        if connection.is_pending_fast_open:
            self._pending.add(peer)
            return False
        if connection.state is State.SYN_RECEIVED:
            self._half_open.add(peer)
        else:
            self._half_open.discard(peer)
        self._pending.discard(peer)
        return was_pending

    def next_timer(self) -> float | None:
        """When the first timer is due; None while there is no connection."""
        looks = self._looks
        while looks:
            time, _, peer = looks[0]
            connection = self._connections.get(peer)
            if connection is not None and self._look_at.get(peer) == time:
                deadline = connection.deadline
                if deadline <= time:
                    return time
                self._look(peer, deadline)
            heapq.heappop(looks)
        return None

    def due(self, now: float) -> list[tuple[Peer, Connection]]:
        """The connections whose timers are due at ``now``, in their order."""
        found = []
        while (time := self.next_timer()) is not None and time <= now:
            _, _, peer = heapq.heappop(self._looks)
            del self._look_at[peer]
            found.append((peer, self._connections[peer]))
        return found

    def _look(self, peer: Peer, time: float) -> None:
        self._look_at[peer] = time
        heapq.heappush(self._looks, (time, next(self._numbers), peer))

    def _make_room(self) -> None:
        """Forget a connection if there are too many: one in TIME-WAIT, else the quietest.

        Never a pending Fast Open if there is another: it would stop counting (section 5.1).
        """
        if len(self._connections) < self._limit:
            return
        known = self._connections.items()
        waiting = (peer for peer, one in known if one.state is State.TIME_WAIT)
        quiet = (peer for peer in self._connections if peer not in self._pending)
        self.forget(next(waiting, None) or next(quiet, None) or next(iter(self._connections)))
