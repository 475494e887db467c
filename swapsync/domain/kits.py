"""Kits: products that are sold as one and consist of parts, as of the day on which an order was placed."""

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

COLUMNS = ("kit_sku", "part_sku", "quantity", "valid_from", "valid_to", "share")
_OPTIONAL = ("valid_to", "share")


@dataclass(frozen=True, slots=True)
class KitPart:
    """A part of a kit: ``quantity`` units of it are in each kit that is ordered from ``valid_from`` to ``valid_to``.

    ``share``: what part of the kit's value they are all together, None where nobody said.
    """

    kit_sku: str
    sku: str
    quantity: int
    valid_from: date
    valid_to: date | None = None
    share: Fraction | None = None

    @property
    def weight(self) -> Fraction | None:
        """What part of a kit's value one unit is."""
        return None if self.share is None else self.share / self.quantity

    def holds(self, day: date) -> bool:
        return self.valid_from <= day and (self.valid_to is None or day <= self.valid_to)


@dataclass(frozen=True, slots=True)
class Kits:
    """A merchant's kits: every part that a kit has or had, by the kit's SKU."""

    parts: Mapping[str, tuple[KitPart, ...]] = field(default_factory=dict)

    def of(self, sku: str, placed_at: datetime | None) -> tuple[KitPart, ...]:
        """The parts of a kit as of an order's date (UTC); none where it is no kit, or the order has no date."""
        if placed_at is None:
            return ()
        return tuple(part for part in self.parts.get(sku, ()) if part.holds(placed_at.date()))


def read_kits(lines: Iterable[str]) -> Kits:
    """Kits from the lines of a CSV with the columns ``COLUMNS``; dates are ISO 8601, shares decimals.

    On every day, the shares of a kit's parts add up to 1, or none of them has one. Raises ValueError, with line and
    reason, at the first line that can't be right.
    """
    reader = csv.DictReader(lines, strict=True)
    parts: dict[str, list[tuple[int, KitPart]]] = defaultdict(list)
    try:
        _check_header(reader.fieldnames or ())
        for row in reader:
            if not any(cell for cell in row.values()):
                continue
            try:
                part = _part(row)
                _check_overlap(part, parts[part.kit_sku])
            except ValueError as problem:
                raise ValueError(f"line {reader.line_num}: {problem}") from None
            parts[part.kit_sku].append((reader.line_num, part))
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: not CSV: {error}") from None
    for of_kit in parts.values():
        for line, part in of_kit:
            if part.sku in parts:
                raise ValueError(f"line {line}: part {part.sku} is a kit itself; list its own parts")
        _check_shares(of_kit)
    return Kits({sku: tuple(part for _, part in of_kit) for sku, of_kit in parts.items()})


def _check_header(names: Iterable[str]) -> None:
    names = list(names)
    if missing := [name for name in COLUMNS if name not in names and name not in _OPTIONAL]:
        raise ValueError(f"line 1: column {missing[0]} is missing; the columns are {', '.join(COLUMNS)}")
    if odd := [name for name in names if name not in COLUMNS]:
        raise ValueError(f"line 1: unknown column {odd[0]!r}; the columns are {', '.join(COLUMNS)}")


def _part(row: Mapping[str | None, str | None]) -> KitPart:
    if None in row:
        raise ValueError("has more cells than the header")
    cells = {name: (row.get(name) or "").strip() for name in COLUMNS}
    for name in ("kit_sku", "part_sku"):
        if not cells[name]:
            raise ValueError(f"{name} is blank")
    if cells["kit_sku"] == cells["part_sku"]:
        raise ValueError(f"{cells['kit_sku']} is a part of itself")
    if not re.fullmatch(r"0*[1-9][0-9]{0,8}", cells["quantity"]):
        raise ValueError(f"quantity {cells['quantity'][:20]!r} is not a whole number above zero")
    since = _date("valid_from", cells["valid_from"])
    until = _date("valid_to", cells["valid_to"]) if cells["valid_to"] else None
    if until and until < since:
        raise ValueError("valid_to is before valid_from")
    return KitPart(cells["kit_sku"], cells["part_sku"], int(cells["quantity"]), since, until, _share(cells["share"]))


def _date(name: str, text: str) -> date:
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        raise ValueError(f"{name} {text[:20]!r} is not a date like 2026-01-31")
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{name} {text!r} is not a day of the calendar") from None


def _share(text: str) -> Fraction | None:
    if not text:
        return None
    if not re.fullmatch(r"(0(\.[0-9]{1,12})?|1(\.0{1,12})?)", text):
        raise ValueError(f"share {text[:20]!r} is not a decimal from 0 to 1, such as 0.25")
    return Fraction(Decimal(text))


def _check_overlap(part: KitPart, others: Iterable[tuple[int, KitPart]]) -> None:
    for line, other in others:
        apart = (part.valid_to and part.valid_to < other.valid_from) or (
            other.valid_to and other.valid_to < part.valid_from
        )
        if other.sku == part.sku and not apart:
            raise ValueError(f"{part.sku} is a part of {part.kit_sku} already at that time, by line {line}")


def _check_shares(of_kit: list[tuple[int, KitPart]]) -> None:
    """A kit changes on the days on which a part comes or goes, so these are the days to look at."""
    days = {part.valid_from for _, part in of_kit}
    days |= {part.valid_to + timedelta(days=1) for _, part in of_kit if part.valid_to and part.valid_to < date.max}
    for day in sorted(days):
        current = [(line, part) for line, part in of_kit if part.holds(day)]
        shares: list[Fraction] = [part.share for _, part in current if part.share is not None]
        if not shares:
            continue
        line, part = current[-1]
        if len(shares) < len(current):
            raise ValueError(f"line {line}: as of {day}, only some parts of kit {part.kit_sku} have a share")
        total = sum(shares, Fraction(0))
        if total != 1:
            said = Decimal(total.numerator) / total.denominator
            raise ValueError(f"line {line}: as of {day}, the shares of kit {part.kit_sku} add up to {said}, not to 1")
