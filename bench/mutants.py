"""Mutates judging, engine and server, a change at a time: do the in-memory tests notice?

``make mutants`` (N=300 SEED=...) takes a sample of all small changes, and runs for each one the
tests that execute the changed line, the quickest first, until one fails. Which tests those are is
looked up once, by coverage. A changed line that no test executes counts as survived.

Nothing is written into the working tree: a process that is forked for each change imports the
changed module in place of the one on the disk.

Exit code 0 if at least ``--least`` per cent are killed, 1 if fewer. Tests that fail without any
change are left out.
"""

from __future__ import annotations

import argparse
import ast
import collections
import contextlib
import importlib
import importlib.machinery
import importlib.util
import itertools
import json
import os
import random
import resource
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

# Whatever is forked off must have it loaded already, but nothing of tfocheck.
import coverage
import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("judging", "engine", "server")

KILLED, SURVIVED, TIMED_OUT, BROKEN = 1, 0, 70, 71
LEAST_SECONDS, SLOWER = 10.0, 20.0
"""A test takes for ever when it takes so many seconds, and so many times longer than unchanged."""

MEMORY = 4 << 30

# --- changes --------------------------------------------------------------------------------------

_COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_RECKONED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Add,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
_NOT_MUTATED = ("annotation", "returns", "decorator_list", "bases", "format_spec", "type_comment")


@dataclass
class Change:
    """A place in a module that can be changed: what was there, what comes in its stead."""

    line: int
    last: int
    was: str
    becomes: str
    make: Callable[[], None] = field(repr=False)


def changes(tree: ast.Module) -> Iterator[Change]:
    """Every change of a module, always in the same order; ``make`` alters the tree."""
    yield from _in(tree, None)


def _in(parent: ast.AST, statement: ast.stmt | None) -> Iterator[Change]:
    for name, value in ast.iter_fields(parent):
        if name in _NOT_MUTATED:
            continue
        for index, node in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(node, ast.Assert) or not isinstance(node, ast.AST):
                continue
            inside = node if isinstance(node, ast.stmt) else statement
            others = _other_statements(node) if isinstance(node, ast.stmt) else _others(node)
            for new in others:
                yield _change(parent, name, index if isinstance(value, list) else None, new, inside)
            yield from _in(node, inside)


def _change(
    parent: ast.AST, name: str, index: int | None, new: ast.AST, statement: ast.stmt | None
) -> Change:
    """Something else in this field of the parent, or at this place of the list in it."""
    old = getattr(parent, name) if index is None else getattr(parent, name)[index]

    def make() -> None:
        ast.copy_location(new, old)
        if index is None:
            setattr(parent, name, new)
        else:
            getattr(parent, name)[index] = new

    first = statement.lineno if statement is not None else old.lineno
    last = (old.test if isinstance(old, ast.If) else old).end_lineno or first
    return Change(first, last, _first_line(old), _first_line(new), make)


def _first_line(node: ast.AST) -> str:
    return ast.unparse(node).splitlines()[0]


def _others(node: ast.AST) -> Iterator[ast.AST]:
    """What could stand in place of an expression."""
    match node:
        case ast.Compare(left, [first, *others], compared):
            yield ast.Compare(left, [_COMPARED[type(first)](), *others], compared)
        case ast.BoolOp(operator, values):
            yield ast.BoolOp(ast.And() if isinstance(operator, ast.Or) else ast.Or(), values)
        case ast.UnaryOp(ast.Not(), operand):
            yield operand
        case ast.BinOp(left, operator, right) if _is_reckoned(node):
            yield ast.BinOp(left, _RECKONED[type(operator)](), right)
        case ast.Constant(bool() as truth):
            yield ast.Constant(not truth)
        case ast.Constant(int() | float() as number):
            yield ast.Constant(number + 1)
            yield ast.Constant(number - 1)
        case ast.IfExp(test, body, orelse):
            yield ast.IfExp(test, orelse, body)


def _other_statements(node: ast.stmt) -> Iterator[ast.AST]:
    """What could stand in place of a statement."""
    match node:
        case ast.If(test, body, orelse):
            yield ast.If(ast.UnaryOp(ast.Not(), test), body, orelse)
        case ast.Return(ast.expr() as value) if not isinstance(value, ast.Constant):
            yield ast.Return(ast.Constant(None))
        case ast.AugAssign() | ast.Raise() | ast.Assign([ast.Attribute() | ast.Subscript()], _):
            yield ast.Pass()
        case ast.Expr(value) if not isinstance(value, ast.Constant | ast.Yield):
            yield ast.Pass()
        case ast.Continue():
            yield ast.Break()
        case ast.Break():
            yield ast.Continue()


