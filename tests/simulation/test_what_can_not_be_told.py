"""Worlds that look like others: what can't be told from outside is said of nobody."""

from __future__ import annotations

from dataclasses import replace

import oracle
import pytest
import worlds
from worlds import World

from tfocheck.memory.impairment import Weather
from tfocheck.model.report import AddressReport
from tfocheck.reference.variations import Variations

pytestmark = pytest.mark.long

SEED = 7
ACKED = ("--case=open.data-acked", "--case=path.*")
KEEPS = Variations(keeps_plain_data=True)


def checked(world: World) -> AddressReport:
    """A check in which the oracle finds nothing wrong."""
    report = worlds.run(world)
    assert oracle.problems(world, report) == []
    return report


def said(report: AddressReport, case_id: str) -> str:
    """Verdict and what was seen of a case."""
    result = report.result(case_id)
    assert result is not None
    return f"{result.verdict}: {result.seen}"


# --- whether a cookie was accepted ----------------------------------------------------------------


@pytest.mark.parametrize(
    "world",
    [
        World(SEED, KEEPS, fault="binds-port"),
        World(SEED, KEEPS, fault="never-accepts"),
        World(SEED, KEEPS, boxes=("cookie-changed",)),
        World(SEED, KEEPS, application="mute"),
        World(SEED, Variations(keeps_plain_data=True, answers_early=False)),
    ],
    ids=str,
)
def test_where_any_data_is_acknowledged_and_none_answered_early(world: World) -> None:
    report = checked(world)
    assert said(report, "open.data-acked").startswith("inconclusive: cookie and 81 bytes of data")
    assert "whether it was accepted can't be told (3 of 3)" in said(report, "open.data-acked")
    assert said(report, "open.early-answer").startswith("skip: can't be judged")


def test_a_fallback_whose_data_is_kept_is_no_fast_open() -> None:
    report = checked(World(SEED, KEEPS, fault="delivers-copy", pending_limit=1, delay=0.02))
    assert said(report, "open.duplicate-syn").startswith("fail: ")


# --- whom it is to be laid on ---------------------------------------------------------------------


@pytest.mark.parametrize("variations", [Variations(), Variations(cookie_bytes=4)], ids=str)
def test_cookies_that_hold_for_one_port_are_the_servers(variations: Variations) -> None:
    report = checked(World(SEED, variations, fault="binds-port"))
    assert said(report, "cookie.port-independent").startswith("fail: accepted from the port")
    assert said(report, "path.source-changes").startswith("info: 48 requests, and no cookie comes")


@pytest.mark.parametrize("application", ["mute", "resets-at-once", "answers"])
@pytest.mark.parametrize("answers_early", [True, False])
def test_who_rewrites_an_acknowledgment_is_found_out(application: str, answers_early: bool) -> None:
    variations = Variations(answers_early=answers_early)
    world = World(SEED, variations, application=application, boxes=("ack-rewritten",))
    report = checked(replace(world, options=ACKED))
    assert said(report, "path.sequence-rewritten").startswith("fail: the SYN-ACK acknowledges 81")
    assert said(report, "open.data-acked").startswith("skip: can't be judged")


@pytest.mark.parametrize("box", ["nat-pool", "cookie-changed"])
def test_the_older_form_alone_has_no_control(box: str) -> None:
    report = checked(World(SEED, Variations(old_kind_only=True), boxes=(box,)))
    assert "nothing tells whose doing that is" in said(report, "option.experimental")


def test_addresses_that_may_share_a_nat_rightly_share_a_cookie() -> None:
    only = "--case=cookie.unpredictable"
    world = World(SEED, fault="constant-cookie", has_other_source=True, options=(only,))
    assert said(worlds.run(world), "cookie.unpredictable").startswith("inconclusive: ")
    report = checked(replace(world, options=(only, "--no-nat")))
    assert said(report, "cookie.unpredictable").startswith("fail: ")


def test_fresh_cookies_that_open_from_half_of_the_ports_are_of_two_servers() -> None:
    report = checked(World(SEED, Variations(fresh_cookies=True), fault="many-keys", delay=0.005))
    assert said(report, "farm.one-key").startswith("fail: ")
    assert said(report, "path.source-changes").startswith("info: 48 requests, and no cookie comes")


