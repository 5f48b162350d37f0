r"""The first bytes that an application answers: HTTP, TLS, DNS, SMTP, SSH, the user's own, or none.

Rules that hold here:

* A payload fits into one SYN (``MAX_BYTES``) and is a whole request, so that the answer can start
  before the handshake ends.
* ``split`` cuts the request where an application can't help noticing that the first part was lost
  or came twice: inside the HTTP version, the TLS record header, the DNS header.
* Servers that speak first (SMTP, SSH) are sent a client's first line at once all the same, and are
  judged by the banner that they answer it with.
* ``signature`` keeps of an answer what is the same each time, and never raises.

Sources: RFC 9112 sections 3 and 4, RFC 8446 sections 4 and 5.1, RFC 1035 section 4 (4.2.2 for TCP),
RFC 5321 sections 4.1.1.1 and 4.2, RFC 4253 section 4.2.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from tfocheck import inputs
from tfocheck.errors import UsageError
from tfocheck.model.payload import Kind, PayloadChoice, ProxyProtocol
from tfocheck.model.target import Target
from tfocheck.model.url import Url
from tfocheck.server import proxy_protocol as proxies
from tfocheck.version import __version__

MAX_BYTES = 1200
"""1460 (Ethernet's MSS) less 40 for options leaves 1420; less again for tunnels on the way."""

DNS_ID = 0x7F0F
"""Always the same, so that answers can be compared; it guards nothing here."""

_WEB_PORTS = frozenset({443, 4443, 8443, 9443, 10443})
_DNS_OVER_TLS_PORT = 853
TLS_PORTS = _WEB_PORTS | {_DNS_OVER_TLS_PORT, 465, 563, 636, 989, 990, 992, 993, 994, 995, 3269}
TLS_PORTS |= {5061, 5223, 5986, 6443, 6697, 8883}
DNS_PORTS = frozenset({53})
SMTP_PORTS = frozenset({25, 587})
SSH_PORTS = frozenset({22})
"""Not 2222, where other things than SSH are found as well."""

_LONGEST_SSH_LINE = 255

_CONTENT_LENGTH = re.compile(rb"\r\nContent-Length:[ \t]*(\d{1,9})[ \t]*\r\n", re.IGNORECASE)


@dataclass(frozen=True)
class Payload:
    """The bytes to send, where to cut them, and whether an answer is to be expected at all.

    With ``answers`` False, acceptance is judged by the ack alone. ``header`` is what stands before
    the request, and in its data: a proxy's words on who the client is.
    """

    name: str
    data: bytes
    split: int
    answers: bool = True
    header: bytes = b""

    @property
    def least(self) -> int:
        """The fewest bytes to begin with: a header must come in one piece."""
        return len(self.header) + 1

    def behind(self, header: bytes) -> Payload:
        """The same with this header before it."""
        split = len(header) + self.split
        return replace(self, data=header + self.data, split=split, header=header)

    def of_size(self, size: int) -> bytes | None:
        """A request of exactly so many bytes that is answered alike; None if there is none."""
        missing = size - len(self.data)
        if self.name == Kind.NONE:
            return (self.data + self.data[len(self.header) :] * size)[:size]
        padding = b"X-Padding: \r\n"
        if self.name != Kind.HTTP or missing < len(padding):
            return None
        filled = padding.replace(b": ", b": " + b"a" * (missing - len(padding)))
        return self.data.removesuffix(b"\r\n") + filled + b"\r\n"

    def answers_in(self, stream: bytes) -> int:
        """How many answers begin in the server's data, as far as their ends can be told.

        That takes HTTP with a Content-Length; of anything else the first one only is counted.
        """
        if self.name != Kind.HTTP:
            return int(bool(stream))
        count = place = 0
        while stream.startswith(b"HTTP/1.", place):
            count += 1
            head = stream.find(b"\r\n\r\n", place)
            length = _CONTENT_LENGTH.search(stream, place, head + 2) if head >= 0 else None
            if length is None:
                break
            place = head + 4 + int(length[1])
        return count

    def signature(self, answer: bytes) -> bytes | None:
        """The part of an answer that must be the same every time; None while there is too little.

        An answer in another protocol has its first bytes as signature: it still has to be the same.
        """
        return _SIGNATURES.get(self.name, _first_bytes)(answer)


def for_target(choice: PayloadChoice, target: Target) -> Payload:
    """The payload for this target. Raises UsageError when it does not fit into a SYN."""
    kind = choice.kind or _kind_by_port(target.port)
    match kind:
        case Kind.HTTP:
            path = choice.url.path if choice.url else "/"
            site = choice.url.site if choice.url else target
            split = len(f"GET {path} HT")
            payload = Payload(kind, _http_request(site, path), split=split)
        case Kind.TLS:
            # An https URL is for HTTP, whatever its port.
            site = Target(choice.url.site.host) if choice.url else target
            payload = Payload(kind, _client_hello(site), split=3)
        case Kind.DNS:
            payload = Payload(kind, _dns_query(), split=4)
        case Kind.SMTP:
            payload = Payload(kind, b"EHLO tfocheck.invalid\r\n", split=len("EH"))
        case Kind.SSH:
            line = f"SSH-2.0-tfocheck_{__version__}\r\n".encode("ascii")
            payload = Payload(kind, line, split=len("SSH-2"))
        case Kind.FILE:
            payload = Payload(kind, choice.content, split=len(choice.content) // 2 or 1)
        case Kind.NONE:
            payload = Payload(kind, b"\r\n", split=1, answers=False)
    room = MAX_BYTES - proxies.most_bytes(choice.proxy_protocol)
    if len(payload.data) > room:
        shorter = "a shorter URL" if choice.url else "a shorter one with --payload FILE"
        raise UsageError(
            f"{target.text}: the {kind} payload takes {len(payload.data)} bytes, a SYN has "
            f"room for {room}; give {shorter}"
        )
    return payload


def choose(
    option: str | None, *, url: Url | None = None, proxy_protocol: str | None = None
) -> PayloadChoice:
    """Read ``--payload``: the name of a kind, a file's path, or None to go by URL or port.

    A file is read here, once. Raises UsageError when it can't be, or can't be sent on a SYN, and
    for a payload that asks for no URL.
    """
    proxy = None if proxy_protocol is None else ProxyProtocol(proxy_protocol)
    if url is not None:
        asking = Kind.TLS if url.is_https else Kind.HTTP
        if option not in (None, asking):
            scheme = "https" if url.is_https else "http"
            raise UsageError(f"--payload {option} asks for no {scheme} URL: leave out one of them")
        return PayloadChoice(asking, url=url, proxy_protocol=proxy)
    if option is None:
        return PayloadChoice(proxy_protocol=proxy)
    if option in _NAMED:
        return PayloadChoice(Kind(option), proxy_protocol=proxy)
    return PayloadChoice(Kind.FILE, _read(option), proxy_protocol=proxy)


MOST_READ = 1 << 20
"""A larger file is none for a SYN, and no mistake by a few bytes."""

_NAMED = tuple(kind.value for kind in Kind if kind is not Kind.FILE)


def _read(path: str) -> bytes:
    hint = f"give {', '.join(_NAMED[:-1])}, none or the path of a file"
    if not path:
        raise UsageError(f"--payload is empty: {hint}")
    if os.path.isdir(path):
        raise UsageError(f"--payload {path} is a directory: {hint}")
    try:
        content = inputs.read(path, MOST_READ, named=f"--payload {path}")
    except UsageError as error:
        raise UsageError(f"{error}; {hint}") from None
    if not content:
        raise UsageError(f"--payload {path} is empty: to send no request, give none")
    if len(content) > MAX_BYTES:
        raise UsageError(
            f"--payload {path} is longer than {MAX_BYTES} bytes: it must fit into one SYN"
        )
    return content


def _kind_by_port(port: int) -> Kind:
    if port in TLS_PORTS:
        return Kind.TLS
    if port in DNS_PORTS:
        return Kind.DNS
    if port in SMTP_PORTS:
        return Kind.SMTP
    return Kind.SSH if port in SSH_PORTS else Kind.HTTP


def _server_name(target: Target) -> str | None:
    """The name as servers compare it: no trailing dot; None for an IP literal."""
    return None if target.family else target.host.removesuffix(".")


def _http_request(target: Target, path: str) -> bytes:
    host = _server_name(target) or target.host.partition("%")[0]
    host = f"[{host}]" if ":" in host else host
    if target.port != 80:
        host = f"{host}:{target.port}"
    # No "Connection: close": should the request be delivered twice, it shall be answered twice.
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        f"User-Agent: tfocheck/{__version__}",
        "Accept: */*",
    ]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("ascii")


def _client_hello(target: Target) -> bytes:
    hello = _make_client_hello(target, None)
    # The key shares that newer OpenSSL offers (ML-KEM: 1,184 bytes) fit into no SYN. Every server
    # knows P-256.
    return hello if len(hello) <= MAX_BYTES else _make_client_hello(target, "prime256v1")


def _make_client_hello(target: Target, group: str | None) -> bytes:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The server's name is not what is being tested, and the handshake never gets that far.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if group is not None:
        context.set_ecdh_curve(group)
    if target.port in _WEB_PORTS:
        context.set_alpn_protocols(["h2", "http/1.1"])
    elif target.port == _DNS_OVER_TLS_PORT:
        context.set_alpn_protocols(["dot"])
    outgoing = ssl.MemoryBIO()
    session = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=_server_name(target))
    try:
        session.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake without a peer can't end")


