"""What a box on the way drops: options, data, all that follows a Fast Open.

None of these cases blames the server. They live on what others have sent anyway, and send packets
of their own only where there is something to find out, or with --trace.
"""

from __future__ import annotations

import contextlib

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
    NothingToSeeError,
    Outcome,
    Probe,
    Severity,
    UnansweredError,
    UnusableError,
    Verdict,
    advice,
    case,
)


@case(
    "path.option-dropped",
    section="7.1",
    level=Level.PATH,
    severity=Severity.MAJOR,
    title="SYNs with the option get through",
    requirement="A path that carries plain SYNs carries SYNs with the Fast Open option, too.",
    expected="is reached by SYNs with option 34 as by plain ones",
    advice=advice.NOT_THE_SERVER
    + "A firewall drops SYNs with TCP option 34 (with nftables: `tcp option "
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
    "path.syn-data-dropped",
    section="7.1",
    level=Level.PATH,
    severity=Severity.MAJOR,
    title="SYNs with data get through",
    requirement="A path that carries plain SYNs carries SYNs with data, too, and leaves it in.",
    expected="is reached by SYNs with data as by plain ones",
    advice=advice.NOT_THE_SERVER
    + "A firewall or intrusion detection takes data on a SYN for an attack "
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
    advice=advice.NOT_THE_SERVER
    + "A stateful firewall loses track of connections whose SYN has data "
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
                raise NothingToSeeError("plain connections do not go on either")
        return probe.breach("after a Fast Open nothing more comes, while plain connections go on")

    outcome = await probe.agree(attempt, IN_TURN)
    if outcome.verdict is not Verdict.FAIL:
        return outcome
    where = None
    with contextlib.suppress(UnansweredError, UnusableError):
        where = await probe.where_it_ends()
    return Outcome(outcome.verdict, f"{outcome.seen}{_at(where)}")


def _at(where: str | None) -> str:
    return f"; they end {where}" if where else ""


def _changed(probe: Probe, change: tuple[Change, str]) -> Outcome:
    """What a quote proves: the change, and between which hops."""
    what, where = change
    return probe.breach(f"{what.what} {where}", conclusive=True)
