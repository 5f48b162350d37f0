"""doctor's report for people: the kernel, the listeners, the servers, what is wrong, what to do.

Rules that hold here:

* All that comes from processes and files went through ``escape``; the text is ASCII but for our own
  colour codes.
* At a terminal lines are wrapped to its width; piped, a row is a line however long.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tabulate import MIN_PADDING, tabulate

from tfocheck.doctor import chain, counters, kernel
from tfocheck.doctor.advice import Step
from tfocheck.doctor.chain import State, state
from tfocheck.doctor.configuration import Configuration
from tfocheck.doctor.diagnosis import Diagnosis
from tfocheck.doctor.examination import Machine, Running
from tfocheck.doctor.finding import Weight
from tfocheck.doctor.kernel import Key
from tfocheck.doctor.listener import Listener
from tfocheck.doctor.netns import View
from tfocheck.doctor.outside import Outside
from tfocheck.errors import ExitCode
from tfocheck.model import escape
from tfocheck.model.style import Style

_BOLD, _RED, _GREEN, _YELLOW, _CYAN = "1", "31", "32", "33", "36"
_STATES = {
    State.ON: ("yes", _GREEN),
    State.REFUSED: ("no", _RED),
    State.OFF: ("no", ""),
    State.UNKNOWN: ("?", _YELLOW),
}
_WEIGHTS = {Weight.PROBLEM: _RED, Weight.WARNING: _YELLOW, Weight.NOTE: _CYAN}
_KEYS = {
    Key.UNREADABLE: "may be read by root only",
    Key.NONE_YET: "none yet: the kernel makes one for the first listener that asks",
    Key.ONE: "one",
    Key.WITH_BACKUP: "one, and a backup key",
}
_HOLDS = {True: ("holds ", _GREEN), False: ("breaks", _RED), None: ("?     ", _YELLOW)}
_LEAST_WIDTH = 16
_MOST_CHAINS = 4
_GAP = 2


def render(
    machine: Machine,
    found: Diagnosis,
    steps: Sequence[Step],
    style: Style,
    outside: Sequence[Outside] = (),
) -> str:
    """The whole report, ending in a line feed."""
    version = kernel.describe_version(machine.version)
    blocks = [_lines([f"kernel {escape.text(machine.release)} {version}"], style)]
    shown: set[int | None] = set()
    for view in machine.views:
        blocks.append(_view(machine, view, style, explained=view.settings.fast_open in shown))
        if machine.of(view) or not machine.listeners:
            shown.add(view.settings.fast_open)
    blocks += [_listeners(machine, style), _guards(machine, style), _chains(machine, style)]
    blocks += [_servers(machine, style), _outside(outside, style)]
    blocks += [_findings(found, style), _steps(steps, style), summary(found, style)]
    return "\n".join(block for block in blocks if block)


def _guards(machine: Machine, style: Style) -> str:
    if not machine.guards:
        return ""
    ports = "1 port is" if machine.guards == 1 else f"{machine.guards} ports are"
    return _lines([f"{ports} kept silent by a check that runs here: no servers"], style)


def _chains(machine: Machine, style: Style) -> str:
    """Of those that ought to have it the links, where one breaks or may."""
    alike: dict[tuple[chain.Link, ...], list[str]] = {}
    for listener in machine.wanted:
        links = tuple(chain.links(listener, machine.version))
        doubtful = listener.view.rules or any(each.holds is False for each in links)
        if doubtful and listener.queue is not None:
            alike.setdefault(links, []).append(str(listener.listening))
    lines: list[str] = []
    for links, names in list(alike.items())[:_MOST_CHAINS]:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        lines.append(f"from setting to wire, {', '.join(names[:3])}{more}:")
        for each in links:
            word, colour = _HOLDS[each.holds]
            text = escape.text(f"{each.name}: {each.text}")
            lines.append(f"  {style.paint(word, colour)}  {text}")
    if len(alike) > _MOST_CHAINS:
        lines.append("and others: ask with --port, or for --json")
    return _lines(lines, style, " " * 10)


def summary(found: Diagnosis, style: Style) -> str:
    """The last line."""
    code = {ExitCode.CONFORMS: _GREEN, ExitCode.FAILED: _RED}.get(found.exit_code, _YELLOW)
    [first, *rest] = _wrapped(f"doctor: {escape.text(found.headline)}", style, "  ")
    return "".join(f"{line}\n" for line in [style.paint(first, f"{_BOLD};{code}"), *rest])


def counted_lines(names: Iterable[str], counted: Mapping[str, int]) -> Iterator[str]:
    """A line for each counter: its value, its name, and what it counts."""
    for name in names:
        short = name.removeprefix("TCPFastOpen")
        yield f"{counted[name]:>10}  {short:<14}  {counters.MEANINGS[name]}"


# The kernel


def _view(machine: Machine, view: View, style: Style, *, explained: bool) -> str:
    value = view.settings.fast_open
    place = escape.text(str(view.namespace))
    if value is None:
        reason = view.problem or "it can't be read"
        return _lines([f"{kernel.NAME} in {place}: {escape.text(reason)}"], style)
    head = f"{kernel.NAME} = {value} ({value:#x}) in {place}"
    if not machine.of(view) and machine.listeners:
        return _lines([f"{head}, where nobody listens"], style)
    lines = [f"{head}, which means the same as above" if explained else head]
    for bit, on, meaning in () if explained else kernel.describe_bits(value):
        word = style.paint("on ", _GREEN) if on else "off"
        lines.append(f"  {bit:#7x}  {word}  {meaning}")
    lines += [f"  {name:<9} {text}" for name, text in _facts(machine, view)]
    counted = view.counted or {}
    shown = [name for name in counters.MEANINGS if name in counted]
    if any(counted.values()):
        lines.append("  counters since this namespace began:")
        lines += counted_lines((name for name in shown if counted[name]), counted)
    elif shown:
        lines.append("  counters  all 0: nobody has tried Fast Open here")
    return _lines(lines, style, " " * 12)


def _facts(machine: Machine, view: View) -> Iterator[tuple[str, str]]:
    persistence = machine.persistence
    if view.namespace.own and persistence.applies:
        winner = persistence.winner
        for setting in persistence.settings:
            if setting is winner:
                continue
            refused = setting.number is None
            then = "which the kernel refuses" if refused else "which another line replaces"
            text = f"{setting.file}:{setting.line} sets {setting.value}, {then}"
            yield "at boot", escape.text(text)
        if winner is None:
            default = kernel.default_of(machine.version)
            yield "at boot", f"no file of sysctl.d sets it: it will be the kernel's own, {default}"
        else:
            note = "" if persistence.read_at_boot else ", but systemd does not read that file"
            yield "at boot", escape.text(f"{winner.file}:{winner.line} sets {winner.value}{note}")
    else:
        yield "at boot", "set by whoever makes this network namespace; it begins with 1"
    key = _KEYS[view.settings.key]
    if persistence.key and view.namespace.own:
        key += f", set by {escape.text(persistence.key[-1])}"
    elif view.settings.key in (Key.ONE, Key.WITH_BACKUP):
        made = "at this boot" if view.namespace.own else "for this network namespace"
        key += f", no file sets it: made by the kernel {made}, or set by hand"
    yield "key", key
    pause = view.settings.blackhole_timeout
    if pause is not None:
        yield (
            "blackhole",
            f"clients pause for {pause} s and longer when a firewall eats Fast Open"
            if pause
            else "clients never pause (timeout 0)",
        )


# Listeners and servers


def _listeners(machine: Machine, style: Style) -> str:
    if not machine.listeners:
        return ""
    several = not all(each.view.namespace.own for each in machine.listeners)
    order = list(State)
    rows = []
    for listener in sorted(
        machine.listeners,
        key=lambda each: (order.index(state(each, machine.version)), each.listening.port),
    ):
        shown, colour = _STATES[state(listener, machine.version)]
        row = [
            _address(listener),
            _process(listener),
            "?" if listener.queue is None else str(listener.queue or "-"),
            style.paint(shown, colour) if colour else shown,
            escape.text(why(machine, listener)),
        ]
        if several:
            row.insert(1, escape.text(_short(listener.view)))
        rows.append(row)
    header = ["listener", "process", "queue", "gets it", "why"]
    if several:
        header.insert(1, "namespace")
    return _grid(header, rows, style)


def why(machine: Machine, listener: Listener) -> str:
    """The reason for a listener's state, in a few words."""
    found, queue = state(listener, machine.version), listener.queue
    settings = listener.view.settings
    everyone = settings.has(kernel.ALL_LISTENERS)
    if found is State.ON:
        keys = listener.options.own_keys if listener.options else 0
        parts = [f"a queue of {queue}"]
        parts += ["perhaps without asking: bit 0x400"] if everyone else []
        parts += [f"{'a key' if keys == 1 else f'{keys} keys'} of its own"] if keys else []
        bare = listener.options is not None and listener.options.without_cookie
        parts += ["MPTCP"] if listener.options and listener.options.is_mptcp else []
        parts += ["without a cookie, too"] if bare or settings.has(0x200) else []
        return ", ".join(parts)
    if found is State.REFUSED:
        link = chain.broken(listener, machine.version)
        reason = link.reason if link else ""
        asks = f"it asks for {queue}, the kernel refuses" if queue else "whatever it asks for"
        return f"{asks}: {reason}"
    if found is State.UNKNOWN:
        return listener.reason if queue is None else listener.view.problem or "no such sysctl"
    if everyone and settings.has(kernel.SERVER):
        return "it began to listen before bit 0x400 was set"
    if settings.has(kernel.SERVER) is False:
        return "it does not ask, and bit 0x2 is off"
    return "it does not ask"


