"""From options to a plan: everything that was asked for is checked here, and nowhere else."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tfocheck import inputs
from tfocheck.errors import UsageError
from tfocheck.model.case import Case, Level
from tfocheck.model.case import Option as CaseOption
from tfocheck.model.plan import Plan
from tfocheck.model.target import Target, family_of, parse, parse_literal
from tfocheck.model.url import Url, parse_url
from tfocheck.runner.catalogue import Selection, load_cases, with_prerequisites
from tfocheck.runner.options import CheckOptions, Number, Text, declared
from tfocheck.server import payload

if TYPE_CHECKING:
    from tfocheck.model.baseline import Baseline

_FAMILIES = (4, 6)
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def make_plan(targets: Sequence[str], options: CheckOptions) -> Plan:
    """The plan of a check of these targets, as a user writes them.

    Raises UsageError, with one line, for whatever can't be done.
    """
    _check_shapes(options)
    url = _url(options)
    to_test = targets_of(targets, options)
    addresses = tuple(parse_literal(text, "--address") for text in options.get("addresses", ()))
    source = options.get("source")
    if source is not None:
        source = parse_literal(source, "--source")
    families = _families(options, to_test, addresses, source)
    alt_sources = tuple(
        parse_literal(text, "--alt-source").partition("%")[0]
        for text in options.get("alt_sources", ())
    )
    for literal in alt_sources:
        _check_is_own(literal, "--alt-source")
    if source is not None:
        source = source.partition("%")[0]  # the target's zone says which interface
    soak = options.get("soak")
    choice = payload.choose(
        options.get("payload"), url=url, proxy_protocol=options.get("proxy_protocol")
    )
    for target in to_test:
        payload.for_target(choice, target)
    # Case files last: they bring Scapy along.
    catalogue = load(options)
    chosen = choose(options, catalogue)
    narrowed = (options.get(name) for name in ("cases", "excludes", "sections", "levels"))
    return Plan(
        targets=to_test,
        cases=with_prerequisites(chosen, catalogue),
        selected=frozenset(case.id for case in chosen),
        payload=choice,
        attempts=options.get("attempts", 3),
        timeout=options.get("timeout", 3.0),
        max_time=options.get("max_time", 120.0),
        rate=options.get("rate"),
        source=source,
        families=families,
        addresses=addresses,
        intrusive=options.get("intrusive", False),
        thorough=options.get("thorough", False),
        soak=None if soak is None else seconds(soak),
        alt_sources=alt_sources,
        no_nat=options.get("no_nat", False),
        off_port=options.get("off_port"),
        trace=options.get("trace", False),
        strict=options.get("strict", False),
        # With users' own cases beside ours, ours are still all there.
        complete=not any(narrowed),
        baseline=_baseline(options, catalogue),
    )


def targets_of(targets: Sequence[str], options: CheckOptions) -> tuple[Target, ...]:
    """The targets as a user writes them, each once; none is the URL's. Raises UsageError."""
    url = _url(options)
    if not targets and url is None:
        raise UsageError("name a target, as in: tfocheck example.com:443 (see tfocheck --help)")
    if url is None:
        return tuple(dict.fromkeys(parse(text) for text in targets))
    if not targets:
        return (url.site,)
    return tuple(dict.fromkeys(parse(text, url.site.port) for text in targets))


def load(options: CheckOptions) -> tuple[Case, ...]:
    """All cases there are, the user's among them. Raises UsageError."""
    return load_cases(Path(directory) for directory in options.get("case_directories", ()))


