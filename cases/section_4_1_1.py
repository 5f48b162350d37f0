"""RFC 7413 section 4.1.1: the Fast Open option's format."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from tfocheck.case import Level, Outcome, Severity, case
from tfocheck.probe import Probe
from tfocheck.tcp.options import MAX_COOKIE_BYTES, MIN_COOKIE_BYTES, FastOpen


def _like_valid(cookie: bytes, size: int) -> Callable[[], bytes]:
    """A cookie of that size that begins like the valid one: the hardest to turn down."""
    return lambda: (cookie + secrets.token_bytes(size))[:size]


async def _ignores_sizes(probe: Probe, *sizes: int) -> Outcome:
    cookies = [(f"a cookie of {size} bytes", _like_valid(probe.cookie, size)) for size in sizes]
    summary = f"cookies of {', '.join(map(str, sizes))} bytes"
    return await probe.rejects(cookies, summary=summary, ignored=True)


@case(
    "option.cookie-format",
    section="4.1.1",
    level=Level.MUST,
    severity=Severity.MAJOR,
    title="The cookie that comes is a legal one",
    requirement="A cookie has 4 to 16 bytes and an even length; clients ignore any other.",
    expected="answers a cookie request with option kind 34 and a cookie of 4 to 16 bytes, even",
    advice="Clients ignore an illegal cookie, so Fast Open never happens: mend the stack, or the "
    "box on the way that rewrites options.",
    faults=("odd-cookie", "short-cookie", "long-cookie"),
)
async def cookie_format(probe: Probe) -> Outcome:
    async def attempt() -> Outcome:
        async with probe.beside_others("cookie request", FastOpen()) as flow:
            syn_ack = flow.syn_ack
            option = syn_ack.segment.fast_open if syn_ack else None
            if option is None or option.is_request:
                return probe.undecided("the SYN-ACK has no cookie this time")
            size = len(option.cookie)
            if not option.has_legal_cookie:
                return probe.breach(
                    f"a cookie of {size} bytes: legal are {MIN_COOKIE_BYTES} to {MAX_COOKIE_BYTES},"
                    " even",
                    conclusive=True,
                )
            if option.experimental:
                return probe.breach(
                    "asked with kind 34, answered with kind 254 (pre-RFC form)", conclusive=True
                )
            probe.session.cookie = option.cookie
            return probe.passed(f"a cookie of {size} bytes in option kind 34")

    return await probe.agree(attempt, unanswered="a SYN with a cookie request")


@case(
    "option.odd-length",
    section="4.1.1",
    level=Level.MUST,
    severity=Severity.MINOR,
    title="Cookies of odd length are ignored",
    requirement="An option whose cookie has an odd length is ignored: neither an open nor a "
    "cookie request.",
    expected="treats the SYN as if it had no Fast Open option: ack 1, no cookie in reply",
    advice="The stack takes an illegal option for a legal one: mend its option parser.",
    needs=("open.data-acked",),
    faults=("treats-odd-as-request", "accepts-odd"),
)
async def odd_length(probe: Probe) -> Outcome:
    return await _ignores_sizes(probe, 5, 7, 9, 11, 13, 15)


@case(
    "option.too-short",
    section="4.1.1",
    level=Level.MUST,
    severity=Severity.MINOR,
    title="Cookies below 4 bytes are ignored",
    requirement="An option whose cookie has 1 to 3 bytes is ignored.",
    expected="treats the SYN as if it had no Fast Open option: ack 1, no cookie in reply",
    advice="The stack takes an illegal option for a legal one: mend its option parser.",
    needs=("open.data-acked",),
    faults=("treats-short-as-request",),
)
async def too_short(probe: Probe) -> Outcome:
    return await _ignores_sizes(probe, 1, 2, 3)


@case(
    "option.too-long",
    section="4.1.1",
    level=Level.MUST,
    severity=Severity.MINOR,
    title="Cookies above 16 bytes are ignored",
    requirement="An option whose cookie has more than 16 bytes is ignored.",
    expected="treats the SYN as if it had no Fast Open option: ack 1, no cookie in reply",
    advice="The stack takes an illegal option for a legal one: mend its option parser.",
    needs=("open.data-acked",),
    faults=("treats-long-as-request",),
)
async def too_long(probe: Probe) -> Outcome:
    return await _ignores_sizes(probe, 17, 18, 20)
