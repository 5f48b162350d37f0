"""What the application behind the server does with a connection, compared with plain ones."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tfocheck.engine.flow import Flow
from tfocheck.engine.stream import STREAM_KEPT
from tfocheck.judging.ballot import NothingToSeeError, UnusableError
from tfocheck.server.manners import OrdinaryAnswer
from tfocheck.server.session import Session

QUIET_FLOOR = 0.03
"""Seconds for which an answer is looked for at least before it may be called absent."""

CONFIRMATIONS = 3
"""So often a server must say that it has nothing more to send where packets get lost: our ACKs may,
and without them it sends no more."""

PATIENT = 1.25
"""So many times the longest delay of an ordinary answer is waited at least for an early one."""

DELAYS_TO_KNOW = 6
"""So many ordinary answers are timed before one that is late is laid on the server."""

ACK_COPIES = 3
ACK_PAUSE = 0.002
"""An ACK that nothing answers is sent so often, and so many seconds apart."""


class Conversing:
    """Talks on a connection, sending again what may have got lost."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def converse(self, flow: Flow, data: bytes, seconds: float) -> bytes | None:
        """Send data as the handshake's ACK and wait so long for the answer's stable part.

        Data that is not acknowledged is sent again, like any client would; None when no answer came
        in time, or the server reset the connection.
        """
        start = flow.offset
        await flow.send_data(data)
        return await self.await_answer(flow, seconds, resend=(start, data))

    async def await_answer(
        self, flow: Flow, seconds: float, *, resend: tuple[int, bytes] | None = None
    ) -> bytes | None:
        """Wait for the answer's stable part; None when the time is up or the server reset."""

        def ended() -> bool:
            answered = self._session.payload.signature(flow.stream) is not None
            return answered or flow.has_ended

        async def again() -> None:
            if resend is not None and not flow.has_acknowledged(resend[0] + len(resend[1])):
                await flow.resend_from(*resend)
            else:
                await flow.acknowledge()  # the first one may have been lost

        await self.insist(flow, ended, again, seconds)
        return self._session.payload.signature(flow.stream)

    async def insist(
        self,
        flow: Flow,
        seen: Callable[[], bool],
        again: Callable[[], Awaitable[None]],
        seconds: float,
    ) -> bool:
        """Wait until the condition holds, sending something again after longer and longer pauses.

        False when the time is up, in seconds, before it does.
        """
        clock = self._session.clock
        deadline = clock.monotonic() + seconds
        pause = max(0.25, 2 * self._session.round_trip)
        while not await flow.wait(seen, min(pause, max(0.0, deadline - clock.monotonic()))):
            if clock.monotonic() >= deadline:
                return False
            await again()
            pause *= 1.5
        return True

    async def replies(self, flow: Flow) -> bool:
        """Have the server say how much it has sent; False if it says nothing.

        Whatever was sent before on this flow has had its effect then, unless it got lost.
        """
        since = len(flow.received)
        await flow.send_keep_alive()
        return await self.insist(
            flow,
            lambda: flow.said_sent(since) is not None or flow.has_ended,
            flow.send_keep_alive,
            self._session.timeout,
        )

    async def sent_so_far(self, flow: Flow) -> int | None:
        """How many bytes the server says to have sent; None if it says nothing."""
        since = len(flow.received)
        await self.replies(flow)
        return flow.said_sent(since)

    async def is_owed_data(self, flow: Flow) -> bool:
        """True if the server has sent more than has come."""
        sent = await self.sent_so_far(flow)
        return max(flow.reach, sent or 0) > flow.stream_bytes

    async def missing(self, flow: Flow) -> int | None:
        """How many bytes the server has sent that do not come; None if it does not say.

        What it sends meanwhile comes before what it says of that, or was overtaken.
        """
        sent = await self.sent_so_far(flow)
        if sent is None:
            return None
        jitter = 4 * self._session.round_trips.variation
        await flow.wait(lambda: flow.stream_bytes >= sent, jitter)
        return max(0, sent - flow.stream_bytes)

    async def takes(self, flow: Flow, data: bytes) -> str | None:
        """Send data; None when it is acknowledged, else what is wrong."""
        start = flow.offset
        await flow.send_data(data)

        def taken() -> bool:
            return flow.has_acknowledged(start + len(data)) or flow.reset is not None

        async def again() -> None:
            await flow.resend_from(start, data)

        if not await self.insist(flow, taken, again, self._session.timeout):
            return "data after the handshake was not acknowledged"
        if flow.has_acknowledged(start + len(data)):
            return None
        return "the server reset the connection"


