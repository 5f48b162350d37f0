"""The first bytes, and what of an answer must be the same each time."""

import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfocheck.errors import UsageError
from tfocheck.model.payload import Kind, PayloadChoice
from tfocheck.model.target import Target
from tfocheck.model.url import parse_url
from tfocheck.server import payload
from tfocheck.server.payload import MAX_BYTES, Payload
from tfocheck.version import __version__


def default_for(port: int, host: str = "example.com") -> Payload:
    return payload.for_target(payload.choose(None), Target(host, port))


@pytest.mark.parametrize(
    ("port", "name"),
    [
        (443, "tls"), (8443, "tls"), (853, "tls"), (993, "tls"), (995, "tls"), (465, "tls"),
        (53, "dns"), (25, "smtp"), (587, "smtp"), (22, "ssh"),
        (80, "http"), (8080, "http"), (2222, "http"), (1234, "http"),
    ],
)  # fmt: skip
def test_the_port_decides_by_default(port: int, name: str) -> None:
    assert default_for(port).name == name
    assert default_for(port).answers


def test_http_has_a_host_header_and_keeps_the_connection() -> None:
    request = default_for(8080).data.decode()
    assert request.startswith("GET / HTTP/1.1\r\nHost: example.com:8080\r\n")
    assert request.endswith("\r\n\r\n")
    assert f"User-Agent: tfocheck/{__version__}\r\n" in request
    assert "close" not in request.lower()
    assert b"Host: example.com\r\n" in default_for(80, "example.com.").data
    assert b"Host: [2001:db8::1]:81\r\n" in default_for(81, "2001:db8::1").data
    assert b"Host: [fe80::1]\r\n" in default_for(80, "fe80::1%eth0").data


def test_http_is_cut_inside_the_method() -> None:
    request = default_for(80)
    assert request.data[: request.split] == b"GET / HT"


def server_accepts(hello: bytes, names: list[str | None], alpn: list[str]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(alpn)
    context.sni_callback = lambda _session, name, _context: names.append(name)
    incoming = ssl.MemoryBIO()
    incoming.write(hello)
    session = context.wrap_bio(incoming, ssl.MemoryBIO(), server_side=True)
    with pytest.raises(ssl.SSLError) as caught:
        session.do_handshake()
    # Without a certificate that is where a server ends, after it has read the whole hello.
    assert "NO_SHARED_CIPHER" in str(caught.value) or "NO_SUITABLE" in str(caught.value)


@pytest.mark.parametrize("port", [443, 853, 993])
def test_tls_is_one_record_with_the_servers_name(port: int) -> None:
    hello = default_for(port, "example.com.").data
    assert hello[0] == 22
    assert hello[5] == 1
    assert int.from_bytes(hello[3:5]) == len(hello) - 5
    names: list[str | None] = []
    server_accepts(hello, names, ["h2", "dot", "imap"])
    assert names == ["example.com"]
    assert (b"\x02h2\x08http/1.1" in hello) == (port == 443)
    assert (b"\x03dot" in hello) == (port == 853)


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "fe80::1%eth0"])
def test_tls_to_a_literal_has_no_name(host: str) -> None:
    names: list[str | None] = []
    server_accepts(default_for(443, host).data, names, ["h2"])
    assert names == [None]


def test_tls_fits_into_a_syn_however_large_the_key_shares_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    longest = ".".join(["x" * 49] * 5)
    assert len(default_for(443, longest).data) <= MAX_BYTES
    small = payload._make_client_hello
    tried: list[str | None] = []

    def large(target: Target, group: str | None) -> bytes:
        tried.append(group)
        return small(target, group) if group else bytes(1600)

    monkeypatch.setattr(payload, "_make_client_hello", large)
    assert len(default_for(443).data) <= MAX_BYTES
    assert tried == [None, "prime256v1"]
    monkeypatch.setattr(payload, "_make_client_hello", lambda _target, _group: bytes(1600))
    with pytest.raises(UsageError, match="1600 bytes"):
        default_for(443)


