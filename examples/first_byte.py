from tfocheck.case import FAST_OPEN_WORKS, IN_TURN, FastOpen, Level, Severity, case


@case("my.first-byte", section="1", level=Level.SHOULD, severity=Severity.MINOR,
      title="The first byte comes soon", needs=FAST_OPEN_WORKS, agree=IN_TURN,
      requirement="We promise an answer within 50 ms of the request, and a round trip.",
      expected="answers a request on the SYN within 50 ms and a round trip")
async def first_byte(probe):
    """
    -> SYN, seq 0, cookie (valid), n bytes
    <- SYN-ACK, ack 1+n; the answer may start
    -> ACK, FIN,ACK
    """
    cookie, data = FastOpen(probe.cookie), probe.payload.data
    async with probe.alone("a request on the SYN", cookie, data=data) as flow:
        if wrong := await probe.application.serves(flow):
            return probe.undecided(wrong)
        took = flow.first_data_time - flow.syn_time - (probe.round_trips.smallest or 0.0)
        if took > 0.05:
            return probe.breach(f"{took * 1000:.0f} ms and a round trip")
        return probe.passed("within 50 ms and a round trip", conclusive=True)
