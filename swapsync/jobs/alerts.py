"""alerts: tells people of trouble that lasts, once, and once more when it is over.

Trouble is derived from what is stored: a job that is late or keeps failing, a critical exception past its due time.
A run that fails is counted and tells nobody by itself. The table ``alert`` holds what people were told; that the store
itself is away, a daemon has to remember.
"""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from loguru import logger
from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update

from swapsync.clock import Clock
from swapsync.domain.catalogue import Severity
from swapsync.jobs.cycle import HOLDER, JOBS
from swapsync.jobs.timetable import due_after
from swapsync.settings import SiteSettings
from swapsync.store import leases
from swapsync.store.db import Store, table, trouble
from swapsync.store.exceptions import exceptions
from swapsync.store.health import JobHealth, job_health
from swapsync.store.tables import AlertRow

alerts = table(AlertRow)

EVERY_SECONDS = 60
"""How often the daemon looks; from cron it is done at the end of ``sync``."""
STORE_AWAY = timedelta(minutes=5)
"""For so long the store may be away before people are told: it may only be restarting."""
LINES = 20
"""So much trouble one message names; how much more there is, it says."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that people should be told of; ``name`` tells one from another, ``detail`` is a line for people."""

    name: str
    detail: str


@dataclass
class Lookout:
    """A daemon's look for trouble, time and again."""

    sites: Sequence[SiteSettings]
    store: Store
    clock: Clock
    away_since: datetime | None = None
    told: set[str] = field(default_factory=set)
    """The sites whose people know that the store is away."""

    def look(self) -> None:
        """Tells each site's people what is new, or over; also that the store has been away for a while."""
        why = tell_everybody(self.sites, self.store, self.clock)
        now = self.clock.now()
        self.away_since = (self.away_since or now) if why else None
        for site in self.sites:
            title = f"swapsync {site.slug}: the store is "
            if not site.alert_urls.get_secret_value():
                continue
            if self.away_since is None and site.slug in self.told:
                if notify(site, f"{title}back", "over: what waited is being done", "success"):
                    self.told.remove(site.slug)
            elif self.away_since and now >= self.away_since + STORE_AWAY and site.slug not in self.told:
                since = f"since {self.away_since:%Y-%m-%d %H:%M} UTC: {why}"
                said = f"{since}\nnothing is read, credited or restocked meanwhile"
                if notify(site, f"{title}away", said, "failure"):
                    self.told.add(site.slug)


def tell_everybody(sites: Sequence[SiteSettings], store: Store, clock: Clock) -> str:
    """Tells each site's people what is new, or over. No trouble with it reaches the caller: it is logged.

    Returns what kept the store from being read, in a line; blank if nothing did.
    """
    away = ""
    for site in sites:
        if not site.alert_urls.get_secret_value():
            continue
        with logger.contextualize(site=site.slug, job="alerts"):
            try:
                with store.transaction() as connection:
                    lease = leases.take(connection, site.slug, "alerts", HOLDER, store.now(connection, clock))
                if lease is not None:
                    with leases.kept(store, clock, lease):
                        _tell(site, store, clock)
            except Exception as problem:  # noqa: BLE001 - alerting trouble must not stop a job; it is logged in full
                if said := trouble(problem):
                    away = said
                    logger.warning("alerts wait for the next look: {}", said)
                else:
                    logger.exception("alerts failed unexpectedly")
    return away


def find_trouble(connection: Connection, site: SiteSettings, now: datetime) -> list[Trouble]:
    """What a site's people should be told of as things stand."""
    overdue = connection.execute(
        select(exceptions)
        .where(
            exceptions.c.site == site.slug,
            exceptions.c.status == "open",
            exceptions.c.severity == Severity.CRITICAL,
            exceptions.c.due_at < now,
        )
        .order_by(exceptions.c.due_at, exceptions.c.id)
    )
    jobs = job_health(connection, [site.slug], tuple(JOBS))
    return [
        *(Trouble(f"job:{job.job}", words) for job in jobs if (words := job_trouble(site, job, now))),
        *(Trouble(f"exception:{row.id}", _overdue(row)) for row in overdue),
    ]


def job_trouble(site: SiteSettings, job: JobHealth, now: datetime) -> str:
    """What is wrong with a job, in a line; blank if nothing is. A paused one is as a person wants it."""
    if job.paused:
        return ""
    because = f"; the last error: {job.error}" if job.error else ""
    if is_late(site, job, now):
        since = f"has not succeeded since {job.ok_at:%Y-%m-%d %H:%M} UTC" if job.ok_at else "has never succeeded"
        return f"{job.job} {since}{because}"
    if job.failures >= site.alert_after_failures:
        return f"{job.job} failed {job.failures} times in a row{because}"
    return ""


