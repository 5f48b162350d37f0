"""What the difficult applications do, with a stack that does everything right."""

from __future__ import annotations

import random

from crafted import GET, KEY, PORT, Client, cookie_of

from tfocheck.reference.applications import (
    APPLICATIONS,
    CONNECTIONS_AT_ONCE,
    CONNECTIONS_LATELY,
    GREETING,
)
from tfocheck.reference.listener import ReferenceServer
from tfocheck.wire.options import FastOpen
from tfocheck.wire.segment import Flags, Segment


def serving(name: str) -> ReferenceServer:
    rng = random.Random(1)
    return ReferenceServer(PORT, cookie_key=KEY, rng=rng, application=APPLICATIONS[name](rng))


def connected(target: ReferenceServer) -> Client:
    client = Client(target)
    client.syn()
    client.segment(1)
    return client


def opened(target: ReferenceServer) -> list[Segment]:
    return Client(target).syn(FastOpen(cookie_of(target)), data=GET)


def resets(segments: list[Segment]) -> list[bool]:
    return [each.is_reset for each in segments]


def test_who_closes_at_once_resets_what_comes_after() -> None:
    target = serving("closes-at-once")
    client = connected(target)
    assert [bool(each.flags & Flags.FIN) for each in client.received] == [False, True]
    assert resets(client.segment(1, GET)) == [True]
    # With data that was never read there is no FIN.
    assert resets(opened(target)) == [False, True]


def test_who_resets_does_so_at_once_or_after_reading() -> None:
    at_once, later = serving("resets-at-once"), serving("resets-after-reading")
    assert resets(connected(at_once).received) == [False, True]
    client = connected(later)
    assert resets(client.received) == [False]
    assert resets(client.segment(1, GET)) == [True]
    for target in (at_once, later):
        assert resets(opened(target)) == [False, True]


def test_who_is_slow_answers_three_seconds_later() -> None:
    client = connected(serving("slow"))
    client.segment(1, GET)
    client.wait(2.9)
    assert client.answers == []
    client.wait(0.2)
    assert client.answers == [b"200"]


def test_who_jitters_answers_at_different_times() -> None:
    target = serving("jittering")
    waits = []
    for _ in range(5):
        client = connected(target)
        client.segment(1, GET)
        began = client.now
        while not client.answers:
            client.wait(0.01)
        waits.append(round(client.now - began, 2))
    assert len(set(waits)) > 2
    assert max(waits) <= 0.31


def test_who_answers_differently_says_as_much() -> None:
    target = serving("different-answers")
    answers = set()
    for _ in range(3):
        client = connected(target)
        client.segment(1, GET)
        answers.add(client.answer)
    assert len(answers) == 3
    assert len({len(answer) for answer in answers}) == 1


def test_who_speaks_first_resets_what_is_no_protocol_of_its_own() -> None:
    target = serving("banner-first")
    client = connected(target)
    assert client.answer == GREETING
    assert not any(resets(client.segment(1, b"SSH-2.0-test\r\n")))
    assert not any(resets(client.wait(1)))
    other = connected(target)
    assert not any(resets(other.segment(1, GET)))
    assert any(resets(other.wait(0.1)))


def test_who_needs_one_piece_resets_the_first_of_two() -> None:
    target = serving("needs-one-piece")
    whole = connected(target)
    whole.segment(1, GET)
    assert whole.answers == [b"200"]
    assert resets(connected(target).segment(1, GET[:8])) == [True]


def test_who_caps_connections_closes_the_excess_until_one_is_over() -> None:
    target = serving("connection-cap")
    clients = [connected(target) for _ in range(CONNECTIONS_AT_ONCE)]
    excess = connected(target)
    assert excess.received[-1].flags & Flags.FIN
    assert resets(excess.segment(1, GET)) == [True]
    clients[0].segment(1, flags=Flags.RST)
    assert not connected(target).received[-1].flags & Flags.FIN
    stranger = Client(target, source="10.0.0.9")
    stranger.syn()
    assert stranger.segment(1) == []


def test_who_counts_the_last_seconds_forgets_what_is_older() -> None:
    target = serving("connection-rate")
    clients = [connected(target) for _ in range(CONNECTIONS_LATELY + 1)]
    closed = [bool(each.received[-1].flags & Flags.FIN) for each in clients]
    assert closed == [False] * CONNECTIONS_LATELY + [True]
    late = Client(target)
    late.now += 11
    late.syn()
    assert late.segment(1) == []


def test_who_has_errors_has_them_now_and_then() -> None:
    target = serving("errors-5-percent")
    said = []
    for _ in range(200):
        client = connected(target)
        client.segment(1, GET)
        said += client.answers
        client.segment(1 + len(GET), flags=Flags.RST, ack=1 + len(client.answer))
    assert 2 <= said.count(b"503") <= 25
    assert said.count(b"200") == 200 - said.count(b"503")


def test_who_is_mute_closes_when_the_client_does() -> None:
    client = connected(serving("mute"))
    client.segment(1, GET)
    assert client.answer == b""
    client.segment(1 + len(GET), flags=Flags.ACK | Flags.FIN)
    assert any(each.flags & Flags.FIN for each in client.received)
