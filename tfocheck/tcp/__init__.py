"""Crafted TCP: segments, options, port guard, link and flow. No RFC 7413 verdict is made here."""
