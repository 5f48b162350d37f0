"""Targets as users type them, and the addresses behind them."""

import asyncio
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfocheck.errors import UnreachableError, UsageError
from tfocheck.model import target
from tfocheck.model.target import Address, Target
from tfocheck.runner import target as lookup


@pytest.mark.parametrize(
    ("text", "host", "port", "shown"),
    [
        ("example.com", "example.com", 443, "example.com:443"),
        ("Example.COM:8080", "example.com", 8080, "example.com:8080"),
        ("example.com.", "example.com.", 443, "example.com.:443"),
        ("ex_ample.com", "ex_ample.com", 443, "ex_ample.com:443"),
        ("localhost:00080", "localhost", 80, "localhost:80"),
        ("192.0.2.1", "192.0.2.1", 443, "192.0.2.1:443"),
        ("192.0.2.1:1", "192.0.2.1", 1, "192.0.2.1:1"),
        ("2001:DB8:0::1", "2001:db8::1", 443, "[2001:db8::1]:443"),
        ("[2001:db8::1]", "2001:db8::1", 443, "[2001:db8::1]:443"),
        ("[2001:db8::1]:65535", "2001:db8::1", 65535, "[2001:db8::1]:65535"),
        ("fe80::1%eth0", "fe80::1%eth0", 443, "[fe80::1%eth0]:443"),
        ("[fe80::1%eth0]:80", "fe80::1%eth0", 80, "[fe80::1%eth0]:80"),
        ("::ffff:192.0.2.1", "192.0.2.1", 443, "192.0.2.1:443"),
        ("[::ffff:192.0.2.1]:80", "192.0.2.1", 80, "192.0.2.1:80"),
        ("münchen.example:80", "xn--mnchen-3ya.example", 80, "xn--mnchen-3ya.example:80"),
        ("demo", "demo", 443, "demo:443"),
    ],
)
def test_targets(text: str, host: str, port: int, shown: str) -> None:
    parsed = target.parse(text)
    assert parsed == Target(host, port)
    assert parsed.text == str(parsed) == shown
    assert target.parse(shown) == parsed


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (":80", "no host"),
        ("[]:80", "only an IPv6 address"),
        ("x:", "without a port"),
        ("[::1]:", "without a port"),
        ("x:0", "from 1 to 65535"),
        ("x:70000", "from 1 to 65535"),
        ("x:" + "9" * 5000, "from 1 to 65535"),
        ("x:-1", "no number"),
        ("x:+80", "no number"),
        ("x:8_0", "no number"),
        ("x:٤٤٣", "no number"),
        ("x:https", "no number"),
        ("x y", "space"),
        (" x", "space"),
        ("x\n", "space or control"),
        ("x\x1b[2J", "space or control"),
        ("x\u202ey", "space or control"),
        ("https://x/", "write x:443"),
        ("http://x", "write x:80"),
        ("https://user@x:8443/path?q#f", "write x:8443"),
        ("http://[::1]:8080/", r"write \[::1\]:8080"),
        ("x/index.html", "write x:443"),
        ("user@x:22", "write x:22"),
        ("192.0.2.0/24", "write 192.0.2.0:443"),
        ("https://", "write host:port"),
        ("443", "neither a name nor"),
        ("127.1", "neither a name nor"),
        ("0x7f000001", "neither a name nor"),
        ("192.0.2.256", "neither a name nor"),
        ("192.0.2.1.", "neither a name nor|no host name"),
        ("a..b", "no host name"),
        (".", "no host name"),
        ("-x.example", "no host name"),
        ("*.example", "no host name"),
        ("x" * 64 + ".example", "no host name"),
        ("x." * 130 + "example", "longer than DNS"),
        ("ü" * 64, "IDNA"),
        ("ü..example", "IDNA"),
        ("x:y:1", "several colons"),
        ("1:2:3:4:5:6:7:8:443", "several colons"),
        ("[::1", "brackets"),
        ("[::1]x", "brackets"),
        ("[192.0.2.1]:80", "only an IPv6"),
        ("[x]:80", "only an IPv6"),
        ("[::zz]:80", "no IPv6 address"),
        ("fe80::1", "link-local"),
        ("fe80::1%", "interface|several colons"),
        ("fe80::1%eth0;reboot", "interface"),
        ("0.0.0.0", "not the address of one server"),
        ("::", "not the address of one server"),
        ("224.0.0.1:80", "not the address of one server"),
        ("ff02::1", "not the address of one server"),
        ("255.255.255.255", "not the address of one server"),
    ],
)
def test_what_is_no_target(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        target.parse(text)
    assert "\n" not in str(caught.value)


@given(
    st.text(st.characters(exclude_categories=[]), max_size=40)
    | st.from_regex(r"[\[\]:.%0-9a-f/@]+")
)
def test_any_text_is_a_target_or_a_usage_error(text: str) -> None:
    try:
        parsed = target.parse(text)
    except UsageError:
        return
    assert parsed.text.isascii()
    assert 1 <= parsed.port <= 65535
    assert target.parse(parsed.text) == parsed


@pytest.mark.parametrize(
    ("text", "literal"),
    [("192.0.2.1", "192.0.2.1"), ("[2001:DB8::1]", "2001:db8::1"), ("fe80::1%lo", "fe80::1%lo")],
)
def test_literals(text: str, literal: str) -> None:
    assert target.parse_literal(text, "--address") == literal


@pytest.mark.parametrize("text", ["", "example.com", "1.2.3", "192.0.2.1:80", "::1]:80", "fe80::1"])
def test_what_is_no_literal(text: str) -> None:
    with pytest.raises(UsageError):
        target.parse_literal(text, "--address")


def resolve(host: str, *arguments: Any) -> list[Address]:
    return asyncio.run(lookup.resolve(Target(host, 80), *arguments))


def test_literals_resolve_to_themselves() -> None:
    assert resolve("192.0.2.1") == [Address(4, "192.0.2.1", 0, 80)]
    assert resolve("2001:db8::1") == [Address(6, "2001:db8::1", 0, 80)]
    assert resolve("fe80::1%lo") == [Address(6, "fe80::1", socket.if_nametoindex("lo"), 80)]
    assert resolve("fe80::1%lo")[0].text == "fe80::1%lo"


def test_given_addresses_are_used_instead_once_each_in_order() -> None:
    given_ones = ("192.0.2.2", "2001:db8::1", "192.0.2.2", "192.0.2.1")
    found = resolve("nosuch.invalid", (4, 6), given_ones)
    assert [address.text for address in found] == ["192.0.2.2", "2001:db8::1", "192.0.2.1"]
    assert [each.literal for each in resolve("nosuch.invalid", (6,), given_ones)] == ["2001:db8::1"]


def answering(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    def getaddrinfo(*_arguments: Any, **_options: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_names_resolve_in_order_without_doubles_and_unmapped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    v4 = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80))
    v6 = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 80, 0, 0))
    mapped = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::ffff:192.0.2.1", 80, 0, 0))
    answering(monkeypatch, [v6, v4, mapped, v6])
    assert [each.literal for each in resolve("x")] == ["2001:db8::1", "192.0.2.1"]
    assert [each.literal for each in resolve("x", (4,))] == ["192.0.2.1"]
    answering(monkeypatch, [v4])
    with pytest.raises(UnreachableError, match=r"^x:80: x has no IPv6 address$"):
        resolve("x", (6,))


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (socket.gaierror(socket.EAI_NONAME, "?"), "^x:80: the name x does not resolve"),
        (socket.gaierror(socket.EAI_AGAIN, "?"), "^x:80: the name server did not answer"),
        (socket.gaierror(socket.EAI_FAIL, "out of luck"), "^x:80: can't resolve x: out of luck"),
        (UnicodeError("label too long"), "^x:80: can't resolve x: label too long"),
    ],
)
def test_a_name_that_does_not_resolve_is_one_line(
    monkeypatch: pytest.MonkeyPatch, error: Exception, line: str
) -> None:
    answering(monkeypatch, error)
    with pytest.raises(UnreachableError, match=line):
        resolve("x")


def test_an_unknown_interface_is_named() -> None:
    with pytest.raises(UnreachableError, match="no interface nosuch0"):
        resolve("fe80::1%nosuch0")


def test_a_silent_name_server_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_o: release.wait(20))

    async def impatient() -> None:
        async with asyncio.timeout(0.05):
            await lookup.resolve(Target("x", 80))

    try:
        with pytest.raises(TimeoutError):
            asyncio.run(impatient())
    finally:
        release.set()
