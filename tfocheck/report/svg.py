"""Where everything goes in the page's drawings: packet ladders, and the chart of first-byte times.

Rules that hold here:

* No markup: the template draws what is placed here, and escapes it. All texts went through
  ``escape`` before.
* A drawing is as wide as a telephone; a wide screen puts several side by side. So texts are folded
  here, by the width of a character of the monospaced font, which is the same in all of them.
* Units are SVG user units, CSS pixels at full size; y grows downwards, as time does in a ladder.
"""

from __future__ import annotations

import math
import statistics
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfocheck.report.ladder import (
    numbers_in_words,
    options_in_words,
    preview,
    telling_packets,
    words_for_hidden,
)

if TYPE_CHECKING:
    from tfocheck.wire.evidence import Captured, FlowRecord

WIDTH = 336
_CLIENT, _SERVER = 10, WIDTH - 10
_INDENT = 9
_CHARACTER = 6.4
_LINE = 14
_COLUMNS = int((_SERVER - _CLIENT - 2 * _INDENT) / _CHARACTER)
_SLOPE = 7
_HEAD = 26
_GAP = 9
_PAUSE_HEIGHT = 24

_PAUSE = 0.2


@dataclass(frozen=True)
class Text:
    """A line of text with its baseline at ``y``; ``style`` is a class of the style sheet."""

    y: float
    text: str
    style: str


@dataclass(frozen=True)
class Rung:
    """One packet: ``arrow`` is a path; ``top`` and ``height`` are the room it takes."""

    sent: bool
    deciding: bool
    top: float
    height: float
    time: str
    texts: tuple[Text, ...]
    arrow: str


@dataclass(frozen=True)
class Pause:
    """Packets that are not drawn, or time in which nothing happened, in words."""

    y: float
    text: str


@dataclass(frozen=True)
class Ladder:
    """A flow's drawing: client at x ``client``, server at x ``server``."""

    height: float
    rungs: tuple[Rung, ...]
    pauses: tuple[Pause, ...]
    packets: int
    client: int = _CLIENT
    server: int = _SERVER
    width: int = WIDTH


def ladder(flow: FlowRecord, verdict: str) -> Ladder:
    """Place a flow's packets, time going down; long waits and packets left out are said.

    ``verdict`` is the word for what the deciding packet decided.
    """
    start = min((packet.time for packet in flow.packets), default=0.0)
    rungs: list[Rung] = []
    pauses: list[Pause] = []
    y, before = float(_HEAD), -1
    windows: dict[bool, int] = {}
    for index in telling_packets(flow):
        packet = flow.packets[index]
        words = _between(flow, before, index)
        if words:
            pauses.append(Pause(y + _PAUSE_HEIGHT / 2 + 3, words))
            y += _PAUSE_HEIGHT
        time = f"{(packet.time - start) * 1000:.3f} ms"
        deciding = packet is flow.deciding
        lines = [("decides", f"this decided: {verdict}")] if deciding else []
        lines += _lines(flow, packet, windows, len(time))
        rung = _rung(packet, y, time, lines, deciding=deciding)
        rungs.append(rung)
        y += rung.height
        before = index
    return Ladder(y + 4, tuple(rungs), tuple(pauses), len(flow.packets))


def _between(flow: FlowRecord, before: int, index: int) -> str:
    """What lies between two packets that are drawn; empty if there is nothing to say of it."""
    if before < 0:
        return ""
    if hidden := words_for_hidden(flow, before, index):
        return f"{hidden} not drawn"
    waited = flow.packets[index].time - flow.packets[before].time
    return f"{waited:.1f} s later" if waited >= _PAUSE else ""


def _rung(
    packet: Captured, top: float, time: str, lines: Sequence[tuple[str, str]], *, deciding: bool
) -> Rung:
    y, texts = top + _GAP, []
    for style, text in lines:
        y += _LINE
        texts.append(Text(y, text, style))
    y += 5
    return Rung(
        sent=packet.sent,
        deciding=deciding,
        top=top + _GAP / 2,
        height=y + _SLOPE + 3 - top,
        time=time,
        texts=tuple(texts),
        arrow=_arrow(packet.sent, y),
    )


