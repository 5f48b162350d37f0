from tfocheck.case import FastOpen, Level, case


@case("my.same-cookie", section="4.2.1", level=Level.INFO, title="Two requests, one cookie",
      requirement="We want to use one cookie twice.", expected="issues the same cookie twice")
async def same_cookie(probe):
    """
    -> SYN, seq 0, cookie request (twice, from two ports)
    <- SYN-ACK, ack 1, cookie
    """
    async with probe.beside_others("first request", FastOpen()) as one:
        first = one.offered
    async with probe.beside_others("second request", FastOpen()) as two:
        same = two.offered == first
    return probe.passed("the same cookie") if same else probe.breach("another cookie")
