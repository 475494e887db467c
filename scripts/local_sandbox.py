"""What the scripts share: a sandbox in a process of its own, and swapsync commands run against it, measured."""

import gc
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests

from swapsync.sandbox.server import Sandbox
from swapsync.sandbox.world import Row, World, to_json

Fill = Callable[[World], None]
SWAPSYNC = Path(sys.executable).with_name("swapsync")
READING_POSTS = ("/api/auth/token", "/api/v1/batch-fetch-stock")

# Runs in an interpreter of its own, because on Linux a process inherits the peak memory of the one that started it.
_MEASURE = """
import json, os, subprocess, sys, time
started = time.perf_counter()
process = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(process.pid, 0)
measured = [time.perf_counter() - started, os.waitstatus_to_exitcode(status), usage.ru_maxrss]
with open(sys.argv[1], "w") as file:
    json.dump(measured, file)
"""
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


class LocalSandbox:
    """A sandbox in a process of its own: ``with LocalSandbox(fill) as sandbox``.

    ``fill`` puts rows into an empty world; it runs over there, so it must be picklable: a function of a module, or a
    ``functools.partial`` of one. ``hours_back``: how far the other side's clock lags. Nothing is delayed.
    """

    def __init__(self, fill: Fill, *, hours_back: float = 0) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, timedelta(hours=hours_back)), name="sandbox", daemon=True
        )
        self._fill = fill

    def __enter__(self) -> Self:
        self._process.start()
        self._pipe.send(self._fill)
        self.url, self.environment = self._pipe.recv()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pipe.send(None)
        self._process.join()

    def reset(self) -> None:
        """Replaces the world by a fresh one, filled as before."""
        self._pipe.send(self._fill)
        self._pipe.recv()

    def put(self, **rows: list[Row]) -> None:
        """Adds or replaces rows by kind: ``put(purchases=[…])``."""
        requests.post(f"{self.url}/sandbox/world", data=to_json(rows), timeout=60).raise_for_status()

    def exchanges(self, since: int = 0) -> list[dict[str, Any]]:
        """The requests from number ``since`` on, as recorded by the sandbox."""
        answer = requests.get(f"{self.url}/sandbox/exchanges", {"since": since}, timeout=60)
        answer.raise_for_status()
        rows: list[dict[str, Any]] = answer.json()
        return rows


def _serve(pipe: Connection, lag: timedelta) -> None:
    def filled(fill: Fill) -> World:
        world = World(now=lambda: datetime.now(UTC) - lag)
        fill(world)
        gc.collect()
        gc.freeze()  # the server's own pauses are not to be measured
        return world

    with Sandbox(filled(pipe.recv())) as sandbox:
        pipe.send((sandbox.url, sandbox.environment()))
        while fill := pipe.recv():
            sandbox.world = filled(fill)
            pipe.send(None)


def writes(exchanges: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The requests that change something on the other side."""
    return [each for each in exchanges if each["method"] != "GET" and each["path"] not in READING_POSTS]


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that ended: what it printed, its wall-clock seconds, and its peak memory in bytes."""

    stdout: str
    seconds: float
    peak_memory: int


class CommandFailed(Exception):
    """A swapsync command ended with another exit code than 0; the message holds its last words."""


def swapsync(arguments: Sequence[str], environment: Mapping[str, str], folder: Path) -> Finished:
    """Runs the installed command in ``folder`` with nothing set but ``environment``. Raises CommandFailed."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SWAPSYNC_")}
    with tempfile.NamedTemporaryFile(suffix=".json") as measured:
        ended = subprocess.run(
            [sys.executable, "-c", _MEASURE, measured.name, str(SWAPSYNC), *arguments],
            env={**inherited, **environment},
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
        seconds, code, peak = json.loads(Path(measured.name).read_text())
    if code != 0:
        raise CommandFailed(
            f"swapsync {' '.join(arguments)} ended with {code}: {(ended.stderr or ended.stdout)[-2000:]}"
        )
    return Finished(ended.stdout, seconds, peak * _MAXRSS_UNIT)


def fresh_store(folder: Path) -> dict[str, str]:
    """The setting of a SQLite file in ``folder`` that is empty when this returns."""
    file = folder / "swapsync.db"
    for part in (file, file.with_name("swapsync.db-wal"), file.with_name("swapsync.db-shm")):
        part.unlink(missing_ok=True)
    return {"SWAPSYNC_DATABASE_URL": f"sqlite:///{file}"}


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A Markdown table, which can be read as it is; a column whose name begins with a space is of numbers."""
    right = [column.startswith(" ") for column in columns]
    cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    names = [column.strip() for column in columns]
    widths = [max(len(line[i]) for line in (names, *cells)) for i in range(len(names))]
    rule = ["-" * (width - 1) + (":" if is_right else "-") for width, is_right in zip(widths, right, strict=True)]
    for line in (names, rule, *cells):
        padded = (
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(line, widths, right, strict=True)
        )
        print(f"| {' | '.join(padded)} |")
    print()
