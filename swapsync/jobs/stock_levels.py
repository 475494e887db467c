"""Stock levels as they should stand in SparkLayer: the site's locations there, and the figures of our ledger."""

from collections import Counter
from collections.abc import Sequence

from sqlalchemy import Connection, func, literal_column, select, union_all

from swapsync.connectors.errors import CredentialsRejected, InDoubt, LookAgain, Refused
from swapsync.connectors.reading import shown
from swapsync.connectors.sparklayer import StockLevel
from swapsync.domain.stock import Location
from swapsync.jobs.workplace import JobError, Workplace
from swapsync.store.cases import movements
from swapsync.store.db import chunks
from swapsync.store.events import Event, record_events
from swapsync.store.outbox import Effect, Kind, is_open, outbox

PAIRS = 500
"""So many (SKU, location) pairs at most go into one call."""

OURS = (Location.INSPECTION, Location.DAMAGED)
"""The locations whose levels nobody but swapsync may write."""


class Locations:
    """SparkLayer's ids of the site's stock locations."""

    def __init__(self, place: Workplace) -> None:
        self._place = place
        self.external = place.locations
        self._ids = place.sparklayer.stock_locations()

    def id(self, location: Location) -> str:
        """A location's id; one of our own is created where it is missing and the site allows it. Raises JobError.

        The sellable location is never created: a slip in its name would hide goods where nobody sells from.
        """
        name = self.external[location]
        if name not in self._ids and location in OURS and self._place.site.create_stock_locations:
            self._create(name)
        if name not in self._ids:
            raise JobError(
                f"SparkLayer has no stock location {name!r}: create it, or set SWAPSYNC_{location.upper()}_LOCATION"
            )
        return self._ids[name]

    def _create(self, name: str) -> None:
        """Whatever the answer was, the list says whether the location is there."""
        try:
            self._place.sparklayer.create_stock_location(name)
        except (InDoubt, LookAgain):
            pass
        except Refused as refusal:
            raise JobError(f"the stock location {name!r} could not be created: {refusal}") from refusal
        self._ids = self._place.sparklayer.stock_locations()
        if name in self._ids:
            with self._place.writing() as connection:
                event = Event(
                    *("swapsync", "stock_location_created", f"{name} ({self._ids[name]})"),
                    after={"location": name, "id": self._ids[name]},
                )
                record_events(connection, self._place.slug, [event], self._place.clock.now())


def read_levels(
    place: Workplace, skus: Sequence[str], location_ids: Sequence[str]
) -> tuple[dict[tuple[str, str], StockLevel], dict[str, Refused]]:
    """Levels by (SKU, location id), and the SKUs whose levels are not to be had, each with the reason."""
    try:
        read = place.sparklayer.stock_levels(skus, location_ids)
    except CredentialsRejected:
        raise
    except Refused as refusal:
        if len(skus) == 1:
            return {}, {skus[0]: refusal}
        middle = len(skus) // 2
        (some, bad), (others, worse) = (
            read_levels(place, part, location_ids) for part in (skus[:middle], skus[middle:])
        )
        return some | others, bad | worse
    levels = {pair: level for pair, level in read.items() if level is not None}
    unreadable = {sku for (sku, _), level in read.items() if level is None}
    return levels, {sku: Refused(f"the stock level of SKU {shown(sku)} can't be read", 0) for sku in unreadable}


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


def units_waiting(connection: Connection, site: str) -> Counter[str]:
    """Units by SKU whose way to the sellable location is decided and has not been proved to be done."""
    restocks = select(outbox.c.payload).where(outbox.c.site == site, outbox.c.kind == Kind.RESTOCK)
    failed = outbox.c.state == literal_column("'failed'")
    waiting: Counter[str] = Counter()
    for payload in connection.execute(union_all(restocks.where(is_open(outbox)), restocks.where(failed))).scalars():
        waiting[payload["sku"]] += payload["quantity"]
    return waiting


def own_level(ledger: Counter[tuple[str, str]], waiting: Counter[str], sku: str, location: str) -> int:
    """The level that one of our own locations should show.

    Units on their way to the sellable location are in inspection until they arrive, so that at no moment they stand
    in both or in neither. A shelf holds no negative number of units, even where a correction made the ledger say so.
    """
    return max(0, ledger[sku, location] + (waiting[sku] if location == Location.INSPECTION else 0))


def level_effect(key: str, sku: str, location: str, return_id: str = "") -> Effect:
    """Has the level of one of our own locations set to what it should be. ``key`` names the occasion."""
    payload = {"sku": sku, "location": location}
    return Effect(Kind.STOCK_LEVEL, f"{key}:{location}", f"{sku} at {location}", payload, return_id=return_id)