def _dns_query() -> bytes:
    recursion_desired = 0x0100
    header = struct.pack("!6H", DNS_ID, recursion_desired, 1, 0, 0, 0)
    root, type_ns, class_in = b"\x00", 2, 1
    message = header + root + struct.pack("!2H", type_ns, class_in)
    return struct.pack("!H", len(message)) + message


_STATUS_LINE = re.compile(rb"HTTP/\d\.\d \d{3}")


def _http_signature(answer: bytes) -> bytes | None:
    size = len(b"HTTP/1.1 200")
    if len(answer) < size:
        return None
    status = _STATUS_LINE.match(answer)
    return status[0] if status else answer[:size]


def _tls_signature(answer: bytes) -> bytes | None:
    alert, handshake = 21, 22
    record_header = 5
    if len(answer) <= record_header:
        return None
    if answer[0] == handshake:
        return answer[:1] + answer[record_header : record_header + 1]
    if answer[0] == alert:
        body = answer[record_header : record_header + 2]
        return answer[:1] + body if len(body) == 2 else None
    return answer[: record_header + 1]


def _dns_signature(answer: bytes) -> bytes | None:
    # Length, id, flags. RA, AA and TC may change from one answer to the next, and so does the
    # length; the id, that it is a response, the opcode and the response code may not.
    if len(answer) < 6:
        return None
    return answer[2:4] + bytes([answer[4] & 0xF8, answer[5] & 0x0F])


def _smtp_signature(answer: bytes) -> bytes | None:
    # The code and whether more lines follow: the text behind it may tell the time.
    code = 4
    return answer[:code] if len(answer) >= code else None


def _ssh_signature(answer: bytes) -> bytes | None:
    line, newline, _ = answer[:_LONGEST_SSH_LINE].partition(b"\n")
    return line if newline or len(line) == _LONGEST_SSH_LINE else None


def _first_bytes(answer: bytes) -> bytes | None:
    return answer[:16] or None


_SIGNATURES: Mapping[str, Callable[[bytes], bytes | None]] = {
    Kind.HTTP: _http_signature,
    Kind.TLS: _tls_signature,
    Kind.DNS: _dns_signature,
    Kind.SMTP: _smtp_signature,
    Kind.SSH: _ssh_signature,
    Kind.NONE: lambda _answer: None,
}
