"""A flow against a scripted server: sequence numbers, reassembly, and how it ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tfocheck.engine.flow import Flow
from tfocheck.engine.ports import Listener
from tfocheck.engine.transcript import LEAST_REPEAT
from tfocheck.memory.clock import VirtualClock
from tfocheck.wire import options as tcp_options
from tfocheck.wire.evidence import Captured, FlowKey
from tfocheck.wire.numbers import SEQUENCE_SPACE, relative
from tfocheck.wire.options import FastOpen
from tfocheck.wire.segment import Flags, Segment

SERVER = ("192.0.2.2", 443)
SERVER_ISN = 0xFFFFFFF0  # wraps early
STAMPED = tcp_options.encode([tcp_options.timestamps(77, 0)])


class ScriptedLink:
    """Shows the flow what it sends, and what the script answers to that."""

    def __init__(self, answer: Callable[[Segment], list[Segment]]) -> None:
        self.sent: list[Segment] = []
        self._answer = answer
        self._listener: Listener | None = None
        self.clock = VirtualClock()
        self._moment = 1000.0

    def attend(self, key: FlowKey, listener: Listener) -> None:
        self._listener = listener

    def leave(self, key: FlowKey) -> None:
        self._listener = None

    async def send(self, segment: Segment, scope_id: int = 0) -> None:
        self.sent.append(segment)
        self.show(segment, sent=True)
        for answer in self._answer(segment):
            self.show(answer)

    def show(self, segment: Segment, *, sent: bool = False) -> None:
        self._moment += 0.001
        assert self._listener is not None
        self._listener.segment_captured(Captured(segment, self._moment, sent))


def reply(
    to: Segment,
    flags: Flags,
    *,
    offset: int = 0,
    ack: int | None = None,
    payload: bytes = b"",
    options: bytes = b"",
) -> Segment:
    return Segment(
        source=to.destination,
        source_port=to.destination_port,
        destination=to.source,
        destination_port=to.source_port,
        seq=(SERVER_ISN + offset) % 2**32,
        ack=(to.seq + to.sequence_length if ack is None else ack) % 2**32,
        flags=flags,
        payload=payload,
        options=options,
    )


class OurPort:
    """A port that nobody else has."""

    address = "127.0.0.1"
    port = 40_000

    def release(self) -> None:
        pass


def drive(
    answer: Callable[[Segment], list[Segment]], script: Callable[[Flow], Awaitable[None]]
) -> ScriptedLink:
    link = ScriptedLink(answer)

    async def run() -> ScriptedLink:
        flow = Flow(link, OurPort(), SERVER, scope_id=0, label="test")  # type: ignore[arg-type]
        try:
            await script(flow)
        finally:
            flow.release()
        return link

    return link.clock.run(run())


def polite_server(segment: Segment) -> list[Segment]:
    """Accepts SYN data, answers nothing else, closes when the client does."""
    if segment.flags & Flags.SYN:
        return [reply(segment, Flags.SYN | Flags.ACK, options=STAMPED)]
    if segment.flags & Flags.FIN:
        return [reply(segment, Flags.FIN | Flags.ACK, offset=1)]
    return []


def refusing_server(segment: Segment) -> list[Segment]:
    """Acknowledges the SYN alone."""
    if segment.flags & Flags.SYN:
        return [reply(segment, Flags.SYN | Flags.ACK, ack=segment.seq + 1)]
    return []


def test_relative_numbers_wrap() -> None:
    assert relative(5, 0xFFFFFFFB) == 10
    assert relative(0xFFFFFFFB, 5) == -10


def test_a_pending_fast_open_is_completed_and_never_reset() -> None:
    async def script(flow: Flow) -> None:
        await flow.send_syn(tcp_options.encode([FastOpen(b"12345678").to_option()]), b"hello")
        assert flow.acknowledged == 6
        assert flow.may_be_pending
        await flow.close(0.01)
        assert flow.is_closed
        assert not flow.may_be_pending

    link = drive(polite_server, script)
    assert [str(segment.flags) for segment in link.sent] == ["SYN", "ACK", "FIN,ACK", "ACK"]
    assert link.sent[-1].ack == (SERVER_ISN + 2) % 2**32


def test_an_ordinary_half_open_connection_is_reset() -> None:
    async def script(flow: Flow) -> None:
        await flow.send_syn(tcp_options.encode([FastOpen(b"forged!!").to_option()]), b"hello")
        assert flow.acknowledged == 1
        assert not flow.may_be_pending
        await flow.close(0.01)

    link = drive(refusing_server, script)
    assert [str(segment.flags) for segment in link.sent] == ["SYN", "RST,ACK"]
    # Ours carries ACK; a kernel's reset would not: that is how they are told apart.
    assert link.sent[1].seq == (link.sent[0].seq + 1) % 2**32


def test_a_request_answered_without_a_cookie_may_be_pending() -> None:
    """A server that needs no cookie takes the empty option as an open."""

    async def script(flow: Flow) -> None:
        await flow.send_syn(tcp_options.encode([FastOpen().to_option()]))
        assert flow.may_be_pending
        await flow.close(0.01)

    link = drive(polite_server, script)
    assert not any(segment.is_reset for segment in link.sent)


def test_nothing_is_sent_after_silence() -> None:
    async def script(flow: Flow) -> None:
        await flow.send_syn(b"")
        assert not await flow.wait(lambda: bool(flow.syn_acks), 0.01)
        await flow.close(0.01)

    assert len(drive(lambda _: [], script).sent) == 1


def test_after_a_fallback_the_data_starts_again_at_one() -> None:
    async def script(flow: Flow) -> None:
        await flow.send_syn(b"", b"hello")
        assert flow.offset == 1
        await flow.send_data(b"hello")

    link = drive(refusing_server, script)
    assert link.sent[1].seq == (link.sent[0].seq + 1) % 2**32


def test_timestamps_are_echoed_once_agreed_upon() -> None:
    async def script(flow: Flow) -> None:
        await flow.send_syn(b"")
        await flow.acknowledge()

    link = drive(polite_server, script)
    stamps = link.sent[1].option_list.timestamps
    assert stamps is not None
    assert stamps[1] == 77


def test_the_stream_is_assembled_from_any_order_and_any_copies() -> None:
    pieces = [(6, b"world"), (1, b"hello"), (1, b"hel"), (6, b"world"), (4, b"lowor")]

    def server(segment: Segment) -> list[Segment]:
        if not segment.flags & Flags.SYN:
            return []
        data = [
            reply(segment, Flags.ACK, offset=offset, payload=payload) for offset, payload in pieces
        ]
        return [data[0], reply(segment, Flags.SYN | Flags.ACK), *data]

    async def script(flow: Flow) -> None:
        await flow.send_syn(b"")
        assert flow.stream == b"helloworld"
        assert flow.early_data
        await flow.acknowledge()

    link = drive(server, script)
    assert link.sent[-1].ack == (SERVER_ISN + 11) % 2**32


@pytest.mark.parametrize(("ack", "believed"), [(0, False), (1, True), (6, True), (7, False)])
def test_a_reset_to_a_syn_must_acknowledge_it(ack: int, believed: bool) -> None:
    """RFC 9293 section 3.10.7.3: anything else is a blind guess of somebody's."""

    def server(segment: Segment) -> list[Segment]:
        return [reply(segment, Flags.RST | Flags.ACK, ack=segment.seq + ack)]

    async def script(flow: Flow) -> None:
        await flow.send_syn(b"", b"hello")
        assert (flow.reset is not None) is believed

    drive(server, script)


