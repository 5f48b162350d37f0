"""What to test: ``host:port`` as the user types it, and an address behind it.

Rules that hold here:

* A target that parses can be printed anywhere: its host is ASCII (IDNA A-labels) or an IP literal.
* Nothing is guessed. What the C library would read as an address although it hardly can be meant
  as one ("443" is 0.0.1.187 to it) is refused, with a line that says what to write instead.

Sources: RFC 3986 section 3.2.2 (brackets), RFC 4007 section 11 (zones), RFC 1035 section 2.3.4 and
RFC 5890 (names), WHATWG URL section 3.5 (a host whose last label is a number is an IPv4 address).
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field

from tfocheck.errors import UsageError

DEFAULT_PORT = 443
MAX_PORT = 65535
MAX_NAME_LENGTH = 253
MAX_LABEL_LENGTH = 63

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_SCHEME_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


@dataclass(frozen=True)
class Target:
    """A server to test: a name in ASCII or an IP literal (with its zone), and a TCP port."""

    host: str
    port: int = DEFAULT_PORT

    @property
    def text(self) -> str:
        """``host:port``, or ``[v6]:port``."""
        return join(self.host, self.port)

    @property
    def family(self) -> int | None:
        """4 or 6 for a literal, None for a name."""
        try:
            return ipaddress.ip_address(self.host).version
        except ValueError:
            return None

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Address:
    """One address of a target: family 4 or 6, a literal without its zone, the zone as an index.

    ``zone`` is the interface's name, for people.
    """

    family: int
    literal: str
    scope_id: int
    port: int
    zone: str = field(default="", compare=False)

    @property
    def text(self) -> str:
        """The literal, with ``%interface`` when it is link-local."""
        return f"{self.literal}%{self.zone or self.scope_id}" if self.scope_id else self.literal

    def __str__(self) -> str:
        return self.text


def join(host: str, port: int) -> str:
    """A host and a port as one writes them: ``host:port`` or ``[v6]:port``."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse(text: str, default_port: int = DEFAULT_PORT) -> Target:
    """Read ``host``, ``host:port``, ``[v6]:port`` or a bare IPv6 literal.

    Raises UsageError with one line that says what is wrong and what to write instead.
    """
    if not text:
        raise UsageError("the target is empty: write host:port, as in example.com:443")
    if any(character.isspace() or not character.isprintable() for character in text):
        raise UsageError(f"target {text!r} has a space or control character in it: write host:port")
    _refuse_url(text)
    host, port = _split(text)
    if not host:
        raise UsageError(f"target {text!r} has no host: write host:port")
    return Target(_host(host, text), default_port if port is None else _port(port, text))


def parse_literal(text: str, option: str) -> str:
    """The IP literal that an option was given, in canonical form with its zone.

    Raises UsageError for anything else.
    """
    try:
        return _literal(text.removeprefix("[").removesuffix("]") if ":" in text else text, text)
    except ValueError:
        raise UsageError(
            f"{option} {text!r} is no IP address: write one such as 192.0.2.1 or 2001:db8::1"
        ) from None


def family_of(literal: str) -> int:
    """4 or 6; the literal may have a zone."""
    return ipaddress.ip_address(literal).version


def _refuse_url(text: str) -> None:
    url = _SCHEME.fullmatch(text)
    rest = url[2] if url else text
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    bare = authority.rpartition("@")[2]
    if not url and bare == text:
        return
    try:
        port = _SCHEME_PORTS.get(url[1].lower(), DEFAULT_PORT) if url else DEFAULT_PORT
        host, given = _split(bare)
        wanted = join(_host(host, text), port if given is None else _port(given, text))
    except UsageError:
        wanted = "host:port"
    kind = "a URL" if url else "more than a host and a port"
    raise UsageError(f"target {text!r} is {kind}: write {wanted}")


def _split(text: str) -> tuple[str, str | None]:
    """The host and port of a target as typed; the port is None when there is no colon for it."""
    if text.startswith("["):
        inside, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise UsageError(f"target {text!r}: brackets go round an IPv6 address, as in [::1]:443")
        if ":" not in inside:
            raise UsageError(f"target {text!r}: only an IPv6 address goes in brackets")
        return inside, rest[1:] if rest else None
    if text.count(":") > 1:
        if _is_v6(text):
            return text, None
        raise UsageError(
            f"target {text!r} has several colons and is no IPv6 address: "
            "write host:port or [v6-address]:port"
        )
    host, colon, port = text.partition(":")
    return host, port if colon else None


def _is_v6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _port(text: str, target: str) -> int:
    if not text:
        raise UsageError(f"target {target!r} ends in a colon without a port: write host:port")
    digits = text.lstrip("0") or "0"
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"target {target!r}: port {text!r} is no number from 1 to {MAX_PORT}")
    if len(digits) > len(str(MAX_PORT)) or not 1 <= int(digits) <= MAX_PORT:
        raise UsageError(f"target {target!r}: a port is a number from 1 to {MAX_PORT}")
    return int(digits)


def _host(text: str, target: str) -> str:
    if ":" in text:
        try:
            return _literal(text, target)
        except ValueError:
            raise UsageError(f"target {target!r}: {text!r} is no IPv6 address") from None
    # IDNA also maps look-alikes such as the ideographic full stop, so it comes before all else.
    name = _to_ascii(text, target)
    labels = name.removesuffix(".").split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return _literal(name, target)
        except ValueError:
            raise UsageError(
                f"target {target!r}: {text!r} is neither a name nor an IPv4 address of four "
                "numbers; write host:port"
            ) from None
    if len(name.removesuffix(".")) > MAX_NAME_LENGTH:
        raise UsageError(f"target: a name of {len(name)} characters is longer than DNS allows")
    for label in labels:
        if not _LABEL.fullmatch(label) or len(label) > MAX_LABEL_LENGTH:
            raise UsageError(f"target {_short(target)!r}: {_short(text)!r} is no host name")
    return name


def _to_ascii(text: str, target: str) -> str:
    if text.isascii():
        return text.lower()
    try:
        return text.encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise UsageError(
            f"target {_short(target)!r}: {_short(text)!r} is no valid international name (IDNA)"
        ) from None


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."


def _literal(text: str, target: str) -> str:
    """The canonical form of an IP literal that a server can have.

    Raises ValueError when it is no literal, UsageError when it is one that no server has.
    """
    # An address read by ipaddress may carry anything as its zone: only interface names go on.
    zone = text.partition("%")[2]
    if "%" in text and not re.fullmatch(r"[A-Za-z0-9_.@-]{1,15}", zone):
        raise UsageError(f"target {target!r}: {zone!r} is no interface to reach the address by")
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if address.is_unspecified or address.is_multicast or str(address) == "255.255.255.255":
        raise UsageError(f"target {target!r}: {address} is not the address of one server")
    if address.version == 6 and address.is_link_local and not zone:
        raise UsageError(
            f"target {target!r} is link-local: say by which interface, as in {address}%eth0"
        )
    return str(address)
