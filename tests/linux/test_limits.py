"""The command may have many files open; it takes what it may, and no more."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from tfocheck.linux.limits import allow_many_files
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
allow_many_files()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "after"), [(64, 256, 256), (64, 20000, 16384), (18000, 20000, 18000)]
)
def test_the_soft_limit_is_raised_to_what_is_allowed(soft: int, hard: int, after: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(soft), str(hard)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(after), str(hard)]
