"""poll_orders: stages orders that changed in SparkLayer, finds the orders that returns name, and reads their lines.

SparkLayer lists orders without lines; a detail is read only when a return waits for it, once for each revision.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select

from swapsync.connectors.errors import CredentialsRejected, Malformed, Refused
from swapsync.connectors.reading import scrub
from swapsync.connectors.sparklayer import OrderRef
from swapsync.connectors.sparklayer_reader import order_updated_at, read_customer, read_order
from swapsync.domain.catalogue import Code
from swapsync.domain.orders import Customer, Order
from swapsync.jobs.quarantine import release_readable, set_aside, unreadable
from swapsync.jobs.workplace import Tally, Workplace, order_ref
from swapsync.store import candidates, exceptions, runs, staging
from swapsync.store.exceptions import Sighting
from swapsync.store.staging import Received, received

STREAM = "sparklayer.orders"
DETAILS = "sparklayer.order_details"
CUSTOMERS = "sparklayer.customers"
PAGE = 500
WALKS = 5
BATCH = 100
RECHECKS = 20

Staged = tuple[Order, datetime, Received]


def poll_orders(place: Workplace, tally: Tally) -> None:
    """Reads what changed since the watermark, then whatever the staged returns wait for."""
    start = place.clock.now()
    with place.store.reading() as connection:
        position = runs.watermark(connection, place.slug, STREAM)
    if position is None:
        since = start - timedelta(days=place.site.history_days)
    else:
        since = position - timedelta(seconds=place.site.overlap_seconds)
    if not walk_until_quiet(place, tally, updated_since=since, watermark_limit=start):
        tally.remarks.append(
            f"the list of orders moved during all of {WALKS} walks; what was read is kept, the next run reads it again"
        )
    read_what_returns_need(place, tally)


def read_what_returns_need(place: Workplace, tally: Tally) -> None:
    """Ties returns to their orders, and reads the lines and customers that deciding on them takes."""
    _link(place)
    _look_up(place, tally)
    _link(place)  # history that names an order which was just found, before its units are given out
    _read_details(place, tally)
    _read_customers(place, tally)


# -- the list --------------------------------------------------------------------------------------------------------


def walk_until_quiet(
    place: Workplace, tally: Tally, *, watermark_limit: datetime | None = None, **bounds: datetime | None
) -> bool:
    """Walks the list of orders until it stood still, at most ``WALKS`` times; returns whether it did.

    A quiet walk moves the watermark to the newest change seen, never past ``watermark_limit``; None leaves it alone.
    ``bounds``: the filter of ``SparkLayerClient.purchases_page``.
    """
    read: set[str] = set()
    try:
        return any(_walk(place, tally, read, watermark_limit, bounds) for _ in range(WALKS))
    finally:
        tally.read += len(read)


def _walk(
    place: Workplace,
    tally: Tally,
    read: set[str],
    watermark_limit: datetime | None,
    bounds: dict[str, datetime | None],
) -> bool:
    """One walk. Each page begins with the last row of the page before: where it doesn't, the list has moved."""
    quiet, offset = True, 0
    newest: datetime | None = None
    seen: set[str] = set()
    previous = ""
    while True:
        rows = place.sparklayer.purchases_page(offset=offset, limit=PAGE, **bounds)
        last = len(rows) < PAGE
        now = place.clock.now()
        batch, malformed = _parse(rows)
        ids = [raw.remote_id for _, _, raw in batch]
        everything = [*ids, *(raw.remote_id for _, raw in malformed)]
        again = seen.intersection(everything)
        quiet = quiet and again <= {previous} and (offset == 0 or previous in again) and len(set(ids)) == len(ids)
        seen.update(everything)
        newest = max([at for _, at, _ in batch] + ([newest] if newest else []), default=None)
        last = last or again.issuperset(everything)
        with place.writing() as connection:
            tally.changed += staging.stage_orders(connection, place.slug, batch, now=now)
            set_aside(connection, place.slug, STREAM, malformed, now)
            release_readable(connection, place.slug, STREAM, ids, now)
            if last and quiet and newest and watermark_limit:
                runs.move_watermark(connection, place.slug, STREAM, min(newest, watermark_limit))
        if last:
            read |= seen
            return quiet
        previous = _name(rows[-1])
        offset += PAGE - 1


def _name(row: Any) -> str:
    staged, malformed = _parse([row])
    return staged[0][2].remote_id if staged else malformed[0][1].remote_id


