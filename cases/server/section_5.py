"""RFC 7413 section 5: the limit of pending requests; with --intrusive, left as it was found."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from tfocheck.case import (
    FAST_OPEN_WORKS,
    REPEAT_WAIT,
    FastOpen,
    Flow,
    Level,
    Option,
    Outcome,
    Probe,
    Severity,
    Syn,
    Turn,
    UnansweredError,
    UnusableError,
    Verdict,
    case,
)

MOST_PENDING = 512
"""The highest limit that is looked for."""

PLAIN_EVERY = 16
"""A plain SYN is sent after so many of them, to see that others are served."""

RESET_REMEMBERED = 70.0
"""Seconds: section 5.1 has a server count a reset request for a while; Linux does for a minute."""

APPLICATION_ACCEPTS = 0.2
"""Seconds within which an application has accepted a connection."""

RESETS = 4
"""So often a pending request is reset: one segment may get lost, and the others do no more."""

CLOSED_AT_ONCE = 16
"""Pending requests that are completed together: their answers come all at once."""


class _Filling:
    """Pending Fast Opens, opened one after another until the server falls back."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.pending: list[Flow] = []
        self._doubtful: list[Flow] = []
        self.plain_refused = 0
        self.limit_reached = False

    async def fill(self) -> None:
        """Open until three in a row fall back, or ``MOST_PENDING`` are pending."""
        fallbacks = silent = 0
        while len(self.pending) <= MOST_PENDING and fallbacks < 3 and silent < 5:
            try:
                accepted = await self.open()
            except (UnansweredError, UnusableError):
                silent += 1
                continue
            silent = 0
            fallbacks = 0 if accepted else fallbacks + 1
            if len(self.pending) % PLAIN_EVERY == 0:
                await self.control()
        self.limit_reached = fallbacks >= 3
        await self.settle()
        for _ in range(2):
            await self.control()

    async def open(self) -> bool:
        """One more; True if it was accepted, and so is pending now."""
        probe = self.probe
        data = probe.payload.data
        flow = probe.opener.new_flow(f"pending request {len(self.pending) + 1}")
        # A small window, so that hundreds of early answers do not come at once.
        syn = Syn((FastOpen(probe.cookie),), data=data, window=200)
        try:
            await probe.opener.answered_syn(flow, syn)
        except (UnansweredError, UnusableError):
            # The SYN-ACK may be what got lost: then this one is pending as well.
            self._doubtful.append(flow)
            raise
        if flow.acknowledged == 1 + len(data):
            self.pending.append(flow)
            return True
        await flow.close(probe.round_trip)
        return False

    async def settle(self) -> None:
        """Count those whose SYN-ACK was lost: the server repeats it while they are pending."""
        await asyncio.gather(*map(_answered_late, self._doubtful))
        self.pending += [flow for flow in self._doubtful if (flow.acknowledged or 1) > 1]
        self._doubtful = [flow for flow in self._doubtful if flow not in self.pending]

    async def control(self) -> None:
        """A plain SYN, which must be served whatever is pending."""
        if not await self.probe.is_answering():
            self.plain_refused += 1

    async def empty(self) -> None:
        """Complete and close all that is pending."""
        round_trip = self.probe.round_trip
        await self.settle()
        self.pending += self._doubtful
        self._doubtful = []
        while self.pending:
            flows, self.pending = self.pending[:CLOSED_AT_ONCE], self.pending[CLOSED_AT_ONCE:]
            await asyncio.gather(*(flow.close(round_trip) for flow in flows))


async def _answered_late(flow: Flow) -> None:
    await flow.wait(lambda: flow.is_answered, REPEAT_WAIT)


@contextlib.asynccontextmanager
async def _filled(probe: Probe) -> AsyncIterator[_Filling]:
    """The lane for ourselves, the queue full; emptied again whatever happens."""
    if await probe.has_short_backlog():
        probe.end(
            probe.skipped("the listener's backlog is short: any fallback may be a SYN cookie")
        )
    filling = _Filling(probe)
    async with probe.exclusive():
        try:
            await filling.fill()
            yield filling
        finally:
            await filling.empty()


async def _is_back(probe: Probe, seconds: float) -> bool:
    """Wait until the valid cookie is accepted again; False if it is not within that time."""
    deadline = probe.clock.monotonic() + seconds
    pause = 0.1
    while True:
        with contextlib.suppress(UnansweredError, UnusableError):
            outcome = await probe.accepts_valid_cookie("Fast Open is back")
            if outcome.verdict is Verdict.PASS:
                return True
        if probe.clock.monotonic() > deadline:
            return False
        await probe.clock.sleep(pause)
        pause = min(5.0, pause * 2)


