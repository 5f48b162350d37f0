"""A report such that a second run gives the same one: what chance decides is replaced.

Rules that hold here:

* Verdicts, conclusions, and what was seen stay as they are, but for times in ms, which become
  ``x ms``, counts that chance decides, which become ``n``, cookies, and ports drawn at random.
* Of each connection the opening stays: SYNs, their answers, early data where the case waits for it,
  and our first packet after them. How a kernel cuts the rest into packets is chance. Of several
  connections with the same label the first stays.
* Ports, ISNs, timestamps and cookies are numbered afresh. Cookies keep what relates them: a prefix
  stays one, so does one flipped bit.
* A packet comes 0.1 ms after the one before, unless somebody waited: then so many half seconds.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from tfocheck.model.report import AddressReport, CaseResult, Report, Traffic
from tfocheck.wire import options
from tfocheck.wire.evidence import Captured, FlowRecord
from tfocheck.wire.numbers import SEQUENCE_SPACE
from tfocheck.wire.segment import Flags, Segment

STARTED = 1_767_225_600.0
"""2026-01-01, 0:00 UTC: when every sample began."""

STEP, WAIT = 0.0001, 0.5
CLIENT_ISN, SERVER_ISN, OTHER_ISN = 1_000_000, 2_000_000, 3_000_000
CLIENT_CLOCK, SERVER_CLOCK = 10_000, 20_000
FIRST_PORT, RANDOM_PORT = 40_001, 33_434

WAIT_FOR_DATA = frozenset({"open.early-answer", "benefit.latency"})
"""Cases that let the server speak before they acknowledge its SYN-ACK."""

_FIXED_PORTS = (8080, 8081)
_MILLISECONDS = re.compile(
    r"-?\b\d+(?:\.\d+)?(?= ms\b| to \d+(?:\.\d+)?\))|(?<= to )\d+\.\d+(?=\))"
)
_PORT = re.compile(r"\bport (\d{4,5})\b")
_COUNT = re.compile(
    r"(?:(?<=each of )|(?<=none met by ))\d+(?= SYNs)"
    r"|\b(?!16 )\d+(?= of 16\b| different cookies in 16\b)"
)
_COOKIE = re.compile(r"\b[0-9a-f]{16}\b")
_DATE = re.compile(rb"(?<=Date: )[^\r\n]+")
_A_DATE = b"Thu, 01 Jan 2026 00:00:00 GMT"


def normal(report: Report) -> Report:
    """The report of a lab without what chance put into it."""
    addresses = tuple(map(_address, report.addresses))
    return replace(report, addresses=addresses, started=STARTED, duration=0.0)


def text(seen: str) -> str:
    """What was seen, its times, counts and random ports taken out."""
    return _PORT.sub(_port_in_words, _COUNT.sub("n", _MILLISECONDS.sub("x", seen)))


def _port_in_words(found: re.Match[str]) -> str:
    return f"port {_server_port(int(found[1]))}"


def _server_port(port: int) -> int:
    return port if port in _FIXED_PORTS else RANDOM_PORT


def _address(address: AddressReport) -> AddressReport:
    numbers = _Numbers(address.results)
    results = tuple(
        replace(
            result,
            seen=numbers.text(result.seen),
            duration=0.0,
            flows=tuple(numbers.flow(flow, result.case.id) for flow in _telling(result.flows)),
        )
        for result in address.results
    )
    packets = [packet for result in results for flow in result.flows for packet in flow.packets]
    sent = sum(packet.sent for packet in packets)
    return replace(
        address,
        results=results,
        rtt=None,
        traffic=Traffic(sent=sent, received=len(packets) - sent),
        started=STARTED,
        duration=0.0,
        hops=tuple(
            replace(hop, rtt=None, changes=tuple(map(numbers.text, hop.changes)))
            for hop in address.hops
        ),
        controls=(),
    )


def _telling(flows: Iterable[FlowRecord]) -> Iterator[FlowRecord]:
    """The first flow of each label and answer; one that decided comes before one that did not."""
    first: dict[tuple[str, bool], FlowRecord] = {}
    for flow in flows:
        key = (text(flow.label), _is_accepted(flow))
        if key not in first or (flow.decided and not first[key].decided):
            first[key] = flow
    labels = list(dict.fromkeys(label for label, _ in first))
    # Which of two answers came first is chance.
    yield from (first[key] for key in sorted(first, key=lambda key: (labels.index(key[0]), key[1])))


def _is_accepted(flow: FlowRecord) -> bool:
    """Whether all data of the SYN was acknowledged."""
    syn_acks = [each.segment for each in flow.packets if not each.sent and each.segment.is_syn_ack]
    data = len(flow.packets[0].segment.payload) if flow.packets else 0
    return bool(syn_acks) and _moved(syn_acks[0].ack, flow.client_isn, 0) == 1 + data


def opening(flow: FlowRecord, *, with_data: bool) -> Iterator[Captured]:
    """The packets of a flow up to our first one that is no SYN."""
    has_answer = False
    for packet in flow.packets:
        is_syn = bool(packet.segment.flags & Flags.SYN)
        if packet.sent and not is_syn:
            yield packet
            return
        if is_syn or packet.segment.is_reset:
            yield packet
        elif with_data and packet.segment.payload and not has_answer:
            has_answer = True
            yield _first_segment(packet)


def _first_segment(packet: Captured) -> Captured:
    """Of what the kernel may have merged, the segment that came first."""
    size = packet.gso_size or len(packet.segment.payload)
    segment = replace(packet.segment, payload=packet.segment.payload[:size])
    return replace(packet, segment=segment, gso_size=0)


class _Numbers:
    """The new ports and cookies of one address."""

    def __init__(self, results: Iterable[CaseResult]) -> None:
        self._ports: dict[tuple[str, int, int], int] = {}
        self._issued: dict[bytes, bytes] = {}
        self._said: dict[str, bytes] = {}
        for result in results:
            for flow in _telling(result.flows):
                self._see_cookies(flow)

    def _see_cookies(self, flow: FlowRecord) -> None:
        for packet in flow.packets:
            found = packet.segment.fast_open
            if not packet.sent and found and found.cookie and found.cookie not in self._issued:
                name = f"cookie {len(self._issued)}"
                self._issued[found.cookie] = _digest(name, len(found.cookie))

    def text(self, seen: str) -> str:
        """What was seen, with the new cookies."""
        return _COOKIE.sub(self._cookie_in_words, text(seen))

    def _cookie_in_words(self, found: re.Match[str]) -> str:
        name = f"said {len(self._said)}"
        known = self._said.setdefault(found[0], self._cookie(bytes.fromhex(found[0]), name))
        return known.hex()

    def flow(self, flow: FlowRecord, case_id: str) -> FlowRecord:
        """The opening of the flow, everything in it numbered afresh."""
        key = (*flow.client, flow.client_isn)
        port = self._ports.setdefault(key, FIRST_PORT + len(self._ports))
        new = replace(
            flow,
            label=text(flow.label),
            client=(flow.client[0], port),
            server=(flow.server[0], _server_port(flow.server[1])),
            client_isn=CLIENT_ISN,
            server_isn=None if flow.server_isn is None else SERVER_ISN,
            icmp=(),
        )
        kept = list(opening(flow, with_data=case_id in WAIT_FOR_DATA))
        shown = sum(len(each.segment.payload) for each in kept if not each.sent)
        packets = tuple(
            Captured(
                self._segment(flow, new, packet, f"{case_id} {new.label}", shown), time, packet.sent
            )
            for packet, time in zip(kept, _times(kept), strict=True)
        )
        chosen = (new for old, new in zip(kept, packets, strict=True) if old is flow.deciding)
        return replace(new, packets=packets, deciding=next(chosen, None))

    def _segment(
        self, flow: FlowRecord, new: FlowRecord, packet: Captured, name: str, shown: int
    ) -> Segment:
        old = packet.segment
        ours, theirs = (flow.client_isn, CLIENT_ISN), _server_isn(flow, packet)
        ack = 0
        if old.has_ack:
            ack = _moved(old.ack, *(theirs if packet.sent else ours))
        if packet.sent and ack > SERVER_ISN + 1 + shown and theirs[1] == SERVER_ISN:
            ack = SERVER_ISN + 1 + shown  # of more data nothing is shown
        return Segment(
            *((*new.client, *new.server) if packet.sent else (*new.server, *new.client)),
            seq=_moved(old.seq, *(ours if packet.sent else theirs)),
            ack=ack,
            flags=old.flags,
            window=old.window,
            options=self._options(old.options, packet.sent, flow.client[0], name),
            payload=_DATE.sub(_A_DATE, old.payload),
            ttl=old.ttl,
        )

    def _options(self, area: bytes, sent: bool, client: str, name: str) -> bytes:
        found = options.walk(area)
        if found.malformed:
            return area  # made so on purpose, with nothing random in it
        encoded = b""
        for number, option in enumerate(found.options):
            encoded += self._option(option, sent, client, f"{name} {number}").encode()
        # Behind the end of the list there may be options that nobody is to read.
        end, rest = area[len(encoded) :][:1], area[len(encoded) :][1:]
        hidden = self._options(rest, sent, client, f"{name} more") if any(rest) else rest
        return encoded + end + hidden

    def _option(self, option: options.Option, sent: bool, client: str, name: str) -> options.Option:
        if option.kind == options.TIMESTAMPS and len(option.value) == 8:
            value, echo = (CLIENT_CLOCK, SERVER_CLOCK) if sent else (SERVER_CLOCK, CLIENT_CLOCK)
            return options.timestamps(value, echo if any(option.value[4:]) else 0)
        fast_open = options.FastOpen.from_option(option)
        if fast_open is None or fast_open.is_request:
            return option
        cookie = fast_open.cookie
        if cookie.startswith(ipaddress.ip_address(client).packed[:4]):
            return option  # our address as a cookie
        return replace(fast_open, cookie=self._cookie(cookie, name)).to_option()

    def _cookie(self, cookie: bytes, name: str) -> bytes:
        """The new cookie for an old one; related ones stay related, others get the name's."""
        if cookie in self._issued:
            return self._issued[cookie]
        if set(cookie) in ({0}, {255}):
            return cookie
        for old, new in self._issued.items():
            if old.startswith(cookie) and len(cookie) >= 4:
                return new[: len(cookie)]
            if cookie.startswith(old):
                rest = cookie[len(old) :]
                return new + (_digest(name, len(rest)) if any(rest) else rest)
            flipped = _xor(old, cookie)
            if len(old) == len(cookie) and int.from_bytes(flipped).bit_count() == 1:
                return _xor(new, flipped)
        return _digest(name, len(cookie))


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=False))


def _digest(name: str, size: int) -> bytes:
    return hashlib.sha256(name.encode()).digest()[:size]


def _server_isn(flow: FlowRecord, packet: Captured) -> tuple[int, int]:
    """The server's ISN that this packet is about, the old one and the new one."""
    segment = packet.segment
    if not packet.sent and segment.is_syn_ack and segment.seq != flow.server_isn:
        return segment.seq, OTHER_ISN
    if flow.server_isn is None:
        number = segment.ack if packet.sent else segment.seq
        return number, OTHER_ISN if number else 0
    return flow.server_isn, SERVER_ISN


def _moved(number: int, old: int, new: int) -> int:
    return (number - old + new) % SEQUENCE_SPACE


def _times(packets: Iterable[Captured]) -> Iterator[float]:
    time, before = STARTED, None
    for packet in packets:
        if before is not None:
            time += max(STEP, round((packet.time - before) / WAIT) * WAIT)
        before = packet.time
        yield time
