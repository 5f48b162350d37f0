"""RFC 7413 section 4.1.1: the Fast Open option among others, wherever it stands."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from tfocheck.case import (
    FAST_OPEN_WORKS,
    IN_TURN,
    Agreement,
    Control,
    FastOpen,
    Level,
    NothingToSeeError,
    OptionArea,
    Outcome,
    Probe,
    Rejection,
    Severity,
    Syn,
    UnusableError,
    Verdict,
    case,
    tcp_options,
)


@case(
    "option.without-syn",
    section="4.1.1",
    level=Level.MUST,
    severity=Severity.MINOR,
    title="The option outside a SYN is ignored",
    requirement="The Fast Open option is for SYN and SYN-ACK only; on any other segment it is "
    "ignored.",
    expected="ignores the option on ACK, data and FIN, goes on with the connection, and sends no "
    "cookie back",
    advice="The stack, or a firewall that checks options, lets one on an established connection "
    "disturb it: update it, or relax that check.",
    why="Boxes that split and merge segments copy options to where they do not belong. A server "
    "that minds loses connections of users who did nothing wrong.",
    faults=("resets-on-stray-option",),
)
async def without_syn(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0
    <- SYN-ACK, ack 1
    -> ACK, with 22 02
    -> ACK, n bytes, with 22 02
    <- the answer that plain connections get, no Fast Open option
    -> FIN,ACK, with 22 02
    <- ACK of our FIN, no Fast Open option
    """
    async with probe.beside_others("option on ACK, data and FIN") as flow:
        flow.stray_options = (FastOpen().to_option(),)
        await flow.acknowledge()
        wrong = await probe.application.serves(flow, probe.payload.data)
        if wrong:
            return probe.breach(f"with the option on ACK and data: {wrong}")
        await flow.complete(probe.round_trip)
        if flow.reset is not None:
            raise NothingToSeeError("the application resets by itself")
        if not flow.fin_acknowledged:
            return probe.breach("with the option on FIN the connection does not close")
        later = [each.segment for each in flow.received if not each.segment.is_syn_ack]
        if any(segment.fast_open for segment in later):
            return probe.breach("the server answered it with an option", conclusive=True)
        return probe.passed("ignored on ACK, data and FIN; the connection works")


async def _works_with(probe: Probe, name: str, area: Callable[[FastOpen], OptionArea]) -> Outcome:
    """A cookie request and a Fast Open, both with the option area made by ``area``, are served."""
    data = probe.payload.data

    async def request(probe: Probe) -> Outcome:
        options = area(FastOpen())
        async with probe.beside_others(f"request, {name}", options=options) as flow:
            if flow.offered_cookie is None:
                return probe.breach(f"{name}: a cookie request gets no cookie")
            return probe.passed("cookie", conclusive=True)

    async def open_(probe: Probe) -> Outcome:
        options = area(FastOpen(probe.cookie))
        async with probe.alone(f"valid cookie, {name}", data=data, options=options) as flow:
            if flow.acknowledged != 1 + len(data) or not await probe.is_open(flow):
                probe.cookies.refuse_other_key(flow)
                return probe.breach(
                    f"{name}: the valid cookie opens nothing (ack {flow.acknowledged})"
                )
            return probe.passed("accepted", conclusive=True)

    return await probe.all_hold(
        [
            probe.agree(
                request, Agreement(together=False, unanswered=f"a cookie request, {name},")
            ),
            probe.agree(open_, Agreement(together=False, unanswered=f"a valid cookie, {name},")),
        ],
        "cookie and acceptance",
    )


