"""What we say on a connection, and what its packets say: no wire, no clock, no event loop."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tfocheck.engine.conversation import Conversation, usual_options
from tfocheck.engine.record import RECEIVE_WINDOW, WINDOW_SCALE
from tfocheck.engine.transcript import LEAST_REPEAT
from tfocheck.wire import options as tcp_options
from tfocheck.wire.evidence import Captured, FlowKey, IcmpError
from tfocheck.wire.numbers import SEQUENCE_SPACE, relative
from tfocheck.wire.options import FastOpen, Option
from tfocheck.wire.segment import DEFAULT_TTL, Flags, Segment, build, dissect

KEY = FlowKey("192.0.2.1", 40_000, "192.0.2.2", 443)
SERVER_ISN = SEQUENCE_SPACE - 8  # wraps early
COOKIE = FastOpen(b"12345678")
SYN_ACK = Flags.SYN | Flags.ACK


class Talk:
    """A conversation, and what passes: ours as it is sent, the server's as it is shown."""

    def __init__(
        self, *fast_open: FastOpen, data: bytes = b"", also: Sequence[Option] = ()
    ) -> None:
        self.ours = Conversation(KEY)
        self.now = 100.0
        area = tcp_options.encode([*(each.to_option() for each in fast_open), *also])
        self.sent(self.ours.syn(area, data))

    def sent(self, segment: Segment, *, after: float = 0.001) -> Segment:
        """A segment of ours has left."""
        self.now += after
        self.ours.segment_captured(Captured(segment, self.now, sent=True))
        return segment

    def came(
        self,
        flags: Flags,
        *,
        start: int = 0,
        ack: int = 1,
        data: bytes = b"",
        options: Sequence[Option] = (),
        after: float = 0.001,
        ip_id: int = 0,
    ) -> Captured:
        """A segment of the server's, at so many bytes from its first one."""
        self.now += after
        here = -1 if flags & Flags.SYN else start
        segment = Segment(
            *(KEY.server, KEY.server_port, KEY.client, KEY.client_port),
            seq=(SERVER_ISN + 1 + here) % SEQUENCE_SPACE,
            ack=(self.ours.isn + ack) % SEQUENCE_SPACE,
            flags=flags,
            payload=data,
            options=tcp_options.encode(options),
            ip_id=ip_id,
        )
        captured = Captured(segment, self.now, sent=False)
        self.ours.segment_captured(captured)
        return captured

    def seq(self, segment: Segment) -> int:
        return relative(segment.seq, self.ours.isn)

    def ack(self, segment: Segment) -> int:
        """What it acknowledges, in bytes from the server's first one."""
        return relative(segment.ack, (SERVER_ISN + 1) % SEQUENCE_SPACE)


def opened(data: bytes = b"hello", **came: object) -> Talk:
    """An accepted Fast Open."""
    talk = Talk(COOKIE, data=data)
    talk.came(SYN_ACK, ack=1 + len(data), **came)  # type: ignore[arg-type]
    return talk


# --- what we send ---------------------------------------------------------------------------------


def test_a_syn_is_what_it_was_told() -> None:
    ours = Conversation(KEY)
    area = tcp_options.encode([COOKIE.to_option()])
    syn = ours.syn(area, b"hello", window=500, ttl=3)
    assert (syn.source, syn.source_port, syn.destination, syn.destination_port) == tuple(KEY)
    assert (syn.flags, syn.seq, syn.ack) == (Flags.SYN, ours.isn, 0)
    assert (syn.window, syn.ttl, syn.payload, syn.options) == (500, 3, b"hello", area)
    assert ours.syn_options.fast_open == COOKIE
    plain = Conversation(KEY).syn(b"")
    assert (plain.window, plain.ttl) == (RECEIVE_WINDOW, DEFAULT_TTL)


