"""What cases share: facts, evidence, what is found out once, verdicts of sibling addresses."""

from __future__ import annotations

import asyncio

import pytest
from rooms import a_case, in_session, with_cookie

from tfocheck.case import Level, Outcome, Probe, Verdict
from tfocheck.memory.clock import VirtualClock
from tfocheck.model.facts import Fact, Facts
from tfocheck.server.attempt import NoOutcomeError, SettledError, checked
from tfocheck.server.known import Known
from tfocheck.server.manners import Manners, Once
from tfocheck.server.session import Session
from tfocheck.server.siblings import Siblings

# --- facts ----------------------------------------------------------------------------------------


def test_a_case_sees_the_facts_that_it_says_it_reads_or_learns() -> None:
    facts = Facts(server_mss=1400)
    assert Known(facts, a_case(reads=(Fact.SERVER_MSS,))).server_mss == 1400
    known = Known(facts, a_case(learns=(Fact.SERVER_MSS,)))
    known.learn(Fact.SERVER_MSS, 500)
    assert known.server_mss == facts.server_mss == 500


def test_what_a_case_does_not_declare_is_told_by_name() -> None:
    known = Known(Facts(), a_case(reads=(Fact.SERVER_MSS,)))
    with pytest.raises(LookupError, match=r"some\.case reads answers_early, which its reads="):
        known.answers_early  # noqa: B018
    with pytest.raises(LookupError, match=r"some\.case learns server_mss, which its learns="):
        known.learn(Fact.SERVER_MSS, 1)


def test_each_fact_is_the_one_it_is_called() -> None:
    facts = Facts(
        server_mss=1,
        answers_early=True,
        acknowledges_plain_data=False,
        silences={"a": "b"},
        cookies_seen={b"c"},
    )
    known = Known(facts, a_case(reads=tuple(Fact)))
    assert known.server_mss == 1
    assert known.answers_early is True
    assert known.acknowledges_plain_data is False
    assert known.silences is facts.silences
    assert known.cookies_seen is facts.cookies_seen


# --- evidence, and what a case returns ------------------------------------------------------------


def test_the_flows_of_an_attempt_are_the_cases_as_well() -> None:
    async def script(session: Session) -> None:
        probe = Probe(session, a_case())
        one, other = probe.part(), probe.part()
        first = one.opener.new_flow("first")
        second = other.opener.new_flow("second")
        assert one.evidence.flows == [first]
        assert one.evidence.of_case == probe.evidence.of_case == [first, second]
        other.evidence.decide()
        assert [record.decided for record in probe.evidence.records()] == [False, True]
        assert one.case is probe.case

    in_session(script)


def test_the_packet_that_is_pointed_out_decides_if_its_flow_does() -> None:
    async def script(session: Session) -> None:
        probe = await with_cookie(session)
        part = probe.part()
        flow = await part.plain_syn("looked at")
        part.evidence.point_out(flow, None)
        part.evidence.point_out(flow, flow.packets[0])
        assert probe.evidence.records()[-1].deciding is None
        part.evidence.decide()
        assert probe.evidence.records()[-1].deciding is flow.packets[0]

    in_session(script)


def test_what_is_no_outcome_is_told_with_the_case() -> None:
    outcome = Outcome(Verdict.PASS, "seen")
    assert checked(a_case(), outcome) is outcome
    wrong = [None, "pass", Outcome("pass", "seen"), Outcome(Verdict.PASS, 1)]  # type: ignore[arg-type]
    for each in wrong:
        with pytest.raises(NoOutcomeError, match=r"case some\.case returned"):
            checked(a_case(), each)


def test_verdicts_are_those_that_an_attempt_names() -> None:
    async def script(session: Session) -> None:
        probe = Probe(session, a_case(level=Level.SHOULD))
        assert probe.passed("x") == Outcome(Verdict.PASS, "x")
        assert probe.passed("x", conclusive=True) == Outcome(Verdict.PASS, "x", conclusive=True)
        assert probe.breach("x") == Outcome(Verdict.WARN, "x")
        assert probe.breach("x", conclusive=True) == Outcome(Verdict.WARN, "x", conclusive=True)
        assert probe.info("x") == Outcome(Verdict.INFO, "x")
        assert probe.info("x", conclusive=True) == Outcome(Verdict.INFO, "x", conclusive=True)
        assert probe.warning("x") == Outcome(Verdict.WARN, "x")
        assert probe.skipped("x") == Outcome(Verdict.SKIP, "x")
        assert probe.undecided("x") == Outcome(Verdict.INCONCLUSIVE, "x")
        with pytest.raises(SettledError, match="x") as settled:
            probe.end(probe.skipped("x"))
        assert settled.value.outcome == Outcome(Verdict.SKIP, "x")
        assert str(settled.value) == "x"

    in_session(script)


def test_who_needs_a_cookie_where_there_is_none_has_nothing_to_look_at() -> None:
    async def script(session: Session) -> None:
        probe = Probe(session, a_case())
        assert not probe.has_cookie
        with pytest.raises(SettledError, match="no legal cookie") as settled:
            probe.cookie  # noqa: B018
        assert settled.value.outcome.verdict is Verdict.SKIP
        session.facts.cookie = b"12345678"
        assert probe.has_cookie
        assert probe.cookie == b"12345678"
        assert probe.own_address == bytes([10, 0, 0, 1])

    in_session(script)


