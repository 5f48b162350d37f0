"""The console script: handles signals first, and imports the rest then."""

from __future__ import annotations

import os
import sys

from tfocheck.cli import signals


def main() -> int:
    """``tfocheck``; returns the exit code."""
    signals.install()
    from tfocheck.cli.main import main as whole

    code = whole()
    if signals.have_come():
        # Whoever has asked for the end waits for no tidying up.
        if sys.stdout is not None:
            sys.stdout.flush()
        os._exit(code)
    return code
