"""``tfocheck schema``: the JSON Schema of reports."""

from __future__ import annotations

import click

from tfocheck.cli.ending import put, stdout
from tfocheck.errors import ExitCode


@click.command("schema", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("report", type=click.Choice(["json", "jsonl"]), default="json")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def schema(report: str, debug: bool) -> int:
    """Print the JSON Schema of a report: json (the default), or a line of jsonl."""
    from tfocheck.report import schema as schemas

    put(stdout(), schemas.text(report))
    return ExitCode.CONFORMS