def is_late(site: SiteSettings, job: JobHealth, now: datetime) -> bool:
    """Whether a job should have succeeded by now: ``alert_after_seconds`` after it was due, else after it began."""
    if job.paused:
        return False
    due = due_after(site.schedule[job.job], job.ok_at) if job.ok_at else job.began_at
    return due is not None and now > due + timedelta(seconds=site.alert_after_seconds)


def _overdue(row: Row[Any]) -> str:
    about = f"RMA {row.rma_number}: " if row.rma_number else ""
    return f"{row.code}, for {row.owner}, was due {row.due_at:%Y-%m-%d %H:%M} UTC: {about}{row.detail} (#{row.id})"


def _tell(site: SiteSettings, store: Store, clock: Clock) -> None:
    now = clock.now()
    with store.transaction() as connection:
        found = {each.name: each for each in find_trouble(connection, site, now)}
        standing = _standing(connection, site.slug)
        new = [each for name, each in found.items() if name not in standing]
        if new:
            connection.execute(
                insert(alerts),
                [
                    {"site": site.slug, "name": each.name, "detail": each.detail, "raised_at": now, "notified_at": None}
                    for each in new
                ],
            )
        over = [row for name, row in standing.items() if name not in found]
        _forget(connection, site.slug, [row.name for row in over if row.notified_at is None])
        untold = {name for name, each in found.items() if name not in standing or standing[name].notified_at is None}
    told_and_over = [row for row in over if row.notified_at is not None]
    details = [found[name].detail for name in found if name in untold]
    if details and _send(site, f"swapsync {site.slug}: {_count(len(details), 'problem')}", details, "failure"):
        with store.transaction() as connection:
            connection.execute(
                update(alerts)
                .where(alerts.c.site == site.slug, alerts.c.name == bindparam("of_name"))
                .values(notified_at=clock.now()),
                [{"of_name": name} for name in sorted(untold)],
            )
    solved = [f"over: {row.detail}" for row in told_and_over]
    if solved and _send(site, f"swapsync {site.slug}: {_count(len(solved), 'problem')} over", solved, "success"):
        with store.transaction() as connection:
            _forget(connection, site.slug, [row.name for row in told_and_over])


def _standing(connection: Connection, slug: str) -> Mapping[str, Row[Any]]:
    rows = connection.execute(select(alerts).where(alerts.c.site == slug).order_by(alerts.c.raised_at, alerts.c.name))
    return {row.name: row for row in rows}


def _forget(connection: Connection, slug: str, names: Iterable[str]) -> None:
    parameters = [{"of_name": name} for name in names]
    if parameters:
        connection.execute(
            delete(alerts).where(alerts.c.site == slug, alerts.c.name == bindparam("of_name")), parameters
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _send(site: SiteSettings, title: str, lines: Sequence[str], kind: str) -> bool:
    more = [f"… and {len(lines) - LINES} more: swapsync status"] if len(lines) > LINES else []
    return notify(site, title, "\n".join([*lines[:LINES], *more]), kind)


def notify(site: SiteSettings, title: str, body: str, kind: str) -> bool:
    """Sends a message of plain text to the site's addresses; whether any of them took it.

    ``kind`` is Apprise's: info, success, warning or failure. An address that did not take it is logged, and is not
    told again while another one was: a message twice is worse than an address that somebody has to mend.
    """
    import apprise

    taken = 0
    for url in site.alert_urls.get_secret_value().split():
        one = apprise.Apprise()
        scheme = url.partition(":")[0]
        with apprise.LogCapture(level=logging.WARNING, fmt="%(message)s") as words:  # type: ignore[no-untyped-call]
            ok = one.add(url) and one.notify(
                title=title, body=body, notify_type=apprise.NotifyType(kind), body_format=apprise.NotifyFormat.TEXT
            )
            said = _without(url, words.getvalue())
        taken += bool(ok)
        if not ok:
            logger.warning("the {} address in alert_urls did not take a message{}", scheme, f": {said}" if said else "")
    return taken > 0


def _without(url: str, words: str) -> str:
    """What Apprise said, on one line, without any part of the URL that could be a secret."""
    for part in sorted(re.split(r"[/:@?&=]+", url), key=len, reverse=True):
        if len(part) > 3:
            words = words.replace(part, "***")
    return " ".join(words.split())[:300]
