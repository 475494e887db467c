"""What both systems said, staged: returns, orders, customers, SKUs, and every version as it came."""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    delete,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
    update,
)

from swapsync.domain.catalogue import Code
from swapsync.domain.orders import Customer, Order
from swapsync.domain.returns import Return, ReturnStatus, Settlement, logistics
from swapsync.store import outbox
from swapsync.store.changes import (
    ORDER_LINKED,
    RETURN_CHANGED,
    SKU_RENAMED,
    Facts,
    differences,
    record_order_changes,
    return_facts,
    staged_orders,
    staged_returns,
)
from swapsync.store.db import chunks, insert_new, table, upsert
from swapsync.store.events import SWAPSYNC, Event, record_events
from swapsync.store.tables import (
    CreditNoteRow,
    CustomerRow,
    ExceptionRow,
    MovementRow,
    OrderBuyerRow,
    OrderLineRow,
    OrderRow,
    RawRecord,
    ReturnLineRow,
    ReturnRow,
    VariantRow,
    VariantSkuRow,
)

returns, return_lines = table(ReturnRow), table(ReturnLineRow)
orders, order_lines = table(OrderRow), table(OrderLineRow)
customers, variants, variant_skus = table(CustomerRow), table(VariantRow), table(VariantSkuRow)

UNREADABLE = literal("unreadable ")
IN_DOUBT = "in doubt"
FINISHED = (Settlement.CREDITED, Settlement.REFUNDED_BY_GATEWAY, Settlement.DENIED, Settlement.SETTLED_OUTSIDE)
UNFINISHED = tuple(settlement for settlement in Settlement if settlement not in FINISHED)


@dataclass(frozen=True, slots=True)
class Received:
    """A row as it came from the other side, scrubbed, with the digest of its content."""

    remote_id: str
    body: str
    digest: str