def test_a_syn_ack_for_somebody_else_is_not_taken() -> None:
    def server(segment: Segment) -> list[Segment]:
        return [reply(segment, Flags.SYN | Flags.ACK, ack=segment.seq + 900)]

    async def script(flow: Flow) -> None:
        await flow.send_syn(b"")
        assert flow.syn_ack is None

    drive(server, script)


def test_a_doubled_syn_ack_is_no_repeated_one() -> None:
    async def script(flow: Flow) -> None:
        await flow.send_syn(b"")
        first = flow.syn_ack
        assert first is not None
        flow.segment_captured(Captured(first.segment, first.time + 0.3, sent=False))
        assert flow.repeated_syn_ack is None
        flow.segment_captured(Captured(first.segment, first.time + 1.0, sent=False))
        assert flow.repeated_syn_ack is not None

    drive(polite_server, script)


def test_a_reset_by_the_local_kernel_is_noticed() -> None:
    async def script(flow: Flow) -> None:
        await flow.send_syn(b"")
        await flow.send_reset()
        assert flow.kernel_resets == 0
        bare = Segment(*flow.key, seq=1, flags=Flags.RST)
        flow.segment_captured(Captured(bare, 2000.0, sent=True))
        assert flow.kernel_resets == 1

    drive(polite_server, script)


def test_an_interrupted_flow_is_left_in_order_without_a_wait() -> None:
    async def script(flow: Flow) -> None:
        await flow.send_syn(tcp_options.encode([FastOpen(b"12345678").to_option()]), b"hello")
        await flow.abandon()

    link = drive(polite_server, script)
    assert [str(segment.flags) for segment in link.sent] == ["SYN", "ACK", "FIN,ACK"]


def test_the_syn_can_be_repeated_as_it_was() -> None:
    async def script(flow: Flow) -> None:
        area = tcp_options.encode([FastOpen(b"12345678").to_option()])
        await flow.send_syn(area, b"hello")
        await flow.repeat_syn()
        await flow.repeat_syn(b"", b"")

    first, again, bare = drive(refusing_server, script).sent
    assert (again.seq, again.options, again.payload) == (first.seq, first.options, first.payload)
    assert (bare.seq, bare.options, bare.payload) == (first.seq, b"", b"")


