"""The addresses behind a target, as the system's resolver has them."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
from collections.abc import Sequence

from tfocheck.errors import UnreachableError
from tfocheck.model.target import Address, Target


async def resolve(
    target: Target, families: Sequence[int] = (4, 6), addresses: Sequence[str] = ()
) -> list[Address]:
    """The addresses of a target, in the resolver's order, each once.

    ``addresses`` are literals to use in place of a look-up. Raises UnreachableError when the name
    does not resolve, or has no address of the wanted families.
    """
    found: list[Address] = []
    problem: str | None = None
    for host in addresses or (target.host,):
        try:
            answers = await _look_up(host, target.port)
        except (OSError, UnicodeError) as error:
            problem = _resolver_line(host, error)
            continue
        for address in answers:
            if address.family in families and address not in found:
                found.append(address)
    if found:
        return found
    if problem is None:
        wanted = " or ".join(f"IPv{family}" for family in families)
        problem = f"{target.host} has no {wanted} address"
    raise UnreachableError(f"{target.text}: {problem}")


async def _look_up(host: str, port: int) -> list[Address]:
    if Target(host).family is not None:
        return _getaddrinfo(host, port)  # asks nobody
    # Not loop.getaddrinfo: asyncio waits for its resolver threads when it ends, so Ctrl-C would
    # hang until a silent name server has timed out. A daemon thread is left behind instead.
    loop = asyncio.get_running_loop()
    done: asyncio.Future[list[Address]] = loop.create_future()

    def settle(answer: list[Address] | Exception) -> None:
        if done.done():
            return
        if isinstance(answer, Exception):
            done.set_exception(answer)
        else:
            done.set_result(answer)

    def ask() -> None:
        answer: list[Address] | Exception
        try:
            answer = _getaddrinfo(host, port)
        except Exception as error:
            answer = error
        with contextlib.suppress(RuntimeError):  # the loop was closed while we waited
            loop.call_soon_threadsafe(settle, answer)

    threading.Thread(target=ask, daemon=True, name=f"resolve {host}").start()
    return await done


def _getaddrinfo(host: str, port: int) -> list[Address]:
    found: list[Address] = []
    for family, _, _, _, sockaddr in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        if family not in (socket.AF_INET, socket.AF_INET6):
            continue
        literal = ipaddress.ip_address(str(sockaddr[0]).partition("%")[0])
        scope_id = int(sockaddr[3]) if len(sockaddr) == 4 else 0
        # ::ffff:192.0.2.1 goes out as IPv4: no packet on a wire carries the mapped form.
        if isinstance(literal, ipaddress.IPv6Address) and literal.ipv4_mapped:
            literal, scope_id = literal.ipv4_mapped, 0
        found.append(
            Address(literal.version, str(literal), scope_id, port, _interface_name(scope_id))
        )
    return found


def _interface_name(scope_id: int) -> str:
    with contextlib.suppress(OSError):
        return socket.if_indextoname(scope_id) if scope_id else ""
    return ""


def _resolver_line(host: str, error: OSError | UnicodeError) -> str:
    zone = host.partition("%")[2]
    if zone and not _is_interface(zone):
        return f"there is no interface {zone} here (see: ip link)"
    if isinstance(error, socket.gaierror):
        if error.errno == socket.EAI_AGAIN:
            return f"the name server did not answer for {host}; try again, or use --address"
        if error.errno in (socket.EAI_NONAME, socket.EAI_NODATA):
            return f"the name {host} does not resolve; check the spelling, or use --address"
    return f"can't resolve {host}: {getattr(error, 'strerror', None) or error}"


def _is_interface(zone: str) -> bool:
    try:
        if zone.isascii() and zone.isdigit():
            socket.if_indextoname(int(zone))
        else:
            socket.if_nametoindex(zone)
    except (OSError, OverflowError, ValueError):
        return False
    return True
