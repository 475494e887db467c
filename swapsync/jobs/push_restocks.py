"""push_restocks: brings SparkLayer's stock to what the stock ledger says (worker.md section 4, rule 6).

Inspection and damaged locations are ours alone: their levels are set to the ledger's figure, and a repeat is harmless.
Sellable stock is shared with sales: its level is read, added to and written; the write is recorded before it is sent,
and after a lost reply the level is read before anything is sent again.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from swapsync.connectors.errors import CredentialsRejected, InDoubt, Refused, RemoteError
from swapsync.connectors.sparklayer import StockLevel, StockLevelWrite
from swapsync.domain.catalogue import Code
from swapsync.domain.stock import Location
from swapsync.jobs.delivery import clear_failures, note_failures
from swapsync.jobs.workplace import JobError, Tally, Workplace
from swapsync.store import exceptions, outbox
from swapsync.store.cases import movements
from swapsync.store.db import chunks, table
from swapsync.store.exceptions import Sighting
from swapsync.store.outbox import Kind
from swapsync.store.tables import StockWriteRow

stock_writes = table(StockWriteRow)
PAIRS = 500


def push_restocks(place: Workplace, tally: Tally) -> None:
    """Settles doubtful writes by reading, then writes our own locations, then sellable stock."""
    if place.site.stock_path == "none":
        return
    if not place.site.push_restocks:
        tally.remarks.append("restocks are switched off for this site (push_restocks)")
        return
    with place.store.reading() as connection:
        now = place.clock.now()
        levels = outbox.due(connection, place.slug, Kind.STOCK_LEVEL, now, 100_000)
        restocks = outbox.due(connection, place.slug, Kind.RESTOCK, now, 100_000)
    if not levels and not restocks:
        return
    ids = _Locations(place)
    if levels:
        _set_own_levels(place, tally, levels, ids)
    not_done, blocked = _settle_doubtful(place, tally, [row for row in restocks if row.state == "in_doubt"], ids)
    by_sku: dict[str, list[Row[Any]]] = defaultdict(list)
    for row in [*not_done, *(row for row in restocks if row.state == "pending")]:
        if row.payload["sku"] not in blocked:
            by_sku[row.payload["sku"]].append(row)
    for skus in chunks(sorted(by_sku), PAIRS):
        _add_to_sellable(place, tally, {sku: by_sku[sku] for sku in skus}, ids)


class _Locations:
    """SparkLayer's ids of the site's stock locations. Raises JobError for one that isn't there."""

    def __init__(self, place: Workplace) -> None:
        self.external = place.locations
        self._ids = place.sparklayer.stock_locations()

    def id(self, location: Location) -> str:
        name = self.external[location]
        if name not in self._ids:
            raise JobError(
                f"SparkLayer has no stock location {name!r}: create it, or set SWAPSYNC_{location.upper()}_LOCATION"
            )
        return self._ids[name]


# -- our own locations -----------------------------------------------------------------------------------------------


def _set_own_levels(place: Workplace, tally: Tally, rows: list[Row[Any]], locations: _Locations) -> None:
    by_pair: dict[tuple[str, str], list[Row[Any]]] = defaultdict(list)
    for row in rows:
        locations.id(Location(row.payload["location"]))
        by_pair[row.payload["sku"], row.payload["location"]].append(row)
    for pairs in chunks(sorted(by_pair), PAIRS):
        with place.store.reading() as connection:
            ledger = ledger_levels(connection, place.slug, [sku for sku, _ in pairs])
        writes = {pair: StockLevelWrite(pair[0], locations.external[Location(pair[1])], ledger[pair]) for pair in pairs}
        refused = _isolating(list(writes.items()), lambda part: _set_levels(place, part))
        failed = {pair: why for (pair, _), why in refused}
        delivered = [row for pair in pairs if pair not in failed for row in by_pair[pair]]
        _note(place, tally, delivered, [(row, why) for pair, why in failed.items() for row in by_pair[pair]])


def _set_levels(place: Workplace, writes: Sequence[tuple[Any, StockLevelWrite]]) -> None:
    place.require_lease()
    place.sparklayer.set_stock([write for _, write in writes], repeatable=True)


def ledger_levels(connection: Connection, site: str, skus: Sequence[str]) -> Counter[tuple[str, str]]:
    """Units by (SKU, location) as the movements add up, for the given SKUs."""
    levels: Counter[tuple[str, str]] = Counter()
    m = movements.c
    for location, sign in ((m.to_location, 1), (m.from_location, -1)):
        for part in chunks(sorted(set(skus))):
            for row in connection.execute(
                select(m.sku, location.label("location"), func.sum(m.quantity).label("units"))
                .where(m.site == site, m.sku.in_(part))
                .group_by(m.sku, location)
            ):
                levels[row.sku, row.location] += sign * int(row.units)
    return levels


# -- sellable stock --------------------------------------------------------------------------------------------------


