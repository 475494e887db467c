"""What people and scripts look at: lists that are filtered and paged in the store, and one thing's whole story.

Everything comes back as plain values in the shape of the JSON that the command line promises (worker.md section 3):
money as a decimal string, a moment as ISO 8601 in UTC, blank text where nobody said anything. The number of statements
never depends on the number of rows.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, Row, Select, and_, case, exists, func, or_, select

from swapsync.domain import money
from swapsync.domain.catalogue import CATALOGUE, Action, Code, Owner
from swapsync.domain.facts import Route, method_key
from swapsync.domain.kits import Kits
from swapsync.domain.matching import MatchedBy
from swapsync.domain.returns import Condition, Delivery, Inspection, Logistics, Remedy, ReturnStatus, Settlement
from swapsync.domain.stock import units_received
from swapsync.moments import or_none, to_text
from swapsync.settings import JOBS
from swapsync.store.cases import credit_note_lines, credit_notes, findings, movements, rulings
from swapsync.store.changes import last_entry
from swapsync.store.controls import paused
from swapsync.store.events import events
from swapsync.store.exceptions import exceptions
from swapsync.store.mappings import mappings, payment_routes
from swapsync.store.outbox import outbox
from swapsync.store.runs import runs, sites, watermarks
from swapsync.store.staging import order_lines, orders, return_lines, returns

UNDELIVERED = ("pending", "in_doubt", "failed")
"""States of an effect that is still to be delivered, or gave up."""

Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows of a list, and how many rows the whole list has."""

    rows: list[Item]
    total: int


def known_sites(connection: Connection) -> list[str]:
    """Slugs of the sites that were ever run on this store."""
    return list(connection.execute(select(sites.c.slug).order_by(sites.c.slug)).scalars())


# -- returns ---------------------------------------------------------------------------------------------------------

_ORDER_NAME = func.coalesce(func.nullif(orders.c.visible, ""), returns.c.order_name).label("order_name")
_PO_NUMBER = func.coalesce(func.nullif(returns.c.po_number, ""), orders.c.po_number, "").label("po_number")
_WITH_ORDER = returns.outerjoin(orders, and_(orders.c.site == returns.c.site, orders.c.order_id == returns.c.order_id))


def list_returns(
    connection: Connection,
    *,
    site: str | None = None,
    settlement: str | None = None,
    logistics: str | None = None,
    search: str | None = None,
    limit: int | None = None,
    offset: int = 0,
) -> Page:
    """Returns, the one that changed last first. ``search``: part of an RMA, order or PO number, in any case."""
    conditions = [
        *_equal({returns.c.site: site, returns.c.settlement: settlement, returns.c.logistics: logistics}),
        *_containing(search, returns.c.rma_number, _ORDER_NAME, _PO_NUMBER),
    ]
    rows = _return_items(connection, conditions, limit, offset)
    return Page(rows, _count(connection, select(func.count()).select_from(_WITH_ORDER).where(*conditions)))


def find_returns(connection: Connection, name: str, site: str | None = None) -> list[tuple[str, str]]:
    """(site, return id) of the returns with this RMA number; where there is none, with this return id."""
    for column in (returns.c.rma_number, returns.c.return_id):
        statement = select(returns.c.site, returns.c.return_id).where(column == name, *_equal({returns.c.site: site}))
        if rows := connection.execute(statement.order_by(returns.c.site, returns.c.return_id)).all():
            return [(row.site, row.return_id) for row in rows]
    return []


