"""RFC 7413 section 4.1.2: whom a cookie belongs to, and for how long."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import itertools

from tfocheck.case import (
    FAST_OPEN_WORKS,
    IN_TURN,
    Control,
    Fact,
    FastOpen,
    Flow,
    Level,
    Option,
    Outcome,
    Probe,
    Severity,
    Turn,
    UnusableError,
    Verdict,
    advice,
    case,
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
    why="Hardly any connection has the port that the cookie was asked for from. With cookies "
    "bound to it Fast Open looks switched on and never happens.",
    needs=("cookie.request",),
    faults=("binds-port",),
    agree=IN_TURN,
    control=(Control.ISSUING,),
)
async def port_independent(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie request
    <- SYN-ACK, ack 1, cookie
    -> RST,ACK (half-open)
    -> SYN, seq 0, that cookie, n bytes (from 3 other ports in turn)
    <- SYN-ACK, ack 1+n
    -> ACK, FIN,ACK
    not accepted from all: the same from the port that asked
    """
    data = probe.payload.data

    async def opens(label: str, cookie: bytes, after: Flow | None = None) -> bool:
        async with probe.alone(label, FastOpen(cookie), data=data, after=after) as flow:
            if flow.acknowledged == 1 + len(data):
                probe.cookies.accepted(flow)
            return await probe.is_open(flow)

    async with probe.beside_others("cookie request", FastOpen(), rejected=True) as asked:
        option = asked.offered
        if option is None or not option.has_legal_cookie:
            return probe.undecided("the SYN-ACK has no legal cookie this time")
    label = "the cookie from another port"
    step = functools.partial(opens, label, option.cookie)
    others = await asyncio.gather(*(probe.cookies.persistently(step) for _ in range(3)))
    if all(others):
        return probe.passed("accepted from 3 other ports", conclusive=True)
    own = await opens("the cookie from its own port", option.cookie, after=asked)
    if not own:
        return probe.skipped("not accepted from its own port either: see open.data-acked")
    if any(others):
        return probe.undecided(f"accepted from {sum(others)} of 3 other ports")
    return probe.breach("accepted from the port that it was issued to, not from 3 others")


_NAT = "they may share a NAT (--no-nat says not)"


_REQUESTS = ("cookie.request", "option.cookie-format")
"""Cases whose ordinary requests count as well."""


async def _cookies(probe: Probe, source: str | None = None, count: int = 1) -> list[bytes]:
    """Cookies issued to one of our addresses, on fresh ports."""
    label = f"cookie request from {source or probe.source}"
    return await probe.cookies.issued_now(count, source=source, label=label)


