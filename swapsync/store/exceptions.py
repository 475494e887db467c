"""The exception queue: what a person must see, opened once for each cause and closed when the cause is gone."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, Row, bindparam, insert, select, update

from swapsync.domain.catalogue import CATALOGUE, Code
from swapsync.store.db import chunks, table
from swapsync.store.events import SWAPSYNC, Event, events, record_events
from swapsync.store.tables import ExceptionRow, RulingRow

exceptions, rulings = table(ExceptionRow), table(RulingRow)
_OPEN_OF_CODE = (  # asked for so often that it is built once
    select(exceptions)
    .where(
        exceptions.c.site == bindparam("of_site"),
        exceptions.c.status == "open",
        exceptions.c.code == bindparam("of_code"),
    )
    .order_by(exceptions.c.id)
)

Key = tuple[str, str, str]
OPENED, REOPENED, CHANGED = "exception_opened", "exception_reopened", "exception_changed"


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
    def key(self) -> Key:
        return (self.code, self.return_id, self.subject)

    @property
    def basis(self) -> str:
        """What a person's ruling on it rests on."""
        return self.about or self.detail


def key_of(row: Row[Any]) -> Key:
    """What tells the cause of a stored exception apart from others, as ``Sighting.key`` does."""
    return (row.code, row.return_id, row.subject)


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
    return list(connection.execute(_OPEN_OF_CODE, {"of_site": site, "of_code": code}))


def settle(
    connection: Connection,
    site: str,
    standing: Iterable[Row[Any]],
    seen: Iterable[Sighting],
    now: datetime,
    *,
    evidence: Mapping[Key, str] | None = None,
) -> int:
    """Makes the open exceptions those that are seen now: opens, keeps, or closes. Returns how many opened or closed.

    ``standing``: the open ones within the scope that was looked at; what is not seen again closes by itself, with the
    ``evidence`` that its cause is gone. A changed detail counts as seen once more, and so does a cause that comes back
    after it was gone.
    """
    open_now = {key_of(row): row for row in standing}
    sightings = {sighting.key: sighting for sighting in seen}
    _open(connection, site, [s for key, s in sightings.items() if key not in open_now], now)
    _change(connection, site, [(row, sightings[key]) for key, row in open_now.items() if key in sightings], now)
    gone = [(key, row) for key, row in open_now.items() if key not in sightings]
    because = evidence or {}
    close(connection, site, [(row, _closes(row.code, because.get(key, ""))) for key, row in gone], now)
    return len(sightings.keys() - open_now.keys()) + len(gone)


def _open(connection: Connection, site: str, opened: Sequence[Sighting], now: datetime) -> None:
    if not opened:
        return
    earlier = _earlier(connection, site, opened)
    inserted = connection.execute(
        insert(exceptions).returning(exceptions.c.id, sort_by_parameter_order=True),
        [_row(site, sighting, now, earlier.get(sighting.key)) for sighting in opened],
    ).scalars()
    record_events(
        connection,
        site,
        [
            Event(
                *("swapsync", REOPENED if s.key in earlier else OPENED),
                f"{s.code}: {s.detail}",
                s.return_id,
                exception_id=id_,
                after={"status": "open"},
            )
            for s, id_ in zip(opened, inserted, strict=True)
        ],
        now,
    )


def _earlier(connection: Connection, site: str, opened: Iterable[Sighting]) -> dict[Key, Row[Any]]:
    """The last exception there was about each of these causes, where there was one."""
    c = exceptions.c
    found: dict[Key, Row[Any]] = {}
    for part in chunks(sorted({sighting.return_id for sighting in opened})):
        for row in connection.execute(
            select(exceptions).where(c.site == site, c.return_id.in_(part), c.status == "resolved").order_by(c.id)
        ):
            found[key_of(row)] = row
    return found


