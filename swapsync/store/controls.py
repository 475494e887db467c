"""What people said about jobs: paused, by whom, and why. A blank job stands for all jobs of a site."""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, select

from swapsync.moments import to_text
from swapsync.store.db import table, upsert
from swapsync.store.events import Event, record_events
from swapsync.store.tables import JobControlRow

controls = table(JobControlRow)
RUNNING = {"state": "running"}
_PAUSED = (  # each job asks, so it is built once
    select(controls)
    .where(controls.c.site.in_(bindparam("of_sites", expanding=True)))
    .order_by(controls.c.site, controls.c.job)
)


def pause(connection: Connection, site: str, job: str, *, actor: str, reason: str, now: datetime) -> None:
    """Pauses a job; one that is paused already goes by the new reason."""
    before = next((_paused(each.reason) for each in paused(connection, [site]) if each.job == job), RUNNING)
    row = {"site": site, "job": job, "paused_at": now, "actor": actor, "reason": reason}
    upsert(connection, JobControlRow, [row])
    what = f"{job or 'all jobs'}: {reason}"
    told = Event("staff", "paused", what, actor=actor, before=before, after=_paused(reason))
    record_events(connection, site, [told], now)


def resume(connection: Connection, site: str, jobs: Iterable[str], *, actor: str, now: datetime) -> list[str]:
    """Lets paused jobs run again; returns those of them that were paused."""
    c = controls.c
    resumed = connection.execute(
        delete(controls).where(c.site == site, c.job.in_(list(jobs))).returning(c.job, c.reason)
    ).all()
    told = [
        Event("staff", "resumed", row.job or "all jobs", actor=actor, before=_paused(row.reason), after=RUNNING)
        for row in sorted(resumed)
    ]
    record_events(connection, site, told, now)
    return [row.job for row in resumed]


def _paused(reason: str) -> dict[str, str]:
    """What a pause makes of a job, for the trail."""
    return {"state": "paused", "reason": reason}


def paused(connection: Connection, sites: Collection[str]) -> list[Row[Any]]:
    """What is paused at these sites, the pause of all jobs first."""
    return list(connection.execute(_PAUSED, {"of_sites": list(sites)}))


def why_paused(connection: Connection, site: str, job: str) -> str | None:
    """In words, why a job must not run now; None if it may."""
    for row in paused(connection, [site]):
        if row.job in ("", job):
            which = "" if row.job else "all jobs of this site are "
            return f"{which}paused by {row.actor} since {to_text(row.paused_at)}: {row.reason}"
    return None
