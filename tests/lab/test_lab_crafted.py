"""What crafted packets find in the lab: queue limits, own addresses, and an answer without an ACK.

The lab's tests with the kernel's own client can't see these: it keeps neither Fast Opens pending
nor its ACKs back.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tfocheck.engine.conversation import usual_options
from tfocheck.engine.flow import Flow
from tfocheck.lab.scenario import OFF_PORT, PORT
from tfocheck.lab.topology import CLIENT_ADDRESSES, SERVER_ADDRESSES, usable
from tfocheck.linux.link import Link, route_source
from tfocheck.reference.answer import ANSWER, ANSWER_BYTES
from tfocheck.reference.listener import PENDING_LIMIT
from tfocheck.wire import options as tcp_options
from tfocheck.wire.options import FastOpen
from tfocheck.wire.segment import Flags, Segment, build

IPV4 = "10.77.0.2"
OURS = "10.77.0.1"
SECONDS = 2.0
ROUND_TRIP = 0.01
MSS = 1460
# With the timestamps that usual_options() brings.
SEGMENT_BYTES = MSS - 12
GET = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n"
# No server answers it: what stays pending then is a place in the queue and nothing more.
HALF_A_REQUEST = GET[:-2]

Exchange = Callable[[Link], Awaitable[Any]]


def crafted(exchange: Exchange) -> Any:
    """Run an exchange on a link of its own."""

    async def run() -> Any:
        link = Link.open()
        try:
            link.start()
            for address in usable(SERVER_ADDRESSES):
                for port in (PORT, OFF_PORT):
                    link.watch(str(address.ip), port)
            return await exchange(link)
        finally:
            link.close()

    return asyncio.run(run())


async def opened(
    link: Link,
    cookie: bytes = b"",
    data: bytes = b"",
    *,
    to: tuple[str, int] = (IPV4, PORT),
    source: str | None = None,
) -> Flow:
    """A flow whose SYN was answered: a cookie request, or an open with this cookie."""
    guard = link.reserve(source or route_source(*to)[0])
    flow = Flow(link, guard, to, scope_id=0, label="")
    area = tcp_options.encode(usual_options(MSS, flow.tsval, (FastOpen(cookie),)))
    await flow.send_syn(area, data)
    assert await flow.wait(lambda: flow.syn_ack is not None, SECONDS)
    return flow


async def ended(*flows: Flow) -> None:
    await asyncio.gather(*(flow.close(ROUND_TRIP) for flow in flows))
    for flow in flows:
        flow.release()


def cookie_in(flow: Flow) -> bytes:
    assert flow.syn_ack is not None
    found = flow.syn_ack.segment.fast_open
    return found.cookie if found else b""


async def cookie_for(link: Link, source: str | None = None, **where: Any) -> bytes:
    flow = await opened(link, source=source, **where)
    await ended(flow)
    return cookie_in(flow)


def is_accepted(flow: Flow) -> bool:
    return (flow.acknowledged or 0) > 1


# Queue limits


async def pending_at_once(link: Link, most: int) -> dict[str, Any]:
    """Open until one falls back, then complete them all."""
    cookie = await cookie_for(link)
    flows: list[Flow] = []
    while len(flows) < most:
        flows.append(await opened(link, cookie, HALF_A_REQUEST))
        if not is_accepted(flows[-1]):
            break
    accepted = sum(is_accepted(flow) for flow in flows)
    refused = flows[-1]
    cookie_while_full = await cookie_for(link)
    await ended(*flows)
    again = await opened(link, cookie, HALF_A_REQUEST)
    await ended(again)
    return {
        "accepted": accepted,
        "refused": [refused.acknowledged, len(cookie_in(refused))],
        "cookie while full": len(cookie_while_full),
        "accepted afterwards": is_accepted(again),
    }


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("linux-queue-1", 1),
        ("linux", 16),
        ("nginx", 256),
        # Its listen backlog, which is its maxconn unless configured.
        ("haproxy", 512),
        ("reference", PENDING_LIMIT),
    ],
)
def test_the_queue_of_pending_requests_ends_where_it_should(
    name: str, limit: int, in_lab: Callable[..., Any]
) -> None:
    seen = in_lab(name, crafted, lambda link: pending_at_once(link, limit + 10))
    assert seen == {
        "accepted": limit,
        "refused": [1, 0],
        "cookie while full": 0,
        "accepted afterwards": True,
    }


async def two_at_once(link: Link) -> list[int | None]:
    cookie = await cookie_for(link)
    flows = await asyncio.gather(*(opened(link, cookie, HALF_A_REQUEST) for _ in range(2)))
    await ended(*flows)
    return [flow.acknowledged for flow in flows]


def test_a_queue_of_one_has_the_second_of_two_fall_back(in_lab: Callable[..., Any]) -> None:
    seen = in_lab("linux-queue-1", crafted, two_at_once)
    assert seen == [1 + len(HALF_A_REQUEST), 1]


# The client's addresses


async def through_each_address(link: Link) -> list[dict[str, Any]]:
    seen = []
    for server in usable(SERVER_ADDRESSES):
        to = (str(server.ip), PORT)
        own = [str(a.ip) for a in usable(CLIENT_ADDRESSES) if a.version == server.version]
        cookies = [await cookie_for(link, source, to=to) for source in own]
        flows = [
            await opened(link, cookies[0], HALF_A_REQUEST, to=to, source=source) for source in own
        ]
        await ended(*flows)
        seen.append(
            {
                "chosen by the kernel": route_source(*to)[0],
                "lengths": [len(cookie) for cookie in cookies],
                "distinct": len(set(cookies)),
                "first cookie accepted": [is_accepted(flow) for flow in flows],
            }
        )
    return seen


def test_the_client_has_a_second_address_and_cookies_are_bound_to_one(
    in_lab: Callable[..., Any],
) -> None:
    seen = in_lab("linux", crafted, through_each_address)
    preferred = [str(usable(CLIENT_ADDRESSES)[0].ip), "fd77::1"][: len(seen)]
    assert [each.pop("chosen by the kernel") for each in seen] == preferred
    assert seen == [
        {"lengths": [8, 8], "distinct": 2, "first cookie accepted": [True, False]} for _ in seen
    ]


# Ports and answers


async def cookies_by_port(link: Link) -> list[int]:
    return [len(await cookie_for(link, to=(IPV4, port))) for port in (PORT, OFF_PORT)]


@pytest.mark.parametrize("name", ["linux", "nginx", "haproxy", "reference"])
def test_fast_open_is_off_on_the_off_port_only(name: str, in_lab: Callable[..., Any]) -> None:
    assert in_lab(name, crafted, cookies_by_port) == [8, 0]


async def early_burst(link: Link, expected: int) -> dict[str, Any]:
    cookie = await cookie_for(link)
    flow = await opened(link, cookie, GET)
    await flow.wait(lambda: len(flow.stream) >= expected, SECONDS)
    await flow.wait(lambda: len(flow.stream) > expected, 0.2)
    early = len(flow.stream)
    first = next(each.segment for each in flow.received if each.segment.payload)

    def body() -> bytes:
        return flow.stream.partition(b"\r\n\r\n")[2]

    while len(body()) < ANSWER_BYTES:
        await flow.acknowledge()
        known = len(flow.stream)
        if not await flow.wait(lambda known=known: len(flow.stream) > known, SECONDS):  # type: ignore[misc]
            break
    await ended(flow)
    return {
        "early": early,
        "headers and body in one": len(first.payload) >= SEGMENT_BYTES,
        "answer": body() == ANSWER,
    }


@pytest.mark.parametrize(
    ("name", "segments"),
    [("linux", 10), ("nginx", 10), ("haproxy", 10), ("reference", 4380 // SEGMENT_BYTES)],
)
def test_the_initial_window_ends_what_comes_early(
    name: str, segments: int, in_lab: Callable[..., Any]
) -> None:
    # RFC 6928's ten segments in Linux, RFC 3390's 4,380 bytes in the reference server.
    early = segments * SEGMENT_BYTES
    seen = in_lab(name, crafted, lambda link: early_burst(link, early))
    assert seen == {"early": early, "headers and body in one": True, "answer": True}


# What the kernel does not even hand us


def _error_about(quoted: bytes) -> bytes:
    """An ICMP error (destination unreachable) of the server's about a packet of ours."""
    outer = bytearray(build(Segment(IPV4, 1, OURS, 1, 0))[:20])
    outer[9] = socket.IPPROTO_ICMP
    return bytes(outer) + bytes([3, 1]) + bytes(6) + quoted[:28]


