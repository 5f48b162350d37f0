"""Report files: whole or not at all, and bad paths are found before a run."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tfocheck.errors import UsageError
from tfocheck.report import write

ROOT = os.geteuid() == 0


def test_a_file_is_written_whole_by_umask(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    old = os.umask(0o027)
    try:
        write.write("--json", str(path), "text\n")
    finally:
        os.umask(old)
    assert path.read_text() == "text\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["report.json"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("old")
    (tmp_path / "link").symlink_to("there")
    write.write("--json", str(tmp_path / "link"), "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there").read_text() == "new"


def test_devices_and_pipes_are_written_to_not_replaced(tmp_path: Path) -> None:
    write.check([("--json", "/dev/null")])
    write.write("--json", "/dev/null", "text")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with subprocess.Popen(["cat", str(fifo)], stdout=subprocess.PIPE) as reader:
        write.write("--json", str(fifo), "through the pipe")
        assert reader.communicate(timeout=10)[0] == b"through the pipe"


def test_a_full_disk_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r"^--json /dev/full: .*No space left"):
        write.write("--json", "/dev/full", "text")
    path = tmp_path / "report.json"
    path.write_text("before")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="No space left"):
        write.write("--json", str(path), "after")
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["report.json"]


SMALL_DISK = """
set -e
mount -t tmpfs -o size=64k none "$2"
echo before > "$2/report"
exec "$1" -c "
from tfocheck.report import write
for content in ('text' * 50_000, bytes(200_000)):
    try:
        write.write('--pcap', '$2/report', content)
    except Exception as error:
        print(error)
import os
print(os.listdir('$2'), open('$2/report').read())
"
"""


def test_a_disk_that_fills_up_keeps_what_was_there(tmp_path: Path) -> None:
    arguments = ["unshare", "-rm", "sh", "-c", SMALL_DISK, "sh", sys.executable, str(tmp_path)]
    done = subprocess.run(arguments, capture_output=True, text=True)
    if "unshare" in done.stderr:
        pytest.skip(done.stderr)
    line = f"--pcap {tmp_path}/report: can't write the report: No space left on device\n"
    assert (done.stdout, done.stderr) == (f"{2 * line}['report'] before\n\n", "")


def test_bad_paths_are_found_before_the_run(tmp_path: Path) -> None:
    for path, reason in (
        ("", "is empty"),
        (str(tmp_path), "is a directory"),
        (f"{tmp_path}/new/", "is a directory"),
        (f"{tmp_path}/no/where", "no directory"),
        ("\0", "null"),
        ("x" * 5000, "too long"),
    ):
        with pytest.raises(UsageError, match=rf"--json .*{reason}"):
            write.check([("--json", path)])


@pytest.mark.skipif(ROOT, reason="root may write anywhere")
def test_missing_permission_is_found_before_the_run(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="no permission"):
        write.check([("--json", str(tmp_path / "x"))])


def test_two_reports_need_two_places(tmp_path: Path) -> None:
    for first, second in (("-", "/dev/stdout"), (str(tmp_path / "x"), f"{tmp_path}/./x")):
        with pytest.raises(UsageError, match="--json and --junit both write to"):
            write.check([("--json", first), ("--junit", second)])
    write.check([("--json", "-"), ("--junit", str(tmp_path / "x"))])
    assert os.listdir(tmp_path) == []


def test_dash_is_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    write.write("--json", "-", "text\n")
    assert capsys.readouterr().out == "text\n"
    assert sys.stdout is not None


def test_a_directory_follows_no_planted_link_and_takes_no_path(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("theirs")
    folder = tmp_path / "reports"
    folder.mkdir()
    (folder / "report.json").symlink_to(tmp_path / "outside")
    write.check_directory("-o", str(folder), ["report.json"])
    write.write_into("-o", str(folder), "report.json", "ours")
    assert (tmp_path / "outside").read_text() == "theirs"
    assert not (folder / "report.json").is_symlink()
    write.write_into("-o", str(folder), "../../etc/x.json", b"\x00bytes")
    assert (folder / "x.json").read_bytes() == b"\x00bytes"
    assert sorted(os.listdir(tmp_path)) == ["outside", "reports"]


@pytest.mark.parametrize("path", ["a", "a/b/../c", "./a", "a/"])
def test_a_directory_is_made_where_it_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write.check_directory("-o", path, [])
    write.write_into("-o", path, "report.txt", "text")
    assert (tmp_path / os.path.normpath(path) / "report.txt").read_text() == "text"


def test_bytes_go_to_standard_output_too(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    write.write("--pcap", "-", b"\x0a\x0d\xff")
    assert capfdbinary.readouterr().out == b"\x0a\x0d\xff"


@pytest.mark.lab
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can lay somebody else's link")
def test_a_link_that_somebody_else_has_laid_is_not_followed(tmp_path: Path) -> None:
    there, link = tmp_path / "there", tmp_path / "link"
    there.mkdir()
    (there / "file").write_text("before")

    def order() -> None:
        if target == "there":
            write.write_into("-o", str(link), "file", "after")
        else:
            write.write("--json", str(link), "after")

    for target in ("there/file", "nowhere", "there"):
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        os.chown(link, 4242, 4242, follow_symlinks=False)
        with pytest.raises(UsageError, match="is a link of somebody else's"):
            order()
        with pytest.raises(UsageError, match="is a link of somebody else's"):
            write.check([("--json", str(link))])
        # In a directory of their own, it is theirs to say.
        os.chown(tmp_path, 4242, 4242)
        order()
        os.chown(tmp_path, 0, 0)
        assert (there / "file").read_text() == ("before" if target == "nowhere" else "after")
        (there / "file").write_text("before")
        (tmp_path / "nowhere").unlink(missing_ok=True)


def test_links_of_our_own_are_followed(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("three")
    write.write("--json", str(tmp_path / "one"), "text")
    assert (tmp_path / "three").read_text() == "text"
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UsageError, match="symbolic links"):
        write.check([("--json", str(tmp_path / "loop"))])