def _lines(
    flow: FlowRecord, packet: Captured, windows: dict[bool, int], taken: int
) -> list[tuple[str, str]]:
    """What stands above an arrow, as (style, text); the first line leaves room for the time.

    A window is seldom news: it is said when it is another than in ``windows``, by direction.
    """
    segment = packet.segment
    words = [str(segment.flags), *numbers_in_words(flow, packet)]
    if segment.payload:
        words.append(f"len {len(segment.payload)}")
    if packet.gso_size:
        words.append(f"gso {packet.gso_size}")
    options = options_in_words(segment)
    fast_open = [word for word in options if word.startswith("TFO")]
    others = [word for word in options if not word.startswith("TFO")]
    if windows.get(packet.sent) != segment.window:
        windows[packet.sent] = segment.window
        others.append(f"win {segment.window}")
    lines = [("head", text) for text in _filled(words, "  ", _COLUMNS - taken - 2)]
    lines += [("fast-open", text) for word in fast_open for text in _filled([word], "", _COLUMNS)]
    lines += [("quiet", text) for text in _filled(others, ", ", _COLUMNS)]
    if segment.payload:
        lines += [("payload", text) for text in _filled([preview(segment.payload)], "", _COLUMNS)]
    return lines


def _filled(words: Iterable[str], between: str, columns: int) -> list[str]:
    """Lines of whole words, at most so long; a word is cut only where it needs more than a line."""
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + len(between) + len(word) <= columns:
            lines[-1] += between + word
        elif len(word) <= columns:
            lines.append(word)
        else:
            lines += textwrap.wrap(word, columns, break_on_hyphens=False)
    return lines


def _arrow(sent: bool, y: float) -> str:
    start, end, back = (_CLIENT, _SERVER, -1) if sent else (_SERVER, _CLIENT, 1)
    tip = y + _SLOPE
    barb = f"L{end + back * 8} {tip - 4.5:g}M{end} {tip:g}L{end + back * 8.5} {tip + 3.5:g}"
    return f"M{start} {y:g}L{end} {tip:g}{barb}"


# The chart


@dataclass(frozen=True)
class Series:
    """The times of one way to connect: dots at ``xs``, the median marked at ``median``."""

    name: str
    style: str
    y: float
    xs: tuple[float, ...]
    median: float
    label: str


@dataclass(frozen=True)
class Chart:
    """First-byte times on one axis of milliseconds, from 0."""

    width: int
    height: float
    left: float
    right: float
    top: float
    axis: float
    ticks: tuple[tuple[float, str], ...]
    series: tuple[Series, ...]
    summary: str


def chart(plain: Sequence[float], fast: Sequence[float]) -> Chart | None:
    """Place the seconds to the first byte of an answer; None where one side has none."""
    if not plain or not fast:
        return None
    step = _nice_step(max(*plain, *fast) * 1000 / 4)
    last = max(1, math.ceil(max(*plain, *fast) * 1000 / step - 1e-9))
    # Half of the last label stands beyond the end of the axis.
    beyond = max(22.0, 3.7 * len(f"{step * last:g} ms"))
    left, right, top, row = 12.0, WIDTH - beyond, 8.0, 46.0

    def x(seconds: float) -> float:
        return round(left + (right - left) * seconds * 1000 / (step * last), 1)

    def series(name: str, style: str, times: Sequence[float], number: int) -> Series:
        middle = statistics.median(times)
        return Series(
            name=name,
            style=style,
            y=top + row * number + 32,
            xs=tuple(x(each) for each in times),
            median=x(middle),
            label=f"median {middle * 1000:.1f} ms, {len(times)} connections",
        )

    saved = (statistics.median(plain) - statistics.median(fast)) * 1000
    found = (series("plain", "plain", plain, 0), series("Fast Open", "fast", fast, 1))
    axis = top + 2 * row + 4
    return Chart(
        width=WIDTH,
        height=axis + 20,
        left=left,
        right=right,
        top=top,
        axis=axis,
        ticks=tuple((x(step * n / 1000), f"{step * n:g}") for n in range(last + 1)),
        series=found,
        summary=f"{saved:.1f} ms saved" if saved >= 0 else f"{-saved:.1f} ms lost",
    )


def _nice_step(least: float) -> float:
    """1, 2 or 5 times a power of ten, not less than this."""
    power = 10.0 ** math.floor(math.log10(max(least, 1e-3)))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * 0.999999)
