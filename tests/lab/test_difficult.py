"""Ordinary servers and networks that are hard to judge: what a check says of each is its truth."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from graded import Graded, grade
from test_lab_scenarios import address, request

from tfocheck.lab.difficult import DIFFICULT
from tfocheck.lab.scenario import PORT
from tfocheck.lab.scenarios import SCENARIOS

pytestmark = pytest.mark.lab

PATIENCE = 60.0
"""Seconds that a check may take where connections are limited to 15 a second or more."""

LONGEST = 120.0
"""Where fewer are let through, or the application is slow."""

CONFORMING = {
    # Scenario → grade, and what may be skipped with which words.
    "rate-limited": ("A+", {}),
    "jittering-application": ("A+", {}),
    "errors-5-percent": ("A+", {}),
    "proxy-protocol": ("A+", {}),
    "stack-acks-plain-data": ("A+", {}),
    "short-cookie": ("A", {"forged.truncated": "a cookie of 4 bytes has no shorter"}),
    "backlog-0": ("A+", {}),
}
ENDING_AT_ONCE = ["closes-at-once", "resets-at-once"]
ELSEWHERE = {"slow-application", "banned", "connection-cap", "early-data-dropped"}


NOT_MENDED = {
    "errors-5-percent": "A11: one odd answer of eleven, now and then",
}


def by_chance(name: str, why: str) -> Any:
    """What is not mended yet, and shows now and then."""
    return pytest.param(name, marks=pytest.mark.xfail(reason=why, strict=False))


def blamed(graded: Graded) -> dict[str, str]:
    """What counts against the server."""
    bad = ("fail", "warn", "error")
    return {case: said for case, said in graded.not_good.items() if said.startswith(bad)}


def test_each_is_tested_here() -> None:
    named = {*CONFORMING, *ENDING_AT_ONCE, *ELSEWHERE}
    assert named == {scenario.name for scenario in DIFFICULT}


@pytest.mark.parametrize(
    "name",
    [by_chance(name, NOT_MENDED[name]) if name in NOT_MENDED else name for name in CONFORMING],
)
def test_a_conforming_server_is_found_to_conform(name: str) -> None:
    graded = grade(name)
    letter, skipped = CONFORMING[name]
    for case, said in graded.not_good.items():
        assert case in skipped, said
        assert said.startswith(f"skip: {skipped[case]}")
    assert (graded.exit_code, graded.address["grade"]) == (0, letter)
    assert graded.address["duration"] < PATIENCE


@pytest.mark.parametrize("name", ENDING_AT_ONCE)
def test_an_application_that_ends_at_once_leaves_nothing_to_judge(name: str) -> None:
    graded = grade(name)
    assert blamed(graded) == {}
    assert {said.partition(":")[0] for said in graded.not_good.values()} == {"skip"}
    assert graded.exit_code == 0


@pytest.mark.parametrize("options", [(), ("--timeout", "5")])
def test_a_slow_application_is_no_deferred_accept(options: tuple[str, ...]) -> None:
    graded = grade("slow-application", *options)
    assert blamed(graded) == {}
    assert graded.exit_code == 0


def test_a_ban_is_named_and_nothing_else() -> None:
    graded = grade("banned")
    assert blamed(graded) == {}
    assert "we are being blocked" in graded.seen("control.limits")
    for said in graded.not_good.values():
        assert "we are being blocked" in said or "can't be judged: see" in said
    assert graded.exit_code == 4


def test_a_cap_on_connections_is_named() -> None:
    graded = grade("connection-cap")
    assert blamed(graded) == {}
    assert "connections a second" in graded.seen("control.limits")
    assert graded.exit_code in (0, 4)
    assert graded.address["duration"] < LONGEST


def test_early_data_that_is_dropped_is_the_paths_fault() -> None:
    graded = grade("early-data-dropped")
    assert graded.exit_code == 4
    assert graded.address["kind"] == "path"
    # Whether it is slower by more than the times vary is not always to be seen.
    assert {"path.early-data"} <= blamed(graded).keys() <= {"path.early-data", "path.slower"}


# --- the scenarios are what they claim to be ---------------------------------------------------


def ask(name: str) -> tuple[str, float]:
    """What a plain connection gets: the first word, or how it ends; and after how many seconds."""
    began = time.monotonic()
    where = address(name, socket.AF_INET, PORT)
    try:
        with socket.create_connection(where, timeout=5) as connection:
            connection.sendall(request(name))
            answer = connection.recv(12)
    except ConnectionError:
        return "reset", time.monotonic() - began
    return answer.decode() or "closed", time.monotonic() - began


def asked(name: str, times: int) -> list[tuple[str, float]]:
    return [ask(name) for _ in range(times)]


@pytest.mark.parametrize(
    ("name", "times", "answers"),
    [
        ("backlog-0", 3, {"HTTP/1.1 200"}),
        ("closes-at-once", 3, {"closed", "reset"}),
        ("resets-at-once", 3, {"reset"}),
        ("slow-application", 1, {"HTTP/1.1 200"}),
        ("jittering-application", 3, {"HTTP/1.1 200"}),
        ("errors-5-percent", 200, {"HTTP/1.1 200", "HTTP/1.1 503"}),
        ("connection-cap", 25, {"HTTP/1.1 200", "reset"}),
    ],
)
def test_it_answers_as_it_claims(
    name: str, times: int, answers: set[str], in_lab: Callable[..., Any]
) -> None:
    seen = in_lab(name, asked, name, times)
    assert {answer for answer, _ in seen} <= answers
    if times > 3:
        assert {answer for answer, _ in seen} == answers
    least = {"slow-application": 3.0}.get(name, 0.0)
    assert all(seconds >= least for _, seconds in seen)


def unanswered(name: str, times: int) -> list[bool]:
    """Of so many SYNs at once, by the kernel, with no second try: which got no answer."""
    connections = []
    for _ in range(times):
        connection = socket.socket()
        connection.setblocking(False)
        connection.connect_ex(address(name, socket.AF_INET, PORT))
        connections.append(connection)
    time.sleep(0.3)
    return [
        connection.connect_ex(address(name, socket.AF_INET, PORT)) != 0
        for connection in connections
    ]


@pytest.mark.parametrize(("name", "let_through"), [("rate-limited", 10), ("banned", 31)])
def test_more_syns_than_allowed_are_dropped(
    name: str, let_through: int, in_lab: Callable[..., Any]
) -> None:
    assert SCENARIOS[name].rules
    seen = in_lab(name, unanswered, name, 60)
    assert 4 < seen.count(False) <= let_through
