"""Tables and lines that fit a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from tabulate import MIN_PADDING, tabulate

from tfocheck.model.style import Style

GAP = 2
"""Columns of space between two columns."""

_MIN_SEEN = 20


def wrapped_grid(header: Sequence[str], rows: Sequence[Sequence[str]], style: Style) -> str:
    """A table; at a terminal its last column is wrapped to what room there is."""
    if style.width is not None:
        rows = wrap_last_column(header, rows, style.width)
    return grid(header, rows)


def grid(header: Sequence[str], rows: Sequence[Sequence[str]], fmt: str = "simple") -> str:
    """A table in one of tabulate's formats."""
    # Cells are text: "4.2" must not become a number, nor be aligned as one.
    grid = tabulate(rows, list(header), tablefmt=fmt, disable_numparse=True, stralign="left")
    return "".join(f"{line.rstrip()}\n" for line in grid.split("\n"))


def column_width(header: Sequence[str], rows: Sequence[Sequence[str]], column: int) -> int:
    """How wide a column becomes."""
    # tabulate pads headers, not cells.
    head = max(len(line) + MIN_PADDING for line in header[column].split("\n"))
    return max([head, *(_visible(line) for row in rows for line in row[column].split("\n"))])


def _visible(line: str) -> int:
    """The width of a line without its colour codes, the only escape sequences there are."""
    return sum(
        len(part.partition("m")[2]) if index else len(part)
        for index, part in enumerate(line.split("\x1b["))
    )


def wrap_last_column(
    header: Sequence[str], rows: Sequence[Sequence[str]], width: int
) -> list[list[str]]:
    """The rows, with the last column in lines that fit into a width."""
    taken = sum(column_width(header, rows, column) + GAP for column in range(len(header) - 1))
    room = max(_MIN_SEEN, width - taken)
    return [[*row[:-1], textwrap.fill(row[-1], room)] for row in rows]


def wrap(line: str, style: Style, indent: str) -> list[str]:
    """A line as those that the terminal has room for."""
    if style.width is None or len(line) <= style.width:
        return [line]
    return textwrap.wrap(line, style.width, subsequent_indent=indent, break_on_hyphens=False) or [
        line
    ]


def joined(lines: Sequence[str]) -> str:
    """Lines as a text."""
    return "".join(f"{line}\n" for line in lines)
