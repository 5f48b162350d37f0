"""A finding of doctor: what, how grave, in a sentence, and what it is about."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from tfocheck.doctor.listener import Listener
from tfocheck.doctor.netns import View


class Weight(enum.StrEnum):
    """How grave a finding is; only a problem decides the exit code."""

    PROBLEM = "problem"
    WARNING = "warning"
    NOTE = "note"


class Kind(enum.StrEnum):
    """What was found."""

    KERNEL_TOO_OLD = "kernel-too-old"
    SERVER_BIT_OFF = "server-bit-off"
    ALWAYS_SYN_COOKIES = "always-syn-cookies"
    QUEUE_CUT = "queue-cut"
    NOT_ASKING = "not-asking"
    NOBODY_ASKS = "nobody-asks"
    NO_LISTENER = "no-listener"
    WITHOUT_COOKIE = "without-cookie"
    OUTSIDE_DISAGREES = "outside-disagrees"
    OUTSIDE_UNKNOWN = "outside-unknown"
    NOT_KEPT = "not-kept"
    OVERRULED_AT_BOOT = "overruled-at-boot"
    QUEUE_FULL = "queue-full"
    BACKLOG = "backlog"
    FIREWALL = "firewall"
    SOCKETS_DIFFER = "sockets-differ"
    RESTART_CHANGES = "restart-changes"
    KEY_NOT_SHARED = "key-not-shared"
    NOT_READ = "not-read"


@dataclass(frozen=True)
class Finding:
    """One thing that was found, in a sentence; ``view`` and ``listeners`` are what it is about."""

    kind: Kind
    weight: Weight
    text: str
    view: View | None = None
    listeners: tuple[Listener, ...] = ()


def names(listeners: Sequence[Listener]) -> str:
    named = [
        f"{each.listening} ({each.process})" if each.process else str(each.listening)
        for each in listeners[:3]
    ]
    more = len(listeners) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")
