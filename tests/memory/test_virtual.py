"""The virtual clock and the wire on it: what an engine asks of them, without waiting."""

from __future__ import annotations

import asyncio
import time

import pytest
from client import ADDRESSES, CLOSED_PORT, PORT

from tfocheck.errors import CannotError
from tfocheck.memory.clock import EPOCH, StandstillError, VirtualClock
from tfocheck.memory.scenarios import build
from tfocheck.memory.wire import FIRST_PORT, LAST_PORT, MemoryWire
from tfocheck.wire import quote
from tfocheck.wire.evidence import Captured, FlowKey, IcmpError
from tfocheck.wire.segment import Flags, Segment

OWN = ("10.77.0.1/24", "10.77.0.3/24", "fd77::1/64")


class Heard:
    """A listener that keeps what it is handed."""

    def __init__(self) -> None:
        self.captured: list[Captured] = []
        self.errors: list[IcmpError] = []

    def segment_captured(self, captured: Captured) -> None:
        self.captured.append(captured)

    def icmp_received(self, error: IcmpError) -> None:
        self.errors.append(error)


def wire_to(scenario: str) -> MemoryWire:
    return MemoryWire(build(scenario, seed=1), VirtualClock(), own=OWN)


def exchange(wire: MemoryWire, sent: Segment, seconds: float = 0.1) -> Heard:
    """What is heard of a segment within so many seconds."""
    heard = Heard()
    key = FlowKey(sent.source, sent.source_port, sent.destination, sent.destination_port)

    async def run() -> None:
        wire.start()
        wire.attend(key, heard)
        await wire.send(sent)
        await wire.clock.sleep(seconds)
        wire.leave(key)
        wire.stop()

    assert isinstance(wire.clock, VirtualClock)
    wire.clock.run(run())
    return heard


def syn(addresses: tuple[str, str] = ADDRESSES[0], port: int = PORT, ttl: int = 64) -> Segment:
    return Segment(addresses[0], 33_000, addresses[1], port, 7, flags=Flags.SYN, ttl=ttl)


# The clock


def test_hours_pass_in_no_time() -> None:
    clock, began = VirtualClock(), time.monotonic()
    start = clock.now
    clock.run(clock.sleep(7200.0))
    assert clock.now == pytest.approx(start + 7200.0)
    assert clock.time() == pytest.approx(EPOCH + clock.now)
    assert time.monotonic() - began < 5.0


def test_what_comes_first_happens_first() -> None:
    clock = VirtualClock()
    seen: list[str] = []

    async def run() -> None:
        clock.after(2.0, lambda: seen.append("late"))
        clock.after(1.0, lambda: seen.append("early"))
        clock.after(1.5, lambda: seen.append("never")).cancel()
        await clock.sleep(3.0)

    clock.run(run())
    assert seen == ["early", "late"]


def test_a_hang_is_an_error() -> None:
    clock = VirtualClock()

    async def run() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(StandstillError):
        clock.run(run())


def test_an_exception_comes_out() -> None:
    async def run() -> None:
        raise ValueError("as it was")

    with pytest.raises(ValueError, match="as it was"):
        VirtualClock().run(run())


# Ports and addresses


def test_ports_are_reserved_in_turn_and_given_back() -> None:
    wire = wire_to("reference")
    first, second = wire.reserve("10.77.0.1"), wire.reserve("10.77.0.1")
    assert (first.address, first.port, second.port) == ("10.77.0.1", FIRST_PORT, FIRST_PORT + 1)
    for _ in range(FIRST_PORT + 2, LAST_PORT + 1):
        wire.reserve("10.77.0.1")
    with pytest.raises(CannotError, match="none is left"):
        wire.reserve("10.77.0.1")
    assert wire.reserve("10.77.0.3").address == "10.77.0.3"
    second.release()
    assert wire.reserve("10.77.0.1").port == second.port


def test_a_foreign_address_is_not_reserved() -> None:
    with pytest.raises(CannotError, match="not an own address"):
        wire_to("reference").reserve("192.0.2.1")


def test_the_source_is_of_the_servers_family() -> None:
    wire = wire_to("reference")
    assert wire.source_for("10.77.0.2", PORT) == ("10.77.0.1", 0)
    assert wire.source_for("fd77::2", PORT, 3) == ("fd77::1", 3)
    assert [str(each) for _, each in wire.own_addresses()] == list(OWN)


def test_losses_are_what_is_pretended() -> None:
    wire = wire_to("reference")
    wire.watch("10.77.0.2", PORT)
    wire.unwatch("10.77.0.2", PORT)
    assert wire.losses().capture_drops == 0
    wire.capture_drops = 3
    assert wire.losses().capture_drops == 3


# What is captured


@pytest.mark.parametrize("addresses", ADDRESSES)
def test_what_is_sent_and_what_comes_is_captured_at_its_time(addresses: tuple[str, str]) -> None:
    sent = syn(addresses)
    heard = exchange(wire_to("reference"), sent)
    ours, theirs = heard.captured
    assert (ours.sent, ours.segment) == (True, sent)
    assert (theirs.sent, theirs.segment.is_syn_ack) == (False, True)
    assert theirs.time - ours.time == pytest.approx(0.001, abs=1e-5)
    assert theirs.nanoseconds == pytest.approx(theirs.time * 1e9, abs=1000)


def test_a_closed_port_resets() -> None:
    heard = exchange(wire_to("reference"), syn(port=CLOSED_PORT))
    assert [each.segment.is_reset for each in heard.captured] == [False, True]


@pytest.mark.parametrize("addresses", ADDRESSES)
def test_an_error_says_who_sent_it_and_quotes(addresses: tuple[str, str]) -> None:
    sent = syn(addresses, ttl=3)
    [error] = exchange(wire_to("routed"), sent).errors
    assert error.is_time_exceeded
    assert error.sender == ("fd77:2::2" if ":" in sent.source else "10.77.2.2")
    found = quote.compare(sent, error.quote)
    assert found is not None
    assert found.changes == ()


def test_a_server_repeats_what_gets_no_answer() -> None:
    heard = exchange(wire_to("reference"), syn(), seconds=10.0)
    times = [round(each.time - heard.captured[0].time, 2) for each in heard.captured]
    assert times == [0.0, 0.0, 1.0, 3.0, 7.0]


def test_nobody_is_told_of_a_connection_that_nobody_attends() -> None:
    wire = wire_to("routed")
    heard = Heard()

    async def run() -> None:
        await wire.send(syn())
        await wire.send(syn(ttl=1))
        await wire.clock.sleep(0.1)

    assert isinstance(wire.clock, VirtualClock)
    wire.clock.run(run())
    assert (heard.captured, heard.errors) == ([], [])
