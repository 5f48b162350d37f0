"""A flow in time: what it waits for, and how it ends with a server that does not help."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from test_flow import OurPort, ScriptedLink, polite_server, refusing_server, reply

from tfocheck.engine.flow import CLOSE_SECONDS, Flow
from tfocheck.engine.record import RECEIVE_WINDOW
from tfocheck.memory.clock import START
from tfocheck.wire import options as tcp_options
from tfocheck.wire.evidence import Captured, FlowKey, IcmpError
from tfocheck.wire.options import FastOpen
from tfocheck.wire.segment import Flags, Segment

SERVER = ("192.0.2.2", 443)
COOKIE = tcp_options.encode([FastOpen(b"12345678").to_option()])
TRIP = 0.01
Server = Callable[[Segment], list[Segment]]


class Lived:
    """What became of a flow with this server, and when each segment of ours left."""

    def __init__(self, server: Server, script: Callable[[Lived], Awaitable[None]]) -> None:
        self.link = ScriptedLink(server)
        self.times: list[float] = []
        self.flow: Flow

        async def run() -> None:
            send = self.link.send

            async def sending(segment: Segment, scope_id: int = 0) -> None:
                self.times.append(self.now)
                await send(segment, scope_id)

            self.link.send = sending  # type: ignore[method-assign]
            self.flow = Flow(self.link, OurPort(), SERVER, scope_id=0, label="test")  # type: ignore[arg-type]
            await script(self)

        self.link.clock.run(run())

    @property
    def now(self) -> float:
        return self.link.clock.now - START

    @property
    def sent(self) -> list[str]:
        return [str(segment.flags) for segment in self.link.sent]

    def later(self, seconds: float, segment: Callable[[], Segment]) -> None:
        """The server sends it so much later."""
        self.link.clock.after(seconds, lambda: self.link.show(segment()))


# --- waiting --------------------------------------------------------------------------------------


def mute(segment: Segment) -> list[Segment]:
    return []


def test_what_is_there_is_not_waited_for() -> None:
    async def script(lived: Lived) -> None:
        assert await lived.flow.wait(lambda: True, 5)
        assert await lived.flow.wait(lambda: True, 0)
        assert not await lived.flow.wait(lambda: False, 0)
        assert not await lived.flow.wait(lambda: False, -1)
        assert lived.now == pytest.approx(0)
        assert not await lived.flow.wait(lambda: False, 0.1)
        assert lived.now == pytest.approx(0.1)

    Lived(mute, script)


def test_a_wait_ends_with_what_comes_and_not_with_something_else() -> None:
    async def script(lived: Lived) -> None:
        flow = lived.flow
        await flow.send_syn(b"")
        syn = lived.link.sent[0]
        lived.later(1, lambda: reply(syn, Flags.ACK))
        lived.later(2, lambda: reply(syn, Flags.SYN | Flags.ACK))
        assert await flow.wait(lambda: flow.syn_ack is not None, 5)
        assert lived.now == pytest.approx(2)

    Lived(mute, script)


def test_an_icmp_error_ends_a_wait_as_well() -> None:
    async def script(lived: Lived) -> None:
        flow = lived.flow
        error = IcmpError("192.0.2.9", 3, 1, 1.0, b"")
        lived.link.clock.after(1, lambda: flow.icmp_received(error))
        assert await flow.wait(lambda: flow.icmp is not None, 5)
        assert lived.now == pytest.approx(1)
        assert flow.icmp is error

    Lived(mute, script)


def test_each_waits_for_its_own_condition() -> None:
    async def script(lived: Lived) -> None:
        flow = lived.flow
        await flow.send_syn(b"")
        syn = lived.link.sent[0]
        ended: list[tuple[str, float]] = []

        async def wait(name: str, count: int) -> None:
            assert await flow.wait(lambda: len(flow.received) >= count, 5)
            ended.append((name, round(lived.now, 3)))

        lived.later(1, lambda: reply(syn, Flags.ACK))
        lived.later(2, lambda: reply(syn, Flags.ACK))
        await asyncio.gather(wait("two", 2), wait("one", 1), wait("one as well", 1))
        assert ended == [("one", 1.0), ("one as well", 1.0), ("two", 2.0)]

    Lived(mute, script)


def test_what_goes_wrong_in_a_condition_is_the_waiters() -> None:
    async def script(lived: Lived) -> None:
        flow = lived.flow
        await flow.send_syn(b"")
        syn = lived.link.sent[0]

        def wrong() -> bool:
            return bool(flow.received) and 1 / 0 > 0

        lived.later(1, lambda: reply(syn, Flags.ACK))
        other = asyncio.ensure_future(flow.wait(lambda: bool(flow.received), 5))
        with pytest.raises(ZeroDivisionError):
            await flow.wait(wrong, 5)
        assert await other
        assert lived.now == pytest.approx(1)

    Lived(mute, script)


def test_who_is_cancelled_while_waiting_is_forgotten() -> None:
    async def script(lived: Lived) -> None:
        flow = lived.flow
        asked: list[float] = []

        def seen() -> bool:
            asked.append(lived.now)
            return False

        waiting = asyncio.ensure_future(flow.wait(seen, 5))
        await lived.link.clock.sleep(1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        before = len(asked)
        await flow.send_syn(b"")
        assert len(asked) == before
        await lived.link.clock.sleep(10)

    Lived(mute, script)


# --- completing and closing -----------------------------------------------------------------------


def open_syn(lived: Lived) -> Awaitable[None]:
    return lived.flow.send_syn(COOKIE, b"hello")


def deaf_to_fins(segment: Segment) -> list[Segment]:
    """Accepts the open, and says nothing more."""
    return polite_server(segment) if segment.flags & Flags.SYN else []


def test_a_fin_that_is_not_acknowledged_is_repeated_for_a_while() -> None:
    async def script(lived: Lived) -> None:
        await open_syn(lived)
        await lived.flow.complete(TRIP)
        assert not lived.flow.fin_acknowledged

    lived = Lived(deaf_to_fins, script)
    assert lived.sent == ["SYN", "ACK", *["FIN,ACK"] * 6]
    assert lived.times[2:] == pytest.approx([0.2 * number for number in range(6)], abs=1e-6)
    assert lived.now == pytest.approx(1.2)


def test_on_a_long_way_fins_are_further_apart() -> None:
    async def script(lived: Lived) -> None:
        await open_syn(lived)
        await lived.flow.complete(0.5)

    lived = Lived(deaf_to_fins, script)
    assert lived.times[2:] == pytest.approx([0, 1, 2], abs=1e-6)
    # At most a second, and four round trips.
    lived = Lived(deaf_to_fins, script)
    assert lived.now == pytest.approx(3, abs=1e-3)


@pytest.mark.parametrize("end", [Flags.ACK, Flags.RST | Flags.ACK])
def test_completing_ends_when_the_server_has_our_fin_or_resets(end: Flags) -> None:
    def server(segment: Segment) -> list[Segment]:
        if segment.flags & Flags.FIN:
            return [reply(segment, end, offset=1)]
        return deaf_to_fins(segment)

    async def script(lived: Lived) -> None:
        await open_syn(lived)
        await lived.flow.acknowledge()
        await lived.flow.complete(TRIP)

    lived = Lived(server, script)
    assert lived.sent == ["SYN", "ACK", "FIN,ACK"]
    assert lived.now == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("trip", [TRIP, 0.5])
def test_a_server_that_never_closes_is_reset_in_the_end(trip: float) -> None:
    def server(segment: Segment) -> list[Segment]:
        if segment.flags & Flags.FIN:
            return [reply(segment, Flags.ACK, offset=1)]
        return deaf_to_fins(segment)

    async def script(lived: Lived) -> None:
        await open_syn(lived)
        await lived.flow.close(trip)

    lived = Lived(server, script)
    assert lived.sent == ["SYN", "ACK", "FIN,ACK", "RST,ACK"]
    assert lived.now == pytest.approx(CLOSE_SECONDS + 4 * trip, abs=0.005)
    assert lived.flow.resets_sent == 1


def test_a_server_that_does_not_hear_our_fin_is_not_reset() -> None:
    """It may count the Fast Open as pending still (RFC 7413 section 5.1)."""

    async def script(lived: Lived) -> None:
        await open_syn(lived)
        await lived.flow.close(TRIP)

    lived = Lived(deaf_to_fins, script)
    assert "RST,ACK" not in lived.sent
    assert lived.flow.resets_sent == 0


def test_what_still_comes_is_acknowledged_together() -> None:
    def server(segment: Segment) -> list[Segment]:
        if segment.flags & Flags.FIN:
            return [
                reply(segment, Flags.ACK, offset=1),
                *(reply(segment, Flags.ACK, offset=1 + at, payload=b"x") for at in range(4)),
            ]
        return deaf_to_fins(segment)

    async def script(lived: Lived) -> None:
        await open_syn(lived)
        syn = lived.link.sent[0]
        lived.later(0.5, lambda: reply(syn, Flags.FIN | Flags.ACK, offset=5, ack=syn.seq + 7))
        await lived.flow.close(TRIP)
        assert lived.flow.stream == b"xxxx"

    lived = Lived(server, script)
    assert lived.sent == ["SYN", "ACK", "FIN,ACK", "ACK", "ACK"]
    assert lived.now == pytest.approx(0.5, abs=0.01)
    assert lived.flow.is_closed


def test_a_reset_ends_the_closing() -> None:
    def server(segment: Segment) -> list[Segment]:
        if segment.flags & Flags.FIN:
            return [reply(segment, Flags.ACK, offset=1)]
        return deaf_to_fins(segment)

    async def script(lived: Lived) -> None:
        await open_syn(lived)
        syn = lived.link.sent[0]
        lived.later(0.3, lambda: reply(syn, Flags.RST | Flags.ACK, offset=1, ack=syn.seq + 7))
        await lived.flow.close(TRIP)
        await lived.flow.close(TRIP)

    lived = Lived(server, script)
    assert lived.sent == ["SYN", "ACK", "FIN,ACK"]
    assert lived.now == pytest.approx(0.3, abs=0.01)


def test_what_the_server_has_closed_already_is_closed_by_us() -> None:
    def server(segment: Segment) -> list[Segment]:
        if segment.flags & Flags.SYN:
            fin = reply(segment, Flags.FIN | Flags.ACK, offset=1)
            return [*polite_server(segment), fin]
        if segment.flags & Flags.FIN:
            return [reply(segment, Flags.ACK, offset=2)]
        return []

    async def script(lived: Lived) -> None:
        await open_syn(lived)
        await lived.flow.close(TRIP)

    lived = Lived(server, script)
    assert lived.sent == ["SYN", "ACK", "FIN,ACK"]
    assert lived.flow.is_closed


# --- abandoning -----------------------------------------------------------------------------------


def abandoned(server: Server, *, complete: bool = False, data: bytes = b"hello") -> list[str]:
    async def script(lived: Lived) -> None:
        await lived.flow.send_syn(COOKIE if data else b"", data)
        if complete:
            await lived.flow.acknowledge()
        await lived.flow.abandon()
        assert lived.now == pytest.approx(0, abs=1e-6)

    return Lived(server, script).sent[1:]


def test_an_interrupted_flow_is_left_by_a_packet_or_two() -> None:
    assert abandoned(polite_server) == ["ACK", "FIN,ACK"]
    assert abandoned(refusing_server) == ["RST,ACK"]
    assert abandoned(refusing_server, complete=True) == ["ACK", "ACK", "FIN,ACK"]
    assert abandoned(refusing_server, data=b"") == ["RST,ACK"]
    assert abandoned(mute) == []
    assert abandoned(lambda syn: [reply(syn, Flags.RST | Flags.ACK)]) == []


def test_what_is_closed_is_not_closed_again() -> None:
    async def script(lived: Lived) -> None:
        await open_syn(lived)
        await lived.flow.close(TRIP)
        before = len(lived.sent)
        await lived.flow.abandon()
        assert len(lived.sent) == before

    Lived(polite_server, script)


# --- what is kept of it ---------------------------------------------------------------------------


def test_packets_are_counted_by_who_sent_them() -> None:
    async def script(lived: Lived) -> None:
        await open_syn(lived)
        await lived.flow.acknowledge()
        await lived.flow.send_keep_alive()
        await lived.flow.send_reset()

    flow = Lived(polite_server, script).flow
    assert (flow.packets_sent, flow.received_count, flow.resets_sent) == (4, 1, 1)


def test_a_record_is_the_evidence_and_what_decided_it() -> None:
    async def script(lived: Lived) -> None:
        flow = lived.flow
        await open_syn(lived)
        flow.icmp_received(IcmpError("192.0.2.9", 3, 1, 1.0, b""))
        record = flow.record()
        assert record.label == "test"
        assert (record.client, record.server) == (("127.0.0.1", 40_000), SERVER)
        assert (record.client_isn, record.server_isn) == (flow.isn, flow.server_isn)
        assert record.packets == tuple(flow.packets)
        assert record.icmp == tuple(flow.icmps)
        assert not record.decided
        assert record.deciding is flow.record(flow.packets[0]).deciding is None
        flow.decided = True
        assert flow.record().deciding is flow.received[0]  # the only answer
        assert flow.record(flow.packets[0]).deciding is flow.packets[0]

    Lived(polite_server, script)


def test_a_released_flow_listens_no_more() -> None:
    class Port(OurPort):
        released = 0

        def release(self) -> None:
            Port.released += 1

    async def script(lived: Lived) -> None:
        flow = Flow(lived.link, Port(), SERVER, scope_id=0, label="test")  # type: ignore[arg-type]
        assert flow.key.client_port == Port.port
        left: list[FlowKey] = []
        lived.link.leave = left.append  # type: ignore[method-assign, assignment]
        flow.release()
        assert left == [flow.key]
        assert Port.released == 1

    Lived(mute, script)


def test_what_a_syn_is_told_reaches_the_wire() -> None:
    async def script(lived: Lived) -> None:
        await lived.flow.send_syn(COOKIE, b"x", window=300, ttl=4)
        await lived.flow.resend_from(1, b"x", ttl=5)
        await lived.flow.send_syn(b"")

    first, again, plain = Lived(mute, script).link.sent
    assert (first.window, first.ttl, first.options) == (300, 4, COOKIE)
    assert (again.ttl, again.payload) == (5, b"x")
    assert (plain.window, plain.ttl) == (RECEIVE_WINDOW, 64)


def test_our_timestamp_goes_on_with_the_clock() -> None:
    async def script(lived: Lived) -> None:
        before = lived.flow.tsval
        await lived.link.clock.sleep(0.25)
        assert (lived.flow.tsval - before) % 2**32 in (249, 250, 251)

    Lived(mute, script)


def test_a_capture_may_show_what_it_likes() -> None:
    """A segment that nobody waits for wakes nobody."""

    async def script(lived: Lived) -> None:
        await open_syn(lived)
        segment = reply(lived.link.sent[0], Flags.ACK, offset=1)
        lived.flow.segment_captured(Captured(segment, 1.0, sent=False))
        assert lived.flow.received_count == 2

    Lived(polite_server, script)
