"""The database itself: engine, unit of work, bulk upsert, migrations. Only ``Store.transaction`` commits."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self, TypeVar, cast

import orjson
from sqlalchemy import Connection, Engine, Row, Table, create_engine, event, inspect, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, NoSuchModuleError, ProgrammingError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlalchemy.pool import QueuePool
from sqlmodel import SQLModel

from swapsync.clock import Clock

HEAD = "0002"
CONNECTIONS = 8
"""So many connections to the database a process has at most. A transaction is a matter of milliseconds, and never holds
one connection while it asks for another, so many more threads than this can share them."""
BUSY_TIMEOUT = timedelta(minutes=1)
"""So long a transaction waits for the write lock of a SQLite store."""
BACKUP = 1
"""The ``user_version`` of a SQLite file that is a backup, until it is restored."""
_SAY_SO = "say so with swapsync db restored or, if nothing at all ran since it was made, with swapsync db moved"
_UPGRADE_LOCK = 0x53574150
"""The number under which one process at a time changes a PostgreSQL schema; the others then find nothing to do."""
_MIGRATIONS = Path(__file__).parent / "migrations"
_MARK = text(
    "SELECT description, CAST(pg_description.xmin AS text) AS transaction FROM pg_description"
    " JOIN pg_constraint ON pg_constraint.oid = objoid AND classoid = CAST('pg_constraint' AS regclass)"
    " WHERE conrelid = to_regclass('site') AND contype = 'p'"
)
"""Of a PostgreSQL store: the comment on the key of ``site`` says which transaction wrote it, in which database of which
server. A dump carries the comment along, and what pg_restore makes of it was written by another one."""


class StoreError(Exception):
    """The database can't be used as it is; the message says what to do."""


def trouble(error: BaseException) -> str | None:
    """What is wrong with the database when it is locked, lost or full, in one line without statement and values.

    None for any other error: one that says that a statement was wrong is a bug of ours.
    """
    if isinstance(error, NoConnectionFree):
        return "the store is busy: no connection to it came free in time"
    if not isinstance(error, DBAPIError | sqlite3.Error) or isinstance(error, IntegrityError | DataError):
        return None
    said = _first_line(error)
    if "database is locked" in said:
        return "the store is locked: another process has been writing to it for longer than this one waits"
    return f"the store failed: {said}"


def table(model: type[SQLModel]) -> Table:
    """A model's Core table."""
    return cast(Table, model.__table__)  # type: ignore[attr-defined]


