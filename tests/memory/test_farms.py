"""Several servers behind one address, several ports, keys that change."""

from __future__ import annotations

import random

import pytest
from client import ADDRESSES, CLOSED_PORT, OFF_PORT, PORT, Client
from seen_on_paths import DATA, GET, acknowledged

from tfocheck.memory.hosts import Addresses, reference_host
from tfocheck.memory.network import Network
from tfocheck.memory.scenarios import build
from tfocheck.wire.segment import Flags, Segment


def accepted(client: Client, count: int) -> list[bool]:
    """Whether one cookie opens from so many ports."""
    cookie = client.cookie()
    row = []
    for _ in range(count):
        sent = client.syn(cookie, DATA)
        row.append(acknowledged(sent, client.syn_ack(sent)) == 1 + len(DATA))
    return row


@pytest.mark.parametrize("addresses", ADDRESSES)
def test_servers_with_one_address_and_key_are_one(addresses: tuple[str, str]) -> None:
    assert all(accepted(Client(build("farm-one-key"), *addresses), 12))


@pytest.mark.parametrize("addresses", ADDRESSES)
@pytest.mark.parametrize("name", ["farm-three-keys", "farm-dnat"])
def test_servers_with_a_cookie_each_are_three(name: str, addresses: tuple[str, str]) -> None:
    assert sum(accepted(Client(build(name), *addresses), 12)) == 4


def test_a_translated_server_answers_from_the_address_that_was_asked() -> None:
    client = Client(build("farm-dnat"), server="10.77.9.9")
    sent = client.syn()
    # Repeated SYN-ACKs, which no segment of the client's asks for, as well.
    answers = [each for _, each in client.answers(sent, 4.0)]
    assert len(answers) == 3
    assert {each.source for each in answers} == {"10.77.9.9"}


def test_a_connection_stays_with_its_server() -> None:
    client = Client(build("farm-dnat"))
    for _ in range(5):
        sent = client.syn()
        answer = client.syn_ack(sent)
        assert answer is not None
        client.acknowledge(sent, answer, GET)
        assert sum(len(each.payload) for _, each in client.answers(sent)) > 1000


def test_the_second_port_has_no_fast_open() -> None:
    client = Client(build("reference"))
    answer = client.syn_ack(client.syn(b"", port=OFF_PORT))
    assert answer is not None
    assert answer.is_syn_ack
    assert answer.fast_open is None


def test_a_closed_port_resets_but_never_a_reset() -> None:
    client = Client(build("reference"))
    sent = client.syn(port=CLOSED_PORT)
    answer = client.syn_ack(sent)
    assert answer is not None
    assert answer.is_reset
    assert acknowledged(sent, answer) == 1
    reset = Segment(client.source, 4, client.server, CLOSED_PORT, 1, flags=Flags.RST)
    assert client.answers(client.send(reset)) == []


def test_faults_are_those_of_every_server() -> None:
    for name in ("reference", "farm-one-key", "key-rotation"):
        client = Client(build(name, faults=["resets-syn"]))
        answer = client.syn_ack(client.syn())
        assert answer is not None
        assert answer.is_reset


def test_each_address_has_its_endpoint() -> None:
    near = reference_host()
    hosts = Addresses(
        {"10.0.0.1": near, "fd00::1": near, "10.0.0.2": reference_host(["resets-syn"])}
    )
    for server, flags in (("10.0.0.1", Flags.SYN), ("10.0.0.2", Flags.RST), ("10.0.0.3", None)):
        client = Client(Network(hosts), server=server)
        answer = client.syn_ack(client.syn())
        assert (answer is None) == (flags is None)
        assert answer is None or (flags is not None and flags in answer.flags)
        client.wait(100.0)


@pytest.mark.parametrize(
    ("name", "seconds", "opens"),
    [
        ("key-rotation", 0.55, True),
        ("key-rotation", 1.1, True),
        ("key-rotation", 1.7, False),
        ("key-change", 0.5, True),
        ("key-change", 0.65, False),
        ("key-rotation", 3600.0, False),
    ],
)
def test_a_changed_key_is_honoured_as_long_as_it_says(
    name: str, seconds: float, opens: bool
) -> None:
    client = Client(build(name))
    cookie = client.cookie()
    client.wait(seconds - 0.1)
    sent = client.syn(cookie, DATA)
    assert (acknowledged(sent, client.syn_ack(sent)) == 1 + len(DATA)) is opens


def test_a_seed_makes_a_server_the_same_again() -> None:
    runs = []
    for seed in (1, 1, 2):
        client = Client(build("reference", seed=seed))
        runs.append((client.cookie(), client.syn_ack(client.syn(port=PORT))))
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    same = [reference_host(cookie_key=bytes(16), rng=random.Random(7)) for _ in range(2)]
    cookies = [Client(Network(host)).cookie() for host in same]
    assert cookies[0] == cookies[1]
