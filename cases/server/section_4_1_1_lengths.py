"""RFC 7413 section 4.1.1: which lengths of the Fast Open option are legal."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from tfocheck.case import (
    FAST_OPEN_WORKS,
    LEAST_TO_BLAME,
    Agreement,
    Control,
    Fact,
    FastOpen,
    Level,
    Outcome,
    Probe,
    Rejection,
    Severity,
    Turn,
    case,
    tcp_options,
)

_LAX_PARSER = (
    "The stack, or a load balancer that ends connections in front of it, takes an illegal option "
    "for a legal one; Linux does not. Update it, or report it to its maker."
)


def _like_valid(cookie: bytes, size: int) -> Callable[[], bytes]:
    """A cookie of that size that begins like the valid one: the hardest to turn down."""
    return lambda: (cookie + secrets.token_bytes(size))[:size]


async def _ignores_sizes(probe: Probe, *sizes: int) -> Outcome:
    cookies = [(f"a cookie of {size} bytes", _like_valid(probe.cookie, size)) for size in sizes]
    summary = f"cookies of {', '.join(map(str, sizes))} bytes"
    return await probe.rejects_cookies(cookies, Rejection(summary=summary, ignored=True))


@case(
    "option.cookie-format",
    section="4.1.1",
    level=Level.MUST,
    severity=Severity.MAJOR,
    title="The cookie that comes is a legal one",
    requirement="A cookie has 4 to 16 bytes and an even length; clients ignore any other.",
    expected="answers a cookie request with option kind 34 and a cookie of 4 to 16 bytes, even",
    advice="Clients ignore an illegal cookie, so Fast Open never happens: update the server's TCP "
    "stack (Linux issues 8 bytes), or look for a box on the way that rewrites options.",
    why="The cookie is all that a client keeps of a server. With an illegal one it asks again on "
    "each connection and never gets what it asks for, and neither side is told.",
    faults=("odd-cookie", "short-cookie", "long-cookie", "answers-old-kind"),
    learns=(Fact.COOKIE, Fact.COOKIES_SEEN, Fact.SILENCES),
    agree=Agreement(unanswered="a SYN with a cookie request", path="path.option-dropped"),
)
async def cookie_format(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie request (empty option)
    <- SYN-ACK, ack 1, kind 34, cookie of 4 to 16 bytes, even
    -> RST,ACK (half-open)
    """
    async with probe.beside_others("cookie request", FastOpen()) as flow:
        option = flow.offered_cookie
        if option is None:
            return probe.undecided("the SYN-ACK has no cookie this time")
        size = len(option.cookie)
        if not option.has_legal_cookie:
            least, most = tcp_options.MIN_COOKIE_BYTES, tcp_options.MAX_COOKIE_BYTES
            return probe.breach(
                f"a cookie of {size} bytes: legal are {least} to {most}, even",
                conclusive=True,
            )
        if option.experimental:
            return probe.breach(
                "asked with kind 34, answered with kind 254 (pre-RFC form)", conclusive=True
            )
        probe.facts.learn(Fact.COOKIE, option.cookie)
        return probe.passed(f"a cookie of {size} bytes in option kind 34")


