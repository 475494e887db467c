"""Sites, runs and watermarks: what ran, and how far it read."""

from datetime import datetime

from sqlalchemy import Connection, bindparam, insert, select, update

from swapsync.store.db import insert_new, table, upsert
from swapsync.store.tables import BackfillWindowRow, Run, Site, Watermark

sites, runs, watermarks = table(Site), table(Run), table(Watermark)
backfill_windows = table(BackfillWindowRow)

# Said in every transaction of a job, or around every job; built once, because that takes longer than to execute them.
_LOCK_SITE = select(sites.c.last_credit_number).where(sites.c.slug == bindparam("of_site")).with_for_update()
_BREAK_OFF = (
    update(runs)
    .where(runs.c.site == bindparam("of_site"), runs.c.job == bindparam("of_job"), runs.c.status == "running")
    .values(status="failed", finished_at=bindparam("now"), error=bindparam("why"))
)
_START = insert(runs).returning(runs.c.id)
_FINISH = update(runs).where(runs.c.id == bindparam("of_run"), runs.c.status == "running")

BROKEN_OFF = "broken off: its worker died, was stopped at once, or lost the store; this run does its work again"


def first_run(connection: Connection, site: str, effects_from: datetime | None, now: datetime) -> datetime:
    """The site's cut-over moment, fixed at its first run: the setting, else the start of that run (rule 12)."""
    insert_new(
        connection,
        Site,
        [{"slug": site, "effects_from": effects_from or now, "first_run_at": now, "last_credit_number": 0}],
    )
    return cut_over(connection, site)


def cut_over(connection: Connection, site: str) -> datetime:
    """The cut-over moment of a site that has run, as it stands now; a person may have moved it."""
    moment: datetime = connection.execute(select(sites.c.effects_from).where(sites.c.slug == site)).scalar_one()
    return moment


def lock_site(connection: Connection, site: str) -> int:
    """Makes this transaction the only one that decides for the site; returns the last credit note number given out."""
    return int(connection.execute(_LOCK_SITE, {"of_site": site}).scalar_one())


def set_last_credit_number(connection: Connection, site: str, number: int) -> None:
    """Numbers are given out in the transaction that issues the documents, so there are no gaps."""
    connection.execute(update(sites).where(sites.c.slug == site).values(last_credit_number=number))


def adopt_policy(connection: Connection, site: str, fingerprint: str) -> bool:
    """Notes by which rules the site's returns are decided from now on; returns whether they are others than before."""
    return _adopt(connection, site, "policy", fingerprint)


def adopt_words(connection: Connection, site: str, fingerprint: str) -> bool:
    """Notes by which taught words the site's returns are read from now on; returns whether they are others."""
    return _adopt(connection, site, "words", fingerprint)


def _adopt(connection: Connection, site: str, column: str, fingerprint: str) -> bool:
    changed = connection.execute(
        update(sites).where(sites.c.slug == site, sites.c[column] != fingerprint).values({column: fingerprint})
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
    """Opens a run's record; returns its id. To be called with the job's lease: a run still open was broken off."""
    connection.execute(_BREAK_OFF, {"of_site": site, "of_job": job, "now": now, "why": BROKEN_OFF})
    row = {"site": site, "job": job, "started_at": now, "status": "running"}
    return int(connection.execute(_START, row).scalar_one())


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
    """Closes a run's record, unless the worker that took over did so."""
    result = {"read": read, "changed": changed, "sent": sent, "failed": failed, "error": error}
    connection.execute(_FINISH, {"of_run": run_id, "finished_at": now, "status": status, **result})


def last_start(connection: Connection, site: str, job: str) -> datetime | None:
    """When the last run of a job began; None if it never ran."""
    return connection.execute(
        select(runs.c.started_at)
        .where(runs.c.site == site, runs.c.job == job, runs.c.status != "skipped")
        .order_by(runs.c.id.desc())
        .limit(1)
    ).scalar_one_or_none()


def record_skip(connection: Connection, site: str, job: str, reason: str, now: datetime) -> None:
    """Notes that a job was not run, and why. Skips in a row for the same reason are one record, from the first to the
    last of them."""
    last = connection.execute(
        select(runs.c.id, runs.c.status, runs.c.error)
        .where(runs.c.site == site, runs.c.job == job)
        .order_by(runs.c.id.desc())
        .limit(1)
    ).one_or_none()
    if last and (last.status, last.error) == ("skipped", reason):
        connection.execute(update(runs).where(runs.c.id == last.id).values(finished_at=now))
    else:
        skip = {"site": site, "job": job, "started_at": now, "finished_at": now, "status": "skipped", "error": reason}
        connection.execute(insert(runs).values(**skip))


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