def _is_reckoned(node: ast.BinOp) -> bool:
    """Whether it reckons with numbers: no text is put together, and no types are."""
    texts = (ast.JoinedStr, ast.Constant)
    is_text = any(
        isinstance(each, texts) and not isinstance(getattr(each, "value", None), int | float)
        for each in (node.left, node.right)
    )
    is_type = isinstance(node.op, ast.BitOr) and any(
        isinstance(each, ast.Name) and each.id[:1].isupper() for each in ast.walk(node.right)
    )
    is_type &= not any(isinstance(each, ast.Attribute) for each in ast.walk(node))
    return type(node.op) in _RECKONED and not is_text and not is_type


@dataclass(frozen=True)
class Mutant:
    """A module with one change, by its number in that module."""

    path: Path
    source: str = field(repr=False)
    number: int
    line: int
    last: int
    change: str

    @property
    def module(self) -> str:
        """Its name, to import it by."""
        return ".".join(self.path.relative_to(ROOT).with_suffix("").parts)

    def code(self) -> CodeType:
        """The changed module. Raises SyntaxError where the change makes none."""
        tree = ast.parse(self.source)
        [*changes(tree)][self.number].make()
        return compile(ast.fix_missing_locations(tree), str(self.path), "exec")

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}: {self.change}"


def mutants() -> list[Mutant]:
    """Every mutant there is."""
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / "tfocheck" / package).glob("*.py")):
            source = path.read_text()
            for number, each in enumerate(changes(ast.parse(source))):
                change = f"{each.was}  ->  {each.becomes}"
                found.append(Mutant(path, source, number, each.line, each.last, change))
    return found


# --- which tests execute what ---------------------------------------------------------------------


@dataclass
class Known:
    """Which tests execute which lines, and how many seconds each takes."""

    tests: dict[str, dict[int, list[str]]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    modules: list[str] = field(default_factory=list)
    """What the tests import that is not ours."""
    failing: list[str] = field(default_factory=list)
    """What fails without any change."""
    most: float = 60.0
    """So many seconds of tests are spent on one mutant: beyond them it counts as survived."""

    def about(self, mutant: Mutant) -> list[str]:
        """The tests that execute the changed line, the quickest first.

        What is executed by importing alone concerns every test that executes anything of the file.
        """
        lines = self.tests.get(str(mutant.path), {})
        near = [lines[each] for each in range(mutant.line, mutant.last + 1) if each in lines]
        found = {test for tests in near for test in tests}
        if found == {""}:
            found = {test for tests in lines.values() for test in tests}
        quickest = sorted(found - {"", *self.failing}, key=lambda test: self.seconds.get(test, 0.0))
        spent = itertools.accumulate(self.seconds.get(test, 0.0) for test in quickest)
        return [test for test, seconds in zip(quickest, spent, strict=True) if seconds < self.most]


class _Durations:
    """Notes how long each test takes, and which ones fail."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = collections.defaultdict(float)
        self.failing: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration
        if report.failed:
            self.failing.add(report.nodeid)


def look_up(folder: Path, tests: Sequence[str]) -> Known:
    """Run all tests once, under coverage. Raises SystemExit when they can't be collected."""
    data = folder / "coverage"

    def run() -> int:
        os.environ["COVERAGE_FILE"] = str(data)
        settings = folder / "coveragerc"
        sources = "\n    ".join(f"tfocheck.{package}" for package in PACKAGES)
        settings.write_text(f"[run]\nsource_pkgs =\n    {sources}\n")
        durations = _Durations()
        chosen = ["--cov", f"--cov-config={settings}", "--cov-context=test", "--cov-report="]
        code = pytest.main([*_QUIET, *chosen, *tests], plugins=[durations])
        modules = [name for name in sys.modules if not _is_ours(sys.modules[name])]
        known = {
            "seconds": durations.seconds,
            "modules": modules,
            "failing": sorted(durations.failing),
        }
        (folder / "known").write_text(json.dumps(known))
        return int(code) if code != pytest.ExitCode.TESTS_FAILED else 0

    pid = _forked(run, folder / "output")
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        print((folder / "output").read_text()[-3000:], file=sys.stderr)
        raise SystemExit(2)
    known = Known(**json.loads((folder / "known").read_text()))
    found = coverage.CoverageData(str(data))
    found.read()
    for path in found.measured_files():
        contexts = found.contexts_by_lineno(path).items()
        known.tests[path] = {
            line: [each.partition("|")[0] for each in names] for line, names in contexts
        }
    return known


def _is_ours(module: ModuleType | None) -> bool:
    place = getattr(module, "__file__", None) or str(ROOT)
    return Path(place).is_relative_to(ROOT) and ".venv" not in Path(place).parts


# --- running them ---------------------------------------------------------------------------------

_QUIET = ("-q", "-p", "no:cacheprovider", "--hypothesis-seed=0", "-m", "not lab and not long")


class _Chosen:
    """Runs some of the tests that are collected, in this order, and none for ever."""

    def __init__(self, tests: Sequence[str], seconds: dict[str, float]) -> None:
        self._order = {test: place for place, test in enumerate(tests)}
        self._seconds = seconds

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.nodeid in self._order]
        items.sort(key=lambda item: self._order[item.nodeid])

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[Any]:
        limit = max(LEAST_SECONDS, SLOWER * self._seconds.get(item.nodeid, 0.0))
        signal.signal(signal.SIGALRM, _give_up)
        signal.setitimer(signal.ITIMER_REAL, limit)
        try:
            return (yield)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


