"""Which BPF programs there are that may change packets: how many of each kind, not what they do.

They are the machine's, whatever network namespace they are attached in. Asking takes CAP_SYS_ADMIN.

Sources: bpf(2); linux/bpf.h (enum bpf_cmd, enum bpf_prog_type, struct bpf_prog_info).
"""

from __future__ import annotations

import collections
import ctypes
import errno
import os
import struct
from collections.abc import Iterator, Mapping

_CALLS = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}
_NEXT_ID, _BY_ID, _INFO = 11, 13, 15
_KINDS: Mapping[int, str] = {
    3: "sched_cls",
    4: "sched_act",
    6: "xdp",
    8: "cgroup_skb",
    13: "sock_ops",
    30: "sk_lookup",
    32: "netfilter",
}
_MOST = 10_000
_INFO_BYTES = 8

_libc = ctypes.CDLL(None, use_errno=True)


def count() -> dict[str, int] | None:
    """How many programs there are of each kind that sees packets; None when that can't be told."""
    call = _CALLS.get(os.uname().machine)
    if call is None:
        return None
    try:
        kinds = [_kind(call, number) for number in _numbers(call)]
    except OSError:
        return None
    return dict(collections.Counter(_KINDS[kind] for kind in kinds if kind in _KINDS))


def _numbers(call: int) -> Iterator[int]:
    last = 0
    for _ in range(_MOST):
        asked = ctypes.create_string_buffer(struct.pack("=III", last, 0, 0), 12)
        try:
            _bpf(call, _NEXT_ID, asked)
        except OSError as error:
            if error.errno == errno.ENOENT:  # that was the last one
                return
            raise
        last = struct.unpack_from("=I", asked, 4)[0]
        yield last


def _kind(call: int, number: int) -> int:
    try:
        descriptor = _bpf(
            call, _BY_ID, ctypes.create_string_buffer(struct.pack("=III", number, 0, 0), 12)
        )
    except OSError as error:
        if error.errno == errno.ENOENT:  # it has gone meanwhile
            return 0
        raise
    try:
        info = ctypes.create_string_buffer(_INFO_BYTES)
        where = ctypes.addressof(info)
        _bpf(
            call,
            _INFO,
            ctypes.create_string_buffer(struct.pack("=IIQ", descriptor, len(info), where), 16),
        )
        return int(struct.unpack_from("=I", info)[0])
    finally:
        os.close(descriptor)


def _bpf(call: int, command: int, asked: ctypes.Array[ctypes.c_char]) -> int:
    result = int(_libc.syscall(call, command, asked, len(asked)))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
