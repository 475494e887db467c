"""What changed on the other side: the facts of returns and orders that decisions rest on, before and after."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, Row, Table, func, select

from swapsync.domain import money
from swapsync.store.db import chunks, table
from swapsync.store.events import Event, events, record_events
from swapsync.store.tables import OrderLineRow, OrderRow, ReturnLineRow, ReturnRow

Facts = dict[str, Any]

RETURN_CHANGED, ORDER_CHANGED = "return_changed", "order_changed"
ORDER_LINKED, SKU_RENAMED, INSPECTED = "order_linked", "sku_renamed", "inspected"
CHANGES = (RETURN_CHANGED, ORDER_CHANGED, ORDER_LINKED, SKU_RENAMED, INSPECTED)
"""Kinds of entries that say that the facts of a return are no longer what they were."""


def return_facts(rows: Iterable[Mapping[str, Any]], lines: Iterable[Mapping[str, Any]]) -> dict[str, Facts]:
    """The facts of each return, by its id, from rows of the two tables. Of the buyer no more than tells two apart."""
    of_lines: dict[str, Facts] = defaultdict(dict)
    for line in lines:
        name = line["sku"] or line["variant_id"] or line["line_item_id"]
        of_lines[line["return_id"]][f"line {line['line_id']}"] = f"{line['quantity']} x {name}, {line['return_type']}"
    return {
        row["return_id"]: {
            "status": row["status"],
            "delivery": row["delivery"],
            "QC": row["qc"],
            "order": row["order_ref"] or row["order_name"],
            "buyer": _masked(row["customer_email"]),
            "currency": row["currency"],
            "total": None if row["total"] is None else money.to_text(row["total"], row["currency"]),
            "refunded": money.to_text(row["refunded"], row["currency"]),
            "unknown": ", ".join(row["unknown"]),
            **of_lines[row["return_id"]],
        }
        for row in rows
    }


def staged_returns(connection: Connection, site: str, return_ids: Collection[str]) -> dict[str, Facts]:
    """The facts of these returns as they are staged."""
    return return_facts(*(_read(connection, table(model), site, return_ids) for model in (ReturnRow, ReturnLineRow)))


def staged_orders(connection: Connection, site: str, order_ids: Collection[str]) -> dict[str, Facts]:
    """The facts of those of these orders whose lines were read, as they are staged."""
    of_lines: dict[str, Facts] = defaultdict(dict)
    heads = _read(connection, table(OrderRow), site, order_ids)
    currency = {row["order_id"]: row["currency"] for row in heads}
    for line in _read(connection, table(OrderLineRow), site, order_ids):
        gross = money.to_text(line["net"] + line["tax"], currency[line["order_id"]])
        of_lines[line["order_id"]][f"line {line['line_key']}"] = f"{line['quantity']} x {line['sku']}, {gross}"
    return {
        row["order_id"]: {
            "type": row["type"],
            "payment method": row["payment_method"],
            "PO number": row["po_number"],
            "currency": row["currency"],
            "buyers": ", ".join(row["customer_ids"]),
            "cancelled": row["cancelled"],
            **of_lines[row["order_id"]],
        }
        for row in heads
        if row["detail_digest"]
    }


def _read(connection: Connection, source: Table, site: str, ids: Collection[str]) -> list[Mapping[str, Any]]:
    key = source.c.return_id if "return_id" in source.c else source.c.order_id
    return [
        row._asdict()
        for part in chunks(sorted(ids))
        for row in connection.execute(select(source).where(source.c.site == site, key.in_(part)))
    ]


def differences(before: Facts, after: Facts) -> tuple[Facts, Facts]:
    """The facts that differ, as they were and as they are; one that isn't there is None."""
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return {name: before.get(name) for name in names}, {name: after.get(name) for name in names}


