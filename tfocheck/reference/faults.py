"""The reference server's faults: each is one way to break one requirement of RFC 7413 or of TCP.

A conformance case proves that it can fail by failing when its fault is on. Unrelated cases must
not notice, so each fault is as narrow as the requirement it breaks.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from tfocheck.errors import UsageError

FAULTS: dict[str, str] = {
    # Controls
    "accept-without-option": "accepts the data of a SYN without the option, answers it early",
    "loses-plain-data": "serves no connection whose SYN brought data without the option",
    "drops-unknown-option": "ignores SYNs that carry an option kind it does not know",
    "resets-syn": "answers every SYN with RST",
    # Option format, section 4.1.1
    "odd-cookie": "issues (and honours) cookies of 7 bytes",
    "short-cookie": "issues (and honours) cookies of 2 bytes",
    "long-cookie": "issues (and honours) cookies of 18 bytes",
    "ignores-empty-option": "does not see the empty Fast Open option, 22 02",
    "treats-odd-as-request": "answers a cookie of odd length with a fresh cookie",
    "accepts-odd": "accepts any cookie of odd length, 5 to 15 bytes",
    "treats-short-as-request": "answers a cookie of 1 to 3 bytes with a fresh cookie",
    "treats-long-as-request": "answers a cookie of more than 16 bytes with a fresh cookie",
    "drops-short-option": "ignores SYNs with a cookie of 1 to 3 bytes",
    "drops-long-option": "ignores SYNs with a cookie of more than 16 bytes",
    "resets-on-stray-option": "resets a connection on a Fast Open option outside a SYN",
    "needs-alignment": "sees the Fast Open option only at an even place in the header",
    "reads-past-eol": "reads on after End-of-Option-List",
    "dies-on-bad-length": "falls silent for good after a SYN with a malformed option list",
    "drops-crowded-syn": "ignores SYNs whose 40 bytes of options are full",
    "answers-old-kind": "answers the option of kind 34 with the experimental form",
    "mixes-kinds": "answers the experimental form of the option with kind 34",
    # Cookie request, sections 4.1.2 and 4.2.1
    "never-issues": "puts a cookie into no SYN-ACK",
    "volunteers-cookie": "puts a cookie into the SYN-ACK for a SYN that did not ask for one",
    "accepts-data-with-request": "accepts the data sent with a cookie request, answers it early",
    "repeats-option": "repeats the Fast Open option in a retransmitted SYN-ACK",
    "binds-port": "honours a cookie only from the source port it was issued to",
    "ignores-source": "honours a cookie from any address once it has issued it to one",
    "cookie-is-address": "issues the client's own address as its cookie",
    "constant-cookie": "issues the same cookie to everybody",
    # Forged cookies, sections 4.1.2 and 4.2.2 step 3
    "accepts-any-cookie": "accepts any cookie of legal length",
    "checks-prefix-only": "compares only the first half of a cookie",
    "accepts-zero": "accepts a cookie of zeros, of ones, or of the client's address repeated",
    "accepts-prefix": "accepts the first bytes of the valid cookie in place of all of it",
    "ignores-tail": "accepts the valid cookie with bytes appended",
    "dies-on-length": "falls silent for good after a legal cookie longer than its own",
    "delivers-rejected-data": "gives the application the SYN data whose cookie was rejected",
    "answers-rejected-data": "acknowledges the SYN alone, yet answers rejected data at once",
    "breaks-after-reject": "resets the connection when data follows a rejected cookie",
    # Fast Open with a valid cookie, section 4.2.2
    "never-accepts": "issues cookies but falls back every time",
    "partial-ack": "takes and acknowledges only the first half of the SYN data",
    "holds-data": "acknowledges the SYN data but delivers it only when the handshake is done",
    "needs-data": "does not answer a SYN with a valid cookie and no data",
    "stalls-without-data": "serves no connection that a valid cookie without data opened",
    "truncates-silently": "acknowledges all SYN data but delivers only its first 512 bytes",
    "loses-syn-data": "acknowledges the SYN data but never delivers it",
    "doubles-syn-data": "delivers the SYN data twice",
    "second-connection": "takes a duplicate SYN for a new connection, with a new ISN",
    "resets-copy": "resets an accepted Fast Open when its SYN comes again as it was",
    "delivers-copy": "gives the application the data of a duplicate SYN as well",
    "resets-bare-syn": "resets an accepted Fast Open when its SYN comes again bare",
    "repeats-data": "puts Fast Open option and answer into the retransmitted SYN-ACK",
    "floods": "ignores the initial congestion window",
    "ignores-mss": "sends segments of its own MSS whatever the client announced",
    "ignores-window": "sends more than the client's window allows",
    "wrong-tsecr": "echoes 0 instead of the client's timestamp in the SYN-ACK",
    "bad-refresh": "sends with the acceptance a new cookie that it does not honour",
    "loses-early-data": "never sends again what it sent before the handshake ended",
    "ignores-fin": "neither acknowledges nor obeys FIN",
    # Off means off, section 4.2
    "answers-when-off": "serves Fast Open on the port where it is off",
    # Farms, section 6.3.4
    "many-keys": "acts as two servers without a common key; the client's port tells which answers",
    # Limits, section 5
    "no-limit": "lets any number of Fast Opens be pending",
    "refuses-when-full": "ignores every SYN while too many Fast Opens are pending",
    "forgets-resets": "does not count pending Fast Opens that were reset",
}
"""Name of each fault, and what the server then does, in one line that completes "it …"."""


class ActiveFaults:
    """The faults that are on: ``"floods" in faults``.

    Asking for a name that is no fault is a KeyError: a knob that is misspelt would never turn.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = checked(names)

    def __contains__(self, name: str) -> bool:
        if name not in FAULTS:
            raise KeyError(f"{name!r} is no fault of the reference server")
        return name in self._names

    def __repr__(self) -> str:
        return f"ActiveFaults({sorted(self._names)})"


def checked(names: Iterable[str]) -> frozenset[str]:
    """The names as a set. Raises UsageError for one that is no fault."""
    chosen = frozenset(names)
    for name in sorted(chosen - FAULTS.keys()):
        close = difflib.get_close_matches(name, FAULTS)
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        raise UsageError(f"unknown fault {name!r}: {hint}see `tfocheck lab faults`")
    return chosen
