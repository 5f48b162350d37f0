"""What a run leaves behind: nothing, not even a reset from the local kernel."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from graded import command

pytestmark = pytest.mark.lab

WATCHED = """
set -e
folder="$1"; shift
rules() { nft list ruleset; iptables-save | grep -v '^#' || true; }
resets='tcp[tcpflags] & tcp-rst != 0 and (src host 10.77.0.1 or src host 10.77.0.3)'
tcpdump -i any -n --immediate-mode -U -w "$folder/resets.pcap" "$resets" \
    2> "$folder/tcpdump.err" &
watch=$!
while ! grep -q 'listening on' "$folder/tcpdump.err"; do sleep 0.05; done
rules > "$folder/before"
"$@"
rules > "$folder/after"
# Whatever the server still repeats after the run would be answered by the kernel now.
sleep 1.5
kill "$watch"; wait
tcpdump -n -r "$folder/resets.pcap" > "$folder/resets" 2> /dev/null
"""


def require(*programs: str) -> None:
    for program in programs:
        if shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin") is None:
            if os.environ.get("TFOCHECK_REQUIRE_ALL") == "1":
                pytest.fail(f"{program} is missing")
            pytest.skip(f"{program} is missing")


def test_the_local_kernel_resets_nothing_and_no_rule_is_touched(tmp_path: Path) -> None:
    require("tcpdump", "nft", "iptables-save")
    # As root, tcpdump changes its user: that one must be able to write as well.
    folder = tmp_path / "watched"
    folder.mkdir()
    folder.chmod(0o777)
    for parent in folder.parents[:3]:
        parent.chmod(0o755)
    report = folder / "report.json"
    done = subprocess.run(
        command(
            *("lab", "exec", "linux", "--", "bash", "-c", WATCHED),
            *("watched", str(folder), *command("linux.lab:8080", "-4", "--json", str(report))),
        ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    resets = (folder / "resets").read_text().splitlines()
    # The kernel's reset to a segment with ACK is a bare one (RFC 9293 section 3.10.7.1); those
    # that tfocheck crafts for its own half-open connections carry ACK, and are counted.
    traffic = json.loads(report.read_text())["addresses"][0]["traffic"]
    assert [line for line in resets if "[R.]" not in line] == []
    assert 0 < len(resets) <= traffic["resets_sent"]
    assert traffic["kernel_resets"] == 0
    assert (folder / "before").read_text() == (folder / "after").read_text()


def test_the_watch_would_see_a_kernel_reset(tmp_path: Path) -> None:
    """Without a guard the kernel does reset: the test above can fail."""
    script = """
import asyncio, os
from tfocheck.engine.flow import Flow
from tfocheck.linux.link import Link

async def main():
    link = Link.open()
    link.start()
    link.watch("10.77.0.2", 8080)
    guard = link.reserve("10.77.0.1")
    flow = Flow(link, guard, ("10.77.0.2", 8080), scope_id=0, label="unguarded")
    guard.release()
    await flow.send_syn(b"")
    await flow.wait(lambda: flow.kernel_resets > 0, 2)
    print(flow.kernel_resets)

asyncio.run(main())
"""
    import sys

    done = subprocess.run(
        command("lab", "exec", "linux", "--", sys.executable, "-c", script),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip() == "1", done.stderr


def namespaces_of(pids: set[int]) -> set[str]:
    found = set()
    for pid in pids:
        try:
            found.add(os.readlink(f"/proc/{pid}/ns/net"))
        except OSError:
            continue
    return found


def all_pids() -> set[int]:
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}


def marked(mark: str) -> set[int]:
    """Processes whose environment carries the mark."""
    found = set()
    for pid in all_pids():
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue
        if f"TFOCHECK_TEST_MARK={mark}".encode() in environment:
            found.add(pid)
    return found


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_ended_in_the_middle_leaves_its_report_and_nothing_else(
    how: signal.Signals, tmp_path: Path
) -> None:
    mark = f"{os.getpid()}-{how.name}"
    report = tmp_path / "report.xml"
    process = subprocess.Popen(
        command("lab", "run", "linux", "--", "--junit", str(report)),
        env={**os.environ, "TFOCHECK_TEST_MARK": mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 20
        # The server has a namespace of its own once the lab stands; then the check begins.
        while len(namespaces_of(marked(mark))) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.9)
        assert process.poll() is None, "the run was over before it could be ended"
        if how is signal.SIGINT:
            os.killpg(process.pid, how)  # as a terminal does it
        else:
            process.send_signal(how)
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGINT: 130, signal.SIGTERM: 143}[how]
    kept = set() if how is signal.SIGKILL else {report}
    if how is signal.SIGINT:
        said = f"tfocheck: interrupted; written, of what was done by then: {report}"
        assert errors.splitlines() == [said]
    deadline = time.monotonic() + 5
    while marked(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert marked(mark) == set()
    assert set(tmp_path.iterdir()) == kept