def test_a_syn_again_is_the_same_unless_it_is_told_otherwise() -> None:
    talk = Talk(COOKIE, data=b"hello")
    first = talk.ours.packets[0].segment
    again = talk.ours.syn_again()
    assert (again.seq, again.ack, again.flags) == (first.seq, 0, Flags.SYN)
    assert (again.options, again.payload) == (first.options, first.payload)
    assert talk.ours.syn_again(options=b"").payload == b"hello"
    assert talk.ours.syn_again(data=b"").options == first.options


def test_after_an_accepted_open_we_go_on_behind_the_data() -> None:
    talk = opened()
    assert not talk.ours.handshake_done
    ack = talk.ours.ack(talk.now)
    assert talk.ours.handshake_done
    assert (ack.flags, talk.seq(ack), talk.ack(ack)) == (Flags.ACK, 6, 0)
    data = talk.ours.data(b"more", talk.now)
    assert (data.flags, talk.seq(data), data.payload) == (Flags.ACK | Flags.PSH, 6, b"more")
    assert talk.ours.next_offset(talk.now) == 10


@pytest.mark.parametrize(("acknowledged", "goes_on"), [(1, 1), (3, 3), (6, 6)])
def test_we_go_on_from_what_the_syn_ack_acknowledged(acknowledged: int, goes_on: int) -> None:
    """RFC 7413 section 4.2.2, client: what is not acknowledged is sent again."""
    for say in ("ack", "data", "fin", "rst", "offset"):
        talk = Talk(COOKIE, data=b"hello")
        talk.came(SYN_ACK, ack=acknowledged)
        match say:
            case "ack":
                segment = talk.ours.ack(talk.now)
            case "data":
                segment = talk.ours.data(b"hello", talk.now)
            case "fin":
                segment = talk.ours.fin(talk.now)
            case "rst":
                segment = talk.ours.rst(talk.now)
            case _:
                assert talk.ours.next_offset(talk.now) == goes_on
                continue
        assert talk.seq(segment) == goes_on
        assert talk.ours.handshake_done


def test_before_a_syn_ack_nothing_is_done() -> None:
    talk = Talk(COOKIE, data=b"hello")
    ack = talk.ours.ack(talk.now)
    assert not talk.ours.handshake_done
    assert (talk.seq(ack), ack.ack) == (6, 0)


def test_a_second_syn_ack_takes_nothing_back() -> None:
    talk = opened()
    talk.ours.ack(talk.now)
    talk.ours.data(b"more", talk.now)
    talk.came(SYN_ACK, ack=1)
    assert talk.ours.next_offset(talk.now) == 10


def test_data_again_is_at_the_place_it_was_told() -> None:
    talk = opened()
    again = talk.ours.data_again(1, b"hello", talk.now, ttl=2)
    assert (talk.seq(again), again.payload, again.ttl) == (1, b"hello", 2)
    assert again.flags == Flags.ACK | Flags.PSH
    assert talk.ours.data_again(1, b"x", talk.now).ttl == DEFAULT_TTL
    assert not talk.ours.handshake_done


def test_a_keep_alive_is_the_last_byte_again() -> None:
    """RFC 9293 section 3.8.4: one byte of old data, which the server must answer."""
    talk = opened()
    alive = talk.ours.keep_alive(talk.now)
    assert (talk.seq(alive), alive.payload, alive.flags) == (5, b"o", Flags.ACK)
    talk.ours.data(b"more", talk.now)
    alive = talk.ours.keep_alive(talk.now)
    assert (talk.seq(alive), alive.payload) == (9, b"e")
    talk.ours.data(b"", talk.now)
    assert talk.ours.keep_alive(talk.now).payload == b"e"
    assert talk.ours.next_offset(talk.now) == 10


def test_a_fin_takes_a_number_and_is_repeated_with_the_same_one() -> None:
    talk = opened()
    first, again = talk.ours.fin(talk.now), talk.ours.fin(talk.now)
    assert first.flags == Flags.FIN | Flags.ACK
    assert talk.seq(first) == talk.seq(again) == 6
    assert talk.ours.next_offset(talk.now) == 7
    assert not talk.ours.fin_acknowledged
    talk.came(Flags.ACK, ack=6)
    assert not talk.ours.fin_acknowledged
    talk.came(Flags.ACK, ack=7)
    assert talk.ours.fin_acknowledged


