"""The sample reports in ``reports`` are what ``make reports`` would make today."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from graded import require
from read_back import check_report, read_packets
from sample import make_case, make_flow, make_result

from tfocheck.judging.grade import STEPS
from tfocheck.lab.scenarios import SCENARIOS
from tfocheck.report import html
from tfocheck.runner.catalogue import load_cases

ROOT = Path(__file__).parent.parent.parent
SAMPLES = ROOT / "reports"
STALE = "run `make reports`, look at what changed, and commit it"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


normal, make = load("normal"), load("make")


def sample(name: str) -> dict[str, Any]:
    document = json.loads((SAMPLES / f"{name}.json").read_text())
    assert isinstance(document, dict)
    return document


def test_every_sample_is_there_and_nothing_else() -> None:
    wanted = {file for name in make.NAMES for file in make.file_names(name)}
    others = {"README.md", "make.py", "normal.py"}
    found = {each.name for each in SAMPLES.iterdir() if each.is_file()}
    assert found == wanted | others, STALE
    assert sum((SAMPLES / name).stat().st_size for name in wanted) < 3 << 20


@pytest.mark.parametrize("name", make.IN_FULL)
def test_samples_are_about_the_cases_of_today(name: str) -> None:
    document = sample(name)
    check_report(document)
    results = document["addresses"][0]["results"]
    cases = {case.id: case for case in load_cases()}
    for result in results:
        case = cases[result["case"]]
        told = ("section", "title", "requirement", "expected", "advice")
        assert [result[each] for each in told] == [getattr(case, each) for each in told], STALE
        assert result["level"] == case.level
    if name not in make.LEFT_TO_CHANCE:
        # --off-port is given in every lab.
        default = {i for i, case in cases.items() if case.option in (None, "--off-port")}
        assert {result["case"] for result in results} == default, STALE
    page = (SAMPLES / f"{name}.html").read_text()
    templates = Path(html.__file__).parent / "templates"
    assert (templates / "report.css").read_text() in page, STALE
    assert (templates / "report.js").read_text() in page, STALE
    assert page.count("<details") == len(results)


@pytest.mark.parametrize("name", make.IN_SHORT)
def test_lines_are_about_the_cases_of_today(name: str) -> None:
    verdicts = json.loads((SAMPLES / f"{name}.jsonl").read_text())["verdicts"]
    wanted = (None, "--off-port") if SCENARIOS[name].has_off_port else (None,)
    assert set(verdicts) == {case.id for case in load_cases() if case.option in wanted}, STALE


AS_GOOD_AS_IT_GETS = ("linux", "nginx", "haproxy", "varnish", "h2o")
ALMOST = (
    *("unbound", "knot", "pdns", "pdns-recursor", "dnsdist"),
    *("exim", "shadowsocks", "banner-first"),
    *("routed", "farm-one-key", "isn-shifted", "option-moved"),
    *("mss-clamped", "timestamps-removed"),
)
LEAST = {
    **dict.fromkeys(AS_GOOD_AS_IT_GETS, "A+"),
    **dict.fromkeys(ALMOST, "A"),
    **dict.fromkeys(("farm-dnat", "farm-three-keys"), "C"),
    "linux-cookieless": "F",
}
"""The letters that were true of them once: nothing here may get worse unseen."""


def letter(name: str) -> str | None:
    """The letter in a sample's text, None without one."""
    found = re.search(r": grade ([A-F][+-]?)[.,]", (SAMPLES / f"{name}.txt").read_text())
    return found[1] if found else None


@pytest.mark.parametrize("name", make.NAMES)
def test_no_sample_has_a_lower_letter_than_before(name: str) -> None:
    least = LEAST.get(name)
    if least is None:
        assert letter(name) is None, "note it in LEAST"
        return
    given, order = letter(name), (*STEPS, "F")
    assert given in order
    assert order.index(given) <= order.index(least)


def test_the_table_of_servers_is_of_these_samples() -> None:
    page = (ROOT / "docs" / "servers.md").read_text()
    assert make.with_table(page, SAMPLES) == page, STALE


