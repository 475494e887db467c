"""The tables. Every row carries its site; money is whole minor units beside a currency; every moment is UTC.

Modelled with SQLModel, written in bulk with Core (see ``store.db.upsert``).
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, DateTime, Dialect, Index, Text, UniqueConstraint, text
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel


class UtcDateTime(TypeDecorator[datetime]):
    """An aware moment in UTC on both databases. A naive one is refused, never guessed at."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _key(**options: Any) -> Any:
    return Field(sa_type=Text, primary_key=True, **options)


def _text(default: str | None = "", **options: Any) -> Any:
    return Field(default, sa_type=Text, **options)


def _moment(default: datetime | None = None, **options: Any) -> Any:
    return Field(default, sa_type=UtcDateTime, **options)


def _minor(default: int | None = 0, **options: Any) -> Any:
    return Field(default, sa_type=BigInteger, **options)


def _id() -> Any:
    return Field(None, primary_key=True)


class Site(SQLModel, table=True):
    """One merchant. ``effects_from`` is the cut-over, fixed at the first run; credit notes are numbered here.

    ``policy`` is the fingerprint of the rules by which its returns were last decided, ``words`` that of what people
    said words mean when they were last read. ``event_count`` and
    ``last_event_hash`` are the head of its audit trail. ``restored_at``: when this store was last restored from a
    backup; returns submitted before may have had effects that it knows nothing of.
    """

    __tablename__ = "site"
    slug: str = _key()
    effects_from: datetime | None = _moment()
    first_run_at: datetime | None = _moment()
    last_credit_number: int = 0
    policy: str = _text()
    words: str = _text()
    event_count: int = 0
    last_event_hash: str = _text()
    restored_at: datetime | None = _moment()


class Watermark(SQLModel, table=True):
    """How far an incremental poll has read."""

    __tablename__ = "watermark"
    site: str = _key()
    stream: str = _key()
    position: datetime = _moment(nullable=False)


class Run(SQLModel, table=True):
    """One execution of a job. ``status`` says whether it ran, not what the other side thought of it."""

    __tablename__ = "run"
    __table_args__ = (Index("ix_run_latest", "site", "job", "id"),)
    id: int | None = _id()
    site: str = _text()
    job: str = _text()
    started_at: datetime = _moment(nullable=False)
    finished_at: datetime | None = _moment()
    status: str = _text("running")
    read: int = 0
    changed: int = 0
    sent: int = 0
    failed: int = 0
    error: str | None = _text(None, nullable=True)


class RawRecord(SQLModel, table=True):
    """A received row as it came, scrubbed of what must not be stored, once for each version."""

    __tablename__ = "raw_record"
    site: str = _key()
    stream: str = _key()
    remote_id: str = _key()
    digest: str = _key()
    fetched_at: datetime = _moment(nullable=False)
    body: str = _text()


