"""What a case file needs, in one place: the decorator, the weights, the verdicts, the probe.

Names only. Those that bring Scapy along are looked up when they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfocheck.model.case import (
    FAST_OPEN_WORKS,
    Case,
    Level,
    Option,
    Outcome,
    Role,
    Severity,
    Turn,
    Verdict,
)
from tfocheck.runner.catalogue import case

if TYPE_CHECKING:
    from tfocheck.server.probe import Probe
    from tfocheck.wire.options import FastOpen

__all__ = [
    "FAST_OPEN_WORKS",
    "Case",
    "FastOpen",
    "Level",
    "Option",
    "Outcome",
    "Probe",
    "Role",
    "Severity",
    "Turn",
    "Verdict",
    "case",
]

_ELSEWHERE = {
    "FastOpen": "tfocheck.wire.options",
    "Probe": "tfocheck.server.probe",
}


def __getattr__(name: str) -> object:
    if name not in _ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_ELSEWHERE[name]), name)
