"""What a capture hands on, of what comes how fast; and that no wait ends before that was read."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterable

import pytest

from tfocheck.linux import capture
from tfocheck.linux.capture import Capture
from tfocheck.linux.clock import MOST_BEHIND, SystemClock
from tfocheck.wire.evidence import Captured, FlowKey, IcmpError
from tfocheck.wire.segment import Flags, Segment, build

KEY = FlowKey("192.0.2.1", 5000, "192.0.2.2", 443)
SYN = Segment("192.0.2.1", 5000, "192.0.2.2", 443, 7, flags=Flags.SYN)
ANSWER = Segment("192.0.2.2", 443, "192.0.2.1", 5000, 9, ack=8, flags=Flags.SYN | Flags.ACK)
OTHER = Segment("192.0.2.2", 443, "192.0.2.1", 5001, 9, ack=8, flags=Flags.SYN | Flags.ACK)
VIRTIO = bytes(10)
OUTGOING, RECEIVED = 4, 0

Frame = tuple[bytes, str, int, float]
"""A packet, its interface, its type, and its time in seconds."""


class Queue:
    """A packet socket's end of these frames; without any it would block."""

    def __init__(self, frames: Iterable[Frame]) -> None:
        self.frames = iter(frames)
        self.read = 0

    def recvmsg_into(
        self, buffers: list[memoryview], _size: int
    ) -> tuple[int, list[tuple[int, int, bytes]], int, tuple[str, int, int]]:
        frame = next(self.frames, None)
        if frame is None:
            raise BlockingIOError
        self.read += 1
        packet, interface, kind, moment = frame
        data = VIRTIO + packet
        buffers[0][: len(data)] = data
        stamp = struct.pack("@ll", int(moment), round(moment % 1 * 1_000_000_000))
        return len(data), [(socket.SOL_SOCKET, 35, stamp)], 0, (interface, 0x800, kind)


class Heard:
    """A listener, and what it was told."""

    def __init__(self) -> None:
        self.segments: list[Captured] = []
        self.errors: list[IcmpError] = []

    def segment_captured(self, captured: Captured) -> None:
        self.segments.append(captured)

    def icmp_received(self, error: IcmpError) -> None:
        self.errors.append(error)


def received(segment: Segment, *, at: float = 1.0, interface: str = "eth0") -> Frame:
    return build(segment), interface, RECEIVED, at


def capturing(frames: Iterable[Frame]) -> tuple[Capture, Heard, Queue]:
    queue, heard = Queue(frames), Heard()
    found = Capture(queue)  # type: ignore[arg-type]
    found.attend(KEY, heard)
    return found, heard, queue


def an_error_about(segment: Segment) -> bytes:
    outer = bytearray(build(Segment("198.51.100.1", 1, "192.0.2.1", 1, 0))[:20])
    outer[9] = 1
    return bytes(outer) + bytes([3, 1]) + bytes(6) + build(segment)[:28]


def test_segments_both_ways_and_errors_go_to_whom_they_are_for() -> None:
    frames = [
        (build(SYN), "eth0", OUTGOING, 1.0),
        received(ANSWER, at=1.5),
        received(OTHER),
        (an_error_about(SYN), "eth0", RECEIVED, 2.0),
        (an_error_about(OTHER), "eth0", RECEIVED, 2.0),
    ]
    found, heard, _ = capturing(frames)
    found.read()
    assert [each.segment for each in heard.segments] == [SYN, ANSWER]
    assert [each.sent for each in heard.segments] == [True, False]
    assert [each.time for each in heard.segments] == [1.0, 1.5]
    assert [(each.sender, each.icmp_type, each.code) for each in heard.errors] == [
        ("198.51.100.1", 3, 1)
    ]


def test_what_nobody_attends_any_more_is_not_handed_on() -> None:
    found, heard, _ = capturing([received(ANSWER)])
    found.leave(KEY)
    found.read()
    assert heard.segments == []


