"""The reference server: the RFC's procedure without faults, and what each fault changes."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import random
import socket
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfocheck.errors import UsageError
from tfocheck.lab.reference import ReferenceServer
from tfocheck.lab.topology import SERVER_ADDRESSES, usable
from tfocheck.reference.answer import ANSWER_BYTES
from tfocheck.reference.faults import FAULTS, ActiveFaults, checked
from tfocheck.reference.http import HttpConversation
from tfocheck.wire import options as tcp_options
from tfocheck.wire.numbers import SEQUENCE_SPACE
from tfocheck.wire.options import FastOpen, Option
from tfocheck.wire.segment import Flags, NotTcpError, Segment, build, dissect

PORT = 8080
KEY = bytes(range(16))
# The answer fits into an initial window, other than that to GET /.
GET = b"GET /bytes/50 HTTP/1.1\r\nHost: lab\r\n\r\n"
GET_LARGE = b"GET /bytes/100000 HTTP/1.1\r\nHost: lab\r\n\r\n"
MSS, STAMPS, SCALE = tcp_options.mss(1460), tcp_options.timestamps(777, 0), Option(3, b"\x07")
NOP = tcp_options.no_operation()
PLAIN = (MSS,)
USUAL = (MSS, tcp_options.sack_permitted(), STAMPS, NOP, SCALE)
REQUEST = FastOpen()


def server(*faults: str, fast_open: bool = True, pending_limit: int = 64) -> ReferenceServer:
    return ReferenceServer(
        PORT,
        faults,
        fast_open=fast_open,
        pending_limit=pending_limit,
        cookie_key=KEY,
        rng=random.Random(1),
    )


class Client:
    """A crafted client: says exactly what it is told, and keeps what came back."""

    _next_port = 20_000

    def __init__(
        self, target: ReferenceServer, source: str = "10.0.0.1", destination: str = "10.0.0.2"
    ) -> None:
        Client._next_port = 20_000 + (Client._next_port + 1) % 40_000
        self.target = target
        self.now = 100.0
        self.isn = 4_000_000_000
        self.base = Segment(source, Client._next_port, destination, PORT, self.isn)
        self.server_isn = 0
        self.received: list[Segment] = []

    def send(self, **changes: Any) -> list[Segment]:
        replies = self.target.receive(dataclasses.replace(self.base, **changes), self.now)
        return self._take(replies)

    def wait(self, seconds: float) -> list[Segment]:
        """Let time pass, with every timer on the way."""
        end, replies = self.now + seconds, []
        while (timer := self.target.next_timer()) is not None and timer <= end:
            self.now = max(timer, self.now)
            replies += self.target.fire(self.now)
        self.now = end
        return self._take(replies)

    def syn(
        self,
        *fast_open: FastOpen,
        data: bytes = b"",
        options: tuple[Option, ...] = PLAIN,
        area: bytes | None = None,
        window: int = 65_535,
    ) -> list[Segment]:
        """A SYN with these options and the Fast Open options behind them."""
        if area is None:
            area = tcp_options.encode([*options, *(cookie.to_option() for cookie in fast_open)])
        replies = self.send(flags=Flags.SYN, options=area, payload=data, window=window)
        if replies and replies[0].is_syn_ack:
            self.server_isn = replies[0].seq
        return replies

    def segment(
        self, at: int, data: bytes = b"", flags: Flags = Flags.ACK, ack: int = 1, **more: Any
    ) -> list[Segment]:
        """A segment of the connection; numbers relative to the ISNs."""
        return self.send(
            seq=(self.isn + at) % SEQUENCE_SPACE,
            ack=(self.server_isn + ack) % SEQUENCE_SPACE,
            flags=flags,
            payload=data,
            **more,
        )

    @property
    def answer(self) -> bytes:
        """What the application said so far, each byte once."""
        stream: dict[int, int] = {}
        for segment in self.received:
            first = segment.seq + bool(segment.flags & Flags.SYN) - self.server_isn
            for place, byte in enumerate(segment.payload, first):
                stream[place % SEQUENCE_SPACE] = byte
        return bytes(stream[place] for place in sorted(stream))

    @property
    def answers(self) -> list[bytes]:
        """The status codes of the answers so far."""
        return [part[:3] for part in self.answer.split(b"HTTP/1.1 ")[1:]]

    def _take(self, replies: list[Segment]) -> list[Segment]:
        self.received += replies
        return replies


def cookie_of(target: ReferenceServer, **where: str) -> bytes:
    found = Client(target, **where).syn(REQUEST)[0].fast_open
    return found.cookie if found else b""


def cookies_of_many_ports(target: ReferenceServer) -> object:
    return len({cookie_of(target) for _ in range(12)})


def answers_to_a_copy(target: ReferenceServer) -> object:
    cookie = FastOpen(cookie_of(target))
    client = Client(target)
    for _ in range(2):
        client.syn(cookie, data=GET)
    return client.answer.count(b"HTTP/1.1 200")


def ack_of(client: Client, segment: Segment) -> int:
    return (segment.ack - client.isn) % SEQUENCE_SPACE


# The procedure


def test_plain_syn_gets_no_cookie_and_its_data_is_not_taken() -> None:
    client = Client(server())
    (syn_ack,) = client.syn(data=GET)
    assert syn_ack.is_syn_ack
    assert ack_of(client, syn_ack) == 1
    assert syn_ack.fast_open is None
    assert client.segment(1) == []
    client.segment(1, GET)
    assert client.answers == [b"200"]


@pytest.mark.parametrize("experimental", [False, True])
@pytest.mark.parametrize(
    "addresses", [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")], ids=["ipv4", "ipv6"]
)
def test_a_requested_cookie_opens_with_data(addresses: tuple[str, str], experimental: bool) -> None:
    target = server()
    asking = Client(target, *addresses)
    (syn_ack,) = asking.syn(FastOpen(experimental=experimental), data=GET, options=USUAL)
    assert ack_of(asking, syn_ack) == 1
    found = syn_ack.fast_open
    assert found is not None
    assert found.experimental == experimental
    assert len(found.cookie) == 8

    opening = Client(target, *addresses)
    syn_ack, early = opening.syn(found, data=GET, options=USUAL)
    assert ack_of(opening, syn_ack) == 1 + len(GET)
    assert syn_ack.fast_open is None
    assert syn_ack.payload == b""
    assert early.seq == syn_ack.seq + 1
    assert early.payload.startswith(b"HTTP/1.1 200 OK\r\n")
    assert target.pending_requests(opening.now) == 1
    opening.segment(1 + len(GET))
    assert target.pending_requests(opening.now) == 0
    opening.segment(1 + len(GET), GET, ack=1 + len(early.payload))
    assert opening.answers == [b"200", b"200"]


def test_cookies_depend_on_both_addresses_and_nothing_else() -> None:
    target = server()
    cookies = {
        cookie_of(target, source=source, destination=destination)
        for source in ("10.0.0.1", "10.0.0.3")
        for destination in ("10.0.0.2", "10.0.0.4")
        for _ in range(3)
    }
    assert len(cookies) == 4


def test_an_old_key_is_honoured_until_the_next_rotation() -> None:
    target = server()
    old = cookie_of(target)
    target.rotate()
    client = Client(target)
    syn_ack = client.syn(FastOpen(old), data=GET)[0]
    assert ack_of(client, syn_ack) == 1 + len(GET)
    assert syn_ack.fast_open is not None
    fresh = syn_ack.fast_open.cookie
    assert fresh == cookie_of(target) != old
    target.rotate()
    assert fresh_open(target, FastOpen(fresh)) == 1 + len(GET)
    assert fresh_open(target, FastOpen(old)) == 1


def test_an_invalid_cookie_falls_back_and_gets_a_valid_one() -> None:
    target = server()
    client = Client(target)
    (syn_ack,) = client.syn(FastOpen(b"forgery!"), data=GET)
    assert ack_of(client, syn_ack) == 1
    assert syn_ack.fast_open == FastOpen(cookie_of(target))
    client.segment(1, GET)
    assert client.answers == [b"200"]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 9, 11, 13, 15, 17, 18, 20])
def test_a_cookie_of_illegal_length_is_ignored(size: int) -> None:
    client = Client(server())
    (syn_ack,) = client.syn(FastOpen(bytes(range(size))), data=GET)
    assert ack_of(client, syn_ack) == 1
    assert syn_ack.fast_open is None


@pytest.mark.parametrize("size", [4, 6, 8, 10, 12, 14, 16])
def test_a_forged_cookie_of_legal_length_is_rejected(size: int) -> None:
    assert fresh_open(server(), FastOpen(bytes(range(size)))) == 1


def test_off_means_off() -> None:
    target = server(fast_open=False)
    assert cookie_of(target) == b""
    assert fresh_open(target, FastOpen(cookie_of(server()))) == 1


def test_a_valid_cookie_without_data_is_an_ordinary_handshake() -> None:
    target = server()
    client = Client(target)
    (syn_ack,) = client.syn(FastOpen(cookie_of(target)))
    assert ack_of(client, syn_ack) == 1
    assert syn_ack.fast_open is None
    client.segment(1, GET)
    assert client.answers == [b"200"]


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


# The application


@pytest.mark.parametrize(
    ("request_bytes", "statuses", "finished"),
    [
        (GET, [b"200"], False),
        (b"\r\n" + GET + GET, [b"200", b"200"], False),
        (GET[:10], [], False),
        (b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", [b"200"], False),
        (b"GET / HTTP/1.0\r\n\r\n", [b"200"], True),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + GET, [b"200"], True),
        (b"GEGET / HT", [b"400"], True),
        (b"T / HTTP/1.1\r\n", [b"400"], True),
        (b"GET / HTTP/1.1 \r\n", [b"400"], True),
        (b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", [b"400"], True),
        (b"GET / HTTP/1.1\r\n\r\n", [b"400"], True),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", [b"400"], True),
        (b"GET / HTTP/1.1\r\nHost: aGET / HTTP/1.1\r\n\r\n", [b"400"], True),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", [b"400"], True),
        (b"\x16\x03\x01\x02\x00", [b"400"], True),
        (b"GET /bytes/1048577 HTTP/1.1\r\nHost: a\r\n\r\n", [b"404"], False),
        (b"GET /" + b"a" * 20_000, [b"400"], True),
    ],
)
def test_http(request_bytes: bytes, statuses: list[bytes], finished: bool) -> None:
    whole = HttpConversation()
    whole.receive(request_bytes)
    answer = whole.read(100_000)
    assert [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]] == statuses
    assert whole.finished == finished

    bytewise, pieces = HttpConversation(), b""
    for byte in request_bytes:
        bytewise.receive(bytes([byte]))
        pieces += bytewise.read(7)
    while piece := bytewise.read(7):
        pieces += piece
    assert [part[:3] for part in pieces.split(b"HTTP/1.1 ")[1:]] == statuses


# The faults: what the exchange shows without, and with it

Exchange = Callable[[ReferenceServer], object]


def fresh_open(
    target: ReferenceServer, *cookies: FastOpen, end: str = "ack", **syn: Any
) -> int | None:
    """SYN with data on a fresh flow: what the SYN-ACK acknowledges; None: no answer."""
    client = Client(target)
    syn.setdefault("data", GET)
    replies = client.syn(*cookies, **syn)
    if not replies or not replies[0].is_syn_ack:
        return None
    ack = ack_of(client, replies[0])
    client.segment(ack, flags=Flags.RST if end == "reset" else Flags.ACK)
    return ack


def early_answer(*asked: FastOpen, data: bytes = GET) -> Exchange:
    def exchange(target: ReferenceServer) -> object:
        client = Client(target)
        client.syn(*asked, data=data)
        return client.answers

    return exchange


def open_with(data: bytes) -> Exchange:
    return lambda target: early_answer(FastOpen(cookie_of(target)), data=data)(target)


def reply_to(**syn: Any) -> Exchange:
    """How a plain SYN is answered: its flags, or None."""

    def exchange(target: ReferenceServer) -> object:
        replies = Client(target).syn(**syn)
        return replies[0].flags if replies else None

    return exchange


def cookie_in_reply(*asked: FastOpen, **syn: Any) -> Exchange:
    """The size of the cookie in the SYN-ACK; None: no option."""

    def exchange(target: ReferenceServer) -> object:
        found = Client(target).syn(*asked, data=GET, **syn)[0].fast_open
        return len(found.cookie) if found else None

    return exchange


def opened(change: Callable[[bytes], bytes] = lambda cookie: cookie, **syn: Any) -> Exchange:
    """Whether the data is acknowledged with the valid cookie, changed this way."""

    def exchange(target: ReferenceServer) -> object:
        cookie = change(cookie_of(target))
        ack = fresh_open(target, FastOpen(cookie), **syn)
        return ack if ack is None else ack - 1

    return exchange


def alive_after(*cookies: FastOpen, area: bytes | None = None) -> Exchange:
    def exchange(target: ReferenceServer) -> object:
        Client(target).syn(*cookies, area=area)
        return bool(Client(target).syn())

    return exchange


def through_fallback(target: ReferenceServer) -> object:
    """A forged cookie, then the handshake and the data again: all answers, and was it reset."""
    client = Client(target)
    client.syn(FastOpen(b"forgery!"), data=GET)
    client.segment(1)
    client.segment(1, GET, ack=1 + len(client.answer))
    return client.answers, any(segment.is_reset for segment in client.received)


def split_request(target: ReferenceServer) -> object:
    client = Client(target)
    client.syn(FastOpen(cookie_of(target)), data=GET[:2])
    client.segment(3, GET[2:])
    return client.answers


def early_and_late(target: ReferenceServer) -> object:
    client = Client(target)
    client.syn(FastOpen(cookie_of(target)), data=GET)
    early = client.answers
    client.segment(ack_of(client, client.received[0]), ack=1 + len(client.answer))
    return early, client.answers


def repeated_syn_ack(*, asking: bool) -> Exchange:
    def exchange(target: ReferenceServer) -> object:
        client = Client(target)
        client.syn(REQUEST if asking else FastOpen(cookie_of(target)), data=GET)
        replies = client.wait(1)
        (again,) = (s for s in replies if s.destination_port == client.base.source_port)
        return again.fast_open is not None, bool(again.payload)

    return exchange


def second_syn(target: ReferenceServer) -> object:
    client, cookie = Client(target), FastOpen(cookie_of(target))
    first = client.syn(cookie, data=GET)[0]
    second = client.syn(cookie, data=GET)[0]
    return first.seq == second.seq, first.ack == second.ack


def bare_syn(target: ReferenceServer) -> object:
    client = Client(target)
    client.syn(FastOpen(cookie_of(target)), data=GET)
    return client.syn()[0].flags


def stray_option(target: ReferenceServer) -> object:
    client = Client(target)
    client.syn()
    client.segment(1, options=tcp_options.encode([REQUEST.to_option()]))
    client.segment(1, GET)
    return client.answers


def early_sizes(**syn: Any) -> Exchange:
    def exchange(target: ReferenceServer) -> object:
        cookie = FastOpen(cookie_of(target))
        replies = Client(target).syn(cookie, data=GET_LARGE, **syn)
        sizes = [len(segment.payload) for segment in replies[1:]]
        return sum(sizes), max(sizes)

    return exchange


def echoed_stamp(target: ReferenceServer) -> object:
    stamps = Client(target).syn(options=USUAL)[0].option_list.timestamps
    return stamps and stamps[1]


def refreshed_cookie_works(target: ReferenceServer) -> object:
    client = Client(target)
    found = client.syn(FastOpen(cookie_of(target)), data=GET)[0].fast_open
    return found is None or fresh_open(target, found) == 1 + len(GET)


def fin_acknowledged(target: ReferenceServer) -> object:
    client = Client(target)
    client.syn(FastOpen(cookie_of(target)), data=GET)
    end = 1 + len(GET)
    replies = client.segment(end, flags=Flags.FIN | Flags.ACK, ack=1 + len(client.answer))
    return any(ack_of(client, segment) == end + 1 for segment in replies)


def from_another_address(target: ReferenceServer) -> object:
    cookie = FastOpen(cookie_of(target, source="10.0.0.9"))
    return cookie_of(target) == cookie.cookie, fresh_open(target, cookie) != 1


def is_address(target: ReferenceServer) -> object:
    return cookie_of(target) == bytes([10, 0, 0, 1] * 2)


def kinds_in_reply(target: ReferenceServer) -> object:
    replies = [Client(target).syn(FastOpen(experimental=x))[0].fast_open for x in (False, True)]
    return [reply and reply.experimental for reply in replies]


def many_pending(count: int, end: str = "") -> Exchange:
    """Fill the queue of 64; how many were accepted, and what a plain SYN then gets."""

    def exchange(target: ReferenceServer) -> object:
        cookie = FastOpen(cookie_of(target))
        clients = [Client(target) for _ in range(count)]
        for client in clients:
            client.syn(cookie, data=GET)
            if end == "reset" and client.received:
                client.segment(ack_of(client, client.received[0]), flags=Flags.RST)
        replies = [client.received[0] for client in clients if client.received]
        accepted = sum(reply.ack != (clients[0].isn + 1) % SEQUENCE_SPACE for reply in replies)
        return accepted, bool(Client(target).syn())

    return exchange


N = len(GET)
SYN_ACK = Flags.SYN | Flags.ACK
FLIP_LAST = lambda cookie: cookie[:-1] + bytes([cookie[-1] ^ 1])  # noqa: E731
UNALIGNED = (MSS, NOP)
AFTER_EOL = tcp_options.encode([MSS]) + b"\0\0"
LONG_GET = b"GET / HTTP/1.1\r\nHost: lab\r\nX: " + b"x" * 600 + b"\r\n\r\n"


def cookie_after_eol(target: ReferenceServer) -> object:
    hidden = b"\0" + FastOpen(cookie_of(target)).to_option().encode()
    return fresh_open(target, area=tcp_options.pad(MSS.encode() + hidden))


def crowded(target: ReferenceServer) -> object:
    cookie = FastOpen(cookie_of(target)).to_option().encode()
    usual = b"".join(option.encode() for option in USUAL)
    return fresh_open(target, area=(usual + cookie).ljust(40, b"\x01"))


def plain_syn_with_data(target: ReferenceServer) -> object:
    client = Client(target)
    client.syn(data=GET)
    client.segment(1, GET)
    return client.answers


def request_after_an_open_without_data(target: ReferenceServer) -> object:
    client = Client(target)
    client.syn(FastOpen(cookie_of(target)))
    client.segment(1, GET)
    return client.answers


def answer_to_the_same_syn(target: ReferenceServer) -> object:
    client, cookie = Client(target), FastOpen(cookie_of(target))
    client.syn(cookie, data=GET)
    return client.syn(cookie, data=GET)[0].flags


TABLE: dict[str, tuple[Exchange, object, object]] = {
    "accept-without-option": (early_answer(), [], [b"200"]),
    "loses-plain-data": (plain_syn_with_data, [b"200"], []),
    "drops-unknown-option": (reply_to(options=(MSS, Option(200, b"x"))), SYN_ACK, None),
    "resets-syn": (reply_to(), SYN_ACK, Flags.RST | Flags.ACK),
    "odd-cookie": (cookie_in_reply(REQUEST), 8, 7),
    "short-cookie": (cookie_in_reply(REQUEST), 8, 2),
    "long-cookie": (cookie_in_reply(REQUEST, options=USUAL), 8, 18),
    "ignores-empty-option": (cookie_in_reply(REQUEST), 8, None),
    "treats-odd-as-request": (cookie_in_reply(FastOpen(b"12345")), None, 8),
    "accepts-odd": (lambda target: fresh_open(target, FastOpen(b"1234567")), 1, 1 + N),
    "treats-short-as-request": (cookie_in_reply(FastOpen(b"123")), None, 8),
    "treats-long-as-request": (cookie_in_reply(FastOpen(b"1" * 18)), None, 8),
    "resets-on-stray-option": (stray_option, [b"200"], []),
    "needs-alignment": (opened(options=UNALIGNED), N, 0),
    "reads-past-eol": (cookie_after_eol, 1, 1 + N),
    "dies-on-bad-length": (alive_after(area=b"\x22\x00\x00\x00"), True, False),
    "drops-crowded-syn": (crowded, 1 + N, None),
    "mixes-kinds": (kinds_in_reply, [False, True], [False, False]),
    "answers-old-kind": (kinds_in_reply, [False, True], [True, True]),
    "never-issues": (cookie_in_reply(REQUEST), 8, None),
    "volunteers-cookie": (cookie_in_reply(), None, 8),
    "accepts-data-with-request": (early_answer(REQUEST), [], [b"200"]),
    "repeats-option": (repeated_syn_ack(asking=True), (False, False), (True, False)),
    "binds-port": (opened(), N, 0),
    "many-keys": (cookies_of_many_ports, 1, 2),
    "ignores-source": (from_another_address, (False, False), (False, True)),
    "cookie-is-address": (is_address, False, True),
    "constant-cookie": (from_another_address, (False, False), (True, True)),
    "accepts-any-cookie": (lambda target: fresh_open(target, FastOpen(b"forgery!")), 1, 1 + N),
    "checks-prefix-only": (opened(FLIP_LAST), 0, N),
    "accepts-zero": (lambda target: fresh_open(target, FastOpen(bytes(8))), 1, 1 + N),
    "accepts-prefix": (opened(lambda cookie: cookie[:4]), 0, N),
    "ignores-tail": (opened(lambda cookie: cookie + bytes(8)), 0, N),
    "dies-on-length": (alive_after(FastOpen(b"1" * 16)), True, False),
    "delivers-rejected-data": (through_fallback, ([b"200"], False), ([b"200"] * 2, False)),
    "answers-rejected-data": (early_answer(FastOpen(b"forgery!")), [], [b"200"]),
    "breaks-after-reject": (through_fallback, ([b"200"], False), ([], True)),
    "never-accepts": (opened(), N, 0),
    "partial-ack": (opened(), N, N // 2),
    "holds-data": (early_and_late, ([b"200"], [b"200"]), ([], [b"200"])),
    "needs-data": (opened(data=b""), 0, None),
    "stalls-without-data": (request_after_an_open_without_data, [b"200"], []),
    "truncates-silently": (open_with(LONG_GET), [b"200"], []),
    "loses-syn-data": (split_request, [b"200"], [b"400"]),
    "doubles-syn-data": (split_request, [b"200"], [b"400"]),
    "second-connection": (second_syn, (True, True), (False, True)),
    "resets-copy": (answer_to_the_same_syn, SYN_ACK, Flags.RST | Flags.ACK),
    "delivers-copy": (answers_to_a_copy, 1, 2),
    "resets-bare-syn": (bare_syn, SYN_ACK, Flags.RST | Flags.ACK),
    "repeats-data": (repeated_syn_ack(asking=False), (False, False), (True, True)),
    "floods": (early_sizes(), (4380, 1460), (64_240, 1460)),
    "ignores-mss": (early_sizes(options=(tcp_options.mss(536),)), (2144, 536), (4380, 1460)),
    "ignores-window": (early_sizes(window=200), (200, 200), (4380, 1460)),
    "wrong-tsecr": (echoed_stamp, 777, 0),
    "bad-refresh": (refreshed_cookie_works, True, False),
    "ignores-fin": (fin_acknowledged, True, False),
    "answers-when-off": (cookie_in_reply(REQUEST), None, 8),
    "no-limit": (many_pending(70), (64, True), (70, True)),
    "refuses-when-full": (many_pending(70), (64, True), (64, False)),
    "forgets-resets": (many_pending(70, end="reset"), (64, True), (70, True)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_changes_what_it_says(fault: str) -> None:
    exchange, without, with_fault = TABLE[fault]
    fast_open = fault != "answers-when-off"
    assert exchange(server(fast_open=fast_open)) == without
    assert exchange(server(fault, fast_open=fast_open)) == with_fault


def test_the_other_forms_of_accepts_zero() -> None:
    for forged in (b"\xff" * 8, bytes([10, 0, 0, 1] * 2), bytes(4)):
        assert fresh_open(server(), FastOpen(forged)) == 1
        assert fresh_open(server("accepts-zero"), FastOpen(forged)) == 1 + N


@pytest.mark.parametrize("fault", ["odd-cookie", "short-cookie", "long-cookie"])
def test_cookies_of_illegal_length_are_honoured_by_who_issues_them(fault: str) -> None:
    assert opened(options=())(server(fault)) == N


def test_unknown_faults_are_named() -> None:
    with pytest.raises(UsageError, match="did you mean floods"):
        checked(["flods"])
    with pytest.raises(KeyError):
        _ = "flods" in ActiveFaults()


# Whatever comes

addresses = st.sampled_from(["10.0.0.1", "10.0.0.9"])
option_areas = st.one_of(
    st.binary(max_size=40).map(lambda area: area[: len(area) // 4 * 4]),
    st.lists(
        st.one_of(
            st.sampled_from([MSS, NOP, SCALE, STAMPS, tcp_options.mss(0), Option(3, b"\xff")]),
            st.binary(max_size=8).map(lambda value: FastOpen(value).to_option()),
        ),
        max_size=3,
    ).map(tcp_options.encode),
)
numbers = st.one_of(
    st.integers(0, 300), st.sampled_from([2**31, 2**32 - 1]), st.integers(0, 2**32 - 1)
)
steps = st.tuples(
    st.integers(0, 255).map(Flags),
    st.sampled_from([20_000, 20_001]),
    addresses,
    numbers,
    numbers,
    st.sampled_from([0, 1, 200, 65_535]),
    option_areas,
    st.one_of(st.binary(max_size=40), st.just(GET), st.just(GET_LARGE)),
    st.sampled_from([0, 0.001, 1, 5, 70]),
    st.booleans(),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(steps, max_size=40),
    st.sets(st.sampled_from(sorted(set(FAULTS) - {"dies-on-bad-length", "dies-on-length"}))),
)
def test_anything_may_come(events: list[tuple], faults: set[str]) -> None:  # type: ignore[type-arg]
    target = ReferenceServer(
        PORT, faults, pending_limit=4, max_connections=3, cookie_key=KEY, rng=random.Random(1)
    )
    now, isn = 0.0, 0
    for flags, port, source, seq, ack, window, area, payload, pause, valid in events:
        if valid:  # else few segments would meet a connection
            ack = (isn + ack % 300) % SEQUENCE_SPACE
        segment = Segment(source, port, "10.0.0.2", PORT, seq, ack, flags, window, area, payload)
        replies = target.receive(segment, now)
        now += pause
        replies += target.fire(now)
        for reply in replies:
            assert (reply.source, reply.destination_port) in (
                ("10.0.0.2", 20_000),
                ("10.0.0.2", 20_001),
            )
            assert 0 <= reply.window <= 65_535
            assert len(reply.options) <= 40
            assert 0 <= reply.seq < SEQUENCE_SPACE
            assert 0 <= reply.ack < SEQUENCE_SPACE
            if reply.is_syn_ack:
                isn = reply.seq
        assert target.connection_count <= 3
        timer = target.next_timer()
        assert timer is None or timer > now
    target.fire(now + 10_000)
    target.fire(now + 20_000)
    assert target.connection_count == 0
    assert target.pending_requests(now + 30_000) == 0


# On the wire: Linux's own clients

ADDRESSES = [str(address.ip) for address in usable(SERVER_ADDRESSES)]
CLOSING_GET = b"GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n"


def fast_open_by_kernel(address: str) -> tuple[str, bool]:
    """The status line, and whether the kernel saw its SYN data acknowledged."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.sendto(CLOSING_GET, socket.MSG_FASTOPEN, (address, PORT))
        client.settimeout(5)
        answer = b""
        while data := client.recv(65_536):
            answer += data
        # struct tcp_info, tcpi_options: TCPI_OPT_SYN_DATA is 32.
        options = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[5]
    return answer[:12].decode(), bool(options & 32)


