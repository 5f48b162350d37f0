"""One connection of the reference server: the server's side of RFC 9293, sans-IO.

Rules that hold here:

* Whether the SYN's data is accepted was decided before (``Opening``); what follows is here.
* ``receive`` and ``fire`` return the segments to send, in order, and never raise, whatever comes.
* Memory is bounded: unread requests are the receive window, answers are taken from the application
  only while there is room in the send queue. What arrives out of order is dropped and asked for
  again (RFC 9293 section 3.10.7.4 allows it).

Sources: RFC 9293 section 3.10.7.4 (segment arrives), RFC 7413 section 4.2.2, RFC 7323 (timestamps,
window scale), RFC 6298 (timers), RFC 5961 (resets), RFC 6691 (MSS and options).
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from tfocheck.reference.faults import ActiveFaults
from tfocheck.reference.sender import Chunk, Sender, distance
from tfocheck.wire import options as tcp_options
from tfocheck.wire.numbers import SEQUENCE_SPACE
from tfocheck.wire.options import Option
from tfocheck.wire.segment import Flags, Segment

RECEIVE_BUFFER = 65_535

SYN_ACK_TIMEOUTS = (1.0, 2.0, 4.0, 8.0)
"""Seconds; repeats at 1, 3 and 7 s, and the connection is given up at 15 s."""

INITIAL_TIMEOUT = 1.0
MAX_TIMEOUT = 60.0
MAX_RETRANSMISSIONS = 8
IDLE_SECONDS = 60.0

_TIMESTAMP_BYTES = 12
_SMALLEST_SEGMENT = 8
_TRUNCATED_BYTES = 512


class State(enum.Enum):
    """RFC 9293 section 3.3.2, the states that a server's connection goes through."""

    SYN_RECEIVED = enum.auto()
    ESTABLISHED = enum.auto()
    FIN_WAIT_1 = enum.auto()
    FIN_WAIT_2 = enum.auto()
    CLOSING = enum.auto()
    TIME_WAIT = enum.auto()
    CLOSE_WAIT = enum.auto()
    LAST_ACK = enum.auto()
    CLOSED = enum.auto()


_MAY_RECEIVE = (State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2)
_MAY_ANSWER = (State.ESTABLISHED, State.CLOSE_WAIT)
_AFTER_OUR_FIN = {State.ESTABLISHED: State.FIN_WAIT_1, State.CLOSE_WAIT: State.LAST_ACK}
_AFTER_ITS_ACK = {
    State.FIN_WAIT_1: State.FIN_WAIT_2,
    State.CLOSING: State.TIME_WAIT,
    State.LAST_ACK: State.CLOSED,
}
_AFTER_PEERS_FIN = {
    State.ESTABLISHED: State.CLOSE_WAIT,
    State.FIN_WAIT_1: State.CLOSING,
    State.FIN_WAIT_2: State.TIME_WAIT,
}


class Application(Protocol):
    """What the connection serves; see ``HttpConversation``."""

    @property
    def unread(self) -> int: ...
    @property
    def finished(self) -> bool: ...
    def receive(self, data: bytes) -> None: ...
    def end(self) -> None: ...
    def read(self, room: int) -> bytes: ...


@dataclass(frozen=True)
class Opening:
    """What the listener decided about a SYN (RFC 7413 section 4.2.2, steps 1 to 5).

    ``fast_opened`` is the RFC's FastOpened flag; ``option`` the Fast Open option of the SYN-ACK;
    ``repeated_option`` that of its retransmissions, where the RFC wants none; ``rejected`` says
    that a cookie came but did not open.
    """

    fast_opened: bool = False
    option: Option | None = None
    repeated_option: Option | None = None
    rejected: bool = False


