"""Two answers compared: how far away who sent them is, and what was changed in one of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tfocheck.wire import options as tcp_options
from tfocheck.wire.comparison import contradicting_acks, distance, holes, nearer
from tfocheck.wire.evidence import Captured
from tfocheck.wire.segment import Flags, Segment

ENDS = ("192.0.2.2", 443, "192.0.2.1", 40_000)
SYN_ACK = Segment(*ENDS, seq=9, ack=6, flags=Flags.SYN | Flags.ACK)
DATA = Segment(*ENDS, seq=10, ack=6, flags=Flags.ACK, payload=b"answer")


def came(segment: Segment, *, ttl: int = 64) -> Captured:
    return Captured(replace(segment, ttl=ttl), 1.0, sent=False)


@pytest.mark.parametrize(("ttl", "hops"), [(64, 1), (61, 4), (128, 1), (120, 9), (255, 1)])
def test_the_distance_is_told_from_the_nearest_initial_ttl(ttl: int, hops: int) -> None:
    assert distance(ttl) == hops


def test_what_took_an_option_out_leaves_a_hole() -> None:
    nops = replace(SYN_ACK, options=tcp_options.encode([tcp_options.no_operation()] * 4))
    assert holes(came(SYN_ACK), came(nops)) == 4


@pytest.mark.parametrize(
    ("first", "others", "found"),
    [
        (62, [60, 61], (3, 4)),
        (62, [62], None),
        (61, [62], None),
        (62, [60, 63], None),
        (62, [], None),
    ],
)
def test_who_answers_in_the_servers_place_is_nearer_than_all_else(
    first: int, others: list[int], found: tuple[int, int] | None
) -> None:
    assert nearer(came(SYN_ACK, ttl=first), [came(DATA, ttl=ttl) for ttl in others]) == found


def test_a_server_that_acknowledges_less_behind_its_syn_ack_was_changed() -> None:
    ours = Captured(Segment(*ENDS, seq=1, flags=Flags.ACK), 1.0, sent=True)
    syn = Captured(Segment(*ENDS, seq=0, flags=Flags.SYN), 1.0, sent=True)
    less = came(replace(DATA, ack=1))
    assert contradicting_acks([syn, came(SYN_ACK), less]) == (6, 1)
    assert contradicting_acks([syn, came(SYN_ACK), came(DATA)]) is None
    assert contradicting_acks([syn, came(SYN_ACK)]) is None
    # What we have sent since may have been acknowledged.
    assert contradicting_acks([syn, came(SYN_ACK), ours, less]) is None
    # But for what was on the SYN alone: all of that, whether there is data behind it or not.
    syn = Captured(Segment(*ENDS, seq=0, flags=Flags.SYN, payload=b"01234567"), 1.0, sent=True)
    data = Captured(Segment(*ENDS, seq=6, flags=Flags.ACK, payload=b"567"), 1.0, sent=True)
    bare = replace(DATA, payload=b"")
    for flags in (Flags.ACK, Flags.RST | Flags.ACK):
        all_, some = (came(replace(bare, flags=flags, ack=ack)) for ack in (9, 8))
        assert contradicting_acks([syn, came(SYN_ACK), all_]) == (6, 9)
        assert contradicting_acks([syn, came(SYN_ACK), ours, all_]) == (6, 9)
        assert contradicting_acks([syn, came(SYN_ACK), data, all_]) is None
        assert contradicting_acks([syn, came(SYN_ACK), some]) is None
    # Without its SYN-ACK there is nothing to compare.
    assert contradicting_acks([syn, less, came(SYN_ACK)]) is None
