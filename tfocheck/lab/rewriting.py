"""What boxes on the way are known to do to TCP segments, as functions for the impairment box.

Each is named as its scenario says, and gets a direction and a frame. Frames that are no TCP pass as
they are. What is done to options and numbers is in ``memory.rewriting``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tfocheck.lab.box import Rewrite
from tfocheck.lab.frames import ACK, TcpFrame
from tfocheck.memory import rewriting
from tfocheck.memory.impairment import Way
from tfocheck.memory.rewriting import ChangeOptions


def _by_options(change: ChangeOptions) -> Rewrite:
    """A box that gives a segment other options, where `change` returns any."""

    def rewrite(_way: Way, frame: bytes) -> list[bytes]:
        segment = TcpFrame.parse(frame)
        if segment is None:
            return [frame]
        options = rewriting.change_options(change, segment.flags, segment.options)
        if options == segment.options:
            return [frame]
        return [replace(segment, options=options).encode()]

    return rewrite


def shift_isn() -> Rewrite:
    """A firewall that shifts the numbers of each side, and keeps the books right."""

    def rewrite(_way: Way, frame: bytes) -> list[bytes]:
        segment = TcpFrame.parse(frame)
        if segment is None:
            return [frame]
        source, destination = segment.flow
        back = rewriting.isn_shift(destination, source)
        changed = replace(segment, seq=segment.seq + rewriting.isn_shift(source, destination))
        if segment.flags & ACK:
            options = rewriting.shifted_sack(segment.options, back)
            changed = replace(changed, ack=segment.ack - back, options=options)
        return [changed.encode()]

    return rewrite


def rewrite_ack() -> Rewrite:
    """A firewall that knows no data on SYNs: a SYN-ACK acknowledges the SYN, and that alone."""
    known = rewriting.AcksOfSyns()

    def rewrite(_way: Way, frame: bytes) -> list[bytes]:
        segment = TcpFrame.parse(frame)
        if segment is None:
            return [frame]
        if segment.is_syn:
            known.note(*segment.flow, segment.seq)
        elif segment.is_syn_ack:
            return [replace(segment, ack=known.ack(*segment.flow, segment.ack)).encode()]
        return [frame]

    return rewrite


REWRITES: dict[str, Callable[[], Rewrite]] = {
    "isn-shifted": shift_isn,
    "ack-rewritten": rewrite_ack,
    "cookie-changed": lambda: _by_options(rewriting.changed_cookie),
    "option-moved": lambda: _by_options(rewriting.moved_option),
    "mss-clamped": lambda: _by_options(rewriting.clamped_mss),
    "timestamps-removed": lambda: _by_options(rewriting.no_timestamps),
}
"""The boxes by name; each call makes one with nothing remembered."""
