"""Backups of a SQLite store: a copy taken while it is in use and verified, and a copy put back in its place."""

import os
import shutil
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from swapsync.store.db import BACKUP, HEAD, Store


class BackupError(Exception):
    """A backup can't be made, or can't be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Copy:
    """What a verified copy holds: the revision of its schema, and the rows of each table."""

    revision: str
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class LastKnown:
    """What is known of a site from elsewhere than the backup: its last credit note number, and its cut-over moment.

    ``effects_from`` is None where nobody knows it any more.
    """

    last_credit_number: int
    effects_from: datetime | None


def back_up(store: Store, target: Path) -> Copy:
    """Copies the store, as it is at one moment, to a file that does not exist yet. Nobody has to wait for it.

    Raises BackupError; then there is no such file.
    """
    if not target.name:
        raise BackupError("the name of the file to write is blank")
    part = target.with_name(f"{target.name}.part")
    try:
        target.touch(mode=0o600, exist_ok=False)
    except FileExistsError:
        raise BackupError(f"{target} exists already; nothing was overwritten") from None
    except OSError as error:
        raise BackupError(f"{target} can't be written: {error.strerror}") from None
    try:
        part.unlink(missing_ok=True)
        part.touch(mode=0o600)
        with closing(sqlite3.connect(_file(store), isolation_level=None)) as source:
            source.execute("BEGIN")  # one moment for the copy and for the figures it is held against
            expected = _counts(source)
            with closing(sqlite3.connect(part, isolation_level=None)) as copy:
                source.backup(copy)
                copy.execute("PRAGMA journal_mode = DELETE")  # one file, with nothing beside it
                copy.execute(f"PRAGMA user_version = {BACKUP}")  # copied into place, it is noticed
        found = verify(part)
        if found.counts != expected:
            raise BackupError("the copy does not hold what the store holds; try again")
        os.replace(part, target)
        return found
    except BaseException as error:
        target.unlink(missing_ok=True)
        part.unlink(missing_ok=True)
        if isinstance(error, sqlite3.Error | OSError):
            raise BackupError(f"the store can't be copied: {error}") from error
        raise


def verify(file: Path) -> Copy:
    """Reads a copy from end to end. Raises BackupError for one that is damaged, or is no store of swapsync."""
    try:
        if not file.is_file():
            raise BackupError(f"{file} is not a file")
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            problems = [row[0] for row in connection.execute("PRAGMA integrity_check")]
            if problems != ["ok"]:
                raise BackupError(f"{file} is damaged: {problems[0]}")
            revision = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            if revision is None:
                raise BackupError(f"{file} holds no store of swapsync")
            return Copy(revision[0], _counts(connection))
    except OSError as error:
        raise BackupError(f"{file} can't be read: {error.strerror}") from None
    except sqlite3.Error as error:
        raise BackupError(f"{file} holds no store of swapsync: {error}") from None


def restore(
    database: Path, file: Path, now: datetime, mark: Callable[[Store, Mapping[str, LastKnown]], None]
) -> Path | None:
    """Puts a verified copy in the place of a store; returns where the one that was there is kept, None if none was.

    ``mark`` is given the copy, upgraded, and what the store that it replaces says of its sites; it notes that the copy
    was restored, and lets it be used.
    Raises BackupError, and changes nothing, when the copy can't be used or a worker is running.
    """
    copy = verify(file)
    if copy.revision > HEAD:
        raise BackupError(f"{file} has schema {copy.revision}, this swapsync knows {HEAD}: install a newer swapsync")
    standing = database.exists() and database.stat().st_size > 0
    replaced = _close_down(database) if standing else {}
    part = database.with_name(f"{database.name}.restoring")
    part.unlink(missing_ok=True)
    shutil.copyfile(file, part)
    part.chmod(0o600)
    store = Store(f"sqlite:///{part}")
    try:
        store.upgrade()
        mark(store, replaced)
    except BaseException:
        store.close()
        _remove(part)
        raise
    store.close()
    with closing(sqlite3.connect(part)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    kept = database.with_name(f"{database.name}.before-restore-{now:%Y%m%dT%H%M%SZ}") if standing else None
    if kept is not None:
        _keep(database, kept)
    os.replace(part, database)
    return kept


def _close_down(database: Path) -> dict[str, LastKnown]:
    """Makes one file of the store that is to be replaced; returns what it says of its sites.

    Only the last connection may do that, so a worker that has the store open is noticed. A store too damaged to be read
    is taken as it is.
    """
    try:
        with closing(sqlite3.connect(database, timeout=1)) as connection:
            rows = connection.execute("SELECT slug, last_credit_number, effects_from FROM site").fetchall()
            connection.execute("PRAGMA journal_mode = DELETE")
            return {
                slug: LastKnown(number, datetime.fromisoformat(moment).replace(tzinfo=UTC) if moment else None)
                for slug, number, moment in rows
            }
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise BackupError("a worker has the store open: stop the daemon and every command first") from None
        return {}
    except (sqlite3.DatabaseError, ValueError):
        return {}


def _keep(database: Path, kept: Path) -> None:
    """Gives a store a second name; what stands beside it, of one too damaged to be closed down, moves along."""
    for suffix in ("-wal", "-shm"):
        beside = database.with_name(database.name + suffix)
        if beside.exists():
            os.replace(beside, kept.with_name(kept.name + suffix))
    try:
        os.link(database, kept)
    except OSError:  # a file system without hard links
        shutil.copyfile(database, kept)


def _remove(file: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)


def _file(store: Store) -> str:
    file = store.engine.url.database
    if not file or file == ":memory:":
        raise BackupError("the store is in memory, so there is nothing to copy")
    return file


def _counts(connection: sqlite3.Connection) -> dict[str, int]:
    names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    return {
        name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]  # noqa: S608 - a name of the schema
        for (name,) in sorted(names.fetchall())
    }
