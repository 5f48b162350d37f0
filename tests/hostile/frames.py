"""Packets that nobody should send, from a seed, and all that reads a packet.

A packet is random, or one that is right with some bytes changed, cut or added to: most of what
parsers get wrong is nearly right.
"""

from __future__ import annotations

import contextlib
import random

from tfocheck.engine.conversation import Conversation
from tfocheck.report.ladder import ladder
from tfocheck.wire import ends, icmp, quote
from tfocheck.wire import options as tcp_options
from tfocheck.wire.evidence import Captured, FlowKey, FlowRecord, IcmpError
from tfocheck.wire.options import FastOpen
from tfocheck.wire.segment import Flags, NotTcpError, Segment, build, dissect

ADDRESSES = (("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2"))
COOKIE = FastOpen(bytes(range(8)))
AREA = tcp_options.encode([tcp_options.mss(1460), tcp_options.timestamps(7, 0), COOKIE.to_option()])
LIKELY = (0, 1, 2, 0x40, 0x45, 0x46, 0x4F, 0x5F, 0x60, 0x7F, 0x80, 0xF0, 0xFF)


def _pair(client: str, server: str) -> tuple[Segment, Segment]:
    syn = Segment(client, 5000, server, 443, 7000, flags=Flags.SYN, options=AREA, payload=b"hello")
    syn_ack = Segment(
        server, 443, client, 5000, 9000, 7006, Flags.SYN | Flags.ACK, options=AREA, payload=b"hi"
    )
    return syn, syn_ack


PAIRS = tuple(_pair(*each) for each in ADDRESSES)
SYNS = tuple(syn for syn, _ in PAIRS)


def _error(quoted: bytes, like: bytes) -> bytes:
    """An ICMP error with this quote, its IP header made of another packet's."""
    size, protocol_at, protocol, kind = (20, 9, 1, 3) if like[0] >> 4 == 4 else (40, 6, 58, 1)
    outer = bytearray(like[:size])
    outer[protocol_at] = protocol
    return bytes(outer) + bytes([kind, 1]) + bytes(6) + quoted


def _right() -> list[bytes]:
    found: list[bytes] = []
    for pair in PAIRS:
        syn, syn_ack = (build(each) for each in pair)
        found += [syn, syn_ack, _error(syn, syn_ack), _error(syn[:28], syn_ack)]
    return found


RIGHT = _right()


def packet(chance: random.Random) -> bytes:
    """One packet."""
    if chance.random() < 0.1:
        return chance.randbytes(chance.randrange(140))
    found = bytearray(chance.choice(RIGHT))
    for _ in range(chance.randrange(6)):
        value = chance.choice(LIKELY) if chance.random() < 0.7 else chance.randrange(256)
        found[chance.randrange(len(found))] = value
    if chance.random() < 0.4:
        del found[chance.randrange(len(found) + 1) :]
    if chance.random() < 0.1:
        found += chance.randbytes(chance.randrange(30))
    return bytes(found)


def read(packet: bytes) -> None:
    """Let everything read it that reads packets."""
    for start in (0, 20, 28, 40, 48):
        tcp_options.walk(packet[start : start + tcp_options.MAX_OPTION_BYTES])
        for sent in SYNS:
            quote.compare(sent, packet[start:])
    ends.of_segment(packet)
    ends.of_quote(packet)
    error = icmp.read(packet)
    if error is not None:
        assert ends.of_quote(packet) == ends.sent_by(error.key)
        found = IcmpError(
            error.sender, error.icmp_type, error.code, 1.0, error.quote, packet=packet
        )
        assert found.name
    with contextlib.suppress(NotTcpError):
        _show(packet, dissect(packet), error=None)


def _show(packet: bytes, segment: Segment, error: IcmpError | None) -> None:
    """Have it belong to a connection, as far as that goes, and be printed."""
    key = FlowKey(
        segment.destination, segment.destination_port, segment.source, segment.source_port
    )
    assert ends.of_segment(packet) == ends.received_by(key)
    talk = Conversation(key)
    syn = talk.syn(AREA, b"hello")
    talk.segment_captured(Captured(syn, 1.0, sent=True))
    for seq in (segment.seq, talk.isn):
        captured = Captured(segment, 1.0 + seq % 7, sent=False, packet=packet, checksum_open=True)
        assert captured.whole_packet
        talk.segment_captured(captured)
    if talk.server_isn is not None:
        talk.ack(2.0)
    talk.control_segments(0)
    assert talk.reach >= talk.stream_bytes >= 0
    packets = tuple(talk.packets)
    ladder(FlowRecord("x", key[:2], key[2:], talk.isn, talk.server_isn, packets, deciding=None))
