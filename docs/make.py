"""Prints anew what the README and the pages show as printed: ``python docs/make.py [NAME ...]``.

A block that follows ``<!-- printed: NAME -->`` was printed by the program; this file says how each
is printed, and ``tests/test_docs.py`` whether what stands there is still what the program says.
Those that need a lab take a few seconds each.
"""

from __future__ import annotations

import contextlib
import enum
import inspect
import os
import pty
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
BLOCK = re.compile(
    r"<!-- printed: (?P<name>[a-z0-9-]+) -->\n(?P<fence>```\w*\n)?"
    r"(?P<text>.*?)(?P<end>(?(fence)```|<!-- up to here -->))",
    re.DOTALL,
)
WIDTH = 100
MOST_SHOWN = ("option.cookie-format", "cookie.request", "forged.random", "open.data-acked")


def run(*arguments: str, folder: Path | None = None, status: int | None = 0) -> str:
    """What a command of ours prints where it is piped."""
    done = subprocess.run(
        [sys.executable, "-m", "tfocheck", *arguments],
        cwd=folder or ROOT,
        capture_output=True,
        text=True,
        env=_environment(),
    )
    if status is not None and done.returncode != status:
        raise RuntimeError(f"{arguments}: exit code {done.returncode}: {done.stderr}")
    return done.stdout


def at_a_terminal(*arguments: str) -> str:
    """What it prints in a terminal of 100 columns, but for its progress."""
    ours, its = pty.openpty()
    import fcntl
    import struct
    import termios

    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, WIDTH, 0, 0))
    with subprocess.Popen(
        [sys.executable, "-m", "tfocheck", *arguments],
        cwd=ROOT,
        stdout=its,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        env=_environment(NO_COLOR="1", TERM="xterm"),
    ):
        os.close(its)
        text = b""
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            while chunk := os.read(ours, 1 << 16):
                text += chunk
    os.close(ours)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.decode())
    return shown.replace("\r\n", "\n")


def _environment(**more: str) -> dict[str, str]:
    left = {
        name: value
        for name, value in os.environ.items()
        if name not in ("COLUMNS", "GITHUB_ACTIONS")
    }
    return {**left, "PYTHONPATH": str(ROOT), **more}


# What is printed


def demo() -> str:
    """The whole report of the demo."""
    return _from(at_a_terminal("demo"), "linux.lab:8080 at ")


def excerpt(report: str) -> str:
    """The head of a whole report, a few of its cases, and its end."""
    head, rule, rows, end = re.fullmatch(
        r"(.*?\n)(-[- ]+\n)(.*?)(\n\S+ at \S+: grade.*)", report, re.DOTALL
    ).groups()  # type: ignore[union-attr]
    cases = re.findall(r"^\S.*\n(?:^ .*\n)*", rows, re.MULTILINE)
    chosen = "".join(each for each in cases if each.split()[0] in MOST_SHOWN)
    return f"{head}{rule}...\n{chosen}...\n{end}"


def off() -> str:
    """The end of the report on a server without Fast Open."""
    return _from(at_a_terminal("lab", "run", "nginx-off", "--", "-4"), "what to do:")


def option_stripped() -> str:
    """The head of a report on a fault of the path."""
    shown = run("lab", "run", "option-stripped", "--", "-4", status=4)
    return "$ tfocheck lab run option-stripped\n" + shown[: shown.index("\n\ncase ")] + "\n"


def doctor() -> str:
    """What doctor prints beside an nginx whose kernel says no, once nginx has its worker."""
    doctor_there = f"{shlex.quote(sys.executable)} -m tfocheck doctor"
    script = (
        "sysctl -qw net.ipv4.tcp_fastopen=1; shown=; until echo \"$shown\" | grep -q 'x.2. +1'; "
        f'do shown=$({doctor_there}); done; echo "$shown"'
    )
    # The first program of a lab's own process namespace is the scenario's.
    entered = ("nsenter", "--net=/proc/2/ns/net", "sh", "-c", script)
    return _from(run("lab", "exec", "nginx", "--", *entered), "net.ipv4.tcp_fastopen = ")


