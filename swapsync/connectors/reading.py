"""Single values of received rows: text, identifiers, moments, whole numbers, money. Shared by the tolerant readers."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from swapsync.connectors.errors import Malformed
from swapsync.domain import money

T = TypeVar("T")
Row = Mapping[str, Any]

_GID = re.compile(r"gid://.*?([^/?]+)/?(\?.*)?")
_SPACE_BEFORE_OFFSET = re.compile(r"\s+(?=([+-]\d{2}:?\d{2}|Z)$)")
# What must not be stored: these fields, and whatever speaks of an address or a telephone number.
_NEVER_STORED = ("customer_national_id", "customer_name")
_NEVER_STORED_WORDS = ("address", "phone")
_CONTAINERS = (dict, list)

_MAX_UNITS = 2**31 - 1
_MAX_MAGNITUDE = 12


def text(value: Any) -> str:
    """Text or a number as text; characters that can't be shown become spaces. Blank for all else."""
    if isinstance(value, str):
        if not value.strip():
            return ""
        return value if value.isprintable() else "".join(c if c.isprintable() else " " for c in value)
    if isinstance(value, Decimal) and value.is_finite() and abs(value.adjusted()) < 30:
        return str(int(value)) if value == value.to_integral_value() else format(value, "f")
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def identifier(value: Any) -> str:
    """An id as text: ``gid://shopify/Order/123`` is ``123``. Blank if there is none."""
    name = text(value).strip()
    gid = _GID.fullmatch(name)
    return gid[1] if gid else name


def present(value: Any) -> str:
    """An id or word that may not be blank. Raises ValueError when it is."""
    name = identifier(value)
    if not name:
        raise ValueError("is blank")
    return name


@lru_cache(maxsize=1024)
def folded(value: str) -> str:
    """For comparing words in unknown spelling: lower case, without spaces, hyphens and underscores."""
    return re.sub(r"[\s_-]", "", value.lower())


def first(row: Row, names: Iterable[str], read: Callable[[Any], str] = text) -> str:
    """The first of these fields that is not blank, or blank."""
    return next((value for name in names if (value := read(row.get(name)))), "")


def moment(value: Any, naive_timezone: str | None = None) -> datetime:
    """ISO 8601 text as a moment in UTC; without an offset it is read in the zone ``naive_timezone``.

    Raises ValueError when it can't be read, or has no offset and there is no zone.
    """
    written = _SPACE_BEFORE_OFFSET.sub("", text(value).strip().upper())
    try:
        at = datetime.fromisoformat(written)
        if at.tzinfo is None and naive_timezone is not None:
            at = at.replace(tzinfo=ZoneInfo(naive_timezone))
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{shown(value)} is not a moment") from None
    raise ValueError(f"{shown(value)} has no UTC offset, and naive_timezone is not set")


def whole(value: Any) -> int:
    """A number of units, 0 or more, also written ``"3"`` or ``3.0``. Raises ValueError for anything else."""
    number = _number(value, "a whole number")
    if number != number.to_integral_value() or not 0 <= number <= _MAX_UNITS:
        raise ValueError(f"{shown(value)} is not a number of units")
    return int(number)


def minor(value: Any, currency: str) -> int:
    """An amount of money in minor units of the currency. Raises ValueError for anything but a number of sane size."""
    return money.to_minor(_number(value, "an amount of money"), currency)


def _number(value: Any, what: str) -> Decimal:
    try:
        number = Decimal(value) if isinstance(value, str | int | Decimal) and not isinstance(value, bool) else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite() or number.adjusted() > _MAX_MAGNITUDE:
        raise ValueError(f"{shown(value)} is not {what}")
    return number


def field(row: Row, name: str, read: Callable[[Any], T]) -> T:
    """A field that must be readable. Raises Malformed, naming the field, when ``read`` raises ValueError."""
    if row.get(name) is None:
        raise Malformed(f"{name} is missing")
    try:
        return read(row[name])
    except ValueError as error:
        raise Malformed(f"{name}: {error}") from error


def shown(value: Any) -> str:
    """A value in quotes for a message, at most 40 characters of it."""
    written = text(value) or ("" if value is None or isinstance(value, str) else type(value).__name__)
    return f'"{written[:40]}"'


def distinct(name: str, taken: Collection[str]) -> str:
    """The name, or ``name#2``, ``name#3``, … whichever is not taken."""
    number, candidate = 1, name
    while candidate in taken:
        number += 1
        candidate = f"{name}#{number}"
    return candidate


def scrub(value: Any) -> Any:
    """A received row, at any depth without what must not be stored: names, national ids, addresses, telephones."""
    if isinstance(value, list):
        return [scrub(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: scrub(item) if isinstance(item, _CONTAINERS) else item
        for name, item in value.items()
        if not _never_stored(name)
    }


@lru_cache(maxsize=1024)  # a system's rows have a few dozen field names, and each is met in every row
def _never_stored(name: str) -> bool:
    name = name.lower()
    return name in _NEVER_STORED or any(word in name for word in _NEVER_STORED_WORDS)
