"""The HTML page: what it says, in what room, and what a browser makes of it."""

from __future__ import annotations

import base64
import dataclasses
import itertools
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample import CLIENT_ISN, HOSTILE, make_address, make_case, make_flow, make_report, make_result
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from test_machine_formats import report_of

from tfocheck.case import Level, Verdict
from tfocheck.cli.lab import check_in_lab
from tfocheck.judging import grade
from tfocheck.model.baseline import Allowed, Applied, Entry
from tfocheck.model.report import Hop, Report
from tfocheck.reference import answer
from tfocheck.reference import http as reference_http
from tfocheck.report import drawn, html, svg
from tfocheck.report.ladder import MOST_RUNGS
from tfocheck.runner.catalogue import load_cases
from tfocheck.wire import options
from tfocheck.wire.evidence import FlowRecord

BENEFIT = "benefit.latency"
ROOT = Path(__file__).parent.parent.parent
MARKUP = b"<script>alert(1)</script>\x1b[2J]]>\x00\xff\"'&lt;<!--\n"


class Page(HTMLParser):
    """Elements that were opened, and the text outside style and script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._inside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside.append(tag)

    def handle_data(self, data: str) -> None:
        if self._inside[-1:] not in (["style"], ["script"]):
            self.texts.append(data)

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def count(self, tag: str, name: str = "") -> int:
        return sum(
            each == tag and name in (attrs.get("class") or "").split() if name else each == tag
            for each, attrs in self.tags
        )


def page_of(report: Report) -> Page:
    return Page(html.dumps(grade.judge(report)))


@pytest.mark.parametrize("number", [1, 3])
def test_the_page_has_what_the_report_has(number: int) -> None:
    report = report_of(number)
    page = page_of(report)
    results = [result for address in report.addresses for result in address.results]
    assert page.count("details") == len(results)
    for verdict in Verdict:
        wanted = sum(result.verdict is verdict for result in results)
        assert page.count("details", verdict.value) == wanted
    flows = [flow for result in results for flow in result.flows]
    assert page.count("figure", "flow") == len(flows)
    assert page.count("g") == sum(len(flow.packets) for flow in flows)
    for said in ("not tested: no route", "nosuch:443: does not resolve", "Mend the key."):
        assert said in page.text
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = [attrs["href"] or "" for tag, attrs in page.tags if tag == "a"]
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)


def test_what_is_not_known_is_left_out() -> None:
    address = dataclasses.replace(make_address(), rtt=None, cookie_bytes=None)
    page = page_of(make_report(address))
    assert "round trip" not in page.text.partition("The run")[2].partition("packets")[0]
    assert "\\u2013" not in page.text


def test_a_fault_of_the_path_comes_first_and_is_called_one() -> None:
    case = make_case("path.option-dropped", section="7.1", level=Level.PATH)
    fault = make_result(case, Verdict.FAIL, "no SYN with option 34 gets past 10.77.1.2")
    address = make_address(results=(make_result(make_case("a.b"), Verdict.WARN, "slow"), fault))
    address = dataclasses.replace(address, hops=(Hop(1, "10.77.1.2", 0.001, ("option 34 gone",)),))
    page = page_of(make_report(address))
    findings = page.text.partition("What was found")[2]
    assert findings.index("path fault path.option-dropped") < findings.index("a.b")
    assert findings.index("option 34 gone") < findings.index("By section")


def test_what_is_known_is_said_with_its_reason_and_what_is_mended_too() -> None:
    known = dataclasses.replace(
        make_result(make_case("a.b"), Verdict.FAIL, "broken"), known="ticket <7>"
    )
    entry = Entry("c.d", "*", Allowed.FAIL, "ticket 8", line=9)
    applied = Applied("known.toml", mended=(entry,))
    new = make_result(make_case("e.f"), Verdict.WARN, "slow")
    report = make_report(make_address(results=(known, new)))
    page = Page(html.dumps(grade.judge(report, baseline=applied)))
    findings = page.text.partition("What was found")[2]
    assert findings.index("e.f") < findings.index("fail (known) a.b broken (known: ticket <7>)")
    assert "known.toml line 9: c.d at * is mended: the entry can go" in page.text
    opened = [attrs for tag, attrs in page.tags if tag == "details" and "open" in attrs]
    assert len(opened) == 1


def test_a_ladder_shows_relative_numbers_cookie_length_and_the_decision() -> None:
    flow = make_flow()
    flow = dataclasses.replace(flow, deciding=flow.packets[1])
    ladder = svg.ladder(flow, "fail")
    texts = [[text.text for text in rung.texts] for rung in ladder.rungs]
    assert texts[0][:2] == ["SYN  seq 0  len 18", "TFO cookie 0a1b2c3d4e5f6071"]
    assert texts[1][:2] == ["this decided: fail", "SYN,ACK  seq 0  ack 19"]
    assert [rung.deciding for rung in ladder.rungs] == [False, True, False, False, False]
    assert [rung.sent for rung in ladder.rungs] == [True, False, False, True, False]
    tops = [rung.top for rung in ladder.rungs]
    assert tops == sorted(tops)
    assert [pause.text for pause in ladder.pauses] == ["1.5 s later"]


def test_no_packet_is_left_out_silently() -> None:
    flow = make_flow()
    data = dataclasses.replace(flow.packets[2], gso_size=0)
    many = tuple(dataclasses.replace(data, time=1000.001 + n / 1e6) for n in range(40))
    flow = dataclasses.replace(flow, packets=flow.packets[:2] + many, deciding=many[20])
    ladder = svg.ladder(flow, "fail")
    assert len(ladder.rungs) == MOST_RUNGS
    hidden = [re.match(r"(\d+) packets? with (\d+) bytes", pause.text) for pause in ladder.pauses]
    left_out = [(int(found[1]), int(found[2])) for found in hidden if found]
    size = len(data.segment.payload)
    assert sum(number for number, _ in left_out) + len(ladder.rungs) == 42
    assert all(length == number * size for number, length in left_out)
    assert sum(rung.deciding for rung in ladder.rungs) == 1

    case = make_case("forged.bit-flip")
    flows = (*(make_flow(decided=False) for _ in range(30)), make_flow())
    result = make_result(case, flows=flows)
    page = page_of(make_report(make_address(results=(result,))))
    drawn = page.count("figure", "flow")
    assert page.count("figure", "decided") == 1
    assert f"{drawn} of 31 connections drawn: {31 - drawn} connections are not" in page.text
    assert f"({(31 - drawn) * 5} packets)" in page.text


def test_the_worst_run_fits_its_size_and_its_time() -> None:
    packets = make_flow().packets
    long = tuple(dataclasses.replace(each) for each in packets * 10)
    flow = dataclasses.replace(make_flow(), packets=long, deciding=long[1])
    results = tuple(
        make_result(case, Verdict.FAIL, "seen " * 20, flows=(flow,) * 130) for case in load_cases()
    )
    judgement = grade.judge(make_report(make_address(results=results)))
    html.dumps(grade.judge(make_report()))  # as the command does before it drops its privileges
    start = time.process_time()
    text = html.dumps(judgement)
    assert time.process_time() - start <= 0.5
    assert len(text) <= 1_500_000
    assert 0.9 * drawn.MOST_PACKETS < Page(text).count("g") <= drawn.MOST_PACKETS


@settings(max_examples=30)  # each is a whole page
@given(st.text(max_size=80), st.binary(max_size=80), st.binary(max_size=40))
def test_whatever_a_server_sends_becomes_text(seen: str, payload: bytes, area: bytes) -> None:
    flow = make_flow()
    packet = flow.packets[1]
    segment = dataclasses.replace(packet.segment, payload=payload, options=options.pad(area))
    flow = dataclasses.replace(
        flow, label=seen, packets=(flow.packets[0], dataclasses.replace(packet, segment=segment))
    )
    # Ids of users' cases, too, may hold anything.
    case = make_case(f"my.{seen}", section=seen or "1")
    result = make_result(case, Verdict.FAIL, seen, flows=(flow,), traceback=seen)
    text = html.dumps(grade.judge(make_report(make_address(seen, (result,), target=seen))))
    assert re.fullmatch(r"[\n -~\u2013\u2715\u2713\u203c\u2716]*", text)
    page = Page(text)
    assert page.count("script") == 1
    assert page.count("details") == 1
    assert page.count("g") == 2
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]


def timed_flow(
    label: str, seconds: float, *, cookie: bytes | None, acked: bool = True
) -> FlowRecord:
    """SYN, SYN-ACK, and an answer so much later."""
    flow = make_flow()
    syn, syn_ack, data = flow.packets[:3]
    area = b"" if cookie is None else options.encode([options.FastOpen(cookie).to_option()])
    payload = b"" if cookie is None else syn.segment.payload
    ack = (CLIENT_ISN + 1 + (len(payload) if acked else 0)) % 2**32
    packets = (
        dataclasses.replace(
            syn, segment=dataclasses.replace(syn.segment, options=area, payload=payload)
        ),
        dataclasses.replace(syn_ack, segment=dataclasses.replace(syn_ack.segment, ack=ack)),
        dataclasses.replace(data, time=syn.time + seconds),
    )
    return dataclasses.replace(flow, label=label, packets=packets)


def test_the_chart_compares_plain_with_fast_open() -> None:
    flows = [
        timed_flow("plain", 0.040, cookie=None),
        timed_flow("Fast Open", 0.021, cookie=b"12345678"),
        timed_flow("plain", 0.044, cookie=None),
        timed_flow("Fast Open", 0.041, cookie=b"12345678", acked=False),  # no Fast Open at all
        timed_flow("plain", 0.042, cookie=None),
        timed_flow("Fast Open", 0.023, cookie=b"12345678"),
    ]
    result = make_result(make_case(BENEFIT, section="1"), Verdict.INFO, flows=tuple(flows))
    page = page_of(make_report(make_address(results=(result,))))
    assert "19.0 ms saved" in page.text
    assert "median 41.0 ms, 2 connections" in page.text
    assert "median 22.0 ms, 2 connections" in page.text
    without = make_result(make_case(BENEFIT, section="1"), Verdict.SKIP)
    assert page_of(make_report(make_address(results=(without,)))).count("figure") == 0


@pytest.mark.parametrize("times", [[0.0001], [0.00099, 0.002], [0.3, 0.1], [12.0]])
def test_every_dot_of_the_chart_is_on_its_axis(times: list[float]) -> None:
    chart = svg.chart(times, [each / 2 for each in times])
    assert chart is not None
    assert 2 <= len(chart.ticks) <= 6
    scale = (chart.ticks[-1][0] - chart.left) / float(chart.ticks[-1][1])
    for series, factor in zip(chart.series, (1, 0.5), strict=True):
        wanted = [chart.left + each * factor * 1000 * scale for each in times]
        assert series.xs == pytest.approx(wanted, abs=0.1)
        assert series.median == pytest.approx(statistics.median(wanted), abs=0.1)
        assert all(chart.left <= x <= chart.right for x in series.xs)


# In a browser


def require(program: str) -> str:
    """The program's path; skip without it, fail where nothing may be missing."""
    path = shutil.which(program)
    if path is not None:
        return path
    if os.environ.get("TFOCHECK_REQUIRE_ALL") == "1":
        pytest.fail(f"{program} is missing")
    pytest.skip(f"{program} is missing")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    chosen = webdriver.ChromeOptions()
    chosen.binary_location = require("chromium")
    profile = tmp_path_factory.mktemp("profile")
    # Root has no sandbox; a container's /dev/shm is small.
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        chosen.add_argument(f"--{argument}")
    chosen.add_argument("--hide-scrollbars")
    chosen.add_argument(f"--user-data-dir={profile}")
    chosen.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(chosen, Service(require("chromedriver")))
    yield driver
    driver.quit()


