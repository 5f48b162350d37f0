"""What a check found, shared between the workers of pytest-xdist."""

from __future__ import annotations

import dataclasses
import fcntl
import json
from collections.abc import Callable
from pathlib import Path

from tfocheck.cli.pytest_endings import Ended, Ending, Found


def once(directory: Path, check: Callable[[], Found]) -> Found:
    """What the check found, which the first worker to ask lets run while the others wait."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # goes with the file, however its owner ends
        found = read(directory)
        if found is None:
            found = check()
            _write(directory, found)
        return found


def _write(directory: Path, found: Found) -> None:
    items = [
        [target, case_id, dataclasses.asdict(ended)]
        for (target, case_id), ended in found.items.items()
    ]
    beside = directory / "found.new"
    beside.write_text(json.dumps({"items": items, "notes": list(found.notes)}))
    beside.rename(directory / "found")


def read(directory: Path) -> Found | None:
    """What a worker has found, None while none has."""
    try:
        document = json.loads((directory / "found").read_text())
    except FileNotFoundError:
        return None
    return Found(
        {
            (target, case_id): Ended(
                Ending(ended["ending"]), ended["text"], tuple(ended["warnings"]), ended["seconds"]
            )
            for target, case_id, ended in document["items"]
        },
        document["notes"],
    )