def _parse(rows: Iterable[Any]) -> tuple[list[Staged], list[tuple[Sighting, Received]]]:
    staged: list[Staged] = []
    malformed = []
    for row in rows:
        try:
            order = read_order(row)
            staged.append((order, order_updated_at(row), received(order.order_id, scrub(row))))
        except Malformed as problem:
            raw = received("", scrub(row))
            name = problem.remote_id or f"content {raw.digest[:12]}"
            sighting = Sighting(
                Code.MALFORMED_RECORD,
                f"order {name} from SparkLayer can't be read: {problem.reason}",
                subject=f"{STREAM}:{name}",
            )
            malformed.append((sighting, Received(name, raw.body, raw.digest)))
    return staged, malformed


# -- orders that returns name ----------------------------------------------------------------------------------------


def _link(place: Workplace) -> None:
    with place.writing() as connection:
        staging.link_returns(connection, place.slug, place.clock.now())


def _look_up(place: Workplace, tally: Tally) -> None:
    with place.store.reading() as connection:
        unlinked = staging.unlinked_returns(connection, place.slug, recheck=RECHECKS)
    answers: dict[tuple[str, str], Staged | None] = {}
    for part in _parts(unlinked):
        found: dict[str, Staged] = {}
        missing = []
        for ret in part:
            name = (ret.order_ref, ret.order_name)
            try:
                staged = answers[name] if name in answers else _find(place, tally, *name)
            except Malformed as problem:
                _set_aside(place, problem)
                continue
            answers[name] = staged
            if staged:
                found[ret.return_id] = staged
            else:
                missing.append(ret.return_id)
        learned = _read_candidates(place, tally, missing)
        now = place.clock.now()
        with place.writing() as connection:
            unique = {staged[0].order_id: staged for staged in found.values()}
            staging.stage_order_details(connection, place.slug, list(unique.values()), now=now)
            staging.link(connection, place.slug, {rid: staged[0].order_id for rid, staged in found.items()}, now)
            staging.note_look_up(connection, place.slug, missing, now)
            staging.mark_dirty(connection, place.slug, staging.returns.c.return_id.in_(learned))


def _read_candidates(place: Workplace, tally: Tally, orphans: list[str]) -> list[str]:
    """Reads the customers of orphans, and the lines of the orders that these may be of: a bounded number for each.

    It comes before the look-up is noted, so that an orphan is decided with what it takes to suggest its order. Returns
    the orphans of which more is known than before.
    """
    with place.store.reading() as connection:
        wanted = candidates.orphans(connection, place.slug, orphans)
        lookups = candidates.customer_look_ups(connection, place.slug, wanted)
    _stage_customers(place, tally, lookups)
    with place.store.reading() as connection:
        found = candidates.candidates_of(connection, place.slug, wanted)
        unread = candidates.details_to_read(
            connection, place.slug, (order_id for each in found.values() for order_id in each.order_ids)
        )
    _stage_details(place, tally, unread)
    new = {order_id for order_id, _, _ in unread}
    return [return_id for return_id, each in found.items() if new.intersection(each.order_ids)]


def _find(place: Workplace, tally: Tally, platform_id: str, order_name: str) -> Staged | None:
    """The order by its platform id, else by its visible name; None when SparkLayer has neither."""
    for lookup_by, identifier in (("platform", platform_id), ("visible", order_name)):
        if identifier and (staged := _read_purchase(place, tally, OrderRef(lookup_by, identifier))):
            return staged
    return None


def _read_details(place: Workplace, tally: Tally) -> None:
    with place.store.reading() as connection:
        wanted = staging.orders_to_read(connection, place.slug)
    _stage_details(place, tally, wanted)


def _stage_details(place: Workplace, tally: Tally, wanted: list[tuple[str, str, str]]) -> None:
    for part in _parts(wanted):
        batch, gone, unreadable = [], [], []
        for order_id, platform_id, visible in part:
            try:
                staged = _read_purchase(place, tally, order_ref(order_id, platform_id, visible))
            except Malformed as problem:
                _set_aside(place, problem)
                unreadable.append(order_id)
                continue
            if staged is not None and staged[0].order_id == order_id:
                batch.append(staged)
            else:
                gone.append(order_id)
        now = place.clock.now()
        with place.writing() as connection:
            staging.stage_order_details(connection, place.slug, batch, now=now)
            release_readable(connection, place.slug, DETAILS, [order.order_id for order, _, _ in batch], now)
            for order_id in gone:
                staging.forget_order(connection, place.slug, order_id, now=now)
            for order_id in unreadable:
                staging.note_unreadable(connection, place.slug, order_id)


