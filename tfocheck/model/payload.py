"""What the application is to be asked, as it was chosen; ``server.payload`` makes bytes of it."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Kind(enum.StrEnum):
    """Which application is spoken to."""

    HTTP = "http"
    TLS = "tls"
    DNS = "dns"
    FILE = "file"
    NONE = "none"


@dataclass(frozen=True)
class PayloadChoice:
    """What ``--payload`` said: a kind, or None to go by the port; ``content`` is the file's."""

    kind: Kind | None = None
    content: bytes = b""
