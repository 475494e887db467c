"""Shows which seed catches which deliberate bug: ``python -m tests.simulation.mutants [part of a name …]``."""

import sys
import tempfile
from pathlib import Path

from tests.simulation.mutants import all_mutants, caught_by

SEEDS = 400


def main(names: list[str]) -> int:
    survived = 0
    for mutant in all_mutants():
        if names and not any(name in mutant.name for name in names):
            continue
        with tempfile.TemporaryDirectory(prefix="swapsync-mutant-") as workshop:
            caught = caught_by(mutant, Path(workshop), 1, SEEDS)
        if caught:
            print(f"{mutant.name}: caught by seed {caught[0]}: {caught[1]}", flush=True)
        else:
            survived += 1
            print(f"{mutant.name}: SURVIVED {SEEDS} seeds", flush=True)
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
