"""A store that is locked, lost or out of reach ends a command in one line, whatever it was about to do."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from typer.main import get_command

from swapsync.cli import app
from swapsync.jobs.cycle import run_job
from swapsync.sandbox.server import Sandbox
from swapsync.store.db import Store, trouble
from tests.conftest import Answer, Ask, Desk
from tests.rules.scenario import one_store_is_enough

LOCKED = "the store is locked: another process has been writing to it for longer than this one waits"


@pytest.fixture
def ask(server: Sandbox, ask_store: Ask, monkeypatch: pytest.MonkeyPatch) -> Ask:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return ask_store


def is_one_line(answer: Answer) -> bool:
    return answer.out == "" and re.fullmatch(r"swapsync: [^\n]+\n", answer.err) is not None


# -- locked, or lost on the way


@pytest.fixture
def locked(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Another process writes to the store, and goes on with it."""
    monkeypatch.setattr("swapsync.store.db.BUSY_TIMEOUT", timedelta(milliseconds=50))
    with closing(sqlite3.connect(str(store.engine.url.database), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@one_store_is_enough
@pytest.mark.parametrize(
    "command",
    [("sync",), ("sync", "--json"), ("daemon",), ("backfill", "--since", "2026-03-01"), ("db", "restored")],
    ids=" ".join,
)
def test_a_locked_store_is_one_line_that_says_what_to_do(
    ask: Ask, locked: None, database_url: str, command: tuple[str, ...]
) -> None:
    answer = ask(database_url, *command)

    assert (answer.code, answer.out) == (1, "")
    said = f"swapsync: {LOCKED}; what was done until then is stored: run it again once that is over\n"
    assert answer.err == said


@one_store_is_enough
def test_what_only_reads_does_not_mind_a_locked_store(ask: Ask, locked: None, database_url: str) -> None:
    assert ask(database_url, "status").code == 0


def gone(*_: Any) -> None:
    raise OperationalError(
        "SELECT secret FROM site WHERE slug = ?", {"slug": "acme"}, sqlite3.OperationalError("server is gone\nLINE 1")
    )


@one_store_is_enough
def test_a_store_that_is_lost_is_one_line_without_the_statement(
    ask: Ask, database_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swapsync.store.runs.first_run", gone)
    answer = ask(database_url, "sync")
    assert answer.code == 1
    assert is_one_line(answer)
    assert answer.err.startswith("swapsync: the store failed: server is gone; ")


@one_store_is_enough
def test_a_job_that_loses_the_store_says_so_without_the_statement(desk: Desk) -> None:
    record = run_job(desk(), "poll_skus", gone)
    assert (record.status, record.error) == ("failed", "the store failed: server is gone")


def test_no_connection_is_trouble_and_a_wrong_statement_is_a_bug() -> None:
    assert trouble(NoConnectionFree("QueuePool limit of size 8 overflow 0 reached")) is not None
    assert trouble(IntegrityError("INSERT", {}, sqlite3.IntegrityError("UNIQUE constraint failed"))) is None
    assert trouble(ValueError("x")) is None


# -- out of reach


def _commands(group: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, *path, name)
        else:
            yield (*path, name), command


VALUES = {"since": "2026-03-01", "to": "2026-03-01T00:00:00Z", "action": "accept"}
OPTIONAL = {
    ("inspect",): ("RMA-1", "--sku", "MUG", "--condition", "sellable", "--quantity", "1"),
    ("exceptions", "resolve"): ("1",),
    ("outbox", "retry"): ("1",),
}
"""What these want although none of it is required."""
OTHERWISE = {("demo",), ("sandbox",), ("doctor",), ("db", "restore")}
"""The first two bring their store along, the doctor reports, and a restore needs no store to be there."""


def _typed(path: tuple[str, ...], command: Any) -> tuple[str, ...]:
    """A command with everything that it asks for."""
    words = list(path)
    for parameter in command.params:
        if parameter.required:
            words += [parameter.opts[0]] if parameter.param_type_name == "option" else []
            words.append(VALUES.get(parameter.name, "1"))
    return (*words, *OPTIONAL.get(path, ()))


COMMANDS = [_typed(path, command) for path, command in _commands(get_command(app)) if path not in OTHERWISE]
DRY = [("sync", "--dry-run"), ("reconcile", "--dry-run"), ("backfill", "--since", "2026-03-01", "--dry-run")]
OUT_OF_REACH = {
    "no server": ("postgresql+psycopg://kim:hunter2@127.0.0.1:1/swapsync", "Connection refused"),
    "no folder": ("sqlite:///nowhere/swapsync.db", "unable to open database file"),
    "a folder": ("sqlite:///.", "unable to open database file"),
}


@pytest.mark.parametrize(("url", "why"), OUT_OF_REACH.values(), ids=OUT_OF_REACH)
@pytest.mark.parametrize("command", [*COMMANDS, *DRY], ids=" ".join)
def test_a_store_out_of_reach_is_one_line_about_its_setting(
    ask: Ask, command: tuple[str, ...], url: str, why: str
) -> None:
    answer = ask(url, *command)

    assert answer.code == 2
    assert is_one_line(answer)
    assert answer.err.startswith("swapsync: SWAPSYNC_DATABASE_URL: the database can't be opened: ")
    assert why in answer.err
    assert "hunter2" not in answer.err


@pytest.mark.parametrize(("url", "why"), OUT_OF_REACH.values(), ids=OUT_OF_REACH)
def test_the_doctor_reports_a_store_out_of_reach(ask: Ask, url: str, why: str) -> None:
    answer = ask(url, "doctor")
    assert (answer.code, answer.err) == (1, "")
    assert "Set SWAPSYNC_DATABASE_URL." in answer.out or why in answer.out
    assert "hunter2" not in answer.out


@one_store_is_enough
@pytest.mark.parametrize("command", [("sync",), ("sync", "--json")], ids=" ".join)
def test_a_store_that_may_only_be_read_is_one_line(ask: Ask, store: Store, command: tuple[str, ...]) -> None:
    answer = ask(f"sqlite:///file:{store.engine.url.database}?mode=ro&uri=true", *command)
    assert answer.code == 1
    assert is_one_line(answer)
    assert answer.err.startswith("swapsync: the store failed: attempt to write a readonly database; ")


def test_an_empty_file_that_may_only_be_read_is_one_line(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    answer = ask("sqlite:///file:empty.db?mode=ro&uri=true", "status")
    assert answer.code == 2
    assert is_one_line(answer)
