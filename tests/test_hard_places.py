"""Networks and applications that are no help: never a wrong verdict on a good server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from graded import command
from test_traces import require

pytestmark = pytest.mark.lab

SERVER = """
import socket, sys, threading, time
backlog, manner = int(sys.argv[1]), sys.argv[2]
listener = socket.create_server(("127.0.0.1", 8090), backlog=backlog)
listener.setsockopt(socket.IPPROTO_TCP, 23, 16)

def serve(connection):
    try:
        if manner == "closes":
            return
        data = b""
        while more := connection.recv(4096):
            data += more
            if b"\\r\\n\\r\\n" not in data:
                continue
            if manner == "slow":
                time.sleep(0.3)
            good = data.startswith(b"GET / ") or manner == "indifferent"
            status = b"200 OK" if good else b"400 Bad Request"
            body = b"x" * (2_000_000 if manner == "huge" else 20_000)
            connection.sendall(
                b"HTTP/1.1 %s\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (status, len(body), body)
            )
            data = b""
    except OSError:
        pass
    finally:
        connection.close()

print("ready", flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""

BESIDE = """
set -e
sysctl -qw net.ipv4.tcp_fastopen=3
"$1" -c "$2" "$3" "$4" > /run/ready &
while ! grep -q ready /run/ready; do sleep 0.02; done
shift 4
exec "$@"
"""

GOOD = ("pass", "info", "skip")


def graded(*beside: str, options: tuple[str, ...], report: Path) -> dict[str, Any]:
    """A check inside lab linux, behind a command that prepares the place."""
    target = command(*options, "-q", "--json", str(report))
    done = subprocess.run(
        command("lab", "exec", "linux", "--", *beside, *target),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    found = json.loads(report.read_text())
    assert found["exit_code"] == done.returncode
    [address] = found["addresses"]
    address["verdicts"] = {each["case"]: each["verdict"] for each in address["results"]}
    address["seen"] = {each["case"]: each["seen"] for each in address["results"]}
    return dict(address)


def with_rule(rule: str) -> list[str]:
    require("nft")
    # On the way out of the interface: an output chain would refuse the sending itself.
    chain = "type filter hook egress device eth0 priority 0;"
    table = f"nft add table netdev t; nft add chain netdev t c '{{ {chain} }}';"
    return ["bash", "-ec", f'{table} nft add rule netdev t c {rule}; exec "$@"', "bash"]


@pytest.mark.parametrize("manner", ["plain", "slow", "huge", "indifferent", "closes"])
def test_no_application_is_blamed_for_its_manners(manner: str, tmp_path: Path) -> None:
    beside = ["bash", "-c", BESIDE, "bash", sys.executable, SERVER, "50", manner]
    found = graded(*beside, options=("127.0.0.1:8090",), report=tmp_path / "report.json")
    bad = {case: seen for case, seen in found["seen"].items() if found["verdicts"][case] == "fail"}
    assert bad == {}
    assert found["verdicts"]["open.data-acked"] == "pass"
    if manner == "indifferent":
        # An answer that does not show its input proves nothing of it.
        assert found["verdicts"]["open.stream-integrity"] == "skip"
        assert found["grade"] != "A+"


@pytest.mark.parametrize("backlog", ["5", "10"])
def test_a_short_backlog_is_no_reason_to_fail(backlog: str, tmp_path: Path) -> None:
    beside = ["bash", "-c", BESIDE, "bash", sys.executable, SERVER, backlog, "plain"]
    found = graded(*beside, options=("127.0.0.1:8090",), report=tmp_path / "report.json")
    bad = {case: seen for case, seen in found["seen"].items() if found["verdicts"][case] == "fail"}
    assert bad == {}
    assert found["kind"] in ("conforms", "inconclusive")


def test_loss_is_never_a_failure(tmp_path: Path) -> None:
    rule = "ip protocol tcp numgen random mod 10 == 0 drop"
    found = graded(
        *with_rule(rule),
        options=("linux.lab:8080", "-4"),
        report=tmp_path / "report.json",
    )
    bad = {case: seen for case, seen in found["seen"].items() if found["verdicts"][case] == "fail"}
    assert bad == {}


def test_a_rate_limit_on_syns_is_never_a_failure(tmp_path: Path) -> None:
    found = graded(
        *with_rule("'tcp flags & (syn|ack) == syn' limit rate over 20/second burst 5 packets drop"),
        options=("linux.lab:8080", "-4"),
        report=tmp_path / "report.json",
    )
    bad = {case: seen for case, seen in found["seen"].items() if found["verdicts"][case] == "fail"}
    assert bad == {}


def test_a_path_that_drops_data_on_syns_is_no_forged_cookie_accepted(tmp_path: Path) -> None:
    found = graded(
        *with_rule("'tcp flags & (syn|ack) == syn' ip length '>' 100 drop"),
        options=("linux.lab:8080", "-4"),
        report=tmp_path / "report.json",
    )
    failed = {case for case, verdict in found["verdicts"].items() if verdict == "fail"}
    assert failed == {"path.syn-data-dropped"}
    assert found["verdicts"]["control.syn-data"] == "skip"
    assert (found["kind"], found["grade"]) == ("path", None)


def test_two_names_of_one_server_do_not_disturb_each_other(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    done = subprocess.run(
        command(
            *("lab", "exec", "linux-queue-1", "--"),
            *command("10.77.0.2:8080", "linux-queue-1.lab:8080", "-4", "-q", "--json", str(report)),
        ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
