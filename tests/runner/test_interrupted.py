"""A run that is cancelled: what was done is there, and nobody waits for what never comes."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence

import pytest

from tfocheck.errors import CannotError, UnreachableError
from tfocheck.memory import scenarios
from tfocheck.memory.clock import VirtualClock
from tfocheck.memory.hosts import PORT
from tfocheck.memory.wire import MemoryWire
from tfocheck.model.case import Verdict
from tfocheck.model.report import Report
from tfocheck.runner.planning import make_plan
from tfocheck.runner.run import run
from tfocheck.wire.segment import Segment

SERVER, REFUSED = "10.0.0.2", "10.0.0.9"


class Refusing(MemoryWire):
    """A wire on which a local firewall refuses packets to one address."""

    async def send(self, segment: Segment, scope_id: int = 0) -> None:
        if segment.destination == REFUSED:
            raise CannotError(f"a local firewall rule refuses packets to {REFUSED}")
        await super().send(segment, scope_id)


def wire(clock: VirtualClock) -> MemoryWire:
    network = scenarios.build("reference", faults=(), impairment=None, seed=7, delay=0.0005)
    return Refusing(network, clock, own=("10.0.0.1/24", "10.0.0.3/24"))


def cancelled_after(
    seconds: float, addresses: Sequence[str] = (SERVER,), *, keep: bool = True
) -> Report:
    clock = VirtualClock()
    plan = make_plan([f"x.example:{PORT}"], {"addresses": addresses, "payload": "http"})

    async def script() -> Report:
        task = asyncio.create_task(run(plan, wire(clock), keep_what_is_done=keep))
        await clock.sleep(seconds)
        task.cancel()
        report = await task
        assert [each for each in asyncio.all_tasks() if each is not asyncio.current_task()] == []
        return report

    return clock.run(script())


def test_what_was_done_has_its_verdict_and_the_rest_says_why_not() -> None:
    [address] = cancelled_after(0.5).addresses
    assert address.interrupted
    done = [each for each in address.results if each.verdict is not Verdict.INCONCLUSIVE]
    others = [each for each in address.results if each.verdict is Verdict.INCONCLUSIVE]
    assert done
    assert {each.seen for each in others} == {"not done: the run was interrupted"}
    assert address.traffic.sent > 0
    assert any(each.flows for each in done)


def test_before_the_first_verdict_there_is_nothing_to_tell() -> None:
    assert cancelled_after(0.0001).addresses == ()


def test_a_run_that_was_over_is_whole() -> None:
    [address] = cancelled_after(300).addresses
    assert not address.interrupted
    assert {each.verdict for each in address.results} == {Verdict.PASS, Verdict.INFO}


def test_an_address_that_was_done_stays_as_it_was() -> None:
    found = {each.address: each for each in cancelled_after(0.5, (SERVER, REFUSED)).addresses}
    assert found[SERVER].interrupted
    assert not found[REFUSED].interrupted
    assert "local firewall" in (found[REFUSED].not_tested or "")


def test_who_does_not_ask_for_it_is_cancelled() -> None:
    with pytest.raises(asyncio.CancelledError):
        cancelled_after(0.5, keep=False)


def test_nobody_waits_for_an_address_that_has_given_up() -> None:
    found = {each.address: each for each in cancelled_after(300, (SERVER, REFUSED)).addresses}
    assert found[REFUSED].results == ()
    assert {each.verdict for each in found[SERVER].results} == {Verdict.PASS, Verdict.INFO}
    assert found[SERVER].duration < 30


@pytest.mark.parametrize("after", [20, 120, 250, 400])
def test_where_the_route_goes_away_no_task_is_left_alone(after: int) -> None:
    """An error that nobody asks for would be a traceback on the user's terminal."""

    class GoesAway(MemoryWire):
        sent = 0

        async def send(self, segment: Segment, scope_id: int = 0) -> None:
            self.sent += 1
            if self.sent > after:
                raise UnreachableError("no route from here")
            await super().send(segment, scope_id)

    clock = VirtualClock()
    plan = make_plan([f"{SERVER}:{PORT}"], {"payload": "http"})
    network = scenarios.build("reference", faults=(), impairment=None, seed=7, delay=0.0005)
    alone: list[dict[str, object]] = []

    async def script() -> Report:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: alone.append(context))
        report = await run(plan, GoesAway(network, clock))
        gc.collect()
        return report

    [address] = clock.run(script()).addresses
    assert alone == []
    assert Verdict.ERROR not in {each.verdict for each in address.results}
