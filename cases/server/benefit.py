"""What Fast Open brings: the time to the first byte of an answer, with and without it."""

from __future__ import annotations

import asyncio
import statistics

from tfocheck.case import (
    FAST_OPEN_WORKS,
    SLOW_PATH,
    FastOpen,
    Flow,
    Level,
    Outcome,
    Probe,
    Role,
    UnansweredError,
    UnusableError,
    case,
)

PAIRS = 5
LEAST_PAIRS = 3
"""So many are enough for a median where others got lost again and again."""


@case(
    "benefit.latency",
    role=Role.BENEFIT,
    section="1",
    level=Level.INFO,
    title="The time that Fast Open saves",
    requirement="Fast Open is for saving one round trip per connection.",
    expected="answers the first byte a round trip earlier with Fast Open",
    advice="If nothing is saved on a path of more than a millisecond, see open.early-answer: the "
    "answer waits for the handshake to end.",
    why="Fast Open has a price: a queue to guard, and requests that may come twice. This is what "
    "comes back for it: up to a round trip for each new connection on a long path, next to "
    "nothing on a short one.",
    needs=FAST_OPEN_WORKS,
    once=True,
)
async def latency(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0 (plain)
    <- SYN-ACK, ack 1
    -> ACK, n bytes
    <- the answer's first byte, timed from our SYN
    -> SYN, seq 0, cookie (valid), n bytes
    <- SYN-ACK, ack 1+n; the answer's first byte, timed likewise
    -> ACK, FIN,ACK
    5 such pairs (side by side on a slow path); the medians are compared
    """
    if await probe.application.is_mute():
        return probe.skipped("the application answers nothing that could be timed")
    plain: list[float] = []
    fast: list[float] = []
    round_trips: list[float] = []
    # On a fast path one would disturb the other's time, on a slow one each would take its time.
    slow = probe.round_trips.least >= SLOW_PATH
    tries = 3 * PAIRS + probe.attempts
    while len(fast) < PAIRS and tries > 0:
        count = min(tries, PAIRS - len(fast)) if slow else 1
        tries -= count
        for pair in await asyncio.gather(*(_timed_pair(probe) for _ in range(count))):
            if pair is not None:
                plain.append(pair[0])
                fast.append(pair[1])
                round_trips.append(pair[2])
    if len(fast) < LEAST_PAIRS:
        return probe.undecided(f"only {len(fast)} of {PAIRS} pairs could be timed")
    saved = statistics.median(plain) - statistics.median(fast)
    # Not the path's fastest one ever: where it varies, these tell what was saved.
    round_trip = statistics.median(round_trips)
    times = f"first byte after {_spread(plain)} plain, {_spread(fast)} with Fast Open"
    if saved < 0:
        return probe.info(f"{times}: nothing saved, {-saved * 1000:.1f} ms lost")
    # Below a millisecond the application's own time outweighs the path's.
    trips = f" ({saved / round_trip:.1f} round trips)" if round_trip > 0.001 else ""
    return probe.info(f"{times}: {saved * 1000:.1f} ms saved{trips}")


async def _timed_pair(probe: Probe) -> tuple[float, float, float] | None:
    """Seconds to the first byte, plain and with Fast Open, and the plain one's round trip.

    None if one of them did not work.
    """
    data = probe.payload.data
    try:
        async with probe.beside_others("plain") as flow:
            round_trip = flow.round_trip
            ordinary = await _first_byte(probe, flow, data)
        async with probe.alone("Fast Open", FastOpen(probe.cookie), data=data) as flow:
            if flow.acknowledged != 1 + len(data):
                return None
            # As a client does, we acknowledge at once: what waits for that is not held up by us.
            opened = await _first_byte(probe, flow, None)
    except (UnansweredError, UnusableError):
        return None
    if ordinary is None or opened is None or round_trip is None:
        return None
    return ordinary, opened, round_trip


async def _first_byte(probe: Probe, flow: Flow, data: bytes | None) -> float | None:
    """Seconds from our SYN to the first byte of the answer."""
    await probe.application.serves(flow, data)
    if flow.first_data_time is None or flow.syn_time is None:
        return None
    return flow.first_data_time - flow.syn_time


def _spread(times: list[float]) -> str:
    low, middle, high = (
        value * 1000 for value in (min(times), statistics.median(times), max(times))
    )
    return f"{middle:.1f} ms ({low:.1f} to {high:.1f})"