class Store:
    """One database, SQLite or PostgreSQL.

    ``is_copy``: it is a throw-away copy of one. Raises StoreError when the URL can't be read, or its driver is not
    installed.
    """

    def __init__(self, url: str, *, is_copy: bool = False) -> None:
        self.is_copy = is_copy
        try:
            self.engine: Engine = create_engine(
                url,
                poolclass=QueuePool,
                pool_size=CONNECTIONS,
                max_overflow=0,
                json_serializer=lambda value: orjson.dumps(value).decode(),
                json_deserializer=orjson.loads,
            )
        except ModuleNotFoundError as error:
            raise StoreError(f"PostgreSQL needs its driver: pip install 'swapsync[postgres]' ({error})") from error
        except (ArgumentError, NoSuchModuleError, ValueError):
            raise StoreError("it is not a database URL") from None  # the cause quotes parts of the URL
        if "@" in (self.engine.url.host or ""):  # else an error would quote the end of the password as the host's name
            raise StoreError("the host has an @ in it: in user name and password, write @ as %40, / as %2F, : as %3A")
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        if self.is_sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        else:
            event.listen(self.engine, "connect", _prepare_postgresql)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A unit of work: all of it or nothing. On SQLite it holds the one write lock, so keep it short."""
        with self.engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A consistent look without a write lock; whatever is written in it is rolled back."""
        with self.engine.connect().execution_options(swapsync_reading=True) as connection:
            yield connection

    def now(self, connection: Connection, clock: Clock) -> datetime:
        """The moment by the one clock that all workers of this store share: PostgreSQL's own; a SQLite store lives on
        one host and goes by that host's. A ``clock`` that a test moves is carried over by as much."""
        if self.is_sqlite:
            return clock.now()
        of_database: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
        return clock.now() + (of_database - Clock().now())

    def revision(self) -> str | None:
        """The schema's version, None for an empty database. Raises StoreError when there is no reaching it."""
        try:
            with self.reading() as connection:
                if not inspect(connection).has_table("alembic_version"):
                    return None
                return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        except DBAPIError as error:
            raise StoreError(f"the database can't be opened: {_first_line(error)}") from error

    def upgrade(self) -> None:
        """Brings the schema to this version's, all of it or nothing, whoever else does the same at that moment.

        Raises StoreError when the store was written by a newer version.
        """
        revision = self.revision()
        if revision is not None and revision > HEAD:
            raise StoreError(f"the store has schema {revision}, this swapsync knows {HEAD}: install a newer swapsync")
        if revision == HEAD and self.is_sqlite:
            return
        with self.transaction() as connection:
            if not self.is_sqlite:  # where a transaction to write is the only one anyway
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _UPGRADE_LOCK})
            if revision != HEAD:
                _migrate(connection)
            if not self.is_sqlite and not self._mark(connection):
                self.put_in_place(connection)

    def require_in_place(self) -> None:
        """Raises StoreError for a backup that was put into place: it would do again what was done since.

        That is one of ``swapsync db backup`` that was copied there, or what pg_restore made.
        """
        with self.reading() as connection:
            if self.is_sqlite:
                if connection.exec_driver_sql("PRAGMA user_version").scalar() == BACKUP:
                    raise StoreError(
                        "it is a backup: put it in place with swapsync db restore or, where it was copied there "
                        f"already, {_SAY_SO}"
                    )
            elif (mark := self._mark(connection)) and mark.description != _place(connection, mark.transaction):
                raise StoreError(f"it comes from a dump, or another server: {_SAY_SO}")

    def put_in_place(self, connection: Connection) -> None:
        """Lets a backup be used as the store. Raises StoreError for a role that may not say so."""
        if self.is_sqlite:
            connection.exec_driver_sql("PRAGMA user_version = 0")
            return
        transaction = connection.execute(text("SELECT CAST(txid_current() % 4294967296 AS text)")).scalar_one()
        place = _place(connection, transaction)
        try:
            connection.exec_driver_sql(f"COMMENT ON CONSTRAINT site_pkey ON site IS '{place}'")
        except ProgrammingError as error:
            raise StoreError(f"{_first_line(error)}: say it as the role to which the tables belong") from error

    def _mark(self, connection: Connection) -> Row[Any] | None:
        return connection.execute(_MARK).one_or_none()

    def require_current(self, *, backup: bool = False) -> None:
        """Upgrades an empty or older SQLite store by itself; asks for ``swapsync db upgrade`` elsewhere.

        Raises StoreError for a backup, unless one is wanted.
        """
        revision = self.revision()
        if not backup:
            self.require_in_place()
        if revision == HEAD:
            return
        if not self.is_sqlite:
            raise StoreError("the database's schema is not this version's: run swapsync db upgrade")
        self.upgrade()

    @contextmanager
    def copied(self) -> Iterator[Self]:
        """All that stands in the store now, at this version's schema, in a SQLite file of its own that is gone
        afterwards. The store itself is neither changed nor locked meanwhile. Raises StoreError.
        """
        with TemporaryDirectory(prefix="swapsync-dry-run-") as folder:
            file = Path(folder) / "copy.db"
            copy = type(self)(f"sqlite:///{file}", is_copy=True)
            try:
                if self.is_sqlite:
                    self._copy_file(file)
                copy.upgrade()
                if not self.is_sqlite:
                    self._copy_rows(copy)
                with copy.transaction() as connection:  # the leases of the store's workers mean nothing here
                    connection.execute(SQLModel.metadata.tables["lease"].delete())
                yield copy
            finally:
                copy.close()

    def _copy_file(self, to: Path) -> None:
        file = Path(self.engine.url.database or "")
        if file.parent.is_dir() and not file.exists():  # nothing is stored yet
            return
        self.revision()  # says what is wrong when it can't be opened
        self.require_in_place()
        connection = self.engine.raw_connection()
        try:
            connection.cursor().execute("VACUUM INTO ?", (str(to),))
        finally:
            connection.close()

    def _copy_rows(self, to: "Store") -> None:
        self.require_current()
        with self.engine.connect().execution_options(isolation_level="REPEATABLE READ") as source:
            for each in SQLModel.metadata.sorted_tables:
                found = source.execution_options(stream_results=True).execute(each.select()).mappings()
                with to.transaction() as target:
                    for part in found.partitions(1000):
                        target.execute(each.insert(), [dict(row) for row in part])

    def close(self) -> None:
        """Lets go of all connections."""
        self.engine.dispose()


