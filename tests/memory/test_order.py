"""Time in a network in memory: order is kept, weather is as asked for, lateness is harmless."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from client import CLOSED_PORT, Client

from tfocheck.lab.impairment import parse_impairment
from tfocheck.memory.hosts import reference_host
from tfocheck.memory.network import ONE_WAY_SECONDS, PACKET_SECONDS, Network
from tfocheck.memory.scenarios import build
from tfocheck.wire.segment import Segment

COUNT = 200


def client_under(weather: str, delay: float = ONE_WAY_SECONDS) -> Client:
    impairment = parse_impairment(weather) if weather else None
    return Client(build("reference", impairment=impairment, seed=1, delay=delay))


def resets(client: Client, gap: float = 0.0) -> list[int]:
    """The numbers of the SYNs to a closed port, as their answers come in."""
    numbers = {}
    for each in range(COUNT):
        numbers[client.syn(port=CLOSED_PORT).source_port] = each
        if gap:
            client.wait(gap)
    client.wait(10.0)
    packets = [each.packet for each in client.arrivals]
    return [numbers[each.destination_port] for each in packets if isinstance(each, Segment)]


@pytest.mark.parametrize("weather", ["", "delay 5ms", "duplicate 0%", "loss 0%"])
def test_what_is_sent_at_once_arrives_in_order(weather: str) -> None:
    client = client_under(weather)
    assert resets(client) == list(range(COUNT))
    times = [each.at for each in client.arrivals]
    assert all(
        later - earlier >= PACKET_SECONDS * 0.99 for earlier, later in itertools.pairwise(times)
    )


def test_a_round_trip_takes_twice_the_delay() -> None:
    client = client_under("", 0.025)
    began = client.now
    client.syn(port=CLOSED_PORT)
    [arrival] = client.wait()
    assert arrival.at - began == pytest.approx(0.05, abs=1e-5)
    client = client_under("delay 10ms", 0.025)
    began = client.now
    client.syn(port=CLOSED_PORT)
    [arrival] = client.wait()
    assert arrival.at - began == pytest.approx(0.07, abs=1e-5)


def test_jitter_swaps_connections_but_not_the_segments_of_one() -> None:
    client = client_under("delay 50ms, jitter 50ms")
    assert sorted(seen := resets(client, 0.001)) == list(range(COUNT))
    assert seen != sorted(seen)
    client = client_under("delay 50ms, jitter 50ms")
    sent = client.syn(port=CLOSED_PORT)
    for number in range(50):
        client.send(replace(sent, seq=number))
    client.wait(1.0)
    acks = [each.packet.ack for each in client.arrivals[1:] if isinstance(each.packet, Segment)]
    assert acks == list(range(1, 51))


def test_packets_are_swapped_by_reordering_only_where_that_is_asked_for() -> None:
    seen = resets(client_under("reorder 30%, hold 5ms"), 0.001)
    assert sorted(seen) == list(range(COUNT))
    assert seen != sorted(seen)


def test_loss_and_copies_are_as_many_as_asked_for() -> None:
    lossy = resets(client_under("loss 20%"))
    assert 0.5 * COUNT < len(lossy) < 0.8 * COUNT  # both ways: 64 %
    copied = resets(client_under("to-client duplicate 20%"))
    assert 1.1 * COUNT < len(copied) < 1.3 * COUNT
    assert copied == sorted(copied)


def test_a_seed_repeats_a_run() -> None:
    weather = "delay 5ms, jitter 4ms, loss 10%, reorder 10%, duplicate 10%, seed {}"
    first, again, other = (resets(client_under(weather.format(each))) for each in (3, 3, 4))
    assert first == again
    assert first != other


def test_the_server_repeats_what_is_not_acknowledged_at_its_own_times() -> None:
    client = client_under("")
    began = client.now
    client.syn()
    seen = [round(each.at - began, 2) for each in client.wait(20.0)]
    assert seen == [0.0, 1.0, 3.0, 7.0]


def test_who_comes_late_gets_the_same_at_the_same_times() -> None:
    prompt, late = client_under(""), client_under("")
    for client in (prompt, late):
        for _ in range(3):
            client.syn()
    prompt.wait(20.0)
    came = late.network.advance(late.now + 20.0)
    assert came == prompt.arrivals


def test_nothing_is_due_in_an_empty_network() -> None:
    network = Network(reference_host())
    assert network.deadline is None
    assert network.advance(5.0) == []
