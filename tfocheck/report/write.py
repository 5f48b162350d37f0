"""Report files: either the whole report is there, or what was there before.

A file is written beside its place, synced and renamed. Devices and pipes (``/dev/null``,
``>(command)``) have no beside, and are written to. ``-`` is standard output.

A directory of reports gets files of fixed names: nothing that a target is called becomes a part of
a path, and no link that lies there is followed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import select
import stat
import sys
import time
from collections.abc import Callable, Sequence

from tfocheck.errors import UsageError

STDOUT = "-"
_STDOUT_NAMES = frozenset({STDOUT, "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"})


elsewhere: Callable[[tuple[str, ...], bytes], None] | None = None
"""Where there is a process that writes for this one: given an order for ``carry_out``, and the
content."""

_MOST_LINKS = 40

PATIENCE = 10.0
"""Seconds for which a pipe's other end may do nothing."""

unfinished: list[str] = []
"""Files that are being written: to be removed by whoever ends the process meanwhile."""


def is_stdout(path: str) -> bool:
    """Whether the path means standard output; renaming a file over it would lose what it has."""
    return path in _STDOUT_NAMES


def check(paths: Sequence[tuple[str, str]]) -> None:
    """See before a run that its reports can be written; ``paths`` are (option, path).

    Raises UsageError with the option, the path and the reason.
    """
    places: dict[str, str] = {}
    for option, path in paths:
        if not is_stdout(path):
            _check_links(option, path)
            _check(option, path)
        place = STDOUT if is_stdout(path) else os.path.realpath(path)
        other = places.setdefault(place, option)
        if other != option:
            raise UsageError(f"{other} and {option} both write to {path}: name two files")


def check_directory(option: str, path: str, names: Sequence[str]) -> None:
    """See before a run that there is, or can be, a directory to write reports of these names to.

    Raises UsageError with the option, the path and the reason.
    """
    if not path:
        raise UsageError(f"{option} is empty: give the name of a directory")
    if is_stdout(path):
        raise UsageError(f"{option} {path}: several files do not go to standard output")
    _check_links(option, path)
    try:
        there = os.path.realpath(path)
        os.stat(there)
    except FileNotFoundError:
        while not os.path.lexists(there):
            there = os.path.dirname(there)
    except (OSError, ValueError) as error:
        raise UsageError(f"{option} {path}: {getattr(error, 'strerror', None) or error}") from None
    if not os.path.isdir(there):
        raise UsageError(f"{option} {path}: {there} is no directory")
    if not os.access(there, os.W_OK | os.X_OK, effective_ids=True):
        raise UsageError(f"{option} {path}: no permission to write to {there}")
    for name in names:
        place = os.path.join(path, name)
        if os.path.isdir(place) and not os.path.islink(place):
            raise UsageError(f"{option} {path}: {place} is a directory")


def write_into(option: str, directory: str, name: str, content: str | bytes) -> None:
    """Write a report into a directory, which is made if it is missing.

    Raises UsageError when that fails; a file that was there is kept then.
    """
    _do(("into", option, directory, name), _encoded(content))


def carry_out(order: tuple[str, ...], data: bytes) -> None:
    """Do in this process what ``write``, ``write_into`` or ``append`` order. Raises UsageError."""
    match order:
        case ("write", option, path):
            _write(option, path, data)
        case ("into", option, directory, name):
            _write_into(option, directory, name, data)
        case ("append", option, path):
            _append(option, path, data)


def _do(order: tuple[str, ...], data: bytes) -> None:
    (elsewhere or carry_out)(order, data)


def _write_into(option: str, directory: str, name: str, data: bytes) -> None:
    _check_links(option, directory)
    place = os.path.join(os.path.realpath(directory), os.path.basename(name))
    try:
        os.makedirs(os.path.dirname(place), exist_ok=True)
        _replace(place, data)
    except OSError as error:
        raise UsageError(f"{option} {place}: can't write the report: {error.strerror}") from error


def _encoded(content: str | bytes) -> bytes:
    return content.encode("utf-8") if isinstance(content, str) else content


