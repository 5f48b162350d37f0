"""Inside a lab with --impair: how many packets per second the impairment box carries.

Prints packets per second, one number. Run it by ``tfocheck lab exec NAME --impair SPEC -- python
bench/flood.py [PACKETS]``.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

PACKETS = 40_000
PAYLOAD = bytes(1400)
DISCARD_PORT = 9
QUIET_SECONDS = 0.3


def carried() -> int:
    """Packets that the box has sent on towards the server."""
    for process in Path("/proc").glob("[0-9]*/net/dev"):
        for line in process.read_text().splitlines():
            name, _, counters = line.partition(":")
            if name.strip() == "right":
                return int(counters.split()[9])
    raise SystemExit("no impairment box in this lab")


def main() -> None:
    """Send a burst and see how long the box takes for what it doesn't lose."""
    host, _, _ = os.environ["TFOCHECK_TARGET"].rpartition(":")
    target = (socket.gethostbyname(host), DISCARD_PORT)
    packets = int(sys.argv[1]) if len(sys.argv) > 1 else PACKETS
    before = carried()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        began = time.monotonic()
        for _ in range(packets):
            sender.sendto(PAYLOAD, target)
    last, changed = before, time.monotonic()
    while time.monotonic() < changed + QUIET_SECONDS:
        time.sleep(0.002)
        now = carried()
        if now != last:
            last, changed = now, time.monotonic()
    print((last - before) / (changed - began))


if __name__ == "__main__":
    main()
