"""Two processes for root: one has privileges and writes, the other has none and parses.

Rules that hold here:

* The first one reads nothing from the network: it takes finished reports from the second one, and
  writes them to places that the command line has named, and to no others.
* The second one has the sockets, and the identity of nobody. It ends with its parent.
* A signal to either ends the second one, and the first one when that has ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable, Collection, Iterator

from tfocheck.cli import signals
from tfocheck.errors import CannotError, UsageError
from tfocheck.linux import namespaces
from tfocheck.report import write

MOST_BYTES = 1 << 30
"""A report of more is not taken from a process that has parsed what came from the network."""

_HEADER = struct.Struct("!IQ")  # bytes of the order, and of the content
_FORWARDED = (signal.SIGINT, signal.SIGTERM)

Order = tuple[str, ...]
"""How to write: a function of ``write``, and its arguments before the content."""


def run(action: Callable[[], int], allowed: Collection[Order]) -> int:
    """Run the action in another process, and write what it orders if that is allowed.

    Returns its exit code, 128 and the number of the signal that has ended it. The action gives up
    the privileges by itself. Raises CannotError without another process.
    """
    ours, theirs = socket.socketpair()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    parent = os.getpid()
    # Held back until it is settled who they are for.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)
    try:
        child = os.fork()
    except OSError as error:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        raise CannotError(f"there is no process left to parse in: {error.strerror}") from error
    if child == 0:
        code = 1
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            ours.close()
            code = _orderly(action, theirs, parent)
        finally:
            os._exit(code)
    theirs.close()
    with ours, _forwarded_to(child):
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        _serve(ours, frozenset(allowed))
        _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _orderly(action: Callable[[], int], orders: socket.socket, parent: int) -> int:
    namespaces.die_with_parent()
    if os.getppid() != parent:
        return 1
    signals.may_come_twice()
    write.elsewhere = lambda order, content: _order(orders, order, content)
    code = action()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
    return code


@contextlib.contextmanager
def _forwarded_to(child: int) -> Iterator[None]:
    """Meanwhile signals are the child's, who gets those of a terminal twice then."""

    def forward(number: int, _frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    before = {number: signal.getsignal(number) for number in _FORWARDED}
    handled = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    try:
        for number in handled:
            signal.signal(number, forward)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, before[number] or signal.SIG_DFL)


def _order(orders: socket.socket, order: Order, content: bytes) -> None:
    """Have it written. Raises UsageError as whoever writes it does."""
    words = json.dumps([os.fsencode(word).hex() for word in order]).encode()
    orders.sendall(_HEADER.pack(len(words), len(content)) + words)
    orders.sendall(content)
    answer = _exactly(orders, _HEADER.size)
    problem = _exactly(orders, _HEADER.unpack(answer)[0]) if answer is not None else b""
    if answer is None or problem is None:
        raise UsageError("whoever writes the reports has ended")
    if problem:
        raise UsageError(problem.decode("utf-8", "surrogateescape"))


def _serve(orders: socket.socket, allowed: frozenset[Order]) -> None:
    """Write what is ordered, until nobody orders any more."""
    while (header := _exactly(orders, _HEADER.size)) is not None:
        words, size = _HEADER.unpack(header)
        if words > MOST_BYTES or size > MOST_BYTES:
            return
        named, content = _exactly(orders, words), _exactly(orders, size)
        if named is None or content is None:
            return
        problem = _written(named, content, allowed).encode("utf-8", "surrogateescape")
        with contextlib.suppress(OSError):
            orders.sendall(_HEADER.pack(len(problem), 0) + problem)


def _written(named: bytes, content: bytes, allowed: frozenset[Order]) -> str:
    """Write it; what is wrong, or nothing."""
    try:
        order = tuple(os.fsdecode(bytes.fromhex(word)) for word in json.loads(named))
    except (ValueError, TypeError):
        order = ()
    if order not in allowed:
        return "a report was to be written to a place that nobody has named"
    try:
        write.carry_out(order, content)
    except UsageError as error:
        return str(error)
    return ""


def _exactly(orders: socket.socket, size: int) -> bytes | None:
    """So many bytes; None when there are no more."""
    found = bytearray()
    while len(found) < size:
        try:
            more = orders.recv(min(size - len(found), 1 << 20))
        except OSError:
            return None
        if not more:
            return None
        found += more
    return bytes(found)
