"""Source ports by blocks: which are offered, and for how long a block is ours."""

from __future__ import annotations

from tfocheck.linux.blocks import Blocks, of_this_machine
from tfocheck.linux.bpf import BLOCK


def take(blocks: Blocks, count: int) -> list[int]:
    taken = []
    for _ in range(count):
        taken.append(next(blocks.offers()))
        blocks.take(taken[-1])
    return taken


def test_ports_fill_a_block_before_another_is_begun() -> None:
    blocks = Blocks(range(1024, 4096))
    for count in (1, BLOCK - 1):
        taken = take(blocks, count)
        assert {port - port % BLOCK for port in taken} == blocks.active
    take(blocks, 1)
    assert len(blocks.active) == 2


def test_only_a_new_block_is_said_to_be_new() -> None:
    blocks = Blocks(range(1024, 4096))
    news = [blocks.take(next(blocks.offers())) for _ in range(2 * BLOCK)]
    assert [place for place, new in enumerate(news) if new] == [0, BLOCK]


def test_what_is_reserved_or_out_of_range_is_not_offered() -> None:
    blocks = Blocks(range(1000, 1100), frozenset(range(1010, 1090)))
    assert sorted(blocks.offers()) == [*range(1000, 1010), *range(1090, 1100)]


def test_what_somebody_else_has_is_passed_over_and_offered_again_later() -> None:
    blocks = Blocks(range(1024, 1024 + BLOCK))
    offers = blocks.offers()
    first, second = next(offers), next(offers)
    blocks.take(second)
    assert {first, second}.isdisjoint(blocks.offers())
    blocks.give_back(second)
    assert blocks.active == frozenset()
    assert sorted(blocks.offers()) == list(range(1024, 1024 + BLOCK))


def test_where_all_blocks_were_begun_what_was_given_back_is_offered() -> None:
    blocks = Blocks(range(1024, 1024 + 2 * BLOCK))
    taken = take(blocks, 2 * BLOCK)
    assert len(taken) == len(set(taken)) == 2 * BLOCK
    assert list(blocks.offers()) == []
    blocks.give_back(taken[5])
    assert list(blocks.offers()) == [taken[5]]
    assert take(blocks, 1) == [taken[5]]
    assert list(blocks.offers()) == []


def test_a_block_is_ours_until_its_last_port_is_given_back() -> None:
    blocks = Blocks(range(1024, 4096))
    taken = take(blocks, 3)
    for port in taken:
        assert len(blocks.active) == 1
        blocks.give_back(port)
    assert blocks.active == frozenset()


def test_this_machine_has_ports_to_offer() -> None:
    assert len(list(of_this_machine().offers())) > BLOCK
