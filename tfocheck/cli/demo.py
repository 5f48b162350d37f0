"""``tfocheck demo``: grade this machine's own kernel."""

from __future__ import annotations

import click

from tfocheck.cli.lab import check_in_lab, leave


@click.command()
@click.argument("check_options", nargs=-1, type=click.UNPROCESSED)
def demo(check_options: tuple[str, ...]) -> None:
    """Grade this machine's own kernel in a lab; needs neither a server nor root.

    CHECK_OPTIONS, after --, are those of tfocheck TARGET.
    """
    click.echo(
        "tfocheck demo: grading this machine's own kernel as a Fast Open server, in a lab of "
        "network namespaces; nothing leaves this machine."
    )
    leave(lambda: check_in_lab("linux", (), check_options))
