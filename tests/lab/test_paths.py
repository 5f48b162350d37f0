"""Each path scenario does to real packets what it says, over both families, behind its hop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from seen_on_paths import (
    DATA,
    EXPECTED,
    GET,
    TRACED_ELSEWHERE,
    acknowledged,
    describe,
    hop_by_hop,
)
from wire import SECONDS, Wire

from tfocheck.lab.middleboxes import FARM, ROUTERS, SERVER
from tfocheck.lab.scenario import Setup
from tfocheck.lab.scenarios import SCENARIOS
from tfocheck.lab.topology import has_ipv6
from tfocheck.wire.segment import Flags, Segment

SERVERS = SERVER if has_ipv6() else SERVER[:1]
FARMS = FARM[: len(SERVERS)]
COOKIE = bytes(range(8))
SILENCE = 0.25


def syn_ack(wire: Wire, sent: Segment, seconds: float = SECONDS) -> Segment | None:
    found = wire.answer(sent, seconds)
    return found[1] if found else None


def observe(servers: tuple[str, ...], silent: list[str]) -> list[dict[str, Any]]:
    """Over each family: cookie length, acks of SYN-data without and with a cookie."""
    seen = []
    for server in servers:
        wire = Wire(server)
        waits = {
            what: SILENCE if what in silent else SECONDS for what in ("request", "data", "open")
        }
        request = syn_ack(wire, wire.syn(b""), waits["request"])
        offered = request.fast_open.cookie if request and request.fast_open else b""
        plain = wire.syn(data=DATA)
        data_ack = acknowledged(plain, syn_ack(wire, plain, waits["data"]))
        opening = wire.syn(offered or COOKIE, DATA)
        seen.append(
            {
                "request": len(offered) if request else None,
                "data": data_ack,
                "open": acknowledged(opening, syn_ack(wire, opening, waits["open"])),
            }
        )
    return seen


def trace(servers: tuple[str, ...], hops: list[int]) -> list[list[str]]:
    """Over each family: what becomes of SYNs with cookie and data that live for so many hops."""
    seen = []
    for server in servers:
        wire = Wire(server)
        row = []
        for ttl in hops:
            sent = wire.syn(COOKIE, DATA, ttl)
            found = wire.answer(sent, SILENCE)
            row.append("silence" if found is None else describe(sent, *found))
        seen.append(row)
    return seen


def test_every_path_scenario_is_tried() -> None:
    paths = {name for name, scenario in SCENARIOS.items() if scenario.path}
    assert set(EXPECTED) | TRACED_ELSEWHERE == paths


def both(name: str, in_lab: Callable[..., Any], hop: int | None = None) -> tuple[Any, Any]:
    expected, _ = EXPECTED[name]
    silent = [what for what, value in expected.items() if value is None]
    seen: tuple[Any, Any] = in_lab(
        name,
        lambda: (observe(SERVERS, silent), trace(SERVERS, list(ROUTERS))),
        setup=Setup(hop=hop),
    )
    return seen


@pytest.mark.parametrize("name", EXPECTED)
def test_a_middlebox_does_what_it_says_behind_its_hop(
    name: str, in_lab: Callable[..., Any]
) -> None:
    seen, traced = both(name, in_lab)
    assert seen == [EXPECTED[name][0]] * len(SERVERS)
    assert traced == [hop_by_hop(name, 2)] * len(SERVERS)


@pytest.mark.parametrize("hop", [1, 3])
@pytest.mark.parametrize("name", ["option-stripped", "cookie-changed"])
def test_the_hop_can_be_chosen(name: str, hop: int, in_lab: Callable[..., Any]) -> None:
    seen, traced = both(name, in_lab, hop)
    assert seen == [EXPECTED[name][0]] * len(SERVERS)
    assert traced == [hop_by_hop(name, hop)] * len(SERVERS)


# What a single answer does not show


def opened(wire: Wire, data: bytes = DATA) -> tuple[Segment, Segment]:
    """An accepted or refused Fast Open with a fresh cookie: the SYN and its SYN-ACK."""
    request = syn_ack(wire, wire.syn(b""))
    assert request is not None
    assert request.fast_open is not None
    sent = wire.syn(request.fast_open.cookie, data)
    answer = syn_ack(wire, sent)
    assert answer is not None
    return sent, answer


def early_bytes(servers: tuple[str, ...]) -> list[list[int]]:
    """Over each family: bytes that come before and after the client's ACK of a Fast Open."""
    seen = []
    for server in servers:
        wire = Wire(server)
        sent, answer = opened(wire, GET)
        early = sum(len(each.payload) for _, each in wire.answers(sent, SILENCE))
        ack = Segment(
            sent.source, sent.source_port, sent.destination, sent.destination_port,
            sent.seq + 1 + len(GET), answer.seq + 1, Flags.ACK,
        )  # fmt: skip
        wire.send(ack)
        later = sum(len(each.payload) for _, each in wire.answers(sent, SILENCE))
        seen.append([early, later])
    return seen


def test_nothing_passes_after_a_dropped_open(in_lab: Callable[..., Any]) -> None:
    assert in_lab("after-open-dropped", early_bytes, SERVERS) == [[0, 0]] * len(SERVERS)


def test_a_rewritten_ack_hides_that_the_data_was_taken(in_lab: Callable[..., Any]) -> None:
    seen = in_lab("ack-rewritten", early_bytes, SERVERS)
    assert all(early > 1000 for early, _ in seen)


def accepted(servers: tuple[str, ...], count: int) -> list[list[bool]]:
    """Over each family: whether one cookie is accepted from so many ports."""
    seen = []
    for server in servers:
        wire = Wire(server)
        request = syn_ack(wire, wire.syn(b""))
        assert request is not None
        assert request.fast_open is not None
        row = []
        for _ in range(count):
            sent = wire.syn(request.fast_open.cookie, DATA)
            row.append(acknowledged(sent, syn_ack(wire, sent)) == 1 + len(DATA))
        seen.append(row)
    return seen


def test_servers_with_one_address_and_key_are_one(in_lab: Callable[..., Any]) -> None:
    assert in_lab("farm-one-key", accepted, FARMS, 12) == [[True] * 12] * len(FARMS)


@pytest.mark.parametrize("name", ["farm-three-keys", "farm-dnat"])
def test_servers_with_a_cookie_each_are_three(name: str, in_lab: Callable[..., Any]) -> None:
    for row in in_lab(name, accepted, FARMS, 24):
        assert 0 < sum(row) < 20


def answered_syns(servers: tuple[str, ...], count: int) -> list[list[int]]:
    """Over each family: how many of so many SYNs, and of as many to a closed port, are answered."""
    seen = []
    for server in servers:
        wire = Wire(server)
        listening, closed = ([wire.syn(port=port) for _ in range(count)] for port in (8080, 9))
        ports = [{each.source_port for each in sent} for sent in (listening, closed)]
        found: list[set[int]] = [set(), set()]
        for each in wire.replies(SILENCE):
            for number in (0, 1):
                if each.destination_port in ports[number]:
                    found[number].add(each.destination_port)
        seen.append([len(each) for each in found])
    return seen


def test_syn_acks_are_lost_and_nothing_else(in_lab: Callable[..., Any]) -> None:
    for syn_acks, resets in in_lab("synack-loss", answered_syns, SERVERS, 100):
        # Half of them, five standard deviations; on a busy machine some are repeated meanwhile.
        assert 25 <= syn_acks < 100
        assert resets == 100