def _change(connection: Connection, site: str, still: Iterable[tuple[Row[Any], Sighting]], now: datetime) -> None:
    changed = [
        (row, s)
        for row, s in still
        if (row.detail, row.about, row.suggestions) != (s.detail, s.basis, list(s.suggestions))
    ]
    if not changed:
        return
    connection.execute(
        update(exceptions)
        .where(exceptions.c.id == bindparam("of_id"))
        .values(
            detail=bindparam("new_detail"),
            about=bindparam("new_about"),
            suggestions=bindparam("new_suggestions", type_=exceptions.c.suggestions.type),
            count=bindparam("new_count"),
        ),
        [
            {
                "of_id": row.id,
                "new_detail": sighting.detail,
                "new_about": sighting.basis,
                "new_suggestions": list(sighting.suggestions),
                "new_count": row._mapping["count"] + (sighting.detail != row.detail),
            }
            for row, sighting in changed
        ],
    )
    record_events(
        connection,
        site,
        [
            Event(
                *("swapsync", CHANGED, f"{s.code}: {s.detail}", s.return_id),
                exception_id=row.id,
                before={name: was for name, was, _ in told},
                after={name: is_ for name, _, is_ in told},
            )
            for row, s in changed
            if (told := _other_words(row, s))
        ],
        now,
    )


def _other_words(row: Row[Any], s: Sighting) -> list[tuple[str, str, str]]:
    """(what, as it was, as it is) of what an exception says to its reader, and of what a ruling on it rests on."""
    both = (("detail", row.detail, s.detail), ("about", row.about or row.detail, s.basis))
    return [each for each in both if each[1] != each[2]]


def close(
    connection: Connection,
    site: str,
    closing: Iterable[tuple[Row[Any], str]],
    now: datetime,
    *,
    actor: str = SWAPSYNC,
) -> None:
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
        [
            Event(
                *("swapsync", "exception_closed", f"{row.code}: {why}", row.return_id),
                actor=actor,
                exception_id=row.id,
                before={"status": row.status},
                after={"status": "resolved"},
            )
            for row, why in closing
        ],
        now,
    )


def unruled(connection: Connection, site: str, seen: Iterable[Sighting]) -> list[Sighting]:
    """What was seen, less what a person has accepted as it is."""
    seen = list(seen)
    c = rulings.c
    accepted: dict[Key, str] = {}
    for part in chunks(sorted({sighting.subject for sighting in seen})):
        for row in connection.execute(select(rulings).where(c.site == site, c.subject.in_(part)).order_by(c.id)):
            accepted[key_of(row)] = row.about
    return [sighting for sighting in seen if accepted.get(sighting.key) != sighting.basis]


def opening_entry(connection: Connection, row: Row[Any]) -> int:
    """The entry of the trail that says that an exception was opened; 0 where none does."""
    return next((entry.id for entry in _entries(connection, row, OPENED, REOPENED)), 0)


def changes_since(connection: Connection, row: Row[Any], entry: int | None) -> list[str]:
    """What an exception said after an entry of the trail that it didn't say before, its opening included.

    None: since it was opened, and only where a ruling rests on something else by now.
    """
    if entry is None:
        return [later.detail for later in _entries(connection, row, CHANGED) if "about" in orjson.loads(later.after)]
    return [later.detail for later in _entries(connection, row, OPENED, REOPENED, CHANGED) if later.id > entry]


def _entries(connection: Connection, row: Row[Any], *kinds: str) -> list[Row[Any]]:
    """The entries of these kinds about an exception, oldest first."""
    c = events.c
    of_this = (c.site == row.site, c.return_id == row.return_id, c.exception_id == row.id)
    return list(connection.execute(select(events).where(*of_this, c.kind.in_(kinds)).order_by(c.id)))


def _closes(code: str, evidence: str) -> str:
    return f"closed by itself: {CATALOGUE[Code(code)].closes}{f' ({evidence})' if evidence else ''}"


def _row(site: str, sighting: Sighting, now: datetime, earlier: Row[Any] | None) -> dict[str, Any]:
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
        "about": sighting.basis,
        "suggestions": list(sighting.suggestions),
        "count": earlier._mapping["count"] + 1 if earlier else 1,
        "assignee": earlier.assignee if earlier else "",
        "opened_at": now,
        "due_at": now + entry.due_after,
        "resolved_at": None,
        "resolution": None,
    }
