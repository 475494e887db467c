"""Staged orders that an orphaned return may be of: those of its customer or company, and those with nearly its name."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import Connection, and_, exists, func, or_, select

from swapsync.domain.matching import MatchedBy
from swapsync.domain.orders import Customer
from swapsync.domain.returns import Delivery, Settlement, SwapQc
from swapsync.store.db import chunks, table
from swapsync.store.staging import UNREADABLE, customers, orders, read_customers, return_lines, returns
from swapsync.store.tables import FindingRow, OrderBuyerRow

order_buyers, findings = table(OrderBuyerRow), table(FindingRow)

LOOK_AT = 60
"""How many orders are looked at for one return, so that an orphan costs a bounded number of calls.

A customer who orders every week has fewer in a year.
"""


@dataclass(frozen=True, slots=True)
class Orphan:
    """What candidates are looked for by."""

    return_id: str
    customer_email: str
    order_name: str
    submitted_at: datetime


@dataclass(frozen=True, slots=True)
class Candidates:
    """Order ids, newest first, how many older ones of the customer were left out, and who asks for the return."""

    order_ids: tuple[str, ...]
    left_out: int
    claimant: Customer | None


class _Head(NamedTuple):
    order_id: str
    placed_at: datetime | None


_NEVER = datetime.min.replace(tzinfo=UTC)


def orphans(connection: Connection, site: str, return_ids: Sequence[str]) -> list[Orphan]:
    """These returns, as candidates are looked for by."""
    c = returns.c
    return [
        Orphan(row.return_id, row.customer_email, row.order_name, row.submitted_at)
        for ids in chunks(return_ids)
        for row in connection.execute(
            select(c.return_id, c.customer_email, c.order_name, c.submitted_at).where(
                c.site == site, c.return_id.in_(ids)
            )
        )
    ]


def customer_look_ups(connection: Connection, site: str, wanted: Iterable[Orphan]) -> list[str]:
    """Look-ups of the customers of orphans that were never made, or that found nobody."""
    lookups = {_look_up(orphan) for orphan in wanted if orphan.customer_email}
    known = read_customers(connection, site, lookups)
    return sorted(lookup for lookup in lookups if lookup not in known or not known[lookup].customer_id)


def candidates_of(connection: Connection, site: str, wanted: Sequence[Orphan]) -> dict[str, Candidates]:
    """The orders that each orphan may be of, by return id: placed before it, the ``LOOK_AT`` newest.

    A fixed number of statements; whether an order's lines are known doesn't matter here.
    """
    known = read_customers(connection, site, {_look_up(orphan) for orphan in wanted})
    claimants = {lookup: customer for lookup, customer in known.items() if customer.customer_id}
    companies = _companies(connection, site, claimants)
    heads = _heads(connection, site, {i for company in companies.values() for i in company})
    named = _named(connection, site, {name for orphan in wanted for name in _spellings(orphan.order_name)})
    found = {}
    for orphan in wanted:
        lookup = _look_up(orphan)
        mine = {
            head.order_id: head
            for customer_id in companies.get(lookup, ())
            for head in heads[customer_id]
            if head.placed_at is None or head.placed_at <= orphan.submitted_at
        }
        newest = sorted(mine.values(), key=lambda head: (head.placed_at or _NEVER, head.order_id), reverse=True)
        alike = [order_id for name in _spellings(orphan.order_name) for order_id in named[name]]
        ids = tuple(dict.fromkeys((*alike, *(head.order_id for head in newest))))
        found[orphan.return_id] = Candidates(ids[:LOOK_AT], max(0, len(ids) - LOOK_AT), claimants.get(lookup))
    return found


def details_to_read(connection: Connection, site: str, order_ids: Iterable[str]) -> list[tuple[str, str, str]]:
    """(order id, platform id, name) of those orders whose lines were never read, or changed since."""
    c = orders.c
    return [
        (row.order_id, row.platform_id, row.visible)
        for ids in chunks(sorted(set(order_ids)))
        for row in connection.execute(
            select(c.order_id, c.platform_id, c.visible)
            .where(c.site == site, c.order_id.in_(ids), c.detail_digest.not_in((c.digest, UNREADABLE + c.digest)))
            .order_by(c.order_id)
        )
    ]


def claimed_units(connection: Connection, site: str, order_ids: Sequence[str]) -> Mapping[str, Mapping[str, int]]:
    """Units that live or settled returns have claimed, by order id and line key; parts of kits are left out.

    A voided or withdrawn credit changes nothing: the goods stay claimed. A return that was denied and brought nothing,
    or whose goods Swap turned down, claims nothing, as in ``settlement.decide``.
    """
    refused = or_(returns.c.delivery != Delivery.DELIVERED, returns.c.qc.in_((SwapQc.NOT_APPROVED, SwapQc.MISSING)))
    inspected = exists().where(findings.c.site == returns.c.site, findings.c.return_id == returns.c.return_id)
    claimed: dict[str, dict[str, int]] = defaultdict(dict)
    for ids in chunks(order_ids):
        for row in connection.execute(
            select(returns.c.order_id, return_lines.c.order_line_key, func.sum(return_lines.c.quantity).label("units"))
            .join(
                return_lines,
                and_(return_lines.c.site == returns.c.site, return_lines.c.return_id == returns.c.return_id),
            )
            .where(
                returns.c.site == site,
                returns.c.order_id.in_(ids),
                returns.c.status.not_in(("cancelled", "expired")),
                ~and_(returns.c.settlement == Settlement.DENIED, refused, ~inspected),
                return_lines.c.order_line_key != "",
                return_lines.c.matched_by != MatchedBy.KIT_PART,
            )
            .group_by(returns.c.order_id, return_lines.c.order_line_key)
        ):
            claimed[row.order_id][row.order_line_key] = int(row.units)
    return claimed


def _look_up(orphan: Orphan) -> str:
    return f"email:{orphan.customer_email.casefold()}"


def _spellings(name: str) -> tuple[str, ...]:
    """How an order's name may be written otherwise: with or without the sign before its number."""
    bare = name.strip().lstrip("#").strip()
    return (bare, f"#{bare}") if bare else ()