def show_return(connection: Connection, site: str, return_id: str) -> Item:
    """One return's whole story across both systems.

    What the list says, and: ``swap`` (its own figures), ``order`` (None while it isn't found), the lines with the order
    line that each was matched to and the units that came (``received_quantity``), ``findings``, ``credit_notes``,
    ``movements``, ``deliveries``, ``exception_details``
    (also the resolved ones) and ``events`` in order of time. Raises KeyError when there is no such return.
    """
    items = _return_items(connection, [returns.c.site == site, returns.c.return_id == return_id])
    if not items:
        raise KeyError(return_id)
    item = items[0]
    row = connection.execute(select(returns).where(returns.c.site == site, returns.c.return_id == return_id)).one()
    sold = {
        line.line_key: line
        for line in connection.execute(
            select(order_lines).where(order_lines.c.site == site, order_lines.c.order_id == row.order_id)
        )
    }
    order = connection.execute(
        select(orders).where(orders.c.site == site, orders.c.order_id == row.order_id)
    ).one_or_none()

    def of_return(source: Any, *by: Any) -> Sequence[Row[Any]]:
        return connection.execute(
            select(source).where(source.c.site == site, source.c.return_id == return_id).order_by(*by)
        ).all()

    as_of = last_entry(connection)
    inspected = of_return(findings, findings.c.id)
    skus = {line["line_id"]: line["sku"] for line in item["lines"]}
    units: dict[str, Counter[Condition]] = defaultdict(Counter)
    for finding in inspected:
        units[finding.line_id][Condition(finding.condition)] += finding.quantity
    called_off = row.status in (ReturnStatus.CANCELLED, ReturnStatus.EXPIRED)
    for line in item["lines"]:
        match = sold.get(line["matched_order_line"])
        line["order_line"] = _sold(match, order.currency) if match and order else None
        line["received_quantity"] = units_received(
            line["quantity"],
            delivered=row.delivery == Delivery.DELIVERED and not called_off,
            units=units[line["line_id"]],
        )

    return item | {
        "swap": {
            "status": row.status,
            "delivery": row.delivery,
            "qc": row.qc,
            "total": None if row.total is None else money.to_text(row.total, row.currency),
            "refunded": money.to_text(row.refunded, row.currency),
            "closed_at": or_none(row.closed_at),
        },
        "order": _order(order) if order else None,
        "findings": [
            {
                "line_id": finding.line_id,
                "sku": finding.sku or skus.get(finding.line_id, ""),
                "condition": finding.condition,
                "quantity": finding.quantity,
                "found_at": to_text(finding.found_at),
                "actor": finding.actor,
            }
            for finding in inspected
        ],
        "credit_notes": _credit_note_items(
            connection, [credit_notes.c.site == site, credit_notes.c.return_id == return_id]
        ),
        "movements": [
            {
                "moved_at": to_text(movement.moved_at),
                "line_id": movement.line_id,
                "sku": movement.sku,
                "quantity": movement.quantity,
                "step": movement.step,
                "from": movement.from_location,
                "to": movement.to_location,
            }
            for movement in of_return(movements, movements.c.id)
        ],
        "deliveries": [_effect(effect) for effect in of_return(outbox, outbox.c.id)],
        "exception_details": [_explained(problem, as_of) for problem in of_return(exceptions, exceptions.c.id)],
        "events": [_event(event) for event in of_return(events, events.c.at, events.c.id)],
    }


def _event(row: Row[Any]) -> Item:
    return {
        "at": to_text(row.at),
        "source": row.source,
        "kind": row.kind,
        "actor": row.actor,
        "detail": row.detail,
        "before": orjson.loads(row.before) if row.before else None,
        "after": orjson.loads(row.after) if row.after else None,
    }


