"""Drift of our own stock locations: what SparkLayer shows there, held against our ledger.

Only pairs of SKU and location are looked at that were written and are not empty, or were emptied since the last look:
each once a day, or all of them at once when the two systems are compared. The cost follows what stands there and what
changed, never the history.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from swapsync.domain.catalogue import Code
from swapsync.domain.stock import ADJUSTED, Location
from swapsync.jobs.stock_levels import (
    PAIRS,
    Locations,
    ledger_levels,
    level_effect,
    own_level,
    read_levels,
    units_waiting,
)
from swapsync.jobs.workplace import Tally, Workplace
from swapsync.store import exceptions
from swapsync.store.cases import movements
from swapsync.store.db import chunks, table, upsert
from swapsync.store.events import Event, record_events
from swapsync.store.exceptions import Sighting
from swapsync.store.outbox import Kind, enqueue, is_open, outbox
from swapsync.store.tables import OwnLevelRow

own_levels = table(OwnLevelRow)
LOOK_EVERY = timedelta(days=1)
PAIRS_A_RUN = 5_000
NAMED = 20
"""So many SKUs one remark names."""

Pair = tuple[str, str]


class DriftChanged(ValueError):
    """The levels are no longer what the person read; the message says what they are."""


def watch(connection: Connection, site: str, levels: Iterable[tuple[str, str, int]], now: datetime) -> None:
    """Remembers (SKU, location, level) as we wrote or read them, to be looked at in a day."""
    upsert(
        connection,
        OwnLevelRow,
        [
            {"site": site, "sku": sku, "location": location, "level": level, "look_at": now + LOOK_EVERY}
            for sku, location, level in levels
        ],
    )


def written_levels(connection: Connection, site: str, skus: Sequence[str]) -> dict[Pair, int]:
    """The levels of these SKUs at our own locations, as they were last written or read."""
    c = own_levels.c
    return {
        (row.sku, row.location): row.level
        for part in chunks(sorted(set(skus)))
        for row in connection.execute(select(c.sku, c.location, c.level).where(c.site == site, c.sku.in_(part)))
    }


def look_for_drift(place: Workplace, tally: Tally, *, at_all: bool = False) -> None:
    """Reads the levels that are due (``at_all``: every one we watch), and opens and closes RESTOCK_DRIFT.

    What differs is looked at in every run until it agrees. A pair on which something is under way is left out; one that
    can't be read is named, and looked at again in a day.
    """
    if place.site.stock_path == "none" or not place.site.push_restocks:
        return
    with place.store.reading() as connection:
        pairs = _pairs_to_look_at(connection, place.slug, None if at_all else place.clock.now())
    if not pairs:
        return
    locations = Locations(place)
    for part in chunks(pairs, PAIRS):
        skus = sorted({sku for sku, _ in part})
        with place.store.reading() as connection:
            before = expected_levels(connection, place.slug, part)
            moving = _moving(connection, place.slug)
        ids = {location: locations.id(Location(location)) for location in {location for _, location in part}}
        read, unread = read_levels(place, skus, sorted(ids.values()))
        tally.read += len(part)
        shown = {
            (sku, location): level.quantity if (level := read.get((sku, ids[location]))) else 0
            for sku, location in part
            if sku not in unread
        }
        with place.writing() as connection:
            after = expected_levels(connection, place.slug, part)
            steady = {
                pair: level for pair, level in shown.items() if pair not in moving and before[pair] == after[pair]
            }
            _settle(connection, place, steady, after)
            _put_off(connection, place, unread)
        if unread:
            tally.remarks.append(
                f"the levels of {len(unread)} SKUs can't be read, so they are not held against our ledger today: "
                f"{', '.join(sorted(unread)[:NAMED])}{' and more' if len(unread) > NAMED else ''}"
            )


def _pairs_to_look_at(connection: Connection, site: str, due_at: datetime | None) -> list[Pair]:
    statement = select(own_levels.c.sku, own_levels.c.location).where(own_levels.c.site == site)
    if due_at is not None:
        statement = statement.where(own_levels.c.look_at <= due_at).order_by(own_levels.c.look_at).limit(PAIRS_A_RUN)
    watched = {(row.sku, row.location) for row in connection.execute(statement)}
    return sorted(watched | {pair_of(row) for row in exceptions.open_of_code(connection, site, Code.RESTOCK_DRIFT)})


def expected_levels(connection: Connection, site: str, pairs: Sequence[Pair]) -> dict[Pair, int]:
    """What our own locations should show for these pairs."""
    ledger = ledger_levels(connection, site, [sku for sku, _ in pairs])
    waiting = units_waiting(connection, site)
    return {(sku, location): own_level(ledger, waiting, sku, location) for sku, location in pairs}


def _moving(connection: Connection, site: str) -> set[Pair]:
    """Pairs that a write is still to change."""
    rows = connection.execute(
        select(outbox.c.kind, outbox.c.payload).where(
            outbox.c.site == site, outbox.c.kind.in_((Kind.STOCK_LEVEL, Kind.RESTOCK)), is_open(outbox)
        )
    )
    return {
        (row.payload["sku"], row.payload["location"] if row.kind == Kind.STOCK_LEVEL else Location.INSPECTION)
        for row in rows
    }


def _put_off(connection: Connection, place: Workplace, skus: Iterable[str]) -> None:
    c = own_levels.c
    for part in chunks(sorted(skus)):
        connection.execute(
            update(own_levels)
            .where(c.site == place.slug, c.sku.in_(part))
            .values(look_at=place.clock.now() + LOOK_EVERY)
        )


def _settle(connection: Connection, place: Workplace, shown: dict[Pair, int], expected: dict[Pair, int]) -> None:
    now = place.clock.now()
    differ = [pair for pair, level in shown.items() if level != expected[pair]]
    subjects = {_subject(pair) for pair in shown}
    standing = [
        row for row in exceptions.open_of_code(connection, place.slug, Code.RESTOCK_DRIFT) if row.subject in subjects
    ]
    sightings = [
        Sighting(Code.RESTOCK_DRIFT, detail(pair, expected[pair], shown[pair]), _subject(pair), sku=pair[0])
        for pair in differ
    ]
    agreed = {_subject(pair): f"SparkLayer shows {level}, as our ledger says" for pair, level in shown.items()}
    evidence = {exceptions.key_of(row): agreed[row.subject] for row in standing}
    exceptions.settle(connection, place.slug, standing, sightings, now, evidence=evidence)
    watch(connection, place.slug, [(*pair, level) for pair, level in shown.items()], now)
    for pair, level in shown.items():
        if level == expected[pair] == 0:
            connection.execute(delete(own_levels).where(*_of(place.slug, pair)))


def detail(pair: Pair, expected: int, shown: int) -> str:
    """What a drift says."""
    sku, location = pair
    return f"{sku} at {location}: SparkLayer shows {shown}, our ledger says {expected}"


def _subject(pair: Pair) -> str:
    return f"{pair[1]}:{pair[0]}"


def pair_of(row: Row[Any]) -> Pair:
    """The SKU and the location that an open drift is about."""
    location, _, sku = row.subject.partition(":")
    return sku, location


def _of(site: str, pair: Pair) -> tuple[Any, ...]:
    return own_levels.c.site == site, own_levels.c.sku == pair[0], own_levels.c.location == pair[1]


# -- what people do about it -----------------------------------------------------------------------------------------


def set_again(connection: Connection, row: Row[Any], now: datetime) -> None:
    """Has our level written once more by the next run; the drift closes when the levels agree."""
    sku, location = pair_of(row)
    enqueue(connection, row.site, [level_effect(f"drift:{row.id}:{now.isoformat()}", sku, location)], now)


def write_off(connection: Connection, row: Row[Any], actor: str, now: datetime) -> None:
    """Books the difference, so that our ledger says what SparkLayer shows. Raises DriftChanged."""
    pair = pair_of(row)
    expected = expected_levels(connection, row.site, [pair])[pair]
    shown = connection.execute(select(own_levels.c.level).where(*_of(row.site, pair))).scalar_one()
    if detail(pair, expected, shown) != row.detail:
        raise DriftChanged(f"it changed meanwhile: {detail(pair, expected, shown)}; look again after the next sync")
    sku, location = pair
    waiting = units_waiting(connection, row.site) if location == Location.INSPECTION else Counter[str]()
    difference = shown - waiting[sku] - ledger_levels(connection, row.site, [sku])[pair]
    origin, destination = (Location.OUTSIDE, location) if difference > 0 else (location, Location.OUTSIDE)
    adjust(
        connection,
        *(row, sku, (origin, destination), abs(difference), actor, now),
        before={location: expected},
        after={location: shown},
    )


def adjust(
    connection: Connection,
    row: Row[Any],
    sku: str,
    way: tuple[str, str],
    quantity: int,
    actor: str,
    now: datetime,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Books by hand, because of an exception, that units went from one location to another.

    ``before`` and ``after``, for the trail, are where the units were and are unless given.
    """
    origin, destination = way
    m = movements.c
    booked = connection.execute(
        select(func.count()).where(m.site == row.site, m.return_id == "", m.step == ADJUSTED, m.sku == sku)
    ).scalar_one()
    connection.execute(
        insert(movements).values(
            site=row.site,
            return_id="",
            line_id="",
            step=ADJUSTED,
            n=booked + 1,
            sku=sku,
            from_location=origin,
            to_location=destination,
            quantity=quantity,
            moved_at=now,
            actor=actor,
        )
    )
    event = Event(
        *("staff", "stock_adjusted", f"{quantity} x {sku} from {origin} to {destination}", row.return_id),
        actor=actor,
        exception_id=row.id,
        before=before or {"location": origin},
        after=after or {"location": destination},
    )
    record_events(connection, row.site, [event], now)
