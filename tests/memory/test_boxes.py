"""Each path scenario in memory looks to a client as it does in the lab, behind every hop."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from client import ADDRESSES, CLOSED_PORT, OFF_PORT, PORT, Client
from seen_on_paths import (
    DATA,
    EXPECTED,
    GET,
    TRACED_ELSEWHERE,
    acknowledged,
    describe,
    hop_by_hop,
)

from tfocheck.lab.middleboxes import HOPS, ROUTERS
from tfocheck.lab.scenarios import SCENARIOS as LAB
from tfocheck.memory.middleboxes import BOXES
from tfocheck.memory.path import TimeExceeded, with_box
from tfocheck.memory.scenarios import SCENARIOS, build
from tfocheck.wire import options as tcp_options
from tfocheck.wire.numbers import SEQUENCE_SPACE
from tfocheck.wire.options import FastOpen, Option
from tfocheck.wire.segment import Flags, Segment

COOKIE = bytes(range(8))


def client_of(name: str, addresses: tuple[str, str] = ADDRESSES[0], hop: int = 2) -> Client:
    return Client(build(name, seed=1, hop=hop), *addresses)


def test_every_path_scenario_of_the_lab_is_there() -> None:
    paths = {name for name, scenario in LAB.items() if scenario.path}
    assert paths < set(SCENARIOS)
    assert set(EXPECTED) | TRACED_ELSEWHERE == paths


def test_an_unknown_scenario_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        build("nginx")


@pytest.mark.parametrize("hop", HOPS)
@pytest.mark.parametrize("addresses", ADDRESSES)
@pytest.mark.parametrize("name", EXPECTED)
def test_a_box_does_what_the_labs_does(name: str, addresses: tuple[str, str], hop: int) -> None:
    client = client_of(name, addresses, hop)
    request = client.syn_ack(client.syn(b""))
    offered = request.fast_open.cookie if request and request.fast_open else b""
    plain = client.syn(data=DATA)
    plain_answer = client.syn_ack(plain)
    opening = client.syn(offered or COOKIE, DATA)
    seen = {
        "request": len(offered) if request else None,
        "data": acknowledged(plain, plain_answer),
        "open": acknowledged(opening, client.syn_ack(opening)),
    }
    assert seen == EXPECTED[name][0]
    row = []
    for ttl in ROUTERS:
        sent = client.syn(COOKIE, DATA, ttl)
        found = client.answer(sent)
        row.append("silence" if found is None else describe(sent, *found))
    assert row == hop_by_hop(name, hop)


def early_and_late(client: Client) -> tuple[int, int]:
    """Bytes that come before and after the client's ACK of a Fast Open."""
    sent = client.syn(client.cookie(), GET)
    (_, answer), *early = client.answers(sent)
    client.acknowledge(sent, answer)
    late = client.answers(sent)
    return sum(len(each.payload) for _, each in early), sum(len(each.payload) for _, each in late)


def test_nothing_passes_after_a_dropped_open() -> None:
    assert early_and_late(client_of("after-open-dropped")) == (0, 0)


def test_early_answers_that_are_dropped_do_not_come_again_by_themselves() -> None:
    assert early_and_late(client_of("early-data-dropped")) == (0, 0)


@pytest.mark.parametrize("name", ["routed", "ack-rewritten", "isn-shifted", "option-moved"])
def test_early_answers_pass(name: str) -> None:
    early, _ = early_and_late(client_of(name))
    assert early > 1000


@pytest.mark.parametrize("addresses", ADDRESSES)
@pytest.mark.parametrize("name", sorted(set(BOXES) - {"synack-loss"}))
def test_an_ordinary_exchange_goes_through(name: str, addresses: tuple[str, str]) -> None:
    client = client_of(name, addresses)
    sent = client.syn()
    answer = client.syn_ack(sent)
    assert answer is not None
    client.acknowledge(sent, answer)
    came = client.answers(sent)  # SYNPROXY opens the window now
    ack = client.acknowledge(sent, answer, GET)
    came = client.answers(sent)
    stream = b"".join(each.payload for _, each in came)
    assert stream.startswith(b"HTTP/1.1 200")
    assert all(each.ack == (ack.seq + len(GET)) % SEQUENCE_SPACE for _, each in came)
    first = came[0][1]
    assert first.seq == (answer.seq + 1) % SEQUENCE_SPACE


def test_synproxy_gives_no_window_before_the_server_has_answered() -> None:
    client = client_of("synproxy")
    sent = client.syn()
    answer = client.syn_ack(sent)
    assert answer is not None
    assert answer.window == 0
    assert answer.option_list.mss == 1460
    client.acknowledge(sent, answer, b"thrown away")
    [(_, opened)] = client.answers(sent)
    assert opened.window > 0
    assert opened.ack == answer.ack
    assert opened.option_list.timestamps is not None
    client.acknowledge(sent, answer, GET)
    assert sum(len(each.payload) for _, each in client.answers(sent)) > 1000


def test_synproxy_throws_away_what_it_does_not_know() -> None:
    client = client_of("synproxy")
    sent = client.syn()
    answer = client.syn_ack(sent)
    assert answer is not None
    wrong = Segment(
        sent.source, sent.source_port, sent.destination, PORT, answer.ack, answer.seq, Flags.ACK
    )
    assert client.answers(client.send(wrong)) == []


