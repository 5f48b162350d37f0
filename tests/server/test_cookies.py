"""Cookies: asked for until they come, replayed, and what it means that one is turned down."""

from __future__ import annotations

import itertools

import pytest
from rooms import Nobody, Spoilt, a_case, in_session, is_syn, labels, reference, with_cookie

from tfocheck.case import IN_TURN, Control, Flow, Outcome, Probe, Verdict
from tfocheck.judging.ballot import OtherKeyError, UnansweredError, UnusableError
from tfocheck.memory.hosts import Endpoint, Rotating
from tfocheck.server.conduct import conduct
from tfocheck.server.cookies import MOST_CHANGES, WAVE, WAVES, Issued, any_comes_back, are_too_many
from tfocheck.server.session import Session
from tfocheck.wire.options import FastOpen


@pytest.mark.parametrize(
    ("issued", "two_keys"),
    [
        ([("a", 0, 1)], False),
        ([("a", 0, 1), ("b", 2, 3), ("b", 4, 5)], False),
        # At the same time: the first answer may have been delayed most.
        ([("a", 0, 1), ("b", 2, 4), ("a", 2.1, 3), ("b", 2.2, 5), ("c", 6, 7)], False),
        ([("a", 0, 1), ("b", 2, 3), ("a", 4, 5)], True),
        ([("a", 0, 1), ("b", 0.5, 2), ("a", 3, 4), ("b", 3, 4)], True),
        # One that was asked for when the other came may have been made before it.
        ([("a", 0, 2), ("b", 2, 3), ("a", 3, 4)], False),
    ],
)
def test_a_cookie_that_comes_back_tells_of_two_keys(
    issued: list[tuple[str, float, float]], two_keys: bool
) -> None:
    found = [Issued(cookie.encode(), asked, came) for cookie, asked, came in issued]
    assert any_comes_back(found) is two_keys


@pytest.mark.parametrize(
    ("count", "seconds", "too_many"),
    [(4, 0.1, False), (5, 0.1, True), (5, 0.6, False), (7, 0.6, True), (8, 3.0, False)],
)
def test_the_longer_a_wave_takes_the_more_often_a_key_may_have_changed(
    count: int, seconds: float, too_many: bool
) -> None:
    wave = [Issued(bytes([number]), 7.0, 7.0 + seconds) for number in range(count)]
    assert are_too_many(wave) is too_many


def dropping(*numbers: int, faults: tuple[str, ...] = ()) -> Endpoint:
    """A server that does not get the SYNs of these numbers, from 1."""
    syns = itertools.count(1)
    return Spoilt(
        reference(*faults), lambda segment, _: not is_syn(segment) or next(syns) not in numbers
    )


def test_as_many_cookies_come_as_were_asked_for_though_some_get_lost() -> None:
    async def script(session: Session) -> tuple[int, int, set[bytes], int]:
        probe = Probe(session, a_case())
        cookies = await probe.cookies.issued_now(6)
        return len(cookies), len(set(cookies)), session.facts.cookies_seen, len(session.flows)

    count, different, seen, flows = in_session(script, dropping(2, 3))
    assert (count, different, len(seen), flows) == (6, 1, 1, 8)


def test_what_never_comes_is_left_out() -> None:
    async def script(session: Session) -> tuple[list[bytes], int]:
        return await Probe(session, a_case()).cookies.issued_now(2), len(session.flows)

    # Each is asked for as often as attempts have to agree, and twice more.
    assert in_session(script, Nobody()) == ([], 2 * 5)
    assert in_session(script, reference("never-issues")) == ([], 2 * 5)
    assert in_session(script, reference("odd-cookie")) == ([], 2 * 5)


def test_where_silences_are_known_nothing_is_asked_for_twice() -> None:
    async def script(session: Session) -> int:
        session.facts.silences["path.option-dropped"] = "known"
        await Probe(session, a_case()).cookies.issued_now(2)
        return len(session.flows)

    assert in_session(script, Nobody()) == 2