@case(
    "option.odd-length",
    section="4.1.1",
    level=Level.MUST,
    severity=Severity.MINOR,
    title="Cookies of odd length are ignored",
    requirement="An option whose cookie has an odd length is ignored: neither an open nor a "
    "cookie request.",
    expected="treats the SYN as if it had no Fast Open option: ack 1, no cookie in reply",
    advice=_LAX_PARSER,
    why="Where two ends, or a firewall and the server, read an illegal option differently, they "
    "do not agree on whether data was accepted. A lax parser is also where forgeries get in.",
    needs=(*FAST_OPEN_WORKS, "control.syn-data", "cookie.not-volunteered"),
    faults=("treats-odd-as-request", "accepts-odd"),
    once=True,
    control=(Control.VALID_COOKIE,),
)
async def odd_length(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, option with 5, 7, ... 15 bytes of cookie, n bytes
    <- SYN-ACK, ack 1 (the SYN alone), no Fast Open option
    ...nothing before our ACK...
    -> RST,ACK (half-open)
    """
    return await _ignores_sizes(probe, 5, 7, 9, 11, 13, 15)


@case(
    "option.too-short",
    section="4.1.1",
    level=Level.MUST,
    severity=Severity.MINOR,
    title="Cookies below 4 bytes are ignored",
    requirement="An option whose cookie has 1 to 3 bytes is ignored.",
    expected="treats the SYN as if it had no Fast Open option: ack 1, no cookie in reply",
    advice=_LAX_PARSER,
    why="One byte is guessed within 256 SYNs, three within seventeen million. And whoever takes "
    "such an option for a request hands out cookies in reply to rubbish.",
    needs=(*FAST_OPEN_WORKS, "control.syn-data", "cookie.not-volunteered"),
    faults=("treats-short-as-request", "drops-short-option"),
    once=True,
    control=(Control.VALID_COOKIE,),
)
async def too_short(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, option with 1, 2 or 3 bytes of cookie, n bytes
    <- SYN-ACK, ack 1 (the SYN alone), no Fast Open option
    ...nothing before our ACK...
    -> RST,ACK (half-open)
    """
    return await _ignores_sizes(probe, 1, 2, 3)


@case(
    "option.too-long",
    section="4.1.1",
    level=Level.MUST,
    severity=Severity.MINOR,
    title="Cookies above 16 bytes are ignored",
    requirement="An option whose cookie has more than 16 bytes is ignored.",
    expected="treats the SYN as if it had no Fast Open option: ack 1, no cookie in reply",
    advice=_LAX_PARSER,
    why="Stacks keep a cookie in 16 bytes. One that takes a longer cookie may read, or write, "
    "beyond them: that is how parsers are broken into.",
    needs=(*FAST_OPEN_WORKS, "control.syn-data", "cookie.not-volunteered"),
    faults=("treats-long-as-request", "drops-long-option"),
    once=True,
    control=(Control.VALID_COOKIE,),
)
async def too_long(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, option with 17, 18 or 20 bytes of cookie, n bytes
    <- SYN-ACK, ack 1 (the SYN alone), no Fast Open option
    ...nothing before our ACK...
    -> RST,ACK (half-open)
    """
    return await _ignores_sizes(probe, 17, 18, 20)


@case(
    "option.request-length-2",
    section="4.1.1",
    level=Level.MUST,
    severity=Severity.MAJOR,
    title="The empty option, 22 02, is a cookie request",
    requirement="A cookie request is the option with length 2 and nothing else (erratum 4238).",
    expected="answers the two bytes 22 02 with a cookie",
    advice="Standard clients never get a cookie from this server: its stack must take an option "
    "of length 2 as a request. Update it, or the load balancer that ends connections in front of "
    "it.",
    why="It is how every client begins. A server that waits for another form serves nobody, and "
    "looks as if Fast Open were off.",
    needs=("control.syn",),
    faults=("ignores-empty-option",),
    once=True,
    learns=(Fact.SILENCES,),
)
async def request_length(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, MSS, 22 02 (the empty option)
    <- SYN-ACK, ack 1, cookie
    -> RST,ACK (half-open)
    no cookie came: is Fast Open off, or was the request not seen?
    -> SYN, seq 0, cookie (forged, 8 bytes)
    <- SYN-ACK, ack 1; a fresh cookie shows that it is on
    -> RST,ACK (half-open)
    """

    request = tcp_options.pad(tcp_options.mss(probe.own_mss).encode() + bytes.fromhex("2202"))

    async def ask(probe: Probe) -> Outcome:
        async with probe.beside_others("22 02", options=request, rejected=True) as flow:
            if flow.offered_cookie is not None:
                return probe.passed("22 02 is answered with a cookie", conclusive=True)
        # A server with Fast Open on may send a fresh cookie for one that it rejects. A listener
        # that gives cookies now and then (a short backlog) gives them to either now and then.
        forged = FastOpen(secrets.token_bytes(8))
        async with probe.beside_others("forged cookie", forged, rejected=True) as flow:
            if flow.offered_cookie is None:
                return probe.skipped("22 02 gets no cookie, and nothing else does: TFO not offered")
        return probe.breach("22 02 gets no cookie, although a forged cookie gets a fresh one")

    return await probe.agree(
        ask,
        Agreement(
            together=False, unanswered="a SYN with the option 22 02", path="path.option-dropped"
        ),
    )


@case(
    "option.illegal-length",
    section="RFC 9293 3.1",
    level=Level.MUST,
    severity=Severity.MAJOR,
    title="An illegal option length does no harm",
    requirement="A TCP copes with an illegal option length (RFC 9293, MUST-7): it may refuse that "
    "SYN, and goes on serving others.",
    expected="still answers plain SYNs after options of length 0, 1, and beyond the header",
    advice="A single packet silences the server: update its stack, or the load balancer in front, "
    "at once; until then let a firewall drop SYNs with malformed options.",
    why="A parser that trusts the length loops for ever at 0, or reads beyond the packet. One "
    "packet from anybody, under any address, would then stop the server for all.",
    needs=("control.syn", "cookie.request"),
    faults=("dies-on-bad-length",),
    turn=Turn.RISKY,
    once=True,
)
async def illegal_length(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, MSS, 22 00 (length 0)
    <- anything, or nothing: then it is sent again, from another port
    -> SYN, seq 0 (plain, from another port)
    <- SYN-ACK, ack 1
    -> RST,ACK (half-open)
    the same with 22 01 and with 22 14, which is longer than the list
    """
    mss = tcp_options.mss(probe.own_mss).encode()
    illegal = {
        "length 0": bytes.fromhex("2200 0000"),
        "length 1": bytes.fromhex("2201 0000"),
        "length 20 in a list that ends after 8": bytes.fromhex("2214 0000"),
    }
    answering = asyncio.create_task(probe.is_answering())
    try:
        return await _beside(probe, mss, illegal, answering)
    finally:
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)


async def _beside(
    probe: Probe, mss: bytes, illegal: dict[str, bytes], answering: asyncio.Task[bool]
) -> Outcome:
    if probe.has_lost:
        await answering
    else:
        # So long that nothing overtakes the plain SYN.
        await probe.clock.sleep(4 * probe.round_trips.variation)

    async def send(name: str, option: bytes) -> None:
        # What is answered has arrived; what is not may be refused, or lost, or the server's last.
        for _ in range(max(probe.attempts, LEAST_TO_BLAME)):
            flow = probe.opener.new_flow(f"option of {name}")
            await flow.send_syn(mss + option)
            # A plain SYN that overtook this one would say nothing: give it the time to arrive.
            wait = probe.round_trips.syn_wait(probe.timeout)
            arrived = await flow.wait(lambda flow=flow: bool(flow.received or flow.icmps), wait)  # type: ignore[misc]
            probe.close_later(flow)
            if arrived:
                break

    await asyncio.gather(*(send(name, option) for name, option in illegal.items()))
    names = ", ".join(illegal)
    if not await answering:
        return probe.undecided("plain SYNs are not answered now")
    if not await probe.is_answering(patiently=True):
        return probe.breach(f"after options of {names} plain SYNs are not answered any more")
    return probe.passed(f"plain SYNs are answered after options of {names}")