async def unwanted_and_wanted(link: Link) -> list[int]:
    """How many frames were read of a flood that is not for us, and of one error that is."""
    port = link.reserve(OURS)
    flow = Flow(link, port, (IPV4, PORT), scope_id=0, label="")
    frames: list[int] = []
    take = link._capture._take

    def counted(frame: memoryview, *how: Any, **more: Any) -> None:
        frames.append(len(frame))
        take(frame, *how, **more)

    link._capture._take = counted  # type: ignore[method-assign]
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:

        def send(packet: bytes) -> None:
            raw.sendto(packet, (OURS, 0))

        for number in range(2000):
            other = (port.port + 64 + number) % 60_000 + 64
            if other - other % 64 == port.port - port.port % 64:
                continue
            send(_error_about(build(Segment(OURS, other, IPV4, PORT, 1, flags=Flags.SYN))))
            send(build(Segment(IPV4, PORT, OURS, other, 1, 1, flags=Flags.SYN | Flags.ACK)))
        await asyncio.sleep(0.1)
        unwanted = len(frames)
        send(_error_about(build(Segment(OURS, port.port, IPV4, PORT, 1, flags=Flags.SYN))))
        assert await flow.wait(lambda: flow.icmp is not None, SECONDS)
    flow.release()
    return [unwanted, len(frames)]


def test_what_is_not_for_our_ports_ends_in_the_kernel(in_lab: Callable[..., Any]) -> None:
    unwanted, all_told = in_lab("linux", crafted, unwanted_and_wanted)
    assert unwanted == 0
    assert all_told >= 1
