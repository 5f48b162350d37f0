"""Path: what lies between here and the server, when it is that which breaks Fast Open.

None of these blames the server. They live on what the other cases have sent anyway, and send
packets of their own only where there is something to find out, or with --trace.
"""

from __future__ import annotations

import asyncio
import ipaddress

from tfocheck.case import (
    DATA,
    IN_TURN,
    OPEN,
    OPTION,
    Change,
    Fact,
    FastOpen,
    Flow,
    Level,
    Option,
    Outcome,
    Probe,
    Role,
    Severity,
    Turn,
    UnusableError,
    Verdict,
    case,
    comparison,
)

MOST_KEYS = 4
"""More different cookies than this among ``MANY_REQUESTS`` are no farm's: our address changes."""

MANY_REQUESTS = 16
LEAST_SYNS = 20

_NOT_THE_SERVER = (
    "This is not the server's doing: look at what stands on the way where the report says, or test "
    "from a place behind it. "
)


@case(
    "path.option-dropped",
    section="7.1",
    level=Level.PATH,
    severity=Severity.MAJOR,
    title="SYNs with the option get through",
    requirement="A path that carries plain SYNs carries SYNs with the Fast Open option, too.",
    expected="is reached by SYNs with option 34 as by plain ones",
    advice=_NOT_THE_SERVER + "A firewall drops SYNs with TCP option 34 (with nftables: `tcp option "
    "fastopen exists drop`; Cisco ASA: a tcp-map without `tcp-options range 34 34 allow`). Until "
    "it lets them pass, clients lose a second or more on each first attempt.",
    why="A client whose SYN vanishes waits for its timer, a second or more, before it tries "
    "without the option: on such a path Fast Open makes everything slower.",
    needs=("control.syn",),
    after=("cookie.request",),
    once=True,
    reads=(Fact.SILENCES,),
)
async def option_dropped(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie request (those of cookie.request)
    <- SYN-ACK
    no answer, though plain SYNs get one: the route is looked at hop by hop
    """
    silence = probe.facts.silences.get("path.option-dropped")
    if silence is None:
        probe.observing()
        if probe.borrow("cookie.request", lambda flow: flow.syn_ack is not None):
            return probe.passed("SYNs with the option are answered", conclusive=True)
        return probe.skipped("no SYN with the option was sent, or no two fared alike")
    route = await probe.route()
    where = route.vanished(OPTION)
    return probe.breach(f"{silence}{_at(where)}")


@case(
    "path.option-stripped",
    section="7.1",
    level=Level.PATH,
    severity=Severity.MAJOR,
    title="The option is not taken out on the way",
    requirement="The option arrives as it was sent, in SYN and SYN-ACK.",
    expected="gets the option that we send, and we get its own",
    advice=_NOT_THE_SERVER + "A box overwrites or removes TCP option 34 (with nftables: `reset tcp "
    'option fastopen`; F5, Cisco and others: "clear unknown options"). Connections work, without '
    "Fast Open.",
    why="No cookie ever comes, and it looks just as if Fast Open were off at the server: its "
    "operator would look for the mistake in the wrong place.",
    needs=("control.syn",),
    after=("cookie.request",),
    once=True,
)
async def option_stripped(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie request (those of cookie.request)
    <- SYN-ACK, cookie
    no cookie:
    -> SYN, seq 0, cookie request, TTL 1, 2, 3 ...
    <- ICMP time exceeded, quoting the SYN as it got there
    """
    asked = probe.flows_of("cookie.request")
    if any(flow.offered is not None and not flow.offered.is_request for flow in asked):
        probe.observing()
        probe.borrow("cookie.request", lambda flow: flow.offered is not None)
        return probe.passed("a cookie comes: the option gets there, and back", conclusive=True)
    answers = [flow for flow in asked if flow.syn_ack is not None]
    if not answers:
        return probe.skipped("no SYN with the option is answered")
    route = await probe.route()
    change = route.changed("fast-open", OPTION)
    if change is not None:
        return _changed(probe, change)
    holes = _hole(probe, answers)
    if holes:
        answers[0].decided = True
        return probe.breach(
            f"the SYN-ACK has {holes} bytes of NOPs where a plain one has none: the server answered"
            " with an option, and a box on the way back took it out",
            conclusive=True,
        )
    if route.last_router is not None:
        return probe.info(
            f"the option is intact at {route.last_router}, the last router that says so: it is the"
            " server that does not answer it, or something right before it"
        )
    return probe.info("no router quotes the option, so whether it arrives can't be told")


def _hole(probe: Probe, answers: list[Flow]) -> int:
    plain = [flow.syn_ack for flow in probe.flows_of("control.syn") if flow.syn_ack is not None]
    if not plain:
        return 0
    asked = [flow.syn_ack for flow in answers if flow.syn_ack is not None]
    holes = [comparison.holes(plain[0], syn_ack) for syn_ack in asked]
    # An option with the shortest cookie has 6 bytes.
    return min(holes) if holes and min(holes) >= 6 else 0


@case(
    "path.syn-data-dropped",
    section="7.1",
    level=Level.PATH,
    severity=Severity.MAJOR,
    title="SYNs with data get through",
    requirement="A path that carries plain SYNs carries SYNs with data, too, and leaves it in.",
    expected="is reached by SYNs with data as by plain ones",
    advice=_NOT_THE_SERVER + "A firewall or intrusion detection takes data on a SYN for an attack "
    "(Cisco ASA: `syn-data drop`; Snort, Suricata: data on SYN), and drops such SYNs or their "
    "data: permit it.",
    why="Each Fast Open of a client on this path costs it a lost SYN, a second or more; clients "
    "that notice switch Fast Open off for everything.",
    needs=("control.syn",),
    after=("control.syn-data", "open.data-acked"),
    once=True,
    reads=(Fact.SILENCES,),
)
async def syn_data_dropped(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, n bytes, with cookie and without (as in other cases)
    <- SYN-ACK
    no answer, though plain SYNs get one: the route is looked at hop by hop
    """
    silence = probe.facts.silences.get("path.syn-data-dropped")
    unhonoured = probe.verdict_of("open.data-acked") is Verdict.FAIL
    if silence is None and not unhonoured:
        probe.observing()
        for case_id in ("open.data-acked", "control.syn-data"):
            if probe.borrow(case_id, lambda flow: bool(flow.syn_data) and flow.syn_ack is not None):
                return probe.passed("SYNs with data are answered", conclusive=True)
        return probe.skipped("no SYN with data was sent, or no two fared alike")
    route = await probe.route()
    change = route.changed("data")
    if change is not None:
        return _changed(probe, change)
    if silence is None:
        return probe.info("SYNs with data are answered, and no router quotes them without it")
    lost = route.vanished(DATA) or route.vanished(OPEN)
    return probe.breach(f"{silence}{_at(lost)}")


@case(
    "path.after-open",
    section="7.1",
    level=Level.PATH,
    severity=Severity.MAJOR,
    title="What follows a Fast Open gets through",
    requirement="A path that carries the SYN and SYN-ACK of a Fast Open carries the rest, too.",
    expected="goes on after a Fast Open handshake as after a plain one",
    advice=_NOT_THE_SERVER + "A stateful firewall loses track of connections whose SYN has data "
    "(it expects ACK 1) and drops what follows: update it, or have it let such connections pass.",
    why="The connection is open, and then nothing comes: clients can't fall back any more, and "
    "users see a page that never loads. It is the worst that a path can do to Fast Open.",
    needs=("open.data-acked",),
    once=True,
)
async def after_open(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie (valid), n bytes
    <- SYN-ACK, ack 1+n
    -> ACK, FIN,ACK
    <- ACK of our FIN, or RST
    nothing: the same on plain connections, and the route is looked at
    """

    def goes_on(flow: Flow) -> bool:
        # An early answer, or its repetition, comes even where nothing of ours gets there any more.
        return flow.fin_acknowledged or flow.reset is not None

    if probe.borrow("open.data-acked", goes_on):
        probe.observing()
        return probe.passed("segments come after the handshake", conclusive=True)
    data = probe.payload.data

    async def attempt(probe: Probe) -> Outcome:
        label = "valid cookie with data, then ACK and FIN"
        async with probe.alone(label, FastOpen(probe.cookie), data=data) as flow:
            if flow.acknowledged == 1:
                raise UnusableError("the valid cookie was not honoured this time")
            await flow.complete(probe.round_trip)
            if goes_on(flow):
                return probe.passed("segments come after the handshake", conclusive=True)
            control = await probe.plain_connection("control: plain connection, then FIN")
            if control.syn_ack is None:
                raise UnusableError("plain SYNs are not answered now")
            await control.complete(probe.round_trip)
            probe.close_later(control)
            if not control.fin_acknowledged and not control.has_ended:
                # A server that ignores FINs may still answer something else.
                if await probe.application.replies(flow):
                    return probe.passed("segments come after the handshake", conclusive=True)
                raise UnusableError("plain connections do not go on either")
        return probe.breach("after a Fast Open nothing more comes, while plain connections go on")

    outcome = await probe.agree(attempt, IN_TURN)
    if outcome.verdict is not Verdict.FAIL:
        return outcome
    where = await probe.where_it_ends()
    return Outcome(outcome.verdict, f"{outcome.seen}{_at(where)}")


@case(
    "path.cookie-changed",
    section="7.1",
    level=Level.PATH,
    severity=Severity.MAJOR,
    title="The cookie arrives as it was sent",
    requirement="Nothing on the way changes the bytes of a cookie.",
    expected="gets the cookie that we send",
    advice=_NOT_THE_SERVER + "A box on the way rewrites option 34: find out why, it can only be a "
    "mistake.",
    why="The server turns down a cookie that it never issued, and looks like one that does not "
    "honour its own.",
    needs=("cookie.request",),
    after=("open.data-acked",),
    once=True,
)
async def cookie_changed(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie (valid), n bytes (those of open.data-acked)
    <- SYN-ACK, ack 1+n: so it arrived
    <- SYN-ACK, ack 1: then the SYN again, TTL 1, 2, 3 ...
    <- ICMP time exceeded, quoting the SYN as it got there
    """
    if probe.verdict_of("open.data-acked") is not Verdict.FAIL:
        probe.observing()
        if probe.borrow("open.data-acked", lambda flow: (flow.acknowledged or 0) > 1):
            return probe.passed("a cookie is honoured: it arrived as it was sent", conclusive=True)
        return probe.skipped("no cookie was sent that could have been honoured")
    route = await probe.route()
    change = route.changed("fast-open", OPEN)
    if change is None:
        return probe.info("no router quotes another cookie than was sent")
    return _changed(probe, change)


@case(
    "path.sequence-rewritten",
    section="7.1",
    level=Level.PATH,
    severity=Severity.MAJOR,
    title="Sequence and acknowledgement numbers line up",
    requirement="Who shifts the numbers of a connection shifts all of them, on the SYN with data "
    "as well.",
    expected="sends a SYN-ACK whose acknowledgement fits the SYN and what follows",
    advice=_NOT_THE_SERVER + "A firewall that randomises sequence numbers (Cisco ASA: "
    "`random-sequence-number`), or a box that rebuilds SYN-ACKs, does not reckon with data on the "
    "SYN: switch that off, or update it.",
    why="Client and server then count from different places: the data is taken, yet the client "
    "sends it again or resets the connection.",
    needs=("control.syn",),
    after=("control.syn-data", "open.data-acked"),
    once=True,
)
async def sequence_rewritten(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie (valid), n bytes (those of other cases)
    <- SYN-ACK, ack 1 or 1+n
    <- data, with the same acknowledgement
    with --trace: SYNs with TTL 1, 2, 3 ..., and what routers quote
    """
    flows = probe.flows_of("control.syn", "control.syn-data", "open.data-acked")
    contradicting = [
        (flow, found)
        for flow in flows
        if (found := comparison.contradicting_acks(flow.packets)) is not None
    ]
    misfits = [flow for flow in flows if flow.misfits and flow.syn_ack is None]
    if contradicting:
        flow, (first, then) = contradicting[0]
        probe.evidence.adopt(flow)
        shift = (then - first) % 2**32
        return probe.breach(
            f"the SYN-ACK acknowledges {shift} bytes less than the data that comes right behind it:"
            " one of the two was changed on the way back",
            conclusive=True,
        )
    if len(misfits) >= 3:
        for flow in misfits[:3]:
            probe.evidence.adopt(flow)
        return probe.breach(
            f"{len(misfits)} SYN-ACKs acknowledge numbers that were never sent", conclusive=True
        )
    route = probe.known_route
    if probe.plan.trace:
        route = await probe.route()
    shifted = route.changed("sequence") if route is not None else None
    if shifted is not None:
        _, where = shifted
        return probe.info(f"sequence numbers are shifted {where}, and back: they line up")
    probe.borrow("control.syn", lambda flow: flow.syn_ack is not None)
    return probe.passed("every SYN-ACK acknowledges what was sent")


@case(
    "path.source-changes",
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
    different ones: 16 requests at once
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
    if probe.nat_is_ruled_out or ipaddress.ip_address(probe.source).is_global:
        return probe.info(f"{seen}, and no NAT is on the way: servers with a key each")
    return probe.breach(
        f"{seen}: our address changes from one connection to the next (a NAT with a pool of"
        " addresses), or as many servers answer with a key each",
        conclusive=True,
    )


@case(
    "path.proxy",
    role=Role.PROXY,
    section="7.1",
    level=Level.PATH,
    severity=Severity.MAJOR,
    title="Nobody answers in the server's place",
    requirement="The server itself answers our SYNs.",
    expected="answers from as far away as its data, and its host, are",
    advice=_NOT_THE_SERVER + "A SYN proxy (a SYN-flood guard: nftables and iptables `synproxy`) or "
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


@case(
    "path.loss",
    section="RFC 9293 3.8.1",
    level=Level.INFO,
    title="How many SYNs and SYN-ACKs get lost",
    requirement="Networks lose packets; a verdict must not depend on it.",
    expected="answers every SYN, as long as none is lost",
    advice="Run it again at another time, or from another place. SYN-ACKs that get lost on the way "
    "back point to a full link or an overloaded firewall near here, SYNs to one near the server.",
    why="Loss makes a run slower and some verdicts inconclusive. Which way it happens tells where "
    "to look: SYN-ACKs that come a second late were lost on the way back.",
    needs=("control.syn",),
    turn=Turn.RISKY,
    once=True,
)
async def loss(probe: Probe) -> Outcome:
    """
    -> SYN (those of all other cases; at least 20)
    <- SYN-ACK at once, or a repeated one after a second, or none
    """

    missing = LEAST_SYNS - len(probe.answerable())
    for flow in await asyncio.gather(*(probe.plain_syn("plain SYN") for _ in range(missing))):
        probe.close_later(flow)
    flows = probe.answerable()
    trips = probe.round_trips
    repeated = [
        flow
        for flow in flows
        if flow.round_trip is not None and trips.may_be_repeated(flow.round_trip)
    ]
    silent = [flow for flow in flows if flow.syn_ack is None and not flow.has_ended]
    if not repeated and not silent:
        return probe.info(f"none: each of {len(flows)} SYNs was answered at once")
    back, there = len(repeated) / len(flows), len(silent) / len(flows)
    return probe.info(
        f"of {len(flows)} SYNs {len(repeated)} got only a repeated SYN-ACK ({back:.0%}: lost on the"
        f" way back), {len(silent)} no answer ({there:.0%}: lost on the way there, or back)"
    )


@case(
    "path.trace",
    section="7.1",
    level=Level.INFO,
    title="The route, hop by hop",
    requirement="What is sent arrives as it was sent.",
    expected="is reached through routers that quote our SYNs as they were sent",
    advice="Look at the box between the two hops that are named: its owner is found by its address "
    "(whois), its kind often by what it does.",
    why="It shows which box on the way changes or drops what, and which ones are innocent.",
    needs=("control.syn",),
    after=("cookie.request", "open.data-acked"),
    option=Option.TRACE,
    once=True,
)
async def trace(probe: Probe) -> Outcome:
    """
    -> SYN, TTL 1, 2, 3 ...: plain, with the option, with data, with both
    <- ICMP time exceeded, quoting the SYN as it got there
    """
    route = await probe.route()
    routers = route.routers
    if route.reached_at == 1:
        return probe.info("the server is one hop away: there is no router between")
    if not routers:
        return probe.info("no router on the way answers a SYN whose TTL runs out")
    count = f"{len(routers)} of {(route.reached_at or max(routers) + 1) - 1} hops answer"
    changes = [f"{change.what} {where}" for change, where in route.changes]
    lost = [
        f"{stimulus}s end {where}"
        for stimulus in (OPTION, DATA, OPEN)
        if stimulus in route.echoes and route.stops_short(stimulus)
        if (where := route.vanished(stimulus)) is not None
    ]
    return probe.info(f"{count}; {'; '.join(changes + lost) or 'nothing is changed on the way'}")


def _changed(probe: Probe, change: tuple[Change, str]) -> Outcome:
    """What a quote proves: the change, and between which hops."""
    what, where = change
    return probe.breach(f"{what.what} {where}", conclusive=True)


def _at(where: str | None) -> str:
    return f"; they end {where}" if where else ""


def _hops(count: int) -> str:
    return f"{count} hop{'s' if count != 1 else ''}"
