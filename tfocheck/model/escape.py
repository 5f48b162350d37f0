"""Text that can be shown anywhere, whatever a server put into it.

Rules that hold here:

* What comes out is printable ASCII (and line feeds, from ``lines``): no control character of C0 or
  C1, no escape sequence, no bidirectional override, no half of a surrogate pair. Such text is
  also safe in XML 1.0 and JSON, for only markup is left to be quoted there.
* Escaping twice changes nothing, so whoever shows a text need not know who escaped it before.
"""

from __future__ import annotations

PRINTABLE = range(0x20, 0x7F)
_SURROGATE_ESCAPES = range(0xDC80, 0xDD00)


def text(value: str | bytes) -> str:
    r"""One line of printable ASCII; everything else as ``\xNN``, ``\uNNNN`` or ``\UNNNNNNNN``."""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if value.isascii() and value.isprintable():
        return value
    return "".join(_character(ord(character)) for character in value)


def lines(value: str | bytes) -> str:
    """Like ``text``, but line feeds stay."""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return "\n".join(text(line) for line in value.split("\n"))


def typed(value: str) -> str:
    """One line of what the user typed: letters of any script stay, what is not printable goes."""
    return "".join(
        character if character.isprintable() else _character(ord(character)) for character in value
    )


def clip(value: str, width: int) -> str:
    """The escaped text, cut to a width with an ellipsis when it is longer."""
    shown = text(value)
    return shown if len(shown) <= width else shown[: max(0, width - 3)] + "..."[:width]


def _character(code: int) -> str:
    if code in PRINTABLE:
        return chr(code)
    # Bytes that were no UTF-8 are half surrogates in a str: show the byte that they stand for.
    if code in _SURROGATE_ESCAPES:
        code -= 0xDC00
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
