"""Backups of a SQLite store: taken while it is in use, verified, and put back in its place."""

import sqlite3
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from swapsync.jobs.restored import mark_restored
from swapsync.sandbox.world import World
from swapsync.store.backup import BackupError, back_up, restore, verify
from swapsync.store.db import HEAD, Store
from tests import scenario
from tests.conftest import Desk, run
from tests.first_store import everything, first_store
from tests.rules.scenario import one_store_is_enough

pytestmark = one_store_is_enough
NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)


def place_of(store: Store) -> Path:
    return Path(str(store.engine.url.database))


def put_back(database: Path, file: Path) -> Path | None:
    return restore(database, file, NOW, lambda copy, known: mark_restored(copy, NOW, "kim", known=known))


def last_number(database: Path) -> int:
    with sqlite3.connect(database) as connection:
        return int(connection.execute("SELECT last_credit_number FROM site").fetchone()[0])


def test_a_copy_is_one_file_that_holds_everything_and_only_its_owner_may_read(
    desk: Desk, world: World, store: Store, tmp_path: Path
) -> None:
    scenario.sold(world)
    scenario.approved(world)
    run(desk())

    copy = back_up(store, tmp_path / "backup.db")

    assert copy.revision == HEAD
    assert (copy.counts["credit_note"], copy.counts["return_authorisation"], copy.counts["run"]) == (1, 1, 7)
    assert verify(tmp_path / "backup.db") == copy
    assert sorted(path.name for path in tmp_path.glob("backup*")) == ["backup.db"]
    assert (tmp_path / "backup.db").stat().st_mode & 0o777 == 0o600


def test_it_waits_for_nobody_and_holds_nothing_half_done(store: Store, tmp_path: Path) -> None:
    half_done, finished = threading.Event(), threading.Event()

    def work() -> None:
        with store.transaction() as connection:
            connection.exec_driver_sql("INSERT INTO watermark VALUES ('default', 'half', '2026-01-01')")
            half_done.set()
            finished.wait(30)

    worker = threading.Thread(target=work)
    worker.start()
    half_done.wait(30)
    try:
        copy = back_up(store, tmp_path / "backup.db")
    finally:
        finished.set()
        worker.join()

    assert copy.counts["watermark"] == 0


def test_it_overwrites_nothing_and_leaves_nothing_where_it_fails(store: Store, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")

    with pytest.raises(BackupError, match="exists already"):
        back_up(store, tmp_path / "precious")
    with pytest.raises(BackupError, match="No such file"):
        back_up(store, tmp_path / "nowhere" / "backup.db")

    assert (tmp_path / "precious").read_text() == "mine"
    assert not list(tmp_path.glob("*.part"))


def test_what_is_damaged_or_no_store_of_ours_is_refused(store: Store, tmp_path: Path) -> None:
    back_up(store, tmp_path / "backup.db")
    whole = (tmp_path / "backup.db").read_bytes()
    (tmp_path / "torn.db").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "letter.db").write_text("Dear Sir or Madam,")
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE something (name TEXT)")

    for name in ("torn.db", "letter.db", "other.db", "missing.db"):
        with pytest.raises(BackupError):
            put_back(tmp_path / "target.db", tmp_path / name)
    assert not (tmp_path / "target.db").exists()


def back_up_before_the_first_credit(desk: Desk, world: World, store: Store, file: Path) -> None:
    """What a restore of the copy goes back behind: the store has issued credit note 1 since."""
    scenario.sold(world)
    run(desk())
    back_up(store, file)
    scenario.approved(world)
    run(desk())


def test_a_restore_puts_the_copy_in_place_keeps_the_old_store_and_goes_on_after_its_numbers(
    desk: Desk, world: World, store: Store, tmp_path: Path
) -> None:
    back_up_before_the_first_credit(desk, world, store, tmp_path / "backup.db")
    database = place_of(store)
    store.close()

    kept = put_back(database, tmp_path / "backup.db")

    assert kept == database.with_name("swapsync.db.before-restore-20260310T120000Z")
    assert verify(kept).counts["credit_note"] == 1
    assert verify(database).counts["credit_note"] == 0
    assert last_number(database) == 1
    again = Store(f"sqlite:///{database}")
    assert again.revision() == HEAD
    again.close()


def test_the_numbers_go_on_also_where_the_store_that_is_replaced_has_lost_its_cut_over(
    desk: Desk, world: World, store: Store, tmp_path: Path
) -> None:
    back_up_before_the_first_credit(desk, world, store, tmp_path / "backup.db")
    with store.transaction() as connection:
        connection.exec_driver_sql("UPDATE site SET effects_from = NULL")
    store.close()

    put_back(place_of(store), tmp_path / "backup.db")

    assert last_number(place_of(store)) == 1


def test_a_restore_is_refused_while_a_worker_has_the_store_open(
    desk: Desk, world: World, store: Store, tmp_path: Path
) -> None:
    run(desk())
    back_up(store, tmp_path / "backup.db")
    before = place_of(store).read_bytes()

    with pytest.raises(BackupError, match="stop the daemon"):
        put_back(place_of(store), tmp_path / "backup.db")

    assert place_of(store).read_bytes() == before
    assert not list(tmp_path.glob("*restor*"))


def test_a_store_that_is_too_damaged_to_be_read_is_kept_and_replaced(
    desk: Desk, world: World, store: Store, tmp_path: Path
) -> None:
    run(desk())
    back_up(store, tmp_path / "backup.db")
    database = place_of(store)
    store.close()
    database.write_bytes(b"\0" * 8192)
    database.with_name("swapsync.db-wal").write_bytes(b"stale")

    kept = put_back(database, tmp_path / "backup.db")

    assert kept is not None
    assert kept.read_bytes() == b"\0" * 8192
    assert not database.with_name("swapsync.db-wal").exists()
    assert verify(database).counts["run"] == 7


def test_a_backup_of_a_newer_schema_is_refused(store: Store, tmp_path: Path) -> None:
    back_up(store, tmp_path / "newer.db")
    with sqlite3.connect(tmp_path / "newer.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(BackupError, match="install a newer swapsync"):
        put_back(tmp_path / "target.db", tmp_path / "newer.db")


def test_a_backup_of_the_first_schema_is_brought_up_to_date_and_nothing_in_it_is_lost(
    database_url: str, tmp_path: Path
) -> None:
    first = first_store(database_url)
    copy = back_up(first, tmp_path / "older.db")
    before = everything(first)
    first.close()
    assert copy.revision == "0001"
    database = tmp_path / "restored" / "swapsync.db"
    database.parent.mkdir()

    assert put_back(database, tmp_path / "older.db") is None

    assert verify(tmp_path / "older.db") == copy
    assert verify(database).revision == HEAD
    again = Store(f"sqlite:///{database}")
    again.require_in_place()
    after = everything(again)
    again.close()
    assert after["event"].pop()["kind"] == "store_restored"
    assert after == before
