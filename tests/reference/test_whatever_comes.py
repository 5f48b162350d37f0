"""Whatever comes, the reference server answers well-formed segments and stays bounded."""

from __future__ import annotations

import random

from crafted import GET, GET_LARGE, KEY, MSS, NOP, PORT, SCALE, STAMPS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfocheck.reference.faults import FAULTS
from tfocheck.reference.listener import ReferenceServer
from tfocheck.wire import options as tcp_options
from tfocheck.wire.numbers import SEQUENCE_SPACE
from tfocheck.wire.options import FastOpen, Option
from tfocheck.wire.segment import Flags, Segment

addresses = st.sampled_from(["10.0.0.1", "10.0.0.9"])
option_areas = st.one_of(
    st.binary(max_size=40).map(lambda area: area[: len(area) // 4 * 4]),
    st.lists(
        st.one_of(
            st.sampled_from([MSS, NOP, SCALE, STAMPS, tcp_options.mss(0), Option(3, b"\xff")]),
            st.binary(max_size=8).map(lambda value: FastOpen(value).to_option()),
        ),
        max_size=3,
    ).map(tcp_options.encode),
)
numbers = st.one_of(
    st.integers(0, 300), st.sampled_from([2**31, 2**32 - 1]), st.integers(0, 2**32 - 1)
)
steps = st.tuples(
    st.integers(0, 255).map(Flags),
    st.sampled_from([20_000, 20_001]),
    addresses,
    numbers,
    numbers,
    st.sampled_from([0, 1, 200, 65_535]),
    option_areas,
    st.one_of(st.binary(max_size=40), st.just(GET), st.just(GET_LARGE)),
    st.sampled_from([0, 0.001, 1, 5, 70]),
    st.booleans(),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(steps, max_size=40),
    st.sets(st.sampled_from(sorted(set(FAULTS) - {"dies-on-bad-length", "dies-on-length"}))),
)
def test_anything_may_come(events: list[tuple], faults: set[str]) -> None:  # type: ignore[type-arg]
    target = ReferenceServer(
        PORT, faults, pending_limit=4, max_connections=3, cookie_key=KEY, rng=random.Random(1)
    )
    now, isn = 0.0, 0
    for flags, port, source, seq, ack, window, area, payload, pause, valid in events:
        if valid:  # else few segments would meet a connection
            ack = (isn + ack % 300) % SEQUENCE_SPACE
        segment = Segment(source, port, "10.0.0.2", PORT, seq, ack, flags, window, area, payload)
        replies = target.receive(segment, now)
        now += pause
        replies += target.fire(now)
        for reply in replies:
            assert (reply.source, reply.destination_port) in (
                ("10.0.0.2", 20_000),
                ("10.0.0.2", 20_001),
            )
            assert 0 <= reply.window <= 65_535
            assert len(reply.options) <= 40
            assert 0 <= reply.seq < SEQUENCE_SPACE
            assert 0 <= reply.ack < SEQUENCE_SPACE
            if reply.is_syn_ack:
                isn = reply.seq
        assert target.connection_count <= 3
        timer = target.next_timer()
        assert timer is None or timer > now
    target.fire(now + 10_000)
    target.fire(now + 20_000)
    assert target.connection_count == 0
    assert target.pending_requests(now + 30_000) == 0