def received(remote_id: str, row: Any) -> Received:
    """Canonical text of a row and its digest: equal content has equal digests, whatever the order of its keys."""
    body = orjson.dumps(row, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    return Received(remote_id, body.decode(), hashlib.blake2b(body, digest_size=16).hexdigest())


def keep_raw(connection: Connection, site: str, stream: str, rows: Iterable[Received], now: datetime) -> None:
    """Keeps each version of each row once."""
    insert_new(
        connection,
        RawRecord,
        [
            {
                "site": site,
                "stream": stream,
                "remote_id": row.remote_id,
                "digest": row.digest,
                "fetched_at": now,
                "body": row.body,
            }
            for row in rows
        ],
    )


def stage_returns(
    connection: Connection,
    site: str,
    batch: Sequence[tuple[Return, Received]],
    *,
    effects_from: datetime,
    now: datetime,
) -> int:
    """Stages the newest version of each return; returns how many were new or had changed.

    An older version than the one that stands is kept raw and changes nothing. What ended before ``effects_from`` is
    settled outside, for good, unless it ``stays_ours`` (worker.md section 4, rule 12).
    """
    newest: dict[str, tuple[Return, Received]] = {}
    for ret, raw in batch:
        if ret.return_id not in newest or newest[ret.return_id][0].updated_at <= ret.updated_at:
            newest[ret.return_id] = (ret, raw)
    standing = {
        row.return_id: row
        for ids in chunks(list(newest))
        for row in connection.execute(
            select(
                returns.c.return_id,
                returns.c.digest,
                returns.c.updated_at,
                returns.c.order_ref,
                returns.c.order_name,
                returns.c.order_id,
                returns.c.order_checked_at,
                returns.c.settled_outside,
                returns.c.customer_email,
                returns.c.buyer_checked,
                returns.c.delivered_at,
                stays_ours(effects_from).label("stays_ours"),
            ).where(returns.c.site == site, returns.c.return_id.in_(ids))
        )
    }
    rows, lines, stale_orders, replaced, newly_outside = [], [], set(), [], []
    changed: list[tuple[Return, Received]] = []
    for ret, raw in newest.values():
        old = standing.get(ret.return_id)
        if old is not None and (old.digest == raw.digest or old.updated_at > ret.updated_at):
            continue
        changed.append((ret, raw))
        outside = ret.ended_before(effects_from)
        if old is not None:
            if outside and not old.settled_outside and not old.stays_ours:
                newly_outside.append(ret.return_id)
            outside = old.settled_outside
        row = _return_row(site, ret, raw.digest, outside, now)
        if old is not None:
            replaced.append(ret.return_id)
            if ret.delivered and old.delivered_at:
                row["delivered_at"] = old.delivered_at
            if (old.order_ref, old.order_name) == (ret.order_ref, ret.order_name):
                row |= {"order_id": old.order_id, "order_checked_at": old.order_checked_at}
                row["buyer_checked"] = old.buyer_checked and old.customer_email == ret.customer_email
            elif old.order_id:
                stale_orders.add(old.order_id)
        rows.append(row)
        lines += _line_rows(site, ret)
    if not rows:
        return 0
    keep_raw(connection, site, "swap.returns", (raw for _, raw in changed), now)
    before, after = staged_returns(connection, site, replaced), return_facts(rows, lines)
    derived = ("logistics", "inspection", "settlement", "credited_basis", "po_number", "settled_outside", "overdue")
    upsert(
        connection, ReturnRow, rows, update=[name for name in rows[0] if name not in ("site", "return_id", *derived)]
    )
    for ids in chunks(replaced):
        connection.execute(delete(return_lines).where(return_lines.c.site == site, return_lines.c.return_id.in_(ids)))
    upsert(connection, ReturnLineRow, lines)
    settle_outside(connection, site, newly_outside)
    if stale_orders:
        mark_dirty(connection, site, returns.c.order_id.in_(stale_orders))
    note_variants(
        connection,
        site,
        (
            (line.variant_id, line.sku, ret.submitted_at)
            for ret, _ in changed
            for line in ret.lines
            if line.variant_id and not ret.ended_before(effects_from)
        ),
    )
    record_events(
        connection,
        site,
        [_told_by_swap(ret, before.get(ret.return_id), after[ret.return_id]) for ret, _ in changed],
        now,
    )
    return len(rows)


def ended(until: datetime, since: datetime | None = None) -> ColumnElement[bool]:
    """The condition that a return, as it is staged, ended before a moment, and not before ``since``."""
    at = func.coalesce(returns.c.closed_at, returns.c.updated_at)
    over = returns.c.status.in_((ReturnStatus.CLOSED, ReturnStatus.CANCELLED, ReturnStatus.EXPIRED))
    return and_(over, at < until, *([] if since is None else [at >= since]))


def stays_ours(cut_over: datetime) -> ColumnElement[bool]:
    """The condition that a live return is not settled outside although it ended before a cut-over.

    It was credited; or it had ended when it was staged last, and its goods were moved all the same: what came in while
    it was open does not make it ours.
    """
    credited, moved = (
        exists().where(source.c.site == returns.c.site, source.c.return_id == returns.c.return_id)
        for source in (table(CreditNoteRow), table(MovementRow))
    )
    return or_(credited, and_(ended(cut_over), moved))


def settle_outside(connection: Connection, site: str, return_ids: Sequence[str]) -> None:
    """Has returns count as settled outside; what was still to be told of them is withdrawn."""
    _settle(connection, site, return_ids, outside=True)
    outbox.withdraw_notes(connection, site, return_ids)


def bring_to_life(connection: Connection, site: str, return_ids: Sequence[str]) -> None:
    """Has returns that were settled outside decided on again, as if they had never been."""
    _settle(connection, site, return_ids, outside=False)
    outbox.restore_notes(connection, site, return_ids)


def _settle(connection: Connection, site: str, return_ids: Sequence[str], *, outside: bool) -> None:
    for ids in chunks(return_ids):
        connection.execute(
            update(returns)
            .where(returns.c.site == site, returns.c.return_id.in_(ids))
            .values(
                settled_outside=outside,
                settlement=Settlement.SETTLED_OUTSIDE if outside else Settlement.NONE,
                dirty=True,
            )
        )


def _told_by_swap(ret: Return, before: Facts | None, after: Facts) -> Event:
    was, is_ = differences(before, after) if before else (None, after)
    return Event(
        "swap",
        RETURN_CHANGED if before else "return_announced",
        f"{ret.status}, {ret.delivery}, QC {ret.qc}",
        ret.return_id,
        ret.updated_at,
        actor="swap",
        before=was,
        after=is_,
    )


def unseen_returns(connection: Connection, site: str, seen_before: datetime, at_most: int) -> list[tuple[str, str]]:
    """(return id, RMA number) of live returns that Swap last showed before a moment, those longest unseen first.

    What makes a return live is spelled out as in the partial index, so that SQLite can use it.
    """
    rows = connection.execute(
        select(returns.c.return_id, returns.c.rma_number)
        .where(
            returns.c.site == site,
            ~returns.c.settled_outside,
            or_(returns.c.seen_at.is_(None), returns.c.seen_at < seen_before),
            returns.c.rma_number != returns.c.return_id,
            or_(
                returns.c.status.not_in([literal_column(f"'{word}'") for word in ("closed", "cancelled", "expired")]),
                returns.c.settlement.in_([literal_column("'held'"), literal_column("'due'")]),
            ),
        )
        .order_by(returns.c.seen_at, returns.c.return_id)
        .limit(at_most)
    )
    return [(row.return_id, row.rma_number) for row in rows]


def note_sweep(connection: Connection, site: str, found: Sequence[str], missing: Sequence[str], now: datetime) -> None:
    """Notes which returns Swap showed when asked, and which it didn't; what that changes is decided again."""
    of_site = update(returns).where(returns.c.site == site).values(seen_at=now)
    connection.execute(
        of_site.where(returns.c.return_id.in_(found)).values(
            missed_sweeps=0, dirty=or_(returns.c.dirty, returns.c.missed_sweeps > 0)
        )
    )
    connection.execute(
        of_site.where(returns.c.return_id.in_(missing)).values(missed_sweeps=returns.c.missed_sweeps + 1, dirty=True)
    )


def mark_overdue(connection: Connection, site: str, delivered_before: datetime) -> None:
    """Has live returns decided again whose goods came before a moment and are not inspected to the end."""
    connection.execute(
        update(returns)
        .where(
            returns.c.site == site,
            ~returns.c.overdue,
            returns.c.delivered_at <= delivered_before,
            returns.c.inspection != literal_column("'done'"),  # as in the partial index
            ~returns.c.settled_outside,
        )
        .values(overdue=True, dirty=True)
    )


def _return_row(site: str, ret: Return, digest: str, outside: bool, now: datetime) -> dict[str, Any]:
    return {
        "site": site,
        "return_id": ret.return_id,
        "rma_number": ret.rma_number,
        "order_ref": ret.order_ref,
        "order_name": ret.order_name,
        "customer_email": ret.customer_email,
        "currency": ret.currency,
        "status": ret.status,
        "delivery": ret.delivery,
        "qc": ret.qc,
        "submitted_at": ret.submitted_at,
        "updated_at": ret.updated_at,
        "closed_at": ret.closed_at,
        "total": ret.total,
        "refunded": ret.refunded,
        "unknown": list(ret.unknown),
        "digest": digest,
        "order_id": "",
        "order_checked_at": None,
        "buyer_checked": False,
        "delivered_at": now if ret.delivered else None,
        "seen_at": now,
        "missed_sweeps": 0,
        "overdue": False,
        "handling_fee": ret.handling_fee,
        "settled_outside": outside,
        "credited_basis": "",
        "po_number": "",
        "logistics": logistics(ret),
        "inspection": "none",
        "settlement": Settlement.SETTLED_OUTSIDE if outside else Settlement.NONE,
        "dirty": not outside,
    }


def _line_rows(site: str, ret: Return) -> list[dict[str, Any]]:
    return [
        {
            "site": site,
            "return_id": ret.return_id,
            "line_id": line.line_id,
            "position": position,
            "sku": line.sku,
            "variant_id": line.variant_id,
            "line_item_id": line.line_item_id,
            "quantity": line.quantity,
            "return_type": line.return_type,
            "remedy": line.remedy,
            "reason": line.reason,
            "main_reason_id": line.main_reason_id,
            "main_reason_text": line.main_reason_text,
            "sub_reason_id": line.sub_reason_id,
            "sub_reason_text": line.sub_reason_text,
            "reason_code": "",
            "order_line_key": "",
            "matched_by": "",
            "accepted": 0,
        }
        for position, line in enumerate(ret.lines)
    ]


def unfinished() -> ColumnElement[bool]:
    """Whether a return is live and not finished, or has something open, or was credited in part."""
    unaccepted = exists().where(
        return_lines.c.site == returns.c.site,
        return_lines.c.return_id == returns.c.return_id,
        return_lines.c.accepted < return_lines.c.quantity,
    )
    in_part = and_(returns.c.settlement == Settlement.CREDITED, unaccepted)
    return and_(~returns.c.settled_outside, or_(returns.c.settlement.not_in(FINISHED), _has_open_exception(), in_part))


def mark_unfinished(connection: Connection, site: str) -> None:
    """Has everything decided again that is unfinished."""
    mark_dirty(connection, site, unfinished())


def mark_dirty(connection: Connection, site: str, condition: Any) -> None:
    """Has the returns that fit a condition decided again in the next reconcile."""
    connection.execute(update(returns).where(returns.c.site == site, condition).values(dirty=True))


# -- orders ----------------------------------------------------------------------------------------------------------


def stage_orders(
    connection: Connection, site: str, batch: Sequence[tuple[Order, datetime, Received]], *, now: datetime
) -> int:
    """Stages list rows of orders, without their lines; returns how many were new or had changed.

    What hangs on a changed order is decided again: returns not finished; where it changed in what returns rest on, all
    of them. Our own credits change no more than the moment of its last change.
    """
    newest = {order.order_id: (order, at, raw) for order, at, raw in sorted(batch, key=lambda item: item[1])}
    standing = {
        row.order_id: (row.digest, row.substance)
        for ids in chunks(list(newest))
        for row in connection.execute(
            select(orders.c.order_id, orders.c.digest, orders.c.substance).where(
                orders.c.site == site, orders.c.order_id.in_(ids)
            )
        )
    }
    changed = [(o, at, raw) for o, at, raw in newest.values() if standing.get(o.order_id, ("",))[0] != raw.digest]
    keep_raw(connection, site, "sparklayer.orders", (raw for _, _, raw in changed), now)
    before = staged_orders(connection, site, [order.order_id for order, _, _ in changed if order.order_id in standing])
    upsert(connection, OrderRow, [_order_head(site, order, at) | {"digest": raw.digest} for order, at, raw in changed])
    _note_buyers(connection, site, (order for order, _, _ in changed))
    still_open = and_(returns.c.settlement.not_in(FINISHED), returns.c.status.not_in(("cancelled", "expired")))
    _decide_again(connection, site, [o.order_id for o, _, _ in changed if o.order_id in standing], still_open)
    other = [o.order_id for o, _, _ in changed if standing.get(o.order_id, ("", ""))[1] not in ("", _substance(o))]
    _decide_again(connection, site, other, ~returns.c.settled_outside)
    record_order_changes(connection, site, before, now)
    return len(changed)


def _decide_again(connection: Connection, site: str, order_ids: Sequence[str], which: ColumnElement[bool]) -> None:
    for ids in chunks(order_ids):
        connection.execute(
            update(returns)
            .where(returns.c.site == site, returns.c.order_id.in_(ids), which)
            .values(dirty=True, buyer_checked=False)
        )


def _substance(order: Order) -> str:
    """What a list row says of an order that returns rest on; our own credits don't change it."""
    said = [order.type, order.payment_method, order.po_number, order.currency, order.total, order.fulfilment]
    return hashlib.blake2b(orjson.dumps([*said, order.customer_ids]), digest_size=16).hexdigest()


def _has_open_exception() -> ColumnElement[bool]:
    exceptions = table(ExceptionRow)
    return exists().where(
        exceptions.c.site == returns.c.site,
        exceptions.c.return_id == returns.c.return_id,
        exceptions.c.status == "open",
    )


def stage_order_details(
    connection: Connection, site: str, batch: Sequence[tuple[Order, datetime, Received]], *, now: datetime
) -> None:
    """Stages orders with their lines, as of the version that the list last showed (or as found by a look-up)."""
    keep_raw(connection, site, "sparklayer.order_details", (raw for _, _, raw in batch), now)
    rows = [_order_head(site, order, at) | _order_whole(order) | {"digest": raw.digest} for order, at, raw in batch]
    before = staged_orders(connection, site, [order.order_id for order, _, _ in batch])
    upsert(
        connection,
        OrderRow,
        rows,
        update=[name for name in rows[0] if name not in ("site", "order_id", "digest")] if rows else (),
    )
    _note_buyers(connection, site, (order for order, _, _ in batch))
    sold_as: dict[tuple[str, str], str] = {}
    for slice_ in chunks(batch):
        ids = [order.order_id for order, _, _ in slice_]
        for row in connection.execute(
            select(order_lines).where(order_lines.c.site == site, order_lines.c.order_id.in_(ids))
        ):
            sold_as[row.order_id, row.line_key] = row.sku
        connection.execute(
            update(orders)
            .where(orders.c.site == site, orders.c.order_id.in_(ids))
            .values(detail_digest=orders.c.digest)
        )
        connection.execute(delete(order_lines).where(order_lines.c.site == site, order_lines.c.order_id.in_(ids)))
    upsert(connection, OrderLineRow, [row for order, _, _ in batch for row in _order_line_rows(site, order)])
    record_order_changes(connection, site, before, now)
    note_variants(
        connection,
        site,
        (
            (
                line.variant_id,
                line.sku,
                # A line that shows another SKU than before shows today's, not the one it was sold as.
                at if sold_as.get((order.order_id, line.key), line.sku) != line.sku else order.placed_at or at,
            )
            for order, at, _ in batch
            for line in order.lines
            if line.variant_id
        ),
    )


def _note_buyers(connection: Connection, site: str, of_orders: Iterable[Order]) -> None:
    insert_new(
        connection,
        OrderBuyerRow,
        [
            {"site": site, "customer_id": customer_id, "order_id": order.order_id}
            for order in of_orders
            for customer_id in order.customer_ids
        ],
    )


def _order_head(site: str, order: Order, updated_at: datetime) -> dict[str, Any]:
    return {
        "site": site,
        "order_id": order.order_id,
        "platform_id": order.platform_id,
        "visible": order.visible,
        "type": order.type,
        "payment_method": order.payment_method,
        "po_number": order.po_number,
        "currency": order.currency,
        "customer_ids": list(order.customer_ids),
        "placed_at": order.placed_at,
        "updated_at": updated_at,
        "substance": _substance(order),
    }


def _order_whole(order: Order) -> dict[str, Any]:
    """What only an order with its packages says."""
    return {"cancelled": order.cancelled, "shipping_net": order.shipping_net, "shipping_tax": order.shipping_tax}


def _order_line_rows(site: str, order: Order) -> list[dict[str, Any]]:
    return [
        {
            "site": site,
            "order_id": order.order_id,
            "line_key": line.key,
            "position": position,
            "sku": line.sku,
            "variant_id": line.variant_id,
            "line_item_id": line.line_item_id,
            "quantity": line.quantity,
            "net": line.net,
            "tax": line.tax,
        }
        for position, line in enumerate(order.lines)
    ]


def forget_order(connection: Connection, site: str, order_id: str, *, now: datetime) -> None:
    """An order that SparkLayer no longer has: its returns are looked up anew."""
    left = connection.execute(
        update(returns)
        .where(returns.c.site == site, returns.c.order_id == order_id)
        .values(order_id="", order_checked_at=now, dirty=True)
        .returning(returns.c.return_id)
    ).scalars()
    gone = [Event("swapsync", ORDER_LINKED, "SparkLayer no longer has the order", i, after={"order": ""}) for i in left]
    record_events(connection, site, gone, now)
    connection.execute(delete(orders).where(orders.c.site == site, orders.c.order_id == order_id))


def link_returns(connection: Connection, site: str, now: datetime) -> int:
    """Ties returns to staged orders: by platform id; by name only after a look-up by id found nothing.

    What was settled outside is never looked up, so its name counts where no staged order has its id. Returns how many
    were tied. A name that two orders carry names neither.
    """
    unlinked = and_(returns.c.site == site, returns.c.order_id == "")
    by_id = connection.execute(
        select(returns.c.return_id, orders.c.order_id)
        .join(orders, and_(orders.c.site == returns.c.site, orders.c.platform_id == returns.c.order_ref))
        .where(unlinked, returns.c.order_ref != "")
    ).all()
    by_name = connection.execute(
        select(returns.c.return_id, func.min(orders.c.order_id).label("order_id"))
        .join(orders, and_(orders.c.site == returns.c.site, orders.c.visible == returns.c.order_name))
        .where(
            unlinked,
            returns.c.order_name != "",
            or_(returns.c.order_checked_at.is_not(None), returns.c.order_ref == "", returns.c.settled_outside),
        )
        .group_by(returns.c.return_id)
        .having(func.count() == 1)
    ).all()
    links = {row.return_id: row.order_id for row in (*by_name, *by_id)}
    link(connection, site, links, now)
    return len(links)


def link(connection: Connection, site: str, links: Mapping[str, str], now: datetime, *, actor: str = SWAPSYNC) -> None:
    """Ties returns to orders: return id -> order id. The whole order is decided again."""
    if links:
        names = _order_names(connection, site, set(links.values()))
        connection.execute(
            update(returns)
            .where(returns.c.site == site, returns.c.return_id == bindparam("of_return"))
            .values(order_id=bindparam("to_order"), buyer_checked=False, dirty=True),
            [{"of_return": return_id, "to_order": order_id} for return_id, order_id in links.items()],
        )
        linked = [
            Event(
                *("swapsync", ORDER_LINKED, f"it is a return of order {names[order_id]}"),
                return_id=return_id,
                actor=actor,
                after={"order": names[order_id]},
            )
            for return_id, order_id in links.items()
        ]
        record_events(connection, site, linked, now)


def _order_names(connection: Connection, site: str, order_ids: Collection[str]) -> dict[str, str]:
    return {
        row.order_id: row.visible or row.order_id
        for ids in chunks(sorted(order_ids))
        for row in connection.execute(
            select(orders.c.order_id, orders.c.visible).where(orders.c.site == site, orders.c.order_id.in_(ids))
        )
    }


def note_look_up(connection: Connection, site: str, return_ids: Collection[str], now: datetime) -> None:
    """Returns whose order SparkLayer does not have, as of now."""
    for ids in chunks(list(return_ids)):
        connection.execute(
            update(returns)
            .where(returns.c.site == site, returns.c.return_id.in_(ids))
            .values(order_checked_at=now, dirty=or_(returns.c.dirty, returns.c.order_checked_at.is_(None)))
        )


@dataclass(frozen=True, slots=True)
class Unlinked:
    """A live return whose order is not known here."""

    return_id: str
    order_ref: str
    order_name: str


def unlinked_returns(connection: Connection, site: str, *, recheck: int) -> list[Unlinked]:
    """Live returns to be looked up at SparkLayer: all that never were, and the ``recheck`` longest unchecked others."""
    wanted = select(returns.c.return_id, returns.c.order_ref, returns.c.order_name).where(
        returns.c.site == site,
        returns.c.order_id == "",
        ~returns.c.settled_outside,
        returns.c.status.not_in(("cancelled", "expired")),
    )
    new = connection.execute(wanted.where(returns.c.order_checked_at.is_(None))).all()
    known = connection.execute(
        wanted.where(returns.c.order_checked_at.is_not(None)).order_by(returns.c.order_checked_at).limit(recheck)
    ).all()
    return [Unlinked(*row) for row in (*new, *known)]


def orders_to_read(connection: Connection, site: str) -> list[tuple[str, str, str]]:
    """(order id, platform id, name) of orders whose lines a return waits for: never read, or changed since."""
    waiting = select(returns.c.order_id).where(returns.c.site == site, returns.c.dirty, ~returns.c.settled_outside)
    rows = connection.execute(
        select(orders.c.order_id, orders.c.platform_id, orders.c.visible)
        .where(
            orders.c.site == site,
            orders.c.order_id.in_(waiting),
            orders.c.detail_digest.not_in((orders.c.digest, UNREADABLE + orders.c.digest)),
        )
        .order_by(orders.c.order_id)
    )
    return [(row.order_id, row.platform_id, row.visible) for row in rows]


def note_unreadable(connection: Connection, site: str, order_id: str) -> None:
    """An order whose lines can't be read: it is not asked for again before it changes."""
    connection.execute(
        update(orders)
        .where(orders.c.site == site, orders.c.order_id == order_id)
        .values(detail_digest=UNREADABLE + orders.c.digest)
    )


def doubt_order(connection: Connection, site: str, order_id: str) -> None:
    """Has an order read again that SparkLayer may no longer have; nothing is decided on its returns before that."""
    connection.execute(
        update(orders).where(orders.c.site == site, orders.c.order_id == order_id).values(detail_digest=IN_DOUBT)
    )
    mark_dirty(connection, site, and_(returns.c.order_id == order_id, ~returns.c.settled_outside))


# -- customers -------------------------------------------------------------------------------------------------------


def customers_to_read(connection: Connection, site: str) -> list[str]:
    """Look-ups (``id:…``, ``email:…``) that undecided returns need and that were never made."""
    rows = connection.execute(
        select(returns.c.customer_email, orders.c.customer_ids)
        .join(orders, and_(orders.c.site == returns.c.site, orders.c.order_id == returns.c.order_id))
        .where(returns.c.site == site, returns.c.dirty, ~returns.c.settled_outside, returns.c.customer_email != "")
    ).all()
    ids = {f"id:{customer_id}" for row in rows for customer_id in row.customer_ids}
    known = read_customers(connection, site, ids)
    wanted = dict.fromkeys(lookup for lookup in sorted(ids) if lookup not in known)
    strangers = {
        f"email:{row.customer_email.casefold()}"
        for row in rows
        if any(f"id:{i}" in known for i in row.customer_ids)
        and all(
            (customer := known.get(f"id:{i}")) is None or customer.email.casefold() != row.customer_email.casefold()
            for i in row.customer_ids
        )
    }
    met = read_customers(connection, site, strangers)
    return [*wanted, *(lookup for lookup in sorted(strangers) if lookup not in met)]


def note_buyers_checked(connection: Connection, site: str) -> None:
    """The customers of all that waits for a decision have been asked for."""
    connection.execute(
        update(returns)
        .where(returns.c.site == site, returns.c.dirty, returns.c.order_id != "", ~returns.c.buyer_checked)
        .values(buyer_checked=True)
    )


def read_customers(connection: Connection, site: str, lookups: Collection[str]) -> dict[str, Customer]:
    """Answers to look-ups made so far; a customer with a blank id means that there is none."""
    return {
        row.lookup: Customer(row.customer_id, row.email, row.parent_id)
        for part in chunks(sorted(lookups))
        for row in connection.execute(select(customers).where(customers.c.site == site, customers.c.lookup.in_(part)))
    }


def stage_customers(connection: Connection, site: str, found: Mapping[str, Customer | None], now: datetime) -> None:
    """Notes the answers to look-ups; None: SparkLayer has nobody by it."""
    nobody = Customer("", "")
    upsert(
        connection,
        CustomerRow,
        [
            {
                "site": site,
                "lookup": lookup,
                "customer_id": (customer or nobody).customer_id,
                "email": (customer or nobody).email,
                "parent_id": (customer or nobody).parent_id,
                "checked_at": now,
            }
            for lookup, customer in found.items()
        ],
    )


# -- SKUs ------------------------------------------------------------------------------------------------------------


def note_variants(connection: Connection, site: str, seen: Iterable[tuple[str, str, datetime]]) -> None:
    """Widens the SKU history: (variant id, SKU, moment at which the one was seen with the other)."""
    spans: dict[tuple[str, str], tuple[datetime, datetime]] = {}
    watched = set()
    for variant_id, sku, at in seen:
        watched.add(variant_id)
        if sku:
            first, last = spans.get((variant_id, sku), (at, at))
            spans[variant_id, sku] = (min(first, at), max(last, at))
    for ids in chunks(sorted({variant_id for variant_id, _ in spans})):
        for row in connection.execute(
            select(variant_skus).where(variant_skus.c.site == site, variant_skus.c.variant_id.in_(ids))
        ):
            watched.discard(row.variant_id)
            if span := spans.get((row.variant_id, row.sku)):
                if row.first_seen <= span[0] and row.last_seen >= span[1]:
                    del spans[row.variant_id, row.sku]
                else:
                    spans[row.variant_id, row.sku] = (min(row.first_seen, span[0]), max(row.last_seen, span[1]))
    insert_new(connection, VariantRow, [{"site": site, "variant_id": v, "checked_at": None} for v in sorted(watched)])
    upsert(
        connection,
        VariantSkuRow,
        [
            {"site": site, "variant_id": variant_id, "sku": sku, "first_seen": first, "last_seen": last}
            for (variant_id, sku), (first, last) in spans.items()
        ],
    )


def variants_to_check(
    connection: Connection, site: str, *, before: datetime, limit: int, unmatched_before: datetime
) -> list[str]:
    """Variants of open returns and of their orders whose SKU is to be asked for: never asked or asked before
    ``before``, or, where a line matched nothing or another variant carries the SKU, before ``unmatched_before``;
    longest unasked first, ``limit`` at most.
    """
    open_return = and_(
        returns.c.site == site,
        ~returns.c.settled_outside,
        returns.c.settlement.in_(UNFINISHED),
        returns.c.status.not_in(("cancelled", "expired")),
    )
    by_returns = select(return_lines.c.variant_id).where(
        return_lines.c.site == site, return_lines.c.return_id.in_(select(returns.c.return_id).where(open_return))
    )
    by_orders = (
        select(order_lines.c.variant_id)
        .join(returns, and_(returns.c.site == order_lines.c.site, returns.c.order_id == order_lines.c.order_id))
        .where(open_return)
    )
    unmatched = by_orders.where(
        exists().where(
            return_lines.c.site == returns.c.site,
            return_lines.c.return_id == returns.c.return_id,
            return_lines.c.order_line_key == "",
        )
    )
    exceptions = table(ExceptionRow)
    duplicate = select(variant_skus.c.variant_id).where(
        variant_skus.c.site == site,
        variant_skus.c.sku.in_(
            select(exceptions.c.sku).where(
                exceptions.c.site == site, exceptions.c.status == "open", exceptions.c.code == Code.SKU_DUPLICATE
            )
        ),
    )
    in_use = or_(variants.c.variant_id.in_(by_returns), variants.c.variant_id.in_(by_orders))
    due = or_(
        and_(or_(variants.c.checked_at.is_(None), variants.c.checked_at < before), in_use),
        and_(variants.c.checked_at < unmatched_before, variants.c.variant_id.in_(unmatched)),
        and_(variants.c.checked_at < unmatched_before, variants.c.variant_id.in_(duplicate)),
    )
    return list(
        connection.execute(
            select(variants.c.variant_id)
            .where(variants.c.site == site, due)
            .order_by(variants.c.checked_at.is_not(None), variants.c.checked_at, variants.c.variant_id)
            .limit(limit)
        ).scalars()
    )


def carriers(connection: Connection, site: str, skus: Collection[str]) -> dict[str, list[str]]:
    """The variants that carry each of these SKUs now: by SparkLayer's last answer, and by no other SKU since."""
    c, newer = variant_skus.c, variant_skus.alias()
    found: dict[str, list[str]] = {}
    for part in chunks(sorted(skus)):
        rows = connection.execute(
            select(c.sku, c.variant_id)
            .join(variants, and_(variants.c.site == c.site, variants.c.variant_id == c.variant_id))
            .where(
                c.site == site,
                c.sku.in_(part),
                c.last_seen >= variants.c.checked_at,
                ~exists().where(
                    newer.c.site == c.site, newer.c.variant_id == c.variant_id, newer.c.last_seen > c.last_seen
                ),
            )
            .order_by(c.sku, c.variant_id)
        )
        for row in rows:
            found.setdefault(row.sku, []).append(row.variant_id)
    return found


def stage_variants(connection: Connection, site: str, skus: Mapping[str, str], now: datetime) -> int:
    """Notes the SKU that each variant has now (blank: SparkLayer doesn't say); returns how many were renamed.

    Returns whose lines name a renamed variant, or whose order does, are decided again.
    """
    before: dict[str, str] = {}
    for ids in chunks(sorted(skus)):
        for row in connection.execute(
            select(variant_skus.c.variant_id, variant_skus.c.sku)
            .where(variant_skus.c.site == site, variant_skus.c.variant_id.in_(ids))
            .order_by(variant_skus.c.last_seen)
        ):
            before[row.variant_id] = row.sku
    renamed = [variant for variant, sku in skus.items() if sku and before.get(variant, sku) != sku]
    note_variants(connection, site, ((variant, sku, now) for variant, sku in skus.items()))
    upsert(
        connection,
        VariantRow,
        [{"site": site, "variant_id": variant_id, "checked_at": now} for variant_id in skus],
    )
    for ids in chunks(renamed):
        of_lines = select(return_lines.c.return_id).where(
            return_lines.c.site == site, return_lines.c.variant_id.in_(ids)
        )
        of_orders = select(order_lines.c.order_id).where(order_lines.c.site == site, order_lines.c.variant_id.in_(ids))
        affected = and_(
            returns.c.site == site,
            ~returns.c.settled_outside,
            or_(returns.c.return_id.in_(of_lines), returns.c.order_id.in_(of_orders)),
        )
        mark_dirty(connection, site, affected)
        what = ", ".join(f"{before[variant]} is {skus[variant]} now" for variant in ids)
        told = [
            Event("sparklayer", SKU_RENAMED, what, return_id, actor="sparklayer")
            for return_id in connection.execute(select(returns.c.return_id).where(affected)).scalars()
        ]
        record_events(connection, site, told, now)
    return len(renamed)