def test_dns_asks_for_the_roots_name_servers() -> None:
    query = default_for(53).data
    assert query == bytes.fromhex("0011 7f0f 0100 0001 0000 0000 0000 00 0002 0001")
    assert int.from_bytes(query[:2]) == len(query) - 2


def test_none_expects_no_answer() -> None:
    none = payload.for_target(payload.choose("none"), Target("x", 443))
    assert (none.name, none.data, none.answers) == ("none", b"\r\n", False)
    assert none.signature(b"anything") is None


def test_who_speaks_first_is_sent_a_clients_first_line() -> None:
    smtp = payload.for_target(payload.choose("smtp"), Target("x", 2525))
    assert (smtp.name, smtp.data, smtp.answers) == ("smtp", b"EHLO tfocheck.invalid\r\n", True)
    ssh = payload.for_target(payload.choose("ssh"), Target("x", 2222))
    assert ssh.data == f"SSH-2.0-tfocheck_{__version__}\r\n".encode()
    # RFC 4253 section 4.2: the version has neither spaces nor a minus sign.
    assert ssh.data.count(b"-") == 2
    assert b" " not in ssh.data
    for each in (smtp, ssh):
        assert 0 < each.split < len(each.data)


def test_a_url_fills_name_path_and_kind() -> None:
    http = payload.for_target(
        payload.choose(None, url=parse_url("http://www.example.com:81/a%20b?q=1#there")),
        Target("192.0.2.1", 8080),
    )
    assert http.name == "http"
    assert http.data.startswith(b"GET /a%20b?q=1 HTTP/1.1\r\nHost: www.example.com:81\r\n")
    assert http.data[: http.split] == b"GET /a%20b?q=1 HT"
    https = payload.for_target(
        payload.choose("tls", url=parse_url("https://www.example.com:9999/x")),
        Target("192.0.2.1", 9999),
    )
    names: list[str | None] = []
    server_accepts(https.data, names, ["h2"])
    assert names == ["www.example.com"]
    assert b"\x02h2\x08http/1.1" in https.data


def test_a_url_and_another_payload_contradict() -> None:
    for option, url in (("smtp", "http://x/"), ("http", "https://x/"), ("/etc/passwd", "http://x")):
        with pytest.raises(UsageError, match=rf"--payload {option} asks for no https? URL"):
            payload.choose(option, url=parse_url(url))
    with pytest.raises(UsageError, match="give a shorter URL"):
        payload.for_target(
            payload.choose(None, url=parse_url(f"http://x/{'a' * MAX_BYTES}")), Target("x")
        )


def test_a_header_comes_before_the_request_and_is_never_cut() -> None:
    for option in ("http", "none"):
        plain = payload.for_target(payload.choose(option), Target("x", 80))
        behind = plain.behind(b"PROXY\r\n")
        assert behind.data == b"PROXY\r\n" + plain.data
        assert behind.data[: behind.split] == b"PROXY\r\n" + plain.data[: plain.split]
        assert (plain.least, behind.least) == (1, 8)
        sized = behind.of_size(600)
        assert sized is not None
        assert sized.startswith(behind.data[:9])
        assert len(sized) == 600


def test_a_file_leaves_room_for_the_header(tmp_path: Path) -> None:
    path = tmp_path / "request"
    path.write_bytes(bytes(MAX_BYTES - 52))
    assert payload.for_target(payload.choose(str(path), proxy_protocol="v2"), Target("x"))
    with pytest.raises(UsageError, match="has room for 1093"):
        payload.for_target(payload.choose(str(path), proxy_protocol="v1"), Target("x"))


def test_a_file_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "request"
    path.write_bytes(b"\x00\xffPING\r\n")
    choice = payload.choose(str(path))
    path.unlink()
    sent = payload.for_target(choice, Target("x", 443))
    assert (sent.name, sent.data, sent.split) == ("file", b"\x00\xffPING\r\n", 4)
    assert sent.answers


