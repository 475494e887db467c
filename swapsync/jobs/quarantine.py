"""Rows that can't be read: kept as they came, shown to a person, and forgotten when a readable version arrives."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from swapsync.connectors.errors import Malformed
from swapsync.connectors.reading import scrub
from swapsync.domain.catalogue import Code
from swapsync.store import exceptions
from swapsync.store.exceptions import Sighting
from swapsync.store.staging import Received, keep_raw, received


def unreadable(stream: str, name: str, what: str, problem: Malformed, row: Any) -> tuple[Sighting, Received]:
    """A row that can't be read, for ``set_aside``; ``name`` tells it apart within its stream, ``what`` in words."""
    raw = received(name, scrub(row))
    return Sighting(Code.MALFORMED_RECORD, f"{what} can't be read: {problem.reason}", subject=f"{stream}:{name}"), raw


def set_aside(
    connection: Connection, site: str, stream: str, malformed: Iterable[tuple[Sighting, Received]], now: datetime
) -> None:
    """Keeps unreadable rows and opens an exception for each."""
    malformed = list(malformed)
    if not malformed:
        return
    keep_raw(connection, site, f"{stream}.malformed", (raw for _, raw in malformed), now)
    subjects = {sighting.subject for sighting, _ in malformed}
    standing = [
        row for row in exceptions.open_of_code(connection, site, Code.MALFORMED_RECORD) if row.subject in subjects
    ]
    seen = exceptions.unruled(connection, site, [replace(s, about=raw.digest) for s, raw in malformed])
    exceptions.settle(connection, site, standing, seen, now)


def release_readable(connection: Connection, site: str, stream: str, readable: Iterable[str], now: datetime) -> None:
    """Closes the exceptions of rows that came in readable form."""
    open_ones = exceptions.open_of_code(connection, site, Code.MALFORMED_RECORD)
    subjects = {f"{stream}:{remote_id}" for remote_id in readable} if open_ones else set()
    exceptions.close(
        connection,
        site,
        [
            (row, f"closed by itself: a readable version arrived ({row.subject.replace(':', ' ', 1)} was read)")
            for row in open_ones
            if row.subject in subjects
        ],
        now,
    )