def _read_purchase(place: Workplace, tally: Tally, ref: OrderRef) -> Staged | None:
    """One order with its lines; None when there is none, and for a cart or a quote. Raises Malformed."""
    row = place.sparklayer.purchase(ref.lookup_by, ref.identifier)
    tally.read += 1
    if row is None:
        return None
    order = read_order(row)
    if not (order.type or "order").startswith("order"):
        return None
    return order, order_updated_at(row), received(order.order_id, scrub(row))


def _set_aside(place: Workplace, problem: Malformed) -> None:
    name = problem.remote_id or "without an id"
    sighting = Sighting(
        Code.MALFORMED_RECORD,
        f"order {name} from SparkLayer can't be read: {problem.reason}",
        subject=f"{DETAILS}:{name}",
    )
    with place.writing() as connection:
        raw = received(name, {"problem": problem.reason})
        set_aside(connection, place.slug, DETAILS, [(sighting, raw)], place.clock.now())


# -- buyers ----------------------------------------------------------------------------------------------------------


def _read_customers(place: Workplace, tally: Tally) -> None:
    asked: set[str] = set()
    while True:
        with place.writing() as connection:
            wanted = [each for each in staging.customers_to_read(connection, place.slug) if each not in asked]
            if not wanted:
                staging.note_buyers_checked(connection, place.slug)
                break
        asked.update(wanted)
        for part in _parts(wanted):
            _stage_customers(place, tally, part)
    with place.store.reading() as connection:
        doubtful = _lookups_of_mismatches(connection, place.slug)
        known = staging.read_customers(connection, place.slug, doubtful)
    changed = [lookup for lookup, now in _stage_customers(place, tally, doubtful).items() if now != known.get(lookup)]
    if changed:
        with place.writing() as connection:
            ids = [row.return_id for row in exceptions.open_of_code(connection, place.slug, Code.CUSTOMER_MISMATCH)]
            staging.mark_dirty(connection, place.slug, staging.returns.c.return_id.in_(ids))


def _stage_customers(place: Workplace, tally: Tally, lookups: Iterable[str]) -> dict[str, Customer]:
    """Asks for customers and keeps the answers; of one that can't be read, nothing is concluded."""
    answers: dict[str, Customer | None] = {}
    malformed: list[tuple[Sighting, Received]] = []
    for lookup in lookups:
        by, identifier = lookup.split(":", 1)
        try:
            row = place.sparklayer.customer("email" if by == "email" else "sparklayer", identifier)
        except CredentialsRejected:
            raise
        except Refused as refusal:
            tally.remarks.append(
                f"customer {identifier} can't be read, nothing is concluded about the buyer: {refusal}"
            )
            continue
        try:
            answers[lookup] = read_customer(row) if row is not None else None
        except Malformed as problem:
            malformed.append(unreadable(CUSTOMERS, lookup, f"customer {identifier} from SparkLayer", problem, row))
        tally.read += 1
    with place.writing() as connection:
        now = place.clock.now()
        staging.stage_customers(connection, place.slug, answers, now)
        set_aside(connection, place.slug, CUSTOMERS, malformed, now)
        release_readable(connection, place.slug, CUSTOMERS, answers, now)
    return {lookup: customer or Customer("", "") for lookup, customer in answers.items()}


def _lookups_of_mismatches(connection: Connection, site: str) -> list[str]:
    """The customers behind open mismatches, those longest unread first: they may have been corrected meanwhile."""
    ids = [row.return_id for row in exceptions.open_of_code(connection, site, Code.CUSTOMER_MISMATCH)]
    lookups = set()
    for row in connection.execute(
        select(staging.returns.c.customer_email, staging.orders.c.customer_ids)
        .join(
            staging.orders,
            (staging.orders.c.site == staging.returns.c.site)
            & (staging.orders.c.order_id == staging.returns.c.order_id),
        )
        .where(staging.returns.c.site == site, staging.returns.c.return_id.in_(ids[:500]))
    ):
        lookups |= {f"id:{i}" for i in row.customer_ids} | {f"email:{row.customer_email.casefold()}"}
    c = staging.customers.c
    rows = connection.execute(
        select(c.lookup).where(c.site == site, c.lookup.in_(lookups)).order_by(c.checked_at).limit(RECHECKS)
    )
    return list(rows.scalars())


def _parts(items: list[Any]) -> Iterable[list[Any]]:
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))
