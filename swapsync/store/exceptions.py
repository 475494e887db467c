"""The exception queue: what a person must see, opened once for each cause and closed when the cause is gone."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from swapsync.domain.catalogue import CATALOGUE, Code
from swapsync.store.db import chunks, table
from swapsync.store.events import Event, record_events
from swapsync.store.tables import ExceptionRow

exceptions = table(ExceptionRow)


@dataclass(frozen=True, slots=True)
class Sighting:
    """A cause seen now. Code, return and subject tell causes apart; the rest is for the reader.

    ``about`` is what a ruling on it rests on; blank where the detail is.
    """

    code: Code
    detail: str
    subject: str = ""
    return_id: str = ""
    rma_number: str = ""
    order_name: str = ""
    sku: str = ""
    about: str = ""
    suggestions: tuple[Mapping[str, Any], ...] = ()

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.code, self.return_id, self.subject)


def open_of_returns(connection: Connection, site: str, return_ids: Collection[str]) -> list[Row[Any]]:
    """Open exceptions of these returns."""
    return [
        row
        for ids in chunks(sorted(return_ids))
        for row in connection.execute(
            select(exceptions).where(
                exceptions.c.site == site, exceptions.c.status == "open", exceptions.c.return_id.in_(ids)
            )
        )
    ]


def open_of_code(connection: Connection, site: str, code: Code) -> list[Row[Any]]:
    """Open exceptions of one kind."""
    return list(
        connection.execute(
            select(exceptions)
            .where(exceptions.c.site == site, exceptions.c.status == "open", exceptions.c.code == code)
            .order_by(exceptions.c.id)
        )
    )


def settle(
    connection: Connection,
    site: str,
    standing: Iterable[Row[Any]],
    seen: Iterable[Sighting],
    now: datetime,
    *,
    because: Mapping[tuple[str, str, str], str] | None = None,
) -> int:
    """Makes the open exceptions those that are seen now: opens, keeps, or closes. Returns how many opened or closed.

    ``standing``: the open ones within the scope that was looked at; what is not seen again closes by itself, with the
    reason in ``because`` (default: the catalogue's). A changed detail counts as seen once more.
    """
    open_now = {(row.code, row.return_id, row.subject): row for row in standing}
    sightings = {sighting.key: sighting for sighting in seen}
    opened = [s for key, s in sightings.items() if key not in open_now]
    if opened:
        connection.execute(insert(exceptions), [_row(site, sighting, now) for sighting in opened])
    changed = [
        {
            "of_id": row.id,
            "new_detail": s.detail,
            "new_about": s.about or s.detail,
            "new_suggestions": list(s.suggestions),
            "new_count": row._mapping["count"] + (s.detail != row.detail),
        }
        for key, row in open_now.items()
        if (s := sightings.get(key)) and (s.detail, list(s.suggestions)) != (row.detail, row.suggestions)
    ]
    if changed:
        connection.execute(
            update(exceptions)
            .where(exceptions.c.id == bindparam("of_id"))
            .values(
                detail=bindparam("new_detail"),
                about=bindparam("new_about"),
                suggestions=bindparam("new_suggestions", type_=exceptions.c.suggestions.type),
                count=bindparam("new_count"),
            ),
            changed,
        )
    gone = [row for key, row in open_now.items() if key not in sightings]
    reasons = because or {}
    close(
        connection,
        site,
        [(row, reasons.get((row.code, row.return_id, row.subject)) or _closes(row.code)) for row in gone],
        now,
    )
    record_events(
        connection,
        site,
        [Event("swapsync", "exception_opened", f"{s.code}: {s.detail}", s.return_id) for s in opened],
        now,
    )
    return len(opened) + len(gone)


def close(connection: Connection, site: str, closing: Iterable[tuple[Row[Any], str]], now: datetime) -> None:
    """Closes exceptions, each with the words that say why."""
    closing = list(closing)
    if not closing:
        return
    connection.execute(
        update(exceptions)
        .where(exceptions.c.id == bindparam("of_id"))
        .values(status="resolved", resolved_at=now, resolution=bindparam("why")),
        [{"of_id": row.id, "why": why} for row, why in closing],
    )
    record_events(
        connection,
        site,
        [Event("swapsync", "exception_closed", f"{row.code}: {why}", row.return_id) for row, why in closing],
        now,
    )


def _closes(code: str) -> str:
    return f"closed by itself: {CATALOGUE[Code(code)].closes}"


def _row(site: str, sighting: Sighting, now: datetime) -> dict[str, Any]:
    entry = CATALOGUE[sighting.code]
    return {
        "site": site,
        "code": sighting.code,
        "subject": sighting.subject,
        "return_id": sighting.return_id,
        "rma_number": sighting.rma_number,
        "order_name": sighting.order_name,
        "sku": sighting.sku,
        "owner": entry.owner,
        "severity": entry.severity,
        "status": "open",
        "detail": sighting.detail,
        "about": sighting.about or sighting.detail,
        "suggestions": list(sighting.suggestions),
        "count": 1,
        "opened_at": now,
        "due_at": now + entry.due_after,
        "resolved_at": None,
        "resolution": None,
    }
