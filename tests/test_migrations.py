"""The schema: what the migrations build, and that they lose nothing of a store with data of every earlier one."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlmodel import SQLModel

from swapsync.connectors.sparklayer import OrderRef
from swapsync.jobs.cycle import open_workplace
from swapsync.sandbox.server import Sandbox
from swapsync.sandbox.world import World
from swapsync.settings import load_settings
from swapsync.store import outbox
from swapsync.store.db import HEAD, Store, StoreError
from tests.conftest import FixedClock, run
from tests.first_store import FIRST, everything, first_store
from tests.rules import scenario as s

LATER = datetime(2026, 3, 10, 12, 30, tzinfo=UTC)
"""A while after the last moment in the data."""


def test_the_migrations_build_what_the_models_say(store: Store) -> None:
    with store.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), SQLModel.metadata) == []


# -- a store with data of an earlier schema --------------------------------------------------------------------------


@pytest.fixture
def first(database_url: str) -> Iterator[Store]:
    """A store of schema 0001, full."""
    store = first_store(database_url)
    yield store
    store.close()


def test_the_data_fill_every_table_that_there_was(first: Store) -> None:
    with first.reading() as connection:
        names = set(sa.inspect(connection).get_table_names()) - {"alembic_version"}
    assert names == {name for name, rows in FIRST.items() if rows}


def test_an_upgrade_loses_nothing(first: Store) -> None:
    before = everything(first)

    first.upgrade()

    assert first.revision() == HEAD
    assert everything(first) == before
    with first.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), SQLModel.metadata) == []


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_an_older_store_is_known_as_the_one_in_its_place_after_the_upgrade(first: Store) -> None:
    with first.reading() as connection:
        assert first._mark(connection) is None

    for _ in range(2):
        first.upgrade()

    with first.reading() as connection:
        assert first._mark(connection) is not None
    first.require_in_place()


def test_the_buyers_of_orders_that_an_older_store_holds_are_known_after_the_upgrade(first: Store) -> None:
    first.upgrade()

    with first.reading() as connection:
        rows = connection.execute(sa.text("SELECT * FROM order_buyer ORDER BY customer_id")).all()
    ((order,),) = [FIRST["sales_order"]]
    assert [tuple(row) for row in rows] == [
        ("default", customer_id, order["order_id"]) for customer_id in orjson.loads(order["customer_ids"])
    ]


def test_a_credit_that_an_older_version_may_have_sent_is_never_withdrawn_as_one_that_nobody_was_given(
    first: Store,
) -> None:
    first.upgrade()

    with first.transaction() as connection:
        assert outbox.withdraw_credits(connection, "default", "R4") == []


def test_after_an_upgrade_nothing_is_done_twice_and_what_waited_is_done(
    first: Store, server: Sandbox, world: World, clock: FixedClock, tmp_path: Path
) -> None:
    clock.moment = LATER
    first.upgrade()
    environ = server.environment() | {"SWAPSYNC_EFFECTS_FROM": "2026-03-01T00:00:00Z"}
    place = open_workplace(load_settings(environ, tmp_path).sites[0], first, clock)
    s.order(world, s.sold(), s.sold("CUP", quantity=6, net="60.00", tax="12.00"))
    s.returned(world, **s.DELIVERED)
    s.second(world, s.back("CUP", 2), **s.APPROVED)
    s.returned(world, s.back("PLATE", 1), return_id="R3", rma_number="RMA-3")
    s.returned(world, s.back("CUP", 1), return_id="R4", rma_number="RMA-4", **s.APPROVED)
    for platform_id, total in (("swap:R1:credit:1", -4800), ("swap:R2:credit:1", -2400)):
        place.sparklayer.put_transaction(
            OrderRef("platform", "5001"), platform_id=platform_id, total_minor=total, currency="GBP", details={}
        )
    world.sparklayer.set_level("MUG", "default", 24)
    done = s.money_writes(world)

    for _ in range(2):
        run(place)
        clock.forward(hours=2)

    (credit,) = [call.request_body["platform_id"] for call in s.money_writes(world) if call not in done]
    assert credit == "swap:R4:credit:1"
    assert [note.number for note in s.documents(place)] == ["CN-000001", "CN-000002", "CN-000003"]
    assert {note.state for note in s.documents(place)} == {"delivered"}
    assert world.sparklayer.level("MUG", "default") == 24
    written = s.tokens(world)
    assert len(written) == len(set(written))
    assert {row["effect_key"] for row in FIRST["outbox"] if row["state"] == "sent"}.isdisjoint(
        f"[{token}]" for token in written
    )


# -- trouble on the way ----------------------------------------------------------------------------------------------


def test_an_upgrade_that_breaks_off_changes_nothing_and_is_made_again(
    first: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything(first)
    from alembic.op import create_table

    def broken(name: str, *rest: Any, **options: Any) -> Any:
        if name == "alert":
            raise RuntimeError("power cut")
        return create_table(name, *rest, **options)

    monkeypatch.setattr("alembic.op.create_table", broken)
    with pytest.raises(RuntimeError, match="power cut"):
        first.upgrade()

    assert first.revision() == "0001"
    with first.reading() as connection:
        assert "job_control" not in sa.inspect(connection).get_table_names()
        assert "policy" not in {column["name"] for column in sa.inspect(connection).get_columns("site")}
    assert everything(first) == before
    monkeypatch.undo()
    first.upgrade()
    assert everything(first) == before


HANGS = """
import sys, time
import alembic.op
from swapsync.store.db import Store
create = alembic.op.create_table
def hanging(name, *rest, **options):
    if name == "alert":
        print("in the middle", flush=True)
        time.sleep(600)
    return create(name, *rest, **options)
alembic.op.create_table = hanging
Store(sys.argv[1]).upgrade()
"""


def _python(program: str, store: Store) -> "subprocess.Popen[str]":
    url = store.engine.url.render_as_string(hide_password=False)
    return subprocess.Popen(
        [sys.executable, "-c", program, url], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )


def test_an_upgrade_that_is_killed_leaves_the_store_as_it_was(first: Store) -> None:
    before = everything(first)
    process = _python(HANGS, first)
    assert process.stdout is not None
    assert process.stdout.readline() == "in the middle\n"
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    process.stdout.close()

    assert first.revision() == "0001"
    first.upgrade()
    assert everything(first) == before


def test_two_processes_that_upgrade_at_once_both_end_well(first: Store) -> None:
    before = everything(first)
    program = "import sys; from swapsync.store.db import Store; Store(sys.argv[1]).upgrade()"
    processes = [_python(program, first) for _ in range(3)]
    codes = []
    for process in processes:
        process.communicate(timeout=60)
        codes.append(process.returncode)

    assert codes == [0, 0, 0]
    assert first.revision() == HEAD
    assert everything(first) == before


def test_a_store_of_a_newer_version_is_refused(store: Store) -> None:
    with store.transaction() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(StoreError, match=r"has schema 9999, this swapsync knows \d+: install a newer swapsync"):
        store.upgrade()
