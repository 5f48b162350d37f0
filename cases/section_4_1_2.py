"""RFC 7413 section 4.1.2: what makes a cookie valid. Every rejection has a positive control."""

from __future__ import annotations

import secrets

from tfocheck.case import Level, Outcome, Severity, case
from tfocheck.probe import Probe
from tfocheck.tcp.flow import Flow
from tfocheck.tcp.options import FastOpen

_FORGERY = (
    "Anybody can open connections with data from spoofed addresses. A cookie must be a keyed MAC "
    "over the client's address, checked in full (RFC 7413 section 4.1.2); on Linux look at bit "
    "0x200 of net.ipv4.tcp_fastopen, which accepts data without a cookie."
)


@case(
    "forged.random",
    section="4.1.2",
    level=Level.PROCEDURE,
    severity=Severity.CRITICAL,
    title="A random cookie opens nothing",
    requirement="A cookie that the server did not make fails the check: the SYN alone is "
    "acknowledged and the data is not delivered.",
    expected="acknowledges the SYN only and answers nothing before the handshake has ended",
    advice=_FORGERY,
    needs=("open.data-acked",),
    faults=("accepts-any-cookie",),
)
async def random_cookie(probe: Probe) -> Outcome:
    size = len(probe.cookie)
    return await probe.rejects([("random cookie", lambda: secrets.token_bytes(size))])


@case(
    "forged.constant",
    section="4.1.2",
    level=Level.PROCEDURE,
    severity=Severity.CRITICAL,
    title="Constant cookies open nothing",
    requirement="A cookie of zeros, of ones, or of the client's own address is no valid cookie.",
    expected="acknowledges the SYN only and answers nothing before the handshake has ended",
    advice=_FORGERY,
    needs=("open.data-acked",),
    faults=("accepts-zero",),
)
async def constant_cookie(probe: Probe) -> Outcome:
    size = len(probe.cookie)
    address = (probe.own_address * size)[:size]
    return await probe.rejects(
        [
            ("cookie of zeros", lambda: bytes(size)),
            ("cookie of ones", lambda: b"\xff" * size),
            ("our address as cookie", lambda: address),
        ]
    )


@case(
    "forged.truncated",
    section="4.1.2",
    level=Level.PROCEDURE,
    severity=Severity.CRITICAL,
    title="The beginning of a valid cookie opens nothing",
    requirement="A cookie is checked as a whole: its first bytes alone are another cookie.",
    expected="acknowledges the SYN only and answers nothing before the handshake has ended",
    advice=_FORGERY,
    needs=("open.data-acked",),
    faults=("accepts-prefix",),
)
async def truncated_cookie(probe: Probe) -> Outcome:
    cookie = probe.cookie
    sizes = [size for size in (4, 6) if size < len(cookie)]
    if not sizes:
        return probe.skipped(f"a cookie of {len(cookie)} bytes has no shorter legal beginning")
    return await probe.rejects(
        [(f"first {size} bytes of the cookie", lambda size=size: cookie[:size]) for size in sizes]  # type: ignore[misc]
    )


@case(
    "cookie.port-independent",
    section="4.1.2",
    level=Level.PROCEDURE,
    severity=Severity.MAJOR,
    title="A cookie holds for every port of its client",
    requirement="A cookie belongs to the client's IP address: the client uses it from other ports.",
    expected="accepts a cookie from ports other than the one it was issued to",
    advice="Clients open each connection from another port, so a cookie bound to a port is never "
    "honoured: leave the port out of the MAC, or let the load balancer spread by address alone.",
    needs=("option.cookie-format",),
    faults=("binds-port",),
)
async def port_independent(probe: Probe) -> Outcome:
    data = probe.payload.data

    async def opens(label: str, cookie: bytes, after: Flow | None = None) -> bool:
        async with probe.alone(label, FastOpen(cookie), data=data, after=after) as flow:
            if flow.acknowledged == 1 + len(data):
                probe.accepted()
            return flow.acknowledged != 1

    async def attempt() -> Outcome:
        async with probe.beside_others("cookie request", FastOpen(), rejected=True) as asked:
            syn_ack = asked.syn_ack
            option = syn_ack.segment.fast_open if syn_ack else None
            if option is None or not option.has_legal_cookie:
                return probe.undecided("the SYN-ACK has no legal cookie this time")
        others = [await opens("the cookie from another port", option.cookie) for _ in range(3)]
        if all(others):
            return probe.passed("accepted from 3 other ports", conclusive=True)
        own = await opens("the cookie from its own port", option.cookie, after=asked)
        if not own:
            return probe.skipped("not accepted from its own port either: see open.data-acked")
        if any(others):
            return probe.undecided(f"accepted from {sum(others)} of 3 other ports")
        return probe.breach("accepted from the port that it was issued to, not from 3 others")

    return await probe.agree(attempt, together=False)
