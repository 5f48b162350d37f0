"""Runs worlds by the thousand, and prints what was judged wrongly, each with the command to see it.

``make simulate WORLDS=N SEED=S`` runs the seeds from S on. With ``--resume FILE`` what was run
already is not run again: a long series may be broken off. Exit code 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import oracle
import worlds
from oracle import Kind

from tfocheck.memory.clock import StandstillError
from tfocheck.model.case import Verdict

COMMAND = "make simulate WORLDS=1 SEED={seed}"


@dataclass
class Looked:
    """What came of one world; ``seconds`` are virtual, ``cpu`` is not."""

    seed: int
    fault: str | None
    problems: list[tuple[str, str, str]] = field(default_factory=list)
    verdicts: dict[str, int] = field(default_factory=dict)
    undecided: list[str] = field(default_factory=list)
    seconds: float = 0.0
    cpu: float = 0.0


def look(seed: int, max_seconds: float = oracle.MAX_SECONDS) -> Looked:
    """Run the world of a seed and compare."""
    world = worlds.draw(seed)
    looked, began = Looked(seed, world.fault), time.process_time()
    try:
        report = worlds.run(world)
    except StandstillError as problem:
        looked.problems = [(Kind.HANG, "the whole check", str(problem))]
    except Exception:
        looked.problems = [(Kind.ERROR, "the whole check", traceback.format_exc(limit=-3))]
    else:
        found = oracle.problems(world, report, max_seconds)
        looked.problems = [(each.kind, each.case, each.said) for each in found]
        looked.verdicts = dict(Counter(str(each.verdict) for each in report.results))
        looked.undecided = [
            each.case.id for each in report.results if each.verdict is Verdict.INCONCLUSIVE
        ]
        looked.seconds = report.duration
    looked.cpu = time.process_time() - began
    return looked


def show(seed: int) -> None:
    """Print the world of a seed, and what is not simply well in it."""
    world = worlds.draw(seed)
    print(f"world {seed}: {world}")
    report = worlds.run(world)
    for result in report.results:
        if result.verdict is not Verdict.PASS:
            print(f"  {result.verdict:12} {result.case.id}: {result.seen}")
            if result.traceback:
                print(result.traceback)
    print(f"  {report.duration:.1f} virtual seconds, {report.traffic.sent} packets sent")


def main() -> int:
    """Run, print, count."""
    options = _options()
    if options.worlds == 1:
        show(options.seed)
    done = list(_done(options.resume))
    known = {looked.seed for looked in done}
    wanted = list(range(options.seed, options.seed + options.worlds))
    done = [looked for looked in done if looked.seed in set(wanted)]
    began = time.monotonic()
    for looked in done:
        _print(looked)
    fresh = 0
    log = options.resume.open("a") if options.resume else None
    for looked in _run([s for s in wanted if s not in known], options.jobs, options.max_time):
        fresh += 1
        done.append(looked)
        _print(looked)
        if log is not None:
            print(json.dumps(asdict(looked)), file=log, flush=True)
    _summary(done, fresh, time.monotonic() - began, options.jobs)
    return int(any(looked.problems for looked in done))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=300, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N")
    parser.add_argument("--max-time", type=float, default=oracle.MAX_SECONDS, metavar="SECONDS")
    parser.add_argument("--resume", type=Path, metavar="FILE")
    return parser.parse_args()


def _done(log: Path | None) -> Iterator[Looked]:
    if log is None or not log.exists():
        return
    for line in log.read_text().splitlines():
        try:
            yield Looked(**json.loads(line))
        except ValueError:
            continue  # it was broken off here


def _run(seeds: list[int], jobs: int, max_seconds: float) -> Iterable[Looked]:
    if jobs <= 1 or len(seeds) <= 1:
        yield from (look(seed, max_seconds) for seed in seeds)
        return
    tasks = [(seed, max_seconds) for seed in seeds]
    with multiprocessing.Pool(jobs) as pool:
        yield from pool.imap_unordered(_look, tasks, chunksize=4)


def _look(task: tuple[int, float]) -> Looked:
    return look(*task)


def _print(looked: Looked) -> None:
    for kind, case, said in looked.problems:
        print(f"seed {looked.seed}: {kind}: {case}: {said}")
    if looked.problems:
        print(f"    in {worlds.draw(looked.seed)}")
        print(f"    {COMMAND.format(seed=looked.seed)}", flush=True)


def _summary(done: list[Looked], fresh: int, took: float, jobs: int) -> None:
    kinds = Counter(kind for looked in done for kind, _, _ in looked.problems)
    cases = Counter((kind, case) for looked in done for kind, case, _ in looked.problems)
    verdicts: Counter[str] = Counter()
    for looked in done:
        verdicts.update(looked.verdicts)
    share = verdicts[Verdict.INCONCLUSIVE] / max(1, verdicts.total())
    faulty = sum(looked.fault is not None for looked in done)
    cpu = sum(looked.cpu for looked in done)
    print(f"{len(done)} worlds, {faulty} with a fault, {verdicts.total()} verdicts")
    for each in Kind:
        print(f"  {each}: {kinds[each]}")
    for (kind, case), count in cases.most_common():
        print(f"    {count:5} {kind}: {case}")
    print(f"  inconclusive: {share:.2%}")
    print(f"  longest: {max((looked.seconds for looked in done), default=0):.0f} virtual seconds")
    print(f"  {len(done) / max(cpu, 1e-9):.1f} checks a second of CPU", end="")
    print(f", {fresh / max(took, 1e-9):.1f} a second by {jobs} processes" if fresh else "")


if __name__ == "__main__":
    sys.exit(main())