@pytest.mark.lab
def test_the_packets_of_a_sample_are_sound() -> None:
    [name] = make.WITH_PACKETS
    packets = read_packets(SAMPLES / f"{name}.pcapng")
    shown = sum(
        len(f["packets"]) for r in sample(name)["addresses"][0]["results"] for f in r["flows"]
    )
    assert sum(len(each.comments) for each in packets) == shown > 100
    assert {(each.ip_checksum, each.tcp_checksum) for each in packets} == {("1", "1")}
    assert not any(each.malformed for each in packets if each.direction == "0x00000002")


# On a busy machine an attempt may be late, so that "3 of 3" is "3 of 4", and a packet more is sent.
_COUNTS = re.compile(r"\d+ of \d+|\d+ packets sent")


def lasting(file: Path) -> object:
    """What of a sample is the same each time, however busy the machine is."""
    if file.suffix == ".pcapng":
        return None
    text = file.read_text()
    if file.suffix == ".html":
        return text.partition("<body")[0]  # the page's own part; the rest is in the others
    if file.suffix == ".txt":
        return _COUNTS.sub("N", text)
    [address] = json.loads(text)["addresses"]
    results = address.pop("results")
    kept = {key: address[key] for key in ("target", "address", "grade", "kind", "headline")}
    fields = ("case", "section", "level", "severity", "verdict", "conclusive", "advice", "known")
    return kept, [
        ([each[field] for field in fields], _COUNTS.sub("N", each["seen"])) for each in results
    ]


@pytest.mark.lab
@pytest.mark.parametrize("name", ["linux", "linux-cookieless", "option-stripped"])
def test_a_sample_made_again_is_the_same(name: str, tmp_path: Path) -> None:
    """In the first of them every case is run; in the others most are skipped."""
    require(name)
    make.make(name, tmp_path)
    differ = [
        file
        for file in make.file_names(name)
        if lasting(tmp_path / file) != lasting(SAMPLES / file)
    ]
    assert differ == [], STALE


def test_chance_is_taken_out_of_what_was_seen_and_nothing_else() -> None:
    assert normal.text("first byte after 1.3 ms (0.8 to 2.1) plain: -0.3 ms saved") == (
        "first byte after x ms (x to x) plain: x ms saved"
    )
    assert normal.text("6 of 16: servers don't share a key") == "n of 16: servers don't share a key"
    assert normal.text("none met by 195 SYNs") == "none met by n SYNs"
    assert normal.text("plain SYN to port 30145") == "plain SYN to port 33434"
    for kept in ("16 of 16: accepted", "port 8081: no cookie", "repeated after 1.0 s", "ack 82"):
        assert normal.text(kept) == kept


def test_related_cookies_stay_related() -> None:
    flow = make_flow()
    issued = bytes.fromhex("0a1b2c3d4e5f6071")
    answer = flow.packets[1]
    segment = dataclasses.replace(answer.segment, options=b"\x22\x0a" + issued + b"\0\0")
    flow = dataclasses.replace(
        flow, packets=(flow.packets[0], dataclasses.replace(answer, segment=segment))
    )
    numbers = normal._Numbers([make_result(make_case("a.b"), flows=(flow,))])
    new = numbers._cookie(issued, "")
    assert new != issued
    assert len(new) == len(issued)
    assert numbers._cookie(issued[:4], "") == new[:4]
    assert numbers._cookie(issued + bytes(4), "") == new + bytes(4)
    flipped = bytes([issued[0] ^ 0x80]) + issued[1:]
    assert numbers._cookie(flipped, "") == bytes([new[0] ^ 0x80]) + new[1:]
    assert numbers._cookie(bytes(8), "") == bytes(8)
    assert numbers.text(f"the cookie {issued.hex()}") == f"the cookie {new.hex()}"
    first, *_ = numbers.flow(flow, "a.b").packets
    assert first.segment.fast_open.cookie == new


def test_texts_are_those_of_the_json() -> None:
    for name in make.IN_FULL:
        words = re.sub(r"\s+", " ", (SAMPLES / f"{name}.txt").read_text())
        headline = sample(name)["addresses"][0]["headline"]
        assert re.sub(r"\s+", " ", headline) in words
