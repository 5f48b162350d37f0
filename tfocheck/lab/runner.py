"""Building a lab, running something beside its target, and leaving nothing behind.

The processes, and why each is there:

    the user's process   waits, and passes signals on
      entrance           enters the new namespaces; unshare(CLONE_NEWPID) concerns children only
        init             PID 1 of the lab: builds it, reaps, takes everything along when it ends
          server         in the server's network namespace
          box            in a network namespace of its own, between two links: a bad network
          action         in the client's network namespace: the check, or the user's command

Rules that hold here:

* The kernel does the cleaning up. When init ends, however it ends, the kernel kills all that is in
  its PID namespace; with the last process go namespaces, links and mounts. Death of the user's
  process reaches init through PR_SET_PDEATHSIG, a link at a time.
* The action stays in the user's process group, so that terminals work. A signal may therefore reach
  it twice: from the terminal and passed on. init gets what its group gets and so can tell, see
  Init._pass_on().
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

from tfocheck.errors import ExitCode
from tfocheck.lab import servers
from tfocheck.lab.children import describe_failure, flush_output, raise_failure
from tfocheck.lab.errors import LabError
from tfocheck.lab.init import PASSED_ON, Action, Init
from tfocheck.lab.scenario import Scenario, Setup
from tfocheck.lab.scenarios import check_setup
from tfocheck.linux import namespaces

_MESSAGE_BYTES = 1 << 16

_AS_IT_IS = Setup()


def run_in_lab(scenario: Scenario, action: Action, setup: Setup = _AS_IT_IS) -> int:
    """Build the scenario, call `action(target)` in a process beside it, return its exit code.

    `target` is a name and port that resolve inside the lab only, e.g. "linux.lab:8080". The exit
    code is what the action returned or gave to sys.exit, or 128 + N after signal N. Everything is
    removed before this returns, and also when this process is killed. Raises LabError.
    """
    check_setup(scenario, setup)
    if not sys.platform.startswith("linux"):
        raise LabError("a lab needs Linux: it is made of the kernel's namespaces")
    if importlib.util.find_spec("pyroute2") is None:
        raise LabError("a lab takes pyroute2: pip install 'tfocheck[lab]'")
    if scenario.missing_programs():
        raise LabError(servers.missing(scenario))
    lacking = scenario.lacking()
    if lacking:
        raise LabError(f"the scenario {scenario.name} needs {lacking}")

    flush_output()
    user_end, lab_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    user_process = os.getpid()
    with user_end, _foreground_kept():
        # Blocked until the fork is over: a signal must be seen by exactly one side's handlers.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
        try:
            entrance = os.fork()
            if entrance == 0:
                user_end.close()
                init = Init(scenario, action, setup, lab_end, mask)
                _enter(init, lab_end, user_process)
            lab_end.close()
            try:
                with _signals_to(user_end):
                    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
                    outcome = _receive_outcome(user_end)
            finally:
                # Only an exception leaves it running: then the lab must not outlive this call.
                user_end.close()
                os.waitpid(entrance, 0)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    raise_failure(outcome)
    if outcome.get("note"):
        print(f"lab: {outcome['note']}", file=sys.stderr)
    return int(outcome["exit"])


def _receive_outcome(user_end: socket.socket) -> dict[str, Any]:
    try:
        message = user_end.recv(_MESSAGE_BYTES)
    except ConnectionResetError:
        # init ended before it read a signal from here; what it had sent by then still comes.
        message = user_end.recv(_MESSAGE_BYTES)
    if not message:
        raise LabError(
            "the lab was killed from outside before the action ended", ExitCode.UNREACHABLE
        )
    outcome: dict[str, Any] = json.loads(message)
    return outcome


@contextlib.contextmanager
def _signals_to(user_end: socket.socket) -> Iterator[None]:
    """For the length of a with block, signals to this process are sent to init instead."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python handles signals in the main thread only
        return

    def pass_on(number: int, _frame: object) -> None:
        with contextlib.suppress(OSError):  # the lab is gone already
            user_end.send(bytes([number]))

    before = {number: signal.getsignal(number) for number in PASSED_ON}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:  # as under nohup
            signal.signal(number, pass_on)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextlib.contextmanager
def _foreground_kept() -> Iterator[None]:
    """Take the terminal back if an interactive command kept it, as a shell does."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        yield
        return
    own = os.getpgrp()
    was_foreground = os.tcgetpgrp(terminal) == own
    try:
        yield
    finally:
        if was_foreground:
            # A background process may take the terminal only while it does not take SIGTTOU.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
            with contextlib.suppress(OSError):
                os.tcsetpgrp(terminal, own)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(terminal)


def _enter(init: Init, lab_end: socket.socket, user_process: int) -> NoReturn:
    """The entrance process: new namespaces, and init as the first process in them."""
    try:
        signal.set_wakeup_fd(-1)
        namespaces.enter_new_namespaces()
        namespaces.die_with_parent()
        if os.getppid() != user_process:
            os._exit(1)
        alive, closed_on_death = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(closed_on_death)
            namespaces.die_with_parent()
            # init can't see its parent, which is outside its PID namespace, but can see it gone.
            if select.select([alive], [], [], 0)[0]:
                os._exit(1)
            init.run()
        lab_end.close()
        os.waitpid(pid, 0)
    except BaseException as error:  # whatever it is, the user must hear of it
        lab_end.send(json.dumps(describe_failure("the lab", error)).encode())
    finally:
        os._exit(0)
