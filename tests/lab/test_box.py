"""What the impairment box does to real packets, over both families."""

from __future__ import annotations

import itertools
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from wire import Wire

from tfocheck.lab.impairment import parse_impairment
from tfocheck.lab.scenario import PORT, Setup
from tfocheck.lab.topology import SERVER_ADDRESSES, usable
from tfocheck.reference.answer import ANSWER

SERVERS = [str(address.ip) for address in usable(SERVER_ADDRESSES)]
CLOSED_PORT = 9
SILENCE = 0.2
COUNT = 200


def impaired(text: str) -> Setup:
    return Setup(impairment=parse_impairment(text))


def resets(count: int) -> list[list[int]]:
    """Over each family: the numbers of the SYNs to a closed port as their answers come in."""
    seen = []
    for server in SERVERS:
        wire = Wire(server)
        number = {wire.syn(port=CLOSED_PORT).source_port: each for each in range(count)}
        seen.append([number[each.destination_port] for each in wire.replies(SILENCE)])
    return seen


@pytest.fixture
def one_cpu() -> Iterator[None]:
    """Whatever the lab starts runs on one processor.

    A sender that the scheduler moves to another one leaves packets in the first one's backlog,
    which those that it sends from there may overtake: the kernel's doing, not the box's.
    """
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    yield
    os.sched_setaffinity(0, allowed)


@pytest.mark.usefixtures("one_cpu")
def test_a_box_that_does_nothing_loses_and_moves_nothing(in_lab: Callable[..., Any]) -> None:
    for seen in in_lab("linux", resets, COUNT, setup=impaired("seed 1")):
        assert seen == list(range(COUNT))


@pytest.mark.usefixtures("one_cpu")
def test_the_same_packets_are_lost_each_time(in_lab: Callable[..., Any]) -> None:
    runs = [
        in_lab("linux", resets, COUNT, setup=impaired(f"to-server loss 20%, seed {seed}"))
        for seed in (7, 7, 8)
    ]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    for seen in runs[0]:
        assert seen == sorted(set(seen))
        # Four standard deviations.
        assert len(seen) == pytest.approx(0.8 * COUNT, abs=4 * (COUNT * 0.2 * 0.8) ** 0.5)


@pytest.mark.usefixtures("one_cpu")
def test_packets_are_doubled_and_reordered(in_lab: Callable[..., Any]) -> None:
    doubled, reordered = (
        in_lab("linux", resets, COUNT, setup=impaired(text))
        for text in ("to-client duplicate 20%, seed 7", "to-server reorder 20%, hold 30ms, seed 7")
    )
    for seen in doubled:
        assert set(seen) == set(range(COUNT))
        assert len(seen) == pytest.approx(1.2 * COUNT, abs=4 * (COUNT * 0.2 * 0.8) ** 0.5)
    for seen in reordered:
        assert sorted(seen) == list(range(COUNT))
        latest = itertools.accumulate(seen, max)
        overtaken = sum(each < before for each, before in zip(seen, latest, strict=True))
        assert 0.1 * COUNT < overtaken < 0.3 * COUNT


def round_trips(count: int) -> list[list[float]]:
    """Over each family: seconds that connect() takes."""
    seen = []
    for server in SERVERS:
        row = []
        for _ in range(count):
            began = time.monotonic()
            with socket.create_connection((server, PORT), timeout=3):
                row.append(time.monotonic() - began)
        seen.append(row)
    return seen


def test_delay_is_one_way_and_jitter_spreads_it(in_lab: Callable[..., Any]) -> None:
    setup = impaired("delay 15ms, jitter 5ms, seed 7")
    for seen in in_lab("linux", round_trips, 12, setup=setup):
        assert min(seen) >= 0.02
        assert statistics.median(seen) == pytest.approx(0.03, abs=0.02)  # a busy machine adds some
        assert max(seen) - min(seen) > 0.003


def neighbours() -> dict[str, bool]:
    """The neighbours that the client asks for by sending: address to whether they answered."""
    from pyroute2.iproute.linux import IPRoute

    for server in SERVERS:
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"x", (server, CLOSED_PORT))
    time.sleep(0.1)
    with IPRoute() as netlink:
        known = [
            (each.get_attr("NDA_DST"), each.get_attr("NDA_LLADDR") is not None)
            for family in (socket.AF_INET, socket.AF_INET6)
            for each in netlink.get_neighbours(family=family)
        ]
    return {address: found for address, found in known if address in SERVERS}


def test_neighbour_discovery_passes_where_nothing_else_does(in_lab: Callable[..., Any]) -> None:
    seen = in_lab("linux", neighbours, setup=impaired("loss 100%"))
    assert seen == dict.fromkeys(SERVERS, True)


def downloads() -> list[dict[str, Any]]:
    """Over each family: a long answer, and the sizes of the frames that it came in."""
    seen = []
    for server in SERVERS:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as packets:
            packets.bind(("eth0", 3))
            packets.settimeout(0.05)
            with socket.create_connection((server, PORT), timeout=3) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n")
                answer = b"".join(iter(lambda: connection.recv(65536), b""))
            sizes = []
            try:
                while True:
                    sizes.append(len(packets.recv(65536)))
            except TimeoutError:
                pass
        body = answer.partition(b"\r\n\r\n")[2]
        seen.append({"whole": body == ANSWER, "largest": max(sizes), "frames": len(sizes)})
    return seen


def test_frames_through_a_box_are_as_on_a_wire(in_lab: Callable[..., Any]) -> None:
    for seen in in_lab("linux", downloads, setup=impaired("delay 1ms")):
        assert seen["whole"]
        # Neither a burst that is left to be cut nor one that was put together.
        assert seen["largest"] <= 1514
        assert seen["frames"] > len(ANSWER) / 1460


def test_the_box_is_not_the_bottleneck(in_lab: Callable[..., Any]) -> None:
    flood = Path(__file__).parents[2] / "bench" / "flood.py"
    lab = (sys.executable, "-m", "tfocheck", "lab", "exec", "linux")
    impair = ("--impair", "delay 5ms, loss 5%, reorder 5%, seed 7")
    done = subprocess.run(
        [*lab, *impair, "--", sys.executable, str(flood), "10000"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    # `make bench` shows the true figure, some ten times that.
    assert float(done.stdout) > 5_000