@pytest.mark.parametrize(("size", "split"), [(1, 1), (2, 1), (MAX_BYTES, MAX_BYTES // 2)])
def test_files_of_any_size_that_fits(tmp_path: Path, size: int, split: int) -> None:
    path = tmp_path / "request"
    path.write_bytes(bytes(size))
    assert payload.for_target(payload.choose(str(path)), Target("x")).split == split


def test_files_that_can_not_be_sent(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "long").write_bytes(bytes(MAX_BYTES + 1))
    for path, reason in (
        ("", "is empty: give http"),
        (str(tmp_path), "is a directory"),
        (str(tmp_path / "empty"), "is empty: to send no request"),
        (str(tmp_path / "long"), "longer than 1200 bytes"),
        ("/dev/zero", "neither a file nor a pipe"),
        (str(tmp_path / "nosuch"), "No such file"),
        ("HTTPS", "No such file.*; give http, tls, dns, smtp, ssh, none or the path"),
        ("a\0b", "null"),
    ):
        with pytest.raises(UsageError, match=reason) as caught:
            payload.choose(path)
        assert str(caught.value).startswith("--payload")


@pytest.mark.parametrize(
    ("name", "answer", "signature"),
    [
        ("http", b"HTTP/1.1 200 OK\r\nDate: now", b"HTTP/1.1 200"),
        ("http", b"HTTP/1.1 20", None),
        ("http", b"SSH-2.0-OpenSSH_9", b"SSH-2.0-Open"),
        ("http", b"HTTP/1.1 XYZ what", b"HTTP/1.1 XYZ"),
        ("tls", bytes.fromhex("160303007a02"), b"\x16\x02"),
        ("tls", bytes.fromhex("160303007a"), None),
        ("tls", bytes.fromhex("15030300020228"), b"\x15\x02\x28"),
        ("tls", bytes.fromhex("150303000202"), None),
        ("tls", b"HTTP/1.1 400", b"HTTP/1"),
        ("dns", bytes.fromhex("0100 7f0f 8180 0001"), bytes.fromhex("7f0f8000")),
        ("dns", bytes.fromhex("0020 7f0f 8505"), bytes.fromhex("7f0f8005")),
        ("dns", bytes.fromhex("0020 7f0f 85"), None),
        ("smtp", b"220 host ESMTP, 25 Nov", b"220 "),
        ("smtp", b"220-host", b"220-"),
        ("smtp", b"220", None),
        ("smtp", b"SSH-2.0", b"SSH-"),
        ("ssh", b"SSH-2.0-dropbear_2022.83\r\n\0\0", b"SSH-2.0-dropbear_2022.83\r"),
        ("ssh", b"SSH-2.0-dropbear_2022.83", None),
        ("ssh", bytes(300), bytes(255)),
        ("file", b"", None),
        ("file", b"0123456789abcdefgh", b"0123456789abcdef"),
        ("file", b"short", b"short"),
    ],
)
def test_signatures(name: str, answer: bytes, signature: bytes | None) -> None:
    assert Payload(name, b"x", 1).signature(answer) == signature


@given(
    st.sampled_from([kind.value for kind in Kind]), st.binary(max_size=64), st.binary(max_size=64)
)
def test_signatures_never_raise_and_more_bytes_change_nothing(
    name: str, answer: bytes, more: bytes
) -> None:
    sent = Payload(name, b"x", 1)
    early = sent.signature(answer)
    if early is not None and name != "file":
        assert sent.signature(answer + more) == early


def test_answers_are_counted_by_their_length() -> None:
    http = payload.for_target(payload.choose("http"), Target("example.com", 80))
    one = b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\nHTTP/1.1 200 O"
    assert http.answers_in(one) == 1
    assert http.answers_in(one + one) == 2
    assert http.answers_in(one + b"HTTP/1.1 4") == 2
    assert http.answers_in(b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n") == 1
    assert http.answers_in(b"") == 0


@pytest.mark.parametrize(
    ("service", "port"),
    [
        ("https", 443), ("submissions", 465), ("nntps", 563), ("ldaps", 636), ("domain-s", 853),
        ("ftps-data", 989), ("ftps", 990), ("telnets", 992), ("imaps", 993), ("ircs", 994),
        ("pop3s", 995), ("globalcatLDAPssl", 3269), ("sips", 5061), ("xmpp, TLS at once", 5223),
        ("WinRM", 5986), ("Kubernetes", 6443), ("ircs-u", 6697), ("secure-mqtt", 8883),
        ("pharos, as IANA has 4443", 4443), ("pcsync-https", 8443), ("tungsten-https", 9443),
        ("web consoles", 10443),
    ],
)  # fmt: skip
def test_services_whose_first_bytes_are_tls_are_asked_by_tls(service: str, port: int) -> None:
    assert default_for(port).name == Kind.TLS, service
    assert default_for(port + 100).name != Kind.TLS


def test_what_answers_nothing_can_be_of_any_size() -> None:
    none = payload.for_target(payload.choose("none"), Target("x", 443))
    assert none.of_size(0) == b""
    assert none.of_size(1) == b"\r"
    assert none.of_size(5) == b"\r\n\r\n\r"


def test_a_request_is_filled_up_by_a_header_that_nobody_reads() -> None:
    http = payload.for_target(payload.choose("http"), Target("example.com", 80))
    header = len(b"X-Padding: \r\n")
    for size in (len(http.data) + header, len(http.data) + header + 1, MAX_BYTES):
        filled = http.of_size(size)
        assert filled is not None
        assert len(filled) == size
        lines = filled.split(b"\r\n")
        assert lines[-3].startswith(b"X-Padding: ")
        assert lines[-2:] == [b"", b""]
        assert b"\r\n".join([*lines[:-3], b"", b""]) == http.data
    # There is none that is only a little longer, or shorter.
    for size in (1, len(http.data), len(http.data) + header - 1):
        assert http.of_size(size) is None


@pytest.mark.parametrize("kind", ["tls", "dns"])
def test_other_requests_have_the_size_they_have(kind: str) -> None:
    sent = payload.for_target(payload.choose(kind), Target("example.com", 80))
    assert sent.of_size(len(sent.data) + 100) is None


@pytest.mark.parametrize(("kind", "header"), [("http", 16), ("tls", 5), ("dns", 14)])
def test_a_request_is_cut_inside_its_header(kind: str, header: int) -> None:
    """So that an application can't help noticing that the first part was lost, or came twice."""
    sent = payload.for_target(payload.choose(kind), Target("example.com", 80))
    assert 0 < sent.split < header


def test_what_is_no_http_is_one_answer_however_long() -> None:
    tls = payload.for_target(payload.choose("tls"), Target("example.com", 443))
    assert (tls.answers_in(b""), tls.answers_in(b"x"), tls.answers_in(b"x" * 5000)) == (0, 1, 1)


def test_an_answer_whose_head_has_not_ended_is_one() -> None:
    http = payload.for_target(payload.choose("http"), Target("example.com", 80))
    assert http.answers_in(b"HTTP/1.1 200 OK\r\nContent-Length: 5") == 1
    assert http.answers_in(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello") == 1
    # A length that stands behind the head is none.
    late = b"HTTP/1.1 200 OK\r\n\r\n\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"
    assert http.answers_in(late) == 1
    assert http.answers_in(b"SSH-2.0") == 0


def test_what_does_not_fit_into_a_syn_is_told_with_the_target() -> None:
    with pytest.raises(UsageError, match=r"x:443: the file payload takes 1201 bytes.* 1200"):
        payload.for_target(PayloadChoice(Kind.FILE, bytes(MAX_BYTES + 1)), Target("x", 443))
    assert payload.for_target(PayloadChoice(Kind.FILE, bytes(MAX_BYTES)), Target("x", 443)).data