def test_fresh_cookies_that_open_from_their_own_port_alone_are_a_pool_of_addresses() -> None:
    report = checked(World(SEED, Variations(fresh_cookies=True), boxes=("nat-pool",)))
    assert said(report, "path.source-changes").startswith("fail: 48 requests, and no cookie comes")
    report = checked(World(SEED, Variations(fresh_cookies=True), fault="never-accepts"))
    assert said(report, "open.data-acked").startswith("fail: ")


@pytest.mark.parametrize(
    ("fault", "begins"),
    [
        ("stalls-without-data", "fail: a cookie without data, then the connection is broken"),
        (None, "pass: ack 1, then an ordinary connection that works"),
    ],
)
def test_behind_a_short_backlog_a_bare_cookie_tells_where_it_had_a_place(
    fault: str | None, begins: str
) -> None:
    only = ("--case=open.no-data",)
    report = worlds.run(World(SEED, fault=fault, backlog=1, delay=0.005, options=only))
    assert said(report, "open.no-data").startswith(begins)


def test_behind_a_short_backlog_a_fallback_shows_no_limit() -> None:
    options = ("--intrusive", "--case=limit.pending", "--case=limit.reset-counted")
    report = checked(World(SEED, backlog=1, options=options))
    assert said(report, "limit.pending").startswith("skip: the listener's backlog is short")


def test_an_answer_that_may_still_come_is_not_absent() -> None:
    only = ("--case=option.experimental",)
    world = World(SEED, KEEPS, application="jittering", delay=0.005, options=only)
    for seed in range(8):
        checked(replace(world, seed=seed))


def test_a_syn_that_the_network_doubles_makes_no_backlog_short() -> None:
    weather = Weather(duplicate=0.05, reorder=0.1)
    only = ("--case=open.no-data", "--case=control.limits")
    for seed in range(4):
        report = checked(World(seed, delay=0.05, weather=weather, options=only))
        assert "backlog" not in said(report, "control.limits")


@pytest.mark.parametrize("seed", [3, 18, 24])
def test_a_syn_ack_that_got_lost_took_the_place_of_the_reset_request(seed: int) -> None:
    options = ("--intrusive", "--case=limit.reset-counted")
    weather = Weather(loss=0.1)
    world = World(seed, fault="forgets-resets", pending_limit=16, weather=weather, options=options)
    assert said(checked(world), "limit.reset-counted").startswith(
        "warn: with 16 pending, one reset"
    )


# --- applications that show nothing ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "case_id"),
    [
        ("delivers-rejected-data", "forged.fallback"),
        ("truncates-silently", "open.sizes"),
        ("stalls-without-data", "open.no-data"),
        ("delivers-copy", "open.duplicate-syn"),
        ("loses-plain-data", "control.syn-data"),
    ],
)
def test_nothing_passes_with_an_application_that_does_not_show_its_input(
    fault: str, case_id: str
) -> None:
    only = (f"--case={case_id}",)
    report = checked(World(SEED, fault=fault, application="mute", options=only))
    assert said(report, case_id).startswith("info: ")


def test_who_was_never_served_is_not_looked_into_for_a_limit() -> None:
    only = ("--case=control.syn-data",)
    report = checked(World(SEED, application="resets-after-reading", options=only))
    assert "control: is it a limit?" not in {flow.label for flow in report.controls}


def test_who_resets_after_a_while_does_so_whatever_came_twice() -> None:
    only = ("--case=open.duplicate-syn", "--case=open.syn-without-option")
    late = Variations(answers_early=False)
    report = checked(World(SEED, late, application="banner-first", options=only))
    for case_id in ("open.duplicate-syn", "open.syn-without-option"):
        assert "nor is a plain connection whose request comes as late" in said(report, case_id)


def test_a_reset_that_meets_our_fin_does_not_acknowledge_it() -> None:
    only = ("--case=open.fin-after-data",)
    world = World(SEED, fault="ignores-fin", application="banner-first", options=only)
    assert said(checked(world), "open.fin-after-data").startswith("skip: the application resets")


@pytest.mark.parametrize("application", ["banner-first", "resets-at-once"])
def test_a_reset_that_got_lost_lays_nothing_on_the_copy_of_a_syn(application: str) -> None:
    only = ("--case=open.duplicate-syn", "--case=open.syn-without-option")
    world = World(SEED, application=application, delay=0.05, options=only)
    for seed in range(4):
        report = checked(replace(world, seed=seed, weather=Weather(loss=0.1)))
        assert said(report, "open.duplicate-syn").startswith(("skip", "inconclusive"))
