"""What a stream can show: its width, and colours."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

from tfocheck.model.case import Verdict

BOLD, RED, GREEN, YELLOW, MAGENTA, CYAN, DIM = "1", "31", "32", "33", "35", "36", "2"
COLOURS = {
    Verdict.PASS: GREEN,
    Verdict.FAIL: f"{BOLD};{RED}",
    Verdict.WARN: YELLOW,
    Verdict.INFO: CYAN,
    Verdict.SKIP: DIM,
    Verdict.INCONCLUSIVE: MAGENTA,
    Verdict.ERROR: f"{BOLD};{MAGENTA}",
}


@dataclass(frozen=True)
class Style:
    """What the stream can show: ``width`` in columns, None when nothing is to be wrapped."""

    width: int | None = None
    colour: bool = False

    @classmethod
    def of(cls, stream: TextIO, environment: Mapping[str, str] = os.environ) -> Style:
        """What suits this stream; see no-color.org and bixense.com/clicolors for the variables."""
        terminal = stream.isatty()
        width = max(40, shutil.get_terminal_size().columns) if terminal else None
        if environment.get("NO_COLOR"):
            return cls(width, False)
        if environment.get("CLICOLOR_FORCE", "0") not in ("", "0"):
            return cls(width, True)
        dull = environment.get("TERM") == "dumb" or environment.get("CLICOLOR") == "0"
        return cls(width, terminal and not dull)

    def paint(self, text: str, code: str) -> str:
        """The text in a colour, if there are any."""
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and text else text

    def verdict(self, verdict: Verdict, mark: str = "") -> str:
        """A verdict in its colour."""
        return self.paint(verdict.value + mark, COLOURS[verdict])
