"""What happens to a lab's processes: exit codes, signals, terminals, and nothing left behind."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import importlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tfocheck.cli import lab as commands
from tfocheck.errors import ExitCode
from tfocheck.lab.errors import LabError
from tfocheck.lab.runner import run_in_lab
from tfocheck.lab.scenarios import SCENARIOS
from tfocheck.linux import namespaces

LAB = (sys.executable, "-c", "from tfocheck.cli.lab import lab; lab()")
NOBODY = 65534
UP_THEN_SLEEP = ("sh", "-c", "echo up; exec sleep 60")

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("in_lab")]


def lab(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LAB, *arguments], capture_output=True, text=True, timeout=20, check=False, **options
    )


def marked(marker: str) -> dict[int, str]:
    """The processes with the marker in their environment: PID to network namespace."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in (process / "environ").read_bytes():
                found[int(process.name)] = os.readlink(process / "ns/net")
        except OSError:
            continue
    return found


@contextlib.contextmanager
def running_lab(tmp_path: Path, *command: str) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A lab whose action runs, and its processes by age; asserts that nothing remains."""
    marker = f"TFOCHECK_TEST={tmp_path}"
    name, _, value = marker.partition("=")
    empty = tmp_path / "tmp"
    empty.mkdir()
    mounts = Path("/proc/self/mountinfo").read_text()
    process = subprocess.Popen(
        [*LAB, "exec", "linux", "--", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, name: value, "TMPDIR": str(empty)},
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    # Those of client and server, and init's own, which has no links. A process that is just
    # executing its program has no environment for a moment.
    lab_networks: set[str] = set()
    processes: dict[int, str] = {}
    deadline = time.monotonic() + 5
    while (len(processes) < 5 or len(lab_networks) < 3) and time.monotonic() < deadline:
        processes = marked(marker)
        lab_networks = set(processes.values()) - {os.readlink("/proc/self/ns/net")}
    assert len(lab_networks) == 3
    yield process, sorted(processes)
    # End of file only comes when the last process that has inherited the pipe is gone.
    process.stdout.read()
    process.wait(5)
    assert marked(marker) == {}
    # Without a process a namespace lives on only where it is mounted.
    assert Path("/proc/self/mountinfo").read_text() == mounts
    assert list(empty.iterdir()) == []


def running(program: str, init: int) -> int:
    """The child of init that runs the program; waits for it to appear."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        for status in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                name, _, rest = status.read_text().partition("(")[2].rpartition(")")
                if name == program and int(rest.split()[1]) == init:
                    return int(status.parent.name)
    raise AssertionError(f"no {program}")


def stderr_of(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return process.stderr.read()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_signal_to_the_user_process_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    with running_lab(tmp_path, *UP_THEN_SLEEP) as (process, _):
        process.send_signal(number)
    assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    assert stderr_of(process) == ""


def test_sigterm_ends_an_action_that_ignores_it(tmp_path: Path) -> None:
    with running_lab(tmp_path, "sh", "-c", "trap '' TERM; echo up; sleep 60") as (process, _):
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize("victim", ["entrance", "init", "server"])
def test_kill_9_of_a_lab_process_leaves_nothing(victim: str, tmp_path: Path) -> None:
    with running_lab(tmp_path, *UP_THEN_SLEEP) as (process, by_age):
        assert by_age[0] == process.pid
        os.kill(by_age[{"entrance": 1, "init": 2, "server": 3}[victim]], signal.SIGKILL)
        if victim == "server":
            # The action goes on, and the user hears of it in the end. Who is killed ends when it is
            # its turn, and is known to have once it is reaped.
            deadline = time.monotonic() + 30
            while Path(f"/proc/{by_age[3]}").exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            os.kill(running("sleep", init=by_age[2]), signal.SIGKILL)
    if victim == "server":
        assert process.returncode == 128 + signal.SIGKILL
        assert "the linux server ended during the run" in stderr_of(process)
    else:
        assert process.returncode == ExitCode.UNREACHABLE
        assert stderr_of(process).count("\n") == 1


def test_descendants_of_the_action_end_with_it(tmp_path: Path) -> None:
    with running_lab(tmp_path, "sh", "-c", "setsid sleep 60 & echo up; sleep 0.5; exit 3") as (
        process,
        _,
    ):
        pass
    assert process.returncode == 3


def test_group_sigint_reaches_the_action_once(tmp_path: Path) -> None:
    count = (
        "import signal, time; seen = []; signal.signal(2, lambda *_: seen.append(1)); "
        "print('up', flush=True); time.sleep(0.5); exit(10 + len(seen))"
    )
    with running_lab(tmp_path, sys.executable, "-c", count) as (process, _):
        os.killpg(process.pid, signal.SIGINT)
    assert process.returncode == 11


class Terminal:
    """A lab on a terminal of its own, as its session's foreground process."""

    def __init__(self, *command: str) -> None:
        self.pid, self._descriptor = pty.fork()
        if self.pid == 0:
            os.environ["PS1"] = "ready> "
            os.execv(sys.executable, [*LAB, "exec", "linux", "--", *command])
        self.output = ""
        self._unread = ""

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def expect(self, text: str) -> None:
        """Read until the text has come, after what earlier calls have found."""
        while text not in self._unread:
            assert select.select([self._descriptor], [], [], 10)[0], self.output
            part = os.read(self._descriptor, 4096).decode(errors="replace")
            self.output += part
            self._unread += part
        self._unread = self._unread.partition(text)[2]

    def exit_code(self) -> int:
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self._descriptor)
        return code


