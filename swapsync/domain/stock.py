"""Where returned units are: movements derived from receipt and findings (worker.md section 4, rules 1 and 6)."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from swapsync.domain.returns import Condition


class Location(StrEnum):
    """Where units can be; outside is with the buyer, under way, or gone."""

    OUTSIDE = "outside"
    INSPECTION = "inspection"
    SELLABLE = "sellable"
    DAMAGED = "damaged"


class Step(StrEnum):
    """A reason to move units of a returned line; each has one origin and one destination."""

    RECEIVED = "received"
    MISSING = "missing"
    TURNED_UP = "turned_up"
    RESTOCKED = "restocked"
    DAMAGED = "damaged"
    DISPOSED = "disposed"
    WRITTEN_OFF = "written_off"


ROUTE: Mapping[Step, tuple[Location, Location]] = {
    Step.RECEIVED: (Location.OUTSIDE, Location.INSPECTION),
    Step.MISSING: (Location.INSPECTION, Location.OUTSIDE),
    Step.TURNED_UP: (Location.OUTSIDE, Location.INSPECTION),
    Step.RESTOCKED: (Location.INSPECTION, Location.SELLABLE),
    Step.DAMAGED: (Location.INSPECTION, Location.DAMAGED),
    Step.DISPOSED: (Location.INSPECTION, Location.OUTSIDE),
    Step.WRITTEN_OFF: (Location.INSPECTION, Location.OUTSIDE),
}


ADJUSTED = "adjusted"
"""What a movement is called that a person booked, so that the ledger says what a location really holds."""


@dataclass(frozen=True, slots=True)
class Movement:
    """Units of one SKU that go from one location to another because of one returned line."""

    line_id: str
    step: Step
    sku: str
    quantity: int


class Proof(StrEnum):
    """What two levels prove of a write to sellable stock that got no answer."""

    ARRIVED = "proved"
    NEVER_ARRIVED = "disproved"
    UNCERTAIN = "uncertain"


@dataclass(frozen=True, slots=True)
class Transfer:
    """One write that takes units of a SKU out of inspection and adds them to sellable stock: both levels, before and
    after. None before: there was no level; None after: it is not known.
    """

    base: int
    target: int
    held_before: int | None
    held_after: int | None

    def proof(self, level: int, held: int | None) -> Proof:
        """What became of it, by the sellable level and the one in inspection as they stand now (None: none).

        Sales move the sellable level, so it alone proves little: the old one may be the new one after a sale of just
        as many. Nobody but us moves the other, and one call writes both. So two witnesses must agree; where the level
        in inspection can't tell before from after, the new sellable level is taken for proof and the old one isn't.
        """
        if self.held_before is not None and held is None:
            held = 0
        blind = self.held_after is None or self.held_before == self.held_after
        if level == self.target and (blind or held == self.held_after):
            return Proof.ARRIVED
        if level == self.base and not blind and held == self.held_before:
            return Proof.NEVER_ARRIVED
        return Proof.UNCERTAIN


def units_received(announced: int, *, delivered: bool, units: Counter[Condition]) -> int:
    """Units of a line that came, by the warehouse's findings and, for what it has not counted, Swap's word."""
    missing = units[Condition.MISSING]
    return max(announced - missing, 0) if delivered else min(units.total() - missing, announced)


def on_hand(moved: Mapping[Step, int]) -> int:
    """Units that came into inspection and have not left it."""
    return sum(units if _comes_in(step) else -units for step, units in moved.items())


def still_missing(moved: Mapping[Step, int]) -> int:
    """Units that left inspection as missing and have not turned up."""
    return moved.get(Step.MISSING, 0) - moved.get(Step.TURNED_UP, 0)


def _comes_in(step: Step) -> bool:
    return ROUTE[step][1] is Location.INSPECTION


def excess(announced: int, *, units: Counter[Condition], moved: Mapping[Step, int]) -> int:
    """Units that were booked in for a line, are not missing, and are more than it announces by now."""
    received = moved.get(Step.RECEIVED, 0)
    missing = still_missing(moved) - _turned_up(units, received, moved)
    return max(received - max(missing, _missing(units, received)) - announced, 0)


def _missing(units: Counter[Condition], received: int) -> int:
    """Units that were booked in and are missing by the warehouse's findings."""
    in_the_parcel = units.total() - units[Condition.MISSING]
    return max(min(units[Condition.MISSING], received - in_the_parcel), 0)


def _turned_up(units: Counter[Condition], received: int, moved: Mapping[Step, int]) -> int:
    """Units that left inspection as missing and were found all the same: so many more than had come otherwise."""
    in_the_parcel, missing = units.total() - units[Condition.MISSING], still_missing(moved)
    return min(max(in_the_parcel - (received - missing), 0), missing)


def movements_due(
    line_id: str,
    sku: str,
    announced: int,
    *,
    delivered: bool,
    restock_announced: bool,
    units: Counter[Condition],
    moved: Mapping[Step, int],
    write_off: bool = False,
    in_excess: int = 0,
) -> tuple[Movement, ...]:
    """What the facts ask for beyond what has moved already; the same facts ask for nothing twice.

    ``units``: the warehouse's findings; they prove receipt by themselves. ``delivered``: the announced units count as
    received, never more. ``restock_announced``: without a finding, the announced units may be sold again. Wrong items
    stay in inspection unless a person wrote them off (``write_off``), and so do units that are more than announced
    (``in_excess``: those that a person accepts as gone); missing units leave it only if they were booked into it, and
    come back as far as more was found in the parcel than is left. Nothing else is ever moved back by itself.
    """
    in_the_parcel = units.total() - units[Condition.MISSING]
    received = max(announced if delivered else min(in_the_parcel, announced), moved.get(Step.RECEIVED, 0))
    target = {
        Step.RECEIVED: received,
        Step.MISSING: _missing(units, received) + moved.get(Step.TURNED_UP, 0),
        Step.TURNED_UP: moved.get(Step.TURNED_UP, 0) + _turned_up(units, received, moved),
        Step.DAMAGED: units[Condition.DAMAGED],
        Step.DISPOSED: units[Condition.NO_VALUE],
        Step.RESTOCKED: units[Condition.SELLABLE],
        Step.WRITTEN_OFF: in_excess + (units[Condition.WRONG_ITEM] if write_off else 0),
    }
    if restock_announced and not units:
        target[Step.RESTOCKED] = announced
    due = []
    left = on_hand(moved)
    for step, wanted in target.items():
        quantity = wanted - moved.get(step, 0)
        if not _comes_in(step):
            quantity = min(quantity, left)
        if quantity > 0:
            left += quantity if _comes_in(step) else -quantity
            due.append(Movement(line_id, step, sku, quantity))
    return tuple(due)
