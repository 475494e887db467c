"""The audit trail: what happened, who did it, when, and what was so before and after. Append-only, and a hash chain.

Each entry's hash covers all that it says and the hash before it, so nobody can change, remove, insert or reorder one
without breaking the chain. Its head (how many entries, and the last hash) stands on the site; whoever keeps a head
elsewhere can prove later that the trail up to it is the same (``verify``).
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, Row, insert, select, update

from swapsync.moments import to_text
from swapsync.store.db import table
from swapsync.store.tables import EventRow, Site

events, _sites = table(EventRow), table(Site)

_EMAIL = re.compile(r"""([^\s@<>()\[\]",;:'])[^\s@<>()\[\]",;:]*(@[^\s@<>()\[\]",;:]+\.\w+)""")

SWAPSYNC = "swapsync"
"""The actor of what nobody asked for: the program itself."""


@dataclass(frozen=True, slots=True)
class Event:
    """One entry. ``source``: where it was said, swap, sparklayer, swapsync or staff. ``actor``: who did it.

    ``before`` and ``after`` are the facts that it changed, by name. ``at`` defaults to the moment of recording.
    """

    source: str
    kind: str
    detail: str
    return_id: str = ""
    at: datetime | None = None
    actor: str = SWAPSYNC
    exception_id: int | None = None
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """How far a chain goes: the number of its entries and the hash of the last one; ``count:hash`` as text."""

    count: int
    hash: str

    def __str__(self) -> str:
        return f"{self.count}:{self.hash}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a trail is as it was written. ``fault`` names the first entry that isn't; blank: none.

    ``earlier``: entries written before the chain began; its first entry covers them as a whole.
    """

    head: Head
    earlier: int
    fault: str = ""


def record_events(connection: Connection, site: str, new: Iterable[Event], now: datetime) -> None:
    """Appends entries to the site's chain, which it locks until the end of the transaction.

    E-mail addresses in what they say are masked, since nothing can be taken out of the chain later; whoever needs the
    whole address finds it where it can be forgotten, on the return or the exception.
    """
    rows = [
        {
            "site": site,
            "at": event.at or now,
            "source": event.source,
            "kind": event.kind,
            "return_id": event.return_id,
            "detail": _masked(event.detail),
            "actor": event.actor,
            "exception_id": event.exception_id,
            "before": _facts(event.before),
            "after": _facts(event.after),
        }
        for event in new
    ]
    if not rows:
        return
    count, last = connection.execute(
        select(_sites.c.event_count, _sites.c.last_event_hash).where(_sites.c.slug == site).with_for_update()
    ).one()
    if not count:
        last = _digest_of_earlier(connection, site)
    for row in rows:
        row["previous_hash"] = last
        row["hash"] = last = _hash(row)
    connection.execute(insert(events), rows)
    connection.execute(
        update(_sites).where(_sites.c.slug == site).values(event_count=count + len(rows), last_event_hash=last)
    )


def verify(connection: Connection, site: str, noted: Head | None = None) -> Verdict:
    """Recomputes a site's whole chain. ``noted``: a head kept elsewhere, which the chain must have passed through."""
    c = events.c
    expected = connection.execute(
        select(_sites.c.event_count, _sites.c.last_event_hash).where(_sites.c.slug == site)
    ).one()
    statement = select(events).where(c.site == site).order_by(c.id).execution_options(yield_per=1000)
    earlier, count, last, standing = 0, 0, "", None
    genesis = hashlib.sha256()
    fault = ""
    for row in connection.execute(statement):
        if not row.hash and not count:
            genesis.update(_canonical(row._asdict()))
            earlier, last = earlier + 1, genesis.hexdigest()
            continue
        if fault := _fault(connection, row, last, standing):
            break
        count, last, standing = count + 1, row.hash, row
        if noted and count == noted.count and last != noted.hash:
            fault = f"{_named(row)} is not the one that was noted: the trail up to it was written anew"
            break
    head = Head(count, last if count else "")
    if not fault and count < expected.event_count:
        fault = f"{expected.event_count} entries were written and {count} are left: the last were removed"
    if not fault and (count, head.hash) != tuple(expected):
        fault = f"{_named(standing)} was inserted or replaced: it is not the last one that was written"
    if not fault and noted and count < noted.count:
        fault = f"the trail has {count} entries and had {noted.count} when its head was noted"
    return Verdict(head, earlier, fault)


def _fault(connection: Connection, row: Row[Any], last: str, standing: Row[Any] | None) -> str:
    """What is wrong with an entry that should follow the one whose hash is ``last``; blank if nothing is."""
    c = events.c
    same_site = c.site == row.site
    if row.hash != _hash(row._asdict()):
        rival = same_site & (c.id != row.id) & (c.previous_hash == last) & (c.hash != "")
        inserted = connection.execute(select(c.id).where(rival)).first() is not None
        return f"{_named(row)} was {'inserted' if inserted or not row.hash else 'changed'}"
    if row.previous_hash == last:
        return ""
    before = connection.execute(select(events).where(same_site & (c.hash == row.previous_hash))).first()
    if before is None and standing is None:
        return f"what was written before {_named(row)} was changed or removed"
    if before is None:
        return f"the entry before {_named(row)} was removed or replaced; the last good one is {_named(standing)}"
    if before.id > row.id:
        return f"{_named(row)} was moved: it was written after {_named(before)}"
    return f"{_named(standing)} was inserted: {_named(row)} was written after {_named(before)}"


def _named(row: Row[Any] | None) -> str:
    return f"entry {row.id} ({to_text(row.at)}, {row.kind})" if row else "nothing"


def _digest_of_earlier(connection: Connection, site: str) -> str:
    """What the chain begins from: a digest over all that was written before there was one, blank if nothing was."""
    digest, any_ = hashlib.sha256(), False
    for row in connection.execute(select(events).where(events.c.site == site).order_by(events.c.id)):
        digest.update(_canonical(row._asdict()))
        any_ = True
    return digest.hexdigest() if any_ else ""


_COVERED = (
    *("previous_hash", "site", "at", "source", "kind", "return_id", "detail"),
    *("actor", "exception_id", "before", "after"),
)


def _hash(row: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical(row)).hexdigest()


def _canonical(row: Mapping[str, Any]) -> bytes:
    """An entry in one spelling: a JSON array of all that it says, moments in UTC."""
    return orjson.dumps([to_text(row[name]) if name == "at" else row[name] for name in _COVERED])


def _facts(facts: Mapping[str, Any] | None) -> str:
    masked = {name: _masked(fact) if isinstance(fact, str) else fact for name, fact in (facts or {}).items()}
    return orjson.dumps(masked).decode() if masked else ""


def _masked(text: str) -> str:
    """A text with the names in its e-mail addresses cut to their first letter: ``b…@shop.example``."""
    return _EMAIL.sub(r"\1…\2", text)