def test_ctrl_c_passes_the_actions_exit_code_through() -> None:
    terminal = Terminal(*UP_THEN_SLEEP)
    terminal.expect("up")
    terminal.type("\x03")
    assert terminal.exit_code() == 128 + signal.SIGINT
    assert "Traceback" not in terminal.output


def test_interactive_shell_has_the_terminal() -> None:
    terminal = Terminal("bash", "--norc", "-i")
    terminal.expect("ready> ")
    terminal.type("echo at-$TFOCHECK_TARGET; cat\n")
    terminal.expect("at-linux.lab:8080")
    terminal.type("said\n")
    terminal.expect("said\r\nsaid")  # the terminal's echo, then cat's
    terminal.type("\x03")
    terminal.expect("ready> ")  # the terminal drops what is typed too soon after Ctrl-C
    terminal.type("test -t 0 && echo code-$?; exit 5\n")
    terminal.expect("code-0")
    assert terminal.exit_code() == 5
    assert "job control" not in terminal.output


def test_exit_code_output_and_input_pass_through() -> None:
    result = lab("exec", "linux", "--", "sh", "-c", "cat; echo no >&2; exit 42", input="yes")
    assert (result.returncode, result.stdout, result.stderr) == (42, "yes", "no\n")


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (("exec", "linux", "--", "nosuch"), 127, "nosuch: command not found"),
        (("exec", "linux", "--", "/etc/hosts"), 126, "/etc/hosts: Permission denied"),
        (("exec", "linus", "--", "true"), 2, "did you mean linux"),
        (("run", "linus"), 2, "did you mean linux"),
        (("exec", "linux", "--fault", "x", "--", "true"), 2, "scenario reference only"),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], code: int, line: str) -> None:
    result = lab(*arguments)
    assert result.returncode == code
    assert line in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "check_options"),
    [
        ((), "--off-port 8081 -4"),
        (("-6", "-q"), "-6 -q --off-port 8081"),
        (("--off-port", "1"), "--off-port 1 -4"),
        (("--off-port=1",), "--off-port=1 -4"),
    ],
)
def test_run_tells_the_check_of_the_off_port(
    options: tuple[str, ...],
    check_options: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("tfocheck.cli.main.run_check", lambda arguments: print(*arguments) or 7)
    with pytest.raises(SystemExit) as left:
        commands.lab.main(["run", "linux", "--", *options])
    assert left.value.code == 7
    assert capfd.readouterr().out == f"linux.lab:8080 {check_options}\n"


def test_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("tfocheck.lab.scenario.SYSTEM_PROGRAMS", ())
    with pytest.raises(LabError, match="needs nginx: apt-get install nginx-light") as caught:
        run_in_lab(SCENARIOS["nginx"], lambda _target: 0)
    assert caught.value.exit_code == ExitCode.CANNOT


def test_what_starts_for_root_only_is_said_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    there = dataclasses.replace(SCENARIOS["linux"], for_root=True, program="sh")
    with pytest.raises(LabError, match="linux needs root, for whom alone sh starts"):
        run_in_lab(there, lambda _target: 0)
    assert [each.name for each in SCENARIOS.values() if each.for_root] == ["exim"]


def test_what_an_action_raises_reaches_the_caller(capfd: pytest.CaptureFixture[str]) -> None:
    def action(_target: str) -> int:
        raise ZeroDivisionError("on purpose")

    with pytest.raises(LabError, match="ZeroDivisionError: on purpose") as caught:
        run_in_lab(SCENARIOS["linux"], action)
    assert "Traceback" in caught.value.detail
    assert capfd.readouterr().err == ""


def test_action_is_in_another_network(in_lab: Callable[..., Any]) -> None:
    assert in_lab("linux", namespaces.network_identity) != list(namespaces.network_identity())


def test_host_names_resolve_inside_only(in_lab: Callable[..., Any]) -> None:
    hosts = in_lab("linux", Path("/etc/hosts").read_text)
    assert re.search(r"^10\.77\.0\.2 linux\.lab$", hosts, re.MULTILINE)
    assert re.search(r"^127\.0\.0\.1 localhost$", hosts, re.MULTILINE)
    assert "linux.lab" not in Path("/etc/hosts").read_text()


def in_fork(function: Callable[[], str]) -> str:
    """What the function returns, run in a forked process that may change its credentials."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            result = function()
        except BaseException as error:
            result = f"{type(error).__name__}: {error}"
        os.write(write_end, result.encode())
        os._exit(0)
    os.close(write_end)
    os.waitpid(pid, 0)
    with os.fdopen(read_end) as results:
        return results.read()


def import_all() -> None:
    # Once it is an ordinary user, the process may not be able to read this Python's files.
    for module in ("encodings.idna", "pyroute2.iproute.linux", "tfocheck.lab.http_server"):
        importlib.import_module(module)


def become_nobody(directory: Path) -> None:
    directory.mkdir()
    os.chdir(directory)
    directory.chmod(0o700)
    os.environ.pop("HOME", None)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    # The kernel hides /proc/self from a process that changed its user, until it executes a program.
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE


def programs_capabilities() -> int:
    """42 if a program run here is still nobody, and may configure the network all the same."""
    status = subprocess.run(
        ["cat", "/proc/self/status"], capture_output=True, text=True, check=True
    )
    effective = re.search(r"^CapEff:\s*(\w+)", status.stdout, re.MULTILINE)
    assert effective is not None
    cap_net_admin = int(effective[1], 16) >> 12 & 1
    return 42 if os.geteuid() == NOBODY and cap_net_admin else 1


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="changes user, which needs root")


@needs_root
@pytest.mark.parametrize("name", ["linux", "nginx", "haproxy"])
def test_ordinary_user_without_home_or_directory(name: str, tmp_path: Path) -> None:
    if SCENARIOS[name].lacking():
        pytest.skip(f"needs {SCENARIOS[name].program}")
    import_all()

    def run() -> str:
        become_nobody(tmp_path / "closed")
        return str(run_in_lab(SCENARIOS[name], lambda _target: programs_capabilities()))

    assert in_fork(run) == "42"


def without_user_namespaces(inside_uid: int) -> None:
    """Enter a user namespace in which no further one can be made."""
    namespaces.unshare(namespaces.CLONE_NEWUSER)
    Path("/proc/sys/user/max_user_namespaces").write_text("0")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{inside_uid} 0 1")
    Path("/proc/self/gid_map").write_text(f"{inside_uid} 0 1")


@needs_root
def test_no_user_namespaces_names_the_sysctls() -> None:
    def run() -> str:
        without_user_namespaces(inside_uid=1000)
        try:
            run_in_lab(SCENARIOS["linux"], lambda _target: 0)
        except LabError as error:
            return f"{error.exit_code:d} {error}"
        return "a lab"

    result = in_fork(run)
    assert result.startswith("5 the kernel gives this user no namespaces")
    for sysctl in (
        "kernel.unprivileged_userns_clone",
        "user.max_user_namespaces",
        "kernel.apparmor_restrict_unprivileged_userns",
    ):
        assert sysctl in result


@needs_root
def test_root_needs_no_user_namespaces() -> None:
    def run() -> str:
        without_user_namespaces(inside_uid=0)
        return str(run_in_lab(SCENARIOS["linux"], lambda _target: 9))

    assert in_fork(run) == "9"


@needs_root
def test_read_only_proc_sys_is_one_clear_line() -> None:
    def run() -> str:
        namespaces.unshare(namespaces.CLONE_NEWNS)
        namespaces.mount("none", "/", "", 16384 | (1 << 18))  # MS_REC | MS_PRIVATE
        namespaces.mount("/proc/sys", "/proc/sys", "", 4096)  # MS_BIND
        namespaces.mount("none", "/proc/sys", "", 4096 | 32 | 1)  # MS_BIND | MS_REMOUNT | MS_RDONLY
        # With a part of /proc covered, an ordinary user may not mount a fresh one.
        become_nobody_here()
        try:
            run_in_lab(SCENARIOS["linux"], lambda _target: 0)
        except LabError as error:
            return f"{error.exit_code:d} {error}"
        return "a lab"

    def become_nobody_here() -> None:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE

    import_all()
    result = in_fork(run)
    assert result.startswith("5 can't set the sysctl net.ipv")
    assert "/proc/sys must be writable" in result
