"""What ``--url`` names: a page of a host, asked for by HTTP, over TLS or not.

Sources: RFC 3986 (section 3: the parts; 3.5: a fragment is never sent), RFC 9110 section 4.2.
"""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass

from tfocheck.errors import UsageError
from tfocheck.model.target import Target, parse

_PORTS = {"http": 80, "https": 443}
_KEPT = "!#$%&'()*+,-./:;=?@_~"
"""What stands in a path and a query as it is; all else but letters and digits is escaped."""


@dataclass(frozen=True)
class Url:
    """``site`` is host and port, ``path`` begins with a slash and has the query, in ASCII."""

    site: Target
    path: str
    is_https: bool


def parse_url(text: str) -> Url:
    """Read an http or https URL. Raises UsageError with one line that says what is wrong."""
    if not text.isprintable() or any(character.isspace() for character in text):
        raise UsageError(f"--url {text!r} has a space or control character in it")
    try:
        parts = urllib.parse.urlsplit(text)
    except ValueError as error:
        raise UsageError(f"--url {text!r} is no URL: {error}") from None
    scheme = parts.scheme.lower()
    if scheme not in _PORTS or not parts.netloc:
        raise UsageError(f"--url {text!r} is no URL such as https://example.com/path")
    if "@" in parts.netloc:
        raise UsageError(f"--url {text!r}: a user's name is not sent; leave it out")
    try:
        site = parse(parts.netloc.removesuffix(":"), _PORTS[scheme])
    except UsageError as error:
        raise UsageError(f"--url {text!r}: {error}") from None
    path = urllib.parse.quote(parts.path, safe=_KEPT) or "/"
    query = f"?{urllib.parse.quote(parts.query, safe=_KEPT)}" if parts.query else ""
    return Url(site, path + query, scheme == "https")
