"""PID 1 of a lab: builds it, runs the action beside its target, and takes everything along.

The signals that the user's process passes on come through ``control``, and the outcome goes back
the same way. How the processes of a lab hang together is in ``runner``.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from typing import Any, NoReturn

from tfocheck.errors import ExitCode
from tfocheck.lab import router, servers, topology
from tfocheck.lab.box import box_work
from tfocheck.lab.children import (
    Child,
    Gate,
    describe_failure,
    flush_output,
    read_report,
    start,
)
from tfocheck.lab.errors import LabError
from tfocheck.lab.middleboxes import Path
from tfocheck.lab.network import Network, lay_out
from tfocheck.lab.private_files import mount_private_files
from tfocheck.lab.scenario import ROTATION_SECONDS, Scenario, Setup
from tfocheck.linux import namespaces
from tfocheck.linux.namespaces import NetworkNamespace

Action = Callable[[str], int]

PASSED_ON = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP)
"""The signals that the action gets as if there were no lab around it."""

START_SECONDS = 15.0
# How long an action may take to end after SIGTERM or SIGHUP.
GRACE_SECONDS = 2.0
# How long a signal to the whole process group may take from one member to the next.
_GROUP_SECONDS = 0.03
_FINAL = (signal.SIGTERM, signal.SIGHUP)


class _Stopped(Exception):  # noqa: N818, not an error
    """The user's process is gone, or has asked for the end with a signal."""

    def __init__(self, exit_code: int) -> None:
        self.exit_code = exit_code


