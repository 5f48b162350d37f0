"""The console script: handles signals first, and imports the rest then."""

from __future__ import annotations

from tfocheck.cli import signals


def main() -> int:
    """``tfocheck``; returns the exit code."""
    signals.install()
    from tfocheck.cli.main import main as whole

    return whole()
