"""What the application is to be asked, as it was chosen; ``server.payload`` makes bytes of it."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from tfocheck.model.url import Url


class Kind(enum.StrEnum):
    """Which application is spoken to."""

    HTTP = "http"
    TLS = "tls"
    DNS = "dns"
    SMTP = "smtp"
    SSH = "ssh"
    FILE = "file"
    NONE = "none"


class ProxyProtocol(enum.StrEnum):
    """In which of its two forms a PROXY header goes before the request."""

    V1 = "v1"
    V2 = "v2"


@dataclass(frozen=True)
class PayloadChoice:
    """What the options said.

    ``kind`` is None to go by the port, ``content`` is the file's; ``url`` says which page of which
    host is asked for.
    """

    kind: Kind | None = None
    content: bytes = b""
    url: Url | None = None
    proxy_protocol: ProxyProtocol | None = None
