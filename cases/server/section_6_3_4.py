"""RFC 7413 section 6.3.4: several servers, and several addresses, behind one name."""

from __future__ import annotations

from tfocheck.case import (
    FAST_OPEN_WORKS,
    IN_TURN,
    Control,
    FastOpen,
    Level,
    Outcome,
    Probe,
    Role,
    Severity,
    Verdict,
    case,
)

CONNECTIONS = 16

CHANGES_ENDURED = 4
"""So often the server may change its key while it is looked at."""

COMPARED = ("cookie.request", "open.data-acked", "forged.random")


@case(
    "farm.one-key",
    role=Role.ONE_KEY,
    section="6.3.4",
    level=Level.PROCEDURE,
    severity=Severity.MAJOR,
    title="All servers behind the address share a key",
    requirement="Servers behind one address use the same key, so that a cookie from one opens at "
    "all the others.",
    expected="accepts one cookie from 16 ports, which a load balancer may spread over its servers",
    advice="Servers behind this address don't share a key: set the same one on all (Linux: "
    "net.ipv4.tcp_fastopen_key), and change it on all at the same time. Linux's cookies cover the "
    "server's address, too: behind a load balancer that translates it, the servers need one "
    "address (direct return). A NAT on our side with a few addresses looks the same.",
    why="With a key for each server a cookie opens at one of them only: Fast Open works now and "
    "then, the less the larger the farm, and no log says why.",
    needs=FAST_OPEN_WORKS,
    faults=("many-keys",),
    once=True,
    control=(Control.ISSUING,),
)
async def one_key(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, one cookie (valid), n bytes (from 16 ports in turn)
    <- SYN-ACK, ack 1+n
    -> ACK, FIN,ACK
    turned down with another cookie:
    -> SYN, seq 0, cookie request (8 at the same time, 3 times)
    <- SYN-ACK, ack 1, cookie: one that comes back, or of a new key
    -> RST,ACK (half-open)
    """
    for _ in range(CHANGES_ENDURED):
        outcome = await _from_many_ports(probe)
        if outcome.verdict is not Verdict.FAIL or not await probe.cookies.has_one_key():
            return outcome
    return probe.undecided("the server's key has changed again and again meanwhile")


async def _from_many_ports(probe: Probe) -> Outcome:
    data, cookie = probe.payload.data, probe.cookie
    accepted = 0
    others: set[bytes] = set()

    async def attempt(probe: Probe) -> Outcome:
        async with probe.alone("one cookie, another port", FastOpen(cookie), data=data) as flow:
            if await probe.is_open(flow):
                return probe.passed("accepted", conclusive=True)
            other = flow.offered
            if other is not None and other.has_legal_cookie and other.cookie != cookie:
                others.add(other.cookie)
                return probe.breach("turned down, with another cookie", conclusive=True)
            return probe.breach("turned down")

    opens = [probe.agree(attempt, IN_TURN) for _ in range(CONNECTIONS)]
    for outcome in await probe.side_by_side(opens):
        if outcome.verdict is Verdict.INCONCLUSIVE:
            return outcome
        accepted += outcome.verdict is Verdict.PASS
    if accepted == CONNECTIONS:
        return probe.passed(f"{accepted} of {CONNECTIONS}: one cookie is accepted from every port")
    keys = f" (other cookies offered: {len(others)})" if others else ""
    return probe.breach(
        f"{accepted} of {CONNECTIONS}: servers behind this address don't share a key{keys}"
    )


@case(
    "farm.addresses",
    section="6.3.4",
    level=Level.INFO,
    title="All addresses of the name behave alike",
    requirement="A client may take any address of a name. (Cookies may well differ between "
    "addresses: section 4.1.3.)",
    expected="behaves alike at every address of the name",
    advice="Clients get another treatment at each address: compare the columns, and switch Fast "
    "Open on, or off, at all of them.",
    why="A client takes the address that it gets first. If they differ, what users get is luck, "
    "and an attacker picks the weakest.",
    needs=("control.syn",),
    once=True,
)
async def addresses(probe: Probe) -> Outcome:
    """
    -> SYNs of cookie.request, open.data-acked and forged.random
    <- what each address of the name makes of them
    no packets of its own: the verdicts on all addresses are compared
    """
    probe.observing()
    rows = await probe.compare_addresses(COMPARED)
    if len(rows) < 2:
        return probe.info("the name has one address that can be tested")
    found = {
        case_id: {
            address: verdicts[case_id]
            for address, verdicts in rows.items()
            if _is_decided(case_id, verdicts[case_id])
        }
        for case_id in COMPARED
    }
    different = [case_id for case_id in COMPARED if len(set(found[case_id].values())) > 1]
    if different:
        matrix = "; ".join(
            f"{address}: "
            + ", ".join(f"{each} {found[each].get(address, '?')}" for each in different)
            for address in rows
        )
        return probe.warning(f"the addresses differ: {matrix}")
    alike = [case_id for case_id in COMPARED if len(found[case_id]) == len(rows)]
    if not alike:
        return probe.info(
            f"none of {', '.join(COMPARED)} was decided at all of {len(rows)} addresses"
        )
    return probe.info(f"{len(rows)} addresses behave alike in {', '.join(alike)}")


def _is_decided(case_id: str, verdict: str) -> bool:
    """Whether a verdict says something of the address, and not of the run.

    That no cookie comes is a skip, and an answer all the same.
    """
    if verdict == Verdict.SKIP:
        return case_id == "cookie.request"
    return verdict in (Verdict.PASS, Verdict.FAIL, Verdict.WARN, Verdict.INFO)
