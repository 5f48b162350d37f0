"""Servers that do something unusual and legal: nothing but their own fault is found at them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from whole import BEHIND_ROUTERS, OFF_PORT, PORT, SEED, check, check_network

from tfocheck.memory.hosts import reference_host
from tfocheck.memory.network import Network
from tfocheck.memory.path import Path, routers
from tfocheck.model.case import Verdict
from tfocheck.model.report import AddressReport
from tfocheck.reference.listener import ReferenceServer
from tfocheck.reference.variations import Variations
from tfocheck.wire.segment import Flags, Segment

BAD = (Verdict.FAIL, Verdict.WARN, Verdict.INCONCLUSIVE, Verdict.ERROR)


def bad(report: AddressReport) -> dict[str, str]:
    """What counts against somebody, or is open: case → what was seen."""
    return {
        each.case.id: f"{each.verdict}: {each.seen}"
        for each in report.results
        if each.verdict in BAD
    }


def seen(report: AddressReport, case_id: str) -> str:
    """Verdict and what was seen of a case."""
    result = report.result(case_id)
    assert result is not None
    return f"{result.verdict}: {result.seen}"


def checked(
    variations: Variations,
    options: Sequence[str] = (),
    *,
    faults: Iterable[str] = (),
    **network: Any,
) -> AddressReport:
    """A check of a server that makes such use of what the RFCs leave to it."""
    rng = random.Random(SEED)
    host = reference_host(faults, cookie_key=rng.randbytes(16), rng=rng, variations=variations)
    return check(options, endpoint=host, **network)


@pytest.mark.parametrize("thorough", [False, True])
@pytest.mark.parametrize("size", range(4, 17, 2))
def test_a_cookie_of_any_legal_length_is_served(size: int, thorough: bool) -> None:
    report = checked(Variations(cookie_bytes=size), ["--thorough"] if thorough else [])
    assert bad(report) == {}
    assert seen(report, "open.timestamps") == "pass: TSecr is our TSval"
    bits = 8 * size if thorough else 8
    assert f"one of {bits} bits flipped" in seen(report, "forged.bit-flip")


@pytest.mark.parametrize("size", range(4, 17, 2))
def test_each_flipped_bit_makes_another_cookie(size: int) -> None:
    report = checked(Variations(cookie_bytes=size), ["--case=forged.bit-flip"])
    result = report.result("forged.bit-flip")
    assert result is not None
    sent = {
        each.segment.fast_open.cookie
        for flow in result.flows
        for each in flow.packets[:1]
        if each.segment.fast_open is not None
    }
    assert len(sent) == 8
    # Two of them differ by their two bits, from the valid one each by its own.
    one = min(sent)
    apart = {(int.from_bytes(one) ^ int.from_bytes(other)).bit_count() for other in sent - {one}}
    assert apart == {2}


@pytest.mark.long
@pytest.mark.parametrize("size", [4, 16])
def test_a_short_or_long_cookie_hides_no_fault(size: int) -> None:
    report = checked(Variations(cookie_bytes=size), faults=["checks-prefix-only"])
    assert set(bad(report)) == {"forged.bit-flip"}


KEEPS = Variations(keeps_plain_data=True)


def test_a_stack_that_acknowledges_data_on_plain_syns_breaks_nothing() -> None:
    report = checked(KEEPS, [f"--off-port={OFF_PORT}", "--no-nat"])
    assert bad(report) == {}
    assert all(each.verdict is not Verdict.SKIP for each in report.results)
    # What is said to be acknowledged is what was.
    for case_id in ("forged.random", "option.too-long", "cookie.source-bound", "forged.lengths"):
        assert "ack 81" in seen(report, case_id)
    assert "ack 9, then handshake and the rest of the data" in seen(report, "forged.fallback")
    assert "ack 81 to a cookie with data, as without" in seen(report, "off.ignores-option")
    assert "8 requests: always the same cookie" in seen(report, "cookie.repeatable")


@pytest.mark.long
@pytest.mark.parametrize(
    ("fault", "case_id"),
    [
        ("accepts-any-cookie", "forged.random"),
        ("accepts-any-cookie", "forged.lengths"),
        ("ignores-source", "cookie.source-bound"),
        ("needs-alignment", "option.unaligned"),
        ("many-keys", "farm.one-key"),
        ("delivers-rejected-data", "forged.fallback"),
        ("answers-when-off", "off.ignores-option"),
        ("treats-odd-as-request", "option.odd-length"),
        ("reads-past-eol", "option.after-eol"),
        ("accept-without-option", "control.syn-data"),
    ],
)
def test_such_a_stack_hides_no_fault(fault: str, case_id: str) -> None:
    report = checked(KEEPS, [f"--off-port={OFF_PORT}", "--no-nat"], faults=[fault])
    assert seen(report, case_id).startswith("fail")


FRESH = Variations(fresh_cookies=True)


def test_cookies_that_are_fresh_each_time_are_judged_by_sending_them_from_elsewhere() -> None:
    report = checked(FRESH)
    assert bad(report) == {}
    assert (
        seen(report, "cookie.source-bound")
        == "pass: our cookie, sent from 10.0.0.3: ack 1 (3 of 3)"
    )


@pytest.mark.long
def test_fresh_cookies_hide_nothing() -> None:
    report = checked(FRESH, faults=["ignores-source"])
    assert seen(report, "cookie.source-bound").startswith(
        "fail: the cookie of 10.0.0.1 is accepted"
    )


def test_a_cookie_that_its_own_address_can_not_use_proves_nothing() -> None:
    # Many servers with a key each: who turns it down may never have issued it.
    report = check(["--case=cookie.source-bound"], scenario="farm-three-keys")
    assert seen(report, "cookie.source-bound").split(":")[0] in ("inconclusive", "skip")


def test_a_server_that_knows_the_option_of_before_the_rfc_only_is_called_that() -> None:
    report = checked(Variations(old_kind_only=True))
    assert seen(report, "option.experimental") == (
        "info: served: a cookie comes in kind 254, and is honoured in it; kind 34 gets none"
    )
    assert seen(report, "cookie.request").startswith("skip: no cookie")
    assert bad(report) == {}


@pytest.mark.parametrize("fault", ["never-accepts", "never-issues"])
def test_what_kind_34_gets_not_either_is_not_laid_on_kind_254(fault: str) -> None:
    report = checked(Variations(), faults=[fault])
    assert seen(report, "option.experimental").startswith("info: ")


# A21: a full queue falls back rightly, and so proves nothing


class Taken:
    """A server whose queue of pending requests is full from some SYN on: others use it, too."""

    def __init__(self, from_: Callable[[Segment], bool], *faults: str) -> None:
        self._server = ReferenceServer(PORT, faults, rng=random.Random(SEED))
        self._from = from_

    def receive(self, segment: Segment, now: float) -> list[Segment]:
        if segment.flags == Flags.SYN and self._from(segment):
            self._server._pending_limit = 0
        return self._server.receive(segment, now)

    def next_timer(self) -> float | None:
        return self._server.next_timer()

    def fire(self, now: float) -> list[Segment]:
        return self._server.fire(now)


def is_bare_opening(syn: Segment) -> bool:
    option = syn.fast_open
    return option is not None and option.has_legal_cookie and not syn.payload


def is_too_short(syn: Segment) -> bool:
    option = syn.fast_open
    return option is not None and 0 < len(option.cookie) < 4


@pytest.mark.parametrize(
    ("from_", "fault", "case_id"),
    [
        (is_bare_opening, "needs-data", "open.no-data"),
        (is_bare_opening, "stalls-without-data", "open.no-data"),
        (is_too_short, "treats-short-as-request", "option.too-short"),
    ],
)
@pytest.mark.parametrize("is_faulty", [True, False])
def test_a_fallback_from_a_full_queue_passes_for_nothing(
    from_: Callable[[Segment], bool], fault: str, case_id: str, is_faulty: bool
) -> None:
    server = Taken(from_, *([fault] if is_faulty else []))
    report = check([f"--case={case_id}"], endpoint=server)
    assert seen(report, case_id).startswith(
        "inconclusive: the valid cookie is not accepted now either: a fallback proves nothing"
    )


@pytest.mark.long
@pytest.mark.parametrize("limit", [1, 2, 4])
@pytest.mark.parametrize(
    ("fault", "case_id"),
    [
        ("needs-data", "open.no-data"),
        ("treats-short-as-request", "option.too-short"),
        ("delivers-rejected-data", "forged.fallback"),
    ],
)
def test_a_short_queue_hides_no_fault(limit: int, fault: str, case_id: str) -> None:
    server = ReferenceServer(PORT, [fault], pending_limit=limit, rng=random.Random(SEED))
    assert set(bad(check(endpoint=server))) == {case_id}
    assert bad(check(endpoint=ReferenceServer(PORT, pending_limit=limit))) == {}


def test_fresh_cookies_are_not_taken_for_a_nat_pool() -> None:
    # From behind routers nobody vouches for our address.
    rng = random.Random(SEED)
    host = reference_host([], cookie_key=rng.randbytes(16), rng=rng, variations=FRESH)
    report = check_network(Network(host, Path(routers())), server=BEHIND_ROUTERS)
    assert bad(report) == {}
    assert "the server makes a fresh cookie each time" in seen(report, "path.source-changes")


def test_a_nat_pool_is_still_found() -> None:
    assert seen(check(scenario="nat-pool"), "path.source-changes").startswith("fail: 8 diff")
