"""Two answers compared: what a box on the way has changed in one of them."""

from __future__ import annotations

from collections.abc import Sequence

from tfocheck.wire import options as tcp_options
from tfocheck.wire.evidence import Captured
from tfocheck.wire.segment import Flags

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
