"""Routers in a row: what becomes of TTLs, and what is quoted where they run out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from client import ADDRESSES, Client

from tfocheck.memory.path import Path, TimeExceeded, routers
from tfocheck.memory.scenarios import build
from tfocheck.wire import icmp, quote
from tfocheck.wire.segment import Segment


@pytest.mark.parametrize("addresses", ADDRESSES)
def test_each_router_answers_where_the_ttl_runs_out(addresses: tuple[str, str]) -> None:
    client = Client(build("routed"), *addresses)
    version6 = ":" in client.source
    expected = [hop.addresses[version6] for hop in routers()]
    seen = []
    for ttl in range(1, 6):
        sent = client.syn(b"", b"data", ttl)
        found = client.answer(sent)
        assert found is not None
        seen.append(found[0])
    assert seen == [*expected, ""]


@pytest.mark.parametrize("addresses", ADDRESSES)
def test_a_quote_is_what_the_real_reader_takes_for_unchanged(addresses: tuple[str, str]) -> None:
    client = Client(build("routed"), *addresses)
    sent = client.syn(b"", b"data", 3)
    [arrival] = client.wait()
    error = arrival.packet
    assert isinstance(error, TimeExceeded)
    found = quote.compare(sent, error.quote)
    assert found is not None
    assert found.changes == ()
    assert found.shows_options


@pytest.mark.parametrize("addresses", ADDRESSES)
@pytest.mark.parametrize("size", [0, 5, 1400])
def test_the_message_is_one_that_the_capture_can_read(
    addresses: tuple[str, str], size: int
) -> None:
    client = Client(build("routed"), *addresses)
    sent = client.syn(b"", bytes(size), 2)
    [arrival] = client.wait()
    error = arrival.packet
    assert isinstance(error, TimeExceeded)
    found = icmp.read(error.packet)
    assert found is not None
    key, sender, icmp_type, code, quoted = found
    assert key == (sent.source, sent.source_port, sent.destination, sent.destination_port)
    assert (sender, icmp_type, code, quoted) == (
        error.sender,
        error.icmp_type,
        error.code,
        error.quote,
    )
    assert len(error.packet) <= (1280 if ":" in sender else 576)
    assert checksum_holds(error.packet)


def checksum_holds(packet: bytes) -> bool:
    """Reckoned as the sum over words that RFC 1071 describes."""
    if packet[0] >> 4 == 6:
        message = packet[40:]
        covered = packet[8:40] + len(message).to_bytes(4) + bytes([0, 0, 0, 58]) + message
    else:
        if ones_sum(packet[:20]) != 0xFFFF:
            return False
        covered = packet[20:]
    return ones_sum(covered) == 0xFFFF


def ones_sum(data: bytes) -> int:
    total = 0
    data += bytes(len(data) % 2)
    for place in range(0, len(data), 2):
        total += int.from_bytes(data[place : place + 2])
        total = (total & 0xFFFF) + (total >> 16)
    return total


def test_answers_arrive_with_as_many_hops_less() -> None:
    for name, ttl in (("reference", 64), ("routed", 60)):
        client = Client(build(name))
        answer = client.syn_ack(client.syn())
        assert answer is not None
        assert answer.ttl == ttl


def test_the_server_gets_what_is_left_of_the_ttl() -> None:
    client = Client(build("routed"))
    path = Path(routers())
    [(way, packet)] = path.from_client(client.syn(ttl=9), 0.0)
    assert isinstance(packet, Segment)
    assert (way, packet.ttl) == ("to-server", 5)


def test_an_answer_whose_ttl_runs_out_is_lost() -> None:
    path = Path(routers())
    segment = Segment("10.77.4.2", 80, "10.77.0.1", 5, 0, ttl=4)
    assert path.from_server(segment, 0.0) == []
    assert len(path.from_server(replace(segment, ttl=5), 0.0)) == 1


def test_a_cable_changes_nothing() -> None:
    segment = Segment("10.77.0.1", 80, "10.77.0.2", 5, 0, ttl=1)
    path = Path()
    assert path.from_client(segment, 0.0) == [("to-server", segment)]
    assert path.from_server(segment, 0.0) == [("to-client", segment)]
    assert path.next_timer() is None
    assert path.fire(1.0) == []


def test_an_error_of_a_far_router_has_lost_hops_on_its_way() -> None:
    client = Client(build("routed"))
    for ttl in range(1, 5):
        client.syn(ttl=ttl)
    errors = [each.packet for each in client.wait()]
    assert [error.ttl for error in errors] == [64, 63, 62, 61]