class ReturnRow(SQLModel, table=True):
    """A return as Swap tells it, and what was derived from it.

    ``order_id`` is blank until the order is found; ``order_checked_at`` is the last look-up at SparkLayer.
    ``dirty`` marks returns whose facts changed since they were last decided.
    ``buyer_checked``: the customers of return and order were asked for. ``delivered_at``: when it was first seen that
    the goods had come. ``seen_at`` and ``missed_sweeps``: when Swap last showed the return, and how often in a row it
    didn't when asked. ``overdue``: nobody inspected the goods within the site's limit. ``decided_entry``: the last
    entry of the audit trail when it was last decided on.
    """

    __tablename__ = "return_authorisation"
    __table_args__ = (
        Index(
            "ix_return_dirty",
            "site",
            "dirty",
            "return_id",
            sqlite_where=text("dirty = 1"),
            postgresql_where=text("dirty"),
        ),
        Index("ix_return_order", "site", "order_id", "return_id"),
        Index("ix_return_settlement", "site", "settlement"),
        Index("ix_return_rma", "site", "rma_number"),
        Index(
            "ix_return_delivered",
            "site",
            "delivered_at",
            sqlite_where=text("overdue = 0 AND settled_outside = 0 AND inspection != 'done'"),
            postgresql_where=text("NOT overdue AND NOT settled_outside AND inspection != 'done'"),
        ),
        Index(
            "ix_return_seen",
            "site",
            "seen_at",
            sqlite_where=text("status NOT IN ('closed', 'cancelled', 'expired') OR settlement IN ('held', 'due')"),
            postgresql_where=text("status NOT IN ('closed', 'cancelled', 'expired') OR settlement IN ('held', 'due')"),
        ),
    )
    site: str = _key()
    return_id: str = _key()
    rma_number: str = _text()
    order_ref: str = _text()
    order_name: str = _text()
    customer_email: str = _text()
    currency: str = _text()
    status: str = _text()
    delivery: str = _text()
    qc: str = _text()
    submitted_at: datetime = _moment(nullable=False)
    updated_at: datetime = _moment(nullable=False)
    closed_at: datetime | None = _moment()
    total: int | None = _minor(None, nullable=True)
    refunded: int = _minor()
    unknown: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    digest: str = _text()
    order_id: str = _text()
    order_checked_at: datetime | None = _moment()
    settled_outside: bool = False
    credited_basis: str = _text()
    po_number: str = _text()
    logistics: str = _text()
    inspection: str = _text()
    settlement: str = _text()
    dirty: bool = True
    buyer_checked: bool = False
    delivered_at: datetime | None = _moment()
    seen_at: datetime | None = _moment()
    missed_sweeps: int = 0
    overdue: bool = False
    handling_fee: int = _minor()
    decided_entry: int = 0


class ReturnLineRow(SQLModel, table=True):
    """A line of a return, the order line it was matched to, and the SKU under which its stock is kept."""

    __tablename__ = "return_line"
    site: str = _key()
    return_id: str = _key()
    line_id: str = _key()
    position: int = 0
    sku: str = _text()
    variant_id: str = _text()
    line_item_id: str = _text()
    quantity: int = 0
    return_type: str = _text()
    remedy: str = _text()
    reason: str = _text()
    main_reason_id: str = _text()
    main_reason_text: str = _text()
    sub_reason_id: str = _text()
    sub_reason_text: str = _text()
    reason_code: str = _text()
    order_line_key: str = _text()
    matched_by: str = _text()
    accepted: int = 0


class OrderRow(SQLModel, table=True):
    """A SparkLayer purchase. ``digest`` is its list row's version, ``detail_digest`` the version its lines are of.

    ``cancelled``: every package of it is. ``shipping_net`` and ``shipping_tax``: what was charged for carriage.
    ``substance``: fingerprint of what the list says of it that returns rest on.
    """

    __tablename__ = "sales_order"
    __table_args__ = (Index("ix_order_platform", "site", "platform_id"), Index("ix_order_visible", "site", "visible"))
    site: str = _key()
    order_id: str = _key()
    platform_id: str = _text()
    visible: str = _text()
    type: str = _text()
    payment_method: str = _text()
    po_number: str = _text()
    currency: str = _text()
    customer_ids: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    placed_at: datetime | None = _moment()
    updated_at: datetime = _moment(nullable=False)
    digest: str = _text()
    detail_digest: str = _text()
    cancelled: bool = False
    shipping_net: int = _minor()
    shipping_tax: int = _minor()
    substance: str = _text()


class OrderLineRow(SQLModel, table=True):
    """A line of an order; ``net`` and ``tax`` are the whole line's, in minor units of the order's currency."""

    __tablename__ = "order_line"
    site: str = _key()
    order_id: str = _key()
    line_key: str = _key()
    position: int = 0
    sku: str = _text()
    variant_id: str = _text()
    line_item_id: str = _text()
    quantity: int = 0
    net: int = _minor()
    tax: int = _minor()


