"""The segments of a reference connection, with the numbers and the window of the moment."""

from __future__ import annotations

from tfocheck.reference.header import Header
from tfocheck.reference.receiver import Receiver
from tfocheck.reference.sender import Chunk, Sender
from tfocheck.reference.timers import Timers
from tfocheck.wire.options import Option
from tfocheck.wire.segment import Flags, Segment


class Writer:
    """Writes what the connection's parts say; whatever it writes acknowledges what has come."""

    def __init__(self, header: Header, receiver: Receiver, sender: Sender, timers: Timers) -> None:
        self._header = header
        self._receiver = receiver
        self._sender = sender
        self._timers = timers

    def syn_ack(self, now: float, fast_open: Option | None, payload: bytes = b"") -> Segment:
        """The SYN-ACK."""
        receiver = self._receiver
        return self._header.syn_ack(now, receiver.nxt, receiver.window, fast_open, payload)

    def data(self, now: float, chunk: Chunk) -> Segment:
        """A piece of the answer."""
        flags = Flags.ACK | Flags.PSH if chunk.is_last else Flags.ACK
        return self.segment(now, flags, chunk.seq, chunk.data)

    def ack(self, now: float) -> Segment:
        """An ACK without anything."""
        return self.segment(now, Flags.ACK, self._sender.max)

    def reset(self, now: float) -> Segment:
        """The end."""
        return self.segment(now, Flags.RST | Flags.ACK, self._sender.max)

    def segment(self, now: float, flags: Flags, seq: int, payload: bytes = b"") -> Segment:
        """Any other segment."""
        receiver = self._receiver
        self._timers.ack_sent()
        return self._header.segment(now, flags, seq, receiver.nxt, receiver.window, payload)
