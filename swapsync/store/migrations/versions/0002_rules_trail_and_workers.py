"""Facts for every rule, a chained audit trail, and what several workers share"""

import sqlalchemy as sa
from alembic import op

from swapsync.store.tables import UtcDateTime

revision = "0002"
down_revision = "0001"

_UNIQUE = {"uq": "%(table_name)s_%(column_0_N_name)s_key"}
"""How PostgreSQL named the unique constraints of 0001, which gave them no names."""


def upgrade() -> None:
    """From the first schema; what is stored keeps its meaning."""
    _add(
        "site", _text("policy"), _text("words"), _whole("event_count"), _text("last_event_hash"), _moment("restored_at")
    )
    _add(
        "return_authorisation",
        _flag("buyer_checked"),
        _moment("delivered_at"),
        _moment("seen_at"),
        _whole("missed_sweeps"),
        _flag("overdue"),
        _minor("handling_fee"),
        _whole("decided_entry"),
    )
    op.create_index(
        "ix_return_delivered",
        "return_authorisation",
        ["site", "delivered_at"],
        sqlite_where=sa.text("overdue = 0 AND settled_outside = 0 AND inspection != 'done'"),
        postgresql_where=sa.text("NOT overdue AND NOT settled_outside AND inspection != 'done'"),
    )
    live = sa.text("status NOT IN ('closed', 'cancelled', 'expired') OR settlement IN ('held', 'due')")
    op.create_index(
        "ix_return_seen", "return_authorisation", ["site", "seen_at"], sqlite_where=live, postgresql_where=live
    )
    op.create_index("ix_credit_note_order", "credit_note", ["site", "order_id"])
    op.create_index("ix_ruling_subject", "ruling", ["site", "subject"])
    _add(
        "return_line",
        *(_text(f"{part}_reason_{what}") for part in ("main", "sub") for what in ("id", "text")),
        _text("reason_code"),
    )
    _add("sales_order", _flag("cancelled"), _minor("shipping_net"), _minor("shipping_tax"), _text("substance"))
    _add("finding", _text("sku"))
    _add("credit_note", _text("kind", "credit"), _text("voids"), _text("reason"), _text("actor"))
    _add(
        "credit_note_line",
        _text("kind", "goods"),
        _text("reason_code"),
        sa.Column("sold_quantity", sa.Integer(), nullable=True),
        sa.Column("sold_net", sa.BigInteger(), nullable=True),
        sa.Column("sold_tax", sa.BigInteger(), nullable=True),
    )
    _add("exception", _text("about"), _text("assignee"))
    _add("exception", sa.Column("suggestions", sa.JSON(), nullable=False, server_default="[]"))
    _add(
        "event",
        *(_text(name) for name in ("actor", "before", "after", "previous_hash", "hash")),
        sa.Column("exception_id", sa.Integer(), nullable=True),
    )
    _add("lease", _minor("token"))
    _add("outbox", _text("claimed_by"), _moment("claimed_until"))
    op.execute("UPDATE outbox SET claimed_by = 'before 0002' WHERE kind = 'credit' AND state != 'sent'")
    failed = sa.text("state = 'failed'")
    op.create_index("ix_outbox_failed", "outbox", ["site"], sqlite_where=failed, postgresql_where=failed)
    _add("movement", _text("actor"))
    op.create_table(
        "own_level",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("look_at", UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("site", "sku", "location"),
    )
    op.create_index("ix_own_level_look", "own_level", ["site", "look_at"])
    _add("stock_write", *(sa.Column(f"held_{when}", sa.Integer(), nullable=True) for when in ("before", "after")))
    with op.batch_alter_table("movement", naming_convention=_UNIQUE) as movement:
        movement.drop_constraint("movement_site_return_id_line_id_step_n_key", type_="unique")
        movement.create_unique_constraint("uq_movement", ["site", "return_id", "line_id", "step", "sku", "n"])
    op.create_table(
        "job_control",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("paused_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("site", "job"),
    )
    op.create_table(
        "request_budget",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("recent", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("site", "account"),
    )
    op.create_table(
        "mapping",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("word", sa.Text(), nullable=False),
        sa.Column("meaning", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("taught_at", UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("site", "field", "word"),
    )
    op.create_table(
        "alert",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("raised_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("notified_at", UtcDateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("site", "name"),
    )
    op.create_table(
        "order_buyer",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("site", "customer_id", "order_id"),
    )
    _fill_order_buyers()
    _make_append_only("event")


def _make_append_only(table: str) -> None:
    """Has the database itself refuse to change or delete what stands in a table."""
    message = f"{table} is append-only"
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
            )
        return
    op.execute(
        f"CREATE FUNCTION {table}_append_only() RETURNS trigger LANGUAGE plpgsql "
        f"AS $$ BEGIN RAISE EXCEPTION '{message}'; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_append_only()"
    )


def _fill_order_buyers() -> None:
    order = sa.table(
        "sales_order", *(sa.column(name) for name in ("site", "order_id")), sa.column("customer_ids", sa.JSON)
    )
    buyer = sa.table("order_buyer", *(sa.column(name) for name in ("site", "customer_id", "order_id")))
    connection = op.get_bind()
    rows = connection.execute(sa.select(order.c.site, order.c.order_id, order.c.customer_ids)).all()
    buyers = [
        {"site": row.site, "customer_id": customer_id, "order_id": row.order_id}
        for row in rows
        for customer_id in dict.fromkeys(row.customer_ids)
    ]
    for start in range(0, len(buyers), 1000):
        connection.execute(buyer.insert(), buyers[start : start + 1000])


def _add(table: str, *columns: sa.Column) -> None:  # type: ignore[type-arg]
    for column in columns:
        op.add_column(table, column)


def _text(name: str, default: str = "") -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False, server_default=default)


def _whole(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=False, server_default="0")


def _minor(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=False, server_default="0")


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false())


def _moment(name: str) -> sa.Column[object]:
    return sa.Column(name, UtcDateTime(timezone=True), nullable=True)