class OrderBuyerRow(SQLModel, table=True):
    """An order by one of the customers that a version of it named: which orders an orphaned return may be of."""

    __tablename__ = "order_buyer"
    site: str = _key()
    customer_id: str = _key()
    order_id: str = _key()


class CustomerRow(SQLModel, table=True):
    """The answer to one look-up of a customer: ``id:…`` or ``email:…``; a blank ``customer_id`` means nobody."""

    __tablename__ = "customer"
    site: str = _key()
    lookup: str = _key()
    customer_id: str = _text()
    email: str = _text()
    parent_id: str = _text()
    checked_at: datetime = _moment(nullable=False)


class VariantRow(SQLModel, table=True):
    """A variant that returns or recent orders name, and when its SKU was last asked for."""

    __tablename__ = "variant"
    site: str = _key()
    variant_id: str = _key()
    checked_at: datetime | None = _moment()


class VariantSkuRow(SQLModel, table=True):
    """A SKU that a variant has or had, and the first and last moment at which it was seen with it."""

    __tablename__ = "variant_sku"
    __table_args__ = (Index("ix_variant_sku", "site", "sku"),)
    site: str = _key()
    variant_id: str = _key()
    sku: str = _key()
    first_seen: datetime = _moment(nullable=False)
    last_seen: datetime = _moment(nullable=False)


class FindingRow(SQLModel, table=True):
    """The warehouse's finding for some units of a returned line; ``finding_key`` makes it count once.

    ``sku``: the line's at that time. An unexpected item has no line, and ``sku`` is what came, as it was typed.
    """

    __tablename__ = "finding"
    __table_args__ = (
        UniqueConstraint("site", "finding_key"),
        Index("ix_finding_return", "site", "return_id"),
    )
    id: int | None = _id()
    site: str = _text()
    finding_key: str = _text()
    return_id: str = _text()
    line_id: str = _text()
    condition: str = _text()
    quantity: int = 0
    sku: str = _text()
    found_at: datetime = _moment(nullable=False)
    actor: str = _text()


class CreditNoteRow(SQLModel, table=True):
    """Our numbered document. ``n`` counts the credits of its return from 1; amounts are positive minor units.

    ``kind`` is credit or void: a void is the opposite of the note that ``voids`` numbers, with who did it and why.
    """

    __tablename__ = "credit_note"
    __table_args__ = (
        UniqueConstraint("site", "platform_id"),
        Index("ix_credit_note_return", "site", "return_id"),
        Index("ix_credit_note_order", "site", "order_id"),
    )
    site: str = _key()
    number: str = _key()
    platform_id: str = _text()
    return_id: str = _text()
    n: int = 1
    order_id: str = _text()
    customer: str = _text()
    po_number: str = _text()
    currency: str = _text()
    net: int = _minor()
    tax: int = _minor()
    issued_at: datetime = _moment(nullable=False)
    state: str = _text("pending")
    kind: str = _text("credit")
    voids: str = _text()
    reason: str = _text()
    actor: str = _text()


class CreditNoteLineRow(SQLModel, table=True):
    """A line of a credit note: goods, shipping or a fee.

    ``sold_…`` is the order line as it was when it was credited; None for what was credited before it was kept.
    """

    __tablename__ = "credit_note_line"
    site: str = _key()
    number: str = _key()
    line_id: str = _key()
    order_line_key: str = _text()
    sku: str = _text()
    quantity: int = 0
    net: int = _minor()
    tax: int = _minor()
    kind: str = _text("goods")
    reason_code: str = _text()
    sold_quantity: int | None = Field(None, nullable=True)
    sold_net: int | None = _minor(None, nullable=True)
    sold_tax: int | None = _minor(None, nullable=True)


