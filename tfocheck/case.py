"""What a case file needs, in one place: the decorator, the weights, the verdicts, the probe.

Names only. Those that bring Scapy along are looked up when they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfocheck.judging.ballot import (
    LEAST_TO_BLAME,
    NothingToSeeError,
    UnansweredError,
    UnusableError,
)
from tfocheck.model.case import (
    FAST_OPEN_WORKS,
    IN_TURN,
    Agreement,
    Case,
    Control,
    Level,
    Option,
    Outcome,
    Role,
    Severity,
    Turn,
    Verdict,
)
from tfocheck.model.facts import Fact
from tfocheck.runner.catalogue import case

if TYPE_CHECKING:
    from tfocheck.engine.flow import Flow
    from tfocheck.engine.lane import SLOW_PATH
    from tfocheck.model.route import DATA, OPEN, OPTION
    from tfocheck.server import advice
    from tfocheck.server.opener import REPEAT_WAIT, OptionArea, Syn, how_unanswered
    from tfocheck.server.probe import Probe
    from tfocheck.server.rejection import Rejection
    from tfocheck.server.silence import INSISTENCE, judge_repeated_syn_ack
    from tfocheck.wire import comparison
    from tfocheck.wire import options as tcp_options
    from tfocheck.wire.evidence import Captured
    from tfocheck.wire.options import FastOpen
    from tfocheck.wire.quote import Change

_ELSEWHERE = {
    "DATA": "tfocheck.model.route",
    "INSISTENCE": "tfocheck.server.silence",
    "OPEN": "tfocheck.model.route",
    "OPTION": "tfocheck.model.route",
    "REPEAT_WAIT": "tfocheck.server.opener",
    "SLOW_PATH": "tfocheck.engine.lane",
    "Captured": "tfocheck.wire.evidence",
    "Change": "tfocheck.wire.quote",
    "FastOpen": "tfocheck.wire.options",
    "Flow": "tfocheck.engine.flow",
    "OptionArea": "tfocheck.server.opener",
    "Probe": "tfocheck.server.probe",
    "Rejection": "tfocheck.server.rejection",
    "Syn": "tfocheck.server.opener",
    "how_unanswered": "tfocheck.server.opener",
    "judge_repeated_syn_ack": "tfocheck.server.silence",
}
_MODULES = {
    "advice": "tfocheck.server.advice",
    "comparison": "tfocheck.wire.comparison",
    "tcp_options": "tfocheck.wire.options",
}

__all__ = [
    "DATA",
    "FAST_OPEN_WORKS",
    "INSISTENCE",
    "IN_TURN",
    "LEAST_TO_BLAME",
    "OPEN",
    "OPTION",
    "REPEAT_WAIT",
    "SLOW_PATH",
    "Agreement",
    "Captured",
    "Case",
    "Change",
    "Control",
    "Fact",
    "FastOpen",
    "Flow",
    "Level",
    "NothingToSeeError",
    "Option",
    "OptionArea",
    "Outcome",
    "Probe",
    "Rejection",
    "Role",
    "Severity",
    "Syn",
    "Turn",
    "UnansweredError",
    "UnusableError",
    "Verdict",
    "advice",
    "case",
    "comparison",
    "how_unanswered",
    "judge_repeated_syn_ack",
    "tcp_options",
]


def __getattr__(name: str) -> object:
    import importlib

    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name not in _ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_ELSEWHERE[name]), name)
