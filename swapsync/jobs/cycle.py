"""One whole cycle, and the frame around every job: a lease, a run record, and one job's trouble kept to itself."""

import os
import socket
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from threading import Event as Signal
from typing import TypeVar

from loguru import logger
from sqlalchemy import Connection

from swapsync.clock import Clock
from swapsync.connectors.errors import RemoteError
from swapsync.connectors.http import Transport
from swapsync.connectors.sparklayer import SparkLayerClient
from swapsync.connectors.swap import SwapClient
from swapsync.counters import count
from swapsync.jobs.poll_orders import poll_orders
from swapsync.jobs.poll_returns import poll_returns
from swapsync.jobs.poll_skus import poll_skus
from swapsync.jobs.push_credits import push_credits
from swapsync.jobs.push_restocks import push_restocks
from swapsync.jobs.push_status import push_status
from swapsync.jobs.reconcile import reconcile
from swapsync.jobs.workplace import JobError, Tally, Workplace
from swapsync.log import new_trace
from swapsync.settings import SiteSettings
from swapsync.store import controls, leases, runs
from swapsync.store.db import CONNECTIONS, Store, trouble
from swapsync.store.leases import LostLease
from swapsync.store.request_budget import SharedBudget

Job = Callable[[Workplace, Tally], None]
Report = TypeVar("Report")

JOBS: dict[str, Job] = {
    "poll_returns": poll_returns,
    "poll_orders": poll_orders,
    "poll_skus": poll_skus,
    "reconcile": reconcile,
    "push_credits": push_credits,
    "push_restocks": push_restocks,
    "push_status": push_status,
}
"""Every job of a cycle, in the order in which they run."""

SITES_AT_ONCE = 4 * CONNECTIONS
"""So many sites a process works on side by side. Most of that time they wait for the other side, so four of them share
a connection to the database; while more than this wait for a system that is down, the others wait for them."""
DONE_ELSEWHERE = "another worker has done this job in its turn"
HOLDER = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


@dataclass
class RunRecord:
    """What one execution of a job came to; ``status`` is ok, failed or skipped, ``seconds`` by the clock."""

    job: str
    status: str
    read: int = 0
    changed: int = 0
    sent: int = 0
    failed: int = 0
    seconds: float = 0.0
    error: str | None = None
    remarks: list[str] = field(default_factory=list)
    run: int | None = None


def open_workplace(site: SiteSettings, store: Store, clock: Clock, transport: Transport | None = None) -> Workplace:
    """A site's desk, with its connections; the first one ever fixes the site's cut-over moment.

    ``transport``: how requests travel, by default over HTTP. All workers of a store share each account's rate limit.
    On a copy of the store the connections can only read: what is decided there must never go outside.
    """
    with store.transaction() as connection:
        effects_from = runs.first_run(connection, site.slug, site.effects_from, clock.now())

    def budget(account: str, requests_per_minute: int) -> SharedBudget | None:
        shared = requests_per_minute and not store.is_copy
        return SharedBudget(store, clock, site.slug, account, requests_per_minute) if shared else None

    return Workplace(
        site,
        store,
        SwapClient.for_site(
            site, clock, transport, budget=budget("swap", site.swap_requests_per_minute), read_only=store.is_copy
        ),
        SparkLayerClient.for_site(
            site,
            clock,
            transport,
            budget=budget("sparklayer", site.sparklayer_requests_per_minute),
            read_only=store.is_copy,
        ),
        clock,
        effects_from,
    )


@dataclass
class SiteReport:
    """What the jobs of one site came to, in the order in which they ran."""

    site: str
    runs: list[RunRecord]

    @property
    def failed(self) -> bool:
        return any(run.status == "failed" for run in self.runs)


def run_sites(sites: Sequence[SiteSettings], store: Store, clock: Clock, jobs: Sequence[str]) -> list[SiteReport]:
    """Runs jobs for several sites side by side."""
    return at_each_site(sites, store, clock, lambda place: SiteReport(place.slug, list(run_cycle(place, jobs))))