def test_no_fin_is_acknowledged_that_was_not_sent() -> None:
    talk = opened()
    talk.ours.ack(talk.now)
    talk.came(Flags.ACK, ack=6)
    assert not talk.ours.fin_acknowledged


def test_a_reset_carries_ack_and_no_options() -> None:
    talk = opened(options=[tcp_options.timestamps(77, 0)])
    reset = talk.ours.rst(talk.now)
    assert (reset.flags, reset.window, reset.options) == (Flags.RST | Flags.ACK, 0, b"")
    assert talk.ack(reset) == 0
    assert not talk.ours.owes_ack


def test_what_is_acknowledged_is_all_that_came_in_order() -> None:
    talk = opened()
    assert talk.ack(talk.ours.ack(talk.now)) == 0
    talk.came(Flags.ACK, data=b"abc", ack=6)
    assert talk.ack(talk.ours.ack(talk.now)) == 3
    talk.came(Flags.ACK, start=10, data=b"late", ack=6)
    assert talk.ack(talk.ours.ack(talk.now)) == 3
    talk.came(Flags.ACK, start=3, data=b"defghij", ack=6)
    assert talk.ack(talk.ours.ack(talk.now)) == 14
    talk.came(Flags.FIN | Flags.ACK, start=14, ack=6)
    assert talk.ack(talk.ours.ack(talk.now)) == 15


def test_data_on_a_syn_ack_is_the_first_data() -> None:
    talk = opened(data=b"x")
    assert talk.ours.stream == b""
    talk = Talk(COOKIE, data=b"x")
    talk.came(SYN_ACK, ack=2, data=b"early")
    assert talk.ours.stream == b"early"
    assert talk.ack(talk.ours.ack(talk.now)) == 5


# --- options on later segments --------------------------------------------------------------------


def test_timestamps_are_sent_on_every_segment_once_agreed() -> None:
    """RFC 7323 section 3.2; a TSval in milliseconds (section 5.4)."""
    talk = opened(options=[tcp_options.timestamps(77, 0)])
    first = talk.ours.ack(50.0).option_list.timestamps
    later = talk.ours.ack(50.5).option_list.timestamps
    assert first is not None
    assert later is not None
    assert (later[0] - first[0]) % SEQUENCE_SPACE == 500
    assert first[1] == later[1] == 77
    assert first[0] == talk.ours.timestamp(50.0)
    talk.came(Flags.ACK, options=[tcp_options.timestamps(99, 0)])
    latest = talk.ours.ack(51.0).option_list.timestamps
    assert latest is not None
    assert latest[1] == 99


def test_without_an_agreement_there_are_no_options() -> None:
    talk = opened()
    assert talk.ours.ack(talk.now).options == b""


def test_stray_options_are_sent_where_they_may_not_belong() -> None:
    talk = opened(options=[tcp_options.timestamps(77, 0)])
    talk.ours.stray_options = (COOKIE.to_option(),)
    ack = talk.ours.ack(talk.now)
    assert ack.fast_open == COOKIE
    assert ack.option_list.timestamps is not None


def with_sack(*options: Option, blocks: int = 4) -> Talk:
    """An agreement on SACK, and so many blocks of 10 bytes, 10 bytes apart."""
    talk = Talk(also=[tcp_options.sack_permitted()])
    talk.came(SYN_ACK, options=[tcp_options.sack_permitted(), *options])
    for number in range(blocks):
        talk.came(Flags.ACK, start=10 + 20 * number, data=bytes(10))
    return talk


def sack_blocks(talk: Talk) -> list[tuple[int, int]]:
    found = talk.ours.ack(talk.now).option_list.find(tcp_options.SACK)
    if found is None:
        return []
    edges = [int.from_bytes(found.value[at : at + 4]) for at in range(0, len(found.value), 4)]
    places = [relative(edge, (SERVER_ISN + 1) % SEQUENCE_SPACE) for edge in edges]
    return list(zip(places[::2], places[1::2], strict=True))


