"""What every server of the lab says to GET /.

It is longer than ten segments of 1,460 bytes, so that a server's initial window, and not its last
byte, ends what it sends early. Each line says at which byte it begins: what is missing, doubled or
out of order shows.
"""

from __future__ import annotations

_LINE = b"tfocheck lab %06d\n"
_LINE_BYTES = len(_LINE % 0)

ANSWER_BYTES = 20_000
ANSWER = b"".join(_LINE % start for start in range(0, ANSWER_BYTES, _LINE_BYTES))

HOSTILE = b"\x1b[2J\x9b31m]]><!-- &amp; <b>|`::error::##[warning]\x00\x07\xff\xfe\r\n"
"""What no report may show as it is: the reference server says it to GET /hostile."""
HOSTILE_STATUS = b"200 \x1b[2J]]>\x00\xff"
