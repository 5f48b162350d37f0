"""The command line: ``tfocheck TARGET...``, and its subcommands.

Rules that hold here:

* Nothing heavy is imported before it is needed: ``--help`` has 0.3 s.
* Everything the user typed is checked before privilege is asked for, and everything that needs
  privilege is done before a byte from the network is parsed.
* An error is one line on stderr and an exit code of ``errors.ExitCode``; ``--debug`` adds the
  traceback.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import errno
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from tfocheck.errors import ExitCode, TfocheckError, UsageError
from tfocheck.model import escape
from tfocheck.model import target as targets_module
from tfocheck.model.case import Case, Level
from tfocheck.model.case import Option as CaseOption
from tfocheck.model.target import Target
from tfocheck.report import formats
from tfocheck.runner.catalogue import Selection, load_cases, with_prerequisites
from tfocheck.server import payload
from tfocheck.version import __version__

if TYPE_CHECKING:
    from tfocheck.judging.grade import Judgement
    from tfocheck.model.baseline import Baseline
    from tfocheck.model.report import Report
    from tfocheck.runner.run import Settings

_SUBCOMMANDS = {
    "check": "Grade servers; can be left out, unless a target is called like a command.",
    "compare": "Say what changed between two JSON reports, and whether it got worse.",
    "explain": "Say what a case asks, how it is tested, and what to do about a failure.",
    "doctor": "Say from inside whether this machine's servers have Fast Open, and what to change.",
    "demo": "Grade this machine's own kernel in a lab; needs neither a server nor root.",
    "schema": "Print the JSON Schema of the reports that --json or --jsonl write.",
    "lab": "Real servers in network namespaces on this machine, to grade or to try things on.",
}
_TERMINATED = 128 + signal.SIGTERM
_BROKEN_PIPE = 128 + signal.SIGPIPE
_MAX_ATTEMPTS = 100
_SAVE_BASELINE = "--save-baseline"
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_MAX_TIMEOUT = 300.0


@dataclasses.dataclass(frozen=True)
class Options:
    """The check command's options, as click parsed them; the fields are its parameters."""

    targets: tuple[str, ...]
    ipv4: bool
    ipv6: bool
    addresses: tuple[str, ...]
    globs: tuple[str, ...]
    excludes: tuple[str, ...]
    sections: tuple[str, ...]
    levels: tuple[str, ...]
    case_directories: tuple[str, ...]
    strict: bool
    attempts: int
    timeout: float
    source: str | None
    alt_sources: tuple[str, ...]
    no_nat: bool
    off_port: int | None
    trace: bool
    intrusive: bool
    thorough: bool
    soak: float | None
    payload: str | None
    list_cases: bool
    list_format: str | None
    json: str | None
    jsonl: str | None
    junit: str | None
    html: str | None
    pcap: str | None
    directory: str | None
    baseline: str | None
    save_baseline: str | None
    quiet: bool
    verbose: bool
    debug: bool

    @property
    def reports(self) -> list[tuple[str, str]]:
        """(option, path) of each report file asked for."""
        asked = [(each.option, getattr(self, each.parameter)) for each in formats.FORMATS]
        return [(option, path) for option, path in asked if path is not None]

    @property
    def outputs(self) -> list[tuple[str, str]]:
        """(option, path) of each file that the run writes by a name that was given."""
        if self.save_baseline is None:
            return self.reports
        return [*self.reports, (_SAVE_BASELINE, self.save_baseline)]

    def check_outputs(self) -> None:
        """See that what is to be written can be. Raises UsageError."""
        from tfocheck.report import write

        write.check(self.outputs)
        if self.pcap and write.is_stdout(self.pcap) and _stdout().isatty():
            raise UsageError("--pcap - is for a pipe, as in: --pcap - | tshark -r -")
        if self.directory is not None:
            write.check_directory("-o", self.directory, formats.FILE_NAMES)


