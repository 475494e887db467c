"""poll_returns: stages every return that changed in Swap since the last quiet walk (worker.md section 4, rule 11)."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, select

from swapsync.connectors.errors import Malformed, RemoteError
from swapsync.connectors.reading import scrub
from swapsync.connectors.swap import ReturnsPage
from swapsync.connectors.swap_reader import read_return
from swapsync.domain.catalogue import Code
from swapsync.domain.returns import Return
from swapsync.jobs.quarantine import release_readable, set_aside
from swapsync.jobs.workplace import Tally, Workplace
from swapsync.moments import to_text
from swapsync.store import runs, staging
from swapsync.store.exceptions import Sighting
from swapsync.store.mappings import taught
from swapsync.store.staging import Received, received, returns, stage_returns

STREAM = "swap.returns"
WALKS = 5
PAGES_AT_ONCE = 5
"""So many pages are stored in one transaction."""
SWEEP_EVERY = timedelta(hours=24)
SWEEP_AT_MOST = 20

Fetch = Callable[[int], ReturnsPage]


def poll_returns(place: Workplace, tally: Tally) -> None:
    """Reads what changed since the watermark, less the overlap; the first poll reads ``history_days``."""
    start = place.clock.now()
    with place.store.reading() as connection:
        position = runs.watermark(connection, place.slug, STREAM)
    if position is None:
        since = start - timedelta(days=place.site.history_days)
    else:
        since = position - timedelta(seconds=place.site.overlap_seconds)
    quiet = walk_until_quiet(
        place,
        tally,
        lambda page: place.swap.returns_page(page=page, updated_since=since),
        lambda connection, newest: runs.move_watermark(connection, place.slug, STREAM, min(newest, start)),
    )
    _sweep(place, tally)
    if position is None:
        tally.remarks.append(_cut_over(place))
    if not quiet:
        tally.remarks.append(
            f"the list of returns moved during all of {WALKS} walks; what was read is kept, the next run reads it again"
        )


def _sweep(place: Workplace, tally: Tally) -> None:
    """Asks for open returns that no poll has shown for a day: one that is missing on two sweeps has vanished."""
    with place.store.reading() as connection:
        unseen = staging.unseen_returns(connection, place.slug, place.clock.now() - SWEEP_EVERY, SWEEP_AT_MOST)
    found: list[str] = []
    missing: list[str] = []
    batch: list[tuple[Return, Received]] = []
    for return_id, rma_number in unseen:
        page = place.swap.returns_page(page=1, rma_number=rma_number)
        readable, _ = _parse(place, page.rows)
        mine = [pair for pair in readable if pair[0].return_id == return_id]
        batch += mine
        if mine:
            found.append(return_id)
        elif page.last and all(ret.rma_number == rma_number for ret, _ in readable):
            missing.append(return_id)
    tally.read += len(unseen)
    if unseen:
        now = place.clock.now()
        with place.writing() as connection:
            tally.changed += stage_returns(
                connection, place.slug, batch, effects_from=runs.cut_over(connection, place.slug), now=now
            )
            staging.note_sweep(connection, place.slug, found, missing, now)


def _cut_over(place: Workplace) -> str:
    with place.store.reading() as connection:
        before = connection.execute(
            select(func.count()).where(returns.c.site == place.slug, returns.c.settled_outside)
        ).scalar_one()
    return (
        f"first run: the cut-over is {to_text(place.effects_from)}; {before} returns ended before it and count as "
        "settled outside: they are never credited, moved or noted"
    )


def walk_until_quiet(
    place: Workplace, tally: Tally, fetch: Fetch, at_end: Callable[[Connection, datetime], None]
) -> bool:
    """Walks a list of returns until it stood still, at most ``WALKS`` times; returns whether it did.

    ``at_end`` runs in the transaction that stores the last page of a quiet walk, with the newest moment of change seen.
    """
    read: set[str] = set()
    try:
        return any(_walk(place, tally, fetch, at_end, read) for _ in range(WALKS))
    finally:
        tally.read += len(read)


def _walk(
    place: Workplace,
    tally: Tally,
    fetch: Fetch,
    at_end: Callable[[Connection, datetime], None],
    read: set[str],
) -> bool:
    quiet, total, page = True, None, 1
    newest: datetime | None = None
    seen: set[str] = set()
    batch: list[tuple[Return, Received]] = []
    malformed: list[tuple[Sighting, Received]] = []

    def store(end: datetime | None = None) -> None:
        now = place.clock.now()
        with place.writing() as connection:
            tally.changed += stage_returns(
                connection, place.slug, batch, effects_from=runs.cut_over(connection, place.slug), now=now
            )
            set_aside(connection, place.slug, STREAM, malformed, now)
            release_readable(connection, place.slug, STREAM, [ret.return_id for ret, _ in batch], now)
            if end is not None:
                at_end(connection, end)
        batch.clear()
        malformed.clear()

    while True:
        try:
            got = fetch(page)
        except RemoteError:
            store()  # what was read is kept
            raise
        if got.total is not None and total not in (None, got.total):
            quiet = False
        total = got.total
        readable, unreadable = _parse(place, got.rows)
        ids = [ret.return_id for ret, _ in readable] + [raw.remote_id for _, raw in unreadable]
        quiet = quiet and seen.isdisjoint(ids) and len(set(ids)) == len(ids)
        last = got.last or seen.issuperset(ids)
        seen.update(ids)
        newest = max([ret.updated_at for ret, _ in readable] + ([newest] if newest else []), default=None)
        batch += readable
        malformed += unreadable
        if last:
            store(newest if quiet else None)
            read |= seen
            return quiet
        if page % PAGES_AT_ONCE == 0:
            store()
        page += 1


def _parse(place: Workplace, rows: list[Any]) -> tuple[list[tuple[Return, Received]], list[tuple[Sighting, Received]]]:
    with place.store.reading() as connection:
        words = taught(connection, place.slug)
    batch, malformed = [], []
    for row in rows:
        kept = scrub(row) if isinstance(row, dict) else row
        try:
            ret = read_return(row, place.site.naive_timezone, words)
            batch.append((ret, received(ret.return_id, kept)))
        except Malformed as problem:
            raw = received("", kept)
            name = problem.remote_id or f"content {raw.digest[:12]}"
            malformed.append(
                (
                    Sighting(
                        Code.MALFORMED_RECORD,
                        f"return {name} from Swap can't be read: {problem.reason}",
                        subject=f"{STREAM}:{name}",
                        rma_number=str(row.get("rma_number") or "") if isinstance(row, dict) else "",
                    ),
                    Received(name, raw.body, raw.digest),
                )
            )
    return batch, malformed