def record_order_changes(connection: Connection, site: str, before: Mapping[str, Facts], now: datetime) -> None:
    """Tells each return of an order whose facts are no longer as they were ``before``."""
    after = staged_orders(connection, site, before)
    changed = {i: differences(facts, after[i]) for i, facts in before.items() if i in after and facts != after[i]}
    returns = table(ReturnRow)
    record_events(
        connection,
        site,
        [
            Event(
                *("sparklayer", ORDER_CHANGED, "the order changed in SparkLayer"),
                return_id=row.return_id,
                actor="sparklayer",
                before=changed[row.order_id][0],
                after=changed[row.order_id][1],
            )
            for ids in chunks(sorted(changed))
            for row in connection.execute(
                select(returns.c.return_id, returns.c.order_id)
                .where(returns.c.site == site, returns.c.order_id.in_(ids), ~returns.c.settled_outside)
                .order_by(returns.c.return_id)
            )
        ],
        now,
    )


def changes_since(connection: Connection, site: str, since: Mapping[str, int]) -> dict[str, list[str]]:
    """What changed of each return after an entry of the trail, for people to read: return id -> entry's id."""
    told: dict[str, list[str]] = defaultdict(list)
    c = events.c
    for part in chunks(sorted(since)):
        first = min(since[return_id] for return_id in part)
        for row in connection.execute(
            select(events)
            .where(c.site == site, c.return_id.in_(part), c.kind.in_(CHANGES), c.id > first)
            .order_by(c.id)
        ):
            if row.id > since[row.return_id] and (what := described(row)):
                told[row.return_id].append(what)
    return told


def last_entry(connection: Connection) -> int:
    """The number of the trail's last entry; later ones have greater numbers."""
    return connection.execute(select(func.max(events.c.id))).scalar() or 0


def decided_entries(connection: Connection, site: str, return_ids: Collection[str]) -> dict[str, int]:
    """The trail's last entry when each of these returns was last decided on; 0: never."""
    rows = _read(connection, table(ReturnRow), site, return_ids)
    return {row["return_id"]: row["decided_entry"] for row in rows}


def derived_states(connection: Connection, site: str, return_ids: Collection[str]) -> dict[str, Facts]:
    """What was last decided on these returns: their states, and what each line was matched to."""
    of_lines: dict[str, Facts] = defaultdict(dict)
    for line in _read(connection, table(ReturnLineRow), site, return_ids):
        if line["order_line_key"]:
            what = f"order line {line['order_line_key']} by {line['matched_by']}, {line['accepted']} accepted"
            of_lines[line["return_id"]][f"line {line['line_id']}"] = what
    return {
        row["return_id"]: {
            "logistics": row["logistics"],
            "inspection": row["inspection"],
            "settlement": row["settlement"],
            "PO number": row["po_number"],
            **of_lines[row["return_id"]],
        }
        for row in _read(connection, table(ReturnRow), site, return_ids)
    }


def decisions(before: Mapping[str, Facts], after: Mapping[str, Facts]) -> Iterator[Event]:
    """An entry for each return on which something else was decided than before."""
    for return_id, facts in after.items():
        was, is_ = differences(before[return_id], facts)
        if is_:
            yield Event("swapsync", "decided", _told(was, is_), return_id, before=was, after=is_)


def described(row: Row[Any]) -> str:
    """An entry's change in a few words, blank if nothing that matters did: ``delivery in_transit -> delivered``."""
    if row.kind in (INSPECTED, SKU_RENAMED):
        return str(row.detail)
    if not row.after:
        return ""
    return _told(orjson.loads(row.before or b"{}"), orjson.loads(row.after))


def _told(before: Facts, after: Facts) -> str:
    return ", ".join(f"{name} {_shown(before.get(name))} -> {_shown(after[name])}" for name in after)


def _shown(value: Any) -> str:
    return "(none)" if value in (None, "") else str(value)


def _masked(email: str) -> str:
    name, at, host = email.partition("@")
    return f"{name[:1]}…{at}{host}" if email else ""