class _CheckCommand(click.Command):
    """The command without a name: its help also lists the subcommands."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_SUBCOMMANDS.items()))
        with formatter.section("Exit codes"):
            formatter.write_dl(
                [
                    ("0", "conforms"),
                    ("1", "a requirement failed"),
                    ("2", "wrong usage, or a report that can't be written"),
                    ("3", "the target does not offer Fast Open"),
                    ("4", "unreachable, inconclusive, or the path is at fault"),
                    ("5", "this machine can't (no raw sockets)"),
                ]
            )


def _finite(_ctx: click.Context, _param: click.Parameter, value: float) -> float:
    # The range lets "nan" pass: it compares with nothing.
    if value != value:
        raise click.BadParameter("not a number of seconds")
    return value


def _duration(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    """Seconds, from a number with an optional unit."""
    if value is None:
        return None
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)([smhd]?)", value)
    seconds = float(found[1]) * _UNITS[found[2]] if found else 0.0
    if seconds <= 0:
        raise click.BadParameter(f"{value!r} is no duration such as 90, 30m or 2h")
    return seconds


@click.command(
    cls=_CheckCommand,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    options_metavar="[OPTIONS]",
)
@click.argument("targets", nargs=-1, metavar="TARGET...")
@click.option("-4", "ipv4", is_flag=True, help="Only IPv4 addresses.")
@click.option("-6", "ipv6", is_flag=True, help="Only IPv6 addresses.")
@click.option(
    "--address",
    "addresses",
    multiple=True,
    metavar="ADDR",
    help="Test this address instead of looking the name up; repeatable.",
)
@click.option(
    "--case",
    "globs",
    multiple=True,
    metavar="GLOB",
    help="Only cases such as 'open.*'; repeatable.",
)
@click.option(
    "--exclude", "excludes", multiple=True, metavar="GLOB", help="Without these cases; repeatable."
)
@click.option(
    "--section",
    "sections",
    multiple=True,
    metavar="NUMBER",
    help="Only cases of this RFC section, e.g. 4.1.1; repeatable.",
)
@click.option(
    "--level",
    "levels",
    multiple=True,
    type=click.Choice([level.value for level in Level]),
    help="Only requirements of this level; repeatable.",
)
@click.option(
    "--cases",
    "case_directories",
    multiple=True,
    metavar="DIR",
    help="Add the case files of this folder; repeatable.",
)
@click.option("--strict", is_flag=True, help="A warning counts as a failure.")
@click.option(
    "--attempts",
    type=click.IntRange(1, _MAX_ATTEMPTS),
    default=3,
    show_default=True,
    metavar="N",
    help="Attempts that must agree before an absence counts.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, _MAX_TIMEOUT, min_open=True),
    default=3.0,
    show_default=True,
    metavar="SECONDS",
    callback=_finite,
    help="Longest wait for any one answer.",
)
@click.option("--source", metavar="ADDR", help="Send from this address of this machine.")
@click.option(
    "--alt-source",
    "alt_sources",
    multiple=True,
    metavar="ADDR",
    help="Another address of this machine, to compare cookies across; repeatable.",
)
@click.option(
    "--no-nat", is_flag=True, help="No NAT is between these addresses and the target: I know."
)
@click.option(
    "--off-port",
    type=click.IntRange(1, 65535),
    metavar="PORT",
    help="A port of the target where Fast Open is meant to be off: see that it is.",
)
@click.option(
    "--trace",
    is_flag=True,
    help="Look at the route hop by hop: which router gets what, and where it is changed.",
)
@click.option(
    "--intrusive",
    is_flag=True,
    help="Also fill the queue of pending requests, to find its limit; takes up to three minutes.",
)
@click.option("--thorough", is_flag=True, help="Flip every bit of the cookie, not eight.")
@click.option(
    "--soak",
    metavar="DURATION",
    callback=_duration,
    help="Replay a cookie for so long (90, 30m, 2h) to see when it stops working.",
)
@click.option(
    "--payload",
    metavar="http|tls|dns|FILE|none",
    help="What to send to the application; the default goes by the port.",
)
@click.option("--list", "list_cases", is_flag=True, help="List the cases and exit.")
@click.option(
    "--format",
    "list_format",
    type=click.Choice(["text", "markdown"]),
    help="How --list prints its table.",
)
@click.option("--json", metavar="FILE", help="Write a JSON report; - is standard output.")
@click.option(
    "--jsonl", metavar="FILE", help="Write a line of JSON per address; - is standard output."
)
@click.option("--junit", metavar="FILE", help="Write a JUnit XML report; - is standard output.")
@click.option(
    "--html", metavar="FILE", help="Write a page with the packets drawn; - is standard output."
)
@click.option(
    "--pcap", metavar="FILE", help="Write the packets, with comments, as pcapng for Wireshark."
)
@click.option(
    "-o",
    "--output",
    "directory",
    metavar="DIR",
    help="Write every report there is into this directory, which is made if missing.",
)
@click.option(
    "--baseline",
    metavar="FILE",
    help="Failures that this file (TOML) knows break no build.",
)
@click.option(
    _SAVE_BASELINE,
    metavar="FILE",
    help="Write the failures of this run as a baseline, or add them to one; no exit code changes.",
)
@click.option("-q", "--quiet", is_flag=True, help="Only the summary.")
@click.option("-v", "--verbose", is_flag=True, help="Show the packets of each case.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.version_option(__version__, message="tfocheck %(version)s")
def check(**options: object) -> int:
    """Grade how servers behave against RFC 7413 (TCP Fast Open), seen from outside.

    TARGET is host, host:port, an IPv6 address or [v6]:port; the default port is 443. All addresses
    of a name are tested. Needs raw sockets (sudo, or CAP_NET_RAW); `tfocheck demo` does not.
    """
    return _check(Options(**options))  # type: ignore[arg-type]  # click's parameters are its fields


@click.command("compare", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("before")
@click.argument("after")
@click.option("-q", "--quiet", is_flag=True, help="Only the summary.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def compare(before: str, after: str, quiet: bool, debug: bool) -> int:
    """Say what changed from report BEFORE to report AFTER, both written by --json.

    \b
    Worse is:
      a case that fails and did not, or is new and fails;
      a case that warns and held (pass, info);
      a case that was pass, info or warn and is not decided any more
        (skip, inconclusive, error, or not there), so for all cases of an
        address that is gone or unreachable;
      a lower grade.
    From fail to not decided is neither better nor worse. What a baseline
    knows is compared like everything else.

    \b
    Exit codes: 0 nothing got worse, 1 something did, 2 no report, or one of
    another format.
    """
    from tfocheck.report import compare as comparing
    from tfocheck.report.table import Style

    comparison = comparing.compare(comparing.read(before), comparing.read(after))
    stream = _stdout()
    _put(stream, comparing.render(comparison, Style.of(stream), quiet=quiet))
    return ExitCode.FAILED if comparison.got_worse else ExitCode.CONFORMS


@click.command("explain", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("patterns", nargs=-1, metavar="CASE...")
@click.option(
    "--cases",
    "directories",
    multiple=True,
    metavar="DIR",
    help="Add the case files of this folder.",
)
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def explain(patterns: tuple[str, ...], directories: tuple[str, ...], debug: bool) -> int:
    """Explain cases: what is asked, how it is tested, and what to do about a failure.

    CASE is an id such as forged.random, or a glob such as 'forged.*'.
    """
    from tfocheck.report import explain as explaining

    if not patterns:
        raise UsageError("name a case, as in: tfocheck explain forged.random (see tfocheck --list)")
    catalogue = load_cases(Path(directory) for directory in directories)
    found = [case for pattern in patterns for case in explaining.find(pattern, catalogue)]
    rule = "\n\n" + "-" * explaining.WIDTH + "\n\n"
    _put(_stdout(), rule.join(explaining.explain(case) for case in dict.fromkeys(found)) + "\n")
    return ExitCode.CONFORMS


@click.command("schema", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("report", type=click.Choice(["json", "jsonl"]), default="json")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def schema(report: str, debug: bool) -> int:
    """Print the JSON Schema of a report: json (the default), or a line of jsonl."""
    from tfocheck.report import schema as schemas

    _put(_stdout(), schemas.text(report))
    return ExitCode.CONFORMS


def main(arguments: Sequence[str] | None = None) -> int:
    """The console script; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    name = given[0] if given else ""
    if name not in _SUBCOMMANDS:
        return run_check(given)
    if name == "check":
        return run_check(given[1:])
    if name == "compare":
        return _guarded(lambda: _run(compare, "tfocheck compare", given[1:]), given)
    if name == "explain":
        return _guarded(lambda: _run(explain, "tfocheck explain", given[1:]), given)
    if name == "schema":
        return _guarded(lambda: _run(schema, "tfocheck schema", given[1:]), given)
    if name == "doctor":
        from tfocheck.cli.doctor import doctor

        return _guarded(lambda: _run(doctor, "tfocheck doctor", given[1:]), given)
    return _guarded(lambda: _run(_lab_command(name), f"tfocheck {name}", given[1:]), given)


