"""Deliberate bugs: a checker that can't fail is a defect, so each of these must be caught by some seed.

A mutant is a TOML file: ``why`` it is wrong, and one or more changes of text, each of which must fit exactly once, so
that a mutant can't go stale unseen.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[2]


class Stale(AssertionError):
    """A mutant no longer fits the code; the message says where."""


@dataclass(frozen=True)
class Mutant:
    """A deliberate bug. ``changes``: file, the text that must stand there once, and what takes its place."""

    name: str
    why: str
    changes: tuple[tuple[str, str, str], ...]

    def applied(self, root: Path) -> dict[Path, str]:
        """The changed files' text, by path. Raises Stale."""
        texts: dict[Path, str] = {}
        for file, before, after in self.changes:
            path = root / file
            text = texts.get(path) or path.read_text("utf-8")
            if text.count(before) != 1:
                raise Stale(f"{self.name}: {before!r} stands {text.count(before)} times in {file}, should be once")
            texts[path] = text.replace(before, after)
        return texts


def read(path: Path) -> Mutant:
    """A mutant from its file."""
    told = tomllib.loads(path.read_text("utf-8"))
    changes = tuple((each["file"], each["before"], each["after"]) for each in told["change"])
    return Mutant(path.stem, told["why"], changes)


def all_mutants() -> list[Mutant]:
    """Every mutant, by name."""
    return [read(path) for path in sorted(FOLDER.glob("*.toml"))]


def caught_by(mutant: Mutant, workshop: Path, first: int, seeds: int) -> tuple[int, str] | None:
    """The first seed that catches a mutant, with what it says; None if none of them does.

    ``workshop``: an empty folder for a copy of the code.
    """
    for part in ("swapsync", "tests"):
        shutil.copytree(ROOT / part, workshop / part, ignore=shutil.ignore_patterns("__pycache__"))
    for path, text in mutant.applied(workshop).items():
        path.write_text(text, "utf-8")
    seeds_to_play = ["--first", str(first), "--seeds", str(seeds), "--stop", "--no-shrink"]
    result = subprocess.run(
        [sys.executable, "-m", "tests.simulation", *seeds_to_play],
        cwd=workshop,
        env=os.environ | {"PYTHONHASHSEED": "0", "PYTHONPATH": str(workshop)},
        capture_output=True,
        text=True,
    )
    told = re.search(r"^seed (\d+) fails: (.*)", result.stdout, re.M)
    if told is None and result.returncode != 0:
        raise RuntimeError(result.stderr)
    return (int(told[1]), told[2]) if told else None
