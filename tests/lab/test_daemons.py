"""Debian's servers that speak Fast Open: what a check says of each is true of the program.

What is neither pass nor info has its reason here. The whole answers of most are short, so nothing
can be told of segment sizes and windows; a DNS server can't be asked for more in one message.
"""

from __future__ import annotations

import pytest
from graded import grade

from tfocheck.lab.daemons import DAEMONS

pytestmark = pytest.mark.lab

SHORT = {"open.initial-window": "too short", "open.peer-mss": "too short"}
SHORT_DNS = {**SHORT, "open.peer-window": "too short"}
ANSWERED = ("benefit.latency", "open.early-answer", "open.stream-integrity")
MUTE = dict.fromkeys((*ANSWERED, *SHORT), "the application answers nothing")
# What comes first says nothing of what was asked, whatever that was.
SAME_FOR_ALL = {"open.stream-integrity": "answers a damaged request just like a whole one"}

REASONS: dict[str, dict[str, str]] = {
    "unbound": SHORT_DNS,
    "knot": SHORT_DNS,
    "pdns": SHORT_DNS,
    "pdns-recursor": SHORT_DNS,
    # It refuses by the query's first bytes, before it looks at the rest.
    "dnsdist": {**SHORT_DNS, **SAME_FOR_ALL},
    "varnish": {},
    "h2o": {},
    "nghttpx": {},
    "exim": {**SHORT, **SAME_FOR_ALL},
    "shadowsocks": {
        **MUTE,
        **dict.fromkeys(("open.peer-window", "path.early-data"), "see open.early-answer"),
    },
    # Where its greeting is under way already, that is repeated and not the SYN-ACK.
    "banner-first": {
        "open.initial-window": "too short",
        "open.synack-retransmit": "the SYN-ACK was not repeated",
        **SAME_FOR_ALL,
    },
}
CHANCE = pytest.mark.xfail(
    reason="it takes five connections of an address before they log in: one more is reset",
    strict=False,
)
"""For what a run meets now and then."""


def test_every_daemon_has_its_reasons() -> None:
    assert set(REASONS) == {scenario.name for scenario in DAEMONS}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=CHANCE) if name == "banner-first" else name for name in REASONS],
)
def test_verdicts_are_true_of_the_program(name: str) -> None:
    graded = grade(name)
    for case, said in graded.not_good.items():
        assert case in REASONS[name], said
        assert said.startswith("skip: ")
        assert REASONS[name][case] in said
    assert graded.exit_code == 0
    assert graded.address["grade"] == ("A" if REASONS[name] else "A+")
