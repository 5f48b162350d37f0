"""The pytest plugin, as pytest finds it: ``pytest --tfo-target example.com:443``.

Every pytest run of an environment that has tfocheck imports this module, so it imports nothing and
does nothing but add options. What they need is in ``pytest_items``.
"""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our options."""
    group = parser.getgroup("tfocheck", "grading servers against RFC 7413 (TCP Fast Open)")
    group.addoption(
        "--tfo-target",
        action="append",
        metavar="TARGET",
        help="Collect tfocheck's cases as tests of this server, host:port; repeatable. "
        "Needs raw sockets.",
    )
    group.addoption(
        "--tfo-option",
        action="append",
        metavar="OPTION",
        help='Options of the command tfocheck, as in --tfo-option "--payload http -4"; repeatable.',
    )
    group.addoption(
        "--tfo-strict",
        action="store_true",
        help="A warning, or a case that could not be decided, is a failure.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """With a target, bring in the rest."""
    if config.getoption("tfo_target"):
        from tfocheck.cli import pytest_items

        config.pluginmanager.register(pytest_items.Plugin(config), "tfocheck-items")
    elif config.getoption("tfo_option") or config.getoption("tfo_strict"):
        raise pytest.UsageError("--tfo-option and --tfo-strict go with --tfo-target")