def _add_to_sellable(place: Workplace, tally: Tally, by_sku: dict[str, list[Row[Any]]], locations: _Locations) -> None:
    location_id = locations.id(Location.SELLABLE)
    read = place.sparklayer.stock_levels(sorted(by_sku), [location_id])

    def write(skus: Sequence[str]) -> None:
        writes: list[StockLevelWrite] = []
        ids: dict[str, int] = {}
        with place.writing() as connection:
            for sku in skus:
                write_id, target = _record_write(connection, place, sku, read.get((sku, location_id)), by_sku[sku])
                ids[sku] = write_id
                standing = read.get((sku, location_id))
                writes.append(
                    StockLevelWrite(
                        sku,
                        locations.external[Location.SELLABLE],
                        target,
                        standing.min_stock_level if standing else None,
                        standing.restock_date if standing else None,
                    )
                )
        place.require_lease()
        try:
            place.sparklayer.set_stock(writes, repeatable=False)
        except InDoubt:
            raise
        except RemoteError:
            _take_back(place, ids)
            raise
        _note(place, tally, [row for sku in skus for row in by_sku[sku]], [])

    try:
        refused = _isolating(sorted(by_sku), write)
    except InDoubt as doubt:
        raise JobError(
            f"a write to sellable stock got no answer; the next run reads before it writes: {doubt}"
        ) from doubt
    _note(place, tally, [], [(row, why) for sku, why in refused for row in by_sku[sku]])


def _record_write(
    connection: Connection, place: Workplace, sku: str, standing: StockLevel | None, rows: list[Row[Any]]
) -> tuple[int, int]:
    base = standing.quantity if standing else 0
    target = base + sum(row.payload["quantity"] for row in rows)
    write_id = int(
        connection.execute(
            insert(stock_writes)
            .values(site=place.slug, sku=sku, base=base, target=target, state="sent", written_at=place.clock.now())
            .returning(stock_writes.c.id)
        ).scalar_one()
    )
    taken = outbox.mark_in_doubt(connection, [row.id for row in rows], write_id)
    if len(taken) != len(rows):
        raise JobError(f"another worker is restocking {sku}; it is left to it")
    return write_id, target


def _take_back(place: Workplace, ids: dict[str, int]) -> None:
    """A write that provably did nothing: its effects are pending again."""
    with place.writing() as connection:
        for part in chunks(sorted(ids.values())):
            rows = connection.execute(select(outbox.outbox.c.id).where(outbox.outbox.c.write_id.in_(part))).scalars()
            outbox.release(connection, list(rows))
            connection.execute(update(stock_writes).where(stock_writes.c.id.in_(part)).values(state="refused"))


def _settle_doubtful(
    place: Workplace, tally: Tally, rows: list[Row[Any]], locations: _Locations
) -> tuple[list[Row[Any]], set[str]]:
    """Proves or disproves earlier writes by reading; returns what was not done, and the SKUs that stay in doubt.

    The level that was to be written: it arrived. The level from before: it did not. Any other: nobody can tell.
    """
    if not rows:
        return [], set()
    location_id = locations.id(Location.SELLABLE)
    by_write: dict[int, list[Row[Any]]] = defaultdict(list)
    for row in rows:
        by_write[row.write_id].append(row)
    with place.store.reading() as connection:
        writes = list(connection.execute(select(stock_writes).where(stock_writes.c.id.in_(list(by_write)))))
    unsettled = [write for write in writes if write.state == "sent"]
    blocked = {write.sku for write in writes if write.state != "sent"}
    read = place.sparklayer.stock_levels(sorted({w.sku for w in unsettled}), [location_id]) if unsettled else {}
    now = place.clock.now()
    sightings = []
    not_done: list[Row[Any]] = []
    with place.writing() as connection:
        for write in unsettled:
            standing = read.get((write.sku, location_id))
            level = standing.quantity if standing else 0
            mine = by_write[write.id]
            if level == write.target:
                state = "proved"
                outbox.mark_sent(connection, [row.id for row in mine], now)
                tally.sent += len(mine)
            elif level == write.base:
                state = "disproved"
                outbox.release(connection, [row.id for row in mine])
                not_done += mine
            else:
                state = "uncertain"
                blocked.add(write.sku)
                sightings.append(
                    Sighting(
                        Code.RESTOCK_UNCERTAIN,
                        f"{write.sku} stood at {write.base} and was to be set to {write.target}; it stands at {level}",
                        f"write:{write.id}",
                        mine[0].return_id,
                        sku=write.sku,
                    )
                )
            connection.execute(update(stock_writes).where(stock_writes.c.id == write.id).values(state=state))
        exceptions.settle(connection, place.slug, [], sightings, now)
    return not_done, blocked


# -- both ------------------------------------------------------------------------------------------------------------


def _isolating(items: Sequence[Any], write: Callable[[Sequence[Any]], None]) -> list[tuple[Any, str]]:
    """Writes a batch; one that is refused is halved until the culprits stand alone. Returns them, with the reasons."""
    try:
        write(items)
    except CredentialsRejected:
        raise
    except Refused as error:
        if len(items) == 1:
            return [(items[0], str(error))]
        middle = len(items) // 2
        return _isolating(items[:middle], write) + _isolating(items[middle:], write)
    return []


def _note(place: Workplace, tally: Tally, delivered: list[Row[Any]], failed: list[tuple[Row[Any], str]]) -> None:
    tally.sent += len(delivered)
    tally.failed += len(failed)
    with place.writing() as connection:
        outbox.mark_sent(connection, [row.id for row in delivered], place.clock.now())
        outbox.mark_failed(connection, [(row.id, why) for row, why in failed])
        note_failures(connection, place, failed)
        clear_failures(connection, place, delivered)
