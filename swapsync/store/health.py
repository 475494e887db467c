"""How the work stands, in a few statements that don't grow with the history: jobs, backlog, queue, streams."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, case, func, literal, literal_column, select, true, union_all

from swapsync.store.db import table
from swapsync.store.exceptions import exceptions
from swapsync.store.outbox import is_open, outbox
from swapsync.store.runs import runs, sites, watermarks
from swapsync.store.tables import JobControlRow

job_control = table(JobControlRow)


@dataclass(frozen=True, slots=True)
class JobHealth:
    """A job of a site that has run at least once: its last success, and the runs that failed since then.

    ``began_at`` is the start of the first run since that success, None while there is none.
    """

    site: str
    job: str
    ok_at: datetime | None
    began_at: datetime | None
    failures: int
    error: str
    paused: bool


def job_health(connection: Connection, slugs: Iterable[str], jobs: Sequence[str]) -> list[JobHealth]:
    """Every one of these jobs that ever ran for these sites, by site and in the order given."""
    rank = {name: position for position, name in enumerate(jobs)}
    names = union_all(*(select(literal(name).label("job")) for name in jobs)).subquery()
    pairs = (
        select(sites.c.slug.label("site"), names.c.job)
        .select_from(sites.join(names, true()))
        .where(sites.c.slug.in_(sorted(set(slugs))))
        .subquery()
    )
    of_pair = and_(runs.c.site == pairs.c.site, runs.c.job == pairs.c.job)
    last_ok = (
        select(pairs, _first(runs.c.id, of_pair, runs.c.status == "ok", newest=True).label("ok_id")).select_from(pairs)
    ).subquery()
    since = and_(
        runs.c.site == last_ok.c.site, runs.c.job == last_ok.c.job, runs.c.id > func.coalesce(last_ok.c.ok_id, 0)
    )
    paused = (
        select(job_control.c.site)
        .where(job_control.c.site == last_ok.c.site, job_control.c.job.in_(["", last_ok.c.job]))
        .exists()
    )
    rows = connection.execute(
        select(
            last_ok.c.site,
            last_ok.c.job,
            select(runs.c.finished_at).where(runs.c.id == last_ok.c.ok_id).scalar_subquery().label("ok_at"),
            _first(runs.c.started_at, since).label("began_at"),
            select(func.count()).where(since, runs.c.status == "failed").scalar_subquery().label("failures"),
            _first(runs.c.error, since, runs.c.status == "failed", newest=True).label("error"),
            paused.label("paused"),
        )
    )
    found = [
        JobHealth(row.site, row.job, row.ok_at, row.began_at, row.failures, row.error or "", bool(row.paused))
        for row in rows
        if row.ok_at or row.began_at
    ]
    return sorted(found, key=lambda health: (health.site, rank[health.job]))


def _first(column: Any, *conditions: Any, newest: bool = False) -> Any:
    order = runs.c.id.desc() if newest else runs.c.id
    return select(column).where(*conditions).order_by(order).limit(1).scalar_subquery()


def backlog(connection: Connection) -> list[Row[Any]]:
    """(site, kind, state, effects, since) of effects to be delivered or given up; ``since``: the oldest's decision."""
    c = outbox.c
    counted = select(c.site, c.kind, c.state, func.count().label("effects"), func.min(c.created_at).label("since"))
    return [
        row
        for states in (is_open(outbox), c.state == literal_column("'failed'"))  # each has its partial index
        for row in connection.execute(counted.where(states).group_by(c.site, c.kind, c.state))
    ]


def queue(connection: Connection, now: datetime) -> list[Row[Any]]:
    """(site, owner, severity, open, overdue) of the open exceptions."""
    return list(
        connection.execute(
            select(
                exceptions.c.site,
                exceptions.c.owner,
                exceptions.c.severity,
                func.count().label("open"),
                func.sum(case((exceptions.c.due_at < now, 1), else_=0)).label("overdue"),
            )
            .where(exceptions.c.status == "open")
            .group_by(exceptions.c.site, exceptions.c.owner, exceptions.c.severity)
        )
    )


def streams(connection: Connection) -> list[Row[Any]]:
    """(site, stream, position) of every watermark."""
    return list(connection.execute(select(watermarks)))