def test_gaps_are_told_by_selective_acknowledgements() -> None:
    """RFC 2018 section 4, with as many blocks as there is room for (section 3)."""
    four = [(10, 20), (30, 40), (50, 60), (70, 80)]
    assert sack_blocks(with_sack()) == four
    assert sack_blocks(with_sack(blocks=6)) == four
    assert sack_blocks(with_sack(tcp_options.timestamps(1, 0))) == four[:3]
    assert sack_blocks(with_sack(blocks=0)) == []
    size = len(with_sack(tcp_options.timestamps(1, 0)).ours.ack(1.0).options)
    assert size <= tcp_options.MAX_OPTION_BYTES
    crowded = with_sack(tcp_options.timestamps(1, 0))
    crowded.ours.stray_options = (FastOpen(bytes(16)).to_option(),)
    assert sack_blocks(crowded) == []


@pytest.mark.parametrize(("ours", "theirs"), [(True, False), (False, True)])
def test_both_must_have_permitted_selective_acknowledgements(ours: bool, theirs: bool) -> None:
    permitted = [tcp_options.sack_permitted()]
    talk = Talk(also=permitted if ours else [])
    talk.came(SYN_ACK, options=permitted if theirs else [])
    talk.came(Flags.ACK, start=10, data=bytes(10))
    assert sack_blocks(talk) == []


# --- what we owe ----------------------------------------------------------------------------------


def test_what_takes_a_number_wants_an_ack_and_an_ack_does_not() -> None:
    talk = opened()
    assert talk.ours.owes_ack  # the SYN-ACK
    talk.ours.ack(talk.now)
    assert not talk.ours.owes_ack
    talk.came(Flags.ACK)
    assert not talk.ours.owes_ack
    for flags, data in ((Flags.ACK, b"x"), (Flags.FIN | Flags.ACK, b""), (SYN_ACK, b"")):
        talk.came(flags, data=data)
        assert talk.ours.owes_ack
        talk.came(Flags.ACK)
        assert talk.ours.owes_ack
        talk.ours.data(b"y", talk.now)
        assert not talk.ours.owes_ack
    talk.came(Flags.RST | Flags.ACK)
    assert not talk.ours.owes_ack


# --- where we are ---------------------------------------------------------------------------------


def test_an_open_may_be_pending_until_we_have_acknowledged_it() -> None:
    talk = Talk(COOKIE, data=b"hello")
    assert not talk.ours.may_be_pending  # nobody has answered
    talk.came(SYN_ACK, ack=6)
    assert talk.ours.may_be_pending
    talk.ours.ack(talk.now)
    assert not talk.ours.may_be_pending


@pytest.mark.parametrize(
    ("asked", "data", "ack", "offered", "pending"),
    [
        ((COOKIE,), b"hello", 1, (), False),
        ((COOKIE,), b"hello", 3, (), True),
        ((), b"hello", 6, (), True),
        # A server that needs no cookie takes an option without a cookie in reply as an open.
        ((FastOpen(),), b"", 1, (), True),
        ((COOKIE,), b"", 1, (), True),
        ((FastOpen(),), b"", 1, (COOKIE,), False),
        ((), b"", 1, (), False),
    ],
)
def test_what_may_occupy_a_place_in_the_servers_queue(
    asked: tuple[FastOpen, ...],
    data: bytes,
    ack: int,
    offered: tuple[FastOpen, ...],
    pending: bool,
) -> None:
    talk = Talk(*asked, data=data)
    talk.came(SYN_ACK, ack=ack, options=[each.to_option() for each in offered])
    assert talk.ours.may_be_pending is pending
    talk.came(Flags.RST | Flags.ACK, ack=ack)
    assert not talk.ours.may_be_pending


