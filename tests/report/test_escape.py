"""Whatever goes in, what comes out can be shown anywhere."""

import unicodedata
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfocheck.model import escape

any_text = st.text(st.characters(exclude_categories=[])) | st.binary()


@given(any_text)
def test_text_is_printable_ascii(value: str | bytes) -> None:
    assert all(0x20 <= ord(character) < 0x7F for character in escape.text(value))


@given(any_text)
def test_escaping_twice_changes_nothing(value: str | bytes) -> None:
    once = escape.text(value)
    assert escape.text(once) == once


@given(any_text)
def test_lines_differ_from_text_in_line_feeds_only(value: str | bytes) -> None:
    assert escape.lines(value).replace("\n", "\\x0a") == escape.text(value)


@given(st.text(st.characters(exclude_categories=[])))
def test_typed_has_no_control_format_or_surrogate_character(value: str) -> None:
    shown = escape.typed(value)
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in shown)


@given(any_text)
def test_escaped_text_survives_xml(value: str | bytes) -> None:
    element = ElementTree.Element("seen", {"message": escape.text(value)})
    element.text = escape.lines(value)
    read = ElementTree.fromstring(ElementTree.tostring(element))
    assert read.get("message") == escape.text(value)
    assert (read.text or "") == escape.lines(value)


@given(any_text, st.integers(0, 30))
def test_clip_never_exceeds_the_width(value: str | bytes, width: int) -> None:
    assert len(escape.clip(escape.text(value), width)) <= width


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202etxt", "\\u202etxt"),
        ("\udcff", "\\xff"),
        (b"\xff\x00a", "\\xff\\x00a"),
        ("\U0001f600", "\\U0001f600"),
        ("a\nb", "a\\x0ab"),
    ],
)
def test_known_values(value: str | bytes, shown: str) -> None:
    assert escape.text(value) == shown
