"""What is kept of what a server sends, and what is only counted."""

from __future__ import annotations

import dataclasses

import pytest

from tfocheck.engine import allowance, record
from tfocheck.engine.allowance import Allowance
from tfocheck.engine.conversation import Conversation
from tfocheck.wire.evidence import Captured, FlowKey, IcmpError
from tfocheck.wire.segment import Flags, Segment

KEY = FlowKey("10.0.0.1", 5000, "10.0.0.2", 443)
ISN = 9000


def begun(room: Allowance | None = None) -> Conversation:
    """A connection whose SYN was answered."""
    talk = Conversation(KEY, room)
    talk.segment_captured(Captured(talk.syn(b""), 1.0, sent=True))
    come(talk, Flags.SYN | Flags.ACK, seq=ISN)
    return talk


def come(
    talk: Conversation, flags: Flags, *, seq: int = ISN + 1, data: bytes = b"", at: float = 1.0
) -> None:
    ack = (talk.isn + 1) % (1 << 32)
    ends = (KEY.server, KEY.server_port, KEY.client, KEY.client_port)
    segment = Segment(*ends, seq % (1 << 32), ack, flags, payload=data)
    talk.segment_captured(Captured(segment, at, sent=False))


def stream(talk: Conversation, segments: int, size: int = 1000, start: int = 0) -> None:
    for number in range(segments):
        place = start + number * size
        come(talk, Flags.ACK, seq=ISN + 1 + place, data=bytes(size), at=1 + number)


def test_the_beginning_is_kept_whatever_is_left() -> None:
    room = Allowance()
    room.packets = room.bytes = 0
    talk = begun(room)
    stream(talk, allowance.FREE_PACKETS + 5)
    assert len(talk.received) == allowance.FREE_PACKETS
    assert talk.share.left_out == 6
    assert talk.share.unheard == 0


def test_data_beyond_what_is_kept_is_taken_in_all_the_same() -> None:
    talk = begun()
    stream(talk, 3000)
    come(talk, Flags.ACK | Flags.FIN, seq=ISN + 1 + 3_000_000)
    assert len(talk.received) <= allowance.FLOW_PACKETS
    assert talk.stream_bytes == talk.reach == 3_000_000
    assert talk.server_has_closed
    assert talk.received_count == 3002


def test_what_brings_no_data_is_still_heard_behind_a_stream() -> None:
    talk = begun()
    stream(talk, 3000)
    since = len(talk.received)
    come(talk, Flags.ACK, seq=ISN + 1 + 3_000_000)
    assert talk.said_sent(since) == 3_000_000
    assert talk.share.unheard == 0


def test_data_that_comes_again_is_still_heard_behind_a_stream() -> None:
    talk = begun()
    stream(talk, 3000)
    since = len(talk.received)
    come(talk, Flags.ACK, data=bytes(10), at=9000.0)
    assert talk.sent_again(since) is not None


def test_an_answer_a_thousand_times_is_kept_a_few_times_and_hides_nothing() -> None:
    talk = begun()
    for _ in range(1000):
        come(talk, Flags.SYN | Flags.ACK, seq=ISN)
    assert len(talk.received) == len(talk.syn_acks) <= allowance.COPIES + 2
    assert talk.share.unheard == 0
    # The same after a while is the server's timer, or an answer to what we sent since.
    come(talk, Flags.SYN | Flags.ACK, seq=ISN, at=2.0)
    assert talk.repeated_syn_ack is not None


def test_different_ones_by_the_thousand_are_counted_and_make_absences_doubtful() -> None:
    talk = begun()
    for number in range(1000):
        come(talk, Flags.RST, seq=ISN + (1 << 30) + number)
        come(talk, Flags.SYN | Flags.ACK, seq=ISN + number)
    assert len(talk.received) == allowance.FLOW_PACKETS
    assert len(talk.stray_resets) + len(talk.syn_acks) == allowance.FLOW_PACKETS
    assert talk.share.unheard == 2001 - allowance.FLOW_PACKETS
    assert talk.last_left_out[-1].segment.seq == ISN + 999
    # A reset that may be believed is believed when it comes, however late.
    come(talk, Flags.RST, seq=ISN + 1)
    assert talk.reset is not None


def test_all_connections_to_an_address_have_one_allowance() -> None:
    room = Allowance()
    talks = [begun(room) for _ in range(30)]
    for talk in talks:
        for number in range(1000):
            come(talk, Flags.RST, seq=ISN + (1 << 30) + number)
    kept = sum(len(talk.received) for talk in talks)
    assert kept <= allowance.ADDRESS_PACKETS + len(talks) * allowance.FREE_PACKETS


@pytest.mark.parametrize("size", [1, 60_000])
def test_what_is_kept_of_data_is_bounded(size: int) -> None:
    talk = begun()
    stream(talk, 600, size)
    assert sum(len(each.segment.payload) for each in talk.received) <= allowance.FLOW_BYTES


def test_errors_are_kept_so_far_only() -> None:
    talk = begun()
    for number in range(record.ERRORS_KEPT + 10):
        talk.icmp_received(IcmpError("10.0.0.9", 3, 1, float(number)))
    assert len(talk.icmps) == record.ERRORS_KEPT


def test_a_copy_has_all_the_same_fields() -> None:
    talk = begun()
    [first] = talk.received
    for ttl in range(100):
        again = dataclasses.replace(first.segment, ttl=ttl)
        talk.segment_captured(Captured(again, 1.0, sent=False))
    assert len(talk.received) == 101