class Connection:
    """A connection from the SYN on; ``open`` gives the first segments to send."""

    def __init__(
        self,
        syn: Segment,
        opening: Opening,
        *,
        isn: int,
        application: Application,
        faults: ActiveFaults,
        now: float,
    ) -> None:
        self.state = State.SYN_RECEIVED
        self.was_reset = False
        self._syn = syn
        self._opening = opening
        self._application = application
        self._faults = faults
        self._isn = isn

        options = syn.option_list
        self._scale = options.window_scale
        self._recent_stamp = options.timestamps[0] if options.timestamps else None
        self._stamp_offset = isn ^ 0x5C0FFEE
        self._own_mss = 1440 if self._is_ipv6() else 1460

        # RCV.NXT is behind the SYN and, with FastOpened, behind what is taken of its data.
        self._taken_data = self._data_to_take()
        self._rcv_nxt = (syn.seq + 1 + len(self._taken_data)) % SEQUENCE_SPACE
        self._last_ack_sent = self._rcv_nxt

        self._sender = Sender(isn, self._segment_size(), syn.window, faults)
        self._wl1, self._wl2 = syn.seq, isn
        self._fin_queued = False
        self._is_stalled = self._stalls_from_the_start()

        self._timeout = INITIAL_TIMEOUT
        self._retransmissions = 0
        self._timer: float | None = now + SYN_ACK_TIMEOUTS[0]
        self._idle_at = now + IDLE_SECONDS

    # What the listener asks

    @property
    def is_pending_fast_open(self) -> bool:
        """Counted in PendingFastOpenRequests: accepted, and the handshake is not yet done."""
        return self._opening.fast_opened and self.state is State.SYN_RECEIVED

    @property
    def deadline(self) -> float:
        """When ``fire`` is due, on the clock that ``now`` comes from."""
        return self._idle_at if self._timer is None else min(self._timer, self._idle_at)

    def is_repeat_of_its_syn(self, segment: Segment) -> bool:
        """A SYN with this connection's ISN while the handshake is not done."""
        return (
            _is_syn(segment) and segment.seq == self._syn.seq and self.state is State.SYN_RECEIVED
        )

    def makes_way_for(self, segment: Segment) -> bool:
        """A SYN that may reopen a connection in TIME-WAIT (RFC 9293 section 3.10.7.4)."""
        is_later = distance(segment.seq, self._rcv_nxt) > 0
        return _is_syn(segment) and self.state is State.TIME_WAIT and is_later

    # The SYN, RFC 7413 section 4.2.2 steps 4 to 6

    def open(self, now: float) -> list[Segment]:
        """The SYN-ACK, and right behind it what the application answers to accepted data."""
        if "holds-data" not in self._faults:
            self._deliver_syn_data()
        if self._answers_rejected_data():
            self._application.receive(self._syn.payload)
        early_answer = self._transmit(now)
        return [self._syn_ack(now, self._opening.option), *early_answer]

    def _stalls_from_the_start(self) -> bool:
        """The faults that leave a connection without an application."""
        faults, syn = self._faults, self._syn
        return ("loses-plain-data" in faults and bool(syn.payload) and syn.fast_open is None) or (
            "stalls-without-data" in faults and self._opening.fast_opened and not syn.payload
        )

    def _answers_rejected_data(self) -> bool:
        return "answers-rejected-data" in self._faults and self._opening.rejected

    def _data_to_take(self) -> bytes:
        data = self._syn.payload if self._opening.fast_opened else b""
        return data[: len(data) // 2] if "partial-ack" in self._faults else data

    def _deliver_syn_data(self) -> None:
        """Step 4: buffer the data and notify the application."""
        data = self._taken_data
        if "loses-syn-data" in self._faults:
            return
        if "truncates-silently" in self._faults:
            data = data[:_TRUNCATED_BYTES]
        for _ in range(2 if "doubles-syn-data" in self._faults else 1):
            self._application.receive(data)

    def _syn_ack(self, now: float, fast_open: Option | None, payload: bytes = b"") -> Segment:
        options = [tcp_options.mss(self._own_mss)]
        if self._recent_stamp is not None:
            echo = 0 if "wrong-tsecr" in self._faults else self._recent_stamp
            options += [tcp_options.no_operation()] * 2
            options.append(tcp_options.timestamps(self._stamp(now), echo))
        if self._scale is not None:
            options += [tcp_options.no_operation(), tcp_options.window_scale(0)]
        if fast_open is not None:
            options.append(fast_open)
        return self._segment(now, Flags.SYN | Flags.ACK, self._isn, payload, options)

    def _receive_repeated_syn(self, segment: Segment, now: float) -> list[Segment]:
        """The client did not get the SYN-ACK; it may ask again bare (RFC 7413 section 4.2.2).

        It gets the same one again: same ISN, same acknowledgment, no option.
        """
        is_bare = not segment.payload and segment.fast_open is None
        if "resets-bare-syn" in self._faults and is_bare and self._opening.fast_opened:
            return self._abort(now)
        is_copy = bool(segment.payload) and self._opening.fast_opened
        if "resets-copy" in self._faults and is_copy:
            return self._abort(now)
        if "delivers-copy" in self._faults and self._opening.fast_opened:
            self._application.receive(segment.payload)
            return [self._syn_ack(now, None), *self._transmit(now)]
        return [self._syn_ack(now, None)]

    def _segment_size(self) -> int:
        """How many bytes of data the peer takes in one segment.

        536 (IPv6: 1220) if it did not say (RFC 9293 section 3.7.1), less the options that we send
        on every segment (RFC 6691). To obey an MSS of a few bytes would only make a flood.
        """
        announced = self._syn.option_list.mss
        if announced is None:
            announced = 1220 if self._is_ipv6() else 536
        if "ignores-mss" in self._faults:
            announced = self._own_mss
        taken = _TIMESTAMP_BYTES if self._recent_stamp is not None else 0
        return max(min(announced, self._own_mss) - taken, _SMALLEST_SEGMENT)

    def _is_ipv6(self) -> bool:
        return ipaddress.ip_address(self._syn.source).version == 6

    # Segment arrives, RFC 9293 section 3.10.7.4

    def receive(self, segment: Segment, now: float) -> list[Segment]:
        """Process one segment of this connection; returns what to send."""
        if self.is_repeat_of_its_syn(segment):
            return self._receive_repeated_syn(segment, now)
        if "ignores-fin" in self._faults:
            segment = replace(segment, flags=segment.flags & ~Flags.FIN)
        # First: the sequence number.
        if self._is_old_duplicate(segment) or not self._is_acceptable(segment):
            return [] if segment.is_reset else [self._ack(now)]
        self._idle_at = now + IDLE_SECONDS
        # Second: RST. Fourth: SYN.
        if segment.is_reset:
            return self._receive_reset(segment, now)
        if segment.flags & Flags.SYN:
            return [self._ack(now)]  # RFC 5961 section 4.2
        if not segment.flags & Flags.ACK:
            return []
        if self._is_broken_by(segment):
            return self._abort(now)
        self._note_timestamp(segment)
        # Fifth: ACK.
        if not self._sender.has_sent(segment.ack):
            return [self._refusal(segment, now)]
        if self.state is State.SYN_RECEIVED:
            if distance(segment.ack, self._sender.una) <= 0:
                return [reset_for(segment)]
            self._establish(segment)
        replies = self._receive_ack(segment, now)
        # Seventh: the text. Eighth: FIN.
        self._receive_text(segment)
        self._receive_fin(segment, now)
        replies += self._transmit(now)
        if segment.sequence_length and not replies and self.state is not State.CLOSED:
            replies.append(self._ack(now))
        return replies

    def _is_old_duplicate(self, segment: Segment) -> bool:
        """PAWS, RFC 7323 section 5.3."""
        stamps = segment.option_list.timestamps
        if self._recent_stamp is None or stamps is None or segment.is_reset:
            return False
        return distance(stamps[0], self._recent_stamp) < 0

    def _is_acceptable(self, segment: Segment) -> bool:
        """RFC 9293 table 6."""
        start, window = distance(segment.seq, self._rcv_nxt), self._window()
        length = segment.sequence_length
        if length == 0:
            return 0 <= start < window or start == 0
        return start < window and start + length > 0

    def _receive_reset(self, segment: Segment, now: float) -> list[Segment]:
        # RFC 5961 section 3.2: only the exact number resets; a guess within the window is asked.
        if segment.seq != self._rcv_nxt:
            return [self._ack(now)]
        self.was_reset = True
        return self._close()

    def _is_broken_by(self, segment: Segment) -> bool:
        """The faults that end a connection with RST."""
        faults = self._faults
        is_stray_option = segment.fast_open is not None
        follows_reject = self._opening.rejected and bool(segment.payload)
        return ("resets-on-stray-option" in faults and is_stray_option) or (
            "breaks-after-reject" in faults and follows_reject
        )

    def _note_timestamp(self, segment: Segment) -> None:
        # RFC 7323 section 4.3, rule 2; PAWS already saw to it that it isn't older.
        stamps = segment.option_list.timestamps
        is_next = distance(segment.seq, self._last_ack_sent) <= 0
        if self._recent_stamp is not None and stamps is not None and is_next:
            self._recent_stamp = stamps[0]

    def _refusal(self, segment: Segment, now: float) -> Segment:
        """The answer to an acknowledgment of what was never sent."""
        return reset_for(segment) if self.state is State.SYN_RECEIVED else self._ack(now)

    def _establish(self, segment: Segment) -> None:
        """The handshake is done."""
        self.state = State.ESTABLISHED
        self._sender.handshake_done(syn_ack_was_lost=self._retransmissions > 0)
        self._retransmissions = 0
        self._timer = None
        self._update_window(segment)
        if self._opening.fast_opened and "holds-data" in self._faults:
            self._deliver_syn_data()
        if self._opening.rejected and "delivers-rejected-data" in self._faults:
            self._application.receive(self._syn.payload)

    def _receive_ack(self, segment: Segment, now: float) -> list[Segment]:
        sender, lost = self._sender, None
        if sender.acknowledge(segment.ack):
            self._retransmissions = 0
            self._timeout = INITIAL_TIMEOUT
            self._timer = None if sender.is_done else now + self._timeout
        else:
            lost = sender.note_duplicate(segment, self._scaled_window(segment))
        self._update_window_if_newer(segment)
        if sender.window == 0:
            # RFC 9293 section 3.8.6.1: a window may stay shut for as long as the peer answers.
            self._retransmissions = 0
        if sender.fin_acknowledged:
            self._enter(_AFTER_ITS_ACK.get(self.state, self.state), now)
        return [self._data(now, lost)] if lost else []

    def _update_window_if_newer(self, segment: Segment) -> None:
        ahead = distance(segment.seq, self._wl1)
        if ahead > 0 or (ahead == 0 and distance(segment.ack, self._wl2) >= 0):
            self._update_window(segment)

    def _update_window(self, segment: Segment) -> None:
        self._sender.update_window(self._scaled_window(segment))
        self._wl1, self._wl2 = segment.seq, segment.ack

    def _scaled_window(self, segment: Segment) -> int:
        return segment.window << (self._scale or 0)

    def _receive_text(self, segment: Segment) -> None:
        """The segment text from RCV.NXT on, as far as the window reaches."""
        start = distance(segment.seq, self._rcv_nxt)
        if self.state not in _MAY_RECEIVE or start > 0:
            return
        data = segment.payload[-start:][: self._window()]
        self._rcv_nxt = (self._rcv_nxt + len(data)) % SEQUENCE_SPACE
        self._application.receive(data)

    def _receive_fin(self, segment: Segment, now: float) -> None:
        """The FIN bit, once everything before it has arrived."""
        end = segment.seq + len(segment.payload)
        is_next = distance(end, self._rcv_nxt) == 0
        if segment.flags & Flags.FIN and is_next and self.state in _MAY_RECEIVE:
            self._rcv_nxt = (self._rcv_nxt + 1) % SEQUENCE_SPACE
            self._application.end()
            self._enter(_AFTER_PEERS_FIN[self.state], now)

    # Sending

    def _transmit(self, now: float) -> list[Segment]:
        """Everything that may be sent now.

        RFC 7413 section 4.2.2 step 6: with FastOpened, data may be sent before the handshake ends.
        """
        if self.state is State.CLOSED or self._is_stalled:
            return []
        if (
            self.state is State.SYN_RECEIVED
            and not self._opening.fast_opened
            and not self._answers_rejected_data()
        ):
            return []
        if not self._fin_queued:
            self._sender.queue(self._application.read(self._sender.room))
            self._fin_queued = self._application.finished
        segments = [self._data(now, chunk) for chunk in self._sender.chunks()]
        # RFC 9293 section 3.10.4: with data to send, CLOSE waits for the handshake to end.
        if self._fin_queued and self.state is not State.SYN_RECEIVED:
            segments += self._fin(now)
        if self._timer is None and not self._sender.is_done:
            self._timer = now + self._timeout
        return segments

    def _fin(self, now: float) -> list[Segment]:
        seq = self._sender.send_fin()
        if seq is None:
            return []
        self._enter(_AFTER_OUR_FIN.get(self.state, self.state), now)
        return [self._segment(now, Flags.FIN | Flags.ACK, seq)]

    def _data(self, now: float, chunk: Chunk) -> Segment:
        push = Flags.PSH if chunk.is_last else Flags.NONE
        return self._segment(now, Flags.ACK | push, chunk.seq, chunk.data)

    # Timers

    def fire(self, now: float) -> list[Segment]:
        """What is due at ``now``: a retransmission, a window probe, or the end of patience."""
        if now >= self._idle_at:
            # A client that still believes in the connection is told; other endings are quiet.
            return self._abort(now) if self.state in _MAY_ANSWER else self._close()
        if self._timer is None or now < self._timer:
            return []
        self._retransmissions += 1
        if self.state is State.SYN_RECEIVED:
            return self._repeat_syn_ack(now)
        if self._retransmissions > MAX_RETRANSMISSIONS:
            return self._close()
        self._timeout = min(2 * self._timeout, MAX_TIMEOUT)
        self._timer = now + self._timeout
        self._sender.start_over()
        segments = self._transmit(now)
        if segments:
            return segments
        probe = self._sender.probe()
        return [self._data(now, probe)] if probe else []

    def _repeat_syn_ack(self, now: float) -> list[Segment]:
        """RFC 7413 section 4.2.2: a repeated SYN-ACK has neither data nor Fast Open option."""
        if self._retransmissions >= len(SYN_ACK_TIMEOUTS):
            return self._close()
        self._timer = now + SYN_ACK_TIMEOUTS[self._retransmissions]
        payload = b""
        if "repeats-data" in self._faults and self._opening.fast_opened:
            room = self._segment_size() - tcp_options.MAX_OPTION_BYTES
            payload = self._sender.start(min(room, self._sender.window))
        return [self._syn_ack(now, self._opening.repeated_option, payload)]

    # Endings

    def _enter(self, state: State, now: float) -> None:
        self.state = state
        if state is State.TIME_WAIT:
            self._timer = None
            self._idle_at = now + IDLE_SECONDS
        elif state is State.CLOSED:
            self._close()

    def _close(self) -> list[Segment]:
        self.state = State.CLOSED
        self._timer = None
        self._sender.clear()
        return []

    def _abort(self, now: float) -> list[Segment]:
        reset = self._segment(now, Flags.RST | Flags.ACK, self._sender.max)
        self._close()
        return [reset]

    # Segments

    def _window(self) -> int:
        return max(RECEIVE_BUFFER - self._application.unread, 0)

    def _stamp(self, now: float) -> int:
        return (int(now * 1000) + self._stamp_offset) % SEQUENCE_SPACE

    def _ack(self, now: float) -> Segment:
        return self._segment(now, Flags.ACK, self._sender.max)

    def _segment(
        self,
        now: float,
        flags: Flags,
        seq: int,
        payload: bytes = b"",
        options: Sequence[Option] | None = None,
    ) -> Segment:
        if options is None:
            options = self._later_options(now)
        self._last_ack_sent = self._rcv_nxt
        return Segment(
            source=self._syn.destination,
            source_port=self._syn.destination_port,
            destination=self._syn.source,
            destination_port=self._syn.source_port,
            seq=seq,
            ack=self._rcv_nxt,
            flags=flags,
            window=self._window(),
            options=_fitting(options),
            payload=payload,
        )

    def _later_options(self, now: float) -> list[Option]:
        # RFC 7323 section 3.2: once negotiated, on every segment.
        if self._recent_stamp is None:
            return []
        stamps = tcp_options.timestamps(self._stamp(now), self._recent_stamp)
        return [tcp_options.no_operation()] * 2 + [stamps]


def _fitting(options: Sequence[Option]) -> bytes:
    """The option area, less the first options if a long cookie leaves no room for them."""
    while sum(len(option.encode()) for option in options) > tcp_options.MAX_OPTION_BYTES:
        options = options[1:]
    return tcp_options.encode(options)


def reset_for(segment: Segment) -> Segment:
    """The RST that answers a segment of no connection (RFC 9293 section 3.10.7.1)."""
    acknowledges = bool(segment.flags & Flags.ACK)
    end = (segment.seq + segment.sequence_length) % SEQUENCE_SPACE
    return Segment(
        source=segment.destination,
        source_port=segment.destination_port,
        destination=segment.source,
        destination_port=segment.source_port,
        seq=segment.ack if acknowledges else 0,
        ack=0 if acknowledges else end,
        flags=Flags.RST if acknowledges else Flags.RST | Flags.ACK,
        window=0,
    )


def _is_syn(segment: Segment) -> bool:
    return segment.flags & (Flags.SYN | Flags.ACK | Flags.RST) == Flags.SYN
