"""The audit trail: what happened to a return, where it was said, and when."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert

from swapsync.store.db import table
from swapsync.store.tables import EventRow


@dataclass(frozen=True, slots=True)
class Event:
    """One entry; ``source`` is swap, sparklayer, swapsync or staff. ``at`` defaults to the moment of recording."""

    source: str
    kind: str
    detail: str
    return_id: str = ""
    at: datetime | None = None


def record_events(connection: Connection, site: str, events: Iterable[Event], now: datetime) -> None:
    """Appends entries."""
    rows = [
        {
            "site": site,
            "at": event.at or now,
            "source": event.source,
            "kind": event.kind,
            "return_id": event.return_id,
            "detail": event.detail,
        }
        for event in events
    ]
    if rows:
        connection.execute(insert(table(EventRow)), rows)
