"""Reading what a user names: a file or a pipe, so much of it, and within some time.

A device has no end, a pipe may have nobody at its other end, and both may be named by mistake.
"""

from __future__ import annotations

import os
import select
import stat
import time

from tfocheck.errors import UsageError

SECONDS = 10.0
"""What a pipe's other end has to say all of it, from the first look on."""

STDIN = "-"
_CHUNK = 1 << 16


def read(path: str, most: int, *, named: str) -> bytes:
    """All bytes of the file or pipe ``path``; ``-`` is standard input, and ``named`` begins errors.

    Raises UsageError when it can't be read, is neither, has more than ``most`` bytes, or does not
    end within ``SECONDS``.
    """
    try:
        return _read(path, most)
    except (OSError, ValueError) as error:
        raise UsageError(f"{named}: {getattr(error, 'strerror', None) or error}") from None


def _read(path: str, most: int) -> bytes:
    if path == STDIN:
        return _all_of(0, most)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        return _all_of(descriptor, most)
    finally:
        os.close(descriptor)


def _all_of(descriptor: int, most: int) -> bytes:
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISDIR(mode):
        raise ValueError("Is a directory")
    if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        raise ValueError("it is neither a file nor a pipe")
    data = bytearray()
    until = time.monotonic() + SECONDS
    while chunk := _more(descriptor, until):
        data += chunk
        if len(data) > most:
            raise ValueError(f"it has more than {most:,} bytes")
    return bytes(data)


def _more(descriptor: int, until: float) -> bytes:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while True:
        left = until - time.monotonic()
        # A pipe that nobody has opened for writing yet is silent, and only says so when read.
        if left <= 0 or not poll.poll(1000 * left):
            raise ValueError(f"it did not end within {SECONDS:g} s")
        try:
            return os.read(descriptor, _CHUNK)
        except BlockingIOError:
            continue