class Init:
    """PID 1 of a lab."""

    def __init__(
        self,
        scenario: Scenario,
        action: Action,
        setup: Setup,
        control: socket.socket,
        mask: set[signal.Signals] | set[int],
    ) -> None:
        self._scenario = scenario
        self._action = action
        self._setup = setup
        self._control = control
        self._mask = mask
        self._outside = namespaces.network_identity()
        self._exits: dict[int, int] = {}
        # What must outlive the action.
        self._essential: list[Child] = []

    def run(self) -> NoReturn:
        """Build the lab, run the action, send the outcome, and end with everything in it."""
        try:
            self._wake, wake_writer = os.pipe()
            os.set_blocking(self._wake, False)
            os.set_blocking(wake_writer, False)
            signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
            signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
            try:
                outcome = self._run_action(self._build())
            except _Stopped as stopped:
                outcome = {"exit": stopped.exit_code}
            except Exception as error:
                outcome = describe_failure("the lab", error)
            self._control.send(json.dumps(outcome).encode())
        finally:
            os._exit(0)

    def _build(self) -> NetworkNamespace:
        """The client's namespace; when this returns the server answers."""
        network = lay_out(self._scenario, self._setup)
        mount_private_files(network.hosts(self._scenario.hostname))
        connected = Gate()
        what = f"the {self._scenario.name} server"
        answering = [
            self._start_essential(what, self._server_work(server, connected))
            for server in network.servers
        ]
        to_wait_for = [
            self._start_essential("the impairment box", box_work(box, connected))
            for box in network.boxes
        ]
        to_wait_for += self._start_middlebox(network, connected)
        to_wait_for += self._load_rules(network)
        to_wait_for += self._start_rotation(network)
        self._await(self._start("the lab's network", lambda ready: _configure(network, ready)))
        connected.open()
        if self._scenario.program:
            answering = [
                self._start(what, servers.until_it_answers(self._scenario, node))
                for node in network.servers
            ]
        for child in (*answering, *to_wait_for):
            self._await(child)
        return network.client

    def _server_work(
        self, node: NetworkNamespace, connected: Gate
    ) -> Callable[[Callable[[], None]], None]:
        return servers.server_work(self._scenario, self._setup.faults, node, connected)

    def _start_middlebox(self, network: Network, connected: Gate) -> list[Child]:
        """What happens on the router that the user chose; returns what must be waited for."""
        path = self._scenario.path
        if path is None:
            return []
        node = network.routers[path.hop(self._setup.hop) - 1]
        started = []
        if path.ruleset:
            started.append(self._start("the router's nftables", router.rules_work(path, node)))
        if path.proxy:
            self._start_essential("the proxy", router.proxy_work(node, connected))
            answering = servers.until_it_answers(self._scenario, node)
            started.append(self._start("the proxy", answering))
        return started

    def _load_rules(self, network: Network) -> list[Child]:
        if not self._scenario.rules:
            return []
        rules = Path(ruleset=self._scenario.rules)
        return [
            self._start("the server's nftables", router.rules_work(rules, node))
            for node in network.servers
        ]

    def _start_rotation(self, network: Network) -> list[Child]:
        rotation = self._scenario.rotation
        if rotation is None:
            return []
        every = self._setup.rotate_every or ROTATION_SECONDS
        return [
            self._start_essential("the key rotation", servers.rotation_work(rotation, every, node))
            for node in network.servers
        ]

    def _start_essential(self, what: str, work: Callable[[Callable[[], None]], None]) -> Child:
        def detached_work(ready: Callable[[], None]) -> None:
            servers.detach()
            work(ready)

        child = self._start(what, detached_work)
        self._essential.append(child)
        return child

    def _start(self, what: str, work: Callable[[Callable[[], None]], None]) -> Child:
        def clean_work(ready: Callable[[], None]) -> None:
            self._leave_init()
            work(ready)

        return start(what, clean_work)

    def _leave_init(self) -> None:
        """In a child: undo what only init needs."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._control.close()

    def _await(self, child: Child) -> None:
        """Wait until the child is ready; raises LabError if it or what is essential fails."""
        control = self._control.fileno()
        deadline = time.monotonic() + START_SECONDS
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise LabError(f"{child.what} was not ready in {START_SECONDS:.0f} s")
            readable, _, _ = select.select([child.reports, control, self._wake], [], [], left)
            if control in readable:
                raise _Stopped(self._stop_code())
            if child.reports in readable:
                if read_report(child):
                    return
                raise LabError(f"{child.what} ended before it was ready")
            self._reap()
            for ended in self._essential:
                if ended.pid in self._exits:
                    self._raise_failed(ended)

    def _raise_failed(self, ended: Child) -> NoReturn:
        # A program that became the server has closed the pipe.
        read_report(ended)
        raise LabError(f"{ended.what} ended at once: {servers.last_words()}")

    def _stop_code(self) -> int:
        message = self._control.recv(1)
        return 128 + (message[0] if message else signal.SIGKILL)

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake, 4096)
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                self._exits[pid] = os.waitstatus_to_exitcode(status)

    def _run_action(self, client: NetworkNamespace) -> dict[str, Any]:
        action = self._start_action(client)
        # What came before the fork, the action has not got.
        missed = set()
        while (info := signal.sigtimedwait(PASSED_ON, 0)) is not None:
            missed.add(info.si_signo)
            os.kill(action.pid, info.si_signo)

        control = self._control.fileno()
        deadline: float | None = None
        while action.pid not in self._exits:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            readable, _, _ = select.select([control, self._wake], [], [], left)
            if not readable:
                break
            if control in readable:
                message = self._control.recv(1)
                if not message:
                    raise _Stopped(128 + signal.SIGKILL)
                number = message[0]
                if number in missed:
                    missed.remove(number)
                else:
                    self._pass_on(number, action)
                if number in _FINAL and deadline is None:
                    deadline = time.monotonic() + GRACE_SECONDS
                    last_code = 128 + number
            self._reap()
        if action.pid not in self._exits:
            return {"exit": last_code}

        read_report(action)
        code = self._exits[action.pid]
        outcome: dict[str, Any] = {"exit": 128 - code if code < 0 else code}
        for ended in self._essential:
            if ended.pid in self._exits:
                outcome["note"] = f"{ended.what} ended during the run: {servers.last_words()}"
        return outcome

    def _start_action(self, client: NetworkNamespace) -> Child:
        def work(_ready: Callable[[], None]) -> None:
            client.enter()
            if namespaces.network_identity() == self._outside:
                raise LabError("not inside the lab's network; nothing was sent")
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
            try:
                code = self._action(self._scenario.target)
            except KeyboardInterrupt:
                code = ExitCode.INTERRUPTED
            except SystemExit as leaving:
                code = leaving.code if isinstance(leaving.code, int) else bool(leaving.code)
            flush_output()
            os._exit(code)

        return self._start("the action", work)

    def _pass_on(self, number: int, action: Child) -> None:
        """Give a signal to the action, unless its whole process group got it already.

        These signals are blocked in init, so one that came for the group is still pending here.
        """
        if signal.sigtimedwait({number}, _GROUP_SECONDS) is None:
            self._reap()
            if action.pid not in self._exits:
                os.kill(action.pid, number)


def _configure(network: Network, ready: Callable[[], None]) -> None:
    topology.configure(network.links, network.routes)
    ready()