def _return_items(
    connection: Connection, conditions: Iterable[ColumnElement[bool]], limit: int | None = None, offset: int = 0
) -> list[Item]:
    chosen = (
        select(returns.c.site, returns.c.return_id)
        .select_from(_WITH_ORDER)
        .where(*conditions)
        .order_by(returns.c.updated_at.desc(), returns.c.site, returns.c.return_id)
        .limit(limit)
        .offset(offset)
    )
    page = chosen.subquery()
    rows = connection.execute(
        chosen.add_columns(
            returns.c.rma_number,
            _ORDER_NAME,
            _PO_NUMBER,
            returns.c.customer_email,
            returns.c.currency,
            returns.c.submitted_at,
            returns.c.updated_at,
            returns.c.logistics,
            returns.c.inspection,
            returns.c.settlement,
        )
    ).all()
    lines = _by_key(
        connection.execute(
            select(return_lines)
            .join(page, and_(page.c.site == return_lines.c.site, page.c.return_id == return_lines.c.return_id))
            .order_by(return_lines.c.position)
        ),
        "return_id",
    )
    problems = _by_key(
        connection.execute(
            select(exceptions.c.site, exceptions.c.return_id, exceptions.c.code)
            .join(page, and_(page.c.site == exceptions.c.site, page.c.return_id == exceptions.c.return_id))
            .where(exceptions.c.status == "open")
            .order_by(exceptions.c.id)
        ),
        "return_id",
    )
    return [
        {
            "site": row.site,
            "return_id": row.return_id,
            "rma_number": row.rma_number,
            "order_name": row.order_name,
            "po_number": row.po_number,
            "customer": row.customer_email,
            "currency": row.currency,
            "submitted_at": to_text(row.submitted_at),
            "updated_at": to_text(row.updated_at),
            "state": {"logistics": row.logistics, "inspection": row.inspection, "settlement": row.settlement},
            "lines": [
                {
                    "line_id": line.line_id,
                    "sku": line.sku,
                    "quantity": line.quantity,
                    "return_type": line.return_type,
                    "reason": line.reason,
                    "reason_code": line.reason_code,
                    "matched_order_line": line.order_line_key or None,
                    "matched_by": line.matched_by or None,
                    "accepted_quantity": line.accepted,
                }
                for line in lines[row.site, row.return_id]
            ],
            "exceptions": list(dict.fromkeys(problem.code for problem in problems[row.site, row.return_id])),
        }
        for row in rows
    ]


def _sold(line: Row[Any], currency: str) -> Item:
    return {"sku": line.sku, "quantity": line.quantity, **_amounts(line, currency)}


def _order(row: Row[Any]) -> Item:
    return {
        "order_id": row.order_id,
        "platform_id": row.platform_id,
        "name": row.visible,
        "payment_method": row.payment_method,
        "po_number": row.po_number,
        "currency": row.currency,
        "placed_at": or_none(row.placed_at),
    }


# -- credit notes ----------------------------------------------------------------------------------------------------

_NOTE_WITH_RETURN = credit_notes.outerjoin(
    returns, and_(returns.c.site == credit_notes.c.site, returns.c.return_id == credit_notes.c.return_id)
).outerjoin(orders, and_(orders.c.site == credit_notes.c.site, orders.c.order_id == credit_notes.c.order_id))


def list_credit_notes(
    connection: Connection,
    *,
    site: str | None = None,
    number: str | None = None,
    state: str | None = None,
    search: str | None = None,
    limit: int | None = None,
    offset: int = 0,
) -> Page:
    """Credit notes with their lines, the newest first. ``search``: part of a number, RMA, order or PO number."""
    conditions = [
        *_equal({credit_notes.c.site: site, credit_notes.c.number: number, credit_notes.c.state: state}),
        *_containing(search, credit_notes.c.number, returns.c.rma_number, _ORDER_NAME, credit_notes.c.po_number),
    ]
    rows = _credit_note_items(connection, conditions, limit, offset)
    return Page(rows, _count(connection, select(func.count()).select_from(_NOTE_WITH_RETURN).where(*conditions)))


def deliveries_of_credit_note(connection: Connection, site: str, platform_id: str) -> list[Item]:
    """The effect that carries a credit note to SparkLayer, in the outbox's shape."""
    rows = connection.execute(select(outbox).where(outbox.c.site == site, outbox.c.effect_key == platform_id))
    return [_effect(row) for row in rows]


