"""The report as one HTML page that needs nothing else: no network and no other file.

Rules that hold here:

* Every text went through ``escape`` and then through Jinja's autoescape; nothing is marked as safe
  but our own style sheet and script. A content security policy forbids whatever is not those two,
  by their hashes.
* What is not drawn is counted and said: a page is read, and a run has thousands of packets. The
  graver the verdict, the more of its connections are drawn.
* Filters and folding work without the script, which only opens what a link points to.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
from dataclasses import dataclass
from functools import cache

import jinja2
from markupsafe import Markup

from tfocheck.judging import grade
from tfocheck.judging.grade import Judgement
from tfocheck.model import escape
from tfocheck.model.case import Verdict
from tfocheck.report import explanation, svg
from tfocheck.report.drawn import ORDER, PROBLEMS
from tfocheck.report.page import is_open, targets

_SIGNS = {
    Verdict.PASS: "\N{CHECK MARK}",
    Verdict.FAIL: "\N{MULTIPLICATION X}",
    Verdict.WARN: "!",
    Verdict.INFO: "i",
    Verdict.SKIP: "\N{EN DASH}",
    Verdict.INCONCLUSIVE: "?",
    Verdict.ERROR: "\N{DOUBLE EXCLAMATION MARK}",
}


def dumps(judgement: Judgement) -> str:
    """The report as the text of an HTML page, ending in a line feed."""
    page = _page()
    report = judgement.report
    results = [result for address in report.addresses for result in address.results]
    started = datetime.datetime.fromtimestamp(report.started, datetime.UTC)
    text = page.template.render(
        style=page.style,
        script=page.script,
        policy=page.policy,
        judgement=judgement,
        report=report,
        targets=targets(judgement),
        counts={v: n for v in ORDER if (n := grade.count(results).get(v))},
        total=len(results),
        started=started,
        text=escape.text,
        lines=escape.lines,
        signs=_SIGNS,
        width=svg.WIDTH,
        opened=PROBLEMS,
        verdict_of=explanation.verdict,
        is_open=is_open,
        advice_for=explanation.advice,
    )
    return text + "\n"


@dataclass(frozen=True)
class _Page:
    template: jinja2.Template
    style: Markup
    script: Markup
    policy: str


@cache
def _page() -> _Page:
    """Read once: when the report is written, this process may have lost the right to read it."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tfocheck.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    loader = environment.loader
    assert loader is not None
    style, script = (
        loader.get_source(environment, name)[0] for name in ("report.css", "report.js")
    )
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    template = environment.get_template("report.html")
    return _Page(template, Markup(style), Markup(script), policy)


def _hash(source: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"
