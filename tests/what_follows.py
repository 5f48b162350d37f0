"""What a fault of the reference server turns its case to, and what else it breaks by its nature."""

from __future__ import annotations

TURNED = {
    # A server that never gives a cookie is one without Fast Open; one that resets is unreachable.
    "never-issues": ("skip", 3),
    "resets-syn": ("inconclusive", 4),
    # No limit can be told from a high one.
    "no-limit": ("inconclusive", 4),
    # What is not forbidden, or only by a SHOULD, is a warning; in the lab --strict makes it count.
    "volunteers-cookie": ("warn", 1),
    "repeats-option": ("warn", 1),
    "repeats-data": ("warn", 1),
    "holds-data": ("warn", 1),
    "mixes-kinds": ("warn", 1),
    "forgets-resets": ("warn", 1),
}

FOLLOWS = {
    # What the same fault breaks as well, by its nature.
    "accepts-any-cookie": {
        *("forged.random", "forged.constant", "forged.truncated", "forged.bit-flip"),
        *("forged.lengths", "forged.extended", "option.duplicate", "cookie.source-bound"),
    },
    "answers-rejected-data": {
        *("forged.constant", "forged.truncated", "forged.bit-flip", "forged.extended"),
        *("forged.lengths", "forged.fallback", "option.duplicate", "cookie.source-bound"),
        *("option.odd-length", "option.too-short", "option.too-long"),
    },
    "binds-port": {"open.data-acked"},
    "constant-cookie": {"cookie.source-bound"},
    "cookie-is-address": {"forged.constant"},
    "many-keys": {"cookie.repeatable", "cookie.port-independent"},
    "second-connection": {"open.syn-without-option"},
    "loses-syn-data": {"open.sizes", "open.syn-without-option", "open.fin-after-data"},
    "doubles-syn-data": {"open.sizes", "open.duplicate-syn"},
    "ignores-fin": {"option.without-syn"},
}
