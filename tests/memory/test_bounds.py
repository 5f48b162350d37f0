"""What a network in memory remembers is bounded; what it does not know passes or is dropped."""

from __future__ import annotations

from dataclasses import replace

import pytest
from client import ADDRESSES, PORT, Client

from tfocheck.memory import rewriting, tracking
from tfocheck.memory.hosts import reference_host
from tfocheck.memory.impairment import TO_CLIENT, TO_SERVER, Fates, Impairment, Weather
from tfocheck.memory.middleboxes import BOXES
from tfocheck.memory.network import Network
from tfocheck.memory.path import Box, with_box
from tfocheck.memory.scenarios import build
from tfocheck.memory.tracking import FLOWS_REMEMBERED, Tracked
from tfocheck.wire import options as tcp_options
from tfocheck.wire.segment import Flags, Segment


def ends(number: int) -> tracking.Ends:
    return (("10.0.0.1", number), ("10.0.0.2", PORT))


def test_the_oldest_connection_is_forgotten() -> None:
    known = Tracked[int]()
    for number in range(FLOWS_REMEMBERED + 1):
        known[ends(number)] = number
    assert ends(0) not in known
    assert known.get(ends(1)) == 1
    known[ends(1)] = 5
    assert known.get(ends(2)) == 2
    known.forget(ends(2))
    known.forget(ends(2))
    assert known.get(ends(2)) is None


def test_the_oldest_syn_is_forgotten() -> None:
    known = rewriting.AcksOfSyns()
    for number in range(4097):
        known.note("client", number, 100)
    assert known.ack(0, "client", 150) == 150
    assert known.ack(1, "client", 150) == 101


def test_jitter_forgets_connections_that_are_over() -> None:
    dice = Fates(Impairment(Weather(delay=0.01, jitter=0.01)), TO_SERVER)
    for number in range(5000):
        (due,) = dice.due(float(number), number, False)
        assert 0 <= due - number <= 0.02


def test_a_box_that_does_nothing_changes_nothing() -> None:
    client = Client(Network(reference_host(), with_box(Box())))
    answer = client.syn_ack(client.syn(b""))
    assert answer is not None
    assert answer.ttl == 60
    assert Box().next_timer() is None
    assert list(Box().fire(1.0)) == []


def test_lost_syn_acks_have_the_seed_of_the_weather() -> None:
    def answered(seed: int) -> list[bool]:
        client = Client(build("synack-loss", impairment=Impairment(seed=seed)))
        return [client.syn_ack(client.syn()) is not None for _ in range(30)]

    assert answered(1) == answered(1)
    assert answered(1) != answered(2)


def test_errors_of_routers_are_under_the_weather_too() -> None:
    bad = Impairment(to_client=Weather(loss=0.5), seed=1)
    client = Client(build("routed", impairment=bad))
    for _ in range(40):
        client.syn(ttl=2)
    assert 10 < len(client.wait(1.0)) < 30


# SYNPROXY, beyond what a whole exchange shows


def test_synproxy_drops_what_no_connection_of_its_own_sends() -> None:
    path = with_box(BOXES["synproxy"]())
    stray = Segment("10.77.4.2", PORT, "10.77.0.1", 5, 0, flags=Flags.ACK)
    assert path.from_server(stray, 0.0) == []


@pytest.mark.parametrize("options", [b"", tcp_options.encode([tcp_options.mss(1000)])])
def test_synproxy_negotiates_what_was_offered_and_no_more(options: bytes) -> None:
    client = Client(build("synproxy"))
    sent = client.send(
        Segment(client.source, 9, client.server, PORT, 7, flags=Flags.SYN, options=options)
    )
    answer = client.syn_ack(sent)
    assert answer is not None
    assert [option.kind for option in answer.option_list.options] == [2]
    client.acknowledge(sent, answer)
    [(_, opened)] = client.answers(sent)
    assert opened.options == b""
    reset = replace(sent, seq=answer.ack, flags=Flags.RST, options=b"")
    client.send(reset)
    assert client.answers(sent) == []
    late = client.acknowledge(sent, answer, b"x")
    # The server knows the connection no more.
    assert [each.is_reset for _, each in client.answers(late)] == [True]


def test_synproxy_opens_to_the_server_once_more_for_an_ack_that_comes_again() -> None:
    path = with_box(BOXES["synproxy"]())
    client = Client(build("synproxy"))
    sent = client.syn()
    [(_, answer)] = path.from_client(sent, 0.0)
    assert isinstance(answer, Segment)
    ack = client.acknowledge(sent, answer)
    first, again = path.from_client(ack, 0.0), path.from_client(ack, 0.1)
    assert first == again
    [(way, opening)] = first
    assert isinstance(opening, Segment)
    assert (way, opening.flags, opening.seq) == ("to-server", Flags.SYN, sent.seq)


@pytest.mark.parametrize("addresses", ADDRESSES)
def test_a_malformed_list_keeps_its_timestamps(addresses: tuple[str, str]) -> None:
    path = with_box(BOXES["synproxy"]())
    client = Client(build("synproxy"), *addresses)
    sent = client.syn()
    [(_, answer)] = path.from_client(sent, 0.0)
    assert isinstance(answer, Segment)
    [(_, opening)] = path.from_client(client.acknowledge(sent, answer), 0.0)
    assert isinstance(opening, Segment)
    back = replace(
        opening,
        source=opening.destination,
        source_port=opening.destination_port,
        destination=opening.source,
        destination_port=opening.source_port,
        seq=77,
        ack=(opening.seq + 1) % (1 << 32),
        flags=Flags.SYN | Flags.ACK,
    )
    ways = [way for way, _ in path.from_server(back, 0.0)]
    assert ways == ["to-server", TO_CLIENT]
    area = tcp_options.timestamps(5, 6).encode() + b"\x09\x01"
    [(_, passed)] = path.from_server(replace(back, flags=Flags.ACK, options=area), 0.0)
    assert isinstance(passed, Segment)
    assert passed.options == area