@case(
    "option.unaligned",
    section="4.1.1",
    level=Level.MUST,
    severity=Severity.MAJOR,
    title="The option may stand at any byte",
    requirement="The option needs no alignment: no NOP has to precede it.",
    expected="treats a request and a valid cookie alike behind 0, 1, 2 and 3 NOPs",
    advice="Clients place the option as they like: the stack, and any load balancer or firewall "
    "in front that reads options, must find it at odd places too. Update whichever does not.",
    why="Every client's system orders and pads its options in its own way. A server that minds "
    "works with some systems and not with others, which is hard to find out later.",
    needs=FAST_OPEN_WORKS,
    faults=("needs-alignment",),
    once=True,
    control=(Control.ISSUING, Control.SAME_KEY),
)
async def unaligned(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, MSS, 0 to 3 NOPs, cookie request
    <- SYN-ACK, ack 1, cookie
    -> RST,ACK (half-open)
    -> SYN, seq 0, MSS, 0 to 3 NOPs, cookie (valid), n bytes
    <- SYN-ACK, ack 1+n
    -> ACK, FIN,ACK
    """
    mss = tcp_options.mss(probe.own_mss).encode()

    def behind(nops: int) -> Callable[[FastOpen], bytes]:
        return lambda option: tcp_options.pad(mss + b"\x01" * nops + option.to_option().encode())

    return await probe.all_hold(
        [_works_with(probe, f"behind {nops} NOPs", behind(nops)) for nops in range(4)],
        "request and valid cookie work behind 0, 1, 2 and 3 NOPs",
    )


@case(
    "option.after-eol",
    section="RFC 9293 3.1",
    level=Level.MUST,
    severity=Severity.MINOR,
    title="What follows the end of the option list is not read",
    requirement="End of Option List ends the list: a cookie behind it is padding.",
    expected="does not see a valid cookie behind End of Option List: ack 1, no cookie in reply",
    advice="The stack, or a load balancer in front, reads padding as options; Linux does not. "
    "Update it, or report it to its maker.",
    why="A firewall stops reading at the end of the list. If the server reads on, options can be "
    "smuggled past it.",
    needs=(*FAST_OPEN_WORKS, "control.syn-data", "cookie.not-volunteered"),
    faults=("reads-past-eol",),
    once=True,
    control=(Control.VALID_COOKIE,),
)
async def after_eol(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, MSS, End of Option List, cookie (valid), n bytes
    <- SYN-ACK, ack 1 (the SYN alone), no Fast Open option
    ...nothing before our ACK...
    -> RST,ACK (half-open)
    """
    mss = tcp_options.mss(probe.own_mss).encode()
    hidden = mss + bytes([tcp_options.END_OF_LIST]) + FastOpen(probe.cookie).to_option().encode()
    syn = Syn(data=probe.payload.data, options=tcp_options.pad(hidden))
    hidden_cookie = [("a cookie behind End of Option List", lambda: syn)]
    return await probe.rejects(hidden_cookie, Rejection(ignored=True))


@case(
    "option.crowded",
    section="4.1.1",
    level=Level.MUST,
    severity=Severity.MAJOR,
    title="The option works in a full header",
    requirement="The option is served beside MSS, SACK, timestamps and window scale, with all 40 "
    "bytes of options in use.",
    expected="serves request and valid cookie in a SYN whose 40 option bytes are full",
    advice="Something refuses SYNs with full headers: look first at firewalls, SYN proxies and "
    "load balancers on the way (a limit on option bytes), then at the server's stack.",
    why="The everyday options take 19 bytes, one with a cookie of 16 bytes takes 18: padded, that "
    "is all 40. What trips over a full header trips over real clients.",
    needs=FAST_OPEN_WORKS,
    faults=("drops-crowded-syn",),
    once=True,
    control=(Control.ISSUING, Control.SAME_KEY),
)
async def crowded(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, 40 bytes of options, cookie request among them
    <- SYN-ACK, ack 1, cookie
    -> RST,ACK (half-open)
    -> SYN, seq 0, 40 bytes of options, cookie (valid), n bytes
    <- SYN-ACK, ack 1+n
    -> ACK, FIN,ACK
    """
    mss = tcp_options.mss(probe.own_mss)

    def full(option: FastOpen) -> OptionArea:
        def area(timestamp: int) -> bytes:
            others = (
                mss,
                tcp_options.sack_permitted(),
                tcp_options.timestamps(timestamp, 0),
                tcp_options.window_scale(7),
                option.to_option(),
            )
            used = b"".join(each.encode() for each in others)
            return used.rjust(tcp_options.MAX_OPTION_BYTES, bytes([tcp_options.NO_OPERATION]))

        return area

    outcome = await _works_with(probe, "in 40 bytes of options", full)
    if outcome.verdict is Verdict.PASS:
        return probe.passed("request and valid cookie work with all 40 option bytes in use")
    return outcome


@case(
    "option.duplicate",
    section="4.1.1",
    level=Level.PROCEDURE,
    severity=Severity.CRITICAL,
    title="Two Fast Open options: which one wins",
    requirement="The RFC does not say what two options mean; two forged ones must open nothing.",
    expected="accepts no pair of forged cookies",
    advice="A doubled option gets past the cookie check. If forged.random fails too, see there; "
    "otherwise update the stack, and until then let a firewall drop SYNs with two options of kind "
    "34.",
    why="A parser that checks one of the two and acts on the other is a door without a lock. "
    "Which one wins is reported because a firewall may look at the other.",
    needs=(*FAST_OPEN_WORKS, "control.syn-data"),
    faults=("accepts-any-cookie",),
    once=True,
    control=(Control.VALID_COOKIE,),
)
async def duplicate(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie (forged) twice, n bytes
    <- SYN-ACK, ack 1 (the SYN alone)
    ...nothing before our ACK...
    -> RST,ACK (half-open)
    -> SYN, seq 0, valid and forged cookie, in both orders, n bytes
    <- SYN-ACK, ack 1 or 1+n: only reported
    -> ACK, FIN,ACK
    """
    data, valid = probe.payload.data, FastOpen(probe.cookie)
    mss = tcp_options.mss(probe.own_mss)

    def forged() -> FastOpen:
        return FastOpen(secrets.token_bytes(len(probe.cookie)))

    def pair(*options: FastOpen) -> bytes:
        return tcp_options.encode([mss, *(option.to_option() for option in options)])

    async def opens(probe: Probe, name: str, *options: FastOpen) -> bool:
        area = pair(*options)
        async with probe.alone(name, data=data, options=area, may_fall_back=True) as flow:
            return await probe.is_open(flow)

    async def both_orders(probe: Probe) -> Outcome:
        first, last = await asyncio.gather(
            opens(probe, "valid, then forged", valid, forged()),
            opens(probe, "forged, then valid", forged(), valid),
        )
        winner = {
            (True, True): "the valid one wins in either order",
            (True, False): "the first one wins",
            (False, True): "the last one wins",
            (False, False): "neither opens anything",
        }[first, last]
        return probe.info(winner, conclusive=True)

    def two_forged() -> Syn:
        return Syn(data=data, options=pair(forged(), forged()))

    rejected = await probe.rejects([("two forged cookies", two_forged)])
    if rejected.verdict is not Verdict.PASS:
        return rejected
    outcome = await probe.agree(both_orders, IN_TURN)
    if outcome.verdict is not Verdict.INFO:
        return outcome
    return probe.passed(f"{rejected.seen}; of a valid and a forged one, {outcome.seen}")


@case(
    "option.experimental",
    section="9",
    level=Level.INFO,
    title="The option's form of before the RFC",
    requirement="Before kind 34 was assigned, Fast Open used kind 254 with ExID 0xF989. A server "
    "that still serves it answers in the same form.",
    expected="answers kind 254 with kind 254, if at all",
    advice="The two forms are mixed up, or cookies of the old one are not honoured, so old "
    "clients ask for ever: update the stack. Not to answer kind 254 at all is fine.",
    why="Old clients (Linux before 4.1) know this form only. A server that mixes the two forms "
    "gives them cookies that they can't read.",
    needs=("control.syn",),
    after=("cookie.request", "open.data-acked"),
    faults=("mixes-kinds",),
    once=True,
)
async def experimental(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie request in kind 254, ExID F989
    <- SYN-ACK, ack 1, no option, or a cookie in kind 254
    -> RST,ACK (half-open), or ACK and FIN,ACK without a cookie
    if a cookie came:
    -> SYN, seq 0, that cookie in kind 254, n bytes
    <- SYN-ACK, ack 1+n
    -> ACK, FIN,ACK
    not accepted: the valid cookie of kind 34
    """
    data = probe.payload.data

    async def request(probe: Probe) -> Outcome:
        asked = FastOpen(experimental=True)
        async with probe.beside_others("request, kind 254", asked, rejected=True) as flow:
            offered = flow.offered_cookie
            if offered is None:
                if probe.has_cookie and not await probe.cookies.still_offered():
                    raise UnusableError("no cookie comes now, of either kind")
                return probe.info("not served: kind 254 is not answered")
            if not offered.experimental:
                return probe.breach("asked with kind 254, answered with kind 34", conclusive=True)
            served.append(offered)
            return probe.info("a cookie in kind 254", conclusive=True)

    async def replay(probe: Probe) -> Outcome:
        async with probe.alone("cookie in kind 254, with data", served[0], data=data) as flow:
            if flow.acknowledged == 1 + len(data) and await probe.is_open(flow):
                only = "" if probe.has_cookie else "; kind 34 gets none"
                return probe.info(
                    f"served: a cookie comes in kind 254, and is honoured in it{only}"
                )
            if not probe.has_cookie:
                return probe.info(
                    f"a cookie comes in kind 254; with it, ack {flow.acknowledged} to"
                    f" {len(data)} bytes of data; without one of kind 34 nothing tells whose doing"
                    " that is"
                )
            if probe.verdict_of("open.data-acked") is not Verdict.PASS:
                return probe.info(
                    "a cookie comes in kind 254, and is not honoured: see open.data-acked"
                )
            probe.cookies.refuse_other_key(flow)
        seen = "a cookie comes in kind 254, and is not honoured in it"
        control = await probe.accepts_valid_cookie("control: valid cookie of kind 34")
        if control.verdict is not Verdict.PASS:
            raise UnusableError(f"{seen}; nor is one of kind 34 now")
        return probe.breach(seen)

    served: list[FastOpen] = []
    outcome = await probe.agree(request, IN_TURN)
    if outcome.verdict is not Verdict.INFO or not served:
        return outcome
    return await probe.agree(replay, Agreement(together=False, need=1))