def test_an_open_was_pending_until_the_moment_of_our_ack() -> None:
    talk = Talk(COOKIE, data=b"hello")
    assert not talk.ours.was_pending_at(0.0)
    talk.came(SYN_ACK, ack=6)
    assert talk.ours.was_pending_at(1000.0)
    talk.ours.ack(500.0)
    talk.ours.ack(600.0)
    assert talk.ours.was_pending_at(499.0)
    assert not talk.ours.was_pending_at(500.0)
    talk.came(Flags.RST | Flags.ACK, ack=6)
    assert not talk.ours.was_pending_at(0.0)
    rejected = Talk(COOKIE, data=b"hello")
    rejected.came(SYN_ACK, ack=1)
    assert not rejected.ours.was_pending_at(0.0)


def test_a_connection_is_closed_by_both_sides_or_by_a_reset() -> None:
    talk = opened()
    talk.came(Flags.FIN | Flags.ACK, ack=6)
    assert talk.ours.server_has_closed
    assert talk.ours.has_ended
    assert not talk.ours.is_closed
    talk.ours.fin(talk.now)
    assert not talk.ours.is_closed
    talk.came(Flags.ACK, start=1, ack=7)
    assert talk.ours.is_closed
    half = opened()
    half.ours.fin(half.now)
    half.came(Flags.ACK, ack=7)
    assert not half.ours.is_closed
    half.came(Flags.RST | Flags.ACK, ack=7)
    assert half.ours.is_closed
    assert half.ours.has_ended


def test_a_fin_behind_a_gap_closes_nothing_yet() -> None:
    talk = opened()
    talk.came(Flags.FIN | Flags.ACK, start=3, data=b"de", ack=6)
    assert not talk.ours.server_has_closed
    talk.came(Flags.ACK, data=b"abc", ack=6)
    assert talk.ours.server_has_closed
    assert talk.ours.stream == b"abcde"


# --- what the packets say -------------------------------------------------------------------------


def test_nothing_is_known_before_anything_has_come() -> None:
    ours = Talk(COOKIE, data=b"hello").ours
    unknown = [
        *(ours.syn_ack, ours.offered, ours.offered_cookie, ours.acknowledged, ours.round_trip),
        *(ours.repeated_syn_ack, ours.icmp, ours.first_data_time, ours.asked_time),
        ours.handshake_done_time,
    ]
    assert unknown == [None] * len(unknown)
    assert ours.only_answer is None
    assert ours.said_sent(0) is None
    assert not ours.is_answered
    assert ours.reach == 0
    assert Conversation(KEY).syn_time is None
    assert Conversation(KEY).sent_timestamp is None


def test_the_first_syn_ack_says_what_is_offered_and_acknowledged() -> None:
    talk = Talk(FastOpen(), data=b"hello")
    first = talk.came(SYN_ACK, ack=6, options=[COOKIE.to_option()])
    talk.came(SYN_ACK, ack=1)
    assert talk.ours.syn_ack is first
    assert talk.ours.offered == talk.ours.offered_cookie == COOKIE
    assert talk.ours.acknowledged == 6
    assert talk.ours.round_trip == pytest.approx(0.001)
    assert talk.ours.is_answered
    empty = Talk(FastOpen())
    empty.came(SYN_ACK, options=[FastOpen().to_option()])
    assert empty.ours.offered == FastOpen()
    assert empty.ours.offered_cookie is None


def test_a_syn_ack_that_acknowledges_what_we_never_sent_is_a_misfit() -> None:
    for ack, fits in ((0, False), (1, True), (6, True), (7, False)):
        talk = Talk(data=b"hello")
        talk.came(SYN_ACK, ack=ack)
        assert bool(talk.ours.syn_acks) is fits
        assert bool(talk.ours.misfits) is not fits
        assert talk.ours.is_answered is fits


def test_the_time_of_our_first_syn_counts() -> None:
    talk = Talk(COOKIE)
    left = talk.now
    talk.sent(talk.ours.syn_again(), after=1.0)
    assert talk.ours.syn_time == left
    talk.came(SYN_ACK, after=0.1)
    assert talk.ours.round_trip == pytest.approx(1.1)


