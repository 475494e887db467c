"""A wholesaler's case in a few words, and what stands in both remote systems and in the store afterwards.

The usual case: #1001 (platform id 5001), on account, PO-77, bought by ``BUYER`` who owes 1000.00; 10 MUG for 100.00
net and 20.00 tax. RMA-1 (return R1) brings 4 of them back, worth 48.00.
"""

import itertools
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Row, select

from swapsync.jobs.inspection import Entry, record_findings
from swapsync.jobs.workplace import Workplace
from swapsync.sandbox.world import (
    Exchange,
    World,
    customer_row,
    line_item,
    purchase_row,
    return_line,
    return_row,
    stable_uuid,
)
from swapsync.store.cases import credit_note_lines, credit_notes, movements
from swapsync.store.events import events
from swapsync.store.exceptions import exceptions
from swapsync.store.outbox import outbox
from swapsync.store.staging import return_lines, returns

one_store_is_enough = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For the many variants of a test that differ in what comes over the wire and not in what is stored."""

BUYER = "buyer@acme.example"
PLACED = datetime(2026, 2, 20, 9, 0, tzinfo=UTC)
SUBMITTED = datetime(2026, 3, 5, 9, 0, tzinfo=UTC)
CLOSED = datetime(2026, 3, 9, 9, 0, tzinfo=UTC)

_keys = itertools.count(1)

ANNOUNCED = {"return_status": "Open", "delivery_status": "In-Transit", "quality_control_status": "Pending"}
DELIVERED = {"return_status": "Open", "delivery_status": "Delivered", "quality_control_status": "Pending"}
APPROVED = {
    "return_status": "Closed",
    "delivery_status": "Delivered",
    "quality_control_status": "Approved",
    "closed": CLOSED,
}


# -- what happens on the other side


def buyer(world: World, email: str = BUYER, **fields: Any) -> str:
    """A customer who owes 1000.00, unless ``fields`` say otherwise; returns the SparkLayer id."""
    row = customer_row(email, **({"balance": "1000.00"} | fields))
    world.sparklayer.put_customer(row)
    return str(row["id"])


def customer_id(email: str) -> str:
    """The SparkLayer id of the customer with this e-mail."""
    return stable_uuid(f"customer:{email}")


def sold(
    sku: str = "MUG", quantity: int = 10, net: str = "100.00", tax: str = "20.00", **fields: Any
) -> dict[str, Any]:
    """An order line; its ids are ``li-SKU`` and ``v-SKU`` unless given."""
    return line_item(
        sku, quantity, **({"net": net, "tax": tax, "line_item_id": f"li-{sku}", "variant_id": f"v-{sku}"} | fields)
    )


def back(sku: str | None = "MUG", quantity: int = 4, **fields: Any) -> dict[str, Any]:
    """A return line that names its order line by line item id, variant id and SKU, unless given otherwise."""
    return return_line(sku, quantity, **({"line_item_id": f"li-{sku}", "variant_id": f"v-{sku}"} | fields))


def order(world: World, *lines: dict[str, Any], by: str = BUYER, **fields: Any) -> None:
    """Puts the usual order, with other lines or fields where given, and its customer where there is none yet."""
    if world.sparklayer.find_customer("email", by) is None:
        buyer(world, by)
    usual = {
        "platform_id": "5001",
        "visible": "#1001",
        "customer_id": customer_id(by),
        "customer_reference": "PO-77",
        "placed": PLACED,
    }
    world.sparklayer.put_purchase(purchase_row(lines=lines or (sold(),), **(usual | fields)))


def returned(world: World, *lines: dict[str, Any], **fields: Any) -> None:
    """Puts the usual return, on its way, with other lines or fields where given."""
    usual = {
        "return_id": "R1",
        "rma_number": "RMA-1",
        "order_id": "5001",
        "order_name": "#1001",
        "customer_email": BUYER,
        "total": Decimal("48.00"),
        "created": SUBMITTED,
    }
    world.swap.put_return(return_row(lines=lines or (back(),), **(usual | ANNOUNCED | fields)))


def second(world: World, *lines: dict[str, Any], **fields: Any) -> None:
    """A return R2 (RMA-2) of the same order, submitted a day after the first."""
    day_later = {"return_id": "R2", "rma_number": "RMA-2", "created": SUBMITTED.replace(day=6)}
    returned(world, *lines, **(day_later | fields))


def found(place: Workplace, condition: str, quantity: int, *, sku: str = "MUG", rma: str = "RMA-1") -> None:
    """The warehouse says what it found for some units of a line."""
    entry = Entry(rma, sku, condition, str(quantity), f"test-{next(_keys)}")
    intake = record_findings(place.store, place.slug, [entry], actor="warehouse", now=place.clock.now())
    assert intake.taken == [entry], intake.refused


# -- what stands there afterwards


def credits(world: World, order_id: str = "5001") -> dict[str, str]:
    """Amount by platform id of every transaction on an order."""
    return {row["platform_id"]: row["total"]["number"] for row in world.sparklayer.transactions(order_id)}


def notes(world: World, order_id: str = "5001") -> list[str]:
    """The bodies of the notes on an order, oldest first."""
    return [event["body"] for event in world.sparklayer.history(order_id) if event["event_type"] == "note"]


def tokens(world: World, order_id: str = "5001") -> list[str]:
    """The tokens at the end of these notes, without their brackets."""
    return [body.rpartition("[")[2].rstrip("]") for body in notes(world, order_id)]


def levels(world: World, sku: str = "MUG") -> dict[str, int | None]:
    """A SKU's level at each of the three locations; None where none was ever set."""
    return {name: world.sparklayer.level(sku, name) for name in ("inspection", "default", "damaged")}