def run_check(args: Sequence[str]) -> int:
    """Run the check command in this process; returns its exit code and raises nothing."""
    arguments = list(args)
    with _sigterm_as_interrupt():
        return _guarded(lambda: _run(check, "tfocheck", arguments), arguments)


def _run(command: click.Command, name: str, arguments: list[str]) -> int:
    # Not command.main(): it turns a closed pipe into exit code 1 and Ctrl-C into an empty line.
    # click takes the list apart that it is given.
    with command.make_context(name, list(arguments)) as context:
        code = command.invoke(context)
    return code if isinstance(code, int) else ExitCode.CONFORMS


def _lab_command(name: str) -> click.Command:
    from tfocheck.cli import lab as commands

    command = getattr(commands, name)
    assert isinstance(command, click.Command)
    return command


# Errors and signals


class _Termination:
    """SIGTERM: ``came``, and how to end the run cleanly (``cancel_run``) while there is one."""

    came = False
    cancel_run: Callable[[], object] | None = None


@contextlib.contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    def interrupt(_number: int, _frame: object) -> None:
        _Termination.came = True
        # Not by way of SIGINT: in the background of a script that one is ignored.
        if _Termination.cancel_run is None:
            raise KeyboardInterrupt
        _Termination.cancel_run()

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread: whoever runs us there looks after signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _cancelled_by_sigterm() -> Iterator[None]:
    """In a task: SIGTERM cancels it, as asyncio does for SIGINT by itself."""
    import asyncio

    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    _Termination.cancel_run = lambda: loop.call_soon_threadsafe(task.cancel)
    try:
        yield
    finally:
        _Termination.cancel_run = None