def test_our_tsval_is_that_of_the_first_syn() -> None:
    talk = Talk(also=[tcp_options.timestamps(1234, 0)])
    assert talk.ours.sent_timestamp == 1234
    assert Talk().ours.sent_timestamp is None


@pytest.mark.parametrize(
    ("asked", "data", "plain", "fast_open"),
    [
        ((), b"", True, False),
        ((), b"x", False, False),
        ((FastOpen(),), b"", False, True),
        ((COOKIE,), b"x", False, True),
    ],
)
def test_a_plain_syn_brings_neither_data_nor_the_option(
    asked: tuple[FastOpen, ...], data: bytes, plain: bool, fast_open: bool
) -> None:
    ours = Talk(*asked, data=data).ours
    assert ours.is_plain is plain
    assert ours.asked_for_fast_open is fast_open


def test_an_option_outside_a_syn_asks_for_nothing() -> None:
    talk = Talk()
    talk.came(SYN_ACK, options=[COOKIE.to_option()])
    talk.ours.stray_options = (COOKIE.to_option(),)
    talk.sent(talk.ours.ack(talk.now))
    assert not talk.ours.asked_for_fast_open


@pytest.mark.parametrize(("after", "repeated"), [(LEAST_REPEAT - 0.01, False), (1.0, True)])
def test_a_servers_timer_repeats_a_syn_ack_later_than_a_network(
    after: float, repeated: bool
) -> None:
    talk = opened()
    again = talk.came(SYN_ACK, ack=6, after=after)
    assert talk.ours.repeated_syn_ack is (again if repeated else None)


def test_an_icmp_error_is_an_answer_and_the_latest_counts() -> None:
    talk = Talk()
    errors = [IcmpError("192.0.2.9", 3, code, 1.0, b"") for code in (1, 3)]
    for error in errors:
        talk.ours.icmp_received(error)
    assert talk.ours.icmp is errors[1]
    assert talk.ours.is_answered


def test_a_reset_is_an_answer() -> None:
    talk = Talk()
    talk.came(Flags.RST | Flags.ACK)
    assert talk.ours.is_answered


def test_the_first_believable_reset_counts() -> None:
    talk = Talk(data=b"hello")
    talk.came(Flags.RST | Flags.ACK, ack=9)
    assert talk.ours.reset is None
    first = talk.came(Flags.RST | Flags.ACK, ack=6)
    talk.came(Flags.RST | Flags.ACK, ack=6)
    assert talk.ours.reset is first
    # Once there is a connection, its numbers need not acknowledge the SYN.
    later = opened()
    reset = later.came(Flags.RST, ack=900)
    assert later.ours.reset is reset


def test_data_is_early_until_our_ack_has_left() -> None:
    talk = opened()
    early = talk.came(Flags.ACK, data=b"abc", ack=6)
    assert talk.ours.early_data == [early]
    talk.sent(talk.ours.ack(talk.now))
    assert talk.ours.handshake_done_time == talk.now
    talk.came(Flags.ACK, start=3, data=b"def", ack=6)
    talk.came(Flags.ACK, start=6, ack=6)
    assert talk.ours.early_data == [early]
    assert talk.ours.first_data_time == early.time


def test_what_left_at_the_very_moment_of_the_data_was_not_what_asked_for_it() -> None:
    talk = opened()
    asked = talk.now + 0.001
    talk.sent(talk.ours.data(b"GET", talk.now))
    came = talk.came(Flags.ACK, data=b"abc", ack=9, after=0.1)
    talk.sent(talk.ours.data(b"more", talk.now), after=0.0)
    assert talk.now == came.time
    assert talk.ours.asked_time == asked


