"""What gets lost, comes too late or never comes, and how long the reference server waits."""

from __future__ import annotations

from dataclasses import replace

import pytest
from crafted import (
    GET_LARGE,
    MSS,
    PORT,
    REQUEST,
    STAMPS,
    USUAL,
    Client,
    ack_of,
    cookie_of,
    server,
)

from tfocheck.reference.answer import HOSTILE
from tfocheck.reference.faults import ActiveFaults
from tfocheck.reference.sender import Sender
from tfocheck.reference.timers import (
    IDLE_SECONDS,
    MAX_RETRANSMISSIONS,
    MAX_TIMEOUT,
    SYN_ACK_TIMEOUTS,
    Timers,
)
from tfocheck.wire import options as tcp_options
from tfocheck.wire.numbers import SEQUENCE_SPACE
from tfocheck.wire.options import FastOpen
from tfocheck.wire.segment import Flags, Segment

# Timers


def test_what_is_never_acknowledged_is_given_up() -> None:
    timers, now = Timers(0.0), 0.0
    timers.handshake_done()
    timers.sent(now)
    waits = []
    while timers.is_due(now := timers.deadline) and timers.repeat(now):
        timers.heard(now)  # whatever comes, it acknowledges nothing
        waits.append(timers.deadline - now)
    assert len(waits) == MAX_RETRANSMISSIONS
    assert waits == [min(2.0**each, MAX_TIMEOUT) for each in range(1, MAX_RETRANSMISSIONS + 1)]


def test_a_syn_ack_is_repeated_three_times() -> None:
    timers = Timers(5.0)
    times = [timers.deadline]
    while timers.repeat_syn_ack(timers.deadline):
        times.append(timers.deadline)
    assert times == [6.0, 8.0, 12.0, 20.0]
    assert len(times) == len(SYN_ACK_TIMEOUTS)


def test_patience_begins_anew_when_the_peer_answers() -> None:
    timers = Timers(0.0)
    timers.handshake_done()
    assert timers.deadline == IDLE_SECONDS
    for _ in range(2 * MAX_RETRANSMISSIONS):
        timers.sent(0.0)
        assert timers.repeat(1.0)
        assert timers.has_repeated
        timers.peer_answers()
    assert not timers.has_repeated
    timers.acknowledged(2.0, everything=True)
    assert not timers.is_due(1e9)
    assert timers.is_idle(1e9)


# A connection whose segments get lost


def test_a_connection_ends_that_never_acknowledges_data() -> None:
    client = Client(server())
    client.syn()
    client.segment(1, GET_LARGE)
    now = client.now
    sent = client.wait(50.0)
    assert sent
    # Something acceptable comes before it is idle for too long; what was sent stays lost.
    for _ in range(30):
        client.segment(1 + len(GET_LARGE))
        client.wait(50.0)
    assert client.target.connection_count == 0
    assert client.now > now


def test_firing_before_anything_is_due_does_nothing() -> None:
    client = Client(server())
    client.syn()
    client.segment(1)
    assert client.target.fire(client.now) == []
    assert client.target.connection_count == 1


def test_after_a_lost_syn_ack_one_segment_is_sent_first() -> None:
    target = server()
    client = Client(target)
    client.syn()
    client.wait(1.5)
    first = client.segment(1, GET_LARGE)
    assert [len(each.payload) for each in first] == [1460]


def test_an_acknowledgment_of_what_was_never_sent_is_answered() -> None:
    client = Client(server())
    client.syn()
    client.segment(1)
    (answer,) = client.segment(1, ack=5000)
    assert answer.flags == Flags.ACK
    assert ack_of(client, answer) == 1


# The sender on its own


def sender(mss: int = 1000, window: int = 65_535) -> Sender:
    made = Sender(0, mss, Segment("a", 1, "b", 2, 5, window=window), ActiveFaults())
    made.handshake_done(syn_ack_was_lost=False)
    return made


def test_an_acknowledgment_that_passes_what_was_sent_anew_goes_on_behind_it() -> None:
    made = sender()
    made.queue(bytes(10_000))
    sent = [chunk.seq for chunk in made.chunks()]
    made.start_over()
    assert [chunk.seq for chunk in made.chunks()] == sent[:1]
    assert made.acknowledge(sent[-1])
    assert next(made.chunks()).seq == sent[-1]