def _give_up(_number: int, _frame: FrameType | None) -> None:
    os._exit(TIMED_OUT)


class _Changed(importlib.machinery.SourceFileLoader):
    """Loads a mutant in place of its module."""

    def __init__(self, mutant: Mutant, code: CodeType) -> None:
        super().__init__(mutant.module, str(mutant.path))
        self._code = code

    def get_code(self, fullname: str) -> CodeType:
        return self._code

    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        """Of the mutant; as one of those whom ``import`` asks."""
        if name != self.name:
            return None
        return importlib.util.spec_from_file_location(name, self.path, loader=self)


def start(mutant: Mutant, tests: Sequence[str], known: Known, output: Path) -> int:
    """Begin to run the tests against a mutant; returns the process id."""

    def run() -> int:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        try:
            changed = _Changed(mutant, mutant.code())
        except SyntaxError:
            return KILLED
        sys.meta_path.insert(0, changed)
        try:
            importlib.import_module(mutant.module)
        except Exception:
            return KILLED
        files = dict.fromkeys(test.partition("::")[0] for test in tests)
        plugin = _Chosen(tests, known.seconds)
        code = pytest.main([*_QUIET, "-x", "-p", "no:cov", *files], plugins=[plugin])
        known_codes = {0: SURVIVED, 1: KILLED, 2: KILLED}
        return known_codes.get(int(code), BROKEN)

    return _forked(run, output)


def _forked(run: Callable[[], int], output: Path) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = BROKEN
    try:
        os.setsid()
        where = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for each in (1, 2):
            os.dup2(where, each)
        code = run()
    finally:
        sys.stdout.flush()
        os._exit(code)


def try_all(chosen: Sequence[Mutant], known: Known, jobs: int, folder: Path) -> dict[Mutant, int]:
    """What became of each mutant, in any order: killed, timed out, or survived."""
    waiting = list(reversed(chosen))
    running: dict[int, Mutant] = {}
    ends: dict[Mutant, int] = {}
    while waiting or running:
        while waiting and len(running) < jobs:
            mutant = waiting.pop()
            tests = known.about(mutant)
            if tests:
                running[start(mutant, tests, known, folder / f"output-{len(waiting)}")] = mutant
            else:
                ends[mutant] = SURVIVED
                print(f"not executed  {mutant}", flush=True)
        if not running:
            continue
        pid, status = os.waitpid(-1, 0)
        mutant = running.pop(pid)
        ends[mutant] = code = os.waitstatus_to_exitcode(status)
        if code not in (KILLED, TIMED_OUT):
            how = "survived" if code == SURVIVED else f"broken ({code})"
            print(f"{how:13} {mutant}  [{len(known.about(mutant))} tests]", flush=True)
        if len(ends) % 50 == 0:
            print(f"... {len(ends)} of {len(chosen)} tried", flush=True)
    return ends


def main() -> int:
    """Take a sample, and say what became of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("-n", type=int, default=300, help="size of the sample")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--least", type=float, default=85.0, help="per cent to be killed")
    parser.add_argument("--seconds", type=float, default=60.0, help="of tests for one mutant")
    parser.add_argument("--only", default="", help="part of the path of the modules to change")
    parser.add_argument("tests", nargs="*", default=["tests"])
    told = parser.parse_args()
    seed = secrets.randbelow(10**6) if told.seed is None else told.seed
    os.chdir(ROOT)
    every = [each for each in mutants() if told.only in str(each.path)]
    chosen = random.Random(seed).sample(every, min(told.n, len(every)))
    print(f"{len(chosen)} of {len(every)} mutants, seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sys.pycache_prefix = str(folder / "bytecode")
        began = time.monotonic()
        known = replace(look_up(folder, told.tests), most=told.seconds)
        print(f"{len(known.seconds)} tests in {time.monotonic() - began:.0f} s", flush=True)
        for each in known.failing:
            print(f"left out, for it fails anyway: {each}")
        for each in known.modules:
            with contextlib.suppress(Exception):
                importlib.import_module(each)
        ends = try_all(chosen, known, told.jobs, folder)
    killed = [each for each in chosen if ends[each] in (KILLED, TIMED_OUT)]
    for package in PACKAGES:
        of_it = [each for each in chosen if each.path.parent.name == package]
        dead = sum(each in killed for each in of_it)
        print(f"{package}: {dead} of {len(of_it)} killed")
    late = sum(end == TIMED_OUT for end in ends.values())
    share = 100 * len(killed) / max(1, len(chosen))
    took = time.monotonic() - began
    print(f"{len(killed)} of {len(chosen)} killed ({share:.1f} %), {late} of them by the clock;")
    print(f"seed {seed}, {took:.0f} s")
    return 0 if share >= told.least else 1


if __name__ == "__main__":
    sys.exit(main())
