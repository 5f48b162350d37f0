"""The reference server's cookies (RFC 7413 section 4.1.2) and how it reads the option.

Rules that hold here:

* A cookie is a keyed MAC over the client's and the server's address, and nothing else: it proves
  that the client received it at its address, from any port, and it keeps no state. A fresh one
  begins with a nonce that the MAC covers as well.
* Keys are rotated: cookies of the previous key are still honoured, new ones use the primary key.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import random
from collections import OrderedDict
from dataclasses import replace
from functools import lru_cache

from tfocheck.reference.faults import ActiveFaults
from tfocheck.reference.variations import USUAL, Variations
from tfocheck.wire import options as tcp_options
from tfocheck.wire.options import END_OF_LIST, MAX_COOKIE_BYTES, MIN_COOKIE_BYTES, FastOpen
from tfocheck.wire.segment import Segment

_KEY_BYTES = 16
_REMEMBERED_COOKIES = 4096


class CookieMaker:
    """Issues cookies and tells its own from others (``IsCookieValid`` of section 4.1.2)."""

    def __init__(
        self,
        faults: ActiveFaults,
        key: bytes | None = None,
        variations: Variations = USUAL,
        rng: random.Random | None = None,
    ) -> None:
        self._faults = faults
        self._variations = variations
        self._rng = rng or random.SystemRandom()
        self._keys = [key or os.urandom(_KEY_BYTES)]
        self._issued: OrderedDict[bytes, None] = OrderedDict()

    def rotate(self, key: bytes | None = None) -> None:
        """Make a new key (or this one) the primary; only the last primary stays valid beside it."""
        self._keys = [key or os.urandom(_KEY_BYTES), self._keys[0]]

    def issue(self, syn: Segment) -> bytes:
        """The cookie for the sender of this SYN, under the primary key."""
        nonce = self._rng.randbytes(self._variations.nonce_bytes)
        cookie = self._cookie(syn, self._keys[0], nonce)
        if "ignores-source" in self._faults:
            self._issued[cookie] = None
            if len(self._issued) > _REMEMBERED_COOKIES:
                self._issued.popitem(last=False)
        return cookie

    def is_valid(self, syn: Segment, cookie: bytes) -> bool:
        """Whether the sender of this SYN got this cookie from us."""
        return self._is_forgery_accepted(syn, cookie) or self.is_own(syn, cookie)

    def is_own(self, syn: Segment, cookie: bytes) -> bool:
        """Whether it is exactly the cookie that we issue to the sender, under either key."""
        own = (self._cookie(syn, key, self._nonce(cookie)) for key in self._keys)
        return any(hmac.compare_digest(cookie, each) for each in own)

    def is_current(self, syn: Segment, cookie: bytes) -> bool:
        """False for a cookie of the key before the primary, which will not be valid for long."""
        return hmac.compare_digest(cookie, self._cookie(syn, self._keys[0], self._nonce(cookie)))

    def _nonce(self, cookie: bytes) -> bytes:
        return cookie[: self._variations.nonce_bytes]

    def _cookie(self, syn: Segment, key: bytes, nonce: bytes) -> bytes:
        client, server = _packed(syn.source), _packed(syn.destination)
        if "cookie-is-address" in self._faults:
            return client * 2 if len(client) == 4 else client
        if "constant-cookie" in self._faults:
            client = server = b""
        port = syn.source_port.to_bytes(2) if "binds-port" in self._faults else b""
        if "many-keys" in self._faults and syn.source_port % 3 == 0:
            key = bytes(byte ^ 0xFF for byte in key)
        mac = hashlib.blake2s(nonce + client + server + port, key=key)
        return (nonce + mac.digest())[: self.size]

    @property
    def size(self) -> int:
        """The length of a cookie in bytes."""
        sizes = {"odd-cookie": 7, "short-cookie": 2, "long-cookie": 18}
        faulty = (size for fault, size in sizes.items() if fault in self._faults)
        return next(faulty, self._variations.cookie_bytes)

    def _is_forgery_accepted(self, syn: Segment, cookie: bytes) -> bool:
        """The faults of section 4.2.2 step 3: what else passes for a valid cookie."""
        faults, client = self._faults, _packed(syn.source)
        size = len(cookie)
        own = self._cookie(syn, self._keys[0], self._nonce(cookie))
        constants = (bytes(size), b"\xff" * size, (client * 4)[:size])
        return (
            "accepts-any-cookie" in faults
            or ("accepts-odd" in faults and size % 2 == 1)
            or ("accepts-zero" in faults and cookie in constants)
            or ("accepts-prefix" in faults and size < len(own) and own.startswith(cookie))
            or ("ignores-tail" in faults and size > len(own) and cookie.startswith(own))
            or (
                "checks-prefix-only" in faults
                and size == len(own)
                and cookie[: size // 2] == own[: size // 2]
            )
            or ("ignores-source" in faults and cookie in self._issued)
        )


@lru_cache(maxsize=_REMEMBERED_COOKIES)
def _packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


def read_fast_open(
    syn: Segment, cookies: CookieMaker, faults: ActiveFaults, variations: Variations
) -> FastOpen | None:
    """The Fast Open option of a SYN, if section 4.1.1 lets the server see it.

    That is a request (no cookie) or a cookie of 4 to 16 bytes and even length; an option of any
    other length is ignored as if it were not there.
    """
    found = _find(syn, faults)
    if found is not None and variations.old_kind_only and not found.experimental:
        return None
    if found is None or found.has_legal_cookie:
        return found
    if found.is_request:
        return None if "ignores-empty-option" in faults else found
    if _is_illegal_request(found, faults):
        return replace(found, cookie=b"")
    size = len(found.cookie)
    if "accepts-odd" in faults and MIN_COOKIE_BYTES <= size <= MAX_COOKIE_BYTES:
        return found
    # A server that issues cookies of illegal length honours those, and no others.
    return found if cookies.is_own(syn, found.cookie) else None


def _is_illegal_request(found: FastOpen, faults: ActiveFaults) -> bool:
    size = len(found.cookie)
    if size < MIN_COOKIE_BYTES:
        return "treats-short-as-request" in faults
    if size > MAX_COOKIE_BYTES:
        return "treats-long-as-request" in faults
    return "treats-odd-as-request" in faults


def _find(syn: Segment, faults: ActiveFaults) -> FastOpen | None:
    """The first Fast Open option of the header, wherever it stands, before End-of-Option-List."""
    found = syn.fast_open
    if found is None and "reads-past-eol" in faults:
        return _find_after_end(syn)
    if found is not None and "needs-alignment" in faults and _offset(syn, found) % 2:
        return None
    return found


def _find_after_end(syn: Segment) -> FastOpen | None:
    end = sum(len(option.encode()) for option in syn.option_list.options)
    is_end_of_list = syn.options[end : end + 1] == bytes([END_OF_LIST])
    return tcp_options.walk(syn.options[end:].lstrip(b"\0")).fast_open if is_end_of_list else None


def _offset(syn: Segment, found: FastOpen) -> int:
    options = syn.option_list.options
    place = next(i for i, option in enumerate(options) if FastOpen.from_option(option) == found)
    return sum(len(option.encode()) for option in options[:place])
