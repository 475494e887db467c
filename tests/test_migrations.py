"""The schema: what the migrations build is what the models say, on both databases."""

from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlmodel import SQLModel

from swapsync.store import db
from swapsync.store.db import Store


def test_the_migrations_build_what_the_models_say(store: Store) -> None:
    with store.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), SQLModel.metadata) == []


def test_the_buyers_of_orders_that_an_older_store_holds_are_known_after_the_upgrade(database_url: str) -> None:
    store = Store(database_url)
    config = Config()
    config.set_main_option("script_location", str(Path(db.__file__).parent / "migrations"))
    order = dict.fromkeys(("type", "payment_method", "po_number", "currency", "digest", "detail_digest"), "")
    order |= {"site": "acme", "order_id": "O1", "platform_id": "1", "visible": "#1", "customer_ids": '["C1", "C2"]'}
    with store.transaction() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        names = [*order, "updated_at"]
        connection.execute(
            text(f"INSERT INTO sales_order ({', '.join(names)}) VALUES ({', '.join(f':{name}' for name in names)})"),
            order | {"updated_at": "2026-03-01 00:00:00"},
        )

    store.upgrade()

    with store.reading() as connection:
        rows = connection.execute(text("SELECT * FROM order_buyer ORDER BY customer_id")).all()
    store.close()
    assert [tuple(row) for row in rows] == [("acme", "C1", "O1"), ("acme", "C2", "O1")]
