"""The reference server's listener: RFC 7413 section 4.2.2, sans-IO.

``ReferenceServer`` takes segments and gives segments; it has no socket and no clock. Without faults
it keeps every line of the RFC; each fault breaks one.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable

from tfocheck.reference.application import Application
from tfocheck.reference.connection import Connection
from tfocheck.reference.cookie import CookieMaker
from tfocheck.reference.faults import ActiveFaults
from tfocheck.reference.header import Header, reset_for
from tfocheck.reference.http import serve_http
from tfocheck.reference.opening import Opening
from tfocheck.reference.procedure import Procedure
from tfocheck.reference.receiver import RECEIVE_BUFFER
from tfocheck.reference.syn_cookies import SynCookieMaker
from tfocheck.reference.table import ConnectionTable, Peer
from tfocheck.reference.variations import USUAL, SynCookies, Variations
from tfocheck.wire.numbers import SEQUENCE_SPACE
from tfocheck.wire.options import (
    END_OF_LIST,
    MAX_COOKIE_BYTES,
    MAX_OPTION_BYTES,
    MAXIMUM_SEGMENT_SIZE,
    MIN_COOKIE_BYTES,
    NO_OPERATION,
    SACK,
    SACK_PERMITTED,
    TIMESTAMPS,
    WINDOW_SCALE,
    FastOpen,
)
from tfocheck.wire.segment import Flags, Segment

PENDING_LIMIT = 64
"""How many Fast Open requests may be pending (RFC 7413 section 4.2.2, step 2)."""

RESET_COUNTS_SECONDS = 60.0
"""How long a pending request that was reset still counts (RFC 7413 section 5.1)."""

MAX_CONNECTIONS = 1024

_SYN_COOKIE_KEY_BYTES = 16

_KNOWN_KINDS = {
    END_OF_LIST,
    NO_OPERATION,
    MAXIMUM_SEGMENT_SIZE,
    WINDOW_SCALE,
    SACK_PERMITTED,
    SACK,
    TIMESTAMPS,
}


class ReferenceServer:
    """A TCP server with an HTTP application on one port, on every address it is spoken to at.

    ``fast_open`` is the RFC's FastOpenEnabled; ``pending_limit`` the system limit of
    PendingFastOpenRequests; ``cookie_key`` and ``rng`` (ISNs, bogus cookies) make a run repeatable.
    ``variations`` is what it makes of the RFCs' liberties; ``application`` makes what serves a
    connection, given the client's address; ``backlog`` is how many ordinary SYNs may wait for the
    handshake's end, None for any number. ``now`` is in seconds, on any clock that does not run
    backwards.
    """

    def __init__(
        self,
        port: int,
        faults: Iterable[str] = (),
        *,
        fast_open: bool = True,
        pending_limit: int = PENDING_LIMIT,
        max_connections: int = MAX_CONNECTIONS,
        cookie_key: bytes | None = None,
        rng: random.Random | None = None,
        variations: Variations = USUAL,
        application: Callable[[str], Application] = serve_http,
        backlog: int | None = None,
    ) -> None:
        self._port = port
        self._faults = ActiveFaults(faults)
        self._pending_limit = pending_limit
        self._rng = rng or random.SystemRandom()
        self._variations = variations
        self._application = application
        self._backlog = backlog
        self._cookies = CookieMaker(self._faults, cookie_key, variations, self._rng)
        self._procedure = Procedure(
            self._faults, variations, self._cookies, self._rng, fast_open=fast_open
        )
        self._syn_cookies = SynCookieMaker(self._rng.randbytes(_SYN_COOKIE_KEY_BYTES))
        self._table = ConnectionTable(max_connections)
        # When each reset request stops counting. More of them than the limit make no difference.
        self._resets: deque[float] = deque(maxlen=max(pending_limit, 1))
        self._dead = False

    def rotate(self, key: bytes | None = None) -> None:
        """A new cookie key; cookies of the last one stay valid until the next rotation."""
        self._cookies.rotate(key)

    @property
    def connection_count(self) -> int:
        """How many connections are remembered, TIME-WAIT included."""
        return len(self._table)

    def pending_requests(self, now: float) -> int:
        """PendingFastOpenRequests, with those that were reset within the last 60 s."""
        while self._resets and self._resets[0] <= now:
            self._resets.popleft()
        return self._table.pending + len(self._resets)

    # Events

    def receive(self, segment: Segment, now: float) -> list[Segment]:
        """Process one segment; returns the segments to send, in order."""
        if self._dead or segment.destination_port != self._port:
            return []
        peer = (segment.source, segment.source_port, segment.destination)
        connection = self._table.get(peer)
        if connection is not None and self._is_replaced(connection, segment):
            self._table.forget(peer)
            connection = None
        if connection is None:
            return self._listen(peer, segment, now)
        self._table.heard(peer)
        replies = connection.receive(segment, now)
        self._note(peer, connection, now)
        return replies

    def next_timer(self) -> float | None:
        """When ``fire`` is due next; None while there is no connection."""
        return self._table.next_timer()

    def fire(self, now: float) -> list[Segment]:
        """Let every timer run that is due at ``now``; returns the segments to send."""
        replies: list[Segment] = []
        for peer, connection in self._table.due(now):
            replies += connection.fire(now)
            self._note(peer, connection, now)
        return [] if self._dead else replies

    # The LISTEN state, RFC 9293 section 3.10.7.2

    def _listen(self, peer: Peer, segment: Segment, now: float) -> list[Segment]:
        if segment.is_reset:
            return []
        if segment.flags & Flags.ACK:
            return self._listen_to_ack(peer, segment, now)
        return self._listen_to_syn(peer, segment, now) if segment.flags & Flags.SYN else []

    def _listen_to_syn(self, peer: Peer, segment: Segment, now: float) -> list[Segment]:
        if "resets-syn" in self._faults:
            return [reset_for(segment)]
        if self._drops_syn(segment, now):
            return []
        if self._backlog_is_full:
            # Linux comes to Fast Open only behind this.
            if self._variations.syn_cookies is SynCookies.NEVER:
                return []
            return [self._syn_cookie(segment, now)]
        opening = self._procedure.decide(segment, is_full=self._is_full(now))
        if self._ignores_empty_opening(segment, opening):
            return []
        return self._open(peer, segment, opening, now)

    def _open(self, peer: Peer, syn: Segment, opening: Opening, now: float) -> list[Segment]:
        connection = self._new_connection(peer, syn, opening, self._rng.getrandbits(32), now)
        replies = connection.open(now)
        self._note(peer, connection, now)
        return replies

    def _new_connection(
        self, peer: Peer, syn: Segment, opening: Opening, isn: int, now: float
    ) -> Connection:
        connection = Connection(
            syn,
            opening,
            isn=isn,
            application=self._application(peer[0]),
            faults=self._faults,
            now=now,
            variations=self._variations,
        )
        self._table.add(peer, connection)
        return connection

    # SYN cookies

    @property
    def _backlog_is_full(self) -> bool:
        if self._variations.syn_cookies is SynCookies.ALWAYS:
            return True
        return self._backlog is not None and self._table.half_open >= self._backlog

    def _syn_cookie(self, syn: Segment, now: float) -> Segment:
        """A SYN-ACK for what is forgotten at once: MSS is its only option."""
        reduced, isn = self._syn_cookies.reduced(syn), self._syn_cookies.isn(syn)
        header = Header(reduced, isn, self._faults)
        return header.syn_ack(now, (syn.seq + 1) % SEQUENCE_SPACE, RECEIVE_BUFFER, None, b"")

    def _listen_to_ack(self, peer: Peer, segment: Segment, now: float) -> list[Segment]:
        """An ACK for nothing that is remembered: it may bring back a SYN cookie."""
        is_possible = self._backlog is not None or (
            self._variations.syn_cookies is SynCookies.ALWAYS
        )
        syn = self._syn_cookies.syn_of(segment) if is_possible else None
        if syn is None:
            return [reset_for(segment)]
        isn = (segment.ack - 1) % SEQUENCE_SPACE
        connection = self._new_connection(peer, syn, Opening(), isn, now)
        connection.open(now)  # its SYN-ACK was sent long ago
        replies = connection.receive(segment, now)
        self._note(peer, connection, now)
        return replies

    # SYNs that a faulty server does not answer

    def _drops_syn(self, syn: Segment, now: float) -> bool:
        faults = self._faults
        if "dies-on-bad-length" in faults and syn.option_list.malformed:
            self._dead = True
        if "dies-on-length" in faults and self._has_long_cookie(syn):
            self._dead = True
        return (
            self._dead
            or ("drops-unknown-option" in faults and _has_unknown_option(syn))
            or ("drops-short-option" in faults and 0 < _cookie_bytes(syn) < MIN_COOKIE_BYTES)
            or ("drops-long-option" in faults and _cookie_bytes(syn) > MAX_COOKIE_BYTES)
            or ("drops-crowded-syn" in faults and len(syn.options) == MAX_OPTION_BYTES)
            or ("refuses-when-full" in faults and self._is_full(now))
        )

    def _has_long_cookie(self, syn: Segment) -> bool:
        found = syn.fast_open
        is_legal = found is not None and found.has_legal_cookie
        return found is not None and is_legal and len(found.cookie) > self._cookies.size

    def _ignores_empty_opening(self, syn: Segment, opening: Opening) -> bool:
        return "needs-data" in self._faults and opening.fast_opened and not syn.payload

    # What was decided and known

    def _is_full(self, now: float) -> bool:
        """Step 2: PendingFastOpenRequests has reached the system limit."""
        return self.pending_requests(now) >= self._pending_limit

    def _is_replaced(self, connection: Connection, segment: Segment) -> bool:
        if "second-connection" in self._faults and connection.is_repeat_of_its_syn(segment):
            return True
        return connection.makes_way_for(segment)

    def _note(self, peer: Peer, connection: Connection, now: float) -> None:
        """Keep PendingFastOpenRequests true after an event of this connection."""
        ended = self._table.note(peer, connection)
        # Section 5.1: else an attacker with a spoofed address could have its victim's resets
        # free the requests as fast as they are made.
        if ended and connection.was_reset and "forgets-resets" not in self._faults:
            self._resets.append(now + RESET_COUNTS_SECONDS)


def _has_unknown_option(syn: Segment) -> bool:
    return any(
        option.kind not in _KNOWN_KINDS and FastOpen.from_option(option) is None
        for option in syn.option_list.options
    )


def _cookie_bytes(syn: Segment) -> int:
    return len(syn.fast_open.cookie) if syn.fast_open is not None else 0