def show(browser: webdriver.Chrome, page: Path, width: int, scheme: str) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(page.as_uri())


def keep_screenshot(browser: webdriver.Chrome, page: Path, width: int, scheme: str) -> None:
    clip = {"x": 0, "y": 0, "width": width, "height": 4000, "scale": 1}
    shot = browser.execute_cdp_cmd(
        "Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip}
    )
    place = page.with_name(f"{page.stem}-{width}-{scheme}.png")
    place.write_bytes(base64.b64decode(shot["data"]))


def visible_cases(browser: webdriver.Chrome) -> list[str]:
    found: list[str] = browser.execute_script(
        "return [...document.querySelectorAll('details.case')]"
        ".filter(each => each.getClientRects().length).map(each => each.classList[1])"
    )
    return found


OVERFLOWS = """
document.querySelectorAll('details').forEach(each => { each.open = true; });
const out = [...document.querySelectorAll('body *')].filter(each => {
  const box = each.getBoundingClientRect();
  return box.width && !each.matches('.skip-link') && (box.right > innerWidth + 1 || box.left < -1);
}).map(each => each.outerHTML.slice(0, 200));
const cut = [...document.querySelectorAll('svg text')].filter(each => {
  const box = each.getBBox(), view = each.ownerSVGElement.viewBox.baseVal;
  return box.x < 0 || box.x + box.width > view.width || box.y + box.height > view.height;
}).map(each => each.textContent);
return [out, cut, document.documentElement.scrollWidth - innerWidth];
"""


