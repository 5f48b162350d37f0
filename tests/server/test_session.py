"""One address while it is checked: its connections, its sources, and how it is left."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest
from rooms import (
    OWN,
    SERVER6,
    Nobody,
    Spoilt,
    a_case,
    a_session,
    in_session,
    is_syn,
    labels,
    reference,
    with_cookie,
)

from tfocheck.case import Flow, Probe
from tfocheck.engine.conversation import usual_options
from tfocheck.errors import CannotError
from tfocheck.memory.clock import VirtualClock
from tfocheck.memory.hosts import OFF_PORT, PORT, Endpoint, reference_host
from tfocheck.memory.network import Network
from tfocheck.memory.wire import MemoryWire
from tfocheck.server.session import IPV4_MSS, IPV6_MSS, Session
from tfocheck.wire import options as tcp_options
from tfocheck.wire.options import FastOpen
from tfocheck.wire.segment import Flags, Segment


def run(
    script: Callable[[Session], Awaitable[None]], endpoint: Endpoint | None = None, **how: object
) -> None:
    in_session(script, endpoint, **how)  # type: ignore[arg-type]


class Watched(MemoryWire):
    """Notes what is to be captured."""

    def __init__(self, clock: VirtualClock, endpoint: Endpoint | None = None) -> None:
        super().__init__(Network(endpoint or reference()), clock, own=OWN)
        self.watched: list[tuple[str, int]] = []

    def watch(self, server: str, port: int) -> None:
        self.watched.append((server, port))

    def unwatch(self, server: str, port: int) -> None:
        self.watched.remove((server, port))


# --- plain connections ----------------------------------------------------------------------------


def deaf_to(count: int) -> Endpoint:
    """A server that does not get the first SYNs."""
    syns = itertools.count(1)
    return Spoilt(reference(), lambda segment, _: not is_syn(segment) or next(syns) > count)


@pytest.mark.parametrize(("attempts", "most"), [(1, 9), (3, 9), (5, 15)])
def test_a_plain_connection_is_tried_for_many_times(attempts: int, most: int) -> None:
    async def script(session: Session) -> None:
        flow = await session.plain_connection("plain")
        assert flow.syn_ack is None
        assert labels(session) == ["plain"] * most
        assert session.flows[-1] is flow

    run(script, Nobody(), attempts=attempts)


def test_a_syn_that_was_lost_is_replaced() -> None:
    async def script(session: Session) -> None:
        flow = await session.plain_connection("plain")
        assert flow.syn_ack is not None
        assert len(session.flows) == 3
        assert session.answerable == session.flows
        session.close_later(flow)

    run(script, deaf_to(2))


@pytest.mark.parametrize(
    ("patiently", "lost", "answering", "asked"),
    [
        (False, 0, True, 1),
        (False, 5, True, 6),
        (False, 6, False, 6),
        (True, 11, True, 12),
        (True, 12, False, 12),
    ],
)
def test_a_no_must_be_had_several_times(
    patiently: bool, lost: int, answering: bool, asked: int
) -> None:
    async def script(session: Session) -> None:
        assert await session.is_answering(patiently=patiently) is answering
        assert labels(session) == ["control: plain SYN"] * asked

    run(script, deaf_to(lost))


def test_a_plain_syn_has_no_fast_open_and_is_reset() -> None:
    async def script(session: Session) -> None:
        assert await session.is_answering()
        await session.finish()
        [flow] = session.flows
        assert flow.is_plain
        assert [str(each.segment.flags) for each in flow.packets] == ["SYN", "SYN,ACK", "RST,ACK"]

    run(script)


def test_no_wait_is_longer_than_the_user_wants() -> None:
    async def script(session: Session) -> None:
        began = session.clock.monotonic()
        await session.plain_syn("plain")
        assert session.clock.monotonic() - began == pytest.approx(0.2, abs=0.001)

    run(script, Nobody(), timeout=0.2)


# --- what the path is like ------------------------------------------------------------------------


def test_a_round_trip_is_learnt_unless_the_syn_ack_may_be_a_repeated_one() -> None:
    async def script(session: Session) -> None:
        flow = await session.plain_syn("plain")
        assert session.round_trips.smallest == pytest.approx(0.1, abs=0.001)
        assert session.round_trip == pytest.approx(session.round_trips.spread)
        known = session.round_trips.smoothed
        [first] = flow.syn_acks
        late = first.__class__(first.segment, first.time + 0.9, sent=False)
        flow.syn_acks[0] = late
        session.learn_round_trip(flow)
        assert session.round_trips.smoothed == known
        # A capture's clock may be set back meanwhile.
        flow.syn_acks[0] = first.__class__(first.segment, first.time - 5.0, sent=False)
        session.learn_round_trip(flow)
        assert session.round_trips.smallest == 0.0
        session.close_later(flow)

    run(script, delay=0.05)


def test_a_slow_path_widens_the_lane() -> None:
    async def places(session: Session) -> int:
        session.lane.prove(1)
        flow = await session.plain_syn("plain")
        session.close_later(flow)
        inside = 0

        async def stay() -> None:
            nonlocal inside
            async with session.lane.opening():
                inside += 1
                await session.clock.sleep(1)

        stays = [asyncio.ensure_future(stay()) for _ in range(6)]
        await session.clock.sleep(0.5)
        found = inside
        for each in stays:
            each.cancel()
        await asyncio.gather(*stays, return_exceptions=True)
        return found

    assert in_session(places, delay=0.05) == 4
    assert in_session(places) == 2


def test_the_mss_is_that_of_the_family() -> None:
    async def script(session: Session) -> None:
        flow = session.new_flow("plain")
        found = tcp_options.walk(session.syn_options(flow=flow)).mss
        assert found == session.own_mss == (IPV6_MSS if ":" in session.address else IPV4_MSS)
        assert tcp_options.walk(session.syn_options(flow=flow, mss=600)).mss == 600

    run(script)
    run(script, address=SERVER6)


def test_an_everyday_option_area_is_as_long_as_it_is_said_to_be() -> None:
    async def script(session: Session) -> None:
        flow = session.new_flow("plain")
        for cookies in ((), (FastOpen(),), (FastOpen(bytes(8)),), (FastOpen(bytes(16)),)):
            area = session.syn_options(*cookies, flow=flow)
            assert len(area) == session.option_bytes(*cookies)

    run(script)


@pytest.mark.parametrize(
    ("cookie", "kinds"),
    [
        (8, [2, 4, 8, 1, 3, 34]),
        # What leaves no room for it: first the timestamps, then all but the MSS.
        (16, [2, 1, 3, 34]),
        (26, [2, 1, 3, 34]),
        (28, [2, 34]),
        (30, [2, 34]),
        (32, [34]),
        (34, [34]),
    ],
)
def test_what_leaves_no_room_for_a_long_cookie_is_left_out(cookie: int, kinds: list[int]) -> None:
    options = usual_options(1460, 1, [FastOpen(bytes(cookie))])
    assert [option.kind for option in options] == kinds
    size = sum(len(option.encode()) for option in options)
    assert size <= tcp_options.MAX_OPTION_BYTES


def test_what_fits_into_no_header_is_told() -> None:
    with pytest.raises(ValueError, match="41 bytes do not fit"):
        usual_options(1460, 1, [FastOpen(bytes(39))])


# --- our addresses --------------------------------------------------------------------------------


def sources(
    own: tuple[str, ...], address: str, *, alt: tuple[str, ...] = (), no_nat: bool = False
) -> tuple[tuple[str, ...], bool]:
    found: list[tuple[tuple[str, ...], bool]] = []

    async def script(session: Session) -> None:
        probe = Probe(session, a_case())
        found.append((probe.own_sources, probe.nat_is_ruled_out))

    run(script, own=own, address=address, alt_sources=alt, no_nat=no_nat)
    return found[0]


HERE = ("10.0.0.1/24", "10.0.0.3/24", "fd00::1/64", "fd00::3/64")


def test_further_addresses_on_the_link_share_no_nat() -> None:
    assert sources(HERE, "10.0.0.2") == (("10.0.0.1", "10.0.0.3"), True)
    assert sources(HERE, "fd00::2") == (("fd00::1", "fd00::3"), True)


def test_private_addresses_may_share_a_nat_beyond_the_link() -> None:
    assert sources(HERE, "192.0.2.1") == (("10.0.0.1",), False)
    assert sources(("8.8.4.4/24", "8.8.4.5/24"), "9.9.9.9") == (("8.8.4.4", "8.8.4.5"), False)
    assert sources(HERE, "192.0.2.1", no_nat=True) == (("10.0.0.1",), True)


def test_the_users_alternatives_of_the_family_are_used() -> None:
    alt = ("10.0.0.9", "10.0.0.1", "fd00::9")
    assert sources(HERE, "10.0.0.2", alt=alt)[0] == ("10.0.0.1", "10.0.0.9")
    assert sources(HERE, "fd00::2", alt=alt)[0] == ("fd00::1", "fd00::9")
    # None of this family: as if none were given.
    assert sources(HERE, "10.0.0.2", alt=("fd00::9",))[0] == ("10.0.0.1", "10.0.0.3")


def test_no_more_than_three_are_used_without_being_named() -> None:
    many = tuple(f"10.0.0.{number}/24" for number in (1, 3, 4, 5, 6, 7))
    assert sources(many, "10.0.0.2")[0] == ("10.0.0.1", "10.0.0.3", "10.0.0.4", "10.0.0.5")


def test_link_local_and_loopback_addresses_are_of_no_use_beyond() -> None:
    own = ("fd00::1/64", "fe80::1/64", "::1/128", "fd00::3/64")
    assert sources(own, "fd00::2")[0] == ("fd00::1", "fd00::3")
    local = ("127.0.0.1/8", "127.0.0.2/8")
    assert sources(local, "127.0.0.9") == (("127.0.0.1",), False)


def test_a_flow_may_have_another_source_and_another_port() -> None:
    async def script(session: Session) -> None:
        flow = session.new_flow("other", source="10.0.0.3", port=OFF_PORT)
        assert flow.key.client == "10.0.0.3"
        assert flow.server == (session.address, OFF_PORT)
        assert session.new_flow("usual").key.client == "10.0.0.1"
        after = session.follow(flow, "behind it")
        assert (after.key.client, after.key.client_port) == flow.key[:2]
        assert after.server == flow.server
        with pytest.raises(CannotError):
            session.new_flow("no address of ours", source="192.0.2.1")

    run(script, reference_host())


# --- how it is left -------------------------------------------------------------------------------


def test_what_is_captured_is_given_up_again() -> None:
    clock = VirtualClock()
    wire = Watched(clock)

    async def main() -> None:
        session = a_session(wire, off_port=OFF_PORT)
        assert set(wire.watched) == {(session.address, PORT), (session.address, OFF_PORT)}
        for _ in range(2):
            session.watch_port(31_000)
        assert sorted(port for _, port in wire.watched) == [PORT, OFF_PORT, 31_000]
        flow = session.new_flow("plain")
        session.release()
        assert wire.watched == []
        again = wire.reserve(flow.port.address)
        assert again.port == flow.port.port + 1
        without = a_session(wire)
        assert wire.watched == [(without.address, PORT)]

    clock.run(main())


def test_every_connection_is_closed_before_it_is_left() -> None:
    async def script(session: Session) -> None:
        flows = [await session.plain_connection("plain") for _ in range(3)]
        for flow in flows:
            await flow.acknowledge()
            session.close_later(flow)
        assert not any(flow.is_closed for flow in flows)
        await session.finish()
        assert all(flow.is_closed for flow in flows)

    run(script)


def test_what_goes_wrong_while_closing_loses_nothing() -> None:
    async def wrong() -> None:
        raise OSError("no route")

    async def later(session: Session, done: list[str]) -> None:
        await session.clock.sleep(1)
        done.append("later")

    async def script(session: Session) -> None:
        done: list[str] = []
        session.run_later(wrong())
        session.run_later(later(session, done))
        await session.finish()
        assert done == ["later"]

    run(script)


def test_what_is_started_while_finishing_is_waited_for_too() -> None:
    async def script(session: Session) -> None:
        done: list[int] = []

        async def step(number: int) -> None:
            await session.clock.sleep(0.1)
            done.append(number)
            if number < 3:
                session.run_later(step(number + 1))

        session.run_later(step(1))
        await session.finish()
        assert done == [1, 2, 3]

    run(script)


def test_an_interrupted_check_leaves_every_connection_in_order_at_once() -> None:
    async def script(session: Session) -> None:
        probe = await with_cookie(session)
        opened = probe.opener.new_flow("open")
        await opened.send_syn(
            session.syn_options(FastOpen(probe.cookie), flow=opened), probe.payload.data
        )
        await opened.wait(lambda: opened.is_answered, 1)
        half = await session.plain_syn("half-open")
        began = session.clock.monotonic()
        await session.abandon()
        assert session.clock.monotonic() - began < 1e-6
        sent = [str(each.segment.flags) for each in opened.packets if each.sent]
        assert sent == ["SYN", "ACK", "FIN,ACK"]
        assert half.resets_sent == 1

    run(script)


def test_one_that_can_not_be_left_stops_no_other() -> None:
    class Broken(Flow):
        async def abandon(self) -> None:
            raise CannotError("a firewall refuses it")

    async def script(session: Session) -> None:
        flow = await session.plain_syn("half-open")
        broken = await session.plain_syn("broken")
        broken.__class__ = Broken
        session.flows.reverse()
        await session.abandon()
        assert flow.resets_sent == 1

    run(script)


def test_controls_are_the_flows_that_no_case_cites() -> None:
    async def script(session: Session) -> None:
        probe = Probe(session, a_case())
        await probe.plain_syn("cited")
        await session.is_answering()
        records = session.controls(probe.evidence.flows)
        assert [record.label for record in records] == ["control: plain SYN"]
        assert len(session.controls([])) == 2
        assert session.evidence["some.case"] is probe.evidence

    run(script)


def test_resets_of_the_local_kernel_are_counted_over_all_flows() -> None:
    async def script(session: Session) -> None:
        assert session.kernel_resets == 0
        for _ in range(2):
            flow = session.new_flow("plain")
            bare = Segment(*flow.key, seq=1, flags=Flags.RST)
            await session.wire.send(bare)
        assert session.kernel_resets == 2

    run(script)


def test_at_the_end_of_the_runs_time_what_is_open_gets_a_last_packet() -> None:
    def deaf(segment: Segment, now: float) -> bool:
        """The server hears the SYN and the ACK of its answer, and no FIN."""
        return not segment.flags & Flags.FIN

    async def script(session: Session) -> None:
        flow = await session.plain_connection("plain")
        await flow.acknowledge()
        session.close_later(flow)
        began = session.clock.monotonic()
        await session.finish(began + 0.5)
        assert session.clock.monotonic() - began == pytest.approx(0.5, abs=0.01)
        sent = [str(each.segment.flags) for each in flow.packets if each.sent]
        assert sent[-2:] == ["ACK", "FIN,ACK"]

    run(script, Spoilt(reference(), deaf))


def test_what_ends_in_time_is_not_waited_for_any_longer() -> None:
    async def script(session: Session) -> None:
        flow = await session.plain_syn("plain")
        session.close_later(flow)
        began = session.clock.monotonic()
        await session.finish(began + 50)
        assert session.clock.monotonic() - began < 0.1
        assert flow.resets_sent == 1

    run(script)
