"""haproxy's PROXY header: its bytes, and that each connection has its own."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfocheck.engine.conversation import Conversation
from tfocheck.errors import CannotError
from tfocheck.model.payload import ProxyProtocol
from tfocheck.server.proxy_protocol import (
    NOMINAL_PORT,
    Introduction,
    header,
    most_bytes,
    reserve,
)
from tfocheck.wire.evidence import FlowKey

SERVER = ("10.77.0.2", 8080)


def test_the_headers_are_those_of_the_specification() -> None:
    ours = ("10.77.0.1", 54321)
    assert header(ProxyProtocol.V1, ours, SERVER) == (
        b"PROXY TCP4 10.77.0.1 10.77.0.2 54321 8080\r\n"
    )
    assert header(ProxyProtocol.V2, ours, SERVER) == bytes.fromhex(
        "0d0a0d0a000d0a515549540a 21 11 000c 0a4d0001 0a4d0002 d431 1f90"
    )
    ours6, server6 = ("fd77::1", 54321), ("fd77::2", 443)
    assert header(ProxyProtocol.V1, ours6, server6) == (b"PROXY TCP6 fd77::1 fd77::2 54321 443\r\n")
    assert header(ProxyProtocol.V2, ours6, server6)[12:16] == bytes.fromhex("2121 0024")


@given(st.sampled_from(ProxyProtocol), st.ip_addresses(v=6), st.ip_addresses(v=6))
def test_no_header_is_longer_than_said(
    version: ProxyProtocol, one: ipaddress.IPv6Address, other: ipaddress.IPv6Address
) -> None:
    assert len(header(version, (str(one), 65535), (str(other), 65535))) <= most_bytes(version)


NOMINAL = header(ProxyProtocol.V1, ("10.77.0.1", NOMINAL_PORT), SERVER)
TRUE = header(ProxyProtocol.V1, ("10.77.0.1", 40123), SERVER)


@given(st.integers(1, 60), st.integers(0, 59))
def test_however_a_request_is_cut_the_true_header_arrives(first: int, repeated: int) -> None:
    request = NOMINAL + b"GET / HTTP/1.1\r\n\r\n"
    said = Introduction(NOMINAL, TRUE)
    arrived = said(0, request[:first]) + said(first, request[first:])
    assert arrived == TRUE + b"GET / HTTP/1.1\r\n\r\n"
    assert said(repeated, request[repeated:]) == arrived[repeated:]


def test_what_is_no_header_stays_as_it_is() -> None:
    said = Introduction(NOMINAL, TRUE)
    assert said(0, b"GET / HTTP") == b"GET / HTTP"
    assert said(500, NOMINAL) == NOMINAL
    assert said(0, b"") == b""


def test_a_header_of_another_length_replaces_a_whole_one_only() -> None:
    other = header(ProxyProtocol.V1, ("10.77.0.113", 40123), SERVER)
    said = Introduction(NOMINAL, other)
    assert said(0, NOMINAL + b"GET") == other + b"GET"
    assert said(0, NOMINAL[:9]) == NOMINAL[:9]


def test_a_conversation_introduces_itself_wherever_its_data_begins() -> None:
    talk = Conversation(FlowKey("10.77.0.1", 40123, *SERVER))
    talk.introduce = Introduction(NOMINAL, TRUE)
    assert talk.syn(b"", NOMINAL + b"G").payload == TRUE + b"G"
    assert talk.syn_data == TRUE + b"G"
    assert talk.syn_again().payload == TRUE + b"G"
    assert talk.syn_again(data=NOMINAL).payload == TRUE
    assert talk.data(b"ET", 0.0).payload == b"ET"
    assert talk.data_again(1, NOMINAL, 0.0).payload == TRUE
    assert talk.data_again(38, NOMINAL[37:], 0.0).payload == TRUE[37:]


class _Port:
    address = "10.77.0.1"

    def __init__(self, port: int) -> None:
        self.port = port
        self.is_released = False

    def release(self) -> None:
        self.is_released = True


def test_only_ports_of_five_digits_are_used() -> None:
    ports = [_Port(port) for port in (9998, 9999, 10_000)]
    waiting = iter(ports)
    assert reserve(lambda: next(waiting)) is ports[2]
    assert [each.is_released for each in ports] == [True, True, False]
    with pytest.raises(CannotError, match="ip_local_port_range"):
        reserve(lambda: _Port(1024))
