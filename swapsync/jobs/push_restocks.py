"""push_restocks: brings SparkLayer's stock to what the stock ledger says (worker.md section 4, rule 6).

Inspection and damaged locations are ours alone: their levels are set to the ledger's figure, and a repeat is harmless.
But a level that arrives late must not take the place of a newer one: after a lost reply the SKU is left alone for
``outbox.GRACE``, and the level is set again then.
Sellable stock is shared with sales: its level is read, added to and written, in the same call that takes the units out
of inspection. Nothing waits between that read and the write, and what is to be written again is read again first. The
write is recorded before it is sent, and after a lost reply both levels are read before anything is sent again
(``Transfer.proof`` says what they prove).
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from swapsync.connectors.errors import (
    Busy,
    CredentialsRejected,
    InDoubt,
    LookAgain,
    Refused,
    RemoteError,
    TryLater,
)
from swapsync.connectors.sparklayer import StockLevelWrite
from swapsync.domain.catalogue import Code
from swapsync.domain.stock import Location, Proof, Transfer
from swapsync.jobs.delivery import STOP_AFTER, clear_failures, note_failures
from swapsync.jobs.restored import maybe_done
from swapsync.jobs.stock_drift import look_for_drift, watch, written_levels
from swapsync.jobs.stock_levels import PAIRS, Locations, ledger_levels, own_level, read_levels, units_waiting
from swapsync.jobs.workplace import JobError, Tally, Workplace
from swapsync.store import exceptions, outbox
from swapsync.store.db import chunks, table
from swapsync.store.events import Event, record_events
from swapsync.store.exceptions import Sighting
from swapsync.store.outbox import Kind
from swapsync.store.runs import sites
from swapsync.store.tables import StockWriteRow

stock_writes = table(StockWriteRow)


def push_restocks(place: Workplace, tally: Tally) -> None:
    """Settles doubtful writes by reading, then writes our own locations, then sellable stock."""
    if place.site.stock_path == "none":
        return
    if not place.site.push_restocks:
        tally.remarks.append("restocks are switched off for this site (push_restocks)")
        return
    try:
        _deliver(place, tally)
    except Busy as busy:
        _wait_as_told(place, busy)
        raise JobError(f"{busy}; what is left is for a later run") from busy
    look_for_drift(place, tally)


def _wait_as_told(place: Workplace, busy: Busy) -> None:
    """Nothing waits between a look at a level, or at the lease, and a write: what was not taken is due later."""
    now = place.clock.now()
    with place.writing() as connection:
        due = [
            row for kind in (Kind.STOCK_LEVEL, Kind.RESTOCK) for row in outbox.due(connection, place.slug, kind, now)
        ]
        outbox.release(connection, [row.id for row in due if row.state == "pending"], busy.retry_at or now)


def _deliver(place: Workplace, tally: Tally) -> None:
    with place.store.reading() as connection:
        now = place.clock.now()
        levels = outbox.due(connection, place.slug, Kind.STOCK_LEVEL, now)
        restocks = outbox.due(connection, place.slug, Kind.RESTOCK, now)
        doubtful = [
            row for kind in (Kind.STOCK_LEVEL, Kind.RESTOCK) for row in outbox.doubtful(connection, place.slug, kind)
        ]
    if not levels and not restocks:
        return
    ids = Locations(place)
    not_done, blocked = _settle_doubtful(place, tally, [row for row in restocks if row.state == "in_doubt"], ids)
    under_way = {row.payload["sku"] for row in doubtful if row.next_attempt_at > now}  # by whosever clock
    levels = [row for row in levels if row.payload["sku"] not in under_way]
    blocked |= under_way
    blocked |= _hold_maybe_done(place, [row for row in restocks if row.state == "pending"], ids)
    with place.store.reading() as connection:
        waiting = units_waiting(connection, place.slug)
    doubts: list[str] = []
    if levels:
        blocked |= _set_own_levels(place, tally, levels, waiting, ids, doubts)
    by_sku: dict[str, list[Row[Any]]] = defaultdict(list)
    hopeless = [row for row in not_done if outbox.is_hopeless(row, row.attempts, now)]
    never = f"it was tried {outbox.GIVE_UP_AFTER} times or more and never arrived"
    _note(place, tally, [], [(row, Refused(never, 0)) for row in hopeless])
    for row in [*not_done, *(row for row in restocks if row.state == "pending")]:
        if row.payload["sku"] not in blocked and row not in hopeless:
            by_sku[row.payload["sku"]].append(row)
    fresh = [sku for sku in sorted(by_sku) if not any(row.attempts for row in by_sku[sku])]
    alone = [[sku] for sku in sorted(by_sku) if sku not in set(fresh)]  # one of them may be why a batch got no answer
    for skus in [*chunks(fresh, PAIRS // 2), *alone]:
        if len(doubts) >= STOP_AFTER:
            break
        _add_to_sellable(place, tally, {sku: by_sku[sku] for sku in skus}, waiting, ids, doubts)
    if doubts:
        raise JobError(f"a write to stock got no answer; its SKUs are left alone until it can't arrive: {doubts[0]}")


# -- our own locations -----------------------------------------------------------------------------------------------


def _set_own_levels(
    place: Workplace,
    tally: Tally,
    rows: list[Row[Any]],
    waiting: Counter[str],
    locations: Locations,
    doubts: list[str],
) -> set[str]:
    """Sets levels; returns the SKUs of those in doubt, and adds to ``doubts`` why they are."""
    by_pair: dict[tuple[str, str], list[Row[Any]]] = defaultdict(list)
    for row in rows:
        locations.id(Location(row.payload["location"]))
        by_pair[row.payload["sku"], row.payload["location"]].append(row)
    unsure: set[tuple[str, str]] = set()

    def write(part: Sequence[tuple[tuple[str, str], StockLevelWrite]]) -> None:
        mine = [row for pair, _ in part for row in by_pair[pair]]
        place.sparklayer.get_ready()
        now = place.clock.now()
        with place.writing() as connection:
            outbox.release(connection, [row.id for row in mine if row.state == "in_doubt"], now)
            outbox.mark_in_doubt(connection, [row.id for row in mine], now)
        place.require_lease()
        try:
            place.sparklayer.set_stock([level for _, level in part])
        except InDoubt as doubt:
            unsure.update(pair for pair, _ in part)
            doubts.append(str(doubt))
            _note_doubt(place, tally, mine, str(doubt))
        except RemoteError:
            with place.writing() as connection:
                outbox.take_back(connection, mine)
            raise

    fresh = [pair for pair in sorted(by_pair) if not any(row.attempts for row in by_pair[pair])]
    alone = [[pair] for pair in sorted(by_pair) if pair not in set(fresh)]  # as of restocks
    for pairs in [*chunks(fresh, PAIRS), *alone]:
        if len(doubts) >= STOP_AFTER:
            unsure.update(pairs)
            continue
        with place.store.reading() as connection:
            ledger = ledger_levels(connection, place.slug, [sku for sku, _ in pairs])
        writes = {
            (sku, location): StockLevelWrite(
                sku, locations.external[Location(location)], own_level(ledger, waiting, sku, location)
            )
            for sku, location in pairs
        }
        refused = _isolating(list(writes.items()), write)
        failed = {pair: why for (pair, _), why in refused}
        written = [pair for pair in pairs if pair not in failed and pair not in unsure]
        with place.writing() as connection:
            watch(connection, place.slug, [(*pair, writes[pair].quantity) for pair in written], place.clock.now())
        delivered = [row for pair in written for row in by_pair[pair]]
        _note(place, tally, delivered, [(row, why) for pair, why in failed.items() for row in by_pair[pair]])
    return {sku for sku, _ in unsure}


def _note_doubt(place: Workplace, tally: Tally, rows: list[Row[Any]], reason: str) -> None:
    now = place.clock.now()
    hopeless = [row for row in rows if outbox.is_hopeless(row, row.attempts + 1, now)]
    with place.writing() as connection:
        for row in rows:
            outbox.note_doubt(connection, row.id, reason, now)
    if hopeless:
        _note(place, tally, [], [(row, Refused(reason, 0)) for row in hopeless])


# -- sellable stock --------------------------------------------------------------------------------------------------


def _add_to_sellable(
    place: Workplace,
    tally: Tally,
    by_sku: dict[str, list[Row[Any]]],
    waiting: Counter[str],
    locations: Locations,
    doubts: list[str],
) -> None:
    """Restocks these SKUs; adds to ``doubts`` why it is in doubt whether some of it arrived, if it is."""
    sellable, inspection = locations.id(Location.SELLABLE), locations.id(Location.INSPECTION)
    inspection_name = locations.external[Location.INSPECTION]
    with place.store.reading() as connection:
        ledger = ledger_levels(connection, place.slug, list(by_sku))

    unread: dict[str, Refused] = {}

    def write(wanted: Sequence[str]) -> None:
        place.sparklayer.get_ready()
        read, bad = read_levels(place, wanted, [sellable, inspection])
        unread.update(bad)
        skus = [sku for sku in wanted if sku not in unread]
        rows = [row for sku in skus for row in by_sku[sku]]
        writes: list[StockLevelWrite] = []
        ids: dict[str, int] = {}
        with place.writing() as connection:
            for sku in skus:
                standing, held = read.get((sku, sellable)), read.get((sku, inspection))
                units = sum(row.payload["quantity"] for row in by_sku[sku])
                base = standing.quantity if standing else 0
                held_after = own_level(ledger, Counter({sku: waiting[sku] - units}), sku, Location.INSPECTION)
                transfer = Transfer(base, base + units, held.quantity if held else None, held_after)
                ids[sku] = _record_write(connection, place, sku, transfer, by_sku[sku])
                writes.append(StockLevelWrite(sku, inspection_name, held_after))
                writes.append(
                    StockLevelWrite(
                        sku,
                        locations.external[Location.SELLABLE],
                        transfer.target,
                        standing.min_stock_level if standing else None,
                        standing.restock_date if standing else None,
                    )
                )
        place.require_lease()
        try:
            place.sparklayer.set_stock(writes)
        except InDoubt as doubt:
            doubts.append(str(doubt))
            with place.writing() as connection:
                for row in rows:
                    outbox.note_doubt(connection, row.id, str(doubt), place.clock.now())
            return
        except RemoteError:
            _take_back(place, rows, ids)
            raise
        taken_out = [(w.sku, Location.INSPECTION, w.quantity) for w in writes if w.location == inspection_name]
        with place.writing() as connection:
            watch(connection, place.slug, taken_out, place.clock.now())
        _note(place, tally, rows, [])

    refused = _isolating(sorted(by_sku), write)
    _note(place, tally, [], [(row, why) for sku, why in [*refused, *unread.items()] for row in by_sku[sku]])


def _record_write(
    connection: Connection,
    place: Workplace,
    sku: str,
    transfer: Transfer,
    rows: list[Row[Any]],
    state: str = "sent",
) -> int:
    write_id = int(
        connection.execute(
            insert(stock_writes)
            .values(site=place.slug, sku=sku, state=state, written_at=place.clock.now(), **asdict(transfer))
            .returning(stock_writes.c.id)
        ).scalar_one()
    )
    taken = outbox.mark_in_doubt(connection, [row.id for row in rows], place.clock.now(), write_id)
    if len(taken) != len(rows):
        raise JobError(f"another worker is restocking {sku}; it is left to it")
    return write_id


def _take_back(place: Workplace, rows: list[Row[Any]], ids: dict[str, int]) -> None:
    """Writes that provably did nothing: their effects, as they were before, are pending again."""
    with place.writing() as connection:
        outbox.take_back(connection, rows)
        for part in chunks(sorted(ids.values())):
            connection.execute(update(stock_writes).where(stock_writes.c.id.in_(part)).values(state="refused"))


def _settle_doubtful(
    place: Workplace, tally: Tally, rows: list[Row[Any]], locations: Locations
) -> tuple[list[Row[Any]], set[str]]:
    """Proves or disproves earlier writes by reading; returns what was not done, and the SKUs that stay in doubt.

    Only what provably never arrived is sent again. A store that was restored since may have forgotten that it was.
    """
    if not rows:
        return [], set()
    sellable, inspection = locations.id(Location.SELLABLE), locations.id(Location.INSPECTION)
    by_write: dict[int, list[Row[Any]]] = defaultdict(list)
    for row in rows:
        by_write[row.write_id].append(row)
    with place.store.reading() as connection:
        writes = list(connection.execute(select(stock_writes).where(stock_writes.c.id.in_(list(by_write)))))
        restored_at = connection.execute(select(sites.c.restored_at).where(sites.c.slug == place.slug)).scalar()
    unsettled = [write for write in writes if write.state == "sent"]
    blocked = {write.sku for write in writes if write.state != "sent"}
    skus = sorted({write.sku for write in unsettled})
    read, unread = read_levels(place, skus, [sellable, inspection]) if unsettled else ({}, {})
    now = place.clock.now()
    sightings = []
    not_done: list[Row[Any]] = []
    with place.writing() as connection:
        for write in unsettled:
            standing, held = read.get((write.sku, sellable)), read.get((write.sku, inspection))
            level, held_level = standing.quantity if standing else 0, held.quantity if held else None
            transfer = Transfer(write.base, write.target, write.held_before, write.held_after)
            proof = transfer.proof(level, held_level)
            forgotten = proof is Proof.NEVER_ARRIVED and restored_at and write.written_at < restored_at
            if forgotten or write.sku in unread:
                proof = Proof.UNCERTAIN
            mine = by_write[write.id]
            if proof is Proof.ARRIVED:
                outbox.mark_sent(connection, [row.id for row in mine], now)
                _tell(connection, place, mine)
                tally.sent += len(mine)
            elif proof is Proof.NEVER_ARRIVED:
                outbox.release(connection, [row.id for row in mine], now)
                not_done += mine
            else:
                blocked.add(write.sku)
                hint = _hint(transfer, level, held_level)
                sightings.append(
                    Sighting(
                        Code.RESTOCK_UNCERTAIN,
                        f"{write.sku} stood at {write.base} and was to be set to {write.target}; "
                        + str(unread.get(write.sku) or f"it stands at {level}{hint}"),
                        f"write:{write.id}",
                        mine[0].return_id,
                        sku=write.sku,
                    )
                )
            connection.execute(update(stock_writes).where(stock_writes.c.id == write.id).values(state=proof))
        exceptions.settle(connection, place.slug, [], sightings, now)
    return not_done, blocked


def _hint(transfer: Transfer, level: int, held: int | None) -> str:
    """What the level in inspection lets one suspect, for the person who counts."""
    if transfer.held_after is None or transfer.held_before == transfer.held_after:
        return ""
    if held == transfer.held_after:
        return "; the level in inspection looks as if the write arrived, and units were sold since"
    if held == transfer.held_before and level == transfer.target:
        return "; the level in inspection looks as if it never arrived, and somebody else added just as many"
    if held == transfer.held_before:
        return "; the level in inspection looks as if it never arrived"
    return ""


def _hold_maybe_done(place: Workplace, pending: list[Row[Any]], locations: Locations) -> set[str]:
    """Leaves to a person what may have been added before the store was restored; returns the SKUs that then wait."""
    with place.store.reading() as connection:
        held = maybe_done(connection, place.slug, pending)
    if not held:
        return set()
    sellable = locations.id(Location.SELLABLE)
    skus = {row.payload["sku"] for row in held}
    read, _ = read_levels(place, sorted(skus), [sellable])
    sightings = []
    with place.writing() as connection:
        for row in held:
            sku, quantity = row.payload["sku"], row.payload["quantity"]
            standing = read.get((sku, sellable))
            base = standing.quantity if standing else 0
            transfer = Transfer(base, base + quantity, None, None)
            write_id = _record_write(connection, place, sku, transfer, [row], state=Proof.UNCERTAIN)
            sightings.append(
                Sighting(
                    Code.RESTOCK_UNCERTAIN,
                    f"{quantity} x {sku} may have been added before the store was restored; look in SparkLayer and "
                    "with the warehouse whether they are counted in already",
                    f"write:{write_id}",
                    row.return_id,
                    sku=sku,
                )
            )
        exceptions.settle(connection, place.slug, [], sightings, place.clock.now())
    return skus


# -- both ------------------------------------------------------------------------------------------------------------


def _isolating(
    items: Sequence[Any], write: Callable[[Sequence[Any]], None], again: bool = True
) -> list[tuple[Any, Refused | LookAgain]]:
    """Writes a batch; one that is not taken is halved until the culprits stand alone. Returns them, with reasons.

    ``again``: what is to be looked at again is so at once; ``write`` does it.
    """
    try:
        write(items)
    except CredentialsRejected:
        raise
    except (Refused, LookAgain) as error:
        if len(items) == 1 and again and isinstance(error, LookAgain):
            return _isolating(items, write, again=False)
        if len(items) == 1:
            return [(items[0], error)]
        middle = len(items) // 2
        return _isolating(items[:middle], write) + _isolating(items[middle:], write)
    return []


def _note(
    place: Workplace, tally: Tally, delivered: list[Row[Any]], not_taken: list[tuple[Row[Any], Refused | TryLater]]
) -> None:
    now = place.clock.now()
    with place.writing() as connection:
        outbox.mark_sent(connection, [row.id for row in delivered], now)
        failed = [(row, str(why)) for row, why in not_taken if isinstance(why, Refused)]
        outbox.mark_failed(connection, [(row.id, why) for row, why in failed])
        for row, why in not_taken:
            if isinstance(why, TryLater) and not outbox.postpone(
                connection, row, str(why), now, until=why.retry_at, state="pending"
            ):
                failed.append((row, str(why)))
        tally.sent += len(delivered)
        tally.failed += len(failed)
        note_failures(connection, place, failed)
        clear_failures(connection, place, delivered)
        _tell(connection, place, delivered)


def _tell(connection: Connection, place: Workplace, delivered: Sequence[Row[Any]]) -> None:
    """Enters what was written into the audit trail: a level of ours, or both levels of a restock, before and after."""
    transfers: dict[int, Row[Any]] = {}
    for ids in chunks([row.id for row in delivered if row.kind == Kind.RESTOCK]):
        for write in connection.execute(
            select(outbox.outbox.c.id.label("effect_id"), stock_writes)
            .join(stock_writes, stock_writes.c.id == outbox.outbox.c.write_id)
            .where(outbox.outbox.c.id.in_(ids))
        ):
            transfers[write.effect_id] = write
    ours = [row for row in delivered if row.id not in transfers]
    levels = written_levels(connection, place.slug, [row.payload["sku"] for row in ours])
    told = [
        Event(
            *("sparklayer", "stock_level_set", row.target, row.return_id),
            after={"level": levels.get((row.payload["sku"], row.payload.get("location")))},
        )
        for row in ours
    ]
    told += [
        Event(
            *("sparklayer", "stock_added", row.target, row.return_id),
            before={"level": transfers[row.id].base, "inspection": transfers[row.id].held_before},
            after={"level": transfers[row.id].target, "inspection": transfers[row.id].held_after},
        )
        for row in delivered
        if row.id in transfers
    ]
    record_events(connection, place.slug, told, place.clock.now())
