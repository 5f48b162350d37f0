"""RFC 7413 section 4.1.2: what makes a cookie valid. Every rejection has a positive control."""

from __future__ import annotations

import secrets

from tfocheck.case import Level, Outcome, Severity, case
from tfocheck.probe import Probe
from tfocheck.tcp.options import FastOpen

_FORGERY = (
    "Anybody can open connections with data from spoofed addresses. A cookie must be a keyed MAC "
    "over the client's address, checked in full (RFC 7413 section 4.1.2); on Linux look at bit 0x200 "
    "of net.ipv4.tcp_fastopen, which accepts data without a cookie."
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
    "forged.fallback",
    section="4.2.2",
    level=Level.PROCEDURE,
    severity=Severity.MAJOR,
    title="After a rejected cookie the connection works, and its data counts once",
    requirement="A SYN whose cookie is not valid falls back to an ordinary handshake; the client "
    "sends its data again, and the application gets it once.",
    expected="falls back to an ordinary handshake and serves the data that is sent again, once",
    advice="Clients whose cookie has gone stale lose their connection, or have their request done "
    "twice: the stack must drop the data of a rejected SYN and go on as with any other SYN.",
    needs=("open.data-acked",),
    faults=("delivers-rejected-data", "breaks-after-reject"),
)
async def fallback(probe: Probe) -> Outcome:
    await probe.positive_control()
    payload = probe.payload
    size = len(probe.cookie)

    async def attempt() -> Outcome:
        forged = FastOpen(secrets.token_bytes(size))
        # The head of a request: were it delivered besides the whole, the answer would be another.
        head = payload.data[: payload.split]
        async with probe.beside_others("forged cookie", forged, data=head, rejected=True) as flow:
            if flow.acknowledged != 1:
                return probe.skipped("the forged cookie was accepted: see forged.random")
            wrong = await probe.serves(flow, payload.data)
            if wrong:
                return probe.breach(f"after a rejected cookie and the whole request: {wrong}")
            return probe.passed("ack 1, then handshake and the data again: served as usual")

    return await probe.agree(attempt, unanswered="a SYN with a forged cookie and data")