def upsert(
    connection: Connection,
    model: type[SQLModel],
    rows: Sequence[Mapping[str, Any]],
    *,
    update: Iterable[str] | None = None,
) -> None:
    """Inserts rows by primary key; where one stands already, overwrites ``update`` (default: every given column).

    ``update=()`` leaves what stands. All rows must have the same keys.
    """
    if not rows:
        return
    keys = _key_names(model)
    columns = tuple(name for name in rows[0] if name not in keys) if update is None else tuple(update)
    connection.execute(_insert(model, connection.dialect.name, columns), list(rows))


def insert_new(connection: Connection, model: type[SQLModel], rows: Sequence[Mapping[str, Any]]) -> int:
    """Inserts rows that no unique key has seen yet, leaves the others alone; returns how many were new."""
    if not rows:
        return 0
    statement = _insert(model, connection.dialect.name, ())
    inserted = connection.execute(statement, list(rows), execution_options={"preserve_rowcount": True})
    return inserted.rowcount


@cache  # a statement is costly to build, and there are as many as there are callers
def _insert(model: type[SQLModel], dialect: str, overwrite: tuple[str, ...]) -> Any:
    """An insert that overwrites these columns of what stands already, or leaves it alone if there are none."""
    statement: Any
    if dialect == "sqlite":
        statement = sqlite.insert(table(model))
    else:
        from sqlalchemy.dialects import postgresql

        statement = postgresql.insert(table(model))
    if not overwrite:
        return statement.on_conflict_do_nothing()
    return statement.on_conflict_do_update(
        index_elements=_key_names(model), set_={name: statement.excluded[name] for name in overwrite}
    )


def _key_names(model: type[SQLModel]) -> list[str]:
    return [column.name for column in table(model).primary_key]


T = TypeVar("T")


def chunks(items: Sequence[T], size: int = 500) -> Iterator[Sequence[T]]:
    """The items in slices that fit a statement's parameters."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _migrate(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _place(connection: Connection, transaction: str) -> str:
    """What the mark of a PostgreSQL store says that was put in its place by this transaction."""
    try:
        with connection.begin_nested():
            server = connection.execute(text("SELECT system_identifier FROM pg_control_system()")).scalar()
    except DBAPIError:  # not to be had everywhere
        server = None
    database = connection.execute(text("SELECT oid FROM pg_database WHERE datname = current_database()")).scalar()
    return f"swapsync: in place by transaction {transaction} in database {database} of server {server}"


def _prepare_postgresql(connection: Any, _record: Any) -> None:
    """What was committed must survive a power cut, whatever the server, the database or the role has as its default."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        )
    connection.commit()


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    connection.execute(
        f"PRAGMA busy_timeout = {BUSY_TIMEOUT // timedelta(milliseconds=1)}"
    )  # first, so that the others wait, too
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


def _begin_sqlite(connection: Connection) -> None:
    reading = connection.get_execution_options().get("swapsync_reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _first_line(error: DBAPIError | sqlite3.Error) -> str:
    said = str(error.orig if isinstance(error, DBAPIError) else error)
    return said.strip().partition("\n")[0] or type(error).__name__
