"""Limits of rate, number and size, bans, and resets that nobody has to believe."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from client import ADDRESSES, Client
from seen_on_paths import DATA, acknowledged

from tfocheck.memory.hosts import reference_host
from tfocheck.memory.limits import (
    OUT_OF_WINDOW,
    Ban,
    ConnectionLimit,
    EarlyDataDropped,
    Mtu,
    StrayReset,
    SynRate,
)
from tfocheck.memory.network import Network
from tfocheck.memory.path import Box, TimeExceeded, TooBig, with_box
from tfocheck.wire import icmp
from tfocheck.wire.segment import Flags, Segment

ROUTER = ("10.77.1.2", "fd77:1::2")
GET = b"GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n"


def client_behind(box: Box, addresses: tuple[str, str] = ADDRESSES[0]) -> Client:
    return Client(Network(reference_host(), with_box(box)), *addresses)


def answered(client: Client, count: int) -> list[bool]:
    return [client.syn_ack(client.syn()) is not None for _ in range(count)]


def test_so_many_syns_a_second_pass_and_so_many_at_once() -> None:
    client = client_behind(SynRate(10, 3))
    sent = [client.syn() for _ in range(6)]
    arrivals = client.wait(0.01)
    assert len(arrivals) == 3
    assert {each.packet.destination_port for each in arrivals if isinstance(each.packet, Segment)} \
        == {each.source_port for each in sent[:3]}  # fmt: skip
    client.wait(1.0)
    assert answered(client, 4) == [True] * 4  # one each tenth of a second, as one waits for each


def test_who_sends_too_many_syns_is_not_heard_for_a_while() -> None:
    client = client_behind(Ban(after=5, window=60, lasts=60))
    assert answered(client, 8) == [True] * 5 + [False] * 3
    client.wait(55)
    assert answered(client, 1) == [False]
    client.wait(10)
    assert answered(client, 1) == [True]


def test_a_ban_is_of_one_source() -> None:
    client = client_behind(Ban(after=1))
    assert answered(client, 2) == [True, False]
    client.source = "10.77.0.3"
    assert answered(client, 1) == [True]


def test_a_connection_that_is_over_makes_room() -> None:
    client = client_behind(ConnectionLimit(2))
    first, second = client.syn(), client.syn()
    first_answer = client.syn_ack(first)
    assert first_answer is not None
    assert answered(client, 1) == [False]
    client.send(replace(first, seq=first_answer.ack, flags=Flags.RST, options=b"", payload=b""))
    assert answered(client, 1) == [True]
    client.wait(80)  # a minute from the last repeated SYN-ACK on
    assert answered(client, 1) == [True]
    assert second.source_port != first.source_port


def test_a_stray_reset_is_far_out_of_the_window() -> None:
    client = client_behind(StrayReset())
    sent = client.syn()
    answer, reset = [segment for _, segment in client.answers(sent)]
    assert answer.is_syn_ack
    assert reset.is_reset
    assert (reset.seq - answer.seq) % 2**32 == OUT_OF_WINDOW


def test_early_data_is_dropped_until_the_clients_ack() -> None:
    client = client_behind(EarlyDataDropped())
    cookie = client.cookie()
    sent = client.syn(cookie, GET)
    answers = [segment for _, segment in client.answers(sent, 0.5)]
    assert [each.is_syn_ack for each in answers] == [True]
    assert acknowledged(sent, answers[0]) == 1 + len(GET)
    client.acknowledge(sent, answers[0])
    # It comes again after a second, which is what Fast Open then costs.
    assert client.answers(sent, 0.4) == []
    assert any(segment.payload for _, segment in client.answers(sent, 1.5))


@pytest.mark.parametrize("addresses", ADDRESSES)
def test_a_packet_that_is_too_big_is_told_of(addresses: tuple[str, str]) -> None:
    client = client_behind(Mtu(1280, tells=True, router=ROUTER), addresses)
    sent = client.syn(data=bytes(1300))
    [arrival] = client.wait(0.1)
    assert isinstance(arrival.packet, TooBig)
    found = icmp.read(arrival.packet.packet)
    assert found is not None
    assert (found.icmp_type, found.code) == ((2, 0) if ":" in addresses[0] else (3, 4))
    assert found.key.client_port == sent.source_port
    assert arrival.packet.packet[24 if ":" not in addresses[0] else 44 :][:4] == bytes((0, 0, 5, 0))


def test_a_packet_that_is_too_big_vanishes() -> None:
    client = client_behind(Mtu(1280, tells=False, router=ROUTER))
    assert client.answers(client.syn(data=bytes(1300))) == []
    assert client.syn_ack(client.syn(data=DATA)) is not None


@pytest.mark.parametrize("tells", [True, False])
def test_what_a_server_sends_is_cut_by_who_was_told(tells: bool) -> None:
    client = client_behind(Mtu(800, tells=tells, router=ROUTER))
    sent = client.syn(client.cookie(), GET)
    answers = [segment for _, segment in client.answers(sent, 0.1)]
    assert not any(isinstance(each.packet, TimeExceeded) for each in client.arrivals)
    data = [each for each in answers if each.payload]
    assert bool(data) is tells
    assert all(len(each.payload) + len(each.options) + 40 <= 800 for each in data)
    # Without a gap.
    for one, next_one in itertools.pairwise(data):
        assert next_one.seq == (one.seq + len(one.payload)) % 2**32
