"""What a user names is a file or a pipe, and whatever it is, reading it ends."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from tfocheck import inputs
from tfocheck.errors import UsageError
from tfocheck.judging.baseline import LONGEST_LINE, parse_baseline
from tfocheck.report import compare, write
from tfocheck.runner.planning import make_plan, read_baseline


@pytest.fixture
def pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A FIFO, and nobody who is patient."""
    monkeypatch.setattr(inputs, "SECONDS", 0.05)
    monkeypatch.setattr(write, "PATIENCE", 0.05)
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def test_a_file_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"", b"\x00\xff" * 100_000):
        path.write_bytes(content)
        assert inputs.read(str(path), len(content), named="x") == content
    with pytest.raises(UsageError, match=r"^x: it has more than 199,999 bytes$"):
        inputs.read(str(path), 199_999, named="x")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/dev/zero", "neither a file nor a pipe"),
        ("/nonexistent", "No such file or directory"),
        ("/", "Is a directory"),
        ("a\0b", "null"),
    ],
)
def test_what_is_neither_file_nor_pipe_is_not_read(path: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        inputs.read(path, 100, named="x")


def test_what_comes_through_a_pipe_is_read_to_its_end() -> None:
    reader, writer = os.pipe()
    content = bytes(range(256)) * 1000

    def put() -> None:
        with os.fdopen(writer, "wb") as end:
            end.write(content)

    thread = threading.Thread(target=put)
    thread.start()
    try:
        assert inputs.read(f"/dev/fd/{reader}", len(content), named="x") == content
    finally:
        os.close(reader)
        thread.join()


def test_a_pipe_that_nobody_writes_to_is_not_waited_for(pipe: Path) -> None:
    with pytest.raises(UsageError, match="did not end within"):
        inputs.read(str(pipe), 100, named="x")


def test_a_pipe_that_never_ends_is_left(pipe: Path) -> None:
    held = os.open(pipe, os.O_RDWR)
    try:
        os.write(held, b"some")
        with pytest.raises(UsageError, match="did not end within"):
            inputs.read(str(pipe), 100, named="x")
    finally:
        os.close(held)


def test_every_option_that_names_a_file_reads_it_so(pipe: Path) -> None:
    for name in ("baseline", "payload"):
        with pytest.raises(UsageError, match=f"--{name} {pipe}: it did not end within"):
            make_plan(["192.0.2.1"], {name: str(pipe)})  # type: ignore[misc]
        with pytest.raises(UsageError, match=f"--{name} /dev/zero: it is neither"):
            make_plan(["192.0.2.1"], {name: "/dev/zero"})  # type: ignore[misc]
    with pytest.raises(UsageError, match=f"^{pipe}: it did not end within"):
        compare.read(str(pipe))
    big = pipe.parent / "big"
    with big.open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(UsageError, match="more than"):
        read_baseline(str(big), "--baseline", ())


@pytest.mark.parametrize("line", ["a." * 50_000 + "a = 1", "[" + "a." * 50_000 + "a]"])
def test_a_key_of_many_dots_is_one_line_at_once(line: str) -> None:
    with pytest.raises(UsageError, match=f"line 2 has more than {LONGEST_LINE:,} characters"):
        parse_baseline(f"format = 1\n{line}\n".encode(), "b.toml", "--baseline", ())


def test_a_report_into_a_pipe_that_nobody_reads_is_given_up(pipe: Path) -> None:
    with pytest.raises(UsageError, match="can't write the report: No such device or address"):
        write.write("--json", str(pipe), "text")
    held = os.open(pipe, os.O_RDWR)
    try:
        with pytest.raises(UsageError, match="can't write the report: nobody reads it"):
            write.write("--json", str(pipe), "x" * (1 << 20))
    finally:
        os.close(held)


def test_a_report_into_a_pipe_reaches_its_reader(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    found: list[bytes] = []
    thread = threading.Thread(target=lambda: found.append(path.read_bytes()))
    thread.start()
    write.write("--json", str(path), "x" * (1 << 20))
    thread.join(20)
    assert found == [b"x" * (1 << 20)]