def in_pytest() -> str:
    """What pytest prints, from what it has collected on."""
    line = "-m pytest -p no:cacheprovider --tfo-target linux.lab:8080 -m must -k forged"
    with tempfile.TemporaryDirectory() as folder:
        words = ("lab", "exec", "linux", "--", sys.executable, *line.split())
        return _from(run(*words, folder=Path(folder)), "collected ")


def comment() -> str:
    """What tshark shows of the packet that decided a case."""
    page = (ROOT / "docs" / "reports.md").read_text()
    line = re.findall(r"^    (tshark .*)$", page, re.MULTILINE)[0]
    with tempfile.TemporaryDirectory() as folder:
        faulty = ("lab", "run", "reference", "--fault", "accepts-any-cookie", "--", "-4", "-q")
        chosen = ("--case", "forged.random", "--pcap", "tfocheck.pcapng")
        run(*faulty, *chosen, folder=Path(folder), status=1)
        asked = ["sh", "-c", f"{line} 2> /dev/null"]
        told = subprocess.run(asked, cwd=folder, capture_output=True, text=True, check=True).stdout
    return next(f"{each}\n" for each in told.splitlines() if "this decided" in each)


def own_case() -> str:
    """The report on the example of a user's case."""
    options = ("--cases", "examples", "--case", "my.same-cookie", "-4")
    return run("lab", "run", "linux", "--", *options)


def with_baseline() -> Iterator[tuple[str, str]]:
    """(name, text) of the blocks about known failures and comparing, made of one story."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        broken = ("lab", "run", "reference", "--fault", "accepts-zero", "--", "-4")
        run(
            *broken,
            "-q",
            "--save-baseline",
            "baseline.toml",
            "--json",
            "b.json",
            folder=folder,
            status=1,
        )
        yield "baseline", (folder / "baseline.toml").read_text()
        shown = run(*broken, "-q", "--baseline", "baseline.toml", folder=folder)
        yield "known", _from(shown, "reference.lab:8080 at ")
        mended = ("lab", "run", "reference", "--", "-4", "-q", "--baseline", "baseline.toml")
        done = subprocess.run(
            [sys.executable, "-m", "tfocheck", *mended, "--json", "a.json"],
            cwd=folder,
            capture_output=True,
            text=True,
            env=_environment(),
            check=True,
        )
        told = (done.stdout + done.stderr).splitlines()
        yield "mended", next(f"{line}\n" for line in told if "is mended" in line)
        yield "compare", run("compare", "a.json", "b.json", folder=folder, status=1)


def api() -> str:
    """The public names of tfocheck and tfocheck.case, from their docstrings."""
    import tfocheck
    import tfocheck.case

    parts = []
    for module in (tfocheck, tfocheck.case):
        parts.append(f"## `{module.__name__}`\n\n{inspect.getdoc(module)}\n")
        for name in sorted(module.__all__, key=str.lower):
            thing = getattr(module, name)
            if isinstance(thing, type) or callable(thing):
                parts.append(_described(name, thing))
    return "\n".join(parts)


def _described(name: str, thing: object) -> str:
    if isinstance(thing, type) and issubclass(thing, enum.Enum):
        values = ", ".join(f"`{each.name}`" for each in thing)
        return f"### {name}\n\n{inspect.getdoc(thing)}\n\nOne of {values}.\n"
    kind = "class " if isinstance(thing, type) else ""
    said = inspect.getdoc(thing) or ""
    text = f"### {name}\n\n```python\n{kind}{name}{_signature(thing)}\n```\n\n{said}\n"
    methods = [
        (each, member)
        for each, member in (vars(thing).items() if isinstance(thing, type) else ())
        if not each.startswith("_") and inspect.getdoc(member) and callable(member)
    ]
    lines = [
        f"- `{each}{_short(member)}`: {' '.join((inspect.getdoc(member) or '').split())}"
        for each, member in methods
    ]
    return text + ("\n" + "\n".join(lines) + "\n" if lines else "")


def _signature(thing: object) -> str:
    """As it is written in the file, one parameter a line where it is long."""
    # What Python says of an exception that has none of its own differs by its version.
    if (
        isinstance(thing, type)
        and issubclass(thing, BaseException)
        and "__init__" not in vars(thing)
    ):
        return ""
    try:
        signature = inspect.signature(thing)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return ""
    parts: list[str] = []
    star = False
    for name, each in signature.parameters.items():
        if name.startswith("_"):
            continue
        if each.kind is each.KEYWORD_ONLY and not star:
            parts.append("*")
        star = star or each.kind in (each.KEYWORD_ONLY, each.VAR_POSITIONAL)
        mark = {each.VAR_POSITIONAL: "*", each.VAR_KEYWORD: "**"}.get(each.kind, "")
        annotation = "" if each.annotation is each.empty else f": {_plain(each.annotation)}"
        default = "" if each.default is each.empty else f" = {_default(each.default)}"
        parts.append(f"{mark}{name}{annotation}{default}")
    result = signature.return_annotation
    returns = (
        ""
        if isinstance(thing, type) or result is inspect.Signature.empty
        else f" -> {_plain(result)}"
    )
    line = f"({', '.join(parts)}){returns}"
    if len(line) < WIDTH - 20:
        return line
    return "(\n" + "".join(f"    {part},\n" for part in parts) + f"){returns}"


def _plain(annotation: object) -> str:
    return (
        annotation
        if isinstance(annotation, str)
        else getattr(annotation, "__name__", str(annotation))
    )


def _default(value: object) -> str:
    plain = isinstance(value, (str, bytes, int, float, tuple, frozenset, type(None)))
    return (
        repr(value)
        if plain and not isinstance(value, enum.Enum) and " at 0x" not in repr(value)
        else "..."
    )


def _short(member: object) -> str:
    """The names of a method's parameters."""
    try:
        names = list(inspect.signature(member).parameters) if callable(member) else []
    except (TypeError, ValueError):
        names = []
    return f"({', '.join(name for name in names if name != 'self')})"