def write(option: str, path: str, content: str | bytes) -> None:
    """Write a report. Raises UsageError when that fails; a file that was there is kept then.

    A closed pipe at standard output raises BrokenPipeError.
    """
    if is_stdout(path):
        _put_on_stdout(content)
        return
    _do(("write", option, path), _encoded(content))


def _write(option: str, path: str, data: bytes) -> None:
    _check_links(option, path)
    try:
        if _is_special(path):
            _write_special(path, data)
        else:
            _replace(os.path.realpath(path), data)
    except OSError as error:
        raise UsageError(f"{option} {path}: can't write the report: {error.strerror}") from error


def append(option: str, path: str, text: str) -> None:
    """Add text to a file. Raises UsageError when that fails; the file is as it was then."""
    _do(("append", option, path), _encoded(text))


def _append(option: str, path: str, data: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            before = os.fstat(descriptor)
            try:
                _write_all(descriptor, data)
            except OSError:
                if stat.S_ISREG(before.st_mode):
                    os.ftruncate(descriptor, before.st_size)
                raise
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UsageError(f"{option} {path}: can't add to the file: {error.strerror}") from error


def _put_on_stdout(content: str | bytes) -> None:
    if isinstance(content, str):
        sys.stdout.write(content)
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
    sys.stdout.flush()


def _check(option: str, path: str) -> None:
    if not path:
        raise UsageError(f"{option} is empty: give a file name, or - for standard output")
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        mode = 0
    except (OSError, ValueError) as error:
        raise UsageError(f"{option} {path}: {getattr(error, 'strerror', None) or error}") from None
    if stat.S_ISDIR(mode) or path.endswith("/"):
        raise UsageError(f"{option} {path}: is a directory; name a file in it")
    if mode and not stat.S_ISREG(mode):
        writable = path
    else:
        writable = os.path.dirname(os.path.realpath(path))
        if not os.path.isdir(writable):
            raise UsageError(f"{option} {path}: there is no directory {writable}")
        if mode and not os.access(path, os.W_OK, effective_ids=True):
            raise UsageError(f"{option} {path}: the file may not be written to")
    if not os.access(writable, os.W_OK, effective_ids=True):
        raise UsageError(f"{option} {path}: no permission to write to {writable}")


def _check_links(option: str, path: str) -> None:
    """Follow a link only if its owner is we, or has the directory it lies in.

    Elsewhere, as in /tmp, it may be laid there by anybody (proc(5), protected_symlinks). Devices,
    pipes and descriptors are no places that could be lost. Raises UsageError.
    """
    for _ in range(_MOST_LINKS):
        try:
            owner = os.lstat(path).st_uid
            if not os.path.islink(path) or (_is_special(path) and not os.path.isdir(path)):
                return
            directory = os.path.dirname(path) or "."
            if owner not in (os.geteuid(), os.stat(directory).st_uid):
                raise UsageError(f"{option} {path}: is a link of somebody else's")
            path = os.path.join(directory, os.readlink(path))
        except (OSError, ValueError):  # it is said later what is wrong with it
            return


def _is_special(path: str) -> bool:
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        return False


def _write_special(path: str, data: bytes) -> None:
    """Write to a pipe or a device, at whose other end somebody has to be soon, and to read."""
    descriptor = _open_special(path)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(descriptor, rest) :]
            except BlockingIOError:
                if not poll.poll(1000 * PATIENCE):
                    raise OSError(errno.ETIMEDOUT, "nobody reads it") from None
    finally:
        os.close(descriptor)


def _open_special(path: str) -> int:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        except OSError as error:
            if error.errno != errno.ENXIO or time.monotonic() > until:
                raise
            time.sleep(0.02)  # a pipe that nobody has opened for reading yet


def _replace(place: str, data: bytes) -> None:
    directory, name = os.path.split(place)
    beside = os.path.join(directory, f".{name[:200]}.{secrets.token_hex(4)}")
    unfinished.append(beside)
    try:
        # 0o666 less the umask, as any other program's output; O_EXCL follows no planted link.
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            _write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(beside, place)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise
    finally:
        unfinished.remove(beside)


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
