"""How many files this process may have open; the command raises that, a library must not."""

from __future__ import annotations

import resource

OPEN_FILES = 1 << 14


def allow_many_files() -> None:
    """Let this process open as many files as it may, up to ``OPEN_FILES``.

    A guarded port is an open file: some hundreds for each address that is checked.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