def _credit_note_items(
    connection: Connection, conditions: Iterable[ColumnElement[bool]], limit: int | None = None, offset: int = 0
) -> list[Item]:
    chosen = (
        select(credit_notes.c.site, credit_notes.c.number)
        .select_from(_NOTE_WITH_RETURN)
        .where(*conditions)
        .order_by(credit_notes.c.issued_at.desc(), credit_notes.c.number.desc(), credit_notes.c.site)
        .limit(limit)
        .offset(offset)
    )
    page = chosen.subquery()
    c, void = credit_notes.c, credit_notes.alias()
    rows = connection.execute(
        chosen.add_columns(
            c.platform_id,
            c.return_id,
            returns.c.rma_number,
            _ORDER_NAME,
            c.customer,
            c.po_number,
            c.currency,
            c.net,
            c.tax,
            c.issued_at,
            c.state,
            c.kind,
            c.voids,
            c.reason,
            c.actor,
            select(void.c.number)
            .where(void.c.site == c.site, void.c.voids == c.number)
            .scalar_subquery()
            .label("voided_by"),
        )
    ).all()
    lines = _by_key(
        connection.execute(
            select(credit_note_lines)
            .join(page, and_(page.c.site == credit_note_lines.c.site, page.c.number == credit_note_lines.c.number))
            .order_by(credit_note_lines.c.line_id)
        ),
        "number",
    )
    return [
        {
            "number": row.number,
            "site": row.site,
            "platform_id": row.platform_id,
            "return_id": row.return_id,
            "rma_number": row.rma_number or "",
            "order_name": row.order_name or "",
            "customer": row.customer,
            "po_number": row.po_number,
            "currency": row.currency,
            **_amounts(row, row.currency),
            "issued_at": to_text(row.issued_at),
            "state": row.state,
            "kind": row.kind,
            "voids": row.voids or None,
            "voided_by": row.voided_by,
            "reason": row.reason,
            "actor": row.actor,
            "lines": [
                {
                    "line_id": line.line_id,
                    "sku": line.sku,
                    "quantity": line.quantity,
                    "reason_code": line.reason_code,
                    **_amounts(line, row.currency),
                }
                for line in lines[row.site, row.number]
            ],
        }
        for row in rows
    ]


def _amounts(row: Row[Any], currency: str) -> dict[str, str]:
    return {
        "net": money.to_text(row.net, currency),
        "tax": money.to_text(row.tax, currency),
        "gross": money.to_text(row.net + row.tax, currency),
    }


# -- exceptions ------------------------------------------------------------------------------------------------------


def list_exceptions(
    connection: Connection,
    *,
    site: str | None = None,
    owner: str | None = None,
    status: str | None = "open",
    code: str | None = None,
    sku: str | None = None,
    order: str | None = None,
    assignee: str | None = None,
    due_before: datetime | None = None,
    limit: int | None = None,
    offset: int = 0,
) -> Page:
    """The exception queue, open ones first, each group by due time. ``status`` None means all.

    ``due_before``: only what should have been solved by then. Each row says ``as_of`` how far the audit trail went.
    """
    c = exceptions.c
    conditions = _equal(
        {
            c.site: site,
            c.owner: owner,
            c.status: status,
            c.code: code,
            c.sku: sku,
            c.order_name: order,
            c.assignee: assignee,
        }
    )
    if due_before is not None:
        conditions.append(c.due_at < due_before)
    as_of = last_entry(connection)
    rows = connection.execute(
        select(exceptions).where(*conditions).order_by(c.status, c.due_at, c.id).limit(limit).offset(offset)
    )
    items = [_exception(row, as_of) for row in rows]
    return Page(items, _count(connection, select(func.count()).select_from(exceptions).where(*conditions)))


def group_exceptions(connection: Connection, by: str, *, site: str | None = None, owner: str | None = None) -> Page:
    """Open exceptions counted by ``code``, ``sku``, ``order_name``, ``owner`` or ``assignee``, the largest group first.

    Each row: ``site``, ``code``, what it is grouped by, ``open``, and the first ``opened_at`` and ``due_at`` in it.
    """
    c = exceptions.c
    key = c[by]
    columns = [c.site, c.code] if by == "code" else [c.site, c.code, key]
    number = func.count().label("open")
    rows = connection.execute(
        select(*columns, number, func.min(c.opened_at).label("opened_at"), func.min(c.due_at).label("due_at"))
        .where(c.status == "open", *_equal({c.site: site, c.owner: owner}))
        .group_by(*columns)
        .order_by(number.desc(), *columns)
    ).all()
    return Page(
        [
            {
                "site": row.site,
                "code": row.code,
                by: getattr(row, by),
                "open": row.open,
                "opened_at": to_text(row.opened_at),
                "due_at": to_text(row.due_at),
            }
            for row in rows
        ],
        len(rows),
    )