class MovementRow(SQLModel, table=True):
    """Units that went from one location to another; the sum over them is the stock ledger.

    What a person booked by hand has their name as ``actor``, and no return.
    """

    __tablename__ = "movement"
    __table_args__ = (
        UniqueConstraint("site", "return_id", "line_id", "step", "sku", "n", name="uq_movement"),
        Index("ix_movement_sku", "site", "sku"),
    )
    id: int | None = _id()
    site: str = _text()
    return_id: str = _text()
    line_id: str = _text()
    step: str = _text()
    n: int = 1
    sku: str = _text()
    from_location: str = _text()
    to_location: str = _text()
    quantity: int = 0
    moved_at: datetime = _moment(nullable=False)
    actor: str = _text()


class OwnLevelRow(SQLModel, table=True):
    """A level of our own in SparkLayer, as it was last written or read there, and when to look at it next."""

    __tablename__ = "own_level"
    __table_args__ = (Index("ix_own_level_look", "site", "look_at"),)
    site: str = _key()
    sku: str = _key()
    location: str = _key()
    level: int = 0
    look_at: datetime = _moment(nullable=False)


class OutboxRow(SQLModel, table=True):
    """An effect that was decided and is to be delivered once. ``effect_key`` is its natural key.

    ``order_id`` is blank for stock. ``write_id`` ties restocks to the stock write that carries them. ``claimed_by`` is
    the worker that delivers it until ``claimed_until``, and the last one that may have done so; blank: none may have.
    """

    __tablename__ = "outbox"
    __table_args__ = (
        UniqueConstraint("site", "effect_key"),
        Index(
            "ix_outbox_open",
            "site",
            "order_id",
            "id",
            sqlite_where=text("state IN ('pending', 'in_doubt')"),
            postgresql_where=text("state IN ('pending', 'in_doubt')"),
        ),
        Index(
            "ix_outbox_due",
            "site",
            "kind",
            "id",
            sqlite_where=text("state IN ('pending', 'in_doubt')"),
            postgresql_where=text("state IN ('pending', 'in_doubt')"),
        ),
        Index("ix_outbox_return", "site", "return_id"),
        Index(
            "ix_outbox_failed",
            "site",
            sqlite_where=text("state = 'failed'"),
            postgresql_where=text("state = 'failed'"),
        ),
    )
    id: int | None = _id()
    site: str = _text()
    kind: str = _text()
    effect_key: str = _text()
    order_id: str = _text()
    return_id: str = _text()
    target: str = _text()
    payload: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    state: str = _text("pending")
    attempts: int = 0
    next_attempt_at: datetime | None = _moment()
    last_error: str | None = _text(None, nullable=True)
    write_id: int | None = Field(None, nullable=True)
    claimed_by: str = _text()
    claimed_until: datetime | None = _moment()
    created_at: datetime = _moment(nullable=False)
    sent_at: datetime | None = _moment()


class StockWriteRow(SQLModel, table=True):
    """One read-add-write of a SKU's sellable level, recorded before it is sent: ``base`` was read, ``target`` set.

    The units come out of inspection by the same call: ``held_before`` was read there (None: no level), ``held_after``
    set (None: a write from before this was kept).
    """

    __tablename__ = "stock_write"
    id: int | None = _id()
    site: str = _text()
    sku: str = _text()
    base: int = 0
    target: int = 0
    held_before: int | None = Field(None, nullable=True)
    held_after: int | None = Field(None, nullable=True)
    state: str = _text("sent")
    written_at: datetime = _moment(nullable=False)


class ExceptionRow(SQLModel, table=True):
    """Something a person must see; opening the same one twice is one exception with a count.

    ``about`` is what a ruling on it rests on: while it stays the same, the ruling holds. ``suggestions`` are ways out,
    best first, each with its evidence.
    """

    __tablename__ = "exception"
    __table_args__ = (
        Index(
            "ux_exception_open",
            "site",
            "code",
            "return_id",
            "subject",
            unique=True,
            sqlite_where=text("status = 'open'"),
            postgresql_where=text("status = 'open'"),
        ),
        Index("ix_exception_return", "site", "return_id"),
    )
    id: int | None = _id()
    site: str = _text()
    code: str = _text()
    subject: str = _text()
    return_id: str = _text()
    rma_number: str = _text()
    order_name: str = _text()
    sku: str = _text()
    owner: str = _text()
    severity: str = _text()
    status: str = _text("open")
    detail: str = _text()
    count: int = 1
    opened_at: datetime = _moment(nullable=False)
    due_at: datetime = _moment(nullable=False)
    resolved_at: datetime | None = _moment()
    resolution: str | None = _text(None, nullable=True)
    about: str = _text()
    suggestions: list[dict[str, Any]] = Field(
        default_factory=list, sa_column=Column(JSON, nullable=False, server_default="[]")
    )
    assignee: str = _text()