def test_the_server_is_asked_by_the_last_data_or_else_by_the_handshake() -> None:
    talk = opened()
    talk.sent(talk.ours.ack(talk.now))
    acknowledged = talk.now
    assert talk.ours.asked_time == acknowledged
    talk.sent(talk.ours.data(b"GET", talk.now))
    talk.sent(talk.ours.data_again(6, b"GET", talk.now), after=0.3)
    repeated = talk.now
    talk.sent(talk.ours.ack(talk.now), after=0.3)
    assert talk.ours.asked_time == repeated
    talk.came(Flags.ACK, data=b"abc", ack=9, after=0.1)
    talk.sent(talk.ours.data(b"more", talk.now))
    assert talk.ours.asked_time == repeated


def test_the_reach_of_the_servers_data_has_gaps() -> None:
    talk = opened()
    first = talk.came(Flags.ACK, data=b"abc", ack=6)
    last = talk.came(Flags.ACK, start=10, data=b"xyz", ack=6)
    talk.came(Flags.ACK, start=50, ack=6)
    assert [talk.ours.end_of(each) for each in (first, last)] == [3, 13]
    assert talk.ours.reach == 13
    assert talk.ours.stream_bytes == 3
    assert talk.ours.stream_gaps == [(10, 13)]


def test_what_is_beyond_our_window_does_not_reach_further() -> None:
    talk = opened()
    talk.came(Flags.ACK, data=b"abc", ack=6)
    talk.came(Flags.ACK, start=1 << 30, data=b"of another connection", ack=6)
    assert talk.ours.reach == 3


def test_data_before_the_first_byte_is_nobodys() -> None:
    talk = opened()
    talk.came(Flags.ACK, start=-3, data=b"abcdef", ack=6)
    assert talk.ours.stream == b""
    talk.came(Flags.FIN | Flags.ACK, start=-1, ack=6)
    assert not talk.ours.server_has_closed


def test_what_is_acknowledged_is_so_by_any_segment_but_a_reset() -> None:
    talk = opened()
    assert talk.ours.has_acknowledged(6)
    assert not talk.ours.has_acknowledged(7)
    talk.came(Flags.RST | Flags.ACK, ack=20)
    assert not talk.ours.has_acknowledged(7)
    talk.came(Flags.PSH, ack=20)
    assert not talk.ours.has_acknowledged(7)
    talk.came(Flags.ACK, ack=20)
    assert talk.ours.has_acknowledged(20)


def test_a_server_says_how_far_it_has_sent_in_its_plain_acks() -> None:
    talk = opened()
    talk.came(Flags.ACK, start=5, ack=6)
    since = len(talk.ours.received)
    assert talk.ours.said_sent(0) == 5
    assert talk.ours.said_sent(since) is None
    talk.came(Flags.ACK | Flags.PSH, start=7, ack=6)
    talk.came(Flags.ACK, start=9, data=b"x", ack=6)
    assert talk.ours.said_sent(since) is None
    most = RECEIVE_WINDOW << WINDOW_SCALE
    talk.came(Flags.ACK, start=most + 1, ack=6)
    talk.came(Flags.ACK, start=-1, ack=6)
    assert talk.ours.said_sent(since) is None
    talk.came(Flags.ACK, start=0, ack=6)
    assert talk.ours.said_sent(since) == 0
    talk.came(Flags.ACK, start=most, ack=6)
    assert talk.ours.said_sent(since) == most


def test_an_answer_to_a_copy_differs_from_all_that_came_before() -> None:
    talk = opened()
    doubled = talk.came(SYN_ACK, ack=6)
    assert not talk.ours.is_answer_to_copy(doubled)
    other = talk.came(SYN_ACK, ack=6, ip_id=5)
    assert talk.ours.is_answer_to_copy(other)
    assert not Talk().ours.is_answer_to_copy(other)
    by_timer = talk.came(SYN_ACK, ack=6, ip_id=6, after=LEAST_REPEAT)
    assert not talk.ours.is_answer_to_copy(by_timer)