def kernel_clients(address: str) -> dict[str, object]:
    opens = [fast_open_by_kernel(address) for _ in range(3)]
    connection = http.client.HTTPConnection(address, PORT, timeout=20)
    results = []
    for method, path in (("GET", "/"), ("GET", "/bytes/1048576"), ("HEAD", "/bytes/10")):
        connection.request(method, path)
        answer = connection.getresponse()
        results.append((answer.status, len(answer.read())))
    connection.close()
    return {"opens": opens, "http": results}


@pytest.mark.parametrize("address", ADDRESSES)
def test_linux_is_served(in_lab: Callable[..., Any], address: str) -> None:
    seen = in_lab("reference", kernel_clients, address)
    first, *later = seen["opens"]
    assert first == ["HTTP/1.1 200", False]
    assert later == [["HTTP/1.1 200", True]] * 2
    assert seen["http"] == [[200, ANSWER_BYTES], [200, 1 << 20], [200, 0]]


def resets_of_the_kernel(address: str) -> list[str]:
    """What comes back for segments of no connection: one RST each, ours, the kernel silent."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    ethertype = socket.htons(0x86DD if family == socket.AF_INET6 else 0x0800)
    with (
        socket.socket(family, socket.SOCK_DGRAM) as probe,
        socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, ethertype) as capture,
        socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as wire,
    ):
        probe.connect((address, PORT))
        own = probe.getsockname()[0]
        capture.settimeout(0.5)
        for flags in (Flags.ACK, Flags.FIN):
            wire.sendto(build(Segment(own, 5, address, PORT, 1, 99, flags)), (address, 0))
        seen = []
        with contextlib.suppress(TimeoutError):
            while packet := capture.recv(4096):
                with contextlib.suppress(NotTcpError):  # neighbour discovery
                    segment = dissect(packet)
                    if segment.source == address:
                        seen.append(f"{segment.flags} {segment.seq}")
    return seen


@pytest.mark.parametrize("address", ADDRESSES)
def test_the_kernel_is_silent(in_lab: Callable[..., Any], address: str) -> None:
    assert in_lab("reference", resets_of_the_kernel, address) == ["RST 99"]