NOWHERE: dict[str, int | None] = {"inspection": None, "default": None, "damaged": None}


def writes(world: World) -> list[Exchange]:
    """Every request that could have changed something on either side."""
    reading = ("/auth/token", "/batch-fetch-stock")
    return [e for e in world.exchanges if e.method != "GET" and not e.path.endswith(reading)]


def money_writes(world: World) -> list[Exchange]:
    """Every request that could have moved a balance."""
    return [e for e in writes(world) if not e.path.endswith(("/history", "/batch-update-stock"))]


def stock_writes(world: World) -> list[Exchange]:
    """Every request that could have changed a stock level."""
    return world.calls("POST", "/batch-update-stock")


# -- what stands in the store


def _rows(place: Workplace, statement: Any) -> list[Row[Any]]:
    with place.store.reading() as connection:
        return list(connection.execute(statement))


def open_codes(place: Workplace, return_id: str | None = None) -> list[str]:
    """Codes of the open exceptions, of one return or of all."""
    return sorted(row.code for row in open_exceptions(place) if return_id in (None, row.return_id))


def open_exceptions(place: Workplace) -> list[Row[Any]]:
    """The open exceptions of the site."""
    return [row for row in all_exceptions(place) if row.status == "open"]


def all_exceptions(place: Workplace, code: str | None = None) -> list[Row[Any]]:
    """Every exception the site ever had, of one kind or of all, oldest first."""
    c = exceptions.c
    rows = _rows(place, select(exceptions).where(c.site == place.slug).order_by(c.id))
    return [row for row in rows if code in (None, row.code)]


def state(place: Workplace, return_id: str = "R1") -> str:
    """A return's settlement."""
    return str(staged(place, return_id).settlement)


def staged(place: Workplace, return_id: str = "R1") -> Row[Any]:
    """A return as it stands in the store."""
    (row,) = _rows(place, select(returns).where(returns.c.site == place.slug, returns.c.return_id == return_id))
    return row


def matched(place: Workplace, return_id: str = "R1") -> list[tuple[str, str]]:
    """For each line of a return: the key of its order line (blank if none), and what it was matched by."""
    c = return_lines.c
    rows = _rows(place, select(return_lines).where(c.return_id == return_id).order_by(c.position))
    return [(row.order_line_key, row.matched_by) for row in rows]


def documents(place: Workplace) -> list[Row[Any]]:
    """The credit notes, in the order of their numbers."""
    return _rows(place, select(credit_notes).where(credit_notes.c.site == place.slug).order_by(credit_notes.c.number))


def document_lines(place: Workplace) -> list[tuple[str, int, int, int]]:
    """(SKU, units, net, tax) of every credit note line, in the order of the notes."""
    c = credit_note_lines.c
    rows = _rows(place, select(credit_note_lines).where(c.site == place.slug).order_by(c.number, c.line_id))
    return [(row.sku, row.quantity, row.net, row.tax) for row in rows]


def moved(place: Workplace) -> list[tuple[str, int]]:
    """(step, units) of every stock movement, oldest first."""
    rows = _rows(place, select(movements).where(movements.c.site == place.slug).order_by(movements.c.id))
    return [(row.step, row.quantity) for row in rows]


def trail(place: Workplace) -> list[Row[Any]]:
    """The entries of the site's audit trail, oldest first."""
    return _rows(place, select(events).where(events.c.site == place.slug).order_by(events.c.id))


def undelivered(place: Workplace) -> list[tuple[str, str]]:
    """(kind, state) of every effect that was not sent."""
    c = outbox.c
    rows = _rows(place, select(outbox).where(c.site == place.slug, c.state != "sent").order_by(c.id))
    return [(row.kind, row.state) for row in rows]


# -- a worker that dies


class Crash(BaseException):
    """The process ends here, as by a power cut: no handler of ours runs on it."""


def dies_in(client: object, method: str, *, before: bool = False) -> None:
    """The next call of a client's method is the worker's last: it dies right after it, or right before it."""
    real = getattr(client, method)

    def last_call(*args: Any, **kwargs: Any) -> None:
        setattr(client, method, real)
        if not before:
            real(*args, **kwargs)
        raise Crash

    setattr(client, method, last_call)
