"""RFC 7413 section 4.2.2: how a server falls back from a cookie that is not valid."""

from __future__ import annotations

import secrets

from tfocheck.case import (
    FAST_OPEN_WORKS,
    IN_TURN,
    Control,
    Fact,
    FastOpen,
    Level,
    Outcome,
    Probe,
    Severity,
    case,
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
    "twice: the stack must drop the data of a rejected SYN and go on as with any other SYN. "
    "Update it, or the load balancer in front; until then keep the key as it is (Linux: "
    "net.ipv4.tcp_fastopen_key).",
    why="Stale cookies are no attack but everyday life: each change of the key, or of a client's "
    "address, makes them. Those clients must not pay with lost connections or doubled orders.",
    needs=(*FAST_OPEN_WORKS, "control.syn-data"),
    faults=("delivers-rejected-data", "breaks-after-reject"),
    reads=(Fact.ACKNOWLEDGES_PLAIN_DATA,),
    control=(Control.VALID_COOKIE,),
)
async def fallback(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie (forged), the first bytes of a request
    <- SYN-ACK, ack 1 (the SYN alone)
    -> ACK, seq 1, the whole request
    <- the answer that plain connections get
    -> FIN,ACK
    """
    payload = probe.payload
    size = len(probe.cookie)

    # Only an application that notices a damaged request tells whether it got the data once.
    tells = not await probe.application.is_mute() and await probe.application.shows_its_input()
    forged = FastOpen(secrets.token_bytes(size))
    # The head of a request: were it delivered besides the whole, the answer would be another.
    head = payload.data[: payload.split]
    async with probe.beside_others("forged cookie", forged, data=head, rejected=True) as flow:
        count = (flow.acknowledged or 1) - 1
        if count and not probe.facts.acknowledges_plain_data:
            return probe.skipped("the forged cookie was accepted: see forged.random")
        # What is acknowledged is kept, if not delivered: the rest follows (RFC 9293 3.10.7.2).
        wrong = await probe.application.serves(flow, payload.data[count:])
        if wrong:
            return probe.breach(f"after a rejected cookie and the whole request: {wrong}")
        again = "the rest of the data" if count else "the data again"
        seen = f"ack {1 + count}, then handshake and {again}: served"
        if not tells:
            return probe.info(f"{seen}; whether once, the application does not show")
        return probe.passed(f"{seen} once")


@case(
    "forged.fresh-cookie",
    section="4.2.2",
    level=Level.INFO,
    title="A rejected cookie may be answered with a fresh one",
    requirement="The SYN-ACK of a fallback may carry a fresh cookie (step 5).",
    expected="sends, if anything, a cookie that then works",
    advice="The cookie that comes with a rejection is illegal or not honoured: servers behind "
    "this address have different keys (Linux: set the same net.ipv4.tcp_fastopen_key on all), or "
    "the stack needs an update.",
    why="With a fresh cookie a client whose old one is stale is fast again with its next "
    "connection. With a bad one it is turned down again and again.",
    needs=FAST_OPEN_WORKS,
    control=(Control.VALID_COOKIE, Control.SAME_KEY),
    agree=IN_TURN,
)
async def fresh_cookie(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie (forged), n bytes
    <- SYN-ACK, ack 1, no option, or a cookie
    -> RST,ACK (half-open)
    if a cookie came:
    -> SYN, seq 0, that cookie, n bytes
    <- SYN-ACK, ack 1+n
    -> ACK, FIN,ACK
    """
    data = probe.payload.data
    forged = FastOpen(secrets.token_bytes(len(probe.cookie)))
    async with probe.beside_others("forged cookie", forged, data=data, rejected=True) as flow:
        offered = flow.offered
    if offered is None:
        return probe.info("no fresh cookie with a rejection")
    if not offered.has_legal_cookie:
        return probe.breach(
            f"a rejection comes with a cookie of {len(offered.cookie)} bytes", conclusive=True
        )
    async with probe.alone("fresh cookie", offered, data=data) as again:
        if await probe.is_open(again):
            return probe.info("a rejection comes with a fresh cookie, which works", conclusive=True)
    return probe.breach("the fresh cookie of a rejection is not honoured")