def test_a_step_of_an_attempt_says_what_its_last_try_met() -> None:
    reasons = iter(
        [UnusableError("first"), *[UnansweredError("middle")] * 3, UnusableError("last")]
    )

    async def part() -> None:
        raise next(reasons)

    async def script(session: Session) -> None:
        with pytest.raises(UnusableError, match="last"):
            await Probe(session, a_case()).cookies.persistently(part)

    in_session(script)


def test_a_cookie_of_another_address_is_none_of_ours() -> None:
    async def script(session: Session) -> tuple[bytes, bytes, set[bytes]]:
        probe = await with_cookie(session)
        [other] = await probe.cookies.issued_now(1, source="10.0.0.3", label="from elsewhere")
        assert labels(session)[-1] == "from elsewhere"
        assert session.flows[-1].key.client == "10.0.0.3"
        return probe.cookie, other, session.facts.cookies_seen

    ours, other, seen = in_session(script)
    assert ours != other
    assert seen == {ours}


def test_one_key_is_had_when_every_wave_brings_the_same() -> None:
    async def script(session: Session) -> tuple[bool, int]:
        probe = await with_cookie(session)
        before = len(session.flows)
        return await probe.cookies.has_one_key(), len(session.flows) - before

    assert in_session(script) == (True, WAVES * WAVE)
    assert in_session(script, reference("many-keys"))[0] is False


def test_a_key_that_changed_is_one_key_and_its_cookie_is_taken_over() -> None:
    server = reference()

    async def script(session: Session) -> tuple[bool, bool]:
        probe = await with_cookie(session)
        old = probe.cookie
        server.rotate(b"another key here")
        server.rotate(b"another key here")
        found = await probe.cookies.has_one_key()
        return found, probe.cookie != old

    assert in_session(script, server) == (True, True)


def test_a_key_that_changes_all_the_time_is_told_from_a_farm_as_long_as_a_wave_shows_few() -> None:
    def rotating(every: float) -> Endpoint:
        return Rotating(reference(), "hard", every)

    async def script(session: Session) -> bool:
        probe = await with_cookie(session)
        return await probe.cookies.has_one_key()

    assert in_session(script, rotating(0.0005), delay=0.005) is True
    # SYNs are a microsecond apart: with a key for each no wave shows few of them.
    assert MOST_CHANGES < WAVE
    assert in_session(script, rotating(1e-6), delay=0.005) is False


def test_no_cookies_are_no_one_key() -> None:
    async def script(session: Session) -> bool:
        return await Probe(session, a_case()).cookies.has_one_key()

    assert in_session(script, Nobody()) is False


@pytest.mark.parametrize(
    ("server", "offered", "asked"),
    [
        (reference(), True, 1),
        (dropping(1, 2), True, 3),
        (dropping(1, 2, 3), False, 3),
        (reference("never-issues"), False, 1),
    ],
)
def test_cookies_are_still_issued_if_the_first_answer_to_a_request_has_one(
    server: Endpoint, offered: bool, asked: int
) -> None:
    async def script(session: Session) -> tuple[bool, int]:
        found = await Probe(session, a_case()).cookies.still_offered()
        return found, len(session.flows)

    assert in_session(script, server) == (offered, asked)


async def _open(probe: Probe) -> Flow:
    cookie = FastOpen(probe.cookie)
    async with probe.alone("open", cookie, data=probe.payload.data) as flow:
        return flow


def test_only_an_open_with_all_of_its_data_counts() -> None:
    async def script(session: Session) -> None:
        probe = await with_cookie(session)
        flow = await _open(probe)
        probe.cookies.must_be_open(flow)

    in_session(script)
    for fault in ("never-accepts", "partial-ack"):
        with pytest.raises(UnusableError, match="not honoured"):
            in_session(script, reference(fault))


def test_another_cookie_that_comes_with_a_rejection_is_taken_over() -> None:
    server = reference()

    async def script(session: Session) -> None:
        probe = await with_cookie(session)
        old = probe.cookie
        server.rotate(b"another key here")
        server.rotate(b"another key here")
        flow = await _open(probe)
        with pytest.raises(OtherKeyError):
            probe.cookies.refuse_other_key(flow)
        assert flow.offered is not None
        assert probe.cookie == flow.offered.cookie != old

    in_session(script, server)


