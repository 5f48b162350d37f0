"""Every format a report can have: its option, its name in a directory, and what makes it.

A format that is added here is an option's report and a file of ``-o DIR``. The modules behind
them are imported when they are used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfocheck.judging.grade import Judgement


@dataclass(frozen=True)
class Format:
    """``option`` without its dashes is the name of the command's parameter, ``help`` its help."""

    option: str
    file_name: str
    dumps: Callable[[Judgement], str | bytes]
    help: str

    @property
    def parameter(self) -> str:
        """What click calls the option's value."""
        return self.option.removeprefix("--").replace("-", "_")


def _json(judgement: Judgement) -> str:
    from tfocheck.report import json_report

    return json_report.dumps(judgement)


def _junit(judgement: Judgement) -> str:
    from tfocheck.report import junit

    return junit.dumps(judgement)


def _jsonl(judgement: Judgement) -> str:
    from tfocheck.report import json_lines

    return json_lines.dumps(judgement)


def _html(judgement: Judgement) -> str:
    from tfocheck.report import html

    return html.dumps(judgement)


def _pcap(judgement: Judgement) -> bytes:
    from tfocheck.report import pcapng

    return pcapng.dumps(judgement)


FORMATS = (
    Format(
        "--json",
        "report.json",
        _json,
        "Write a JSON report; - is standard output.",
    ),
    Format(
        "--jsonl", "report.jsonl", _jsonl, "Write a line of JSON per address; - is standard output."
    ),
    Format(
        "--junit",
        "junit.xml",
        _junit,
        "Write a JUnit XML report; - is standard output.",
    ),
    Format(
        "--html", "report.html", _html, "Write a page with the packets drawn; - is standard output."
    ),
    Format(
        "--pcap",
        "packets.pcapng",
        _pcap,
        "Write the packets, with comments, as pcapng for Wireshark.",
    ),
)
TEXT_NAME = "report.txt"
"""The name in a directory of the text for people, which has no option."""

FILE_NAMES = (TEXT_NAME, *(each.file_name for each in FORMATS))


def dumps(option: str, judgement: Judgement) -> str | bytes:
    """The report in the format of an option."""
    [format_] = [each for each in FORMATS if each.option == option]
    return format_.dumps(judgement)
