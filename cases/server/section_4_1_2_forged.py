"""RFC 7413 section 4.1.2: forged cookies open nothing. Every rejection has a positive control."""

from __future__ import annotations

import asyncio
import functools
import secrets

from tfocheck.case import (
    FAST_OPEN_WORKS,
    Control,
    FastOpen,
    Level,
    Outcome,
    Probe,
    Rejection,
    Role,
    Severity,
    Syn,
    Turn,
    Verdict,
    advice,
    case,
)


@case(
    "forged.random",
    role=Role.FORGED,
    section="4.1.2",
    level=Level.PROCEDURE,
    severity=Severity.CRITICAL,
    title="A random cookie opens nothing",
    requirement="A cookie that the server did not make fails the check: the SYN alone is "
    "acknowledged and the data is not delivered.",
    expected="acknowledges the SYN only and answers nothing before the handshake has ended",
    advice=advice.FORGERY,
    why=(
        "The cookie is the only proof that a client is where it says it is. If any bytes will do, "
        "an attacker has the server work for, and answer, addresses that never asked. "
        + advice.JUDGED
    ),
    needs=(*FAST_OPEN_WORKS, "control.syn-data"),
    faults=("accepts-any-cookie", "answers-rejected-data"),
    once=True,
    control=(Control.VALID_COOKIE,),
)
async def random_cookie(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie (random), n bytes
    <- SYN-ACK, ack 1 (the SYN alone)
    ...nothing before our ACK...
    -> RST,ACK (half-open)
    the same in kind 254, the form of before the RFC
    counts if the valid cookie was accepted within the last minute
    """
    size = len(probe.cookie)
    data = probe.payload.data

    def forged(*, experimental: bool) -> Syn:
        cookie = FastOpen(secrets.token_bytes(size), experimental=experimental)
        return Syn((cookie,), data=data)

    # A server may check the form of before the RFC (kind 254, section 9) less well.
    return await probe.rejects(
        [
            ("random cookie", functools.partial(forged, experimental=False)),
            ("random cookie in kind 254", functools.partial(forged, experimental=True)),
        ],
        Rejection(summary="random cookies, in kind 34 and in kind 254"),
    )


@case(
    "forged.constant",
    section="4.1.2",
    level=Level.PROCEDURE,
    severity=Severity.CRITICAL,
    title="Constant cookies open nothing",
    requirement="A cookie of zeros, of ones, or of the client's own address is no valid cookie.",
    expected="acknowledges the SYN only and answers nothing before the handshake has ended",
    advice=advice.FORGERY,
    why=(
        "These are what comes out where no key was set or no MAC was made, and what an attacker "
        "tries first. " + advice.JUDGED
    ),
    needs=(*FAST_OPEN_WORKS, "control.syn-data"),
    faults=("accepts-zero",),
    once=True,
    control=(Control.VALID_COOKIE,),
)
async def constant_cookie(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie (zeros, ones, or our address), n bytes
    <- SYN-ACK, ack 1 (the SYN alone)
    ...nothing before our ACK...
    -> RST,ACK (half-open)
    counts if the valid cookie was accepted within the last minute
    """
    size = len(probe.cookie)
    address = (probe.own_address * size)[:size]
    return await probe.rejects_cookies(
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
    advice=advice.FORGERY,
    why=(
        "Compared over 4 bytes only, a cookie is guessed within 2^32 SYNs: at a million a second, "
        "in little more than an hour. " + advice.JUDGED
    ),
    needs=(*FAST_OPEN_WORKS, "control.syn-data"),
    faults=("accepts-prefix",),
    once=True,
    control=(Control.VALID_COOKIE,),
)
async def truncated_cookie(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, first 4 or 6 bytes of the valid cookie, n bytes
    <- SYN-ACK, ack 1 (the SYN alone)
    ...nothing before our ACK...
    -> RST,ACK (half-open)
    counts if the valid cookie was accepted within the last minute
    """
    cookie = probe.cookie
    sizes = [size for size in (4, 6) if size < len(cookie)]
    if not sizes:
        return probe.skipped(f"a cookie of {len(cookie)} bytes has no shorter legal beginning")

    def beginning(size: int) -> bytes:
        return cookie[:size]

    return await probe.rejects_cookies(
        [
            (f"first {size} bytes of the cookie", functools.partial(beginning, size))
            for size in sizes
        ]
    )


def _places(size: int) -> list[int]:
    """Eight bits of a cookie of so many bytes, one in each eighth of it.

    From 8 bytes on each is at another place in its byte.
    """
    return [eighth * size + eighth % size for eighth in range(8)]


@case(
    "forged.bit-flip",
    section="4.1.2",
    level=Level.PROCEDURE,
    severity=Severity.CRITICAL,
    title="A valid cookie with one bit flipped opens nothing",
    requirement="Every bit of the cookie is checked.",
    expected="acknowledges the SYN only and answers nothing before the handshake has ended",
    advice=advice.FORGERY,
    why=("Each bit that is not compared halves the work of guessing a cookie. " + advice.JUDGED),
    needs=(*FAST_OPEN_WORKS, "control.syn-data"),
    faults=("checks-prefix-only",),
    once=True,
    control=(Control.VALID_COOKIE,),
)
async def bit_flip(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie (valid, but for one bit), n bytes
    <- SYN-ACK, ack 1 (the SYN alone)
    ...nothing before our ACK...
    -> RST,ACK (half-open)
    with 8 different bits, or each of them (--thorough)
    counts if the valid cookie was accepted within the last minute
    """
    cookie = probe.cookie
    places = range(8 * len(cookie)) if probe.plan.thorough else _places(len(cookie))

    def flipped(place: int) -> bytes:
        return bytes(
            byte ^ (0x80 >> place % 8 if index == place // 8 else 0)
            for index, byte in enumerate(cookie)
        )

    return await probe.rejects_cookies(
        [
            (f"cookie with bit {place} flipped", functools.partial(flipped, place))
            for place in places
        ],
        Rejection(summary=f"cookies with one of {len(places)} bits flipped"),
    )


@case(
    "forged.lengths",
    section="4.1.2",
    level=Level.PROCEDURE,
    severity=Severity.MAJOR,
    title="Random cookies of every legal length open nothing and do no harm",
    requirement="A cookie of any legal length is checked, whatever the length of the server's own.",
    expected="acknowledges the SYN only, and goes on serving",
    advice="A single packet silences the server, or opens it: update the stack at once, and until "
    "then switch Fast Open off (Linux: clear bit 0x2 of net.ipv4.tcp_fastopen).",
    why="A server's own cookies have one length, so its code for all others is hardly ever run: a "
    "length that is trusted there lets one packet stop the server, or get in.",
    needs=(*FAST_OPEN_WORKS, "control.syn-data"),
    faults=("dies-on-length",),
    turn=Turn.RISKY,
    once=True,
    control=(Control.VALID_COOKIE,),
)
async def lengths(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie (random, 4, 6, ... 16 bytes), n bytes
    <- SYN-ACK, ack 1 (the SYN alone)
    -> RST,ACK (half-open)
    nothing comes: plain SYNs, to see whether all is silent
    counts if the valid cookie was accepted within the last minute
    """
    was_answering, outcome = await asyncio.gather(
        probe.is_answering(),  # its first SYN leaves before the others
        probe.rejects_cookies(
            [
                (f"random cookie of {size} bytes", functools.partial(secrets.token_bytes, size))
                for size in range(4, 17, 2)
            ],
            Rejection(summary="random cookies of 4 to 16 bytes", watch=False),
        ),
    )
    if outcome.verdict is Verdict.INCONCLUSIVE:
        if not was_answering or await probe.is_answering(patiently=True):
            return outcome
        return probe.breach(
            "after random cookies of 4 to 16 bytes nothing is answered, not even plain SYNs"
        )
    return outcome


@case(
    "forged.extended",
    section="4.1.2",
    level=Level.PROCEDURE,
    severity=Severity.CRITICAL,
    title="A valid cookie with bytes behind it opens nothing",
    requirement="A cookie is checked as a whole: with zeros behind it, it is another cookie.",
    expected="acknowledges the SYN only and answers nothing before the handshake has ended",
    advice=advice.FORGERY,
    why=(
        "It shows a check that does not compare the length. Such a check often takes a shorter "
        "cookie as well, which is soon guessed. " + advice.JUDGED
    ),
    needs=("forged.lengths",),
    faults=("ignores-tail",),
    turn=Turn.RISKY,
    once=True,
    control=(Control.VALID_COOKIE,),
)
async def extended_cookie(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie (valid, then zeros), n bytes
    <- SYN-ACK, ack 1 (the SYN alone)
    -> RST,ACK (half-open)
    with zeros up to each longer even size, 16 bytes at the most
    counts if the valid cookie was accepted within the last minute
    """
    cookie = probe.cookie
    sizes = range(len(cookie) + 2, 17, 2)
    if not sizes:
        return probe.skipped("a cookie of 16 bytes can't be extended")
    return await probe.rejects_cookies(
        [
            (f"cookie with zeros up to {size} bytes", functools.partial(cookie.ljust, size, b"\0"))
            for size in sizes
        ],
        Rejection(
            summary=f"the cookie with zeros up to {', '.join(map(str, sizes))} bytes", watch=False
        ),
    )
