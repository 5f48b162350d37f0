"""RFC 7413 section 4.1.2: what makes a cookie valid. Every rejection has a positive control."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import itertools
import secrets
import time

from tfocheck.case import Level, Option, Outcome, Severity, Turn, Verdict, case
from tfocheck.probe import Probe, Syn, UnansweredError, UnusableError
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
        each=probe.attempts,
    )


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
    advice=_FORGERY,
    needs=("open.data-acked",),
    faults=("accepts-prefix",),
)
async def truncated_cookie(probe: Probe) -> Outcome:
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


@case(
    "forged.bit-flip",
    section="4.1.2",
    level=Level.PROCEDURE,
    severity=Severity.CRITICAL,
    title="A valid cookie with one bit flipped opens nothing",
    requirement="Every bit of the cookie is checked.",
    expected="acknowledges the SYN only and answers nothing before the handshake has ended",
    advice=_FORGERY,
    needs=("open.data-acked",),
    faults=("checks-prefix-only",),
)
async def bit_flip(probe: Probe) -> Outcome:
    cookie = probe.cookie
    bits = 8 * len(cookie)
    # Eight places, one in each eighth of the cookie and each at another place in its byte.
    places = range(bits) if probe.session.extras.thorough else [i * bits // 8 + i for i in range(8)]

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
        summary=f"cookies with one of {len(places)} bits flipped",
    )


@case(
    "forged.lengths",
    section="4.1.2",
    level=Level.PROCEDURE,
    severity=Severity.MAJOR,
    title="Random cookies of every legal length open nothing and do no harm",
    requirement="A cookie of any legal length is checked, whatever the length of the server's own.",
    expected="acknowledges the SYN only, and goes on serving",
    advice="A single packet silences the server, or opens it: mend its cookie check at once.",
    needs=("open.data-acked",),
    faults=("dies-on-length",),
    turn=Turn.RISKY,
)
async def lengths(probe: Probe) -> Outcome:
    outcome = await probe.rejects_cookies(
        [
            (f"random cookie of {size} bytes", functools.partial(secrets.token_bytes, size))
            for size in range(4, 17, 2)
        ],
        summary="random cookies of 4 to 16 bytes",
        watch=False,
    )
    if outcome.verdict is Verdict.INCONCLUSIVE:
        if await probe.session.is_answering(patiently=True):
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
    advice=_FORGERY,
    needs=("forged.lengths",),
    faults=("ignores-tail",),
    turn=Turn.RISKY,
)
async def extended_cookie(probe: Probe) -> Outcome:
    cookie = probe.cookie
    sizes = range(len(cookie) + 2, 17, 2)
    if not sizes:
        return probe.skipped("a cookie of 16 bytes can't be extended")
    return await probe.rejects_cookies(
        [
            (f"cookie with zeros up to {size} bytes", functools.partial(cookie.ljust, size, b"\0"))
            for size in sizes
        ],
        summary=f"the cookie with zeros up to {', '.join(map(str, sizes))} bytes",
        watch=False,
    )


async def _cookies(probe: Probe, source: str | None = None, count: int = 1) -> list[bytes]:
    """Cookies issued to one of our addresses, on fresh ports."""

    async def one() -> bytes | None:
        label = f"cookie request from {source or probe.session.source}"
        async with probe.beside_others(label, FastOpen(), rejected=True, source=source) as flow:
            first = flow.syn_ack
            option = first.segment.fast_open if first else None
            return option.cookie if option is not None and option.has_legal_cookie else None

    async def persistently() -> bytes | None:
        for _ in range(probe.attempts + 2):
            try:
                cookie = await one()
            except (UnansweredError, UnusableError):
                continue
            if cookie is not None:
                return cookie
        return None

    found = await asyncio.gather(*(persistently() for _ in range(count)))
    return [cookie for cookie in found if cookie is not None]


@case(
    "cookie.repeatable",
    section="4.1.2",
    level=Level.INFO,
    title="Every cookie that is issued is honoured",
    requirement="A server may issue the same cookie or another one; each is valid for a while.",
    expected="honours every cookie of 8 requests",
    advice="Some of the cookies that come are never honoured: servers behind this address have "
    "different keys, or a box on the way answers requests by itself.",
    needs=("open.data-acked",),
)
async def repeatable(probe: Probe) -> Outcome:
    cookies = await _cookies(probe, count=8)
    different = sorted(set(cookies))
    if not different:
        return probe.undecided("8 requests got no cookie")
    data = probe.payload.data
    for cookie in different:

        async def attempt(cookie: bytes = cookie) -> Outcome:
            async with probe.alone("one of 8 cookies", FastOpen(cookie), data=data) as flow:
                if flow.acknowledged == 1:
                    return probe.warning("one of the cookies that were issued is not honoured")
                return probe.info("honoured", conclusive=True)

        outcome = await probe.agree(attempt, together=False)
        if outcome.verdict is not Verdict.INFO:
            return outcome
    same = (
        "always the same cookie" if len(different) == 1 else f"{len(different)} different cookies"
    )
    return probe.info(f"{len(cookies)} requests: {same}, honoured")


@case(
    "cookie.source-bound",
    section="4.1.2",
    level=Level.SHOULD,
    severity=Severity.CRITICAL,
    title="A cookie opens nothing for another address",
    requirement="A cookie authenticates the address it was issued to.",
    expected="turns down a cookie that was issued to another address",
    advice=_FORGERY,
    needs=("open.data-acked",),
    faults=("ignores-source",),
)
async def source_bound(probe: Probe) -> Outcome:
    session = probe.session
    sources = session.own_sources
    if len(sources) < 2:
        return probe.skipped("this machine has one address for it: see --alt-source")
    await probe.positive_control()
    data, usual = probe.payload.data, sources[0]
    own = await _cookies(probe, usual, count=2)
    judged = 0
    for other in sources[1:]:
        theirs = await _cookies(probe, other, count=2)
        if not own or not theirs:
            return probe.undecided(f"no cookie for {usual if not own else other}")
        if len(set(own)) > 1 or len(set(theirs)) > 1:
            return probe.undecided(
                "the same address gets different cookies each time (a NAT pool, or servers with"
                " different keys), so they can't be compared"
            )
        if own[0] == theirs[0]:
            if session.nat_is_ruled_out:
                return probe.breach(
                    f"{usual} and {other} get the same cookie, though no NAT is between"
                )
            return probe.undecided(
                f"{usual} and {other} get the same cookie: they may share a NAT (--no-nat says not)"
            )

        async def attempt(other: str = other) -> Outcome:
            cookie = FastOpen(own[0])
            label = f"cookie of {usual}, sent from {other}"
            async with probe.beside_others(
                label, cookie, data=data, rejected=True, source=other
            ) as flow:
                if flow.acknowledged != 1 or await probe.early_answer(flow):
                    return probe.breach(
                        f"the cookie of {usual} is accepted from {other}", conclusive=True
                    )
                return probe.passed("ack 1")

        outcome = await probe.agree(attempt, unanswered="a SYN with another address's cookie")
        if outcome.verdict is not Verdict.PASS:
            return outcome
        judged += 1
    others = "another address" if judged == 1 else f"{judged} other addresses"
    return probe.passed(f"our cookie, sent from {others}: ack 1 ({probe.attempts} of each)")


@case(
    "cookie.unpredictable",
    section="4.1.2",
    level=Level.SHOULD,
    severity=Severity.CRITICAL,
    title="Cookies can't be guessed",
    requirement="A cookie is a MAC: nobody can tell another address's from the outside.",
    expected="issues cookies that are no constant, no address, and no counter",
    advice=_FORGERY,
    faults=("cookie-is-address", "constant-cookie"),
)
async def unpredictable(probe: Probe) -> Outcome:
    session = probe.session
    by_source: dict[str, list[bytes]] = {}
    for source in session.own_sources:
        count = 8 if source == session.source else 2
        by_source[source] = await _cookies(probe, source, count=count)
        for cookie in by_source[source]:
            weakness = _weakness(cookie, ipaddress.ip_address(source).packed)
            if weakness:
                return probe.breach(f"{source} gets a cookie that is {weakness}", conclusive=True)
    everything = [cookie for cookies in by_source.values() for cookie in cookies]
    if not everything:
        return probe.undecided("no legal cookie came")
    different = sorted(set(everything))
    if len(by_source) > 1 and len(different) == 1:
        if session.nat_is_ruled_out:
            return probe.breach(f"{len(by_source)} addresses of ours all get the same cookie")
        return probe.undecided("all our addresses get the same cookie: they may share a NAT")
    numbers = [int.from_bytes(cookie) for cookie in different]
    near = 1 << (4 * len(different[0]))
    if len(different) > 1 and min(b - a for a, b in itertools.pairwise(numbers)) < near:
        return probe.breach("different cookies have the first half in common, like a counter's")
    where = f"{len(by_source)} addresses" if len(by_source) > 1 else "one address"
    return probe.passed(
        f"{len(everything)} cookies for {where}, {len(different)} different: no constant, no"
        " address, no counter"
    )


def _weakness(cookie: bytes, address: bytes) -> str | None:
    if len(set(cookie)) == 1:
        return f"nothing but {cookie[0]:#04x}"
    if (address * len(cookie)).startswith(cookie) or address in cookie:
        return "the address itself"
    return None


@case(
    "cookie.lifetime",
    section="4.1.2",
    level=Level.INFO,
    title="How long a cookie lives",
    requirement="A server changes its key from time to time, so cookies expire (section 4.1.2).",
    expected="honours a cookie for a while, and the one before for a while longer",
    needs=("open.data-acked",),
    option=Option.SOAK,
    turn=Turn.INTRUSIVE,
)
async def lifetime(probe: Probe) -> Outcome:
    soak = probe.session.extras.soak or 0.0
    data, cookie = probe.payload.data, probe.cookie
    began = time.monotonic()
    pause = min(1.0, soak / 4)
    honoured = 0.0

    async def is_honoured(candidate: bytes) -> Outcome:
        async def attempt() -> Outcome:
            async with probe.alone("the same cookie again", FastOpen(candidate), data=data) as flow:
                if flow.acknowledged == 1:
                    return probe.warning("not honoured")
                return probe.info("honoured", conclusive=True)

        return await probe.agree(attempt, together=False)

    while True:
        outcome = await is_honoured(cookie)
        age = time.monotonic() - began
        if outcome.verdict is Verdict.WARN:
            fresh = await _cookies(probe)
            if not fresh or fresh[0] == cookie:
                return probe.undecided(f"not honoured after {age:.0f} s, yet no other cookie comes")
            works = await is_honoured(fresh[0])
            new = (
                "its successor works" if works.verdict is Verdict.INFO else "nor does its successor"
            )
            return probe.info(
                f"the cookie worked for {honoured:.0f} s, not after {age:.0f} s; {new}"
            )
        if outcome.verdict is not Verdict.INFO:
            return outcome
        honoured = age
        if age >= soak:
            fresh = await _cookies(probe)
            changed = fresh and fresh[0] != cookie
            both = ", while a new one is issued already: both work" if changed else ""
            return probe.info(f"the cookie still works after {age:.0f} s{both}")
        await asyncio.sleep(min(pause, max(0.0, soak - age)))
        pause *= 1.6