class RulingRow(SQLModel, table=True):
    """What a person decided about an exception; it holds while the exception says what ``about`` says.

    ``subject`` is the exception's; of an alias the SKU that it is taught for, of a typed PO number the order's id.
    """

    __tablename__ = "ruling"
    __table_args__ = (
        Index("ix_ruling_return", "site", "return_id"),
        Index("ix_ruling_subject", "site", "subject"),
    )
    id: int | None = _id()
    site: str = _text()
    code: str = _text()
    return_id: str = _text()
    subject: str = _text()
    action: str = _text()
    value: str = _text()
    about: str = _text()
    actor: str = _text()
    note: str = _text()
    ruled_at: datetime = _moment(nullable=False)


class EventRow(SQLModel, table=True):
    """An entry in the audit trail, append-only; ``hash`` covers it and ``previous_hash``, the entry before it."""

    __tablename__ = "event"
    __table_args__ = (Index("ix_event_return", "site", "return_id"),)
    id: int | None = _id()
    site: str = _text()
    at: datetime = _moment(nullable=False)
    source: str = _text()
    kind: str = _text()
    return_id: str = _text()
    detail: str = _text()
    actor: str = _text()
    exception_id: int | None = Field(None, nullable=True)
    before: str = _text()
    after: str = _text()
    previous_hash: str = _text()
    hash: str = _text()


class LeaseRow(SQLModel, table=True):
    """Who is doing a job of a site right now; free when ``expires_at`` is past.

    ``token`` grows with every new holder: what an earlier one completes late is refused.
    """

    __tablename__ = "lease"
    site: str = _key()
    name: str = _key()
    holder: str = _text()
    expires_at: datetime = _moment(nullable=False)
    token: int = _minor()


class RequestBudget(SQLModel, table=True):
    """How many requests all workers of a site sent to one of its two accounts in each of the last seconds."""

    __tablename__ = "request_budget"
    site: str = _key()
    account: str = _key()
    recent: list[tuple[int, int]] = Field(sa_column=Column(JSON, nullable=False))


class BackfillWindowRow(SQLModel, table=True):
    """A window of history that a backfill has read to its end."""

    __tablename__ = "backfill_window"
    site: str = _key()
    stream: str = _key()
    since: datetime = Field(sa_type=UtcDateTime, primary_key=True)
    until: datetime = Field(sa_type=UtcDateTime, primary_key=True)
    finished_at: datetime = _moment(nullable=False)


class JobControlRow(SQLModel, table=True):
    """What a person said about a job of a site: paused, by whom, and why. A blank ``job`` stands for all of them."""

    __tablename__ = "job_control"
    site: str = _key()
    job: str = _key()
    paused_at: datetime = _moment(nullable=False)
    actor: str = _text()
    reason: str = _text()


class MappingRow(SQLModel, table=True):
    """What a person said a word of the other side means: a status, a type, a payment method."""

    __tablename__ = "mapping"
    site: str = _key()
    field: str = _key()
    word: str = _key()
    meaning: str = _text()
    actor: str = _text()
    taught_at: datetime = _moment(nullable=False)


class AlertRow(SQLModel, table=True):
    """Trouble that people were told of, so that they are told once, and once more when it is over."""

    __tablename__ = "alert"
    site: str = _key()
    name: str = _key()
    detail: str = _text()
    raised_at: datetime = _moment(nullable=False)
    notified_at: datetime | None = _moment()