def test_a_turn_ends_however_much_there_is() -> None:
    found, _, queue = capturing(received(OTHER) for _ in iter(int, 1))
    found.read()
    assert 0 < queue.read <= capture.TURN_FRAMES
    assert found.is_behind()


def test_a_turn_ends_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _, queue = capturing(received(OTHER) for _ in iter(int, 1))
    monkeypatch.setattr(capture, "TURN_SECONDS", 0.0)
    found.read()
    assert queue.read < capture.TURN_FRAMES


def test_a_capture_that_has_read_all_is_not_behind() -> None:
    found, _, _ = capturing(received(OTHER) for _ in range(capture.TURN_FRAMES + 1))
    found.read()
    assert found.is_behind()
    found.read()
    assert not found.is_behind()


def test_what_nobody_wants_is_neither_parsed_nor_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("it was parsed")

    for name in ("dissect", "icmp"):
        monkeypatch.setattr(capture, name, never)
    quote = (an_error_about(OTHER), "eth0", RECEIVED, 1.0)
    found, _, _ = capturing([received(OTHER), quote])
    monkeypatch.setattr(Capture, "_is_known", never)
    found.read()
    assert not found.is_behind()


@pytest.mark.parametrize(
    ("sightings", "handed_on"),
    [
        ([("eth0", 1.0), ("bond0", 1.0)], 1),
        ([("eth0", 1.0), ("bond0", 1.04), ("eth0.5", 1.04)], 1),
        ([("eth0", 1.0), ("bond0", 1.06)], 2),
        # The network has doubled it.
        ([("eth0", 1.0), ("eth0", 1.01)], 2),
        ([("eth0", 1.0), ("bond0", 1.0), ("eth0", 1.01), ("bond0", 1.01)], 2),
        ([("eth0", 1.0), ("eth0", 1.04), ("bond0", 1.08)], 2),
    ],
)
def test_a_packet_that_passes_two_interfaces_is_one(
    sightings: list[tuple[str, float]], handed_on: int
) -> None:
    found, heard, _ = capturing(received(ANSWER, at=t, interface=i) for i, t in sightings)
    found.read()
    assert len(heard.segments) == handed_on


def test_what_is_kept_to_be_known_again_is_bounded() -> None:
    most = capture.RECENT_PACKETS
    answers = (received(Segment(*KEY[2:], *KEY[:2], number)) for number in range(most + 500))
    found, heard, _ = capturing(answers)
    for number in range(capture.SENT_PACKETS + 500):
        found.expect(build(SYN) + bytes([number % 256, number // 256]), SYN)
    while True:
        found.read()
        if not found.is_behind():
            break
    assert len(heard.segments) == most + 500
    assert max(len(found._seen), len(found._seen_at)) <= most
    assert len(found._sent_packets) == capture.SENT_PACKETS


def test_a_wait_goes_on_until_what_was_captured_has_been_read() -> None:
    turns = 0

    def is_behind() -> bool:
        nonlocal turns
        turns += 1
        return turns <= 3

    async def script() -> None:
        nonlocal turns
        clock = SystemClock(is_behind)
        await clock.sleep(0)
        assert turns == 4
        turns, called = 0, asyncio.Event()
        clock.after(0, called.set)
        await called.wait()
        assert turns == 4

    asyncio.run(script())


def test_a_wait_ends_all_the_same_under_a_flood() -> None:
    async def script() -> None:
        clock = SystemClock(lambda: True)
        began = clock.monotonic()
        await clock.sleep(0.01)
        assert clock.monotonic() - began >= MOST_BEHIND

    asyncio.run(script())


def test_a_timer_that_was_cancelled_does_not_go_off() -> None:
    behind = True

    async def script() -> None:
        nonlocal behind
        clock = SystemClock(lambda: behind)
        told: list[int] = []
        timers = [clock.after(0, lambda: told.append(1)) for _ in range(2)]
        await asyncio.sleep(0.01)
        timers[0].cancel()
        behind = False
        await asyncio.sleep(0.01)
        assert told == [1]

    asyncio.run(script())
