"""TCP as the reference server speaks it: RFC 9293, timers, windows, resets."""

from __future__ import annotations

from typing import Any

import pytest
from crafted import (
    GET,
    GET_LARGE,
    KEY,
    MSS,
    NOP,
    PORT,
    REQUEST,
    SCALE,
    STAMPS,
    USUAL,
    Client,
    ack_of,
    cookie_of,
    fresh_open,
    server,
)

from tfocheck.reference.listener import ReferenceServer
from tfocheck.wire import options as tcp_options
from tfocheck.wire.numbers import SEQUENCE_SPACE
from tfocheck.wire.options import FastOpen
from tfocheck.wire.segment import Flags


def test_the_syn_ack_is_repeated_bare_at_1_3_and_7_seconds() -> None:
    target = server()
    for cookie in (REQUEST, FastOpen(cookie_of(target))):
        client = Client(target)
        first = client.syn(cookie, data=GET, options=USUAL)[0]
        for pause in (1, 2, 4):
            assert client.wait(pause - 0.01) == []
            repeats = [
                s for s in client.wait(0.01) if s.destination_port == client.base.source_port
            ]
            (repeat,) = repeats
            assert (repeat.seq, repeat.ack) == (first.seq, first.ack)
            assert repeat.payload == b""
            assert repeat.fast_open is None
        client.wait(60)
    assert target.connection_count == 0
    assert target.pending_requests(1000) == 0


@pytest.mark.parametrize("again", ["whole", "bare"])
def test_a_duplicate_syn_gets_the_same_syn_ack(again: str) -> None:
    target = server()
    cookie = FastOpen(cookie_of(target))
    client = Client(target)
    first = client.syn(cookie, data=GET)[0]
    (second,) = client.syn(cookie, data=GET) if again == "whole" else client.syn()
    assert (second.seq, second.ack) == (first.seq, first.ack)
    client.segment(1 + len(GET))
    client.segment(1 + len(GET), GET, ack=1 + len(client.answer))
    assert client.answers == [b"200", b"200"]


def test_pending_requests_are_limited_and_resets_keep_counting() -> None:
    target = server(pending_limit=2)
    cookie = FastOpen(cookie_of(target))
    clients = [Client(target) for _ in range(3)]
    acks = [ack_of(client, client.syn(cookie, data=GET)[0]) for client in clients]
    assert acks == [1 + len(GET), 1 + len(GET), 1]
    assert clients[2].received[0].fast_open is None
    assert Client(target).syn()[0].is_syn_ack
    assert cookie_of(target) == b""

    clients[0].segment(1 + len(GET))
    assert fresh_open(target, cookie, end="reset") == 1 + len(GET)
    assert target.pending_requests(100.0) == 2
    assert target.pending_requests(159.9) == 2
    assert target.pending_requests(160.0) == 1
    clients[1].segment(1 + len(GET))
    assert target.pending_requests(160.0) == 0


def test_early_data_keeps_to_initial_window_peer_window_and_mss() -> None:
    def early(**syn: Any) -> list[int]:
        target = server()
        replies = Client(target).syn(FastOpen(cookie_of(target)), data=GET_LARGE, **syn)
        return [len(segment.payload) for segment in replies[1:]]

    assert early() == [1460] * 3
    assert early(window=200) == [200]
    assert early(window=0) == []
    assert early(options=(tcp_options.mss(536),)) == [536] * 4
    assert early(options=()) == [536] * 4
    assert early(options=(tcp_options.mss(536), STAMPS)) == [524] * 4
    # The window of a SYN is not scaled.
    assert early(options=(MSS, SCALE), window=300) == [300]


def test_timestamps_are_echoed_on_every_segment() -> None:
    target = server()
    client = Client(target)
    replies = client.syn(FastOpen(cookie_of(target)), data=GET, options=USUAL)
    later = tcp_options.encode((NOP, NOP, tcp_options.timestamps(800, 0)))
    replies += client.segment(1 + len(GET), GET, options=later)
    stamps = [segment.option_list.timestamps for segment in replies]
    assert [stamp and stamp[1] for stamp in stamps] == [777, 777, 800]
    old = tcp_options.encode((NOP, NOP, tcp_options.timestamps(700, 0)))
    (challenge,) = client.segment(1 + 2 * len(GET), GET, options=old)
    assert challenge.payload == b""


def test_segments_of_no_connection_are_reset() -> None:
    target = server()
    client = Client(target)
    (reset,) = client.segment(1, GET, ack=77)
    assert reset.flags == Flags.RST
    assert reset.seq == 77
    assert client.segment(1, flags=Flags.RST) == []
    assert client.send(flags=Flags.FIN) == []
    assert client.send(flags=Flags.SYN, destination_port=PORT + 1) == []


