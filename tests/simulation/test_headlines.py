"""What the one line on top says is true of the packets."""

from __future__ import annotations

from whole import check

from tfocheck.judging.grade import conclude


def test_a_part_of_the_data_that_is_acknowledged_is_not_called_none() -> None:
    found = conclude(check(faults=["partial-ack"]))
    assert found.headline.startswith(
        "takes data on the SYN only in part: 40 of 80 bytes were acknowledged (1 requirement failed"
    )
    assert found.grade == "D"
    assert not any("never honoured" in each for each in found.advice)


def test_cookies_that_are_never_honoured_are_called_so() -> None:
    found = conclude(check(faults=["never-accepts"]))
    assert found.headline.startswith("issues cookies that it does not honour (1 requirement")
    assert any("never honoured" in each for each in found.advice)