def _from(text: str, start: str) -> str:
    return text[f"\n{text}".index(f"\n{start}") :]


ALWAYS: dict[str, Callable[[], str]] = {
    "cases": lambda: run("--list", "--format", "markdown").strip() + "\n",
    "lab": lambda: run("lab", "list"),
    "api": api,
}
"""What comes out the same each time, and needs no lab."""

IN_LAB: dict[str, Callable[[], str]] = {
    "demo": demo,
    "off": off,
    "option-stripped": option_stripped,
    "doctor": doctor,
    "pytest": in_pytest,
    "own-case": own_case,
    "comment": comment,
}
KNOWN_FAILURES = ("baseline", "known", "mended", "compare")
"""What ``with_baseline`` prints."""


def blocks(page: str) -> dict[str, str]:
    """name → text of each block that was printed."""
    return {found["name"]: found["text"] for found in BLOCK.finditer(page)}


def shape(text: str) -> str:
    """The text without what chance decides: cookies, numbers, and how lines are wrapped."""
    text = re.sub(r"\b[0-9a-f]{16}\b", "0", text)
    words = re.sub(r"\d[\d.:]*", "0", re.sub(r"[-=]{2,}", "--", text)).split()
    return " ".join(words)


def with_block(page: str, name: str, text: str) -> str:
    """The page with another text in the block of that name."""

    def replaced(found: re.Match[str]) -> str:
        if found["name"] != name:
            return found[0]
        # A table ends where a line is no row: not at a comment.
        text_there = text if found["fence"] else f"\n{text.strip()}\n\n"
        head = f"<!-- printed: {name} -->\n{found['fence'] or ''}"
        return f"{head}{text_there}{found['end']}"

    return BLOCK.sub(replaced, page)


def main() -> int:
    """Print all anew, or those that are named."""
    names = set(sys.argv[1:])
    printed: dict[str, str] = {}
    for name, sample in (ALWAYS | IN_LAB).items():
        if not names or name in names:
            print(name, flush=True)
            printed[name] = sample()
    if "demo" in printed:
        printed["demo-excerpt"] = excerpt(printed["demo"])
    if not names or names & set(KNOWN_FAILURES):
        printed |= dict(with_baseline())
    for path in PAGES:
        page = path.read_text()
        for name, text in printed.items():
            page = with_block(page, name, text)
        path.write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
