"""RFC 7413 section 4.2.1: requesting a cookie."""

from __future__ import annotations

from tfocheck.case import Level, Outcome, Severity, Verdict, case
from tfocheck.probe import Probe
from tfocheck.tcp.options import FastOpen

_SWITCH_ON = (
    "Switch Fast Open on for this listener: nginx `listen … fastopen=256`, haproxy `bind … tfo`, "
    "or TCP_FASTOPEN on the socket; on Linux also bit 0x2 of net.ipv4.tcp_fastopen "
    "(`sysctl -w net.ipv4.tcp_fastopen=3`). If it is on already, a load balancer or firewall in "
    "front answers instead, or strips the option."
)


@case(
    "cookie.request",
    section="4.2.1",
    level=Level.PROCEDURE,
    severity=Severity.MAJOR,
    title="A cookie request is answered with a cookie",
    requirement="A SYN with an empty Fast Open option asks for a cookie; a server with Fast Open "
    "on sends one in its SYN-ACK.",
    expected="answers an empty Fast Open option with a cookie in the SYN-ACK",
    advice=_SWITCH_ON,
    needs=("control.syn",),
    faults=("never-issues",),
)
async def request(probe: Probe) -> Outcome:
    async def attempt() -> Outcome:
        async with probe.beside_others("cookie request", FastOpen(), rejected=True) as flow:
            syn_ack = flow.syn_ack
            option = syn_ack.segment.fast_open if syn_ack else None
            if option is None:
                return probe.skipped("no cookie: the SYN-ACK has no Fast Open option")
            if option.is_request:
                return probe.skipped("no cookie: the SYN-ACK's Fast Open option is empty")
            if option.has_legal_cookie and not option.experimental:
                probe.session.cookie = option.cookie
            return probe.passed(f"a cookie of {len(option.cookie)} bytes", conclusive=True)

    return await probe.agree(
        attempt, together=False, unanswered="a SYN with the Fast Open option (cookie request)"
    )


@case(
    "cookie.not-volunteered",
    section="4.2.1",
    level=Level.INFO,
    title="Nobody gets a cookie who did not ask",
    requirement="The RFC has a SYN-ACK carry the option in reply to a SYN that does; of others it "
    "says nothing.",
    expected="sends no Fast Open option to a SYN without one, with or without data",
    advice="Old clients and middleboxes may trip over an option they did not ask for.",
    faults=("volunteers-cookie",),
)
async def not_volunteered(probe: Probe) -> Outcome:
    for what, data in (("a plain SYN", b""), ("a SYN with data", probe.payload.data)):

        async def attempt(what: str = what, data: bytes = data) -> Outcome:
            async with probe.beside_others(what, data=data, rejected=True) as flow:
                syn_ack = flow.syn_ack
                if syn_ack is not None and syn_ack.segment.fast_open is not None:
                    return probe.breach(
                        f"{what} without the option was answered with it", conclusive=True
                    )
                return probe.passed("no Fast Open option for a plain SYN, nor for one with data")

        outcome = await probe.agree(attempt, unanswered=f"{what} without the option")
        if outcome.verdict is not Verdict.PASS:
            break
    return outcome


@case(
    "cookie.request-data",
    section="4.2.1",
    level=Level.PROCEDURE,
    severity=Severity.CRITICAL,
    title="A request alone opens nothing",
    requirement="Data on a SYN that only asks for a cookie is not accepted.",
    expected="acknowledges the SYN only and answers nothing before the handshake has ended",
    advice="A client that has no cookie yet can be anybody, under any address: the data of a SYN "
    "with an empty option must be left out.",
    faults=("accepts-data-with-request",),
)
async def request_with_data(probe: Probe) -> Outcome:
    return await probe.rejects_cookies([("cookie request", lambda: b"")], is_request=True)