def test_data_under_way_is_no_answer_to_a_repeated_syn() -> None:
    async def script(flow: Flow) -> None:
        await flow.send_syn(tcp_options.encode([FastOpen(b"12345678").to_option()]), b"hello")
        first = flow.syn_ack
        assert first is not None
        known = len(flow.received)

        def show(**changed: Any) -> None:
            late = dataclasses.replace(first.segment, seq=SERVER_ISN + 1, options=b"", **changed)
            flow.segment_captured(Captured(late, first.time + 0.01, sent=False))

        show(flags=Flags.ACK, payload=b"late")
        assert flow.control_segments(known) == []
        show(flags=Flags.ACK)
        show(flags=Flags.RST | Flags.ACK)
        shown = [str(captured.segment.flags) for captured in flow.control_segments(known)]
        assert shown == ["ACK", "RST,ACK"]

    drive(polite_server, script)


def test_a_doubled_or_timed_syn_ack_is_no_answer_to_a_repeated_syn() -> None:
    async def script(flow: Flow) -> None:
        await flow.send_syn(tcp_options.encode([FastOpen(b"12345678").to_option()]), b"hello")
        first = flow.syn_ack
        assert first is not None
        known = len(flow.received)
        other = tcp_options.encode([tcp_options.timestamps(2, 1)])

        def show(after: float, **changed: Any) -> None:
            again = dataclasses.replace(first.segment, **changed)
            flow.segment_captured(Captured(again, first.time + after, sent=False))

        show(0.01, ttl=first.segment.ttl - 1)
        show(LEAST_REPEAT, options=other)
        assert [flow.is_answer_to_copy(each) for each in flow.received[known:]] == [False, False]
        known = len(flow.received)
        newer = tcp_options.encode([tcp_options.timestamps(3, 1)])
        show(0.02, options=newer)
        show(0.03, options=newer)
        show(LEAST_REPEAT, flags=Flags.ACK)
        answers = [flow.is_answer_to_copy(each) for each in flow.received[known:]]
        assert answers == [True, False, True]

    drive(polite_server, script)


def test_the_server_is_asked_how_far_it_has_sent() -> None:
    async def script(flow: Flow) -> None:
        await flow.send_syn(tcp_options.encode([FastOpen(b"12345678").to_option()]), b"hello")
        await flow.acknowledge()
        known = len(flow.received)
        assert flow.said_sent(known) is None
        await flow.send_keep_alive()
        first = flow.syn_ack
        assert first is not None

        def show(offset: int, **changed: Any) -> None:
            said = dataclasses.replace(
                first.segment, flags=Flags.ACK, seq=SERVER_ISN + 1 + offset, options=b"", **changed
            )
            flow.segment_captured(Captured(said, first.time + 0.01, sent=False))

        show(100, payload=b"data")
        assert flow.said_sent(known) is None
        show(700)
        show(300)
        assert flow.said_sent(known) == 700
        assert flow.stream_bytes == 0

    sent = drive(polite_server, script).sent
    keep_alive = next(segment for segment in sent if segment.payload == b"o")
    assert keep_alive.seq == (sent[0].seq + len(b"hello")) % SEQUENCE_SPACE


def test_what_came_behind_a_gap_is_selectively_acknowledged() -> None:
    permitted = tcp_options.encode([tcp_options.sack_permitted()])

    def server(segment: Segment) -> list[Segment]:
        if not segment.flags & Flags.SYN:
            return []
        data = [
            reply(segment, Flags.ACK, offset=1 + start, payload=bytes(size))
            for start, size in ((100, 50), (150, 50), (300, 10))
        ]
        return [reply(segment, Flags.SYN | Flags.ACK, options=permitted), *data]

    async def script(flow: Flow) -> None:
        await flow.send_syn(permitted)
        await flow.acknowledge()

    ack = drive(server, script).sent[-1]
    found = ack.option_list.find(tcp_options.SACK)
    assert found is not None
    edges = [int.from_bytes(found.value[at : at + 4]) for at in range(0, len(found.value), 4)]
    base = SERVER_ISN + 1
    assert edges == [(base + offset) % 2**32 for offset in (100, 200, 300, 310)]


def test_no_selective_acknowledgement_without_an_agreement() -> None:
    def server(segment: Segment) -> list[Segment]:
        if not segment.flags & Flags.SYN:
            return []
        late = reply(segment, Flags.ACK, offset=101, payload=b"late")
        return [reply(segment, Flags.SYN | Flags.ACK), late]

    async def script(flow: Flow) -> None:
        await flow.send_syn(tcp_options.encode([tcp_options.sack_permitted()]))
        await flow.acknowledge()

    assert drive(server, script).sent[-1].option_list.find(tcp_options.SACK) is None


@pytest.mark.parametrize(("offset", "said"), [(5, 5), (-5, None), (1 << 24, None)])
def test_keep_alives_are_not_answered_by_another_connection(offset: int, said: int | None) -> None:
    async def script(flow: Flow) -> None:
        await flow.send_syn(b"")
        known = len(flow.received)
        first = flow.syn_ack
        assert first is not None
        ack = dataclasses.replace(
            first.segment, flags=Flags.ACK, seq=(SERVER_ISN + 1 + offset) % 2**32, options=b""
        )
        flow.segment_captured(Captured(ack, first.time + 0.01, sent=False))
        assert flow.said_sent(known) == said

    drive(polite_server, script)