def test_beyond_the_threshold_the_window_grows_slowly() -> None:
    made = sender()
    made.queue(bytes(60_000))
    flight = [len(chunk.data) for chunk in made.chunks()]
    made.start_over()
    sizes = []
    for _ in range(8):
        flight = [len(chunk.data) for chunk in made.chunks()]
        sizes.append(sum(flight))
        made.acknowledge(made.max)
    # By two segments below the threshold (RFC 3465), then by one in as many round trips as the
    # window has segments (RFC 5681 section 3.1).
    assert sizes == [1000, 3000, 3000, 3000, 3000, 4000, 4000, 4000]


def test_nothing_queued_needs_no_probe() -> None:
    assert sender().probe() is None


def test_an_old_segment_changes_no_window() -> None:
    made = sender()
    newer = Segment("a", 1, "b", 2, 100, ack=1)
    made.update_window_if_newer(newer, 500)
    assert made.window == 500
    made.update_window_if_newer(replace(newer, seq=99), 7)
    made.update_window_if_newer(replace(newer, ack=0), 7)
    assert made.window == 500
    made.update_window_if_newer(replace(newer, seq=101), 600)
    assert made.window == 600


# Headers


def test_a_long_cookie_crowds_out_the_first_options() -> None:
    target = server("long-cookie")
    (syn_ack, *_) = Client(target).syn(FastOpen(experimental=True), options=USUAL)
    assert len(syn_ack.options) <= tcp_options.MAX_OPTION_BYTES
    assert syn_ack.fast_open is not None
    assert len(syn_ack.fast_open.cookie) == 18
    assert syn_ack.option_list.mss is None


def test_timestamps_follow_the_clock_and_the_peer() -> None:
    client = Client(server())
    client.syn(options=(MSS, STAMPS))
    seen = []
    for value in (800, 900):
        client.now += 0.25
        area = tcp_options.encode([tcp_options.timestamps(value, 0)])
        (answer,) = client.segment(2, b"late", options=area)
        stamps = answer.option_list.timestamps
        assert stamps is not None
        seen.append(stamps)
    (first, echo), (second, later_echo) = seen
    assert (second - first) % SEQUENCE_SPACE == 250
    # What came out of order is no reason to echo its timestamp (RFC 7323 section 4.3).
    assert (echo, later_echo) == (777, 777)


# What it remembers


def test_cookies_given_to_too_many_are_forgotten() -> None:
    target = server("ignores-source")
    first = cookie_of(target, source="10.9.0.1")
    client = Client(target, source="10.9.0.2")
    assert ack_of(client, client.syn(FastOpen(first), data=b"x")[0]) == 2
    for number in range(4097):
        syn = Segment(
            f"10.8.{number >> 8}.{number & 255}", 5, "10.0.0.2", PORT, 1, flags=Flags.SYN,
            options=tcp_options.encode([REQUEST.to_option()]),
        )  # fmt: skip
        target.receive(syn, client.now)
    client = Client(target, source="10.9.0.3")
    assert ack_of(client, client.syn(FastOpen(first), data=b"x")[0]) == 1


def test_the_hostile_answer_is_hostile() -> None:
    client = Client(server())
    client.syn()
    client.segment(1, b"GET /hostile HTTP/1.1\r\nHost: lab\r\n\r\n")
    assert HOSTILE in client.answer


def test_faults_show_their_names() -> None:
    assert repr(ActiveFaults(["floods", "binds-port"])) == "ActiveFaults(['binds-port', 'floods'])"


@pytest.mark.parametrize("flags", [Flags.NONE, Flags.FIN, Flags.PSH])
def test_a_segment_without_ack_is_ignored(flags: Flags) -> None:
    client = Client(server())
    client.syn()
    client.segment(1)
    assert client.segment(1, b"data", flags=flags) == []


def test_a_syn_in_a_connection_is_answered_with_an_ack() -> None:
    client = Client(server())
    client.syn()
    client.segment(1)
    (answer,) = client.segment(1, flags=Flags.SYN)
    assert answer.flags == Flags.ACK  # RFC 5961 section 4.2
