"""compare: holds our credit notes against the transactions that stand on their orders in SparkLayer.

A credit note and a transaction that do not agree open ``CREDIT_MISALIGNED``; it closes by itself when they do.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, case, exists, func, or_, select

from swapsync.clock import Clock
from swapsync.connectors.errors import CredentialsRejected, NotFound, RemoteError, Unreachable
from swapsync.connectors.reading import shown
from swapsync.connectors.sparklayer import OrderRef
from swapsync.domain import money
from swapsync.domain.catalogue import Code
from swapsync.domain.facts import Route, method_key
from swapsync.domain.returns import ReturnStatus
from swapsync.jobs.cycle import JOBS, RunRecord, at_each_site, run_job
from swapsync.jobs.delivery import STOP_AFTER
from swapsync.jobs.plan import Plan, add_plan
from swapsync.jobs.stock_drift import look_for_drift
from swapsync.jobs.transactions import Transaction, read_transaction
from swapsync.jobs.workplace import JobError, Tally, Workplace, order_ref
from swapsync.settings import SiteSettings
from swapsync.store import exceptions
from swapsync.store.cases import credit_notes
from swapsync.store.db import Store, chunks
from swapsync.store.exceptions import Sighting
from swapsync.store.outbox import Kind, outbox
from swapsync.store.staging import orders, returns

BEFORE = ("poll_returns", "poll_orders", "poll_skus", "reconcile")
BATCH = 50
OUR_PREFIX = "swap:"
SUBJECT = "ledger:"

Watch = Callable[[str, str, int, int], None]
"""Told how far a site has come: site, job, orders compared, orders to compare (0 while that is not known)."""


@dataclass(frozen=True, slots=True)
class Period:
    """From ``since`` on, up to but not including ``until``; aware moments."""

    since: datetime
    until: datetime

    def covers(self, moment: ColumnElement[Any]) -> ColumnElement[bool]:
        """The condition that a stored moment lies in the period."""
        return and_(moment >= self.since, moment < self.until)


CLOSED_AT = func.coalesce(returns.c.closed_at, case((returns.c.status == ReturnStatus.CLOSED, returns.c.updated_at)))
"""When a return was closed; where Swap gives no date, when it last changed."""


def in_period(period: Period) -> ColumnElement[bool]:
    """The condition that a return was submitted, closed or credited in the period."""
    credited = exists().where(
        credit_notes.c.site == returns.c.site,
        credit_notes.c.return_id == returns.c.return_id,
        period.covers(credit_notes.c.issued_at),
    )
    return or_(period.covers(returns.c.submitted_at), period.covers(CLOSED_AT), credited)


@dataclass(frozen=True, slots=True)
class Target:
    """An order to look at: our id, the name that people quote, and how SparkLayer is asked for it."""

    order_id: str
    name: str
    ref: OrderRef


def reconcile_sites(
    sites: Sequence[SiteSettings], store: Store, clock: Clock, period: Period, watch: Watch
) -> list[Plan]:
    """Reads both systems, decides, and compares, for several sites side by side. Nothing is written outside.

    What was decided on the way is delivered by the next cycle; on a copy of the store, that is planned.
    """

    def one(place: Workplace) -> Plan:
        report = Plan(place.slug, [])
        report.runs += _run_jobs(place, period, watch)
        if store.is_copy:
            add_plan(place, report)
        return report

    return at_each_site(sites, store, clock, one)


def _run_jobs(place: Workplace, period: Period, watch: Watch) -> Iterator[RunRecord]:
    for name in BEFORE:
        if place.stopping.is_set():
            return
        watch(place.slug, name, 0, 0)
        yield run_job(place, name, JOBS[name])

    def compare_all(desk: Workplace, tally: Tally) -> None:
        compare(desk, tally, period, watch)
        look_for_drift(desk, tally, at_all=True)

    yield run_job(place, "compare", compare_all)


def compare(place: Workplace, tally: Tally, period: Period, watch: Watch) -> None:
    """Compares the orders with credits in the period, and every other pay-later order with a return in it.

    Orders of standing differences are looked at too, whatever their period, so that these close. One request an
    order. Raises JobError when an order could not be read, after the others; RemoteError when SparkLayer is down.
    """
    with place.store.reading() as connection:
        targets = _targets(connection, place, period)
    unread: list[str] = []
    in_a_row = 0
    for part in chunks(targets, BATCH):
        with place.store.reading() as connection:
            before = _notes(connection, place.slug, [target.order_id for target in part])
        standing: dict[Target, list[Transaction] | None] = {}
        try:
            for target in part:
                watch(place.slug, "compare", tally.read, len(targets))
                try:
                    standing[target] = [read_transaction(row) for row in place.sparklayer.transactions(target.ref)]
                except NotFound:
                    standing[target] = None
                except RemoteError as error:
                    in_a_row += 1
                    if isinstance(error, Unreachable | CredentialsRejected) or in_a_row == STOP_AFTER:
                        raise
                    unread.append(f"order {target.name}: {error}")
                    continue
                in_a_row = 0
                tally.read += 1
        finally:
            tally.changed += _settle(place, standing, before)
    watch(place.slug, "compare", tally.read, len(targets))
    if unread:
        raise JobError(f"{len(unread)} of {len(targets)} orders could not be compared; {unread[0]}")


# -- which orders ----------------------------------------------------------------------------------------------------


def _targets(connection: Connection, place: Workplace, period: Period) -> list[Target]:
    site = place.slug
    misaligned = exceptions.open_of_code(connection, site, Code.CREDIT_MISALIGNED)
    platform_ids = {row.subject.removeprefix(SUBJECT) for row in misaligned}
    credited = {
        row.order_id: row
        for condition in (
            period.covers(credit_notes.c.issued_at),
            *(credit_notes.c.platform_id.in_(part) for part in chunks(sorted(platform_ids))),
        )
        for row in connection.execute(
            select(credit_notes.c.order_id, outbox.c.payload, outbox.c.target)
            .join(
                outbox,
                and_(
                    outbox.c.site == credit_notes.c.site,
                    outbox.c.kind == Kind.CREDIT,
                    outbox.c.effect_key == credit_notes.c.platform_id,
                ),
            )
            .where(credit_notes.c.site == site, condition)
        )
    }
    of_period = connection.execute(
        select(returns.c.order_id)
        .where(returns.c.site == site, returns.c.order_id != "", ~returns.c.settled_outside, in_period(period))
        .distinct()
    ).scalars()
    strays = {row.subject.rpartition("@")[2] for row in misaligned if "@" in row.subject}
    routes = place.policy(connection).routes
    targets: dict[str, Target] = {}
    for ids in chunks(sorted({*credited, *of_period, *strays})):
        for row in connection.execute(select(orders).where(orders.c.site == site, orders.c.order_id.in_(ids))):
            route = routes.get(method_key(row.payment_method))
            if route is Route.CREDIT_NOTE or row.order_id in credited or row.order_id in strays:
                ref = order_ref(row.order_id, row.platform_id, row.visible)
                targets[row.order_id] = Target(row.order_id, row.visible or row.order_id, ref)
    for order_id, row in credited.items():
        if order_id not in targets:  # SparkLayer had it once; ask by the name under which the credit was sent
            ref = OrderRef(**row.payload["order"])
            targets[order_id] = Target(order_id, row.target.removeprefix("order "), ref)
    return [targets[order_id] for order_id in sorted(targets)]


def _notes(connection: Connection, site: str, order_ids: Sequence[str]) -> dict[str, Row[Any]]:
    """All credit notes of these orders, whenever they were issued, by platform id.

    ``void``: how far the void of a credit note is with its delivery, None where there is none.
    """
    void = credit_notes.alias()
    its_void = (
        select(void.c.state)
        .where(void.c.site == credit_notes.c.site, void.c.voids == credit_notes.c.number)
        .scalar_subquery()
        .label("void")
    )
    return {
        row.platform_id: row
        for row in connection.execute(
            select(credit_notes, returns.c.rma_number, its_void)
            .outerjoin(
                returns, and_(returns.c.site == credit_notes.c.site, returns.c.return_id == credit_notes.c.return_id)
            )
            .where(credit_notes.c.site == site, credit_notes.c.order_id.in_(order_ids))
            .order_by(credit_notes.c.number)
        )
    }


# -- what differs ----------------------------------------------------------------------------------------------------


def _settle(
    place: Workplace, standing: Mapping[Target, list[Transaction] | None], before: Mapping[str, Row[Any]]
) -> int:
    """Opens and closes exceptions for the orders that were read; returns how many."""
    order_ids = {target.order_id for target in standing}
    with place.writing() as connection:
        after = _notes(connection, place.slug, sorted(order_ids))
        # what was delivered while we read has no sure answer: it is left to the next comparison
        steady = {
            platform_id: note
            for platform_id, note in after.items()
            if platform_id in before
            and (before[platform_id].state, before[platform_id].void) == (note.state, note.void)
            and note.order_id in order_ids
        }
        notes_of = defaultdict(list)
        for note in steady.values():
            notes_of[note.order_id].append(note)
        rma_numbers = _rma_numbers(connection, place.slug, sorted(order_ids))
        sightings = [
            sighting
            for target, transactions in standing.items()
            for sighting in (
                *_wrong_notes(target, notes_of[target.order_id], transactions),
                *_strays(target, after, transactions or (), rma_numbers),
            )
        ]
        looked_at = [
            row
            for row in exceptions.open_of_code(connection, place.slug, Code.CREDIT_MISALIGNED)
            if row.subject.removeprefix(SUBJECT) in steady or row.subject.rpartition("@")[2] in order_ids
        ]
        unsettled = exceptions.unruled(connection, place.slug, sightings)
        stands = {each.platform_id: each.written for transactions in standing.values() for each in transactions or ()}
        evidence = {
            exceptions.key_of(row): f"SparkLayer shows {platform_id} of {stands[platform_id]}, as the credit note says"
            if platform_id in stands
            else f"SparkLayer does not show {platform_id} any more"
            for row in looked_at
            for platform_id in (row.subject.removeprefix(SUBJECT).partition("@")[0],)
        }
        return exceptions.settle(connection, place.slug, looked_at, unsettled, place.clock.now(), evidence=evidence)


def _rma_numbers(connection: Connection, site: str, order_ids: Sequence[str]) -> dict[tuple[str, str], str]:
    """RMA number by order id and return id."""
    rows = connection.execute(
        select(returns.c.order_id, returns.c.return_id, returns.c.rma_number).where(
            returns.c.site == site, returns.c.order_id.in_(order_ids)
        )
    )
    return {(row.order_id, row.return_id): row.rma_number for row in rows}


def _wrong_notes(
    target: Target, notes: Iterable[Row[Any]], transactions: Sequence[Transaction] | None
) -> Iterator[Sighting]:
    for note in notes:
        fault = _fault(note, transactions)
        if fault:
            gross = money.to_text(note.net + note.tax, note.currency)
            yield Sighting(
                Code.CREDIT_MISALIGNED,
                f"credit note {note.number} of {gross} {note.currency} on order {target.name}, transaction "
                f"{note.platform_id}: {fault}",
                f"{SUBJECT}{note.platform_id}",
                note.return_id,
                note.rma_number or "",
                target.name,
            )


def _fault(note: Row[Any], transactions: Sequence[Transaction] | None) -> str:
    """What is wrong between a credit note and SparkLayer, blank if nothing is; None: the order is gone."""
    if note.state == "pending" or note.void in ("pending", "failed"):
        return ""
    found = [each for each in transactions or () if each.platform_id == note.platform_id]
    stands = note.state == "delivered" or note.void is not None
    if not stands:
        return f"it stands in SparkLayer, and here the credit note is {note.state}" if found else ""
    if transactions is None:
        return "SparkLayer no longer has the order"
    if len(found) != 1:
        return f"it stands in SparkLayer {len(found)} times" if found else "it is missing in SparkLayer"
    gross = note.net + note.tax
    total = money.to_text(gross if note.kind == "void" else -gross, note.currency)
    counts = note.kind == "credit" and note.void is None
    faults = []
    if found[0].total != Decimal(total):
        faults.append(f"its total in SparkLayer is {found[0].written} instead of {total}")
    if found[0].currency not in ("", note.currency.upper()):
        faults.append(f"in SparkLayer it is in {found[0].currency}")
    if found[0].credit_note not in ("", note.number):
        faults.append(f"in SparkLayer it is credit note {shown(found[0].credit_note)}")
    if found[0].applied != counts:
        faults.append(f"in SparkLayer it {'does not count' if counts else 'counts'} towards the customer's balance")
    return "; ".join(faults)


def _strays(
    target: Target,
    known: Mapping[str, Row[Any]],
    transactions: Iterable[Transaction],
    rma_numbers: Mapping[tuple[str, str], str],
) -> Iterator[Sighting]:
    """Transactions that bear our prefix and that our ledger has no credit note for on this order."""
    for transaction in transactions:
        platform_id = transaction.platform_id
        note = known.get(platform_id)
        if platform_id.startswith(OUR_PREFIX) and (note is None or note.order_id != target.order_id):
            return_id = platform_id.removeprefix(OUR_PREFIX).rsplit(":", 2)[0]
            rma_number = rma_numbers.get((target.order_id, return_id))
            yield Sighting(
                Code.CREDIT_MISALIGNED,
                f"transaction {platform_id} on order {target.name}, total {transaction.written}: no credit note here "
                "belongs to it; another or a restored deployment may have written it",
                f"{SUBJECT}{platform_id}@{target.order_id}",
                return_id if rma_number is not None else "",
                rma_number or "",
                target.name,
            )