def test_a_wrong_acknowledgment_in_the_handshake_is_reset() -> None:
    client = Client(server())
    client.syn()
    (reset,) = client.segment(1, ack=5000)
    assert reset.flags == Flags.RST
    assert client.segment(1, GET)[0].payload


def test_resets_are_checked() -> None:
    target = server()
    client = Client(target)
    client.syn()
    client.segment(1)
    assert client.segment(60_000_000, flags=Flags.RST) == []
    (challenge,) = client.segment(100, flags=Flags.RST)
    assert challenge.flags == Flags.ACK
    assert target.connection_count == 1
    assert client.segment(1, flags=Flags.RST) == []
    assert target.connection_count == 0


def test_data_out_of_order_is_asked_for_again() -> None:
    client = Client(server())
    client.syn()
    client.segment(1)
    (duplicate_ack,) = client.segment(11, GET[10:])
    assert ack_of(client, duplicate_ack) == 1
    client.segment(1, GET[:10])
    client.segment(6, GET[5:])
    assert client.answers == [b"200"]
    (again,) = client.segment(6, GET[5:])
    assert ack_of(client, again) == 1 + len(GET)


def test_unacknowledged_data_and_fin_are_sent_again_more_and_more_slowly() -> None:
    client = Client(server())
    client.syn()
    request = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    data, fin = client.segment(1, request)
    assert fin.flags & Flags.FIN
    for pause in (1, 2, 4):
        assert client.wait(pause - 0.01) == []
        repeats = client.wait(0.01)
        assert [segment.payload for segment in repeats if segment.payload] == [data.payload]
    end = 2 + len(data.payload)
    assert client.segment(1 + len(request), ack=end) == []
    (ack,) = client.segment(1 + len(request), flags=Flags.FIN | Flags.ACK, ack=end)
    assert ack_of(client, ack) == 2 + len(request)
    client.wait(61)
    assert client.target.connection_count == 0


def test_third_duplicate_ack_repeats_the_first_segment() -> None:
    client = Client(server())
    client.syn()
    sent = client.segment(1, GET_LARGE)
    end = 1 + len(GET_LARGE)
    replies = [client.segment(end) for _ in range(3)]
    assert replies[:2] == [[], []]
    (again,) = replies[2]
    assert (again.seq, again.payload) == (sent[0].seq, sent[0].payload)


def test_a_shut_window_is_probed_and_opens_again() -> None:
    client = Client(server())
    client.syn(window=0)
    (ack,) = client.segment(1, GET, window=0)
    assert ack.payload == b""
    for pause in (1, 2, 4):
        (probe,) = client.wait(pause)
        assert len(probe.payload) == 1
        assert client.segment(1 + len(GET), window=0) == []
    client.segment(1 + len(GET), window=1000)
    assert client.answers == [b"200"]


def test_close_in_order_after_syn_data() -> None:
    target = server()
    client = Client(target)
    client.syn(FastOpen(cookie_of(target)), data=GET)
    end = 1 + len(GET)
    (fin,) = client.segment(end, flags=Flags.FIN | Flags.ACK, ack=1 + len(client.answer))
    assert fin.flags == Flags.FIN | Flags.ACK
    assert ack_of(client, fin) == end + 1
    assert client.segment(end + 1, ack=2 + len(client.answer)) == []
    assert fresh_open(target, FastOpen(cookie_of(target))) == 1 + len(GET)


def test_large_answer_arrives_whole_through_a_small_window() -> None:
    client = Client(server())
    client.syn(options=(MSS, SCALE))
    replies = client.segment(1, GET_LARGE, window=100)
    arrived = b""
    for _ in range(1000):
        for segment in replies:
            if (segment.seq - client.server_isn) % SEQUENCE_SPACE == 1 + len(arrived):
                arrived += segment.payload
        if not replies:
            break
        replies = client.segment(1 + len(GET_LARGE), ack=1 + len(arrived), window=100)
    head, _, body = arrived.partition(b"\r\n\r\n")
    assert b"Content-Length: 100000" in head
    assert len(body) == 100_000
    assert max(len(segment.payload) for segment in client.received) == 1460


def test_connections_are_bounded_and_pending_requests_stay() -> None:
    target = ReferenceServer(PORT, max_connections=10, cookie_key=KEY)
    cookie = FastOpen(cookie_of(target))
    Client(target).syn(cookie, data=GET)
    for _ in range(100):
        Client(target).syn()
    assert target.connection_count == 10
    assert target.pending_requests(100.0) == 1


def test_idle_connections_end() -> None:
    client = Client(server())
    client.syn()
    client.segment(1)
    (reset,) = client.wait(61)
    assert reset.is_reset
    assert client.target.connection_count == 0
    assert client.target.next_timer() is None
