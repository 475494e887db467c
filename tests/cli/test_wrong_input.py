"""Whatever a person types: no traceback, exit code 2, and one line that no terminal is steered by."""

import re
from pathlib import Path

import pytest
from sqlalchemy import update

from swapsync.jobs.workplace import Workplace
from swapsync.sandbox.server import Sandbox
from swapsync.sandbox.world import World
from swapsync.store.exceptions import exceptions
from tests.conftest import Answer, Ask, Desk, run
from tests.rules import scenario as s

HUGE = "9" * 20
HUGER = "9" * 5000
STEERING = "\x1b[31m\nred"
NO_TEXT = "caf\udce9"
NOT_ONE_LINE = "must be one line of printable text"
NO_NUMBER = "less than or equal to"


@pytest.fixture
def place(desk: Desk, world: World) -> Workplace:
    """RMA-1 credited, and PO_NUMBER_MISSING open as exception 1."""
    s.order(world, customer_reference=None)
    s.returned(world, **s.APPROVED)
    opened = desk()
    run(opened)
    return opened


@pytest.fixture
def ask(place: Workplace, server: Sandbox, ask_store: Ask, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Ask:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)

    def command(*arguments: str) -> Answer:
        return ask_store(database_url, *arguments)

    return command


ONE = ("exceptions", "resolve", "1", "--action", "type-po")
ALL = ("exceptions", "resolve", "--code", "PO_NUMBER_MISSING", "--action", "type-po")
FOUND = ("inspect", "RMA-1", "--sku", "MUG", "--condition")


@s.one_store_is_enough
@pytest.mark.parametrize(
    ("command", "why"),
    [
        (("exceptions", "show", HUGE), NO_NUMBER),
        (("exceptions", "resolve", HUGE, "--action", "accept"), NO_NUMBER),
        (("exceptions", "assign", HUGE, "--to", "x"), NO_NUMBER),
        (("exceptions", "comment", HUGE, "hi"), NO_NUMBER),
        (("exceptions", "resolve", HUGER, "--action", "accept"), "as an integer"),
        (("exceptions", "list", "--limit", HUGE), NO_NUMBER),
        (("outbox", "retry", HUGE), NO_NUMBER),
        ((*ONE, "--value", "PO-9", "--seen", HUGE), NO_NUMBER),
        ((*ONE, "--value", STEERING), f"the value {NOT_ONE_LINE}"),
        ((*ONE, "--value", "9" * 300), "the value has 300 characters"),
        ((*ONE, "--value", "PO-9", "--note", STEERING), f"the note {NOT_ONE_LINE}"),
        (("exceptions", "resolve", "1", "--action", STEERING), "has no action"),
        ((*ALL, "--site", STEERING), "there is no open exception"),
        (("exceptions", "assign", "1", "--to", STEERING), f"the name {NOT_ONE_LINE}"),
        (("exceptions", "comment", "1", STEERING), f"the comment {NOT_ONE_LINE}"),
        (("exceptions", "comment", "1", NO_TEXT), f"the comment {NOT_ONE_LINE}"),
        (("exceptions", "list", "--site", STEERING), "is unknown"),
        (("returns", "show", STEERING), "there is no return"),
        (("returns", "show", NO_TEXT), "no UTF-8 text"),
        (("returns", "list", "--search", NO_TEXT), "no UTF-8 text"),
        (("credit-notes", "void", "nonsense", "--reason", "x"), "there is no credit note nonsense"),
        (("credit-notes", "void", "CN-000001", "--reason", STEERING), f"the reason {NOT_ONE_LINE}"),
        (("pause", "--job", "poll_skus", "--reason", STEERING), f"the --reason {NOT_ONE_LINE}"),
        (("cut-over", "move", "--to", "nonsense"), "--to nonsense"),
        (("backfill", "--since", "nonsense"), "--since nonsense"),
        (("reconcile", "--month", "2026-13"), "--month 2026-13: not a month"),
        (("reconcile", "--month", "9999-12"), "not a month"),
        (("reconcile", "--since", "0001-01-01T00:00:00+14:00", "--until", "2026-03-01"), "neither a day"),
        ((*FOUND, "sellable", "--quantity", HUGE), "more than any parcel holds"),
        (("inspect", "RMA-1", "--sku", STEERING, "--condition", "unexpected", "--quantity", "1"), NOT_ONE_LINE),
        ((*FOUND, "sellable", "--quantity", "1", "--site", "nowhere"), "is unknown"),
        (("inspect", "--file", "."), "Is a directory"),
        (("inspect", "--file", "nothing.csv"), "No such file"),
        (("inspect", "--file", HUGER), "File name too long"),
        (("inspect", "--file", "bytes"), "the header lacks"),
        (("sync", "--site", "nowhere"), "nowhere"),
        (("db", "restored", "--last-credit-note", HUGE), NO_NUMBER),
        (("db", "restored", "--last-credit-note", "-1"), "greater than or equal to"),
        (("db", "backup", ""), "blank"),
        (("db", "backup", "."), "blank"),
        (("db", "restore", HUGER), "File name too long"),
        (("db", "restore", "bytes"), "holds no store of swapsync"),
        (("audit-trail", "verify", "--head", f"{HUGER}:x"), "is not COUNT:HASH"),
    ],
    ids=lambda value: " ".join(part[:20] for part in value) if isinstance(value, tuple) else "",
)
def test_a_mistake_ends_in_one_line_that_says_what_is_wrong(
    ask: Ask, tmp_path: Path, command: tuple[str, ...], why: str
) -> None:
    (tmp_path / "bytes").write_bytes(bytes(range(256)))

    answer = ask(*command)

    assert (answer.code, answer.out) == (2, "")
    *usage, line = answer.err.rstrip("\n").split("\n")
    assert why in line
    assert not usage or usage[0].startswith("Usage: "), answer.err
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", answer.err)


def test_what_is_stored_does_not_steer_a_terminal_through_an_error(ask: Ask, place: Workplace) -> None:
    with place.store.transaction() as connection:
        connection.execute(update(exceptions).values(status="resolved", resolution=f"type-po {STEERING} by root"))

    answer = ask("exceptions", "resolve", "1", "--action", "type-po", "--value", "again")

    assert answer.err == "swapsync: exception 1 is resolved already: type-po  [31m red by root\n"


@s.one_store_is_enough
def test_a_user_name_that_is_no_name_is_refused(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", STEERING)
    answer = ask(*ONE, "--value", "PO-9")
    assert answer.code == 2
    assert answer.err.startswith("swapsync: the user's name (LOGNAME) must be one line of printable text")


@s.one_store_is_enough
def test_a_user_without_a_name_is_known_by_the_number(
    ask: Ask, place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 10001")

    monkeypatch.setattr("getpass.getuser", nobody)
    monkeypatch.setattr("os.getuid", lambda: 10001)
    assert ask(*ONE, "--value", "PO-9").code == 0
    assert s.trail(place)[-1].actor == "uid 10001"
