"""What the addresses of one name know of each other: their verdicts, once they are there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

NOT_RUN = "not run"


class Siblings:
    """The addresses of one name."""

    def __init__(self) -> None:
        self._results: dict[str, dict[str, asyncio.Future[str]]] = {}

    def announce(self, address: str, case_ids: Sequence[str]) -> None:
        """This address is going to have verdicts on these cases."""
        loop = asyncio.get_running_loop()
        self._results[address] = {case_id: loop.create_future() for case_id in case_ids}

    def settle(self, address: str, case_id: str, verdict: str) -> None:
        """A verdict is there."""
        self._results[address][case_id].set_result(verdict)

    def give_up(self, address: str) -> None:
        """No more verdicts come from this address: nobody is to wait for them."""
        for result in self._results[address].values():
            if not result.done():
                result.set_result(NOT_RUN)

    async def compare(self, case_ids: Sequence[str]) -> dict[str, dict[str, str]]:
        """Address → case → verdict, when all are there; "not run" for a case that is not."""
        return {
            address: {
                case_id: await asyncio.shield(known[case_id]) if case_id in known else NOT_RUN
                for case_id in case_ids
            }
            for address, known in list(self._results.items())
        }
