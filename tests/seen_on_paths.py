"""What a client sees of each path scenario, in the lab and in memory alike."""

from __future__ import annotations

from tfocheck.lab.middleboxes import ROUTERS
from tfocheck.wire.segment import Segment

GET = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n"
# No server answers it before the rest is there.
DATA = GET[:-2]

WORKS: dict[str, int | None] = {"request": 8, "data": 1, "open": 1 + len(DATA)}
# What a client sees, and what is left of its SYN one hop behind the box.
EXPECTED: dict[str, tuple[dict[str, int | None], str]] = {
    "routed": (WORKS, "as sent"),
    "option-stripped": ({"request": 0, "data": 1, "open": 1}, "no Fast Open"),
    "option-stripped-reply": ({"request": 0, "data": 1, "open": 1}, "as sent"),
    "option-dropped": ({"request": None, "data": 1, "open": None}, "silence"),
    "syn-data-dropped": ({"request": 8, "data": None, "open": None}, "silence"),
    "after-open-dropped": (WORKS, "as sent"),
    "early-data-dropped": (WORKS, "as sent"),
    "nat-pool": ({"request": 8, "data": 1, "open": 1}, "as sent"),
    "synproxy": ({"request": 0, "data": 1, "open": 1}, "SYN-ACK"),
    "transparent-proxy": ({"request": 0, "data": 1, "open": 1}, "SYN-ACK"),
    "isn-shifted": (WORKS, "other sequence number"),
    "ack-rewritten": ({"request": 8, "data": 1, "open": 1}, "as sent"),
    "cookie-changed": ({"request": 8, "data": 1, "open": 1}, "other cookie"),
    "option-moved": (WORKS, "other order"),
    "mss-clamped": (WORKS, "MSS 1200"),
    "timestamps-removed": (WORKS, "no timestamps"),
}
TRACED_ELSEWHERE = {"farm-one-key", "farm-three-keys", "farm-dnat", "synack-loss"}


def acknowledged(sent: Segment, answer: Segment | None) -> int | None:
    return None if answer is None else (answer.ack - sent.seq) % (1 << 32)


def describe(sent: Segment, router: str, found: Segment) -> str:
    if not router:
        return "SYN-ACK" if found.is_syn_ack else "something else"
    if found.seq != sent.seq:
        return "other sequence number"
    return "as sent" if found.options == sent.options else differing_options(sent, found)


def differing_options(sent: Segment, found: Segment) -> str:
    before, after = sent.option_list, found.option_list
    if found.fast_open is None:
        return "no Fast Open"
    if found.fast_open != sent.fast_open:
        return "other cookie"
    if after.mss != before.mss:
        return f"MSS {after.mss}"
    if after.timestamps is None:
        return "no timestamps"
    return "other order" if set(after.options) >= set(before.options) else "other options"


def hop_by_hop(name: str, hop: int) -> list[str]:
    _, behind = EXPECTED[name]
    # The proxy's router takes the packets in and so does not look at their TTL.
    answers_itself = name == "transparent-proxy"
    return [
        "as sent" if ttl < hop or (ttl == hop and not answers_itself) else behind for ttl in ROUTERS
    ]