def _guarded(action: Callable[[], int], arguments: Sequence[str]) -> int:
    """Run it; whatever it raises becomes a line on stderr and an exit code."""
    try:
        code = action()
        _flush()
        return code
    except click.exceptions.Exit as leaving:  # --help, --version
        return _flushed(leaving.exit_code)
    except BrokenPipeError:
        _silence_stdout()
        return _BROKEN_PIPE
    except KeyboardInterrupt:
        return _interrupted()
    except Exception as error:
        if "--debug" in arguments:
            import traceback

            _complain(traceback.format_exc().rstrip(), one_line=False)
        line, code = _describe(error)
        _complain(f"tfocheck: {line}")
        return code


def _describe(error: Exception) -> tuple[str, int]:
    if isinstance(error, click.UsageError):
        line = " ".join(error.format_message().split()).removesuffix(".")
        command = error.ctx.command_path if error.ctx else "tfocheck"
        return f"{line} (see {command} --help)", ExitCode.USAGE
    if isinstance(error, click.ClickException):
        return error.format_message(), ExitCode.USAGE
    if isinstance(error, TfocheckError):
        return str(error), error.exit_code
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        _silence_stdout()
        return f"can't write to standard output: {error.strerror}", ExitCode.USAGE
    if isinstance(error, OSError):
        where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        return f"{where}{error.strerror or error}", ExitCode.CANNOT
    if isinstance(error, ImportError):
        return f"this installation is incomplete: {error}", ExitCode.CANNOT
    return (
        f"internal error, please report it with the output of --debug: {error!r}",
        ExitCode.CANNOT,
    )


def _interrupted() -> int:
    word = "terminated" if _Termination.came else "interrupted"
    code = _TERMINATED if _Termination.came else ExitCode.INTERRUPTED
    # The terminal has put ^C on our line.
    erase = "\r\x1b[K" if sys.stderr is not None and sys.stderr.isatty() else ""
    _complain(f"tfocheck: {word}; no report was written", erase)
    _silence_stdout()
    return code


