"""Moments as text: ISO 8601 in UTC with Z, whole seconds where there is nothing finer."""

from datetime import UTC, datetime


def to_text(moment: datetime) -> str:
    """``2026-03-02T08:00:00Z``. Raises ValueError for a moment without a zone."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone")
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def or_none(moment: datetime | None) -> str | None:
    """The same, for a moment that may not have come."""
    return None if moment is None else to_text(moment)
