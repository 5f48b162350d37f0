"""Millions of packets that nobody should send, and how long the slowest of them take.

    python tests/hostile/parsers.py [--frames N] [--seed SEED] [--jobs N]

Prints how many made something raise (with the first of them: the seed and the packet), the time of
the slowest hundred, each measured again, and that of the largest sizes. Exit code 1 for any fault.
"""

from __future__ import annotations

import argparse
import heapq
import multiprocessing
import random
import sys
import time
import traceback
from typing import NamedTuple

import frames

from tfocheck.wire import options as tcp_options
from tfocheck.wire.segment import Flags, Segment, build

SLOWEST = 100
TIMES = 5
LONGEST = 0.005
"""Seconds of CPU that a packet may take."""

MOST_BYTES = 65_000
SHARE = 25_000
UNEVEN = 3.0
"""A byte of a large packet may take so many times what one of a small packet takes."""


class Found(NamedTuple):
    """What came of a share: how many raised, the first of them, and the slowest."""

    faults: int
    first: str
    slowest: list[tuple[float, bytes]]


def try_share(work: tuple[int, int]) -> Found:
    """Read so many packets from this seed."""
    seed, count = work
    chance = random.Random(seed)
    slowest: list[tuple[float, bytes]] = []
    faults, first = 0, ""
    for _ in range(count):
        packet = frames.packet(chance)
        began = time.perf_counter()
        try:
            frames.read(packet)
        except Exception:
            faults += 1
            first = first or f"seed {seed}, packet {packet.hex()}\n{traceback.format_exc()}"
        item = (time.perf_counter() - began, packet)
        if len(slowest) < SLOWEST:
            heapq.heappush(slowest, item)
        else:
            heapq.heappushpop(slowest, item)
    return Found(faults, first, slowest)


def seconds(packet: bytes) -> float:
    """The CPU that it takes at least, of some times."""
    found = []
    for _ in range(TIMES):
        began = time.thread_time()
        frames.read(packet)
        found.append(time.thread_time() - began)
    return min(found)


def sized(size: int) -> bytes:
    """A segment of so many bytes, all of whose data could be options."""
    area = tcp_options.encode([tcp_options.no_operation()] * 40)
    data = bytes([1]) * (size - 80)
    syn_ack = Flags.SYN | Flags.ACK
    return build(Segment("192.0.2.2", 443, "192.0.2.1", 5000, 9, 1, syn_ack, 1, area, data))


def main() -> int:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=3_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    shares = [
        (asked.seed + number, min(SHARE, asked.frames - number * SHARE))
        for number in range(-(-asked.frames // SHARE))
    ]
    slowest: list[tuple[float, bytes]] = []
    faults, first = 0, ""
    with multiprocessing.Pool(asked.jobs) as pool:
        for found in pool.imap_unordered(try_share, shares):
            faults, first = faults + found.faults, first or found.first
            slowest = heapq.nlargest(SLOWEST, [*slowest, *found.slowest])
    longest = max(seconds(packet) for _, packet in slowest)
    small, large = (seconds(sized(size)) for size in (1_500, MOST_BYTES))
    uneven = (large / MOST_BYTES) / (small / 1_500)
    print(f"{asked.frames} packets from seed {asked.seed} on: {faults} exceptions")
    print(f"the slowest {len(slowest)} again: {longest * 1000:.2f} ms of CPU at most")
    print(
        f"1,500 bytes: {small * 1000:.2f} ms, {MOST_BYTES:,} bytes: {large * 1000:.2f} ms, "
        f"a byte of it {uneven:.2f} times as much"
    )
    if first:
        print(first, file=sys.stderr)
    return int(bool(faults) or longest > LONGEST or uneven > UNEVEN)


if __name__ == "__main__":
    sys.exit(main())
