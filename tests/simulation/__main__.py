"""Runs stories: ``python -m tests.simulation 123`` replays one, ``--seeds 10000`` runs many on several processes."""

import gc
import os
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from loguru import logger

from tests.simulation.shrink import shrunk, try_out
from tests.simulation.stage import Machines, Stage
from tests.simulation.story import story_of

CHUNK = 20
SHRINK_AT_MOST = 3
"""So many failing seeds are shrunk while others run; to shrink one takes as long as to play a hundred."""


@dataclass(frozen=True)
class Verdict:
    """What came of some seeds: how many steps were played, and the seeds that failed, with the reason."""

    seeds: int
    failures: dict[int, str]


def run_chunk(seeds: range, stop: bool = False) -> Verdict:
    """Plays the stories of some seeds in this process; with ``stop``, until the first one fails."""
    logger.remove()
    failures = {}
    with Machines() as machines:
        gc.unfreeze()
        gc.collect()  # the machines of the seeds before
        gc.freeze()  # what is here by now stays: to look through it again and again takes an eighth of the time
        for seed in seeds:
            failure = try_out(machines, story_of(seed))
            if failure:
                failures[seed] = failure.why
                if stop:
                    break
    return Verdict(len(seeds), failures)


def run_many(first: int, count: int, processes: int) -> Iterator[Verdict]:
    """Plays ``count`` stories on several processes; yields what came of them, chunk by chunk."""
    chunks = [range(at, min(at + CHUNK, first + count)) for at in range(first, first + count, CHUNK)]
    with ProcessPoolExecutor(max_workers=processes) as pool:
        yield from pool.map(run_chunk, chunks)


def replay(seed: int, shrink: bool) -> bool:
    """Plays one story and tells it; a failing one is shrunk first. Returns whether all was right."""
    logger.remove()
    with Machines() as machines:
        story = story_of(seed)
        failure = try_out(machines, story)
        if failure:
            print(f"seed {seed} fails: {failure.why}\n    replay with: make simulate SEED={seed}", flush=True)
        if failure and shrink:
            print(f"shrinking {len(story.steps)} steps …", flush=True)
            failure = shrunk(machines, story, failure)
        stage = failure.stage if failure else Stage(machines, story)
        if not failure:
            stage.play()
        print(f"settings: {story.site}, pages of {story.pages}, batches of {story.batch}, stock {story.stock}")
        print("\n".join(stage.told))
        if failure:
            print(f"\nWRONG: {failure.why}")
            print(failure.trace)
        else:
            print("all is as it should be")
    return failure is None


def main() -> int:
    if os.environ.get("PYTHONHASHSEED") != "0":  # else the order in sets would differ from run to run
        again = [sys.executable, "-m", "tests.simulation", *sys.argv[1:]]
        os.execve(sys.executable, again, os.environ | {"PYTHONHASHSEED": "0"})
    parser = ArgumentParser(prog="simulate")
    parser.add_argument("seed", nargs="?", type=int, help="replay this one")
    parser.add_argument("--seeds", type=int, default=0, help="run so many")
    parser.add_argument("--first", type=int, default=0, help="beginning with this one")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--no-shrink", action="store_true")
    parser.add_argument("--stop", action="store_true", help="stop at the first seed that fails, on one process")
    given = parser.parse_args()
    if given.seed is not None:
        return 0 if replay(given.seed, not given.no_shrink) else 1
    started = time.monotonic()
    done = shrinks = 0
    failures: dict[int, str] = {}
    seeds = range(given.first, given.first + given.seeds)
    verdicts = [run_chunk(seeds, stop=True)] if given.stop else run_many(given.first, given.seeds, given.processes)
    for verdict in verdicts:
        done += verdict.seeds
        if done % 500 == 0:
            print(f"{done} seeds so far", flush=True)
        failures |= verdict.failures
        for seed, why in verdict.failures.items():
            shrinks += 1
            if given.no_shrink or shrinks > SHRINK_AT_MOST:
                print(f"seed {seed} fails: {why}\n    replay with: make simulate SEED={seed}", flush=True)
            else:
                replay(seed, shrink=True)
    seconds = time.monotonic() - started
    print(f"{done} seeds, {len(failures)} failures, {seconds:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
