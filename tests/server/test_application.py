"""What the application does with a connection, compared with what it does on plain ones."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import TypeVar

import pytest
from rooms import (
    ROUND_TRIP,
    Late,
    Nobody,
    Spoilt,
    has_data,
    in_session,
    is_syn,
    labels,
    reference,
    with_cookie,
)

from tfocheck.case import Flow
from tfocheck.judging.ballot import UnusableError
from tfocheck.memory.hosts import Endpoint
from tfocheck.server.application import ACK_COPIES, QUIET_FLOOR, Application
from tfocheck.server.session import Session
from tfocheck.wire.options import FastOpen
from tfocheck.wire.segment import Flags, Segment

T = TypeVar("T")
PLAIN = "control: plain connection"
DAMAGED = "control: a damaged request"


def mute(server: Endpoint) -> Endpoint:
    """A server whose application says nothing."""
    return Spoilt(server, gives=lambda segment: () if segment.payload else (segment,))


def ask(
    question: Callable[[Application], Awaitable[T]],
    endpoint: Endpoint | None = None,
    **how: object,
) -> tuple[T, list[str]]:
    """What the application room finds, and what flows it took."""

    async def script(session: Session) -> tuple[T, list[str]]:
        return await question(Application(session)), labels(session)

    return in_session(script, endpoint, **how)  # type: ignore[arg-type]


# --- what it answers ordinarily -------------------------------------------------------------------


def test_the_ordinary_answer_is_asked_for_once_whoever_wants_it() -> None:
    async def question(application: Application) -> set[bytes]:
        one, other = await asyncio.gather(
            application.ordinary_answer(), application.ordinary_answer()
        )
        assert one is other
        return one.signatures

    assert ask(question) == ({b"HTTP/1.1 200"}, [PLAIN])


async def _mute(application: Application) -> bool:
    return await application.is_mute()


@pytest.mark.parametrize(("attempts", "asked"), [(1, 3), (3, 3), (5, 5)])
def test_it_takes_several_connections_to_call_an_application_mute(
    attempts: int, asked: int
) -> None:
    found, flows = ask(_mute, mute(reference()), attempts=attempts)
    assert found is True
    assert flows == [PLAIN] * asked


def test_an_answer_that_was_lost_before_is_an_answer() -> None:
    syns = itertools.count(1)
    deaf: set[int] = set()

    def takes(segment: Segment, now: float) -> bool:
        if is_syn(segment) and next(syns) <= 2:
            deaf.add(segment.source_port)
        return is_syn(segment) or segment.source_port not in deaf

    assert ask(_mute, Spoilt(reference(), takes), attempts=1) == (False, [PLAIN] * 3)


def test_who_is_sent_no_request_is_not_asked_at_all() -> None:
    assert ask(_mute, payload="none") == (True, [])


async def _delay(application: Application) -> float:
    return (await application.ordinary_answer()).delay


def test_the_delay_is_the_applications_and_not_the_paths() -> None:
    near, _ = ask(_delay, Late(reference(), 0.2, has_data))
    far, _ = ask(_delay, Late(reference(), 0.2, has_data), delay=0.1)
    assert near == pytest.approx(0.2, abs=0.01)
    assert far == pytest.approx(0.2, abs=0.02)
    assert ask(_delay)[0] == pytest.approx(0.0, abs=0.002)
    # It is not asked anew by the ACKs that we send while we wait.
    assert ask(_delay, Late(reference(), 0.9, has_data))[0] == pytest.approx(0.9, abs=0.01)


# --- how long to wait for it ----------------------------------------------------------------------


async def _quiet(application: Application) -> float:
    return await application.quiet()


def test_an_answer_is_called_absent_the_later_the_slower_the_application_is() -> None:
    assert QUIET_FLOOR <= ask(_quiet)[0] < 2 * QUIET_FLOOR
    slow, _ = ask(_quiet, Late(reference(), 0.2, has_data))
    assert slow == pytest.approx(QUIET_FLOOR + 3 * 0.2, abs=0.03)
    assert ask(_quiet, Late(reference(), 0.3, has_data), timeout=0.5)[0] == 0.5
    # Whatever bounds other waits, an answer that takes as long as ever is waited for.
    late, _ = ask(_quiet, Late(reference(), 0.45, has_data), timeout=0.5)
    assert late == pytest.approx(QUIET_FLOOR + 1.25 * 0.45, abs=0.03)


def test_what_answers_a_segment_may_take_a_round_trip_more() -> None:
    async def trip(session: Session) -> float:
        application = Application(session)
        waits = await application.reply_wait() - await application.quiet()
        assert waits == pytest.approx(session.round_trip)
        return session.round_trip

    assert in_session(trip, delay=0.05) > 0.1


def test_patience_outlasts_a_retransmission_and_a_slow_application() -> None:
    async def patience(application: Application) -> float:
        return application.patience(await application.ordinary_answer())

    assert 2.5 < ask(patience)[0] < 2.6
    assert ask(patience, Late(reference(), 0.2, has_data))[0] == pytest.approx(4.5, abs=0.1)
    # However slow it was once, it is bounded.
    assert ask(patience, Late(reference(), 0.4, has_data), timeout=0.5)[0] < 2.5 + 10 * 0.5 + 0.1


# --- whether it shows its input -------------------------------------------------------------------


async def _shows(application: Application) -> bool:
    return await application.shows_its_input()


def always_200(segment: Segment) -> list[Segment]:
    return [replace(segment, payload=segment.payload.replace(b"400 Bad Request", b"200 OK"))]


def test_an_application_that_refuses_damaged_requests_shows_its_input() -> None:
    found, flows = ask(_shows)
    assert found is True
    assert flows == [PLAIN, DAMAGED, DAMAGED]


def test_one_that_answers_anything_alike_does_not() -> None:
    assert ask(_shows, Spoilt(reference(), gives=always_200))[0] is False
    assert ask(_shows, payload="dns")[0] is False  # an HTTP server has one answer to that


def test_silence_to_a_damaged_request_shows_it_too() -> None:
    def gives(segment: Segment) -> list[Segment]:
        return [] if b" 400 " in segment.payload else [segment]

    assert ask(_shows, Spoilt(reference(), gives=gives))[0] is True


def test_an_answer_that_got_lost_is_no_silence() -> None:
    seen: set[int] = set()

    def gives(segment: Segment) -> list[Segment]:
        if segment.payload.startswith(b"HTTP/1.1 400") and segment.destination_port not in seen:
            seen.add(segment.destination_port)
            return []
        return always_200(segment)

    assert ask(_shows, Spoilt(reference(), gives=gives))[0] is False
    assert len(seen) == 2


def test_nothing_is_shown_to_who_gets_no_connection() -> None:
    syns = itertools.count(1)
    server = Spoilt(reference(), lambda segment, _: not is_syn(segment) or next(syns) == 1)
    assert ask(_shows, server)[0] is False


# --- whether it serves a connection ---------------------------------------------------------------


def served(
    endpoint: Endpoint | None = None,
    *,
    with_data: bool = True,
    plain: bool = True,
    payload: str = "http",
) -> tuple[str | None, list[str]]:
    """What is wrong with a plain connection, or an open with a request on its SYN."""

    async def script(session: Session) -> tuple[str | None, list[str]]:
        probe = await with_cookie(session)
        data = probe.payload.data
        before = len(session.flows)
        if plain:
            flow = await probe.plain_connection("looked at")
            wrong = await probe.application.serves(flow, data if with_data else None)
        else:
            async with probe.alone("looked at", FastOpen(probe.cookie), data=data) as flow:
                wrong = await probe.application.serves(flow)
        session.close_later(flow)
        return wrong, labels(session)[before:]

    return in_session(script, endpoint, payload=payload)


def test_a_connection_works_when_it_gets_the_answer_that_plain_ones_get() -> None:
    assert served() == (None, ["looked at", PLAIN])
    assert served(plain=False)[0] is None
    assert served(mute(reference()))[0] is None
    assert served(payload="none")[0] is None


def test_an_open_that_gets_no_answer_is_not_served_while_plain_ones_are() -> None:
    wrong, flows = served(reference("loses-syn-data"), plain=False)
    assert wrong == "no answer came"
    assert flows.count(PLAIN) == 2  # what it answers, and that it still does


def of_opens(change: Callable[[Segment], list[Segment]]) -> Endpoint:
    """A server whose answers on opened connections change."""
    opened: set[int] = set()

    def takes(segment: Segment, now: float) -> bool:
        if is_syn(segment) and segment.fast_open and segment.fast_open.cookie:
            opened.add(segment.source_port)
        return True

    def gives(segment: Segment) -> list[Segment]:
        return change(segment) if segment.destination_port in opened else [segment]

    return Spoilt(reference(), takes, gives)


def other_status(segment: Segment) -> list[Segment]:
    return [replace(segment, payload=segment.payload.replace(b"200 OK", b"503 No"))]


def resetting(segment: Segment) -> list[Segment]:
    reset = replace(segment, flags=Flags.RST | Flags.ACK, payload=b"")
    return [reset if segment.payload else segment]


def test_another_answer_than_plain_connections_get_is_wrong() -> None:
    wrong, flows = served(of_opens(other_status), plain=False)
    assert wrong == "the answer is not the one that plain connections get"
    assert flows.count(PLAIN) == 3


def test_a_reset_in_place_of_an_answer_is_wrong() -> None:
    wrong, _ = served(of_opens(resetting), plain=False)
    assert wrong == "the server reset the connection"


def test_where_plain_connections_are_not_served_either_nothing_is_proven() -> None:
    answered: list[int] = []

    def gives(segment: Segment) -> list[Segment]:
        if not segment.payload:
            return [segment]
        # The first one to be answered is the one that shows the ordinary answer.
        answered.append(segment.destination_port)
        return [segment] if segment.destination_port == answered[0] else []

    with pytest.raises(UnusableError, match="no answer came; but plain connections are not"):
        served(Spoilt(reference(), gives=gives))


def test_one_that_answers_now_this_now_that_shows_only_that_it_answers() -> None:
    answers = itertools.cycle([b"503 No", b"200 OK", b"404 No"])

    def gives(segment: Segment) -> list[Segment]:
        if not segment.payload.startswith(b"HTTP"):
            return [segment]
        return [replace(segment, payload=segment.payload.replace(b"200 OK", next(answers)))]

    assert served(Spoilt(reference(), gives=gives)) == (None, ["looked at", PLAIN, PLAIN])


def test_who_changed_its_mind_is_asked_again_before_it_is_blamed() -> None:
    answers = itertools.count(1)

    def gives(segment: Segment) -> list[Segment]:
        is_first = segment.payload.startswith(b"HTTP")
        return other_status(segment) if is_first and next(answers) > 1 else [segment]

    assert served(Spoilt(reference(), gives=gives)) == (None, ["looked at", PLAIN, PLAIN])


def deaf_to_data(deaf: Callable[[Segment], bool]) -> Endpoint:
    return Spoilt(mute(reference()), lambda segment, _: not (segment.payload and deaf(segment)))


def test_a_mute_application_works_when_its_data_is_acknowledged() -> None:
    def on_opens_only() -> Endpoint:
        first: list[int] = []

        def deaf(segment: Segment) -> bool:
            # The first connection that sends a bare line end is the one looked at.
            if segment.payload == b"\r\n" and not is_syn(segment):
                first.append(segment.source_port)
                return segment.source_port == first[0]
            return False

        return deaf_to_data(deaf)

    wrong, flows = served(on_opens_only(), with_data=False, payload="none")
    assert wrong == "data after the handshake was not acknowledged"
    assert flows == ["looked at", PLAIN, PLAIN, PLAIN]
    with pytest.raises(UnusableError):
        served(deaf_to_data(lambda segment: not is_syn(segment)), payload="none")


def test_a_mute_application_that_closes_by_itself_does_so_sooner_or_later() -> None:
    """Only the third plain connection is closed: that it resets ours proves nothing then."""
    ports: list[int] = []

    def gives(segment: Segment) -> list[Segment]:
        if segment.is_syn_ack:
            ports.append(segment.destination_port)
        place = ports.index(segment.destination_port) if segment.destination_port in ports else -1
        if not segment.flags & Flags.SYN and place in (1, 4):
            return [replace(segment, flags=Flags.RST | Flags.ACK)]
        return [segment]

    with pytest.raises(UnusableError, match="the server reset the connection"):
        served(Spoilt(mute(reference()), gives=gives), payload="none")


# --- insisting ------------------------------------------------------------------------------------


def insisted(seconds: float, until: int | None = None) -> tuple[bool, list[float]]:
    """Whether the condition held in time, and when something was sent again."""

    async def script(session: Session) -> tuple[bool, list[float]]:
        flow = await session.plain_connection("looked at")
        began = session.clock.monotonic()
        sent: list[float] = []

        async def again() -> None:
            sent.append(session.clock.monotonic() - began)
            await flow.send_keep_alive()

        found = await Application(session).insist(
            flow, lambda: until is not None and len(sent) >= until, again, seconds
        )
        session.close_later(flow)
        return found, sent

    return in_session(script)


def test_something_is_sent_again_after_longer_and_longer_pauses() -> None:
    found, sent = insisted(3.0)
    assert found is False
    assert sent == pytest.approx([0.25, 0.625, 1.1875, 2.03125], abs=0.001)


def test_it_ends_as_soon_as_the_condition_holds() -> None:
    found, sent = insisted(3.0, until=2)
    assert found is True
    assert sent == pytest.approx([0.25, 0.625], abs=0.001)
    assert insisted(3.0, until=0) == (True, [])
    assert insisted(0.2) == (False, [])


def test_on_a_long_way_the_pauses_are_long() -> None:
    async def script(session: Session) -> float:
        flow = await session.plain_connection("looked at")
        began = session.clock.monotonic()
        times: list[float] = []

        async def again() -> None:
            times.append(session.clock.monotonic() - began)

        await Application(session).insist(flow, lambda: bool(times), again, 10)
        session.close_later(flow)
        return times[0] / session.round_trip

    assert in_session(script, delay=0.2) == pytest.approx(2, abs=0.01)


# --- taking in all there is -----------------------------------------------------------------------


def all_of(
    endpoint: Endpoint | None = None, *, requests: int = 1, lossy: bool = False
) -> tuple[int, bool, int]:
    """(answers, confirmed, bytes) of a plain connection with so many requests."""

    async def script(session: Session) -> tuple[int, bool, int]:
        session.has_lost = lossy
        flow = await session.plain_connection("looked at")
        await flow.send_data(session.payload.data * requests)
        found = await Application(session).answers(flow)
        session.close_later(flow)
        return *found, flow.stream_bytes

    return in_session(script, endpoint)


def test_every_answer_is_taken_in_and_confirmed() -> None:
    one = all_of()
    assert one[:2] == (1, True)
    assert one[2] > 4000
    assert all_of(requests=2) == (2, True, 2 * one[2])
    assert all_of(lossy=True) == one


def dropping_data(*numbers: int, for_good: bool = False) -> Endpoint:
    counted = itertools.count(1)
    lost: set[int] = set()

    def gives(segment: Segment) -> list[Segment]:
        if not segment.payload:
            return [segment]
        if for_good and segment.seq in lost:
            return []
        if next(counted) in numbers:
            lost.add(segment.seq)
            return []
        return [segment]

    return Spoilt(reference(), gives=gives)


def test_a_lost_end_is_waited_for() -> None:
    whole = all_of()
    assert all_of(dropping_data(2)) == whole
    # The last segment of the whole answer.
    assert all_of(dropping_data(15), lossy=True) == whole


def test_a_part_that_never_comes_proves_nothing() -> None:
    with pytest.raises(UnusableError, match="a part of the answer does not come"):
        all_of(dropping_data(3, for_good=True))


def test_a_server_that_says_nothing_more_has_not_confirmed() -> None:
    """It is silent to everything once its answer was acknowledged."""

    def gives(segment: Segment) -> list[Segment]:
        is_plain_ack = segment.flags == Flags.ACK and not segment.payload
        return [] if is_plain_ack else [segment]

    answers, confirmed, _ = all_of(Spoilt(reference(), gives=gives))
    assert (answers, confirmed) == (1, False)


def test_our_acks_are_sent_several_times_where_they_may_get_lost() -> None:
    async def script(session: Session) -> int:
        flow = await session.plain_connection("looked at")
        await flow.send_data(session.payload.data)
        await Application(session).answers(flow)
        session.close_later(flow)
        sent = [each.segment for each in flow.packets if each.sent]
        whole = [each for each in sent if each.flags == Flags.ACK and not each.payload]
        return sum(each.ack == whole[-1].ack for each in whole)

    assert in_session(script) >= ACK_COPIES


# --- keep-alives ----------------------------------------------------------------------------------


async def _opened(session: Session) -> Flow:
    return await session.plain_connection("looked at")


def test_a_server_says_how_far_it_has_sent_when_it_is_asked() -> None:
    async def script(session: Session) -> tuple[bool, bool]:
        application, flow = Application(session), await _opened(session)
        found = await application.replies(flow), await application.is_owed_data(flow)
        session.close_later(flow)
        return found

    assert in_session(script) == (True, False)
    mute_to_it = Spoilt(
        reference(), lambda segment, _: is_syn(segment) or segment.flags & Flags.FIN != 0
    )
    assert in_session(script, mute_to_it) == (False, False)


def test_what_was_sent_and_has_not_come_is_owed() -> None:
    async def script(session: Session) -> bool:
        application, flow = Application(session), await _opened(session)
        await flow.send_data(session.payload.data)
        await session.clock.sleep(5 * ROUND_TRIP)
        found = await application.is_owed_data(flow)
        session.close_later(flow)
        return found

    assert in_session(script, mute(reference())) is True
    assert in_session(script) is False


# --- early answers --------------------------------------------------------------------------------


def early(endpoint: Endpoint | None = None) -> tuple[bool, bool]:
    async def script(session: Session) -> tuple[bool, bool]:
        probe = await with_cookie(session)
        cookie, data = FastOpen(probe.cookie), session.payload.data
        async with probe.alone("looked at", cookie, data=data) as flow:
            found = await probe.application.early_answer(flow)
        return found, session.facts.answers_early

    return in_session(script, endpoint)


def test_an_answer_before_our_ack_is_early_and_that_is_remembered() -> None:
    assert early() == (True, True)
    assert early(reference("holds-data")) == (False, False)


def test_once_seen_early_it_stays_known() -> None:
    async def script(session: Session) -> bool:
        probe = await with_cookie(session)
        session.facts.answers_early = True
        async with probe.beside_others("plain") as flow:
            assert not await probe.application.early_answer(flow)
        return session.facts.answers_early

    assert in_session(script) is True


def test_nobody_is_talked_to_at_an_address_without_an_answer() -> None:
    async def script(session: Session) -> tuple[bool, int]:
        found = await Application(session).ask_once_more(
            await Application(session).ordinary_answer()
        )
        return found, len(session.flows)

    found, flows = in_session(script, Nobody())
    assert found is False
    assert flows == 4 * 9  # each connection has nine SYNs before it is given up


def test_one_that_closes_right_after_its_ack_is_seen_to() -> None:
    """Only plain connections are closed, and only a while after their data was acknowledged."""
    data: list[int] = []

    def takes(segment: Segment, now: float) -> bool:
        if segment.payload == b"\r\n" and not is_syn(segment):
            data.append(segment.source_port)
            return segment.source_port != data[0]  # the first one is the one looked at
        return True

    class Closing(Late):
        """Each ACK of data is followed by a reset, a hundredth of a second later."""

        def _hold(self, segments: Iterable[Segment], now: float) -> list[Segment]:
            found = list(segments)
            for each in found:
                if each.flags == Flags.ACK:
                    reset = replace(each, flags=Flags.RST | Flags.ACK)
                    self._waiting.append((now + self._seconds, reset))
            return found

    server = Closing(Spoilt(mute(reference()), takes), 0.01, has_data)
    with pytest.raises(UnusableError, match="plain connections are not served either"):
        served(server, payload="none")
