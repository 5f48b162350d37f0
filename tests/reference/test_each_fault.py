"""What an exchange shows without a fault, and with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from crafted import (
    GET,
    GET_LARGE,
    MSS,
    NOP,
    REQUEST,
    USUAL,
    Client,
    ack_of,
    answers_to_a_copy,
    cookie_of,
    cookies_of_many_ports,
    fresh_open,
    server,
)

from tfocheck.errors import UsageError
from tfocheck.reference.faults import FAULTS, ActiveFaults, checked
from tfocheck.reference.listener import ReferenceServer
from tfocheck.wire import options as tcp_options
from tfocheck.wire.numbers import SEQUENCE_SPACE
from tfocheck.wire.options import FastOpen, Option
from tfocheck.wire.segment import Flags

Exchange = Callable[[ReferenceServer], object]


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


def first_bytes_sent(target: ReferenceServer) -> object:
    """How often the first byte of an early answer comes while only the SYN is acknowledged."""
    client = Client(target)
    reply = client.syn(FastOpen(cookie_of(target)), data=GET)[0]
    client.segment(ack_of(client, reply))
    client.wait(1.5)
    first = (client.server_isn + 1) % SEQUENCE_SPACE
    return sum(bool(each.payload) and each.seq == first for each in client.received)


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


def answered(*cookies: FastOpen) -> Exchange:
    """What the SYN-ACK to data with these cookies acknowledges; None without one."""
    return lambda target: fresh_open(target, *cookies)


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
    "drops-short-option": (answered(FastOpen(b"123")), 1, None),
    "drops-long-option": (answered(FastOpen(b"1" * 18)), 1, None),
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
    "loses-early-data": (first_bytes_sent, 2, 1),
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
