"""The cases there are: declared by a decorator, loaded from files, chosen from.

Case files are loaded by path, the project's own and the user's (``--cases DIR``) the same way.
"""

from __future__ import annotations

import fnmatch
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tfocheck.errors import UsageError
from tfocheck.model.case import (
    Agreement,
    Case,
    CaseFunction,
    Control,
    Level,
    Option,
    Role,
    Severity,
    Turn,
)
from tfocheck.model.facts import Fact

_SUBJECTS = ("server", "path")
"""The folders of the project's own cases, in the order of their reports."""

_DECLARED: list[Case] = []


def case(
    case_id: str,
    *,
    section: str,
    level: Level,
    severity: Severity | None = None,
    title: str,
    requirement: str,
    expected: str,
    advice: str = "",
    needs: Sequence[str] = ("cookie.request",),
    after: Sequence[str] = (),
    faults: Sequence[str] = (),
    turn: Turn = Turn.FREE,
    option: Option | None = None,
    agree: Agreement | None = None,
    once: bool = False,
    control: Sequence[Control] = (),
    learns: Sequence[Fact] = (),
    reads: Sequence[Fact] = (),
    role: Role | None = None,
    why: str = "",
) -> Callable[[CaseFunction], CaseFunction]:
    """Declare an ``async def`` as the case with this id; see ``Case`` for the arguments.

    The function is one attempt, made as often as ``agree`` says (default: side by side, until
    ``--attempts`` of them agree); with ``once`` it is made once, and weighs by itself.
    """

    def declare(function: CaseFunction) -> CaseFunction:
        if not inspect.iscoroutinefunction(function):
            raise TypeError(f"case {case_id} is no async def")
        if level not in list(Level):
            raise ValueError(f"case {case_id}: {level!r} is no level, such as Level.MUST")
        for name, text in (("id", case_id), ("section", section), ("title", title)):
            if not isinstance(text, str):
                raise TypeError(f"case {case_id}: its {name} is no text: {text!r}")
        if once and agree is not None:
            raise ValueError(f"case {case_id}: with once=True there is nothing to agree= on")
        if (severity is None) != (level in (Level.INFO, Level.MAY)):
            raise ValueError(f"case {case_id}: give a severity, unless the level is info or may")
        _DECLARED.append(
            Case(
                id=case_id,
                section=section,
                level=level,
                severity=severity,
                title=title,
                requirement=requirement,
                expected=expected,
                advice=advice,
                run=function,
                needs=tuple(needs),
                after=tuple(after),
                faults=tuple(faults),
                turn=turn,
                option=option,
                agreement=None if once else agree or Agreement(),
                control=tuple(control),
                learns=tuple(learns),
                reads=tuple(reads),
                role=role,
                why=why,
                path=Path(function.__code__.co_filename),
            )
        )
        return function

    return declare


