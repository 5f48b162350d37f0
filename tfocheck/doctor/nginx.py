"""nginx: its ``listen`` directives, with or without ``fastopen=``.

Sources: https://nginx.org/en/docs/http/ngx_http_core_module.html#listen ("fastopen=number",
1.5.8), https://nginx.org/en/docs/stream/ngx_stream_core_module.html#listen ("fastopen=number",
1.21.0), https://nginx.org/en/docs/switches.html.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tfocheck.doctor import configuration
from tfocheck.doctor.configuration import Configuration, Directive, Endpoint
from tfocheck.doctor.processes import Process

_DEFAULT = "/etc/nginx/nginx.conf"
_EVERYWHERE = "0.0.0.0"
_MOST_FILES = 500

# The binary has the words of its error message only if it was built with Fast Open, and keeps the
# arguments of its configure script for `nginx -V`.
_KNOWS = re.compile(rb'(invalid fastopen "%V")')
_CONFIGURED = re.compile(rb"--conf-path=([^ \0']+)")
_PREFIX = re.compile(rb"--prefix=([^ \0']+)")


def read(process: Process) -> Configuration:
    """What the configuration of this nginx says. Raises nothing: what can't be read is named."""
    knows, compiled, prefix = _built(process)
    main = configuration_file(process, compiled, prefix)
    try:
        directives = _merged(list(_listens(main, (), main, set())))
    except (OSError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        return Configuration((), main, knows, f"{main} can't be read: {reason}")
    return Configuration(tuple(directives), main, knows)


def configuration_file(process: Process, compiled: str | None, prefix: str | None) -> str:
    """The main file: as the command line names it, or as it was built in."""
    prefixes = configuration.option(process.arguments, "-p")
    base = prefixes[-1] if prefixes else prefix or "/"
    named = configuration.option(process.arguments, "-c")
    return os.path.join(base, named[-1] if named else compiled or _DEFAULT)


def _built(process: Process) -> tuple[bool | None, str | None, str | None]:
    try:
        known, path, prefix = configuration.search_binary(
            process.pid, (_KNOWS, _CONFIGURED, _PREFIX)
        )
    except (OSError, ValueError):
        return None, None, None
    return known is not None, _text(path), _text(prefix)


def _text(found: bytes | None) -> str | None:
    return None if found is None else os.fsdecode(found)


def _listens(path: str, outer: tuple[str, ...], main: str, seen: set[str]) -> Iterator[Directive]:
    if path in seen or len(seen) >= _MOST_FILES:
        return
    seen.add(path)
    for statement, context in _statements(_parse(path), outer):
        arguments = statement["args"]
        if statement["directive"] == "include" and arguments:
            # Relative to the main file's directory, wherever the include stands.
            pattern = os.path.join(os.path.dirname(main), arguments[0])
            for included in sorted(glob.glob(pattern)):
                yield from _listens(included, context, main, seen)
        # The mail module's listen knows no fastopen=.
        elif statement["directive"] == "listen" and arguments and "mail" not in context:
            yield from _listen(path, statement["line"], arguments)


def _parse(path: str) -> list[dict[str, Any]]:
    import crossplane

    configuration.read_file(path)
    parsed = crossplane.parse(path, single=True, check_ctx=False, check_args=False)
    if parsed["errors"]:
        raise OSError(f"line {parsed['errors'][0]['line']}: {parsed['errors'][0]['error']}")
    return [statement for file in parsed["config"] for statement in file["parsed"]]


def _statements(
    block: list[dict[str, Any]], context: tuple[str, ...]
) -> Iterator[tuple[dict[str, Any], tuple[str, ...]]]:
    for statement in block:
        yield statement, context
        yield from _statements(statement.get("block", []), (*context, statement["directive"]))


def _listen(path: str, line: int, arguments: list[str]) -> Iterator[Directive]:
    endpoint = parse_endpoint(arguments[0])
    if endpoint is None or {"quic", "udp"} & set(arguments):
        return
    on = any(re.fullmatch(r"fastopen=0*[1-9]\d*", word) for word in arguments)
    yield Directive(path, line, " ".join(("listen", *arguments)), on, (endpoint,))


def parse_endpoint(text: str) -> Endpoint | None:
    """``8080``, ``*:80``, ``[::]:80`` or an address alone; None for a socket file."""
    if text.startswith("unix:"):
        return None
    if text.isdigit():
        return Endpoint(_EVERYWHERE, int(text))
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        host, port = text, "80"
    if not port.isdigit():
        return None
    host = host.removeprefix("[").removesuffix("]")
    return Endpoint(_EVERYWHERE if host == "*" else host, int(port))


def _merged(directives: list[Directive]) -> list[Directive]:
    """Of several servers on one address it is enough that one says fastopen=: the socket is one."""
    on = {each.endpoints for each in directives if each.on}
    return [
        replace(each, on=True) if not each.on and each.endpoints in on else each
        for each in directives
    ]
