"""Sites, runs, watermarks and leases: what ran, how far it read, and who is at it right now."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from threading import Event as Signal
from threading import Thread

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, or_, select, update

from swapsync.clock import Clock
from swapsync.store.db import Store, insert_new, table, upsert
from swapsync.store.tables import BackfillWindowRow, LeaseRow, Run, Site, Watermark

sites, runs, watermarks = table(Site), table(Run), table(Watermark)
leases, backfill_windows = table(LeaseRow), table(BackfillWindowRow)

LEASE = timedelta(seconds=90)


def first_run(connection: Connection, site: str, effects_from: datetime | None, now: datetime) -> datetime:
    """The site's cut-over moment, fixed at its first run: the setting, else the start of that run (rule 12)."""
    insert_new(
        connection,
        Site,
        [{"slug": site, "effects_from": effects_from or now, "first_run_at": now, "last_credit_number": 0}],
    )
    fixed: datetime = connection.execute(select(sites.c.effects_from).where(sites.c.slug == site)).scalar_one()
    return fixed


def lock_site(connection: Connection, site: str) -> int:
    """Makes this transaction the only one that decides for the site; returns the last credit note number given out."""
    return int(
        connection.execute(
            select(sites.c.last_credit_number).where(sites.c.slug == site).with_for_update()
        ).scalar_one()
    )


def set_last_credit_number(connection: Connection, site: str, number: int) -> None:
    """Numbers are given out in the transaction that issues the documents, so there are no gaps."""
    connection.execute(update(sites).where(sites.c.slug == site).values(last_credit_number=number))


def adopt_policy(connection: Connection, site: str, fingerprint: str) -> bool:
    """Notes by which rules the site's returns are decided from now on; returns whether they are others than before."""
    changed = connection.execute(
        update(sites).where(sites.c.slug == site, sites.c.policy != fingerprint).values(policy=fingerprint)
    )
    return changed.rowcount == 1


def watermark(connection: Connection, site: str, stream: str) -> datetime | None:
    """How far a stream has been read; None before its first quiet walk."""
    return connection.execute(
        select(watermarks.c.position).where(watermarks.c.site == site, watermarks.c.stream == stream)
    ).scalar_one_or_none()


def move_watermark(connection: Connection, site: str, stream: str, position: datetime) -> None:
    """Moves a watermark forward; it never goes back."""
    standing = watermark(connection, site, stream)
    if standing is None or position > standing:
        upsert(connection, Watermark, [{"site": site, "stream": stream, "position": position}])


def start_run(connection: Connection, site: str, job: str, now: datetime) -> int:
    """Opens a run's record; returns its id."""
    return int(
        connection.execute(
            insert(runs).values(site=site, job=job, started_at=now, status="running").returning(runs.c.id)
        ).scalar_one()
    )


def finish_run(
    connection: Connection,
    run_id: int,
    *,
    status: str,
    read: int,
    changed: int,
    sent: int,
    failed: int,
    error: str | None,
    now: datetime,
) -> None:
    """Closes a run's record."""
    connection.execute(
        update(runs)
        .where(runs.c.id == run_id)
        .values(finished_at=now, status=status, read=read, changed=changed, sent=sent, failed=failed, error=error)
    )


def finished_windows(connection: Connection, site: str, stream: str) -> set[tuple[datetime, datetime]]:
    """Windows of history that a backfill has read to their end."""
    rows = connection.execute(
        select(backfill_windows.c.since, backfill_windows.c.until).where(
            backfill_windows.c.site == site, backfill_windows.c.stream == stream
        )
    )
    return {(row.since, row.until) for row in rows}


def finish_window(
    connection: Connection, site: str, stream: str, since: datetime, until: datetime, now: datetime
) -> None:
    """Notes that a window was read to its end."""
    upsert(
        connection,
        BackfillWindowRow,
        [{"site": site, "stream": stream, "since": since, "until": until, "finished_at": now}],
    )


@contextmanager
def lease(store: Store, clock: Clock, site: str, name: str, holder: str) -> Iterator[bool]:
    """Whether this holder may do a job of a site now; while it does, a heartbeat keeps the lease alive.

    A holder that died frees it after ``LEASE``.
    """
    if not _acquire(store, clock, site, name, holder):
        yield False
        return
    done = Signal()
    heart = Thread(target=_beat, args=(store, clock, site, name, holder, done), daemon=True)
    heart.start()
    try:
        yield True
    finally:
        done.set()
        heart.join()
        with store.transaction() as connection:
            connection.execute(delete(leases).where(_mine(site, name, holder)))


def _acquire(store: Store, clock: Clock, site: str, name: str, holder: str) -> bool:
    now = clock.now()
    with store.transaction() as connection:
        new = insert_new(
            connection, LeaseRow, [{"site": site, "name": name, "holder": holder, "expires_at": now + LEASE}]
        )
        if new:
            return True
        taken = connection.execute(
            update(leases)
            .where(
                leases.c.site == site,
                leases.c.name == name,
                or_(leases.c.holder == holder, leases.c.expires_at < now),
            )
            .values(holder=holder, expires_at=now + LEASE)
        )
        return taken.rowcount == 1


def _beat(store: Store, clock: Clock, site: str, name: str, holder: str, done: Signal) -> None:
    while not done.wait(LEASE.total_seconds() / 3):
        with store.transaction() as connection:
            connection.execute(update(leases).where(_mine(site, name, holder)).values(expires_at=clock.now() + LEASE))


def _mine(site: str, name: str, holder: str) -> ColumnElement[bool]:
    return and_(leases.c.site == site, leases.c.name == name, leases.c.holder == holder)
