"""Two processes: what the one that parses may have written, and how both end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tfocheck.cli import parting
from tfocheck.errors import UsageError
from tfocheck.report import write


def in_two(action: Callable[[], int], *allowed: parting.Order) -> int:
    return parting.run(action, allowed)


def refused(action: Callable[[], None]) -> str:
    try:
        action()
    except UsageError as error:
        return str(error)
    return ""


def test_what_is_named_is_written_by_the_first_one(tmp_path: Path) -> None:
    path, folder = str(tmp_path / "r.json"), str(tmp_path / "o")
    content = "x" * 3_000_000

    def action() -> int:
        write.write("--json", path, content)
        write.write_into("-o", folder, "a.txt", "text")
        write.append("SUMMARY", path, "more")
        return 3

    allowed = [
        ("write", "--json", path),
        ("into", "-o", folder, "a.txt"),
        ("append", "SUMMARY", path),
    ]
    assert in_two(action, *allowed) == 3
    assert (tmp_path / "r.json").read_text() == content + "more"
    assert (tmp_path / "o" / "a.txt").read_text() == "text"


def test_what_nobody_has_named_is_not_written(tmp_path: Path) -> None:
    path = str(tmp_path / "r.json")

    def action() -> int:
        said = [
            refused(lambda: write.write("--json", str(tmp_path / "other"), "x")),
            refused(lambda: write.write("--html", path, "x")),
            refused(lambda: write.append("--json", path, "x")),
            refused(lambda: write.write_into("--json", str(tmp_path), "r.json", "x")),
        ]
        return sum("nobody has named" in each for each in said)

    assert in_two(action, ("write", "--json", path)) == 4
    assert list(tmp_path.iterdir()) == []


def test_why_it_could_not_be_written_is_told(tmp_path: Path) -> None:
    path = str(tmp_path / "no" / "r.json")

    def action() -> int:
        return (
            7
            if "can't write the report: No such"
            in refused(lambda: write.write("--json", path, "x"))
            else 8
        )

    assert in_two(action, ("write", "--json", path)) == 7


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"short",
        parting._HEADER.pack(1 << 31, 0),
        parting._HEADER.pack(4, 1 << 60) + b"[[]]",
        parting._HEADER.pack(3, 0) + b"{{{",
        parting._HEADER.pack(5, 0) + b"[1,2]",
        parting._HEADER.pack(8, 0) + b'["zz"]  ',
    ],
)
def test_whatever_the_second_one_says_the_first_one_ends(sent: bytes) -> None:
    ours, theirs = socket.socketpair()
    serving = threading.Thread(target=parting._serve, args=(ours, frozenset()))
    serving.start()
    theirs.sendall(sent)
    theirs.shutdown(socket.SHUT_WR)
    serving.join(20)
    assert not serving.is_alive()
    ours.close()
    theirs.close()


def test_a_signal_to_the_first_one_ends_the_second_one() -> None:
    def action() -> int:
        os.write(writer, b"x")
        time.sleep(30)
        return 0

    reader, writer = os.pipe()

    def interrupt() -> None:
        os.read(reader, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    thread = threading.Thread(target=interrupt)
    # The thread does not take it in place of the main one.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    thread.start()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        assert in_two(action) == 143
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        thread.join()
        signal.signal(signal.SIGTERM, before)
        os.close(reader)
        os.close(writer)


def test_the_second_one_dies_with_the_first_one() -> None:
    program = """
import os, time
from tfocheck.cli import parting
def action():
    print(os.getpid(), flush=True)
    time.sleep(30)
    return 0
parting.run(action, ())
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        second = int(first.stdout.readline())
        first.kill()
        first.wait()
        # Its end of the pipe is closed only when it is gone.
        assert first.stdout.read() == ""
    assert second != first.pid


CAPTURE = """
import asyncio, json, os, sys
import tfocheck.cli.main as cli
from tfocheck.runner import run as runner
from tfocheck.model.report import Report

async def run(plan, link, progress=None, **_):
    tasks = []
    for task in os.listdir("/proc/self/task"):
        lines = open(f"/proc/self/task/{task}/status").read().splitlines()
        tasks.append([line.split()[1] for line in lines if line.startswith("Cap")])
    taken = 0
    child = os.fork()
    if child == 0:
        try:
            os.open(f"/proc/{os.getppid()}/mem", os.O_RDONLY)
            os._exit(1)
        except PermissionError:
            os._exit(0)
    _, taken = os.waitpid(child, 0)
    print(json.dumps([tasks, os.getresuid(), os.getgroups(), taken, os.getppid()]), file=sys.stderr)
    return Report((), 0.0, 1.0, "0", (("x", "nothing was done"),))

runner.run = run
code = cli.main(["192.0.2.1", "-q", "--json", sys.argv[1]])
print(json.dumps([code, os.geteuid(), os.getpid()]))
"""


@pytest.mark.lab
@pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to drop")
def test_root_parses_as_nobody_and_writes_as_root(tmp_path: Path) -> None:
    import json

    tmp_path.chmod(0o700)  # where nobody may write
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SUDO_")}
    ended = subprocess.run(
        [sys.executable, "-c", CAPTURE, str(tmp_path / "r.json")],
        capture_output=True,
        text=True,
        env=environment,
        timeout=30,
        check=False,
    )
    tasks, uids, groups, taken, parent = json.loads(ended.stderr.splitlines()[0])
    assert [set(each) for each in tasks] == [{"0" * 16}] * len(tasks)
    assert (uids, groups, taken) == ([65534] * 3, [], 0)
    code, user, pid = json.loads(ended.stdout.splitlines()[-1])
    assert (code, user, pid) == (4, 0, parent)
    assert (tmp_path / "r.json").stat().st_uid == 0
