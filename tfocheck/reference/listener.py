"""The reference server's listener: RFC 7413 section 4.2.2, sans-IO.

``ReferenceServer`` takes segments and gives segments; it has no socket and no clock. Without faults
it keeps every line of the RFC; each fault breaks one.
"""

from __future__ import annotations

import random
from collections import OrderedDict, deque
from collections.abc import Iterable

from tfocheck.reference.connection import Connection
from tfocheck.reference.cookie import COOKIE_BYTES, CookieMaker, read_fast_open
from tfocheck.reference.faults import ActiveFaults
from tfocheck.reference.header import reset_for
from tfocheck.reference.http import HttpConversation
from tfocheck.reference.opening import Opening
from tfocheck.reference.states import State
from tfocheck.wire.options import (
    END_OF_LIST,
    MAX_OPTION_BYTES,
    MAXIMUM_SEGMENT_SIZE,
    NO_OPERATION,
    SACK_PERMITTED,
    TIMESTAMPS,
    WINDOW_SCALE,
    FastOpen,
    Option,
)
from tfocheck.wire.segment import Flags, Segment

PENDING_LIMIT = 64
"""How many Fast Open requests may be pending (RFC 7413 section 4.2.2, step 2)."""

RESET_COUNTS_SECONDS = 60.0
"""How long a pending request that was reset still counts (RFC 7413 section 5.1)."""

MAX_CONNECTIONS = 1024

_SACK = 5
_KNOWN_KINDS = {
    END_OF_LIST,
    NO_OPERATION,
    MAXIMUM_SEGMENT_SIZE,
    WINDOW_SCALE,
    SACK_PERMITTED,
    _SACK,
    TIMESTAMPS,
}

_Peer = tuple[str, int, str]


