"""The options of a check as click has them, made from where they are declared."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any, cast

import click

from tfocheck.errors import UsageError
from tfocheck.report import formats
from tfocheck.runner import planning
from tfocheck.runner.options import (
    CheckOptions,
    Declared,
    Duration,
    Flag,
    Number,
    OneOf,
    Text,
    declared,
)

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def check_options(
    *, only: Container[str] | None = None, without: Container[str] = ()
) -> _Decorator:
    """A decorator that adds options of a check, in the order of their declaration."""
    names = [name for name in declared() if (only is None or name in only) and name not in without]

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for name in reversed(names):
            for option in reversed(_options(name, declared()[name])):
                command = option(command)
        return command

    return add


def report_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that adds an option for each format of a report."""
    for each in reversed(formats.FORMATS):
        command = click.option(each.option, each.parameter, metavar="FILE", help=each.help)(command)
    return command


def taken(parameters: dict[str, Any]) -> CheckOptions:
    """Take the options of a check out of click's parameters."""
    options: dict[str, Any] = {}
    for name, each in declared().items():
        if isinstance(each, OneOf):
            given = [(value, parameters.pop(_part(name, value))) for _, value, _ in each.flags]
            options[name] = [value for value, is_on in given if is_on]
        else:
            options[name] = parameters.pop(name)
    return cast(CheckOptions, options)


def _part(name: str, value: int) -> str:
    return f"{name}_{value}"


def _options(name: str, each: Declared) -> list[_Decorator]:
    match each:
        case OneOf():
            return [
                click.option(flag, _part(name, value), is_flag=True, help=text)
                for flag, value, text in each.flags
            ]
        case Flag():
            return [click.option(each.flag, name, is_flag=True, help=each.help)]
        case Number():
            return [_number(name, each)]
        case Duration():
            return [
                click.option(
                    each.flag, name, metavar=each.metavar, callback=_duration, help=each.help
                )
            ]
        case Text():
            kind = click.Choice(list(each.choices)) if each.choices else None
            return [
                click.option(
                    each.flag,
                    name,
                    multiple=each.many,
                    type=kind,
                    metavar=each.metavar,
                    help=each.help,
                )
            ]


def _number(name: str, each: Number) -> _Decorator:
    kind: click.IntRange | click.FloatRange = (
        click.IntRange(int(each.least), int(each.most))
        if each.whole
        else click.FloatRange(each.least, each.most, min_open=each.above)
    )
    return click.option(
        each.flag,
        name,
        type=kind,
        default=each.default,
        show_default=each.default is not None,
        metavar=each.metavar,
        callback=_finite,
        help=each.help,
    )


def _finite(_ctx: click.Context, _param: click.Parameter, value: float | None) -> float | None:
    # The range lets "nan" pass: it compares with nothing.
    if value != value:
        raise click.BadParameter("not a number of seconds")
    return value


def _duration(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    try:
        return planning.seconds(value)
    except UsageError as error:
        raise click.BadParameter(str(error)) from None