def at_each_site(
    sites: Sequence[SiteSettings], store: Store, clock: Clock, work: Callable[[Workplace], Report]
) -> list[Report]:
    """Does the same at several sites side by side, so that one site's waiting delays no other.

    KeyboardInterrupt has each end with the call that is under way, and begin nothing else.
    """
    places: list[Workplace] = []
    stopping = Signal()

    def one(site: SiteSettings) -> Report:
        place = replace(open_workplace(site, store, clock), stopping=stopping)
        places.append(place)
        if stopping.is_set():
            place.hand_back()
        return work(place)

    with ThreadPoolExecutor(max_workers=min(SITES_AT_ONCE, len(sites) or 1)) as pool:
        try:
            return [report.result() for report in [pool.submit(one, site) for site in sites]]
        except KeyboardInterrupt:
            stopping.set()
            for place in places:
                place.hand_back()
            pool.shutdown(cancel_futures=True)
            raise


def run_cycle(place: Workplace, jobs: Sequence[str] = tuple(JOBS)) -> Iterator[RunRecord]:
    """Runs jobs one after the other; what fails is tried again next time, and the others run all the same."""
    trace = new_trace()
    for job in jobs:
        if place.stopping.is_set():
            return
        yield run_job(place, job, JOBS[job], trace=trace)


def run_job(
    place: Workplace,
    name: str,
    job: Job,
    holder: str = HOLDER,
    *,
    is_due: Callable[[datetime], bool] | None = None,
    trace: str = "",
) -> RunRecord:
    """Runs one job under its lease and keeps a record of it.

    Skipped, with a record and the reason, when it is paused or another worker is at it. ``is_due``: whether it is to be
    run again after another worker began it at that moment; if it is not, it is left at that. ``trace`` ties its log to
    that of the jobs beside it; it gets one of its own without.
    """
    start = place.clock.now()
    with place.store.transaction() as connection:
        if is_due and _was_done(connection, place, name, holder, is_due):
            return RunRecord(name, "skipped", remarks=[DONE_ELSEWHERE])
        if reason := controls.why_paused(connection, place.slug, name):
            return _skip(connection, place, name, reason)
        lease = leases.take(connection, place.slug, name, holder, place.store.now(connection, place.clock))
        if lease is None:
            if is_due and _was_done(connection, place, name, holder, is_due):  # it began while we asked
                return RunRecord(name, "skipped", remarks=[DONE_ELSEWHERE])
            return _skip(connection, place, name, "another worker is doing this job right now")
        run_id = runs.start_run(connection, place.slug, name, start)
    with leases.kept(place.store, place.clock, lease):
        tally = Tally()
        error = None
        with logger.contextualize(site=place.slug, job=name, run=run_id, trace=trace or new_trace()):
            try:
                job(replace(place, lease=lease), tally)
            except (RemoteError, JobError, LostLease) as problem:
                error = str(problem)
                logger.error("{} failed: {}", name, error)
            except Exception as problem:  # noqa: BLE001 - one job's bug must not stop the others; it is logged in full
                if error := trouble(problem):
                    logger.error("{} failed: {}", name, error)
                    logger.opt(exception=problem).debug("{} failed", name)
                else:
                    error = f"{type(problem).__name__}: {problem}"
                    logger.exception("{} failed unexpectedly", name)
        now = place.clock.now()
        record = RunRecord(
            name,
            "failed" if error else "ok",
            tally.read,
            tally.changed,
            tally.sent,
            tally.failed,
            round((now - start).total_seconds(), 3),
            error,
            tally.remarks,
            run_id,
        )
        count("job_runs", place.slug, name, record.status)
        count("job_seconds", place.slug, name, amount=record.seconds)
        with place.store.transaction() as connection:
            runs.finish_run(
                connection,
                run_id,
                status=record.status,
                read=record.read,
                changed=record.changed,
                sent=record.sent,
                failed=record.failed,
                error=error,
                now=now,
            )
        return record


def _was_done(
    connection: Connection, place: Workplace, name: str, holder: str, is_due: Callable[[datetime], bool]
) -> bool:
    if leases.last_holder(connection, place.slug, name) in (None, holder):
        return False
    began = runs.last_start(connection, place.slug, name)
    return began is not None and not is_due(began)


def _skip(connection: Connection, place: Workplace, name: str, reason: str) -> RunRecord:
    runs.record_skip(connection, place.slug, name, reason, place.clock.now())
    count("job_runs", place.slug, name, "skipped")
    return RunRecord(name, "skipped", remarks=[reason])
