"""The server's data in order, out of segments in any order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tfocheck.engine.stream import LATER_BYTES, LATER_PIECES, STREAM_KEPT, Stream

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


def test_all_of_it_backwards_is_put_together_in_time_that_grows_with_it() -> None:
    """Sorting all that waits at each piece would look at 8 million places."""

    class Place(int):
        compared = 0

        def __lt__(self, other: int) -> bool:
            Place.compared += 1
            return int.__lt__(self, other)

    stream, count = Stream(), 4000
    for number in reversed(range(1, count)):
        stream.take(Place(10 * number), bytes([number % 256]) * 10)
    assert stream.length == 0
    stream.take(0, bytes(10))
    assert stream.length == 10 * count
    assert Place.compared < 40 * count
    assert stream.kept[15] == 1


def test_what_waits_behind_a_gap_is_bounded() -> None:
    stream = Stream()
    for number in range(LATER_PIECES + 100):
        stream.take(1 + 2 * number, b"x")
    assert len(stream.blocks()) == LATER_PIECES
    stream = Stream()
    piece = bytes(60_000)
    for number in range(200):
        stream.take(1 + len(piece) * number, piece)
    assert sum(end - start for start, end in stream.blocks()) <= LATER_BYTES
    # What had no room has to come again, and may.
    stream.take(0, b"y")
    known = stream.length
    stream.take(known, piece)
    assert stream.length == known + len(piece)


def test_a_longer_piece_takes_the_place_of_a_shorter_one() -> None:
    stream = Stream()
    stream.take(5, b"ab")
    stream.take(5, b"abcd")
    stream.take(5, b"a")
    assert stream.blocks() == [(5, 9)]
    stream.take(0, b"01234")
    assert stream.kept == b"01234abcd"