def _companies(connection: Connection, site: str, claimants: Mapping[str, Customer]) -> dict[str, set[str]]:
    """Ids of each claimant, of the company's main customer, and of those of the company who were met before."""
    companies = {lookup: {c.customer_id, c.parent_id} - {""} for lookup, c in claimants.items()}
    heads_of = sorted({i for company in companies.values() for i in company})
    colleagues = defaultdict(set)
    for ids in chunks(heads_of):
        for row in connection.execute(
            select(customers.c.customer_id, customers.c.parent_id).where(
                customers.c.site == site, customers.c.parent_id.in_(ids)
            )
        ):
            colleagues[row.parent_id].add(row.customer_id)
    return {lookup: company.union(*(colleagues[i] for i in company)) for lookup, company in companies.items()}


def _heads(connection: Connection, site: str, customer_ids: set[str]) -> dict[str, list[_Head]]:
    heads: dict[str, list[_Head]] = defaultdict(list)
    for ids in chunks(sorted(customer_ids)):
        for row in connection.execute(
            select(order_buyers.c.customer_id, orders.c.order_id, orders.c.placed_at, orders.c.customer_ids)
            .join(orders, and_(orders.c.site == order_buyers.c.site, orders.c.order_id == order_buyers.c.order_id))
            .where(order_buyers.c.site == site, order_buyers.c.customer_id.in_(ids))
        ):
            if row.customer_id in row.customer_ids:  # else it was the buyer's in an earlier version of the order
                heads[row.customer_id].append(_Head(row.order_id, row.placed_at))
    return heads


def _named(connection: Connection, site: str, names: set[str]) -> dict[str, list[str]]:
    named: dict[str, list[str]] = defaultdict(list)
    for part in chunks(sorted(names)):
        for row in connection.execute(
            select(orders.c.visible, orders.c.order_id).where(orders.c.site == site, orders.c.visible.in_(part))
        ):
            named[row.visible].append(row.order_id)
    return named
