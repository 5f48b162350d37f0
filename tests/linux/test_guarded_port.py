"""A guarded port, or why there is none."""

from __future__ import annotations

import errno
import socket

import pytest

from tfocheck.errors import CannotError
from tfocheck.linux.guard import PortGuard, PortTakenError


def test_without_a_descriptor_there_is_no_port(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(CannotError, match=r"source port at 127\.0\.0\.1: Too many open files"):
        PortGuard("127.0.0.1")


def test_a_port_that_is_taken_is_told_from_an_address_that_is_not_ours() -> None:
    told: list[int] = []
    guard = PortGuard("127.0.0.1", on_release=told.append)
    with pytest.raises(PortTakenError):
        PortGuard("127.0.0.1", port=guard.port)
    with pytest.raises(CannotError, match="Cannot assign") as caught:
        PortGuard("192.0.2.1", port=guard.port)
    assert not isinstance(caught.value, PortTakenError)
    guard.release()
    guard.release()
    assert told == [guard.port]
    again = PortGuard("127.0.0.1", port=guard.port)
    assert again.port == guard.port
    again.release()
