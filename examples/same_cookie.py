from tfocheck.case import Level, Outcome, Severity, case
from tfocheck.probe import Probe
from tfocheck.tcp.options import FastOpen


@case(
    "my.same-cookie",
    section="4.2.1",
    level=Level.SHOULD,
    severity=Severity.MINOR,
    title="Two requests get the same cookie",
    requirement="Our health check wants to use one cookie for a minute.",
    expected="issues the same cookie twice",
)
async def same_cookie(probe: Probe) -> Outcome:
    """-> SYN, cookie request; <- SYN-ACK, cookie; and once more"""

    async def attempt() -> Outcome:
        async with probe.beside_others("first", FastOpen()) as one:
            async with probe.beside_others("second", FastOpen()) as other:
                if one.offered == other.offered:
                    return probe.passed("the same cookie twice")
                return probe.breach("two requests, two cookies", conclusive=True)

    return await probe.agree(attempt)
