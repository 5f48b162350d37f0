"""The JSON Schemas of the reports for programs, which come with the package.

Source: JSON Schema, draft 2020-12.
"""

from __future__ import annotations

from importlib import resources

NAMES = {"json": "report.json", "jsonl": "line.json"}
"""The report's option, without its dashes, to the file of its schema."""


def text(option: str) -> str:
    """The schema of what this option writes, as JSON text."""
    return (resources.files("tfocheck.report") / "schemas" / NAMES[option]).read_text("utf-8")
