"""The server's data in order, out of segments in any order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tfocheck.engine.stream import STREAM_KEPT, Stream

DATA = bytes(range(256))


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 60)), max_size=40))
def test_any_pieces_in_any_order_make_the_same_stream(
    pieces: list[tuple[int, int]],
) -> None:
    stream = Stream()
    have: set[int] = set()
    for start, size in pieces:
        stream.take(start, DATA[start : start + size])
        have |= set(range(start, min(start + size, 256)))
        in_order = next((place for place in range(257) if place not in have), 256)
        assert stream.length == in_order
        assert stream.kept == DATA[:in_order]
        behind = {place for place in have if place >= in_order}
        covered = {place for one, end in stream.blocks() for place in range(one, end)}
        # A longer piece at the same place takes the place of a shorter one, never the reverse.
        assert behind <= covered <= have
        edges = [edge for block in stream.blocks() for edge in block]
        assert edges == sorted(set(edges))


def test_pieces_side_by_side_are_one_block() -> None:
    stream = Stream()
    for start, end in ((100, 150), (150, 200), (300, 310), (305, 308), (120, 130)):
        stream.take(start, bytes(end - start))
    assert stream.blocks() == [(100, 200), (300, 310)]
    assert stream.length == 0


def test_what_came_before_adds_nothing() -> None:
    stream = Stream()
    stream.take(0, b"hello")
    stream.take(0, b"hel")
    stream.take(2, b"llo wor")
    assert stream.kept == b"hello wor"
    assert stream.blocks() == []


def test_what_is_kept_is_bounded_and_what_follows_is_counted() -> None:
    stream = Stream()
    half = STREAM_KEPT // 2 + 10
    for place in range(3):
        stream.take(place * half, bytes([place]) * half)
    assert stream.length == 3 * half
    assert len(stream.kept) == STREAM_KEPT
    assert stream.kept[-1] == 1
