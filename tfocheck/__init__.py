"""tfocheck grades, from outside, how a server behaves against RFC 7413 (TCP Fast Open)."""

__version__ = "0.1.0"