@case(
    "limit.pending",
    section="4.2",
    level=Level.MUST,
    severity=Severity.CRITICAL,
    title="The number of pending Fast Opens is limited",
    requirement="Above a limit of pending requests (PendingFastOpenRequests) the server falls back "
    "to ordinary handshakes; plain SYNs are served throughout.",
    expected="falls back from some number of pending requests on, serves plain SYNs all the while, "
    "and accepts Fast Opens again afterwards",
    advice="Without a limit, SYNs with stolen cookies can exhaust the server: set one (nginx "
    "`fastopen=N`, the value of TCP_FASTOPEN). If plain SYNs are refused, an attacker can shut "
    "everybody out: raise the backlog of `listen` and net.ipv4.tcp_max_syn_backlog, and leave "
    "net.ipv4.tcp_syncookies on.",
    why="An attacker with valid cookies can start requests without end and finish none. The limit "
    "is what stops that, and falling back is what keeps everybody else served.",
    needs=FAST_OPEN_WORKS,
    faults=("no-limit", "refuses-when-full"),
    option=Option.INTRUSIVE,
    turn=Turn.INTRUSIVE,
    once=True,
)
async def pending_limit(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie (valid), n bytes, one after another
    <- SYN-ACK, ack 1+n: pending, for we send no ACK
    -> ACK, FIN,ACK to all that are pending, at the end
    -> SYN, seq 0, cookie (valid), n bytes, three in a row: the limit
    <- SYN-ACK, ack 1 (the SYN alone)
    -> RST,ACK (half-open)
    -> SYN, seq 0, cookie (valid), n bytes
    <- SYN-ACK, ack 1+n: Fast Open is back
    """
    async with _filled(probe) as filling:
        limit = len(filling.pending)
    if filling.plain_refused:
        return probe.breach(
            f"with {limit} requests pending, plain SYNs are not answered"
            f" ({filling.plain_refused} controls)"
        )
    if not filling.limit_reached:
        return probe.undecided(
            f"{limit} requests pending, and none fell back: the limit, if there is one, is higher"
        )
    if not limit:
        return probe.undecided("falls back with none of ours pending: the queue is full of others")
    if not await _is_back(probe, 5.0):
        return probe.breach(f"limit {limit}; but Fast Open is not back after all were closed")
    return probe.passed(
        f"falls back from {limit} pending requests on; plain SYNs served throughout, Fast Open back"
        " afterwards"
    )


@case(
    "limit.reset-counted",
    section="5.1",
    level=Level.SHOULD,
    severity=Severity.MAJOR,
    title="A reset does not free a place at once",
    requirement="A server watches for pending requests that are reset, and may count them for a "
    "while: spoofed SYNs are answered by resets, and could go on without end.",
    expected="still falls back after one of the pending requests was reset",
    advice="An attacker whose spoofed SYNs are reset by their victims meets no limit: the stack "
    "must count reset requests for some time (section 5.1). Linux does, for a minute: with a "
    "Linux server look for a proxy in front, else update the stack.",
    why="The victim of a spoofed SYN answers the SYN-ACK with a reset. If that frees the place, "
    "the limit never bites, and the attack goes on for as long as SYNs come.",
    needs=("limit.pending",),
    faults=("forgets-resets",),
    option=Option.INTRUSIVE,
    turn=Turn.INTRUSIVE,
    once=True,
)
async def reset_counted(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie (valid), n bytes, until 3 in a row fall back
    <- SYN-ACK, ack 1+n: pending, for we send no ACK
    -> RST,ACK to one of them
    -> SYN, seq 0, cookie (valid), n bytes
    <- SYN-ACK, ack 1 (the SYN alone): its place is still taken
    -> RST,ACK (half-open)
    -> SYN, seq 0, cookie (valid), n bytes, for 70 s at the most
    <- SYN-ACK, ack 1+n: Fast Open is back
    """
    limit = 0
    counted = False
    waited = 0.0
    for _ in range(probe.attempts):
        async with _filled(probe) as filling:
            limit = len(filling.pending)
            if not filling.limit_reached or not limit:
                return probe.undecided(f"the queue is not full with {limit} pending requests")
            # Linux counts a reset only once the application has accepted the connection.
            await probe.clock.sleep(APPLICATION_ACCEPTS + probe.round_trip)
            # The one place where a pending Fast Open is reset on purpose.
            victim = filling.pending.pop()
            for _ in range(RESETS):
                await victim.send_reset()
            await probe.clock.sleep(0.05 + probe.round_trip)
            fell_back, accepted = await _fall_back_still(filling, probe.attempts)
        began = probe.clock.monotonic()
        # With a queue of one the reset request fills it: wait until the server has forgotten it.
        back = await _is_back(probe, RESET_REMEMBERED)
        waited = probe.clock.monotonic() - began
        if not back:
            return probe.undecided(
                f"Fast Open is not back {RESET_REMEMBERED:.0f} s after one reset"
            )
        if fell_back < probe.attempts and not accepted:
            return probe.undecided(f"with {limit} pending, SYNs are not answered after a reset")
        counted = not accepted
        if counted:
            break
    if not counted:
        return probe.breach(
            f"with {limit} pending, one reset makes room for another at once"
            f" ({probe.attempts} of {probe.attempts})"
        )
    after = f"Fast Open back after {waited:.0f} s" if waited > 1 else "Fast Open back afterwards"
    return probe.passed(f"with {limit} pending, one of them reset: still falls back; {after}")


async def _fall_back_still(filling: _Filling, enough: int) -> tuple[int, int]:
    """How many of some further SYNs fell back, and how many were accepted (it ends at one)."""
    fell_back, known = 0, len(filling.pending)
    for _ in range(3 * enough):
        with contextlib.suppress(UnansweredError, UnusableError):
            if await filling.open():
                break
            fell_back += 1
        if fell_back >= enough:
            break
    # One that seems to be lost may have been accepted: then it is what the others met.
    await filling.settle()
    return fell_back, len(filling.pending) - known
