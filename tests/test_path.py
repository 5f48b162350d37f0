"""What is wrong on the way is called by its name, and where: the server is not blamed for it."""

from __future__ import annotations

import pytest
from graded import Graded, grade

from tfocheck.lab.scenarios import SCENARIOS

pytestmark = pytest.mark.lab

ROUTERS = {
    "-4": ["10.77.0.254", "10.77.1.2", "10.77.2.2", "10.77.3.2"],
    "-6": ["fd77::fe", "fd77:1::2", "fd77:2::2", "fd77:3::2"],
}

LOCATED = {
    # Scenario → (path case, hops between which it is).
    "option-stripped": "path.option-stripped",
    "option-dropped": "path.option-dropped",
    "syn-data-dropped": "path.syn-data-dropped",
    "cookie-changed": "path.cookie-changed",
}

HARMLESS = {
    # Scenario → what the trace says of it.
    "isn-shifted": "the sequence number is shifted by",
    "option-moved": "the options are in another order",
    "mss-clamped": "the MSS is changed from",
    "timestamps-removed": "the timestamps option is removed",
}


def between(hop: int, family: str) -> str:
    """How the report names the place behind a router."""
    routers = ROUTERS[family]
    return f"between {routers[hop - 1]} (hop {hop}) and {routers[hop]} (hop {hop + 1})"


def path_faults(graded: Graded) -> dict[str, str]:
    return {
        result["case"]: result["seen"]
        for result in graded.address["results"]
        if result["level"] == "path" and result["verdict"] == "fail"
    }


def blamed(graded: Graded) -> list[str]:
    """Cases of the server that failed or warn."""
    return [
        result["case"]
        for result in graded.address["results"]
        if result["level"] != "path" and result["verdict"] in ("fail", "warn", "error")
    ]


def assert_path_is_blamed(graded: Graded, case_id: str) -> str:
    """The path's fault is named, it alone; returns what was seen."""
    assert graded.exit_code == 4
    assert (graded.address["kind"], graded.address["grade"]) == ("path", None)
    assert blamed(graded) == []
    faults = path_faults(graded)
    assert list(faults) == [case_id]
    assert f"the path is at fault: {case_id}" in graded.address["headline"]
    return faults[case_id]


@pytest.mark.parametrize("family", ["-4", "-6"])
@pytest.mark.parametrize("hop", [1, 2, 3])
@pytest.mark.parametrize("scenario", ["option-stripped", "cookie-changed"])
def test_the_box_is_found_at_each_hop(scenario: str, hop: int, family: str) -> None:
    graded = grade(scenario, family, hop=hop)
    seen = assert_path_is_blamed(graded, LOCATED[scenario])
    assert between(hop, family) in seen


@pytest.mark.parametrize("scenario", ["option-dropped", "syn-data-dropped"])
def test_what_drops_syns_is_found(scenario: str) -> None:
    selected = [f"--case={LOCATED[scenario]}"]
    graded = grade(scenario, *selected, hop=1)
    seen = path_faults(graded)[LOCATED[scenario]]
    assert between(1, "-4") in seen
    assert "while plain SYNs are answered" in seen
    assert graded.exit_code == 4


def test_what_drops_all_that_follows_an_open_is_found() -> None:
    graded = grade("after-open-dropped", "--case", "path.after-open", "--case", "open.sizes")
    seen = assert_path_is_blamed(graded, "path.after-open")
    assert between(2, "-4") in seen
    assert graded.verdicts["open.sizes"] == "skip"


def test_an_option_that_is_taken_out_on_the_way_back_leaves_a_hole() -> None:
    seen = assert_path_is_blamed(grade("option-stripped-reply"), "path.option-stripped")
    assert "12 bytes of NOPs" in seen


@pytest.mark.parametrize("scenario", ["synproxy", "transparent-proxy"])
def test_who_answers_in_the_servers_place_is_found(scenario: str) -> None:
    seen = assert_path_is_blamed(grade(scenario), "path.proxy")
    assert "at hop 2" in seen


def test_acknowledgements_that_are_changed_on_the_way_are_found() -> None:
    graded = grade("ack-rewritten")
    seen = assert_path_is_blamed(graded, "path.sequence-rewritten")
    assert "bytes less than what comes right behind it" in seen


def test_a_pool_of_addresses_is_found() -> None:
    seen = assert_path_is_blamed(grade("nat-pool"), "path.source-changes")
    assert "different cookies in 16 requests" in seen


@pytest.mark.parametrize("scenario", HARMLESS)
def test_a_trace_tells_of_harmless_changes(scenario: str) -> None:
    graded = grade(scenario, "--trace", "--case", "path.*", "--case", "open.data-acked")
    assert graded.exit_code == 0
    seen = graded.seen("path.trace")
    assert HARMLESS[scenario] in seen
    assert between(2, "-4") in seen
    changes = [hop["changes"] for hop in graded.address["hops"]]
    assert changes[:2] == [[], []]
    assert HARMLESS[scenario] in changes[2][0]


def test_a_clear_path_is_called_that() -> None:
    graded = grade("routed", "--trace")
    assert graded.exit_code == 0
    assert path_faults(graded) == {}
    assert graded.seen("path.trace") == "4 of 4 hops answer; nothing is changed on the way"
    assert [hop["router"] for hop in graded.address["hops"]] == ROUTERS["-4"]
    bad = {case for case, verdict in graded.verdicts.items() if verdict not in ("pass", "info")}
    assert bad == {"cookie.source-bound"}  # the client has one address there


def test_a_farm_with_one_key_passes_16_of_16() -> None:
    graded = grade("farm-one-key")
    assert graded.exit_code == 0
    assert "16 of 16" in graded.seen("farm.one-key")


@pytest.mark.parametrize("scenario", ["farm-three-keys", "farm-dnat"])
def test_a_farm_without_a_common_key_is_counted(scenario: str) -> None:
    graded = grade(scenario)
    assert graded.exit_code == 1
    assert blamed(graded) == ["farm.one-key"]
    assert " of 16: servers behind this address don't share a key" in graded.seen("farm.one-key")
    assert any("tcp_fastopen_key" in advice for advice in graded.address["advice"])
    assert path_faults(graded) == {}


@pytest.mark.parametrize("scenario", ["key-rotation", "key-change"])
def test_a_key_that_changes_meanwhile_is_no_failure(scenario: str) -> None:
    graded = grade(scenario, rotate_every=0.3)
    assert blamed(graded) == []
    assert graded.exit_code in (0, 4)


def test_every_path_scenario_is_tested_here() -> None:
    found = {name for name, scenario in SCENARIOS.items() if scenario.path_fault}
    elsewhere = {"synack-loss", "early-data-dropped"}  # test_hard_places, test_difficult
    named = {
        *LOCATED,
        *HARMLESS,
        *("after-open-dropped", "option-stripped-reply", "synproxy", "transparent-proxy"),
        *("ack-rewritten", "nat-pool"),
    }
    assert found - elsewhere == named
