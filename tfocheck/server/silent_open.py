"""What is known of a Fast Open that was met with silence; ``silence`` makes it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from tfocheck.engine.flow import Flow


@dataclass
class SilentOpen:
    """A Fast Open that was accepted and then met with silence, its flow and what came of it.

    ``early`` is how many bytes came before our ACK, ``later`` whether more came after it;
    ``not_repeated`` counts the tries without a repeated SYN-ACK.
    """

    flow: Flow | None = None
    early: int = 0
    later: bool = False
    not_repeated: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