def test_synproxy_passes_on_that_a_port_is_closed() -> None:
    client = client_of("synproxy")
    sent = client.syn(port=CLOSED_PORT)
    answer = client.syn_ack(sent)
    assert answer is not None
    assert answer.is_syn_ack
    client.acknowledge(sent, answer)
    assert [each.is_reset for _, each in client.answers(sent)] == [True]


@pytest.mark.parametrize(("name", "routers"), [("synproxy", 1), ("transparent-proxy", 1)])
def test_a_proxy_is_nearer_than_the_server(name: str, routers: int) -> None:
    client = client_of(name)
    answer = client.syn_ack(client.syn())
    assert answer is not None
    assert answer.ttl == 64 - routers


def test_the_proxy_takes_in_its_ports_only() -> None:
    client = client_of("transparent-proxy")
    for port, ttl in ((PORT, 63), (OFF_PORT, 63), (CLOSED_PORT, 60)):
        answer = client.syn_ack(client.syn(port=port))
        assert answer is not None
        assert (answer.ttl, answer.is_reset) == (ttl, port == CLOSED_PORT)


def test_the_proxy_repeats_its_syn_ack() -> None:
    client = client_of("transparent-proxy")
    sent = client.syn()
    assert [each.is_syn_ack for _, each in client.answers(sent, 4.0)] == [True] * 3


def test_syn_acks_are_lost_and_nothing_else() -> None:
    client = client_of("synack-loss")
    for port in (PORT, CLOSED_PORT):
        for _ in range(100):
            client.syn(port=port)
    came = [each.packet for each in client.wait(0.1)]
    syn_acks = sum(isinstance(each, Segment) and each.is_syn_ack for each in came)
    assert 25 <= syn_acks <= 75
    assert len(came) == 100 + syn_acks


def test_an_option_is_overwritten_in_place_even_in_a_malformed_list() -> None:
    client = client_of("option-stripped")
    malformed = FastOpen(COOKIE).to_option().encode() + bytes([9, 1])
    sent = Segment(
        *(client.source, 1, client.server, PORT, 5, 0, Flags.SYN),
        options=tcp_options.pad(malformed),
        ttl=3,
    )
    found = client.answer(client.send(sent))
    assert found is not None
    assert found[1].options == bytes([1] * 10 + [9, 1])


def test_the_experimental_option_is_none_of_the_strippers_business() -> None:
    client = client_of("option-stripped")
    area = tcp_options.encode([FastOpen(experimental=True).to_option()])
    sent = Segment(client.source, 1, client.server, PORT, 5, 0, Flags.SYN, options=area)
    answer = client.syn_ack(client.send(sent))
    assert answer is not None
    assert answer.fast_open is not None


def test_sack_blocks_are_shifted_with_the_numbers() -> None:
    # The server's SACK is about the client's numbers, which are other ones behind the box.
    path = with_box(BOXES["isn-shifted"](), hop=1, count=1)
    client = client_of("isn-shifted")
    syn = client.syn()
    [(_, there)] = path.from_client(syn, 0.0)
    assert isinstance(there, Segment)
    edges = (there.seq + 3).to_bytes(4) + (there.seq + 5).to_bytes(4)
    back = Segment(
        *(syn.destination, PORT, syn.source, syn.source_port, 7),
        ack=(there.seq + 1) % SEQUENCE_SPACE,
        flags=Flags.ACK,
        options=tcp_options.encode([Option(tcp_options.SACK, edges)]),
    )
    [(_, here)] = path.from_server(back, 0.0)
    assert isinstance(here, Segment)
    assert here.ack == (syn.seq + 1) % SEQUENCE_SPACE
    sack = here.option_list.find(tcp_options.SACK)
    assert sack is not None
    assert sack.value == (syn.seq + 3).to_bytes(4) + (syn.seq + 5).to_bytes(4)


def sources(name: str, count: int) -> Sequence[object]:
    path = with_box(BOXES[name]())
    client = client_of(name)
    seen = []
    for _ in range(count):
        [(way, passed)] = path.from_client(client.syn(), 0.0)
        assert way == "to-server"
        assert isinstance(passed, Segment)
        seen.append(passed.source)
    return seen


def test_a_nat_pool_gives_each_connection_the_next_address() -> None:
    seen = sources("nat-pool", 10)
    assert len(set(seen)) == 8
    assert seen[:2] == seen[8:]


def test_what_comes_for_an_unknown_translation_is_nobodys() -> None:
    path = with_box(BOXES["nat-pool"]())
    stray = Segment("10.77.4.2", PORT, "10.78.0.1", 5, 0)
    assert path.from_server(stray, 0.0) == []


def test_a_quote_is_about_the_address_before_translation() -> None:
    client = client_of("nat-pool")
    sent = client.syn(ttl=4)
    [arrival] = client.wait()
    assert isinstance(arrival.packet, TimeExceeded)
    assert arrival.packet.segment.source == client.source
    assert arrival.packet.receiver == client.source
    assert arrival.packet.segment.source_port == sent.source_port