def _complain(line: str, erase: str = "", *, one_line: bool = True) -> None:
    shown = escape.typed(line) if one_line else "\n".join(map(escape.typed, line.split("\n")))
    with contextlib.suppress(OSError, AttributeError):  # stderr is closed: nobody is listening
        sys.stderr.write(f"{erase}{shown}\n")
        sys.stderr.flush()


def _flush() -> None:
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _silence_stdout()
        raise UsageError(f"can't write to standard output: {error.strerror}") from error


def _flushed(code: int) -> int:
    try:
        _flush()
    except BrokenPipeError:
        _silence_stdout()
    except UsageError as error:
        _complain(f"tfocheck: {error}")
        return error.exit_code
    return code


def _silence_stdout() -> None:
    """What is still buffered for stdout must not become a complaint when the interpreter ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


# The check command


def _check(options: Options) -> int:
    if options.list_cases:
        _print_list(_select(options, _load(options), everything=True), options)
        return ExitCode.CONFORMS
    if options.list_format is not None:
        raise UsageError("--format goes with --list")
    targets = _parse_targets(options)
    settings = _settings(targets, options)
    known, saved = _baselines(options)
    report = _run_cases(targets, settings, options)
    judgement = _judge(report, options, known)
    _deliver(judgement, options, saved)
    return judgement.exit_code


def prepare(
    arguments: Sequence[str],
) -> tuple[tuple[Target, ...], Settings, Options, Baseline | None]:
    """What a check with these arguments would do, for whoever runs it by other means.

    Raises UsageError, and click's exceptions for what click refuses.
    """
    with check.make_context("tfocheck", list(arguments)) as context:
        options = Options(**context.params)
    if options.list_cases or options.list_format is not None:
        raise UsageError("--list is no part of a check")
    targets = _parse_targets(options)
    return targets, _settings(targets, options), options, _baselines(options)[0]


def _judge(report: Report, options: Options, known: Baseline | None) -> Judgement:
    from tfocheck.judging import grade, trust

    applied = None
    if known is not None:
        report, applied = trust.mark_known(report, known, _today())
    # With users' own cases beside ours, ours are still all there.
    complete = not (options.globs or options.excludes or options.sections or options.levels)
    return grade.judge(report, strict=options.strict, complete=complete, baseline=applied)


def _baselines(options: Options) -> tuple[Baseline | None, Baseline | None]:
    """What --baseline knows, and what --save-baseline adds to. Raises UsageError."""
    if options.baseline is None and options.save_baseline is None:
        return None, None
    from tfocheck.judging import baseline
    from tfocheck.model.baseline import Baseline
    from tfocheck.report import write

    catalogue, known, saved = _load(options), None, None
    if options.baseline is not None:
        known = baseline.read(options.baseline, "--baseline", catalogue)
    if options.save_baseline is not None:
        saved = Baseline(options.save_baseline)
        if not write.is_stdout(saved.path) and os.path.isfile(saved.path):
            saved = baseline.read(saved.path, _SAVE_BASELINE, catalogue)
    return known, saved


def _today() -> datetime.date:
    return datetime.date.today()


def _settings(targets: Sequence[Target], options: Options) -> Settings:
    """Everything else the user typed, checked. Raises UsageError."""
    addresses = tuple(targets_module.parse_literal(text, "--address") for text in options.addresses)
    source = options.source
    if source is not None:
        source = targets_module.parse_literal(source, "--source")
    families = _families(options, targets, addresses, source)
    alt_sources = tuple(
        targets_module.parse_literal(text, "--alt-source").partition("%")[0]
        for text in options.alt_sources
    )
    for literal in alt_sources:
        _check_is_own(literal, "--alt-source")
    if source is not None:
        source = source.partition("%")[0]  # the target's zone says which interface
    choice = payload.choose(options.payload)
    for target in targets:
        choice.for_target(target)
    options.check_outputs()
    # Case files last: they bring Scapy along.
    catalogue = _load(options)
    chosen = _select(options, catalogue)

    from tfocheck.runner.run import Settings
    from tfocheck.server.extras import Extras

    return Settings(
        cases=with_prerequisites(chosen, catalogue),
        selected=frozenset(case.id for case in chosen),
        payload=choice,
        attempts=options.attempts,
        timeout=options.timeout,
        source=source,
        families=families,
        addresses=addresses,
        extras=Extras(
            intrusive=options.intrusive,
            thorough=options.thorough,
            soak=options.soak,
            alt_sources=alt_sources,
            no_nat=options.no_nat,
            off_port=options.off_port,
            trace=options.trace,
        ),
    )


def _load(options: Options) -> tuple[Case, ...]:
    return load_cases(Path(directory) for directory in options.case_directories)


def _select(
    options: Options, catalogue: Sequence[Case], *, everything: bool = False
) -> tuple[Case, ...]:
    given = {
        CaseOption.INTRUSIVE: options.intrusive,
        CaseOption.SOAK: options.soak is not None,
        CaseOption.OFF_PORT: options.off_port is not None,
        CaseOption.TRACE: options.trace,
    }
    selection = Selection(
        globs=options.globs,
        excludes=options.excludes,
        sections=options.sections,
        levels=tuple(Level(level) for level in options.levels),
        options=frozenset(option for option in CaseOption if everything or given[option]),
    )
    return selection.choose(catalogue)


def _parse_targets(options: Options) -> tuple[Target, ...]:
    if not options.targets:
        raise UsageError("name a target, as in: tfocheck example.com:443 (see tfocheck --help)")
    return tuple(dict.fromkeys(targets_module.parse(text) for text in options.targets))


def _families(
    options: Options, targets: Sequence[Target], addresses: Sequence[str], source: str | None
) -> tuple[int, ...]:
    """The address families to test. Raises UsageError when options and targets contradict."""
    families = {4, 6} if options.ipv4 == options.ipv6 else {4} if options.ipv4 else {6}
    wanted = " or ".join(f"IPv{family}" for family in sorted(families))
    if source is not None:
        _check_is_own(source, "--source")
        family = targets_module.family_of(source)
        if family not in families:
            raise UsageError(f"--source {source} is no {wanted} address, as -4 or -6 demands")
        families, wanted = {family}, f"IPv{family}"
    if addresses and not families & {targets_module.family_of(text) for text in addresses}:
        raise UsageError(f"no --address is {wanted}, but only that is to be tested")
    for target in targets:
        if not addresses and target.family not in (None, *families):
            raise UsageError(
                f"target {target.text} is no {wanted} address, but only that is tested"
            )
    return tuple(sorted(families))


def _check_is_own(literal: str, option: str) -> None:
    import socket

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


def _run_cases(targets: Sequence[Target], settings: Settings, options: Options) -> Report:
    import asyncio

    from tfocheck.linux import privileges
    from tfocheck.linux.link import Link
    from tfocheck.report.progress import Progress, view
    from tfocheck.runner.run import run

    progress = shown = None
    if not options.quiet and sys.stderr is not None:
        progress = Progress(len(settings.cases), [target.text for target in targets])
        shown = view(sys.stderr, progress)

    async def watched() -> Report:
        ticker = asyncio.create_task(shown.show()) if shown else None
        try:
            with _cancelled_by_sigterm():
                return await run(targets, settings, link, progress)
        finally:
            if ticker:
                ticker.cancel()
                await asyncio.gather(ticker, return_exceptions=True)

    _import_the_rest(options)
    link = Link.open()
    try:
        privileges.drop()
        # The reports are written as the user that we have become, who may write less than root.
        options.check_outputs()
        return asyncio.run(watched())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        link.close()


def _import_the_rest(options: Options) -> None:
    """Import all that is used without privileges: perhaps only root may read Python."""
    import traceback  # noqa: F401

    from tfocheck.judging import grade
    from tfocheck.model.report import Report
    from tfocheck.report import github
    from tfocheck.report.table import Style, render

    # Libraries import, too, when they are used (codecs, for example): so use them once.
    nothing = grade.judge(Report((), 0.0, 0.0, __version__, errors=(("target", "message"),)))
    render(nothing, Style())
    for each in formats.FORMATS:
        if options.directory is not None or getattr(options, each.parameter) is not None:
            each.dumps(nothing)
    if options.save_baseline is not None:
        import tomlkit  # noqa: F401
    if github.is_active(os.environ):
        github.summary(nothing)
    "name".encode("idna")  # as getaddrinfo does with a name


def _print_list(cases: Sequence[Case], options: Options) -> None:
    from tfocheck.report.table import Style, case_list

    style = Style.of(_stdout())
    _put(_stdout(), case_list(cases, style, markdown=options.list_format == "markdown"))


def _deliver(judgement: Judgement, options: Options, saved: Baseline | None) -> None:
    """The text for people, then the files: a full disk or a closed pipe costs only its own part."""
    from tfocheck.report import github, write
    from tfocheck.report.table import Style, render, summary

    to_stdout = any(write.is_stdout(path) for _, path in options.outputs)
    stream = sys.stderr if to_stdout else _stdout()
    on_github = github.is_active(os.environ)
    problems: list[UsageError] = []
    if not (to_stdout and options.quiet) and stream is not None:
        style = Style.of(stream)
        text = (
            summary(judgement, style)
            if options.quiet
            else render(judgement, style, verbose=options.verbose or options.debug)
        )
        shown = github.quoted(text) if on_github else text
        problems += _attempt(lambda: _put(stream, shown))
    if on_github:
        problems += _tell_github(judgement, stream)
    for option, path in options.reports:
        problems += _attempt(
            lambda o=option, p=path: write.write(o, p, formats.dumps(o, judgement))  # type: ignore[misc]
        )
    if options.directory is not None:
        problems += _fill(options.directory, judgement, verbose=options.verbose)
    if saved is not None:
        problems += _attempt(lambda: _save(judgement, saved))
    for problem in problems[:-1]:
        _complain(f"tfocheck: {problem}")
    if problems:
        raise problems[-1]


def _tell_github(judgement: Judgement, stream: TextIO | None) -> list[UsageError]:
    from tfocheck.report import github

    problems: list[UsageError] = []
    if stream is not None:
        problems += _attempt(lambda: _put(stream, github.commands(judgement)))
    if path := os.environ.get(github.SUMMARY):
        # Nobody asked for it, so it breaks no build: the path may be that of another container.
        for problem in _attempt(lambda: github.append_summary(judgement, path)):
            _complain(f"tfocheck: {problem}")
    return problems


def _attempt(action: Callable[[], None]) -> list[UsageError]:
    try:
        action()
    except BrokenPipeError:
        _silence_stdout()  # as with "| head": who stopped reading knows what they have
    except UsageError as error:
        return [error]
    return []


def _fill(directory: str, judgement: Judgement, *, verbose: bool) -> list[UsageError]:
    """Write each report there is into the directory; what fails costs only its own file."""
    from tfocheck.report import write
    from tfocheck.report.table import Style, render

    made: list[tuple[str, Callable[[], str | bytes]]] = [
        (formats.TEXT_NAME, lambda: render(judgement, Style(), verbose=verbose))
    ]
    made += [(each.file_name, lambda e=each: e.dumps(judgement)) for each in formats.FORMATS]  # type: ignore[misc]
    problems: list[UsageError] = []
    for name, make in made:
        problems += _attempt(lambda n=name, m=make: write.write_into("-o", directory, n, m()))  # type: ignore[misc]
    return problems


def _save(judgement: Judgement, old: Baseline) -> None:
    from tfocheck.judging import saving
    from tfocheck.report import write

    new = saving.save(judgement, old, _today())
    if new is None:
        _complain(f"tfocheck: {_SAVE_BASELINE} {old.path}: nothing answered, so nothing was saved")
        return
    if new.added or not old.text:
        write.write(_SAVE_BASELINE, old.path, new.text)
    entries = "1 new entry" if new.added == 1 else f"{new.added} new entries"
    left_out = f"; left out: {', '.join(new.left_out)}" if new.left_out else ""
    _complain(f"tfocheck: {_SAVE_BASELINE} {old.path}: {entries}{left_out}")


def _stdout() -> TextIO:
    if sys.stdout is None:
        raise UsageError("standard output is closed; -q with --json FILE needs none")
    return sys.stdout


def _put(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _silence_stdout()
        name = "standard error" if stream is sys.stderr else "standard output"
        raise UsageError(f"can't write to {name}: {error.strerror}") from error
