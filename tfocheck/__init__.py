"""tfocheck grades, from outside, how a server behaves against RFC 7413 (TCP Fast Open).

The command is one user of the library:

    report = tfocheck.check("example.com:443").run()

or, in asyncio code, ``async for result in tfocheck.check("example.com:443")``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfocheck.library import Check

__version__ = "0.1.0"

__all__ = ["__version__", "check"]


def check(
    *targets: str,
    cases: Sequence[str] = (),
    case_directories: Sequence[str | Path] = (),
    payload: str | None = None,
    attempts: int = 3,
    timeout: float = 3.0,
    source: str | None = None,
    families: Sequence[int] = (4, 6),
    addresses: Sequence[str] = (),
) -> Check:
    """A check of these targets ("host", "host:port", "[v6]:port"), not begun yet.

    ``cases`` are globs of case ids (default: all), ``case_directories`` folders with further case
    files, ``payload`` as in ``--payload``; ``attempts`` must agree on an absence, ``timeout`` in
    seconds bounds any single wait; ``addresses`` are literals to use instead of resolving.

    Raises UsageError at once for what can't be run; the check itself raises CannotError without
    CAP_NET_RAW.
    """
    # Scapy is loaded only when packets are.
    from tfocheck.library import Check

    return Check(
        targets,
        cases=cases,
        case_directories=case_directories,
        payload=payload,
        attempts=attempts,
        timeout=timeout,
        source=source,
        families=families,
        addresses=addresses,
    )