def _address(listener: Listener) -> str:
    both = " (IPv4 too)" if listener.options and listener.options.takes_ipv4 else ""
    count = f" x{listener.count}" if listener.count > 1 else ""
    return f"{listener.listening}{both if listener.listening.is_wildcard else ''}{count}"


def _process(listener: Listener) -> str:
    if listener.process is None:
        return f"? (uid {listener.listening.uid})"
    more = len(listener.holders) - 1
    return escape.text(str(listener.process)) + (f" +{more}" if more else "")


def _short(view: View) -> str:
    namespace = view.namespace
    return "ours" if namespace.own else namespace.name or f"of pid {namespace.pid}"


def _servers(machine: Machine, style: Style) -> str:
    lines: list[str] = []
    for running in machine.running:
        knows = {True: ", which knows Fast Open", False: ", built without Fast Open"}
        built = knows.get(running.configuration.knows, "")  # type: ignore[arg-type]
        lines.append(escape.text(f"{running.server.name}: {running.process}{built}"))
        lines += [f"  {line}" for line in _configured(running, running.configuration, style)]
    return _lines(lines, style, " " * 6)


def _configured(running: Running, configuration: Configuration, style: Style) -> Iterator[str]:
    for directive in configuration.directives:
        word = style.paint("on ", _GREEN) if directive.on else "off"
        yield f"{word}  {escape.text(f'{directive.place}: {directive.text}')}"
    if configuration.problem:
        yield escape.text(configuration.problem)
    if not any(directive.on for directive in configuration.directives):
        yield f"to switch it on: {escape.text(running.server.how)}"