def show_exception(connection: Connection, exception_id: int, site: str | None = None) -> Item | None:
    """One exception with what the catalogue says about its code; None when there is none with this id.

    ``history``: its entries in the audit trail, comments among them.
    """
    conditions = [exceptions.c.id == exception_id, *_equal({exceptions.c.site: site})]
    as_of = last_entry(connection)
    row = connection.execute(select(exceptions).where(*conditions)).one_or_none()
    if row is None:
        return None
    told = connection.execute(
        select(events).where(events.c.site == row.site, events.c.exception_id == row.id).order_by(events.c.id)
    )
    return _explained(row, as_of) | {"history": [_event(event) for event in told]}


def _exception(row: Row[Any], as_of: int) -> Item:
    """``as_of``: how far the audit trail went; an action that names it is refused when something changed since."""
    return {
        "id": row.id,
        "site": row.site,
        "code": row.code,
        "owner": row.owner,
        "severity": row.severity,
        "status": row.status,
        "rma_number": row.rma_number,
        "return_id": row.return_id,
        "order_name": row.order_name,
        "sku": row.sku,
        "detail": row.detail,
        "assignee": row.assignee,
        "suggestions": row.suggestions,
        "count": row._mapping["count"],
        "opened_at": to_text(row.opened_at),
        "due_at": to_text(row.due_at),
        "resolved_at": or_none(row.resolved_at),
        "resolution": row.resolution,
        "as_of": as_of,
    }


def _explained(row: Row[Any], as_of: int) -> Item:
    """``actions``: what a person can do about it as it stands."""
    entry = CATALOGUE[Code(row.code)]
    accepted = (row.resolution or "").startswith(f"{Action.ACCEPT} by ")
    actions = entry.actions if row.status == "open" else entry.later if accepted else ()
    return _exception(row, as_of) | {
        "meaning": entry.meaning,
        "remedy": entry.remedy,
        "closes_when": entry.closes,
        "actions": [action.value for action in actions],
    }


# -- mappings --------------------------------------------------------------------------------------------------------

ALIAS = "alias"
"""The kind of a mapping that has a SKU in Swap stand for one on orders; of the others it is the field of the word."""


def list_mappings(connection: Connection, site: str | None = None) -> list[Item]:
    """What people taught, by site, kind and word: what a word means, who said so, and when."""
    taught = {
        (row.site, ALIAS, row.subject): (row.value, row.actor, row.ruled_at)
        for row in connection.execute(
            select(rulings)
            .where(rulings.c.action == Action.TEACH_ALIAS, *_equal({rulings.c.site: site}))
            .order_by(rulings.c.id)
        )
    }
    for row in connection.execute(select(mappings).where(*_equal({mappings.c.site: site}))):
        taught[row.site, row.field, row.word] = (row.meaning, row.actor, row.taught_at)
    return [
        {"site": of, "kind": kind, "word": word, "meaning": meaning, "actor": actor, "taught_at": to_text(at)}
        for (of, kind, word), (meaning, actor, at) in sorted(taught.items())
    ]


# -- outbox ----------------------------------------------------------------------------------------------------------


def list_outbox(
    connection: Connection,
    *,
    site: str | None = None,
    states: Collection[str] = UNDELIVERED,
    ids: Collection[int] | None = None,
    kind: str | None = None,
    limit: int | None = None,
    offset: int = 0,
) -> Page:
    """Effects in the order in which they were decided: those in one of these states, or those with these ids."""
    conditions = _equal({outbox.c.site: site, outbox.c.kind: kind})
    conditions.append(outbox.c.state.in_(states) if ids is None else outbox.c.id.in_(ids))
    rows = connection.execute(select(outbox).where(*conditions).order_by(outbox.c.id).limit(limit).offset(offset))
    items = [_effect(row) for row in rows]
    return Page(items, _count(connection, select(func.count()).select_from(outbox).where(*conditions)))


