"""Every report of a run against a broken server that sends hostile bytes: valid and harmless."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from graded import command
from read_back import (
    GOOD,
    SENT,
    Packet,
    check_junit,
    check_line,
    check_report,
    obey,
    read_packets,
)

from tfocheck.reference.answer import HOSTILE_STATUS

pytestmark = pytest.mark.lab

REQUEST = "GET /hostile HTTP/1.1\r\nHost: lab\r\n\r\n"
CASES = ("forged.random", "forged.fallback", "open.early-answer", "option.illegal-length")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports")
    (folder / "request").write_text(REQUEST, newline="")
    outputs = [part for each in ("json", "jsonl", "junit", "pcap") for part in (f"--{each}", each)]
    cases = [part for case in CASES for part in ("--case", case)]
    arguments = command(
        "lab", "run", "reference", "--fault", "accepts-any-cookie",
        "--", "-v", "--payload", "request", *cases, *outputs,
    )  # fmt: skip
    environment = {**os.environ, "GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": "summary.md"}
    done = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True)
    assert done.returncode == 1, done.stderr
    (folder / "log").write_bytes(done.stdout)
    return folder


@pytest.fixture(scope="module")
def packets(written: Path) -> list[Packet]:
    return read_packets(written / "pcap")


@pytest.fixture(scope="module")
def address(written: Path) -> dict[str, Any]:
    document = json.loads((written / "json").read_text())
    check_report(document)
    [address] = document["addresses"]
    assert isinstance(address, dict)
    return address


def test_reports_of_text_are_text_whatever_the_server_sends(written: Path) -> None:
    for name in ("json", "jsonl", "junit", "summary.md", "log"):
        data = (written / name).read_bytes()
        assert set(data) <= {*range(0x20, 0x7F), 0x0A}, name
    assert r"HTTP/1.1 200 \x1b[2J]]>\x00" in (written / "log").read_text()


def test_reports_for_programs_are_valid_and_agree(written: Path, address: dict[str, Any]) -> None:
    check_junit((written / "junit").read_text())
    line = json.loads((written / "jsonl").read_text())
    check_line(line)
    verdicts = {each["case"]: each["verdict"] for each in address["results"]}
    assert line["verdicts"] == verdicts
    assert verdicts["forged.random"] == "fail"
    root = ElementTree.parse(written / "junit").getroot()
    assert [each.get("name") for each in root.iter("testcase")] == list(verdicts)
    failed = [
        each.get("name") for each in root.iter("testcase") if each.find("failure") is not None
    ]
    assert failed == [case for case, verdict in verdicts.items() if verdict == "fail"]
    assert HOSTILE_STATUS.hex() in (written / "json").read_text()


def test_only_our_commands_reach_the_runner(written: Path) -> None:
    found = obey((written / "log").read_text())
    assert [(name, title.partition(":")[0]) for name, title, _ in found] == [
        ("error", "forged.random")
    ]


def test_every_packet_that_was_sent_and_received_is_in_the_capture(
    address: dict[str, Any], packets: list[Packet]
) -> None:
    assert address["traffic"]["capture_drops"] == 0
    directions = Counter(each.direction == SENT for each in packets)
    assert directions[True] == address["traffic"]["sent"]
    assert directions[False] == address["traffic"]["received"]
    assert [each.time for each in packets] == sorted(each.time for each in packets)


def test_packets_are_sound_and_found_by_their_case(
    address: dict[str, Any], packets: list[Packet]
) -> None:
    assert {(each.ip_checksum, each.tcp_checksum) for each in packets} == {(GOOD, GOOD)}
    assert not [each for each in packets if each.malformed]
    [forged] = [each for each in address["results"] if each["case"] == "forged.random"]
    about = [each for each in packets if any("forged.random: " in said for said in each.comments)]
    assert len(about) == sum(len(flow["packets"]) for flow in forged["flows"])
    decided = [flow for flow in forged["flows"] if flow["decided"]]
    marked = [each for each in about if any("this decided: fail" in said for said in each.comments)]
    assert len(marked) == len(decided) > 0
    assert all("SYN,ACK" in str(each.comments) for each in marked)
    assert any(said.startswith("control: ") for each in packets for said in each.comments)