def _outside(outside: Sequence[Outside], style: Style) -> str:
    if not outside:
        return ""
    words = {True: ("works", _GREEN), False: ("no", _RED), None: ("?", _YELLOW)}
    rows = []
    for each in outside:
        inside, inside_colour = _STATES[state(each.listener, None)]
        shown, colour = words[each.works]
        rows.append(
            [
                escape.text(each.target),
                style.paint(inside, inside_colour) if inside_colour else inside,
                style.paint(shown, colour),
                escape.text(each.said),
            ]
        )
    return _grid(["address", "inside", "outside", "what was seen"], rows, style)


# Findings and steps


def _findings(found: Diagnosis, style: Style) -> str:
    lines: list[str] = []
    for finding in found.findings:
        word = style.paint(f"{finding.weight.value:<7}", _WEIGHTS[finding.weight])
        lines += _wrapped(f"{word}  {escape.text(finding.text)}", style, " " * 9)
    return "".join(f"{line}\n" for line in lines)


def _steps(steps: Sequence[Step], style: Style) -> str:
    if not steps:
        return ""
    lines = ["what to do:"]
    for number, step in enumerate(steps, 1):
        lines += _wrapped(f"  {number}. {escape.text(step.what)}", style, "     ")
        # Never wrapped: a command is copied.
        lines += [f"       {escape.text(command)}" for command in step.commands]
    return "".join(f"{line}\n" for line in lines)


# Cells and lines


def _grid(header: list[str], rows: list[list[str]], style: Style) -> str:
    if style.width is not None:
        taken = [
            max(len(header[column]) + MIN_PADDING, *(_visible(row[column]) for row in rows)) + _GAP
            for column in range(len(header) - 1)
        ]
        room = max(_LEAST_WIDTH, style.width - sum(taken))
        rows = [[*row[:-1], textwrap.fill(row[-1], room)] for row in rows]
    grid = tabulate(rows, header, tablefmt="simple", disable_numparse=True, stralign="left")
    return "".join(f"{line.rstrip()}\n" for line in grid.split("\n"))


def _visible(cell: str) -> int:
    return len(cell.split("\x1b[")[1].partition("m")[2]) if "\x1b[" in cell else len(cell)


def _lines(lines: Sequence[str], style: Style, indent: str = "  ") -> str:
    return "".join(f"{part}\n" for line in lines for part in _wrapped(line, style, indent))


def _wrapped(line: str, style: Style, indent: str) -> list[str]:
    if style.width is None or _visible_length(line) <= style.width:
        return [line]
    return textwrap.wrap(line, style.width, subsequent_indent=indent, break_on_hyphens=False)


def _visible_length(line: str) -> int:
    return sum(
        len(part.partition("m")[2]) if index else len(part)
        for index, part in enumerate(line.split("\x1b["))
    )
