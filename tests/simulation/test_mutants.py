"""The checker can fail: every deliberate bug still fits the code, and a few quick ones are caught in every test run."""

from pathlib import Path

import pytest

from tests.simulation.mutants import ROOT, Mutant, all_mutants, caught_by

MUTANTS = {mutant.name: mutant for mutant in all_mutants()}
QUICK = ("09-credit-on-delivery", "15-gateway-orders-are-credited")


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS.keys())
def test_each_deliberate_bug_still_fits_the_code(mutant: Mutant) -> None:
    for path, text in mutant.applied(ROOT).items():
        compile(text, str(path), "exec")


@pytest.mark.parametrize("name", QUICK)
def test_a_deliberate_bug_is_caught(name: str, tmp_path: Path) -> None:
    assert caught_by(MUTANTS[name], tmp_path, first=1, seeds=40) is not None
