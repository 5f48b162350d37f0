"""Advice that cases of several files give."""

from __future__ import annotations

FORGERY = (
    "Anybody can open connections with data from spoofed addresses. A cookie must be a keyed MAC "
    "over the client's address, checked in full (RFC 7413 section 4.1.2): update the stack, or "
    "the load balancer in front; on Linux look at bit 0x200 of net.ipv4.tcp_fastopen, which "
    "accepts data without a cookie."
)

JUDGED = (
    "RFC 7413 section 7.3 allows weaker checks as an experiment only: that this is critical is "
    "tfocheck's own judgement of the risk."
)

NOT_THE_SERVER = (
    "This is not the server's doing: look at what stands on the way where the report says, or test "
    "from a place behind it. "
)
