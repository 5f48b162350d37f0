"""What the user asked for beyond the default run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Extras:
    """What the user asked for beyond the default run.

    ``thorough`` tries more of the same; ``soak`` is how long to replay a cookie, in seconds;
    ``alt_sources`` are further addresses of ours; ``no_nat`` vouches that no NAT is between them
    and the target; ``off_port`` is a port of the target without Fast Open; ``trace`` looks at the
    route hop by hop.
    """

    intrusive: bool = False
    thorough: bool = False
    soak: float | None = None
    alt_sources: tuple[str, ...] = ()
    no_nat: bool = False
    off_port: int | None = None
    trace: bool = False
