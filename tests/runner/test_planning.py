"""Options are declared once: what is checked, and what a plan has of them."""

from __future__ import annotations

import re
import typing
from typing import Any

import pytest

from tfocheck.errors import UsageError
from tfocheck.model.plan import Plan
from tfocheck.runner.options import CheckOptions, Number, declared
from tfocheck.runner.planning import make_plan, seconds

TARGET = ("192.0.2.1:443",)


def planned(**options: Any) -> Plan:
    return make_plan(TARGET, typing.cast(CheckOptions, options))


def test_without_options_everything_is_as_declared() -> None:
    plan = planned()
    defaults = {
        name: each.default
        for name, each in declared().items()
        if isinstance(each, Number) and each.default is not None
    }
    assert {name: getattr(plan, name) for name in defaults} == defaults
    assert plan.complete
    assert plan.selected == {case.id for case in plan.cases}
    assert plan.families == (4, 6)


def test_what_is_selected_brings_what_it_rests_on() -> None:
    plan = planned(cases=["open.sizes"])
    assert plan.selected == {"open.sizes"}
    assert {"control.syn", "cookie.request", "open.data-acked"} <= {case.id for case in plan.cases}
    assert not plan.complete


@pytest.mark.parametrize("option", ["intrusive", "trace"])
def test_an_option_brings_its_cases(option: str) -> None:
    without = {case.id for case in planned().cases}
    assert without < {case.id for case in planned(**{option: True}).cases}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"attempts": 0}, "from 1 to 100"),
        ({"attempts": 101}, "from 1 to 100"),
        ({"attempts": True}, "no number"),
        ({"attempts": "3"}, "no number"),
        ({"timeout": 0}, "more than 0"),
        ({"timeout": float("inf")}, "to 300"),
        ({"families": [4, 5]}, "4, 6 or both"),
        ({"families": [6]}, "no IPv6 address"),
        ({"addresses": ["example.com"]}, "--address"),
        ({"addresses": ["2001:db8::1"], "families": [4]}, "no --address is IPv4"),
        pytest.param(
            {"alt_sources": ["192.0.2.99"]}, "no address of this machine", marks=pytest.mark.lab
        ),
        ({"sections": ["9.9.9"]}, "has no case"),
        ({"excludes": ["nosuch.*"]}, "matches no case"),
        ({"levels": ["musst"]}, "not one of must"),
        ({"cases": "open.*"}, "no list"),
        ({"cases": ["cookie.lifetime"]}, "--soak"),
        ({"payload": "nosuch"}, "No such file"),
        ({"payload": 1}, "payload 1 is no text"),
        ({"proxy_protocol": "v3"}, "not one of v1, v2"),
        ({"url": "example.com"}, "no URL"),
        ({"url": "http://x/", "payload": "ssh"}, "asks for no http URL"),
        ({"garbage": 1}, "no option 'garbage'"),
    ],
)
def test_what_cannot_be_done_is_one_line(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)) as caught:
        planned(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("targets", "port"),
    [
        ((), "www.example.com:8443"),
        (("192.0.2.1",), "192.0.2.1:8443"),
        (("192.0.2.1:80",), "192.0.2.1:80"),
    ],
)
def test_a_url_fills_what_targets_leave_open(targets: tuple[str, ...], port: str) -> None:
    plan = make_plan(targets, {"url": "https://www.example.com:8443/x", "proxy_protocol": "v1"})
    assert [target.text for target in plan.targets] == [port]
    assert plan.payload.kind == "tls"
    assert plan.payload.proxy_protocol == "v1"


@pytest.mark.parametrize(
    ("text", "expected"), [(90, 90.0), ("90", 90.0), ("30m", 1800.0), ("2h", 7200.0), (0.5, 0.5)]
)
def test_durations(text: float | str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "0", "-1", "1w", "nan", "1e9", "soon"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError):
        seconds(text)
