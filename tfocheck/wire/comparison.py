"""Two answers compared: what a box on the way has changed in one of them."""

from __future__ import annotations

from collections.abc import Sequence

from tfocheck.wire import options as tcp_options
from tfocheck.wire.evidence import Captured
from tfocheck.wire.numbers import SEQUENCE_SPACE
from tfocheck.wire.segment import Flags, Segment

INITIAL_TTLS = (64, 128, 255)


def distance(ttl: int) -> int:
    """How many hops away a packet was sent that arrives with this TTL, as far as that shows."""
    return next((start - ttl for start in INITIAL_TTLS if ttl <= start), 0) + 1


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
    """The server's two acknowledgements if its SYN-ACK and what comes behind it contradict.

    Nothing of ours that could be acknowledged has come between them, so a box has changed one. What
    has no data, or comes later, counts if it acknowledges all of the SYN's: a reset may say what it
    likes.
    """
    syn = syn_ack = None
    has_sent = False
    for captured in packets:
        segment = captured.segment
        if captured.sent and segment.flags & Flags.SYN:
            syn = syn or segment
        elif captured.sent:
            if syn_ack is None or _goes_beyond(segment, syn_ack.ack):
                return None
            has_sent = True
        elif segment.is_syn_ack:
            syn_ack = syn_ack or segment
        elif (
            syn_ack is not None
            and segment.has_ack
            and segment.ack != syn_ack.ack
            and (_is_whole(syn, segment.ack) or (segment.payload and not has_sent))
        ):
            return syn_ack.ack, segment.ack
    return None


def _is_whole(syn: Segment | None, ack: int) -> bool:
    """Whether an acknowledgement is of a SYN and all of its data, if it has any."""
    if syn is None or not syn.payload:
        return False
    return ack == (syn.seq + 1 + len(syn.payload)) % SEQUENCE_SPACE


def _goes_beyond(segment: Segment, place: int) -> bool:
    """Whether a segment brings something that is behind this sequence number."""
    end = segment.seq + len(segment.payload) + bool(segment.flags & Flags.FIN)
    return 0 < (end - place) % SEQUENCE_SPACE < SEQUENCE_SPACE // 2
