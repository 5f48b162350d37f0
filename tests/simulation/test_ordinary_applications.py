"""Applications that are difficult and ordinary: nothing of what they do is laid on the stack."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import pytest
from test_legal_servers import bad, seen
from whole import SEED, check

from tfocheck.memory.hosts import Endpoint, reference_host
from tfocheck.model.report import AddressReport
from tfocheck.reference.application import Application
from tfocheck.reference.applications import APPLICATIONS, _Delayed
from tfocheck.wire.segment import Flags, Segment


def serving(application: Callable[[str], Application], faults: Iterable[str] = ()) -> Endpoint:
    rng = random.Random(SEED)
    return reference_host(faults, cookie_key=rng.randbytes(16), rng=rng, application=application)


def checked(
    name: str, faults: Iterable[str] = (), options: Sequence[str] = (), seed: int = SEED
) -> AddressReport:
    return check(options, endpoint=serving(APPLICATIONS[name](random.Random(seed)), faults))


# A7: an answer that comes as late as on a plain connection


@pytest.mark.parametrize("delay", [0.2, 1.0, 2.2, 2.95])
def test_an_answer_that_takes_long_is_early_all_the_same(delay: float) -> None:
    report = check(["--case=open.early-answer"], endpoint=serving(lambda _: _Delayed(delay)))
    assert f"the answer starts {delay * 1000:.1f} ms after the SYN-ACK" in seen(
        report, "open.early-answer"
    )


@pytest.mark.parametrize("seed", range(12))
def test_an_application_that_takes_now_longer_now_shorter_is_not_called_late(seed: int) -> None:
    report = checked("jittering", seed=seed)
    assert bad(report) == {}
    assert seen(report, "open.early-answer").startswith("info: the answer starts")


@pytest.mark.parametrize("name", ["answers", "jittering"])
def test_what_holds_data_is_found_behind_such_an_application(name: str) -> None:
    report = checked(name, ["holds-data"])
    assert set(bad(report)) == {"open.early-answer"}


# A8: an application that resets by itself at any moment


class Resetting:
    """Resets each connection so many seconds after its SYN-ACK, whatever comes."""

    def __init__(self, server: Endpoint, after: float) -> None:
        self._server = server
        self._after = after
        self._resets: list[tuple[float, Segment]] = []

    def receive(self, segment: Segment, now: float) -> list[Segment]:
        said = self._server.receive(segment, now)
        for each in said:
            if each.is_syn_ack:
                reset = replace(each, seq=(each.seq + 1) % 2**32, options=b"")
                self._resets.append(
                    (now + self._after, replace(reset, flags=Flags.RST | Flags.ACK))
                )
        return said

    def next_timer(self) -> float | None:
        timers = [at for at, _ in self._resets]
        timer = self._server.next_timer()
        return min(timers if timer is None else [*timers, timer], default=None)

    def fire(self, now: float) -> list[Segment]:
        due = [reset for at, reset in self._resets if at <= now]
        self._resets = [each for each in self._resets if each[0] > now]
        timer = self._server.next_timer()
        return [*due, *(self._server.fire(now) if timer is not None and timer <= now else [])]


TWICE = ["--case=open.duplicate-syn", "--case=open.syn-without-option"]


@pytest.mark.parametrize("delay", [0.0001, 0.0005, 0.0015])
@pytest.mark.parametrize("after", [0.0015, 0.0022, 0.0025, 0.003, 0.0036, 0.005])
def test_a_reset_that_meets_the_second_syn_on_its_way_is_not_its_answer(
    after: float, delay: float
) -> None:
    server = Resetting(serving(APPLICATIONS["banner-first"](random.Random(SEED))), after)
    report = check(TWICE, endpoint=server, delay=delay)
    assert bad(report) == {}


@pytest.mark.parametrize("name", ["closes-at-once", "resets-at-once", "resets-after-reading"])
def test_an_application_that_ends_at_once_leaves_nothing_to_see(name: str) -> None:
    report = checked(name)
    assert bad(report) == {}
    assert seen(report, "open.duplicate-syn").startswith("skip: the application closes")


# A10: an application that wants its request in one piece, or soon


def test_a_request_that_must_come_in_one_piece_is_tried_in_the_same_pieces() -> None:
    report = checked("needs-one-piece")
    assert bad(report) == {}
    for case_id in ("open.stream-integrity", "open.sizes"):
        assert seen(report, case_id).startswith("skip: the server reset the connection; but nor is")


@pytest.mark.parametrize("fault", ["loses-syn-data", "doubles-syn-data"])
def test_damage_at_the_seam_is_found_where_pieces_are_served(fault: str) -> None:
    report = checked("answers", [fault])
    assert seen(report, "open.stream-integrity").startswith("fail")


# A11: an application that fails now and then


@pytest.mark.parametrize("seed", [1, 3, 5, 6, 8, 11])
def test_one_failure_of_an_application_that_errs_leaves_nothing_open(seed: int) -> None:
    report = checked("errors-5-percent", seed=seed)
    assert bad(report) == {}
    assert any("as plain connections are not now and then" in each.seen for each in report.results)
