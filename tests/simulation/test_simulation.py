"""A small number of simulated days in every test run; ``make simulate SEEDS=10000`` runs a large one."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SEEDS = 24


def simulate(*arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"PYTHONHASHSEED": "0"}
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation", *arguments],
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


def test_every_test_that_the_page_on_reliability_names_is_there() -> None:
    named = set(re.findall(r"`(tests/[\w/.]+\.py)`", (ROOT / "docs/reliability.md").read_text("utf-8")))
    assert len(named) > 10
    assert [path for path in sorted(named) if not (ROOT / path).is_file()] == []