def test_several_checks_hold_only_if_each_does() -> None:
    async def script(session: Session) -> None:
        probe = Probe(session, a_case())

        async def comes_to(outcome: Outcome, seconds: float = 0.0) -> Outcome:
            await session.clock.sleep(seconds)
            return outcome

        good, late = probe.passed("good"), probe.warning("late")
        found = await probe.side_by_side([comes_to(good, 2), comes_to(late)])
        assert found == [good, late]
        assert await probe.all_hold([comes_to(good), comes_to(late)], "all") == late
        assert await probe.all_hold([comes_to(good), comes_to(good)], "all") == probe.passed("all")

    in_session(script)


def test_a_check_that_goes_wrong_ends_those_beside_it() -> None:
    async def script(session: Session) -> None:
        probe = Probe(session, a_case())
        ended: list[str] = []

        async def slow() -> Outcome:
            try:
                await session.clock.sleep(100)
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise
            return probe.passed("slow")

        async def wrong() -> Outcome:
            await session.clock.sleep(1)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await probe.side_by_side([slow(), wrong()])
        await session.clock.sleep(0)
        assert ended == ["cancelled"]

    in_session(script)


def test_connections_of_other_cases_can_be_taken_for_evidence() -> None:
    async def script(session: Session) -> None:
        one, other = Probe(session, a_case("one")), Probe(session, a_case("other"))
        flows = [one.opener.new_flow(label) for label in ("first", "second")]
        assert other.flows_of("one", "nosuch") == flows
        assert other.borrow("one", lambda flow: flow.label == "second")
        assert other.evidence.flows == flows[1:]
        assert not other.borrow("one", lambda flow: False)
        assert not other.borrow("nosuch", lambda flow: True)
        assert other.all_flows == flows
        session.verdicts["one"] = Verdict.WARN
        assert other.verdict_of("one") is Verdict.WARN
        assert other.verdict_of("nosuch") is None

    in_session(script)


def test_where_a_box_drops_some_only_what_it_lets_through_is_answerable() -> None:
    async def script(session: Session) -> None:
        probe = await with_cookie(session)
        plain = await probe.plain_syn("plain")
        asked = session.flows[0]
        knocked = probe.knock("still to be sent")
        assert probe.answerable() == [asked, plain, knocked]
        session.facts.silences["path.option-dropped"] = "known"
        assert probe.answerable() == [plain, knocked]

    in_session(script)


# --- found out once -------------------------------------------------------------------------------


def test_what_was_found_out_is_not_looked_for_again() -> None:
    clock, looked = VirtualClock(), 0

    async def look() -> int:
        nonlocal looked
        looked += 1
        await clock.sleep(1)
        return looked

    async def main() -> None:
        once: Once[int] = Once()
        once.forget()  # nobody has asked yet
        assert set(await asyncio.gather(once.find(look), once.find(look))) == {1}
        assert await once.find(look) == 1

    clock.run(main())


def test_who_asked_first_may_go_away() -> None:
    clock = VirtualClock()

    async def look() -> str:
        await clock.sleep(1)
        return "found"

    async def main() -> None:
        once: Once[str] = Once()
        first = asyncio.ensure_future(once.find(look))
        await clock.sleep(0.5)
        other = asyncio.ensure_future(once.find(look))
        await clock.sleep(0)
        first.cancel()
        assert await other == "found"

    clock.run(main())


def test_what_nobody_waits_for_any_more_is_given_up() -> None:
    clock = VirtualClock()
    ended: list[str] = []

    async def look(name: str) -> None:
        try:
            await clock.sleep(100)
        except asyncio.CancelledError:
            ended.append(name)
            raise

    async def main() -> None:
        manners = Manners()
        asked = [
            asyncio.ensure_future(manners.answer.find(lambda: look("answer"))),  # type: ignore[arg-type, return-value]
            asyncio.ensure_future(manners.shows_input.find(lambda: look("input"))),  # type: ignore[arg-type, return-value]
        ]
        await clock.sleep(1)
        manners.forget()
        await asyncio.gather(*asked, return_exceptions=True)

    clock.run(main())
    assert ended == ["answer", "input"]


# --- siblings -------------------------------------------------------------------------------------


def test_addresses_are_compared_when_all_their_verdicts_are_there() -> None:
    clock = VirtualClock()

    async def main() -> None:
        siblings = Siblings()
        siblings.announce("192.0.2.1", ["a", "b"])
        siblings.announce("192.0.2.2", ["a"])
        compared = asyncio.ensure_future(siblings.compare(["a", "b"]))
        siblings.settle("192.0.2.1", "a", "pass")
        siblings.settle("192.0.2.1", "b", "fail")
        await clock.sleep(1)
        assert not compared.done()
        siblings.settle("192.0.2.2", "a", "warn")
        assert await compared == {
            "192.0.2.1": {"a": "pass", "b": "fail"},
            "192.0.2.2": {"a": "warn", "b": "not run"},
        }

    clock.run(main())


def test_who_stops_waiting_takes_the_verdict_from_nobody() -> None:
    clock = VirtualClock()

    async def main() -> None:
        siblings = Siblings()
        siblings.announce("192.0.2.1", ["a"])
        one, other = (asyncio.ensure_future(siblings.compare(["a"])) for _ in range(2))
        await clock.sleep(1)
        one.cancel()
        await clock.sleep(0)
        siblings.settle("192.0.2.1", "a", "pass")
        assert await other == {"192.0.2.1": {"a": "pass"}}

    clock.run(main())