def log_of(browser: webdriver.Chrome, name: str) -> list[dict[str, Any]]:
    log: list[dict[str, Any]] = browser.get_log(name)  # type: ignore[no-untyped-call]
    return log


def check_looks(browser: webdriver.Chrome, page: Path) -> None:
    """It opens without a complaint, asks for nothing, and fits, on every screen."""
    log_of(browser, "browser")
    log_of(browser, "performance")
    for width, scheme in itertools.product((360, 1400), ("light", "dark")):
        show(browser, page, width, scheme)
        keep_screenshot(browser, page, width, scheme)
        assert browser.execute_script(OVERFLOWS) == [[], [], 0], (width, scheme)
        colour = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        is_dark = sum(map(int, re.findall(r"\d+", colour))) < 3 * 128
        assert is_dark == (scheme == "dark")
    assert log_of(browser, "browser") == []
    events = [json.loads(each["message"])["message"] for each in log_of(browser, "performance")]
    asked = {
        event["params"]["request"]["url"].partition(":")[0]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    }
    assert "file" in asked
    assert asked <= {"file", "data"}


def test_a_hostile_server_with_faults_on_every_screen(
    browser: webdriver.Chrome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "hostile.html"
    # The lab's server is forked off this process.
    body = MARKUP * (len(answer.ANSWER) // len(MARKUP))
    monkeypatch.setattr(reference_http, "ANSWER", body)
    faults = ("accepts-any-cookie", "wrong-tsecr", "repeats-option")
    assert check_in_lab("reference", faults, ["-q", "--html", str(page)]) == 1
    check_looks(browser, page)

    texts = browser.execute_script(
        "return [...document.querySelectorAll('.payload')].map(each => each.textContent)"
    )
    assert any("<script>alert(1)" in text for text in texts)
    assert any("\\x1b[2J]]>" in text for text in texts)
    assert len(browser.find_elements(By.TAG_NAME, "script")) == 1

    case = browser.find_element(By.ID, "a1.forged.random")
    marked = case.find_elements(By.CSS_SELECTOR, ".flow.decided .deciding")
    assert marked
    for each in marked:
        assert "this decided: fail" in each.text
        assert re.search(r"SYN,ACK\s+seq 0\s+ack \d+", each.text)
    assert not case.find_elements(By.CSS_SELECTOR, ".flow:not(.decided) .deciding")

    # Where the server said one thing only, that decided.
    case = browser.find_element(By.ID, "a1.cookie.request")
    assert len(case.find_elements(By.CSS_SELECTOR, ".flow.decided .got.deciding")) == 1

    # What the chart is drawn from is what the case has measured.
    seen = browser.find_element(By.ID, f"a1.{BENEFIT}").get_attribute("textContent") or ""
    medians = re.search(r"first byte after ([\d.]+) ms .* plain, ([\d.]+) ms", seen)
    assert medians
    drawn = browser.find_element(By.CSS_SELECTOR, ".chart").text
    assert re.findall(r"median ([\d.]+) ms", drawn) == list(medians.groups())


HOPS = (
    Hop(1, "192.0.2.254", 0.000_5),
    Hop(2, None, None),
    Hop(3, "2001:db8:1234:5678:9abc:def0:1234:5678", 0.01, ("option removed", HOSTILE)),
)


def test_many_addresses_on_every_screen(browser: webdriver.Chrome, tmp_path: Path) -> None:
    report = make_report(
        dataclasses.replace(make_address(), hops=HOPS),
        make_address("2001:db8:1234:5678:9abc:def0:1234:5678"),
        make_address("198.51.100.1", not_tested="no route"),
        make_address("192.0.2.9", target="a" * 250 + ":443"),
        errors=(("nosuch:443", HOSTILE),),
    )
    page = tmp_path / "many.html"
    page.write_text(html.dumps(grade.judge(report)), encoding="utf-8")
    check_looks(browser, page)
    route = browser.find_element(By.CSS_SELECTOR, ".route tbody").text
    for said in ("192.0.2.254 0.50 ms", "no answer", "option removed; \\x1b[2J", "the target"):
        assert said in route
    check_filters(browser)
    browser.refresh()
    check_folding(browser)


def check_filters(browser: webdriver.Chrome) -> None:
    every = visible_cases(browser)
    assert len(every) == 27
    browser.find_element(By.CSS_SELECTOR, "label[for=only-fail]").click()
    assert visible_cases(browser) == ["fail"] * 3
    assert browser.find_element(By.ID, "shown").text == "3 of 27 cases shown"
    sections = browser.find_elements(By.CSS_SELECTOR, ".rfc")
    assert sum(each.is_displayed() for each in sections) == 3

    # With the keyboard alone: the next filter is one Tab away.
    browser.find_element(By.ID, "only-fail").send_keys(Keys.TAB)
    browser.switch_to.active_element.send_keys(Keys.SPACE)
    assert sorted(visible_cases(browser)) == ["error"] * 3 + ["fail"] * 3
    browser.find_element(By.CSS_SELECTOR, "button[type=reset]").send_keys(Keys.ENTER)
    assert visible_cases(browser) == every


def check_folding(browser: webdriver.Chrome) -> None:
    opened = "return [...document.querySelectorAll('details[open]')].map(each => each.classList[1])"
    assert set(browser.execute_script(opened)) == {"fail", "error", "warn", "inconclusive"}
    browser.find_element(By.CSS_SELECTOR, "label[for=only-fail]").click()
    tile = browser.find_element(By.CSS_SELECTOR, ".tile.pass")
    anchor = (tile.get_attribute("href") or "").partition("#")[2]
    # A link opens its case, even if the filter hides it.
    tile.send_keys(Keys.ENTER)
    focused = "return document.activeElement.parentElement?.id"
    WebDriverWait(browser, 10).until(lambda it: it.execute_script(focused) == anchor)
    target = browser.switch_to.active_element.find_element(By.XPATH, "..")
    assert target.get_attribute("open") is not None
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    assert target.get_attribute("open") is None
    # A page that is opened with such a link does so as well.
    browser.refresh()
    assert browser.find_element(By.ID, anchor).get_attribute("open") is not None


# As installed


@pytest.mark.lab
def test_the_wheel_brings_the_templates(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", tmp_path, ROOT],
        check=True,
        timeout=120,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    templates = {path.name for path in (ROOT / "tfocheck/report/templates").iterdir()}
    assert templates
    assert {f"tfocheck/report/templates/{name}" for name in templates} <= names
