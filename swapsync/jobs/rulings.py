"""What people decide about exceptions. A ruling is a fact like any other: the next reconcile draws the conclusions."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, insert, or_, select, update

from swapsync.domain.catalogue import CATALOGUE, Action, Code
from swapsync.domain.settlement import UNANNOUNCED
from swapsync.domain.stock import Location, Proof
from swapsync.jobs.push_restocks import stock_writes
from swapsync.jobs.stock_levels import level_effect
from swapsync.store import exceptions, outbox, runs
from swapsync.store.cases import rulings
from swapsync.store.db import Store
from swapsync.store.events import Event, record_events
from swapsync.store.staging import link, mark_dirty, order_lines, orders, return_lines, returns

NEEDS_VALUE = {
    Action.TYPE_PO: "the PO number",
    Action.TEACH_ALIAS: "the SKU as it stands on the order",
    Action.CHOOSE_LINE: "the key of the order's line, as it is suggested",
    Action.LINK_ORDER: "the order's name or id",
}


class RulingRefused(ValueError):
    """The action can't be taken; the message says why."""


def rule(
    store: Store, exception_id: int, action: str, *, value: str = "", note: str = "", actor: str, now: datetime
) -> Row[Any]:
    """Does what a person decided about an open exception, and closes it unless its cause has to go first.

    Returns the exception as it stood. Raises RulingRefused.
    """
    with store.transaction() as connection:
        row = connection.execute(
            select(exceptions.exceptions).where(exceptions.exceptions.c.id == exception_id)
        ).one_or_none()
        if row is None:
            raise RulingRefused(f"there is no exception {exception_id}")
        runs.lock_site(connection, row.site)
        if row.status != "open":
            raise RulingRefused(f"exception {exception_id} is resolved already: {row.resolution}")
        chosen = _action(row, action)
        value = value.strip()
        if chosen in NEEDS_VALUE and not value:
            raise RulingRefused(f"--action {chosen} needs --value: {NEEDS_VALUE[chosen]}")
        said = f"{chosen}{f' {value}' if value else ''} by {actor}{f': {note}' if note else ''}"
        if chosen is Action.RETRY:
            outbox.retry(connection, row.site, [int(row.subject.removeprefix("outbox:"))], now)
        else:
            _take(connection, row, chosen, value, note, actor, now)
            exceptions.close(connection, row.site, [(row, said)], now, actor=actor)
        ruled = Event(
            *("staff", "ruling", f"{row.code}: {said}", row.return_id),
            actor=actor,
            exception_id=row.id,
            after={"action": chosen, "value": value, "note": note},
        )
        record_events(connection, row.site, [ruled], now)
        return row


def _action(row: Row[Any], action: str) -> Action:
    allowed = CATALOGUE[Code(row.code)].actions
    for candidate in allowed:
        if candidate == action:
            return candidate
    choice = f"choose from {', '.join(allowed)}" if allowed else "it closes by itself when the data agree"
    raise RulingRefused(f"{row.code} has no action {action!r}; {choice}")


def _take(
    connection: Connection, row: Row[Any], action: Action, value: str, note: str, actor: str, now: datetime
) -> None:
    subject = row.subject
    if action in (Action.WRITTEN, Action.NOT_WRITTEN):
        _settle_stock_write(connection, int(subject.removeprefix("write:")), action, now)
    elif action is Action.LINK_ORDER:
        _link_order(connection, row, value, actor, now)
    elif action is Action.WRITE_OFF and subject.startswith(UNANNOUNCED):
        raise RulingRefused(f"nothing of {row.sku} was booked into stock, so there is nothing to write off")
    elif action is Action.TEACH_ALIAS:
        subject = _teach_alias(connection, row, value)
    elif action is Action.DENY:
        outbox.withdraw_credits(connection, row.site, row.return_id)
    elif action is Action.CHOOSE_LINE and not _on_order(connection, row, order_lines.c.line_key == value):
        raise RulingRefused(f"the order has no line {value}")
    connection.execute(
        insert(rulings).values(
            site=row.site,
            code=row.code,
            return_id=row.return_id,
            subject=subject,
            action=action,
            value=value,
            about=row.about or row.detail,
            actor=actor,
            note=note,
            ruled_at=now,
        )
    )
    mark_dirty(connection, row.site, returns.c.return_id == row.return_id)


def _settle_stock_write(connection: Connection, write_id: int, action: Action, now: datetime) -> None:
    written = action is Action.WRITTEN
    ids = list(connection.execute(select(outbox.outbox.c.id).where(outbox.outbox.c.write_id == write_id)).scalars())
    if written:
        outbox.mark_sent(connection, ids, now)
    else:
        outbox.release(connection, ids)
    settled = connection.execute(
        update(stock_writes)
        .where(stock_writes.c.id == write_id)
        .values(state=Proof.ARRIVED if written else Proof.NEVER_ARRIVED)
        .returning(stock_writes.c.site, stock_writes.c.sku)
    ).one()
    if written:
        out_of_inspection = level_effect(f"write:{write_id}", settled.sku, Location.INSPECTION)
        outbox.enqueue(connection, settled.site, [out_of_inspection], now)


def _link_order(connection: Connection, row: Row[Any], name: str, actor: str, now: datetime) -> None:
    found = list(
        connection.execute(
            select(orders.c.order_id).where(
                orders.c.site == row.site,
                or_(orders.c.visible == name, orders.c.platform_id == name, orders.c.order_id == name),
            )
        ).scalars()
    )
    if not found:
        raise RulingRefused(f"no order {name} is known here; if it is older than the history read, backfill it first")
    if len(found) > 1:
        raise RulingRefused(f"{name} names {len(found)} orders; use the order's id")
    link(connection, row.site, {row.return_id: found[0]}, now, actor=actor)


def _on_order(connection: Connection, row: Row[Any], condition: ColumnElement[bool]) -> bool:
    """Whether the order of the exception's return has a line that fits."""
    lines = (
        select(order_lines.c.line_key)
        .join(
            returns,
            (returns.c.site == order_lines.c.site)
            & (returns.c.order_id == order_lines.c.order_id)
            & (returns.c.return_id == row.return_id),
        )
        .where(order_lines.c.site == row.site, condition)
    )
    return connection.execute(lines).first() is not None


def _teach_alias(connection: Connection, row: Row[Any], sku: str) -> str:
    """Checks that the order has the SKU; returns the SKU in Swap that stands for it from now on."""
    if not row.sku:
        raise RulingRefused("the returned line has no SKU, so there is nothing to teach an alias for")
    if not _on_order(connection, row, order_lines.c.sku == sku):
        raise RulingRefused(f"the order has no line with SKU {sku}")
    same_sku = select(return_lines.c.return_id).where(
        return_lines.c.site == row.site, return_lines.c.sku == row.sku, return_lines.c.order_line_key == ""
    )
    mark_dirty(connection, row.site, returns.c.return_id.in_(same_sku) & ~returns.c.settled_outside)
    return str(row.sku)
