"""The network namespaces that listeners live in, and looking around in each.

/proc/sys/net shows whoever reads it their own namespace, so a forked child enters the other one
(setns), looks, and hands back what it saw. The doctor's own process stays where it is.

Sources: network_namespaces(7), setns(2), user_namespaces(7), ip-netns(8).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tfocheck.doctor import counters, firewall, processes, routes, sockets
from tfocheck.doctor.firewall import Rule
from tfocheck.doctor.kernel import UNREADABLE, Settings, read_settings
from tfocheck.doctor.routes import Route
from tfocheck.doctor.sockets import Listening
from tfocheck.linux import namespaces
from tfocheck.linux.namespaces import Answer

_NAMED = Path("/run/netns")


@dataclass(frozen=True)
class Namespace:
    """A network namespace: the one we are in (``own``), or one to be entered.

    ``name`` is what ``ip netns`` calls it, ``pid`` a process that lives in it.
    """

    identity: tuple[int, int]
    own: bool = False
    name: str | None = None
    pid: int | None = None

    @property
    def path(self) -> str:
        """What to open to enter it."""
        return str(_NAMED / self.name) if self.name else f"/proc/{self.pid}/ns/net"

    def __str__(self) -> str:
        if self.own:
            return "this network namespace"
        if self.name:
            return f"network namespace {self.name}"
        return f"network namespace of process {self.pid}"


@dataclass(frozen=True)
class View:
    """What there is to see in a namespace; None is what could not be seen, ``problem`` says why.

    ``routes`` are those that overrule cookies, ``rules`` those of its firewall about Fast Open,
    ``old_tables`` those of the old iptables, which are not read.
    """

    namespace: Namespace
    settings: Settings
    listeners: list[Listening] | None
    counted: dict[str, int] | None
    problem: str | None = None
    routes: tuple[Route, ...] | None = ()
    rules: tuple[Rule, ...] | None = ()
    old_tables: tuple[str, ...] = ()


def find(candidates: Iterable[int]) -> list[Namespace]:
    """Our own namespace, then those of the processes and those that have a name."""
    ours = processes.network_of("self")
    found = {ours: Namespace(ours, own=True)} if ours else {}
    for name, identity in _named():
        # A name that nothing is mounted on is a plain file, on another device.
        if ours and identity[0] == ours[0]:
            found.setdefault(identity, Namespace(identity, name=name))
    for pid in candidates:
        seen = processes.network_of(pid)
        if seen is None:
            continue
        known = found.get(seen)
        if known is None:
            found[seen] = Namespace(seen, pid=pid)
        elif known.name and known.pid is None:
            found[seen] = Namespace(seen, name=known.name, pid=pid)
    return list(found.values())


def look(namespace: Namespace) -> View:
    """Settings, listeners and counters of a namespace, as much as this user may see."""
    try:
        return inside(namespace, lambda: _look_around(namespace))
    except OSError as error:
        reason = f"can't be entered ({error.strerror or error}): that takes root"
    # The tables of a process can be read without entering its namespace, the sysctls can't.
    directory = f"/proc/{namespace.pid}/net"
    listeners = sockets.read(directory) if namespace.pid else None
    counted = counters.read(f"{directory}/netstat") if namespace.pid else None
    return View(namespace, UNREADABLE, listeners, counted, reason, None, None)


def count(namespace: Namespace) -> dict[str, int] | None:
    """Only the counters."""
    try:
        return inside(namespace, counters.read)
    except OSError:
        return counters.read(f"/proc/{namespace.pid}/net/netstat") if namespace.pid else None


def inside(namespace: Namespace, question: Callable[[], Answer]) -> Answer:
    """The answer to a question that is asked in a namespace. Raises OSError, also the question's.

    For another namespace than our own it is asked in a forked child; the answer must pickle.
    """
    if namespace.own:
        return question()
    user = f"/proc/{namespace.pid}/ns/user" if namespace.pid is not None else None
    return namespaces.ask_inside(namespace.path, question, user=user, what=str(namespace))


def _look_around(namespace: Namespace) -> View:
    settings, listeners, counted = read_settings(), sockets.read(), counters.read()
    return View(
        namespace,
        settings,
        listeners,
        counted,
        None,
        routes.read(),
        firewall.read(),
        firewall.old_tables(),
    )


def _named() -> list[tuple[str, tuple[int, int]]]:
    found = []
    try:
        names = sorted(os.listdir(_NAMED))
    except OSError:
        return []
    for name in names:
        try:
            status = os.stat(_NAMED / name)
        except OSError:
            continue
        found.append((name, (status.st_dev, status.st_ino)))
    return found
