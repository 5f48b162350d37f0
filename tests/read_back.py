"""Reads what the reports' readers read: schemas, Jenkins' plugin, tshark, GitHub's runner."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from lxml import etree

from tfocheck.report import schema

JENKINS = str(Path(__file__).parent / "report" / "junit-10.xsd")


def check_report(document: object) -> None:
    """See that a JSON report is valid and has no key that its schema does not know."""
    _VALIDATORS["json"].validate(document)


def check_line(document: object) -> None:
    """The same for a line of JSON Lines."""
    _VALIDATORS["jsonl"].validate(document)


def _closed(part: Any) -> Any:
    """The schema such that keys which it does not name are errors."""
    if isinstance(part, list):
        return [_closed(each) for each in part]
    if not isinstance(part, dict):
        return part
    closed = {key: _closed(value) for key, value in part.items()}
    if part.get("type") == "object" and "properties" in part:
        closed["additionalProperties"] = False
    return closed


_VALIDATORS = {
    option: jsonschema_rs.validator_for(_closed(json.loads(schema.text(option))))
    for option in schema.NAMES
}


def check_junit(text: str) -> None:
    """See that Jenkins' xUnit plugin would take it."""
    etree.XMLSchema(etree.parse(JENKINS)).assertValid(etree.fromstring(text.encode()))


def tshark(path: Path, *options: str) -> list[str]:
    """The lines that tshark prints; a complaint fails the test."""
    if shutil.which("tshark") is None:
        if os.environ.get("TFOCHECK_REQUIRE_ALL") == "1":
            pytest.fail("needs tshark")
        pytest.skip("needs tshark")
    done = subprocess.run(
        ["tshark", "-n", "-r", str(path), *options], capture_output=True, text=True, check=True
    )
    complaints = [line for line in done.stderr.splitlines() if not line.startswith("Running as")]
    assert complaints == []
    return done.stdout.splitlines()


@dataclass(frozen=True)
class Packet:
    """A packet as tshark shows it."""

    time: str
    interface: str
    direction: str
    version: str
    comments: list[str]
    ip_checksum: str
    tcp_checksum: str
    malformed: str


FIELDS = (
    "frame.time_epoch",
    "frame.interface_name",
    "frame.packet_flags_direction",
    "ipv6.version",
    "frame.comment",
    "ip.checksum.status",
    "tcp.checksum.status",
    "_ws.malformed",
)
RECEIVED, SENT = "0x00000001", "0x00000002"
GOOD = "1"


def read_packets(path: Path) -> list[Packet]:
    """All packets of a file, their checksums looked at."""
    chosen = [part for name in FIELDS for part in ("-e", name)]
    checks = ["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"]
    rows = [
        line.split("\t")
        for line in tshark(path, *checks, "-T", "fields", "-E", "aggregator=|", *chosen)
    ]
    return [Packet(*row[:4], row[4].split("|"), *row[5:]) for row in rows]  # type: ignore[call-arg, arg-type]


def obey(log: str) -> list[tuple[str, str, str]]:
    """(command, title, message) of each command in a log, as the runner reads its lines.

    Source: the runner's documentation of workflow commands: lines that begin with ``::`` after any
    white space, and ``##[`` anywhere; nothing after stop-commands until its word comes again.
    """
    found, stopped = [], None
    for line in re.split(r"\r\n|\r|\n", log):
        command = re.match(r"\s*::([\w-]+)(?: title=([^:]*))?::(.*)$", line)
        if stopped is not None:
            stopped = None if line.strip() == f"::{stopped}::" else stopped
        elif command and command[1] == "stop-commands":
            stopped = command[3]
        elif command:
            found.append((command[1], unescape(command[2] or ""), unescape(command[3])))
        elif "##[" in line or line.lstrip().startswith("::"):
            found.append(("injected", "", line))
    return found


def unescape(value: str) -> str:
    for code, character in (("3A", ":"), ("2C", ","), ("0D", "\r"), ("0A", "\n"), ("25", "%")):
        value = value.replace(f"%{code}", character)
    return value