def _effect(row: Row[Any]) -> Item:
    return {
        "id": row.id,
        "site": row.site,
        "kind": row.kind,
        "target": row.target,
        "state": row.state,
        "attempts": row.attempts,
        "next_attempt_at": or_none(row.next_attempt_at) if row.state in ("pending", "in_doubt") else None,
        "last_error": row.last_error,
        "return_id": row.return_id,
        "created_at": to_text(row.created_at),
        "sent_at": or_none(row.sent_at),
    }


# -- status ----------------------------------------------------------------------------------------------------------


def status(
    connection: Connection, routes: Mapping[str, Mapping[str, str]], kits: Mapping[str, Kits] | None = None
) -> list[Item]:
    """How each site stands: jobs, watermarks, backlog, open exceptions, liability.

    ``routes``: for each site asked for, its configured payment routes by ``method_key``; what people mapped counts too.
    ``kits``: the list of kits of each site that has one. A site that never ran has no jobs and no watermarks.
    """
    slugs = sorted(routes)

    def of_sites(source: Any, *columns: Any) -> Select[Any]:
        return select(source.c.site, *columns).where(source.c.site.in_(slugs))

    cut_over = {
        row.slug: row.effects_from
        for row in connection.execute(select(sites.c.slug, sites.c.effects_from).where(sites.c.slug.in_(slugs)))
    }
    read_to: dict[str, dict[str, str]] = defaultdict(dict)
    for row in connection.execute(of_sites(watermarks, watermarks.c.stream, watermarks.c.position)):
        read_to[row.site][row.stream] = to_text(row.position)

    count = func.count().label("number")
    backlog: dict[str, Counter[str]] = defaultdict(Counter)
    waiting = of_sites(outbox, outbox.c.state, count).where(outbox.c.state.in_(UNDELIVERED))
    for row in connection.execute(waiting.group_by(outbox.c.site, outbox.c.state)):
        backlog[row.site][row.state] = row.number
    queue: dict[str, Counter[str]] = defaultdict(Counter)
    unresolved = of_sites(exceptions, exceptions.c.owner, count).where(exceptions.c.status == "open")
    for row in connection.execute(unresolved.group_by(exceptions.c.site, exceptions.c.owner)):
        queue[row.site][row.owner] = row.number
    outside = {
        row.site: row.number
        for row in connection.execute(
            of_sites(returns, count).where(returns.c.settled_outside).group_by(returns.c.site)
        )
    }
    last_runs = of_sites(runs, *(column for column in runs.c if column.name != "site")).where(
        runs.c.id.in_(select(func.max(runs.c.id)).where(runs.c.status != "skipped").group_by(runs.c.site, runs.c.job))
    )
    jobs: dict[str, list[Item]] = defaultdict(list)
    for row in sorted(connection.execute(last_runs), key=lambda row: (_place_in_cycle(row.job), row.job)):
        jobs[row.site].append(_run(row))
    pauses: dict[str, list[Row[Any]]] = defaultdict(list)
    for row in paused(connection, slugs):
        pauses[row.site].append(row)
    pay_later = {
        slug: {method for method, route in of_site.items() if route is Route.CREDIT_NOTE}
        for slug, of_site in payment_routes(connection, routes).items()
    }
    owed = _liability(connection, pay_later, kits or {})
    return [
        {
            "site": slug,
            "effects_from": or_none(cut_over.get(slug)),
            "settled_outside": outside.get(slug, 0),
            "watermarks": read_to[slug],
            "outbox": {state: backlog[slug][state] for state in UNDELIVERED},
            "exceptions": {
                "open": queue[slug].total(),
                "by_owner": {owner.value: queue[slug][owner] for owner in Owner},
            },
            "liability": [
                {"currency": currency, "gross": money.to_text(gross, currency)}
                for currency, gross in sorted(owed[slug].gross.items())
                if gross
            ],
            "unvalued_lines": owed[slug].unvalued_lines,
            "jobs": jobs[slug],
            "paused": [
                {"job": row.job or "all", "since": to_text(row.paused_at), "actor": row.actor, "reason": row.reason}
                for row in pauses[slug]
            ],
        }
        for slug in slugs
    ]


