"""SYNs that must open nothing: every one is tried, and each attempt looks for an early answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from rooms import Spoilt, a_case, in_session, labels, reference, with_cookie

from tfocheck.case import Control, Outcome, Probe, Rejection, Syn, Verdict
from tfocheck.memory.impairment import Way
from tfocheck.memory.path import Box, Passage, Path, routers, with_box
from tfocheck.server.conduct import conduct
from tfocheck.server.session import Session
from tfocheck.wire.options import FastOpen
from tfocheck.wire.segment import Segment

FORGED = b"forged!!"


def rejected(
    names: Sequence[str],
    faults: Sequence[str] = (),
    how: Rejection | None = None,
    *,
    facts: dict[str, bool] | None = None,
    **more: Any,
) -> tuple[Outcome, list[str]]:
    """The outcome for SYNs with a cookie each, and the labels of their flows."""

    async def script(session: Session) -> tuple[Outcome, list[str]]:
        probe = await with_cookie(session)
        for name, value in (facts or {}).items():
            setattr(session.facts, name, value)
        cookies = {"valid": probe.cookie, "empty": b""}
        data = b"" if "empty" in names else probe.payload.data
        before = len(session.flows)
        syns = [
            (name, lambda name=name: Syn((FastOpen(cookies.get(name, FORGED)),), data=data))
            for name in names
        ]
        outcome = await probe.rejects(syns, how)
        return outcome, labels(session)[before:]

    return in_session(script, reference(*faults), **more)


def test_every_one_of_several_forgeries_is_tried() -> None:
    outcome, flows = rejected(["first", "valid", "third"])
    assert outcome.verdict is Verdict.FAIL
    assert outcome.conclusive
    size = in_session(_payload_size)
    assert outcome.seen == f"valid accepted: {size} of {size} bytes on the SYN acknowledged"
    assert set(flows) >= {"first", "valid", "third"}


async def _payload_size(session: Session) -> int:
    return len(session.payload.data)


def test_of_a_single_one_all_attempts_must_agree_of_several_one_less() -> None:
    outcome, flows = rejected(["one"])
    assert outcome.seen == "one: ack 1, no early answer (3 of 3 each)"
    assert flows.count("one") == 3
    outcome, flows = rejected(["one", "two"])
    assert outcome.seen == "one, two: ack 1, no early answer (2 of 2 each)"
    assert (flows.count("one"), flows.count("two")) == (2, 2)
    assert rejected(["one", "two"], attempts=1)[1].count("one") == 2
    assert rejected(["one"], attempts=1)[1].count("one") == 1


def test_a_case_may_say_how_many_and_in_short_what_they_are() -> None:
    outcome, flows = rejected(["one", "two"], how=Rejection("made up", each=1, watch=False))
    assert outcome == Outcome(Verdict.PASS, "made up: ack 1 (1 of 1 each)")
    # One each, and the control that shows how the application answers is not asked for.
    assert flows == ["one", "two"]


def test_an_early_answer_tells_though_the_data_is_not_acknowledged() -> None:
    outcome, _ = rejected(["one"], ["answers-rejected-data"])
    assert outcome == Outcome(
        Verdict.FAIL,
        "one: ack 1, yet the data was answered before the handshake ended",
        conclusive=True,
    )
    outcome, _ = rejected(["one"], ["answers-rejected-data"], Rejection(watch=False))
    assert outcome.verdict is Verdict.PASS


def test_an_option_to_be_ignored_may_not_bring_a_cookie() -> None:
    outcome, _ = rejected(["empty"], how=Rejection(ignored=True))
    assert outcome == Outcome(
        Verdict.FAIL, "empty: answered with a cookie, as if it were a request", conclusive=True
    )
    # Where cookies come that nobody asked for, they are no answer.
    facts = {"volunteers_cookies": True}
    outcome, _ = rejected(["empty"], how=Rejection(ignored=True), facts=facts)
    assert outcome.verdict is Verdict.PASS
    assert outcome.seen == "empty: ignored: ack 1, no cookie in reply (3 of 3 each)"
    assert rejected(["empty"])[0].verdict is Verdict.PASS


PLAIN_DATA = {"acknowledges_plain_data": True}


def test_where_data_is_acknowledged_anyway_only_an_early_answer_tells() -> None:
    faults = ["accepts-any-cookie"]
    assert rejected(["one"], faults)[0].verdict is Verdict.FAIL
    outcome, _ = rejected(["one"], faults, facts=PLAIN_DATA)
    assert "answered before the handshake ended" in outcome.seen
    # Nobody answers this payload early, or at all: then nothing tells.
    outcome, _ = rejected(["one"], faults, facts=PLAIN_DATA, payload="none")
    assert outcome.verdict is Verdict.INCONCLUSIVE
    assert outcome.seen.startswith("one: data is acknowledged with or without it")
    outcome, _ = rejected(["one"], faults, Rejection(watch=False), facts=PLAIN_DATA)
    assert outcome.seen.endswith("and the data was answered before the handshake ended")
    outcome, _ = rejected(["one"], [*faults, "holds-data"], facts=PLAIN_DATA)
    assert outcome.verdict is Verdict.PASS


def test_the_packet_that_proves_it_is_pointed_out() -> None:
    async def deciding(session: Session) -> tuple[bool, bytes]:
        probe = await with_cookie(session)
        await probe.rejects_cookies([("forged", lambda: FORGED)])
        [packet] = [each.deciding for each in probe.evidence.records() if each.deciding]
        return packet.segment.is_syn_ack, packet.segment.payload[:4]

    assert in_session(deciding, reference("accepts-any-cookie"))[0]
    assert in_session(deciding, reference("answers-rejected-data")) == (False, b"HTTP")


def dropped_at(hop: int | None) -> Outcome:
    """The outcome where a SYN to be ignored is dropped: by the server, or behind that router."""

    class Dropping(Box):
        def carry(self, way: Way, segment: Segment, now: float) -> Iterable[Passage]:
            return () if segment.fast_open == FastOpen(FORGED) else ((way, segment),)

    def takes(segment: Segment, now: float) -> bool:
        return segment.fast_open != FastOpen(FORGED)

    path = Path(routers()) if hop is None else with_box(Dropping(), hop)
    server = Spoilt(reference(), takes)

    async def script(session: Session) -> Outcome:
        probe = await with_cookie(session)
        syn = Syn((FastOpen(FORGED),), data=probe.payload.data)
        return await probe.rejects([("forged", lambda: syn)], Rejection(ignored=True))

    return in_session(script, server, path=path, address="10.77.4.2")


def test_what_must_be_ignored_and_is_dropped_by_the_server_is_a_breach() -> None:
    outcome = dropped_at(None)
    assert outcome.verdict is Verdict.FAIL
    assert outcome.seen.endswith("; it gets as far as plain SYNs do")


def test_what_is_dropped_on_the_way_is_not_the_servers() -> None:
    outcome = dropped_at(2)
    assert outcome.verdict is Verdict.INCONCLUSIVE
    assert "it ends between 10.77.1.2 (hop 2) and 10.77.2.2 (hop 3)" in outcome.seen


# --- the positive control -------------------------------------------------------------------------

CONTROLLED = a_case(control=(Control.VALID_COOKIE,))
CONTROL = "positive control: valid cookie"


async def _rejects(probe: Probe) -> Outcome:
    return await probe.rejects_cookies([("forged", lambda: FORGED)])


def controlled(*faults: str, accepted: float | None = None) -> tuple[Outcome, list[str]]:
    async def script(session: Session) -> tuple[Outcome, list[str]]:
        case = a_case(control=(Control.VALID_COOKIE,), run=_rejects)
        probe = await with_cookie(session, case)
        if accepted is not None:
            session.accepted_at = session.clock.monotonic() - accepted
        return await conduct(session, probe), labels(session)

    return in_session(script, reference(*faults))


def test_a_rejection_proves_nothing_while_the_valid_cookie_is_not_accepted() -> None:
    outcome, flows = controlled("never-accepts")
    assert outcome == Outcome(
        Verdict.INCONCLUSIVE,
        "the valid cookie is not accepted now, so a rejection proves nothing",
    )
    assert flows.count(CONTROL) == 3
    assert "forged" not in flows


def test_an_accepted_cookie_is_the_control_of_a_rejection() -> None:
    outcome, flows = controlled()
    assert outcome.verdict is Verdict.PASS
    assert flows.count(CONTROL) == 1


@pytest.mark.parametrize(("seconds", "tried"), [(0, 0), (59, 0), (60, 1), (61, 1)])
def test_an_acceptance_keeps_a_minute(seconds: float, tried: int) -> None:
    outcome, flows = controlled(accepted=seconds)
    assert outcome.verdict is Verdict.PASS
    assert flows.count(CONTROL) == tried


def test_the_next_rejection_needs_no_control_of_its_own() -> None:
    async def script(session: Session) -> list[str]:
        case = a_case(control=(Control.VALID_COOKIE,), run=_rejects)
        probe = await with_cookie(session, case)
        for _ in range(2):
            await conduct(session, probe)
        return labels(session)

    assert in_session(script).count(CONTROL) == 1
