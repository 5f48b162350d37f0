"""Reports made by hand: what the formats are tried on."""

from __future__ import annotations

from roles import ROLES

from tfocheck.case import Case, Level, Outcome, Severity, Verdict
from tfocheck.model.report import AddressReport, CaseResult, Report, Traffic
from tfocheck.wire import options
from tfocheck.wire.evidence import Captured, FlowRecord
from tfocheck.wire.segment import Flags, Segment

HOSTILE = "\x1b[2J\x9b31m\u202egnp\ud800\udcff\x00\x07\r\n]]><!-- &amp; \ufffe \U0001f600 é"
CLIENT, SERVER = "192.0.2.1", "192.0.2.2"
CLIENT_ISN, SERVER_ISN = 4_294_967_290, 77
COOKIE = bytes.fromhex("0a1b2c3d4e5f6071")


async def _never_run(_probe: object) -> Outcome:
    raise AssertionError("a report does not run cases")


def make_case(
    case_id: str,
    *,
    section: str = "4.2.2",
    level: Level = Level.PROCEDURE,
    severity: Severity | None = Severity.MAJOR,
    advice: str = "",
) -> Case:
    """A case that is only talked about."""
    return Case(
        id=case_id,
        section=section,
        level=level,
        severity=None if level in (Level.INFO, Level.MAY) else severity,
        title=f"the title of {case_id}",
        requirement=f"What {case_id} asks of a server, in a sentence that takes some room to say.",
        expected="acks the SYN alone, for the cookie is not one that it issued",
        advice=advice,
        run=_never_run,
        role=ROLES.get(case_id),
    )


def make_flow(payload: bytes = b"GET / HTTP/1.1\r\n\r\n", *, decided: bool = True) -> FlowRecord:
    """A Fast Open: SYN with data, SYN-ACK of it all, an early answer, a stray reset."""
    syn_options = [
        options.mss(1460),
        options.sack_permitted(),
        options.timestamps(4_000_000_000, 0),
        options.window_scale(7),
        options.FastOpen(COOKIE).to_option(),
    ]

    def ours(seq: int, ack: int, flags: Flags, data: bytes = b"", area: bytes = b"") -> Segment:
        return Segment(
            CLIENT, 40001, SERVER, 443, (CLIENT_ISN + seq) % 2**32, ack, flags, 64240, area, data
        )

    def theirs(seq: int, ack: int, flags: Flags, data: bytes = b"", area: bytes = b"") -> Segment:
        acked = (CLIENT_ISN + ack) % 2**32
        return Segment(
            SERVER, 443, CLIENT, 40001, SERVER_ISN + seq, acked, flags, 65160, area, data
        )

    end = 1 + len(payload)
    area = options.encode(syn_options)
    packets = (
        Captured(ours(0, 0, Flags.SYN, payload, area), 1000.0, True),
        Captured(
            theirs(0, end, Flags.SYN | Flags.ACK, b"", options.pad(b"\x02\x04\x05\xb4\xfe\x63")),
            1000.000213,
            False,
        ),
        Captured(
            theirs(1, end, Flags.ACK | Flags.PSH, HOSTILE.encode("utf-8", "surrogatepass") * 80),
            1000.0005,
            False,
            gso_size=1448,
        ),
        Captured(ours(end, SERVER_ISN + 1, Flags.ACK), 1000.001, True),
        Captured(theirs(-5, 0, Flags.RST), 1001.5, False),
    )
    return FlowRecord(
        "random cookie, attempt 1",
        (CLIENT, 40001),
        (SERVER, 443),
        CLIENT_ISN,
        SERVER_ISN,
        packets,
        decided,
    )


def make_result(
    case: Case,
    verdict: Verdict = Verdict.PASS,
    seen: str = "SYN-ACK after 0.2 ms, MSS 1460",
    *,
    prerequisite: bool = False,
    flows: tuple[FlowRecord, ...] = (),
    traceback: str | None = None,
) -> CaseResult:
    """A result with a duration that is not a round number."""
    return CaseResult(case, verdict, seen, 0.123456789, flows, prerequisite, traceback)


def varied_results(seen: str = HOSTILE) -> tuple[CaseResult, ...]:
    """One result per verdict and more, with what the given text says where it matters."""
    rfc9293 = make_case("control.syn", section="RFC 9293 3.1", level=Level.MUST)
    return (
        make_result(rfc9293, prerequisite=True),
        make_result(make_case("control.unknown-option", section="RFC 9293 3.1")),
        make_result(
            make_case("cookie.request", section="4.2.1"),
            seen="kind 34 with 8 bytes, at each of 3 attempts from three different ports",
        ),
        make_result(
            make_case("cookie.port-independent", section="4.1.2", advice="Mend the key."),
            Verdict.FAIL,
            seen,
            flows=(make_flow(), make_flow(b"\x16\x03\x01\x02\x00", decided=False)),
        ),
        make_result(
            make_case(
                "cookie.synack-retransmit",
                section="4.2.1",
                level=Level.SHOULD,
                severity=Severity.MINOR,
                advice="Nothing urgent: the option only costs bytes.",
            ),
            Verdict.WARN,
            "the SYN-ACK repeated after 1.0 s still has the cookie 0a1b2c3d4e5f6071",
        ),
        make_result(
            make_case("open.early-answer", section="4.2.2", level=Level.INFO),
            Verdict.INFO,
            "answer 0.5 ms after the SYN, before our ACK",
        ),
        make_result(
            make_case("open.stream-integrity"), Verdict.SKIP, "payload none expects no answer"
        ),
        make_result(make_case("forged.fallback"), Verdict.INCONCLUSIVE, "1 of 3 attempts answered"),
        make_result(
            make_case("option.odd-length", section="4.1.1", level=Level.MUST),
            Verdict.ERROR,
            "ValueError('x')",
            traceback='Traceback (most recent call last):\n  File "x.py", line 1\nValueError: x\n',
        ),
    )


def make_address(
    address: str = SERVER,
    results: tuple[CaseResult, ...] | None = None,
    *,
    target: str = "example.com:443",
    not_tested: str | None = None,
) -> AddressReport:
    """An address with one result per verdict, unless told otherwise."""
    if results is None:
        results = () if not_tested else varied_results()
    return AddressReport(
        target=target,
        address=address,
        port=443,
        results=results,
        payload="tls",
        rtt=0.000213,
        cookie_bytes=8,
        traffic=Traffic(sent=143, received=150),
        started=1_700_000_000.25,
        duration=1.94,
        not_tested=not_tested,
    )


def make_report(*addresses: AddressReport, errors: tuple[tuple[str, str], ...] = ()) -> Report:
    """A report of those addresses."""
    return Report(addresses, 1_700_000_000.25, 2.0, "0.1.0", errors)