def test_the_only_answer_is_the_one_to_a_syn_and_nothing_else() -> None:
    talk = Talk()
    answer = talk.came(SYN_ACK)
    assert talk.ours.only_answer is answer
    talk.sent(talk.ours.rst(talk.now))
    assert talk.ours.only_answer is answer
    talk.came(Flags.ACK)
    assert talk.ours.only_answer is None
    other = Talk()
    other.came(SYN_ACK)
    other.sent(other.ours.ack(other.now))
    assert other.ours.only_answer is None
    twice = Talk()
    twice.sent(twice.ours.syn_again())
    twice.came(SYN_ACK)
    assert twice.ours.only_answer is None


def test_resets_without_ack_are_the_local_kernels() -> None:
    talk = opened()
    talk.sent(talk.ours.rst(talk.now))
    assert talk.ours.kernel_resets == 0
    talk.sent(Segment(*KEY, seq=1, flags=Flags.RST))
    talk.sent(Segment(*KEY, seq=1, flags=Flags.RST))
    assert talk.ours.kernel_resets == 2
    assert talk.ours.received == [talk.ours.syn_acks[0]]


def test_numbers_wrap_in_every_segment(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 9293 section 3.4: arithmetic is modulo 2**32, and a header has room for no more."""
    for before in range(12):
        monkeypatch.setattr("secrets.randbelow", lambda below, left=before: below - 1 - left)
        talk = Talk(COOKIE, data=b"hello", also=[tcp_options.timestamps(1, 0)])
        talk.came(SYN_ACK, ack=6, data=b"early", options=[tcp_options.timestamps(77, 0)])
        sent = [
            talk.ours.syn_again(),
            talk.ours.ack(talk.now),
            talk.ours.data(b"more", talk.now),
            talk.ours.data_again(1, b"hello", talk.now),
            talk.ours.keep_alive(talk.now),
            talk.ours.fin(talk.now),
            talk.ours.rst(talk.now),
        ]
        assert [talk.seq(each) for each in sent] == [0, 6, 6, 1, 9, 10, 11]
        for segment in sent:
            assert dissect(build(segment)) == segment


def test_the_copy_of_a_syn_is_the_second_that_left() -> None:
    talk = Talk(COOKIE, data=b"hello")
    assert talk.ours.first_copy is None
    talk.came(SYN_ACK, ack=6)
    talk.sent(talk.ours.ack(talk.now))
    assert talk.ours.first_copy is None
    talk.sent(talk.ours.syn_again())
    copy = talk.ours.packets[-1]
    talk.sent(talk.ours.syn_again())
    assert talk.ours.first_copy is copy


@pytest.mark.parametrize(
    ("start", "believed"),
    [
        (-2, False),
        (-1, True),
        (0, True),
        (3 + (RECEIVE_WINDOW << WINDOW_SCALE), True),
        (4 + (RECEIVE_WINDOW << WINDOW_SCALE), False),
    ],
)
def test_a_reset_of_a_connection_begins_inside_of_the_window(start: int, believed: bool) -> None:
    """RFC 9293 section 3.10.7.4; where the window was before is all right, for it was late."""
    talk = opened()
    talk.came(Flags.ACK, data=b"abc", ack=6)
    reset = talk.came(Flags.RST, start=start, ack=900)
    assert talk.ours.reset is (reset if believed else None)
    assert talk.ours.stray_resets == ([] if believed else [reset])


def test_a_reset_that_answers_the_syn_is_believed_wherever_it_begins() -> None:
    talk = opened()
    reset = talk.came(Flags.RST | Flags.ACK, start=1 << 30, ack=6)
    assert talk.ours.reset is reset


def test_a_window_is_as_large_as_a_header_can_say() -> None:
    """RFC 9293 section 3.1: sixteen bits; RFC 7323 section 2.3: scaled by at most 2**14."""
    assert Conversation(KEY).syn(b"").window == RECEIVE_WINDOW == (1 << 16) - 1
    scale = tcp_options.walk(tcp_options.encode(usual_options(1460, 1))).window_scale
    assert scale == WINDOW_SCALE
    assert WINDOW_SCALE <= 14