class Application(Conversing):
    """What is at the other end, as far as its answers tell."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.has_failed = False
        """Whether a connection was not served as plain ones are (``serves``)."""

    async def ordinary_answer(self) -> OrdinaryAnswer:
        """What the application answers on a plain connection; asked once."""
        return await self._session.manners.answer.find(self._ask_ordinarily)

    async def _ask_ordinarily(self) -> OrdinaryAnswer:
        answer = OrdinaryAnswer()
        if self._session.payload.answers:
            # Losses must not make an application look mute, however few attempts the user wants.
            for _ in range(max(self._session.attempts, 3)):
                if await self.ask_once_more(answer):
                    break
        return answer

    async def is_mute(self) -> bool:
        """True when acceptance can only be judged by the ack: nothing answers our payload."""
        if not self._session.payload.answers:
            return True
        return not (await self.ordinary_answer()).signatures

    async def shows_its_input(self) -> bool:
        """True if the application answers a damaged request otherwise than a whole one.

        Else nothing can be told from its answer: not that data was lost, nor that it came twice.
        """
        return await self._session.manners.shows_input.find(self._look_at_input)

    async def _look_at_input(self) -> bool:
        ordinary = await self.ordinary_answer()
        session = self._session
        data, split = session.payload.data, session.payload.split
        seconds = min(session.timeout, 0.5 + 10 * ordinary.delay + 4 * session.round_trip)

        async def shows(damaged: bytes) -> bool:
            flow = await session.plain_connection("control: a damaged request")
            try:
                if flow.syn_ack is None:
                    return False
                found = await self.converse(flow, damaged, seconds)
                if found is None and flow.reset is None and await self.is_owed_data(flow):
                    # No silence: an answer is under way, or got lost.
                    found = await self.await_answer(flow, self.patience(ordinary))
                return found not in ordinary.signatures
            finally:
                session.close_later(flow)

        return all(await asyncio.gather(shows(data[split:]), shows(data[:split] + data)))

    async def ask_once_more(self, answer: OrdinaryAnswer) -> bool:
        """Ask on another plain connection and add what comes; False when nothing came."""
        session = self._session
        flow = await session.plain_connection("control: plain connection")
        try:
            if flow.syn_ack is None:
                return False
            signature = await self.converse(flow, session.payload.data, session.timeout)
            if signature is None:
                return False
            answer.signatures.add(signature)
            asked, first = flow.asked_time, flow.first_data_time
            if asked is not None and first is not None:
                answer.delays.append(first - asked - session.round_trips.least)
            return True
        finally:
            session.close_later(flow)

    async def ordinary_delay(self) -> float | None:
        """How long a plain request takes to be answered now, and did before; None if it is not."""
        ordinary = await self.ordinary_answer()
        return ordinary.delay if await self.ask_once_more(ordinary) else None

    def patience(self, answer: OrdinaryAnswer) -> float:
        """How long an application that answers like this may take once more, in seconds.

        A lost answer comes a retransmission later, which is a second while the server's timer has
        its first value (RFC 6298 section 2.1).
        """
        return 2.5 + 10 * min(answer.delay, self._session.timeout) + 4 * self._session.round_trip

    async def quiet(self) -> float:
        """How long to look for an answer before it may be called absent, in seconds.

        That is longer than it takes on a plain connection, whatever bounds other waits.
        """
        ordinary = await self.ordinary_answer()
        jitter = 4 * self._session.round_trips.variation
        usual = min(self._session.timeout, QUIET_FLOOR + 3 * ordinary.delay + jitter)
        return max(usual, QUIET_FLOOR + PATIENT * ordinary.delay + jitter)

    async def is_prompt(self, waited: float) -> bool:
        """Whether an application as it is today would have answered within so many seconds.

        One that takes now longer, now shorter is asked some times more before that is said.
        """
        ordinary = await self.ordinary_answer()
        while len(ordinary.delays) < DELAYS_TO_KNOW:
            if not await self.ask_once_more(ordinary):
                break
        return waited >= PATIENT * ordinary.delay

    async def reply_wait(self) -> float:
        """How long to look for what answers a segment of ours, in seconds."""
        return await self.quiet() + self._session.round_trip

    async def early_answer(self, flow: Flow) -> bool:
        """Wait for data from the server before our ACK; False when none came in good time."""
        quiet = await self.quiet()
        await flow.wait(lambda: bool(flow.early_data) or flow.reset is not None, quiet)
        self._session.facts.answers_early |= bool(flow.early_data)
        return bool(flow.early_data)

    async def serves(self, flow: Flow, data: bytes | None = None) -> str | None:
        """Finish the handshake with this data and see the connection work.

        Without data only the handshake is finished. Returns None when the answer is the one that
        plain connections get (for a mute application: when the data is acknowledged), else what is
        wrong with it. Raises UnusableError when plain connections fare no better now.
        """
        wrong = await self._what_is_wrong(flow, data)
        if wrong and not await self.plain_is_served():
            self._session.manners.has_erred = True
            if not await self.is_mute():
                await self._session.on_refusal()
            raise NothingToSeeError(f"{wrong}; but plain connections are not served either")
        if wrong and not await self._like_it_is_served(flow, data or b""):
            raise NothingToSeeError(
                f"{wrong}; but nor is a plain connection whose request comes as late, and in the"
                " same pieces"
            )
        self.has_failed |= wrong is not None
        return wrong

    async def _like_it_is_served(self, flow: Flow, data: bytes) -> bool:
        """A control with the same bytes, cut at the same places, and sent as long after each other.

        Some applications want their request in one piece (haproxy's PROXY header), or soon.
        """
        first = flow.syn_data[: (flow.acknowledged or 1) - 1]
        came, acked = flow.syn_ack, flow.handshake_done_time
        waited = acked - came.time if came is not None and acked is not None else 0.0
        if not first and waited <= self._session.round_trip:
            return True  # it is like any other
        control = await self._session.plain_connection("control: plain, as late, same pieces")
        try:
            if control.syn_ack is None:
                return False
            if first:
                await control.send_data(first)
            await self._session.clock.sleep(waited + self._session.round_trip)
            if control.reset is not None or (data and control.has_ended):
                return False
            if await self.is_mute():
                return not data or await self.takes(control, data) is None
            wait = self.patience(ordinary := await self.ordinary_answer())
            talk = self.converse(control, data, wait) if data else self.await_answer(control, wait)
            return await talk in ordinary.signatures
        finally:
            self._session.close_later(control)

    async def ends_by_itself(self, flow: Flow, seconds: float = 0.0) -> bool:
        """Wait as long as an answer takes, and so many seconds; True if the server then has ended.

        What ends by itself says nothing of what was sent meanwhile.
        """
        if await flow.wait(lambda: flow.has_ended, max(seconds, await self.reply_wait())):
            return True
        # Its reset may have got lost, and is not sent again: whoever has ended resets what comes.
        return await self.replies(flow) and flow.reset is not None

    async def _what_is_wrong(self, flow: Flow, data: bytes | None) -> str | None:
        ordinary = await self.ordinary_answer()
        if await self.is_mute():
            return await self.takes(flow, data or b"\r\n")
        patience = self.patience(ordinary)
        if data:
            signature = await self.converse(flow, data, patience)
        else:
            await flow.acknowledge()
            signature = await self.await_answer(flow, patience)
        if signature is None:
            return "the server reset the connection" if flow.reset else "no answer came"
        if signature not in ordinary.signatures:
            # Perhaps the application has changed its mind: ask again before blaming the server.
            await self.ask_once_more(ordinary)
        # An application that answers now this, now that can't show more than that it answers.
        if signature not in ordinary.signatures and len(ordinary.signatures) == 1:
            return "the answer is not the one that plain connections get"
        return None

    async def plain_is_served(self) -> bool:
        """A control for a connection that does not work: does a plain one?"""
        session = self._session
        if not await self.is_mute():
            return await self.ask_once_more(await self.ordinary_answer())
        # An application that closes by itself does so sooner or later: once is not enough.
        for _ in range(3):
            flow = await session.plain_connection("control: plain connection")
            try:
                if flow.syn_ack is None or await self.takes(flow, b"\r\n"):
                    return False
                await flow.wait(lambda flow=flow: flow.has_ended, QUIET_FLOOR)  # type: ignore[misc]
                if flow.has_ended:
                    return False
            finally:
                session.close_later(flow)
        return True

    async def answers(self, flow: Flow) -> tuple[int, bool]:
        """Take in all that the server still sends.

        Returns how many answers it begins, and whether the server has confirmed that this is all.
        Raises UnusableError when a part of it stays missing.
        """
        wait = await self.reply_wait()
        confirmed = True
        while confirmed and not flow.has_ended and flow.stream_bytes < STREAM_KEPT:
            known = flow.stream_bytes
            await flow.acknowledge()
            if await flow.wait(lambda known=known: _goes_on(flow, known), wait):  # type: ignore[misc]
                continue
            # The end of it may have got lost, or our ACK that makes room for more: nothing tells.
            for _ in range(CONFIRMATIONS if self._session.has_lost else 1):
                confirmed = await self._confirms(flow)
                if not confirmed or _goes_on(flow, known):
                    break
            else:
                break
        return self._session.payload.answers_in(flow.stream), confirmed

    async def _confirms(self, flow: Flow) -> bool:
        """Have the server say how much it has sent, and wait for that; False if it says nothing."""
        since = len(flow.received)
        for _ in range(ACK_COPIES):
            await flow.acknowledge()
            await self._session.clock.sleep(ACK_PAUSE)
        if not await self.replies(flow):
            return False
        missing = max(flow.reach, flow.said_sent(since) or 0)
        if await self.insist(
            flow, lambda: _goes_on(flow, missing - 1), flow.acknowledge, self._session.timeout
        ):
            return True
        raise UnusableError("a part of the answer does not come")


def _goes_on(flow: Flow, known: int) -> bool:
    """Whether more than so many bytes have come, or the end."""
    return flow.stream_bytes > known or flow.has_ended
