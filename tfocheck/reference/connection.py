"""One connection of the reference server: the server's side of RFC 9293, sans-IO.

Rules that hold here:

* Whether the SYN's data is accepted was decided before (``Opening``); what follows is here.
* ``receive`` and ``fire`` return the segments to send, in order, and never raise, whatever comes.
* Memory is bounded: unread requests are the receive window, answers are taken from the application
  only while there is room in the send queue.

Sources: RFC 9293 section 3.10.7.4 (segment arrives), RFC 7413 section 4.2.2, RFC 5961 (resets).
"""

from __future__ import annotations

from dataclasses import replace

from tfocheck.reference.application import Application
from tfocheck.reference.faults import ActiveFaults
from tfocheck.reference.header import Header, reset_for
from tfocheck.reference.opening import Opening, SynData
from tfocheck.reference.receiver import Receiver
from tfocheck.reference.sender import Sender, distance
from tfocheck.reference.states import (
    AFTER_ITS_ACK,
    AFTER_OUR_FIN,
    AFTER_PEERS_FIN,
    MAY_ANSWER,
    MAY_RECEIVE,
    State,
)
from tfocheck.reference.timers import Timers
from tfocheck.reference.variations import USUAL, Variations
from tfocheck.reference.writer import Writer
from tfocheck.wire.numbers import SEQUENCE_SPACE
from tfocheck.wire.options import MAX_OPTION_BYTES
from tfocheck.wire.segment import Flags, Segment


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
        variations: Variations = USUAL,
    ) -> None:
        self.state = State.SYN_RECEIVED
        self.was_reset = False
        self._syn = syn
        self._opening = opening
        self._application = application
        self._faults = faults
        self._syn_data = SynData(syn, opening, application, faults, variations)
        # RCV.NXT is behind the SYN and, with FastOpened, behind what is taken of its data.
        behind = (syn.seq + 1 + len(self._syn_data.taken)) % SEQUENCE_SPACE
        self._receiver = Receiver(behind, application)
        self._header = Header(syn, isn, faults, variations)
        self._sender = Sender(isn, self._header.segment_size, syn, faults, variations)
        self._timers = Timers(now, delays_acks=variations.delays_acks)
        self._write = Writer(self._header, self._receiver, self._sender, self._timers)
        self._fin_queued = False

    # What the listener asks

    @property
    def is_pending_fast_open(self) -> bool:
        """Counted in PendingFastOpenRequests: accepted, and the handshake is not yet done."""
        return self._opening.fast_opened and self.state is State.SYN_RECEIVED

    @property
    def deadline(self) -> float:
        """When ``fire`` is due, on the clock that ``now`` comes from."""
        return min(self._timers.deadline, self._application.deadline)

    def is_repeat_of_its_syn(self, segment: Segment) -> bool:
        """A SYN with this connection's ISN while the handshake is not done."""
        return (
            self.state is State.SYN_RECEIVED and _is_syn(segment) and segment.seq == self._syn.seq
        )

    def makes_way_for(self, segment: Segment) -> bool:
        """A SYN that may reopen a connection in TIME-WAIT (RFC 9293 section 3.10.7.4)."""
        return (
            self.state is State.TIME_WAIT
            and _is_syn(segment)
            and distance(segment.seq, self._receiver.nxt) > 0
        )

    # The SYN, RFC 7413 section 4.2.2 steps 4 to 6

    def open(self, now: float) -> list[Segment]:
        """The SYN-ACK, and right behind it what the application answers to accepted data."""
        self._application.at(now)
        if self._opening.fast_opened:
            self._application.accepted()
        self._syn_data.deliver_at_once()
        early_answer = self._transmit(now)
        return [self._write.syn_ack(now, self._opening.option), *early_answer]

    def _receive_repeated_syn(self, segment: Segment, now: float) -> list[Segment]:
        """The client did not get the SYN-ACK; it may ask again bare (RFC 7413 section 4.2.2).

        It gets the same one again: same ISN, same acknowledgment, no option.
        """
        if self._opening.fast_opened:
            is_bare = not segment.payload and segment.fast_open is None
            if "resets-bare-syn" in self._faults and is_bare:
                return self._abort(now)
            if "resets-copy" in self._faults and segment.payload:
                return self._abort(now)
            if "delivers-copy" in self._faults:
                self._application.receive(segment.payload)
                return [self._write.syn_ack(now, None), *self._transmit(now)]
        return [self._write.syn_ack(now, None)]

    # Segment arrives, RFC 9293 section 3.10.7.4

    def receive(self, segment: Segment, now: float) -> list[Segment]:
        """Process one segment of this connection; returns what to send."""
        self._application.at(now)
        if self.is_repeat_of_its_syn(segment):
            return self._receive_repeated_syn(segment, now)
        if "ignores-fin" in self._faults:
            segment = replace(segment, flags=segment.flags & ~Flags.FIN)
        # First: the sequence number.
        is_old = self._header.is_old_duplicate(segment)
        if is_old or not self._receiver.is_acceptable(segment):
            return [] if segment.is_reset else [self._write.ack(now)]
        self._timers.heard(now)
        # Second: RST. Fourth: SYN.
        if segment.is_reset:
            return self._receive_reset(segment, now)
        if segment.flags & Flags.SYN:
            return [self._write.ack(now)]  # RFC 5961 section 4.2
        return self._receive_acknowledging(segment, now)

    def _receive_acknowledging(self, segment: Segment, now: float) -> list[Segment]:
        # Fifth: ACK.
        if not segment.flags & Flags.ACK:
            return []
        if _is_broken_by(segment, self._opening, self._faults):
            return self._abort(now)
        self._header.note_timestamp(segment)
        is_sent = self._sender.has_sent(segment.ack)
        if self.state is State.SYN_RECEIVED:
            if not is_sent or distance(segment.ack, self._sender.una) <= 0:
                return [reset_for(segment)]
            self._establish(segment)
        elif not is_sent:
            return [self._write.ack(now)]
        return self._receive_established(segment, now)

    def _receive_established(self, segment: Segment, now: float) -> list[Segment]:
        replies = self._receive_ack(segment, now)
        # Seventh: the text. Eighth: FIN.
        if self.state in MAY_RECEIVE:
            self._receiver.take_text(segment)
            if self._receiver.take_fin(segment):
                self._enter(AFTER_PEERS_FIN[self.state], now)
        replies += self._transmit(now)
        if segment.sequence_length and not replies and self.state is not State.CLOSED:
            # Of two segments in a row the second is acknowledged at once, and FINs are.
            may_wait = self.state is State.ESTABLISHED and self._receiver.ends_with(segment)
            if not may_wait or not self._timers.delay_ack(now):
                replies.append(self._write.ack(now))
        return replies

    def _receive_reset(self, segment: Segment, now: float) -> list[Segment]:
        # RFC 5961 section 3.2: only the exact number resets; a guess within the window is asked.
        if segment.seq != self._receiver.nxt:
            return [self._write.ack(now)]
        self.was_reset = True
        return self._close()

    def _establish(self, segment: Segment) -> None:
        """The handshake is done."""
        self.state = State.ESTABLISHED
        self._sender.handshake_done(syn_ack_was_lost=self._timers.has_repeated)
        self._timers.handshake_done()
        self._sender.update_window(segment, self._header.window(segment))
        if not self._opening.fast_opened:
            self._application.accepted()
        self._syn_data.deliver_at_handshake()

    def _receive_ack(self, segment: Segment, now: float) -> list[Segment]:
        sender, lost, window = self._sender, None, self._header.window(segment)
        if sender.acknowledge(segment.ack):
            self._timers.acknowledged(now, everything=sender.is_done)
        else:
            lost = sender.note_duplicate(segment, window)
        sender.update_window_if_newer(segment, window)
        if sender.window == 0:
            # RFC 9293 section 3.8.6.1: a window may stay shut for as long as the peer answers.
            self._timers.peer_answers()
        if sender.fin_acknowledged:
            self._enter(AFTER_ITS_ACK.get(self.state, self.state), now)
        return [self._write.data(now, lost)] if lost else []

    # Sending

    def _transmit(self, now: float) -> list[Segment]:
        """Everything that may be sent now."""
        if not self._may_transmit():
            return []
        if self._application.aborts:
            return self._abort(now)
        if not self._fin_queued:
            self._sender.queue(self._application.read(self._sender.room))
            self._fin_queued = self._application.finished
        segments = [self._write.data(now, chunk) for chunk in self._sender.chunks()]
        # RFC 9293 section 3.10.4: with data to send, CLOSE waits for the handshake to end.
        if self._fin_queued and self.state is not State.SYN_RECEIVED:
            segments += self._fin(now)
        if not self._sender.is_done:
            self._timers.sent(now)
        return segments

    def _may_transmit(self) -> bool:
        if self.state is State.CLOSED or not self._syn_data.is_served:
            return False
        return self.state is not State.SYN_RECEIVED or self._syn_data.may_be_answered

    def _fin(self, now: float) -> list[Segment]:
        seq = self._sender.send_fin()
        if seq is None:
            return []
        self._enter(AFTER_OUR_FIN.get(self.state, self.state), now)
        return [self._write.segment(now, Flags.FIN | Flags.ACK, seq)]

    # Timers

    def fire(self, now: float) -> list[Segment]:
        """What is due at ``now``: a retransmission, a window probe, or the end of patience."""
        self._application.at(now)
        if self._timers.is_idle(now):
            # A client that still believes in the connection is told; other endings are quiet.
            return self._abort(now) if self.state in MAY_ANSWER else self._close()
        if not self._timers.is_due(now):
            said = self._transmit(now)  # the application may have waited for its time
            return [self._write.ack(now)] if self._timers.is_ack_due(now) else said
        if self.state is State.SYN_RECEIVED:
            return [*self._repeat_syn_ack(now), *self._transmit(now)]
        if not self._timers.repeat(now):
            return self._close()
        self._sender.start_over()
        segments = self._transmit(now)
        if segments:
            return segments
        probe = self._sender.probe()
        return [self._write.data(now, probe)] if probe else []

    def _repeat_syn_ack(self, now: float) -> list[Segment]:
        """RFC 7413 section 4.2.2: a repeated SYN-ACK has neither data nor Fast Open option."""
        if not self._timers.repeat_syn_ack(now):
            return self._close()
        payload = b""
        if "repeats-data" in self._faults and self._opening.fast_opened:
            room = self._header.segment_size - MAX_OPTION_BYTES
            payload = self._sender.start(min(room, self._sender.window))
        return [self._write.syn_ack(now, self._opening.repeated_option, payload)]

    # Endings

    def _enter(self, state: State, now: float) -> None:
        self.state = state
        if state is State.TIME_WAIT:
            self._application.closed()
            self._timers.wait_for_time_wait(now)
        elif state is State.CLOSED:
            self._close()

    def _close(self) -> list[Segment]:
        self.state = State.CLOSED
        self._application.closed()
        self._timers.stop()
        self._sender.clear()
        return []

    def _abort(self, now: float) -> list[Segment]:
        reset = self._write.reset(now)
        self._close()
        return [reset]


def _is_syn(segment: Segment) -> bool:
    return segment.flags & (Flags.SYN | Flags.ACK | Flags.RST) == Flags.SYN


def _is_broken_by(segment: Segment, opening: Opening, faults: ActiveFaults) -> bool:
    """The faults that end a connection with RST."""
    is_stray_option = segment.fast_open is not None
    follows_reject = opening.rejected and bool(segment.payload)
    return ("resets-on-stray-option" in faults and is_stray_option) or (
        "breaks-after-reject" in faults and follows_reject
    )
