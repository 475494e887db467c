"""What the daemon says of itself over HTTP: ``/healthz``, ``/readyz`` and ``/metrics``.

No personal data, no secret, no text from outside: labels are slugs, names of our own, and classes of outcomes.
"""

import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import uvicorn
from loguru import logger
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from swapsync.clock import Clock
from swapsync.counters import counted
from swapsync.jobs.alerts import is_late
from swapsync.jobs.cycle import JOBS
from swapsync.settings import SiteSettings
from swapsync.store import health
from swapsync.store.db import HEAD, Store, StoreError
from swapsync.store.runs import sites as site_rows


@contextmanager
def answering(
    listener: socket.socket,
    sites: Sequence[SiteSettings],
    store: Store,
    clock: Clock,
    is_scheduling: Callable[[], bool],
) -> Iterator[None]:
    """Answers on a bound socket in a thread of its own. ``is_scheduling``: whether the daemon still begins jobs."""
    config = uvicorn.Config(
        create_app(sites, store, clock, is_scheduling),
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=20,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="health", daemon=True)
    thread.start()
    host, port, *_ = listener.getsockname()
    logger.info("health and metrics at {}, port {}", host, port)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(timeout=5)


def create_app(
    sites: Sequence[SiteSettings], store: Store, clock: Clock, is_scheduling: Callable[[], bool]
) -> Starlette:
    """The three pages, for these sites."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_Collector(sites, store, clock))

    def healthz(_: Request) -> Response:
        return _verdict([] if is_scheduling() else ["the scheduler does not run"])

    def readyz(_: Request) -> Response:
        return _verdict(_not_ready(sites, store, clock))

    def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)])


def _verdict(problems: list[str]) -> Response:
    return JSONResponse({"ok": not problems, "problems": problems}, 503 if problems else 200)


def _not_ready(sites: Sequence[SiteSettings], store: Store, clock: Clock) -> list[str]:
    """Why the worker does not do its work: no store, another schema, or jobs that are late."""
    try:
        if (revision := store.revision()) != HEAD:
            return [f"the store has schema {revision}, this swapsync has {HEAD}"]
        with store.reading() as connection:
            jobs = health.job_health(connection, [site.slug for site in sites], tuple(JOBS))
    except (StoreError, SQLAlchemyError):
        return ["the store can't be reached"]
    of_site = {site.slug: site for site in sites}
    now = clock.now()
    return [f"{job.site}/{job.job} is late" for job in jobs if is_late(of_site[job.site], job, now)]


class _Collector:
    """The figures of one scrape: what this process counted, and how the store stands, read in one transaction."""

    def __init__(self, sites: Sequence[SiteSettings], store: Store, clock: Clock) -> None:
        self._sites = {site.slug: site for site in sites}
        self._store = store
        self._clock = clock

    def describe(self) -> Sequence[Metric]:
        """Nothing: without it the registry would scrape once just to learn the names."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All figures; those of the store are left out while it can't be read."""
        yield from _process_figures()
        up = GaugeMetricFamily("swapsync_store_up", "Whether the store could be read")
        try:
            yield from self._store_figures()
            up.add_metric((), 1)
        except SQLAlchemyError:
            up.add_metric((), 0)
        yield up

    def _store_figures(self) -> list[Metric]:
        now = self._clock.now()
        with self._store.reading() as connection:
            jobs = health.job_health(connection, self._sites, tuple(JOBS))
            backlog = health.backlog(connection)
            queue = health.queue(connection, now)
            streams = health.streams(connection)
            restored = list(connection.execute(select(site_rows.c.slug.label("site"), site_rows.c.restored_at)))
        age = _gauge("job_last_success_age_seconds", "Since a job last succeeded", "site", "job")
        streak = _gauge("job_failures_in_a_row", "Failed runs since a job last succeeded", "site", "job")
        late = _gauge("job_late", "Whether a job should have succeeded by now", "site", "job")
        paused = _gauge("job_paused", "Whether a person paused a job", "site", "job")
        for job in jobs:
            labels = (job.site, job.job)
            if job.ok_at:
                age.add_metric(labels, (now - job.ok_at).total_seconds())
            streak.add_metric(labels, job.failures)
            late.add_metric(labels, is_late(self._sites[job.site], job, now))
            paused.add_metric(labels, job.paused)
        effects = _gauge("outbox_effects", "Effects to be delivered, or given up", "site", "kind", "state")
        oldest = _gauge("outbox_oldest_age_seconds", "Age of the oldest such effect", "site", "kind", "state")
        for row in self._mine(backlog):
            effects.add_metric((row.site, row.kind, row.state), row.effects)
            oldest.add_metric((row.site, row.kind, row.state), (now - row.since).total_seconds())
        waiting = _gauge("exceptions_open", "Open exceptions", "site", "owner", "severity")
        overdue = _gauge("exceptions_overdue", "Open exceptions past their due time", "site", "owner", "severity")
        for row in self._mine(queue):
            waiting.add_metric((row.site, row.owner, row.severity), row.open)
            overdue.add_metric((row.site, row.owner, row.severity), row.overdue)
        stream_age = _gauge("stream_age_seconds", "How far behind now a stream has been read", "site", "stream")
        for row in self._mine(streams):
            stream_age.add_metric((row.site, row.stream), (now - row.position).total_seconds())
        restored_at = _gauge("restored_timestamp_seconds", "When a site's store was restored from a backup", "site")
        for row in self._mine(restored):
            if row.restored_at:
                restored_at.add_metric((row.site,), row.restored_at.timestamp())
        return [age, streak, late, paused, effects, oldest, waiting, overdue, stream_age, restored_at]

    def _mine(self, rows: Iterable[Any]) -> list[Any]:
        """Other daemons on the same store answer for their own sites."""
        return [row for row in rows if row.site in self._sites]


def _process_figures() -> Iterator[Metric]:
    for name, meaning, labels in (
        ("job_runs", "Runs of jobs in this process", ("site", "job", "status")),
        ("job_seconds", "Seconds that jobs took in this process", ("site", "job")),
        ("requests", "HTTP requests of this process", ("connection", "outcome")),
        ("rate_limit_waits", "Requests that waited for our own rate limit", ("connection",)),
        ("rate_limit_wait_seconds", "Seconds waited for our own rate limit", ("connection",)),
    ):
        metric = CounterMetricFamily(f"swapsync_{name}", meaning, labels=labels)
        for values, figure in sorted(counted(name).items()):
            metric.add_metric(values, figure)
        yield metric


def _gauge(name: str, meaning: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"swapsync_{name}", meaning, labels=labels)


def listen(address: str) -> socket.socket:
    """A socket bound to ``host:port``; port 0 takes a free one. Raises OSError."""
    host, _, port = address.rpartition(":")
    family, kind, protocol, _, where = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(where)
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener
