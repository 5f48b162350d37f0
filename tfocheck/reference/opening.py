"""What becomes of a SYN's data: taken or not, and when the application gets it.

Source: RFC 7413 section 4.2.2, steps 4 to 6.
"""

from __future__ import annotations

from dataclasses import dataclass

from tfocheck.reference.application import Application
from tfocheck.reference.faults import ActiveFaults
from tfocheck.reference.variations import Variations
from tfocheck.wire.options import Option
from tfocheck.wire.segment import Segment

_TRUNCATED_BYTES = 512


@dataclass(frozen=True)
class Opening:
    """What the listener decided about a SYN (RFC 7413 section 4.2.2, steps 1 to 5).

    ``fast_opened`` is the RFC's FastOpened flag; ``option`` the Fast Open option of the SYN-ACK;
    ``repeated_option`` that of its retransmissions, where the RFC wants none; ``rejected`` says
    that a cookie came but did not open.
    """

    fast_opened: bool = False
    option: Option | None = None
    repeated_option: Option | None = None
    rejected: bool = False


class SynData:
    """The data of one SYN and the application that it is for."""

    def __init__(
        self,
        syn: Segment,
        opening: Opening,
        application: Application,
        faults: ActiveFaults,
        variations: Variations,
    ) -> None:
        self._syn = syn
        self._opening = opening
        self._application = application
        self._faults = faults
        self._variations = variations
        self.taken = self._data_to_take()
        """What is acknowledged of it."""

    def _data_to_take(self) -> bytes:
        data = self._syn.payload
        if not self._opening.fast_opened:
            return data if self._variations.keeps_plain_data else b""
        return data[: len(data) // 2] if "partial-ack" in self._faults else data

    @property
    def is_served(self) -> bool:
        """False under the faults that leave a connection without an application."""
        faults, syn = self._faults, self._syn
        return not (
            ("loses-plain-data" in faults and bool(syn.payload) and syn.fast_open is None)
            or ("stalls-without-data" in faults and self._opening.fast_opened and not syn.payload)
        )

    @property
    def may_be_answered(self) -> bool:
        """Step 6: with FastOpened, data may be sent before the handshake ends."""
        may = self._opening.fast_opened and self._variations.answers_early
        return may or self._answers_rejected

    @property
    def _answers_rejected(self) -> bool:
        return "answers-rejected-data" in self._faults and self._opening.rejected

    def deliver_at_once(self) -> None:
        """Step 4, with the SYN: buffer the data and notify the application."""
        if self._opening.fast_opened and "holds-data" not in self._faults:
            self._deliver()
        if self._answers_rejected:
            self._application.receive(self._syn.payload)

    def deliver_at_handshake(self) -> None:
        """What is kept until the handshake is done."""
        if not self._opening.fast_opened or "holds-data" in self._faults:
            self._deliver()
        if self._opening.rejected and "delivers-rejected-data" in self._faults:
            self._application.receive(self._syn.payload)

    def _deliver(self) -> None:
        data = self.taken
        if not self._opening.fast_opened:
            self._application.receive(data)
            return
        if "loses-syn-data" in self._faults:
            return
        if "truncates-silently" in self._faults:
            data = data[:_TRUNCATED_BYTES]
        for _ in range(2 if "doubles-syn-data" in self._faults else 1):
            self._application.receive(data)
