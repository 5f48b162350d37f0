"""A fixed set of worlds, in which nothing is judged wrongly; and the simulation itself.

Seeds in known.json are of faults that are known and not yet mended: it has to become empty.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import oracle
import pytest
import worlds
from oracle import Kind
from simulate import look

from tfocheck.model.case import Verdict
from tfocheck.model.report import AddressReport
from tfocheck.reference.applications import APPLICATIONS
from tfocheck.reference.faults import FAULTS

IN_HASTE = 20
ALL = 300
KNOWN: dict[str, str] = json.loads(Path(__file__).with_name("known.json").read_text())


def _seeds() -> list[object]:
    seeds: list[object] = []
    for seed in sorted({*range(1, ALL + 1), *map(int, KNOWN)}):
        marks = [pytest.mark.long] if seed > IN_HASTE else []
        if str(seed) in KNOWN:
            marks.append(pytest.mark.xfail(reason=KNOWN[str(seed)]))
        seeds.append(pytest.param(seed, marks=marks))
    return seeds


@pytest.mark.parametrize("seed", _seeds())
def test_nothing_is_judged_wrongly_in_the_world(seed: int) -> None:
    looked = look(seed)
    assert looked.problems == [], f"{worlds.draw(seed)}\nmake simulate WORLDS=1 SEED={seed}"


def _found(report: AddressReport) -> list[tuple[str, Verdict, int]]:
    return [
        (each.case.id, each.verdict, sum(len(flow.packets) for flow in each.flows))
        for each in report.results
    ]


@pytest.mark.parametrize("seed", [4, 7, 15])
def test_a_seed_reproduces_its_world(seed: int) -> None:
    first, second = (_found(worlds.run(worlds.draw(seed))) for _ in range(2))
    assert first == second


def test_a_failure_is_found_whatever_it_is() -> None:
    """Of a report that says nothing but what is wrong."""
    world = replace(worlds.World(1), fault="reads-past-eol")
    report = worlds.run(world)
    assert oracle.problems(world, report) == []
    innocent = oracle.problems(replace(world, fault=None), report)
    assert [(each.kind, each.case) for each in innocent] == [
        (Kind.FALSE_VERDICT, "option.after-eol")
    ]
    other = oracle.problems(replace(world, fault="floods"), report)
    assert {(each.kind, each.case) for each in other} == {
        (Kind.FALSE_VERDICT, "option.after-eol"),
        (Kind.MISSED_FAULT, "open.initial-window"),
    }
    slow = replace(report, duration=121.0)
    assert [each.kind for each in oracle.problems(world, slow)] == [Kind.HANG]
    lying = replace(
        report,
        results=tuple(
            replace(each, seen=each.seen.replace("ack 1", "ack 9")) for each in report.results
        ),
    )
    assert {each.kind for each in oracle.problems(world, lying)} == {Kind.UNTRUE_SEEN}


def test_what_is_drawn_can_be_told() -> None:
    world = worlds.World(1, backlog=2, boxes=("ban",))
    assert str(world) == "backlog 2, boxes ('ban',)"
    assert str(worlds.World(1)) == "nothing else"


def test_draws_cover_everything() -> None:
    drawn = [worlds.draw(seed) for seed in range(3000)]
    assert {world.application for world in drawn} == set(APPLICATIONS)
    assert {box for world in drawn for box in world.boxes} == set(worlds.NETWORKS)
    assert {world.fault for world in drawn} == {*FAULTS, None}
