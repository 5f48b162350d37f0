"""Who is at the two ends of the path: our address as the server sees it, and the server itself.

None of these cases blames the server. They live on what others have sent anyway, and send packets
of their own only where there is something to find out, or with --trace.
"""

from __future__ import annotations

import ipaddress

from tfocheck.case import (
    Fact,
    FastOpen,
    Level,
    Outcome,
    Probe,
    Role,
    Severity,
    UnansweredError,
    UnusableError,
    Verdict,
    advice,
    case,
    comparison,
)

MOST_KEYS = 4
"""More different cookies than this among ``MANY_REQUESTS`` are no farm's: our address changes."""

MANY_REQUESTS = 16

FURTHER_REQUESTS = 32
NO_POOL = 40
"""So many cookies without one that comes twice are no pool's of addresses, nor a farm's: of 256 one
comes twice among so many in 19 of 20 cases."""

FURTHER_OPENINGS = 10

OPENINGS, OPENED_ENOUGH = 6, 5
"""A cookie that opens from so many of so many ports is our address's, and that stays the same."""


@case(
    "path.source-changes",
    role=Role.ONE_ADDRESS,
    section="7.1",
    level=Level.PATH,
    severity=Severity.MAJOR,
    title="Our address stays the same from one connection to the next",
    requirement="A cookie holds for one client address, so a NAT has to keep it the same.",
    expected="sees all our connections come from one address",
    advice="Each connection gets another cookie. Either a NAT on our side gives each another "
    'address (have it keep one address for each client: RFC 4787, REQ-2, "paired" pooling), or '
    "many servers stand behind the target with a key each. Test from an address that is not "
    "translated, or say --no-nat, to tell which.",
    why="With another address each time no cookie is ever honoured, though client and server both "
    "do it right. It would look like a server that does not honour its cookies.",
    needs=("cookie.request",),
    after=("option.cookie-format", "open.data-acked", "farm.one-key"),
    once=True,
    reads=(Fact.COOKIES_SEEN,),
)
async def source_changes(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie request (those of other cases)
    <- SYN-ACK, always the same cookie
    different ones: 16 requests at once, one cookie from 6 ports
    """
    if len(probe.facts.cookies_seen) < 2:
        probe.observing()
        probe.borrow("option.cookie-format", lambda flow: flow.offered is not None)
        return probe.passed("always the same cookie: our address is always the same")

    cookies = await probe.cookies.issued_now(MANY_REQUESTS)
    different = len(set(cookies))
    seen = f"{different} different cookies in {len(cookies)} requests at the same time"
    if different <= 1:
        return probe.passed(f"{seen}: our address is the same (the server's key has changed)")
    if different <= MOST_KEYS:
        return probe.info(f"{seen}: servers with a key each, or a small pool of addresses")
    return await _many_cookies(probe, cookies, seen)


async def _many_cookies(probe: Probe, cookies: list[bytes], seen: str) -> Outcome:
    """What it means that cookies are different, more of them than a farm has keys."""
    opened = await _opened(probe, cookies[0], OPENINGS)
    if opened is None:
        return probe.info(f"{seen}; whether any opens can't be told")
    if opened >= OPENED_ENOUGH:
        return probe.info(
            f"{seen}, and one opens from {opened} of {OPENINGS} ports: our address is the same, the"
            " server makes a fresh cookie each time"
        )
    if len(set(cookies)) == len(cookies):
        cookies = cookies + await probe.cookies.issued_now(FURTHER_REQUESTS)
    if len(set(cookies)) == len(cookies) >= NO_POOL:
        seen = f"{len(cookies)} requests, and no cookie comes twice"
        found = await _none_comes_twice(probe, cookies[0], opened, seen)
        if found is not None:
            return found
    if probe.nat_is_ruled_out or ipaddress.ip_address(probe.source).is_global:
        return probe.info(f"{seen}, and no NAT is on the way: servers with a key each")
    return probe.breach(
        f"{seen}: our address changes from one connection to the next (a NAT with a pool of"
        " addresses), or as many servers answer with a key each",
        conclusive=True,
    )


async def _none_comes_twice(probe: Probe, cookie: bytes, opened: int, seen: str) -> Outcome | None:
    """What it means that no cookie comes twice, nor opens from everywhere; None if it is a pool.

    Then each is made anew; from how many ports one opens tells how many keys, or addresses, there
    are.
    """
    more = await _opened(probe, cookie, FURTHER_OPENINGS)
    opened, tries = opened + (more or 0), OPENINGS + (FURTHER_OPENINGS if more is not None else 0)
    seen = f"{seen}; one opens from {opened} of {tries} ports"
    if opened * MOST_KEYS >= tries:
        return probe.info(f"{seen}: servers with a key each, or a small pool of addresses")
    try:
        own = await probe.cookies.persistently(lambda: _opens_from_own_port(probe))
    except (UnansweredError, UnusableError) as reason:
        return probe.undecided(f"{seen}; from its own port: {reason}")
    if own is None:
        return probe.info(f"{seen}, and the same one comes to the same port: it is bound to it")
    if not own:
        return probe.info(f"{seen}, nor does another from its own: it is the server's doing")
    return None


async def _opens_from_own_port(probe: Probe) -> bool | None:
    """Whether a cookie opens from the port it was issued to; None if that port gets it twice.

    A pool of addresses keeps to one for a connection and its port, so there it opens.
    """
    data, until_closed = probe.payload.data, 2 * probe.round_trip
    async with probe.beside_others("cookie request", FastOpen(), rejected=True) as asked:
        first = asked.offered_cookie
    await probe.clock.sleep(until_closed)
    label = "request from the same port"
    async with probe.alone(label, FastOpen(), data=data, after=asked, may_fall_back=True) as again:
        second = again.offered_cookie
    await probe.clock.sleep(until_closed)
    if first is None or second is None:
        raise UnusableError("no cookie comes now")
    if first == second:
        return None
    async with probe.alone("the cookie from its own port", second, data=data, after=again) as flow:
        return await probe.is_open(flow)


async def _opened(probe: Probe, cookie: bytes, tries: int) -> int | None:
    """From how many of so many ports the cookie opens; None if that can't be told."""

    async def opens() -> bool:
        data = probe.payload.data
        async with probe.alone("one of the cookies", FastOpen(cookie), data=data) as flow:
            return await probe.is_open(flow)

    try:
        return sum([await probe.cookies.persistently(opens) for _ in range(tries)])
    except (UnansweredError, UnusableError):
        return None


@case(
    "path.proxy",
    role=Role.PROXY,
    section="7.1",
    level=Level.PATH,
    severity=Severity.MAJOR,
    title="Nobody answers in the server's place",
    requirement="The server itself answers our SYNs.",
    expected="answers from as far away as its data, and its host, are",
    advice=advice.NOT_THE_SERVER
    + "A SYN proxy (a SYN-flood guard: nftables and iptables `synproxy`) or "
    "a transparent proxy completes handshakes for the server, and knows nothing of Fast Open: "
    "switch it on there (haproxy: `bind ... tfo`), or take it out of the way.",
    why="Whatever is set at the server, its SYN-ACKs are not its own. Only the box in front can "
    "offer Fast Open.",
    needs=("control.syn",),
    after=("cookie.request", "control.syn-data"),
    once=True,
)
async def proxy(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, and a request (those of other cases)
    <- SYN-ACK and data, from as many hops away
    no cookie: a SYN to a port where nobody listens
    <- RST,ACK from as far away
    """
    if probe.has_cookie:
        probe.observing()
        probe.borrow("cookie.request", lambda flow: flow.offered is not None)
        return probe.passed("who answers SYNs, serves cookies")
    flows = [flow for flow in probe.all_flows if flow.syn_ack is not None]
    for flow in flows:
        later = [each for each in flow.received if each.segment.payload]
        found = comparison.nearer(flow.syn_ack, later) if flow.syn_ack is not None else None
        if found is not None:
            probe.evidence.adopt(flow)
            return probe.breach(
                f"the SYN-ACK comes from {_hops(found[0])} away, the data from {found[1]}: a box at"
                f" hop {found[0]} answers SYNs for the server",
                conclusive=True,
            )
    if not flows or probe.verdict_of("cookie.request") is not Verdict.SKIP:
        return probe.skipped("no SYN-ACK to compare with anything")
    refused = await probe.closed_port()
    reset = refused.reset or refused.syn_ack if refused is not None else None
    syn_ack = flows[0].syn_ack
    found = comparison.nearer(syn_ack, [reset]) if syn_ack is not None and reset else None
    if found is None:
        return probe.info("no sign of one: SYN-ACKs come from as far away as everything else")
    return probe.breach(
        f"SYN-ACKs come from {_hops(found[0])} away, the host's own answers (RST of a closed port)"
        f" from {found[1]}: a proxy at hop {found[0]} answers for the server",
        conclusive=True,
    )


def _hops(count: int) -> str:
    return f"{count} hop{'s' if count != 1 else ''}"