def _place_in_cycle(job: str) -> int:
    return JOBS.index(job) if job in JOBS else len(JOBS)


def _run(row: Row[Any]) -> Item:
    return {
        "job": row.job,
        "status": row.status,
        "started_at": to_text(row.started_at),
        "finished_at": or_none(row.finished_at),
        "error": row.error,
        "read": row.read,
        "changed": row.changed,
        "sent": row.sent,
        "failed": row.failed,
    }


@dataclass
class _Liability:
    """Gross value owed, in minor units by currency; ``unvalued_lines`` may be owed too, at a price nobody knows yet."""

    gross: Counter[str] = field(default_factory=Counter)
    unvalued_lines: int = 0


def _liability(
    connection: Connection, pay_later: Mapping[str, Collection[str]], kits: Mapping[str, Kits]
) -> dict[str, _Liability]:
    """What each site owes its buyers for returns on pay-later orders and has not credited yet.

    It is the sum of
    - credit notes that were issued but don't stand in SparkLayer's ledger yet, less voids that don't, and
    - announced units of live returns that no credit note covers, less those found missing or to be another item, at
      their share of the order line's net and tax; together never more units than the order line has left to credit.
      A unit of a part of a kit is that part of a unit which the list of kits says it was when it was ordered.

    A return is live while its settlement is held or due, or none and neither called off nor vanished, or when it is
    credited in part and the rest still to be inspected. Lines that only move stock (exchanges) are not owed; lines that
    wait for a person's word (faulty, warranty) are, as long as the return is held. Lines whose order or order line is
    not known have no value here and are counted instead, and so are parts whose share the list of kits doesn't give.
    """
    owed: dict[str, _Liability] = defaultdict(_Liability)
    notes, void, lines = credit_notes.c, credit_notes.alias().c, return_lines.c
    sold_as = order_lines.c.sku.label("sold_sku"), orders.c.placed_at
    undelivered = (
        select(
            notes.site,
            notes.currency,
            func.sum(case((notes.kind == "void", -(notes.net + notes.tax)), else_=notes.net + notes.tax)).label(
                "gross"
            ),
        )
        .where(notes.site.in_(pay_later), notes.state.in_(("pending", "failed")))
        .group_by(notes.site, notes.currency)
    )
    for note in connection.execute(undelivered):
        owed[note.site].gross[note.currency] += int(note.gross)

    live = and_(
        returns.c.site.in_(pay_later),
        or_(
            returns.c.settlement.in_((Settlement.HELD, Settlement.DUE)),
            and_(
                returns.c.settlement == Settlement.NONE,
                returns.c.status.not_in((ReturnStatus.CANCELLED, ReturnStatus.EXPIRED)),
                returns.c.logistics != Logistics.VANISHED,
            ),
            and_(returns.c.settlement == Settlement.CREDITED, returns.c.inspection == Inspection.PARTIAL),
        ),
    )
    refused: Counter[tuple[str, str, str]] = Counter()
    not_owed = (
        select(findings.c.site, findings.c.return_id, findings.c.line_id, findings.c.quantity)
        .join(returns, and_(returns.c.site == findings.c.site, returns.c.return_id == findings.c.return_id))
        .where(live, findings.c.condition.in_((Condition.MISSING, Condition.WRONG_ITEM)))
    )
    for finding in connection.execute(not_owed):
        refused[finding.site, finding.return_id, finding.line_id] += finding.quantity

    covered: Counter[tuple[str, str, str]] = Counter()
    taken: defaultdict[tuple[str, str, str], Fraction] = defaultdict(Fraction)
    live_orders = select(returns.c.site, returns.c.order_id).where(live, returns.c.order_id != "").distinct().subquery()
    credited = (
        select(credit_note_lines, notes.return_id, notes.order_id, lines.matched_by, *sold_as)
        .join(credit_notes, and_(notes.site == credit_note_lines.c.site, notes.number == credit_note_lines.c.number))
        .join(live_orders, and_(live_orders.c.site == notes.site, live_orders.c.order_id == notes.order_id))
        .join(orders, and_(orders.c.site == notes.site, orders.c.order_id == notes.order_id))
        .outerjoin(
            order_lines,
            and_(
                order_lines.c.site == notes.site,
                order_lines.c.order_id == notes.order_id,
                order_lines.c.line_key == credit_note_lines.c.order_line_key,
            ),
        )
        .outerjoin(
            return_lines,
            and_(
                lines.site == notes.site,
                lines.return_id == notes.return_id,
                lines.line_id == credit_note_lines.c.line_id,
            ),
        )
        .where(
            notes.kind == "credit",
            notes.state != "void",
            ~exists().where(void.site == notes.site, void.voids == notes.number),
        )
    )
    for credit in connection.execute(credited):
        covered[credit.site, credit.return_id, credit.line_id] += credit.quantity
        taken[credit.site, credit.order_id, credit.order_line_key] += credit.quantity * (_weight(credit, kits) or 0)

    announced: Select[Any] = (
        select(
            *(lines.site, lines.return_id, lines.line_id, lines.quantity, lines.order_line_key, lines.matched_by),
            *(lines.sku, returns.c.order_id, orders.c.payment_method, orders.c.currency, *sold_as),
            *(order_lines.c.quantity.label("sold"), order_lines.c.net, order_lines.c.tax),
        )
        .join(returns, and_(returns.c.site == lines.site, returns.c.return_id == lines.return_id))
        .outerjoin(orders, and_(orders.c.site == returns.c.site, orders.c.order_id == returns.c.order_id))
        .outerjoin(
            order_lines,
            and_(
                order_lines.c.site == orders.c.site,
                order_lines.c.order_id == orders.c.order_id,
                order_lines.c.line_key == lines.order_line_key,
            ),
        )
        .where(
            live,
            or_(
                lines.remedy == Remedy.CREDIT,
                and_(returns.c.settlement != Settlement.NONE, lines.remedy != Remedy.STOCK_ONLY),
            ),
        )
        .order_by(returns.c.submitted_at, lines.return_id, lines.position)
    )
    for row in connection.execute(announced):
        if row.payment_method is not None and method_key(row.payment_method) not in pay_later[row.site]:
            continue
        of_line = (row.site, row.return_id, row.line_id)
        units = row.quantity - refused[of_line] - covered[of_line]
        weight = _weight(row, kits)
        if row.sold is None or weight is None:
            owed[row.site].unvalued_lines += units > 0
            continue
        of_order_line = (row.site, row.order_id, row.order_line_key)
        due = min(units * weight, row.sold - taken[of_order_line])
        if due > 0:
            taken[of_order_line] += due
            owed[row.site].gross[row.currency] += money.share(row.net, due, row.sold)
            owed[row.site].gross[row.currency] += money.share(row.tax, due, row.sold)
    return owed


def _weight(line: Row[Any], kits: Mapping[str, Kits]) -> Fraction | None:
    """How much of a unit of its order line a returned unit is: 1, or a part's share of its kit; None if nobody said."""
    if line.matched_by != MatchedBy.KIT_PART:
        return Fraction(1)
    parts = kits.get(line.site, Kits()).of(line.sold_sku or "", line.placed_at)
    return next((part.weight for part in parts if part.sku == line.sku), None)


# -- filters ---------------------------------------------------------------------------------------------------------


def _equal(wanted: Mapping[Any, str | None]) -> list[ColumnElement[bool]]:
    return [column == value for column, value in wanted.items() if value is not None]


def _containing(text: str | None, *columns: Any) -> list[ColumnElement[bool]]:
    return [or_(*(column.icontains(text, autoescape=True) for column in columns))] if text else []


def _count(connection: Connection, statement: Select[Any]) -> int:
    return int(connection.execute(statement).scalar_one())


def _by_key(rows: Iterable[Row[Any]], name: str) -> dict[tuple[str, str], list[Row[Any]]]:
    grouped: dict[tuple[str, str], list[Row[Any]]] = defaultdict(list)
    for row in rows:
        grouped[row.site, getattr(row, name)].append(row)
    return grouped
