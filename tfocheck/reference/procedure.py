"""What a server decides about a SYN: RFC 7413 section 4.2.2, steps 1 to 5, and section 4.2.1.

Each fault breaks one line of it.
"""

from __future__ import annotations

import random

from tfocheck.reference.cookie import CookieMaker, read_fast_open
from tfocheck.reference.faults import ActiveFaults
from tfocheck.reference.opening import Opening
from tfocheck.reference.variations import Variations
from tfocheck.wire.options import FastOpen, Option
from tfocheck.wire.segment import Segment


class Procedure:
    """``fast_open`` is the RFC's FastOpenEnabled; ``rng`` makes bogus cookies."""

    def __init__(
        self,
        faults: ActiveFaults,
        variations: Variations,
        cookies: CookieMaker,
        rng: random.Random,
        *,
        fast_open: bool,
    ) -> None:
        self._faults = faults
        self._variations = variations
        self._cookies = cookies
        self._rng = rng
        self._is_enabled = fast_open or "answers-when-off" in faults

    def decide(self, syn: Segment, *, is_full: bool) -> Opening:
        """Steps 1 to 3, and what step 5 puts into the SYN-ACK.

        ``is_full`` says that as many Fast Opens are pending as the server lets be.
        """
        if not self._is_enabled:
            return Opening()
        # Step 2 goes to step 5 without a look at the cookie; Linux gives no new one then either.
        if is_full and "no-limit" not in self._faults:
            return Opening()
        option = read_fast_open(syn, self._cookies, self._faults, self._variations)
        if self._may_open(syn, option):
            return self._acceptance(syn, option)
        return self._fallback(syn, option)

    def _may_open(self, syn: Segment, option: FastOpen | None) -> bool:
        """Step 3: IsCookieValid(ClientIP, Cookie)."""
        if option is None:
            has_data_only = bool(syn.payload) and syn.fast_open is None
            return "accept-without-option" in self._faults and has_data_only
        if option.is_request:
            return "accepts-data-with-request" in self._faults and bool(syn.payload)
        if "never-accepts" in self._faults:
            return False
        return self._cookies.is_valid(syn, option.cookie)

    def _acceptance(self, syn: Segment, option: FastOpen | None) -> Opening:
        """Steps 4 and 5 with FastOpened: the SYN-ACK acknowledges the data.

        It has an option when the cookie's key is on its way out, which step 5 allows (MAY), or
        when that is this server's habit.
        """
        reply = None
        if option is not None and self._needs_fresh_cookie(syn, option):
            reply = self._cookie_option(syn, option)
        if option is not None and "bad-refresh" in self._faults:
            bogus = FastOpen(self._rng.randbytes(self._cookies.size), option.experimental)
            reply = bogus.to_option()
        repeated = None
        if "repeats-data" in self._faults:
            repeated = self._cookie_option(syn, option or FastOpen())
        return Opening(fast_opened=True, option=reply, repeated_option=repeated)

    def _needs_fresh_cookie(self, syn: Segment, option: FastOpen) -> bool:
        if option.is_request:
            return True  # accepted all the same: a fault, but the request was one
        if self._variations.refreshes_cookies:
            return True
        is_own = self._cookies.is_own(syn, option.cookie)
        return is_own and not self._cookies.is_current(syn, option.cookie)

    def _fallback(self, syn: Segment, option: FastOpen | None) -> Opening:
        """Step 5 without FastOpened: the SYN-ACK acknowledges the SYN alone.

        Who asked for a cookie gets one (section 4.2.1), and who sent an invalid one too (MAY).
        """
        reply = None
        if option is not None:
            if option.is_request or self._variations.offers_on_fallback:
                reply = self._cookie_option(syn, option)
        elif "volunteers-cookie" in self._faults and syn.fast_open is None:
            reply = self._cookie_option(syn, FastOpen())
        return Opening(
            option=reply,
            repeated_option=reply if "repeats-option" in self._faults else None,
            rejected=option is not None and not option.is_request,
        )

    def _cookie_option(self, syn: Segment, asked: FastOpen) -> Option | None:
        """The sender's cookie, in the kind of option that it used (section 9)."""
        if "never-issues" in self._faults:
            return None
        experimental = asked.experimental and "mixes-kinds" not in self._faults
        experimental = experimental or "answers-old-kind" in self._faults
        return FastOpen(self._cookies.issue(syn), experimental).to_option()
