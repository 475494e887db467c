"""A small number of simulated days in every test run; ``make simulate SEEDS=10000`` runs a large one."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SEEDS = 24


def simulate(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return python("-m", "tests.simulation", *arguments)


def python(*arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"PYTHONHASHSEED": "0"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )


def test_nothing_is_lost_doubled_or_stuck_on_any_of_some_seeded_days_of_faults() -> None:
    result = simulate("--first", "1", "--seeds", str(SEEDS), "--processes", "1")
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{SEEDS} seeds, 0 failures" in result.stdout


def test_a_seed_tells_the_same_story_every_time() -> None:
    first, second = simulate("7").stdout, simulate("7").stdout
    assert "worker A" in first
    assert first == second


def test_a_seed_that_fails_prints_the_command_that_replays_it_and_its_shrunk_story() -> None:
    broken = """
import sys
from tests.simulation import __main__ as simulation
from tests.simulation.checker import Checker, Wrong

def no_order_may_be_placed(checker):
    if checker.stage.orders:
        raise Wrong("an order was placed")

Checker.safety = no_order_may_be_placed
sys.exit(simulation.main())
"""
    result = python("-c", broken, "--first", "7", "--seeds", "1", "--stop")
    assert result.returncode == 1, result.stderr
    said = result.stdout.splitlines()
    assert said[:2] == ["seed 7 fails: an order was placed", "    replay with: make simulate SEED=7"]
    story = said[4 : said.index("WRONG: an order was placed") - 1]
    assert len(story) == 2, "the order, and the run after which it is seen"
    assert "1 seeds, 1 failures" in said[-1]


def test_every_test_that_the_page_on_reliability_names_is_there() -> None:
    named = set(re.findall(r"`(tests/[\w/.]+\.py)`", (ROOT / "docs/reliability.md").read_text("utf-8")))
    assert len(named) > 10
    assert [path for path in sorted(named) if not (ROOT / path).is_file()] == []
