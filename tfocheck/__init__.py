"""tfocheck grades, from outside, how a server behaves against RFC 7413 (TCP Fast Open).

The command is one user of the library:

    report = tfocheck.check("example.com:443").run()
    print(report.grade, report.headline)

or, in asyncio code, ``report = await tfocheck.check(...)``, or ``async for result in check``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfocheck.errors import (
        CannotError,
        ExitCode,
        TfocheckError,
        UnreachableError,
        UsageError,
    )
    from tfocheck.library import Check, JudgedReport, check
    from tfocheck.model.case import Level, Severity, Verdict
    from tfocheck.model.report import AddressReport, CaseResult
    from tfocheck.runner.options import CheckOptions
    from tfocheck.version import __version__

__all__ = [
    "AddressReport",
    "CannotError",
    "CaseResult",
    "Check",
    "CheckOptions",
    "ExitCode",
    "JudgedReport",
    "Level",
    "Severity",
    "TfocheckError",
    "UnreachableError",
    "UsageError",
    "Verdict",
    "__version__",
    "check",
]

_PLACES = {
    "tfocheck.errors": (
        "CannotError",
        "ExitCode",
        "TfocheckError",
        "UnreachableError",
        "UsageError",
    ),
    "tfocheck.library": ("Check", "JudgedReport", "check"),
    "tfocheck.model.case": ("Level", "Severity", "Verdict"),
    "tfocheck.model.report": ("AddressReport", "CaseResult"),
    "tfocheck.runner.options": ("CheckOptions",),
    "tfocheck.version": ("__version__",),
}


def __getattr__(name: str) -> object:
    # Whoever imports the package has not asked for a packet yet: Scapy can wait.
    import importlib

    for module, names in _PLACES.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