@case(
    "cookie.repeatable",
    section="4.1.2",
    level=Level.INFO,
    title="Every cookie that is issued is honoured",
    requirement="A server may issue the same cookie or another one; each is valid for a while.",
    expected="honours every cookie of 8 requests",
    advice="Some of the cookies that come are never honoured: servers behind this address have "
    "different keys (Linux: set the same net.ipv4.tcp_fastopen_key on all), or a box on the way "
    "answers requests by itself.",
    why="Several cookies for one address are legal, but often a sign of several keys. A client "
    "keeps the last one that it got: one bad one among them, and its next Fast Open fails.",
    needs=FAST_OPEN_WORKS,
    after=_REQUESTS,
    once=True,
    control=(Control.ISSUING,),
)
async def repeatable(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie request (8 times, with those of others)
    <- SYN-ACK, ack 1, cookie
    -> RST,ACK (half-open)
    -> SYN, seq 0, one of the cookies, n bytes (each different one)
    <- SYN-ACK, ack 1+n
    -> ACK, FIN,ACK
    """
    cookies = []
    for flow in probe.flows_of(*_REQUESTS):
        if flow.offered is not None and flow.offered.has_legal_cookie:
            probe.evidence.adopt(flow)
            cookies.append(flow.offered.cookie)
    cookies += await _cookies(probe, count=max(0, 8 - len(cookies)))
    different = sorted(set(cookies))
    if not different:
        return probe.undecided("8 requests got no cookie")
    data = probe.payload.data
    for cookie in different:

        async def attempt(probe: Probe, cookie: bytes = cookie) -> Outcome:
            async with probe.alone("one of 8 cookies", FastOpen(cookie), data=data) as flow:
                if not await probe.is_open(flow):
                    return probe.warning("one of the cookies that were issued is not honoured")
                return probe.info("honoured", conclusive=True)

        outcome = await probe.agree(attempt, IN_TURN)
        if outcome.verdict is Verdict.WARN and await probe.cookies.has_one_key():
            return probe.info("the server's key has changed since the cookies came")
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
    advice=advice.FORGERY,
    why=(
        "Otherwise a single cookie, fairly asked for, opens connections in everybody's name: the "
        "server works on spoofed requests and answers their victims. " + advice.JUDGED
    ),
    needs=(*FAST_OPEN_WORKS, "control.syn-data"),
    faults=("ignores-source",),
    reads=(Fact.ACKNOWLEDGES_PLAIN_DATA,),
    once=True,
    control=(Control.VALID_COOKIE,),
)
async def source_bound(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie request (twice from each of our addresses)
    <- SYN-ACK, ack 1, cookie
    -> RST,ACK (half-open)
    -> SYN, seq 0, our usual address's cookie, n bytes (from another)
    <- SYN-ACK, ack 1 (the SYN alone)
    ...nothing before our ACK...
    -> RST,ACK (half-open)
    another cookie each time:
    -> SYN, seq 0, that cookie, n bytes (from our usual address)
    <- SYN-ACK, ack 1+n
    -> ACK, FIN,ACK
    """
    sources = probe.own_sources
    if len(sources) < 2:
        return probe.skipped("this machine has one address for it: see --alt-source")
    data, usual = probe.payload.data, sources[0]
    own = await _cookies(probe, usual, count=2)
    judged: list[str] = []
    for other in sources[1:]:
        theirs = await _cookies(probe, other, count=2)
        if not own or not theirs:
            return probe.undecided(f"no cookie for {usual if not own else other}")
        # Fresh ones each time can't be compared: a nonce, servers with different keys, a NAT pool.
        fresh = len(set(own)) > 1 or len(set(theirs)) > 1
        if not fresh and own[0] == theirs[0]:
            return _same_cookie(probe, f"{usual} and {other} get the same cookie")

        async def attempt(probe: Probe, other: str = other, fresh: bool = fresh) -> Outcome:
            cookie = FastOpen(own[0])
            label = f"cookie of {usual}, sent from {other}"
            async with probe.beside_others(
                label, cookie, data=data, rejected=True, source=other
            ) as flow:
                accepted = flow.acknowledged != 1 and not probe.facts.acknowledges_plain_data
                if accepted or await probe.application.early_answer(flow):
                    seen = f"the cookie of {usual} is accepted from {other}"
                    if fresh and not probe.nat_is_ruled_out:
                        return probe.undecided(f"{seen}: {_NAT}")
                    return probe.breach(seen, conclusive=True)
            if fresh:
                await _still_works(probe, cookie, data)
            return probe.passed(f"our cookie, sent from {other}: ack {flow.acknowledged}")

        outcome = await probe.agree(attempt)
        if outcome.verdict is not Verdict.PASS:
            return outcome
        judged.append(outcome.seen)
    return probe.passed("; ".join(judged))


def _same_cookie(probe: Probe, seen: str) -> Outcome:
    if probe.nat_is_ruled_out:
        return probe.breach(f"{seen}, though no NAT is between")
    return probe.undecided(f"{seen}: {_NAT}")


async def _still_works(probe: Probe, cookie: FastOpen, data: bytes) -> None:
    """Go on only if the cookie opens from its own address: another server may have issued it."""
    async with probe.alone("the same cookie from its own address", cookie, data=data) as flow:
        if not await probe.is_open(flow):
            raise UnusableError("the cookie is not honoured from its own address either")


@case(
    "cookie.unpredictable",
    section="4.1.2",
    level=Level.SHOULD,
    severity=Severity.CRITICAL,
    title="Cookies can't be guessed",
    requirement="A cookie is a MAC: nobody can tell another address's from the outside.",
    expected="issues cookies that are no constant, no address, and no counter",
    advice=advice.FORGERY,
    why=(
        "A cookie that can be worked out does not prove that its sender ever received it: an "
        "attacker makes one for each victim. " + advice.JUDGED
    ),
    faults=("cookie-is-address", "constant-cookie"),
    once=True,
)
async def unpredictable(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie request (8 times; twice from each alternative)
    <- SYN-ACK, ack 1, cookie
    -> RST,ACK (half-open)
    the cookies are compared, none is sent back
    """
    by_source: dict[str, list[bytes]] = {}
    for source in probe.own_sources:
        count = 4 if source == probe.source else 2
        by_source[source] = await _cookies(probe, source, count=count)
        for cookie in by_source[source]:
            weakness = _weakness(cookie, ipaddress.ip_address(source).packed)
            if weakness:
                return probe.breach(f"{source} gets a cookie that is {weakness}", conclusive=True)
    by_source = {source: cookies for source, cookies in by_source.items() if cookies}
    everything = [cookie for cookies in by_source.values() for cookie in cookies]
    if not everything:
        return probe.undecided("no legal cookie came")
    return _none_is_told(probe, by_source, everything)


def _none_is_told(
    probe: Probe, by_source: dict[str, list[bytes]], everything: list[bytes]
) -> Outcome:
    """Whether one of these cookies, by the address it was issued to, tells another one."""
    different = sorted(set(everything))
    if len(by_source) > 1 and len(different) == 1:
        if probe.nat_is_ruled_out:
            return probe.breach(f"{len(by_source)} addresses of ours all get the same cookie")
        return probe.undecided("all our addresses get the same cookie: they may share a NAT")
    numbers = [int.from_bytes(cookie) for cookie in different]
    near = 1 << (4 * len(different[0]))
    if len(different) > 1 and min(b - a for a, b in itertools.pairwise(numbers)) < near:
        return probe.breach("different cookies have the first half in common, like a counter's")
    for_ = f"{len(everything)} cookies for"
    if len(by_source) > 1:
        return probe.passed(
            f"{for_} {len(by_source)} addresses, {len(different)} different: no constant, no"
            " address, no counter"
        )
    # One address alone proves nothing of others.
    if len(probe.own_sources) > 1:
        return probe.undecided(
            f"{for_} {next(iter(by_source))} only: whether others get the same one can't be told"
        )
    return probe.passed(
        f"{for_} one address, {len(different)} different: no address, no counter (whether they"
        " are a constant takes another address to tell: --alt-source)"
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
    advice="To change keys without a gap, give Linux two: net.ipv4.tcp_fastopen_key=NEW,OLD "
    "issues cookies of the first and honours both. Change it on all servers of a farm at the same "
    "time.",
    why="A cookie that never expires is stolen once and of use for ever; one that lives for "
    "minutes has clients fall back all the time. And when the key changes, not every cookie out "
    "there should die at once.",
    needs=FAST_OPEN_WORKS,
    option=Option.SOAK,
    turn=Turn.INTRUSIVE,
    once=True,
)
async def lifetime(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie (valid), n bytes
    <- SYN-ACK, ack 1+n
    -> ACK, FIN,ACK
    ...again after longer and longer pauses, for the time of --soak...
    at the end, or when it is not honoured any more:
    -> SYN, seq 0, cookie request
    <- SYN-ACK, ack 1, cookie: the same, or its successor
    -> RST,ACK (half-open)
    """
    soak = probe.plan.soak or 0.0
    data, cookie = probe.payload.data, probe.cookie
    began = probe.clock.monotonic()
    pause = min(1.0, soak / 4)
    honoured = 0.0

    async def is_honoured(candidate: bytes) -> Outcome:
        async def attempt(probe: Probe) -> Outcome:
            async with probe.alone("the same cookie again", FastOpen(candidate), data=data) as flow:
                if not await probe.is_open(flow):
                    return probe.warning("not honoured")
                return probe.info("honoured", conclusive=True)

        return await probe.agree(attempt, IN_TURN)

    while True:
        outcome = await is_honoured(cookie)
        age = probe.clock.monotonic() - began
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
        await probe.clock.sleep(min(pause, max(0.0, soak - age)))
        pause *= 1.6