def own_case_directories() -> tuple[Path, ...]:
    """Where the project's cases are: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "cases"
    cases = installed if installed.is_dir() else package.parent / "cases"
    return tuple(cases / subject for subject in _SUBJECTS)


def load_cases(directories: Iterable[Path] = ()) -> tuple[Case, ...]:
    """The project's cases, then those in the given directories, in the order of their files.

    Raises UsageError for a directory without case files, a file that does not load, a doubled id,
    or a need that no case meets.
    """
    cases: list[Case] = []
    own = own_case_directories()
    for directory in (*own, *directories):
        paths = sorted(directory.glob("*.py")) if directory.is_dir() else []
        if not paths:
            raise UsageError(f"no case files (*.py) in {directory}: name a folder that has some")
        for path in paths:
            found = _load_file(path)
            cases.extend(found if directory in own else (replace(c, is_users=True) for c in found))
    _check_names(cases)
    _check_needs(cases)
    return tuple(cases)


def _check_names(cases: Sequence[Case]) -> None:
    by_id: dict[str, Case] = {}
    by_role: dict[Role, Case] = {}
    for loaded in cases:
        other = by_id.setdefault(loaded.id, loaded)
        if other is not loaded:
            raise UsageError(
                f"case {loaded.id} is declared in {other.path} and in {loaded.path}: rename one"
            )
        if loaded.role is not None:
            other = by_role.setdefault(loaded.role, loaded)
            if other is not loaded:
                raise UsageError(
                    f"case {loaded.id} ({loaded.path}) has the role {loaded.role.value!r}, "
                    f"which {other.id} has already"
                )


def _check_needs(cases: Sequence[Case]) -> None:
    by_id = {loaded.id: loaded for loaded in cases}
    for loaded in cases:
        _check_facts(loaded, by_id)
        for need in (*loaded.needs, *loaded.after):
            if need not in by_id:
                raise UsageError(f"case {loaded.id} ({loaded.path}) needs {need}, which is nowhere")
            if loaded.id in _all_needs(need, by_id):
                raise UsageError(f"case {loaded.id} ({loaded.path}) needs itself, by way of {need}")
            if by_id[need].turn > loaded.turn:
                raise UsageError(
                    f"case {loaded.id} ({loaded.path}) needs {need}, which has a later turn"
                )


def _check_facts(loaded: Case, by_id: dict[str, Case]) -> None:
    rests_on = [by_id[each] for each in _all_needs(loaded.id, by_id)]
    for fact in loaded.reads:
        if not any(fact in each.learns for each in rests_on):
            raise UsageError(
                f"case {loaded.id} ({loaded.path}) reads {fact}, but needs no case that learns it"
            )


def _all_needs(case_id: str, by_id: dict[str, Case]) -> set[str]:
    """The case and all that it rests on, as far as that exists."""
    found: set[str] = set()
    left = [case_id]
    while left:
        each = left.pop()
        if each not in found and each in by_id:
            found.add(each)
            left.extend((*by_id[each].needs, *by_id[each].after))
    return found


def _load_file(path: Path) -> list[Case]:
    # A name of its own for each path: user files may have the same stem as ours.
    name = f"tfocheck_cases_{abs(hash(str(path.resolve()))):x}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"can't load the case file {path}")
    module = importlib.util.module_from_spec(spec)
    before = len(_DECLARED)
    # A case file may hold dataclasses, and those look their module up by name.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
        return _DECLARED[before:]
    except (Exception, SystemExit) as problem:
        raise UsageError(
            f"the case file {_where(path, problem)} does not load: {problem!r}"
        ) from problem
    finally:
        del _DECLARED[before:]


def _where(path: Path, problem: BaseException) -> str:
    """The file, and the line of it that was run last, if it got as far."""
    if isinstance(problem, SyntaxError) and problem.filename == str(path):
        return f"{path} line {problem.lineno}"
    frames = traceback.walk_tb(problem.__traceback__)
    lines = [line for frame, line in frames if frame.f_code.co_filename == str(path)]
    return f"{path} line {lines[-1]}" if lines else str(path)


@dataclass(frozen=True)
class Selection:
    """Which cases the user asked for; empty tuples ask for all."""

    globs: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    levels: tuple[Level, ...] = ()
    options: frozenset[Option] = frozenset()

    def choose(self, cases: Sequence[Case]) -> tuple[Case, ...]:
        """The selected cases; UsageError if none is left, or a pattern matches nothing."""
        for patterns, option in ((self.globs, "--case"), (self.excludes, "--exclude")):
            for glob in patterns:
                if not any(fnmatch.fnmatchcase(known.id, glob) for known in cases):
                    raise UsageError(f"{option} {glob!r} matches no case: see tfocheck --list")
        for section in self.sections:
            if not any(_in_section(known, section) for known in cases):
                raise UsageError(f"--section {section!r} has no case: see tfocheck --list")
        wanted = [known for known in cases if self._wants(known)]
        chosen = tuple(
            known for known in wanted if known.option is None or known.option in self.options
        )
        if wanted and not chosen:
            missing = wanted[0]
            raise UsageError(f"{missing.id} is run with {missing.option} only: add that option")
        if not chosen:
            raise UsageError("this selection leaves no case to run: see tfocheck --list")
        return chosen

    def _wants(self, known: Case) -> bool:
        return (
            (not self.globs or any(fnmatch.fnmatchcase(known.id, glob) for glob in self.globs))
            and not any(fnmatch.fnmatchcase(known.id, glob) for glob in self.excludes)
            and (not self.sections or any(_in_section(known, want) for want in self.sections))
            and (not self.levels or known.level in self.levels)
        )


def _in_section(known: Case, section: str) -> bool:
    return known.section == section or known.section.startswith(section + ".")


def with_prerequisites(chosen: Sequence[Case], cases: Sequence[Case]) -> tuple[Case, ...]:
    """The chosen cases and all that they rest on, in the order of ``cases``."""
    by_id = {known.id: known for known in cases}
    wanted: set[str] = set()

    def add(case_id: str) -> None:
        if case_id not in wanted:
            wanted.add(case_id)
            for need in (*by_id[case_id].needs, *by_id[case_id].after):
                add(need)

    for known in chosen:
        add(known.id)
    return tuple(known for known in cases if known.id in wanted)