def test_a_rejection_without_another_cookie_says_nothing_of_keys() -> None:
    async def script(session: Session) -> None:
        probe = await with_cookie(session)
        old = probe.cookie
        probe.cookies.refuse_other_key(await _open(probe))
        assert probe.cookie == old

    in_session(script, reference("never-accepts"))


# --- the controls behind a breach -----------------------------------------------------------------


def conducted(
    server: Endpoint, outcome: Outcome, *controls: Control, before: object = None
) -> tuple[Outcome, list[str]]:
    """What becomes of a case that returns this, with these controls."""

    async def run(probe: Probe) -> Outcome:
        return outcome

    async def script(session: Session) -> tuple[Outcome, list[str]]:
        probe = await with_cookie(session, a_case(run=run, control=controls, agreement=IN_TURN))
        if callable(before):
            before()
        return await conduct(session, probe), labels(session)

    return in_session(script, server)


BREACH = Outcome(Verdict.FAIL, "broken")


def test_a_breach_counts_while_the_key_is_the_same() -> None:
    outcome, flows = conducted(reference(), BREACH, Control.SAME_KEY)
    assert outcome == Outcome(Verdict.FAIL, "broken (3 of 3)")
    assert flows.count("control: valid cookie") == 3


def test_a_breach_under_another_key_proves_nothing() -> None:
    server = reference()

    def rotate() -> None:
        server.rotate(b"another key here")
        server.rotate(b"another key here")

    outcome, _ = conducted(server, BREACH, Control.SAME_KEY, before=rotate)
    assert outcome.verdict is Verdict.INCONCLUSIVE
    assert "the valid cookie was not honoured this time" in outcome.seen


@pytest.mark.parametrize(
    "outcome",
    [Outcome(Verdict.PASS, "fine"), Outcome(Verdict.FAIL, "proven", conclusive=True)],
)
def test_what_holds_and_what_is_proven_needs_no_control(outcome: Outcome) -> None:
    found, flows = conducted(reference(), outcome, Control.SAME_KEY)
    assert found.verdict is outcome.verdict
    assert flows == ["cookie request"]


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.WARN])
def test_a_breach_while_no_cookies_are_issued_may_be_a_full_queues(verdict: Verdict) -> None:
    breach = Outcome(verdict, "broken")
    outcome, flows = conducted(reference(), breach, Control.ISSUING)
    assert outcome.verdict is verdict
    assert flows.count("control: cookie request") == 3
    first = itertools.count(1)
    mute = Spoilt(reference(), lambda segment, _: not is_syn(segment) or next(first) == 1)
    outcome, flows = conducted(mute, breach, Control.ISSUING)
    assert outcome.verdict is Verdict.INCONCLUSIVE
    assert "broken; but an ordinary request gets no cookie now either" in outcome.seen


def test_a_breach_counts_while_an_ordinary_open_is_served() -> None:
    outcome, flows = conducted(reference(), BREACH, Control.SERVED)
    assert outcome == Outcome(Verdict.FAIL, "broken (3 of 3)")
    assert flows.count("control: valid cookie and the whole request") == 3


def test_where_no_ordinary_open_is_served_there_is_nothing_to_see() -> None:
    outcome, _ = conducted(reference("loses-syn-data"), BREACH, Control.SERVED)
    assert outcome.verdict is Verdict.SKIP
    assert "but an ordinary Fast Open fares no better: no answer came" in outcome.seen


def test_an_open_that_is_not_honoured_shows_not_whether_it_would_be_served() -> None:
    outcome, _ = conducted(reference("never-accepts"), BREACH, Control.SERVED)
    assert outcome.verdict is Verdict.INCONCLUSIVE
    assert "the valid cookie was not honoured this time" in outcome.seen


def test_what_is_proven_is_not_looked_at_again() -> None:
    proven = Outcome(Verdict.FAIL, "broken", conclusive=True)
    outcome, flows = conducted(reference("loses-syn-data"), proven, Control.SERVED)
    assert outcome == proven
    assert flows == ["cookie request"]