def choose(
    options: CheckOptions, catalogue: Sequence[Case], *, everything: bool = False
) -> tuple[Case, ...]:
    """The cases that the options select; ``everything`` has those that take an option, too.

    Raises UsageError when none is left.
    """
    given = {
        CaseOption.INTRUSIVE: options.get("intrusive", False),
        CaseOption.SOAK: options.get("soak") is not None,
        CaseOption.OFF_PORT: options.get("off_port") is not None,
        CaseOption.TRACE: options.get("trace", False),
    }
    selection = Selection(
        globs=tuple(options.get("cases", ())),
        excludes=tuple(options.get("excludes", ())),
        sections=tuple(options.get("sections", ())),
        levels=tuple(Level(level) for level in options.get("levels", ())),
        options=frozenset(option for option in CaseOption if everything or given[option]),
    )
    return selection.choose(catalogue)


def seconds(text: float | str) -> float:
    """A duration in seconds, from a number with an optional unit. Raises UsageError."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)([smhd]?)", str(text))
    duration = float(found[1]) * _UNITS[found[2]] if found else 0.0
    if duration <= 0:
        raise UsageError(f"{text!r} is no duration such as 90, 30m or 2h")
    return duration


def _check_shapes(options: CheckOptions) -> None:
    """What click sees to for the command: names, ranges, and lists that are no texts."""
    for name, value in options.items():
        if name not in declared():
            raise UsageError(f"there is no option {name!r} of a check")
        each = declared()[name]
        if isinstance(each, Number) and value is not None:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise UsageError(f"{name} {value!r} is no number")
            each.check(name, value)
        elif isinstance(each, Text):
            _check_text(name, each, value)


def _url(options: CheckOptions) -> Url | None:
    text = options.get("url")
    return None if text is None else parse_url(text)


def _check_text(name: str, each: Text, value: object) -> None:
    values: Sequence[object]
    if not each.many:
        if value is not None and not isinstance(value, str | Path):
            raise UsageError(f"{name} {value!r} is no text")
        values = () if value is None else (value,)
    elif isinstance(value, str) or not isinstance(value, Sequence):
        raise UsageError(f"{name} {value!r} is no list")
    else:
        values = value
    if each.choices and (unknown := [v for v in values if v not in each.choices]):
        raise UsageError(f"{name}: {unknown[0]!r} is not one of {', '.join(each.choices)}")


def _families(
    options: CheckOptions, targets: Sequence[Target], addresses: Sequence[str], source: str | None
) -> tuple[int, ...]:
    """The address families to test. Raises UsageError when options and targets contradict."""
    families = set(options.get("families", ()) or _FAMILIES)
    if not families <= set(_FAMILIES):
        raise UsageError(f"families are 4, 6 or both, not {sorted(families)}")
    wanted = " or ".join(f"IPv{family}" for family in sorted(families))
    if source is not None:
        _check_is_own(source, "--source")
        family = family_of(source)
        if family not in families:
            raise UsageError(f"--source {source} is no {wanted} address, as -4 or -6 demands")
        families, wanted = {family}, f"IPv{family}"
    if addresses and not families & {family_of(text) for text in addresses}:
        raise UsageError(f"no --address is {wanted}, but only that is to be tested")
    for target in targets:
        if not addresses and target.family not in (None, *families):
            raise UsageError(
                f"target {target.text} is no {wanted} address, but only that is tested"
            )
    return tuple(sorted(families))


def _check_is_own(literal: str, option: str) -> None:
    try:
        (family, _, _, _, sockaddr), *_ = socket.getaddrinfo(
            literal, 0, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
        )
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind(sockaddr)
    except OSError:
        raise UsageError(
            f"{option} {literal} is no address of this machine (see: ip address)"
        ) from None


def _baseline(options: CheckOptions, catalogue: Sequence[Case]) -> Baseline | None:
    path = options.get("baseline")
    return None if path is None else read_baseline(str(path), "--baseline", catalogue)


def read_baseline(path: str, option: str, catalogue: Sequence[Case]) -> Baseline:
    """The baseline in a file that an option names. Raises UsageError."""
    from tfocheck.judging import baseline

    data = inputs.read(path, baseline.MOST_BYTES, named=f"{option} {path}")
    return baseline.parse_baseline(data, path, option, catalogue)