class ReferenceServer:
    """A TCP server with an HTTP application on one port, on every address it is spoken to at.

    ``fast_open`` is the RFC's FastOpenEnabled; ``pending_limit`` the system limit of
    PendingFastOpenRequests; ``cookie_key`` and ``rng`` (ISNs, bogus cookies) make a run repeatable.
    ``now`` is in seconds, on any clock that does not run backwards.
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
    ) -> None:
        self._port = port
        self._faults = ActiveFaults(faults)
        self._fast_open = fast_open
        self._pending_limit = pending_limit
        self._max_connections = max_connections
        self._rng = rng or random.SystemRandom()
        self._cookies = CookieMaker(self._faults, cookie_key)
        self._connections: OrderedDict[_Peer, Connection] = OrderedDict()
        self._pending: set[_Peer] = set()
        # When each reset request stops counting. More of them than the limit make no difference.
        self._resets: deque[float] = deque(maxlen=max(pending_limit, 1))
        self._dead = False

    def rotate(self, key: bytes | None = None) -> None:
        """A new cookie key; cookies of the last one stay valid until the next rotation."""
        self._cookies.rotate(key)

    @property
    def connection_count(self) -> int:
        """How many connections are remembered, TIME-WAIT included."""
        return len(self._connections)

    def pending_requests(self, now: float) -> int:
        """PendingFastOpenRequests, with those that were reset within the last 60 s."""
        while self._resets and self._resets[0] <= now:
            self._resets.popleft()
        return len(self._pending) + len(self._resets)

    # Events

    def receive(self, segment: Segment, now: float) -> list[Segment]:
        """Process one segment; returns the segments to send, in order."""
        if self._dead or segment.destination_port != self._port:
            return []
        peer = (segment.source, segment.source_port, segment.destination)
        connection = self._connections.get(peer)
        if connection is not None and self._is_replaced(connection, segment):
            self._forget(peer)
            connection = None
        if connection is None:
            return self._listen(peer, segment, now)
        self._connections.move_to_end(peer)
        replies = connection.receive(segment, now)
        self._settle(peer, connection, now)
        return replies

    def next_timer(self) -> float | None:
        """When ``fire`` is due next; None while there is no connection."""
        return min((known.deadline for known in self._connections.values()), default=None)

    def fire(self, now: float) -> list[Segment]:
        """Let every timer run that is due at ``now``; returns the segments to send."""
        replies: list[Segment] = []
        due = [item for item in self._connections.items() if item[1].deadline <= now]
        for peer, connection in due:
            replies += connection.fire(now)
            self._settle(peer, connection, now)
        return [] if self._dead else replies

    # The LISTEN state, RFC 9293 section 3.10.7.2

    def _listen(self, peer: _Peer, segment: Segment, now: float) -> list[Segment]:
        if segment.is_reset:
            return []
        if segment.flags & Flags.ACK:
            return [reset_for(segment)]
        if not segment.flags & Flags.SYN:
            return []
        if "resets-syn" in self._faults:
            return [reset_for(segment)]
        if self._drops_syn(segment, now):
            return []
        opening = self._decide(segment, now)
        if self._ignores_empty_opening(segment, opening):
            return []
        return self._open(peer, segment, opening, now)

    def _open(self, peer: _Peer, syn: Segment, opening: Opening, now: float) -> list[Segment]:
        self._make_room()
        connection = Connection(
            syn,
            opening,
            isn=self._rng.getrandbits(32),
            application=HttpConversation(),
            faults=self._faults,
            now=now,
        )
        self._connections[peer] = connection
        if connection.is_pending_fast_open:
            self._pending.add(peer)
        return connection.open(now)

    # The procedure, RFC 7413 section 4.2.2

    def _decide(self, syn: Segment, now: float) -> Opening:
        """Steps 1 to 3, and what step 5 puts into the SYN-ACK."""
        if not self._is_enabled():
            return Opening()
        # Step 2 goes to step 5 without a look at the cookie; Linux gives no new one then either.
        if self._is_over_limit(now):
            return Opening()
        option = read_fast_open(syn, self._cookies, self._faults)
        if self._may_open(syn, option):
            return self._acceptance(syn, option)
        return self._fallback(syn, option)

    def _is_enabled(self) -> bool:
        """Step 1: FastOpenEnabled."""
        return self._fast_open or "answers-when-off" in self._faults

    def _is_over_limit(self, now: float) -> bool:
        """Step 2: PendingFastOpenRequests is over the system limit."""
        return self._is_full(now) and "no-limit" not in self._faults

    def _is_full(self, now: float) -> bool:
        return self.pending_requests(now) >= self._pending_limit

    def _may_open(self, syn: Segment, option: FastOpen | None) -> bool:
        """Step 3: IsCookieValid(ClientIP, Cookie)."""
        if option is None:
            has_data_only = bool(syn.payload) and syn.fast_open is None
            return "accept-without-option" in self._faults and has_data_only
        if option.is_request:
            return "accepts-data-with-request" in self._faults and bool(syn.payload)
        if "never-accepts" in self._faults:
            return False
        return self._cookies.is_valid(syn, option.cookie)

    def _acceptance(self, syn: Segment, option: FastOpen | None) -> Opening:
        """Steps 4 and 5 with FastOpened: the SYN-ACK acknowledges the data.

        It has an option only when the cookie's key is on its way out, which step 5 allows (MAY).
        """
        reply = None
        if option is not None and self._needs_fresh_cookie(syn, option):
            reply = self._cookie_option(syn, option)
        if option is not None and "bad-refresh" in self._faults:
            bogus = FastOpen(self._rng.randbytes(COOKIE_BYTES), option.experimental)
            reply = bogus.to_option()
        repeated = None
        if "repeats-data" in self._faults:
            repeated = self._cookie_option(syn, option or FastOpen())
        return Opening(fast_opened=True, option=reply, repeated_option=repeated)

    def _needs_fresh_cookie(self, syn: Segment, option: FastOpen) -> bool:
        if option.is_request:
            return True  # accepted all the same: a fault, but the request was one
        is_own = self._cookies.is_own(syn, option.cookie)
        return is_own and not self._cookies.is_current(syn, option.cookie)

    def _fallback(self, syn: Segment, option: FastOpen | None) -> Opening:
        """Step 5 without FastOpened: the SYN-ACK acknowledges the SYN alone.

        Who asked for a cookie gets one (section 4.2.1), and who sent an invalid one too (MAY).
        """
        reply = None
        if option is not None:
            reply = self._cookie_option(syn, option)
        elif "volunteers-cookie" in self._faults and syn.fast_open is None:
            reply = self._cookie_option(syn, FastOpen())
        return Opening(
            option=reply,
            repeated_option=reply if "repeats-option" in self._faults else None,
            rejected=option is not None and not option.is_request,
        )

    def _cookie_option(self, syn: Segment, asked: FastOpen) -> Option | None:
        """The sender's cookie, in the kind of option that it used (section 9)."""
        if "never-issues" in self._faults:
            return None
        experimental = asked.experimental and "mixes-kinds" not in self._faults
        experimental = experimental or "answers-old-kind" in self._faults
        return FastOpen(self._cookies.issue(syn), experimental).to_option()

    # SYNs that a faulty server does not answer

    def _drops_syn(self, syn: Segment, now: float) -> bool:
        faults = self._faults
        if "dies-on-bad-length" in faults and syn.option_list.malformed:
            self._dead = True
        if "dies-on-length" in faults and _has_long_cookie(syn):
            self._dead = True
        return (
            self._dead
            or ("drops-unknown-option" in faults and _has_unknown_option(syn))
            or ("drops-crowded-syn" in faults and len(syn.options) == MAX_OPTION_BYTES)
            or ("refuses-when-full" in faults and self._is_full(now))
        )

    def _ignores_empty_opening(self, syn: Segment, opening: Opening) -> bool:
        return "needs-data" in self._faults and opening.fast_opened and not syn.payload

    # The table of connections

    def _is_replaced(self, connection: Connection, segment: Segment) -> bool:
        if "second-connection" in self._faults and connection.is_repeat_of_its_syn(segment):
            return True
        return connection.makes_way_for(segment)

    def _make_room(self) -> None:
        """Forget a connection if there are too many: one in TIME-WAIT, else the quietest.

        Never a pending Fast Open if there is another: it would stop counting (section 5.1).
        """
        if len(self._connections) < self._max_connections:
            return
        known = self._connections.items()
        waiting = (peer for peer, one in known if one.state is State.TIME_WAIT)
        quiet = (peer for peer in self._connections if peer not in self._pending)
        self._forget(next(waiting, None) or next(quiet, None) or next(iter(self._connections)))

    def _settle(self, peer: _Peer, connection: Connection, now: float) -> None:
        """Keep PendingFastOpenRequests and the table true after an event of this connection."""
        if peer in self._pending and not connection.is_pending_fast_open:
            self._pending.discard(peer)
            # Section 5.1: else an attacker with a spoofed address could have its victim's resets
            # free the requests as fast as they are made.
            if connection.was_reset and "forgets-resets" not in self._faults:
                self._resets.append(now + RESET_COUNTS_SECONDS)
        if connection.state is State.CLOSED:
            self._forget(peer)

    def _forget(self, peer: _Peer) -> None:
        self._connections.pop(peer, None)
        self._pending.discard(peer)


def _has_unknown_option(syn: Segment) -> bool:
    return any(
        option.kind not in _KNOWN_KINDS and FastOpen.from_option(option) is None
        for option in syn.option_list.options
    )


def _has_long_cookie(syn: Segment) -> bool:
    found = syn.fast_open
    return found is not None and found.has_legal_cookie and len(found.cookie) > COOKIE_BYTES
