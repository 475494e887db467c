"""The daemon: APScheduler, and nothing but scheduling.

Every (site, job) is one scheduled job. The jobs of a site run one after the other, in the order of a cycle where
several are due at once, and ``SITES_AT_ONCE`` sites side by side; of several daemons, one at a time is at a site.
Durable state is in the store alone.
"""

import logging
import signal
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from threading import Event as Signal
from threading import Timer

from apscheduler.events import EVENT_JOB_MAX_INSTANCES, JobSubmissionEvent  # type: ignore[import-untyped]
from apscheduler.executors.debug import DebugExecutor  # type: ignore[import-untyped]
from apscheduler.job import Job  # type: ignore[import-untyped]
from apscheduler.schedulers.background import BackgroundScheduler  # type: ignore[import-untyped]
from apscheduler.schedulers.base import STATE_RUNNING  # type: ignore[import-untyped]
from loguru import logger
from sqlalchemy.exc import SQLAlchemyError

from swapsync.clock import Clock
from swapsync.jobs.alerts import EVERY_SECONDS, Lookout
from swapsync.jobs.cycle import HOLDER, JOBS, SITES_AT_ONCE, RunRecord, open_workplace, run_job
from swapsync.jobs.timetable import due_after, trigger
from swapsync.jobs.workplace import Workplace
from swapsync.log import new_trace
from swapsync.settings import SiteSettings
from swapsync.store import leases, runs
from swapsync.store.db import Store

VISIT = "visit"
"""The lease under which a daemon is at a site, beside those of the jobs that it does there."""
STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})
FINISH_WITHIN = 60
"""Seconds that running jobs have to finish after a signal; then each ends with the call, or the wait before a repeated
call, that is under way: another minute and a half at most with the default time limit of a call."""


class AddressUnusable(Exception):
    """Health and metrics can't be answered there; the message says why."""


def run_daemon(
    sites: Sequence[SiteSettings], store: Store, clock: Clock, health_address: str | None = None
) -> signal.Signals:
    """Runs the sites' jobs on their schedules until SIGTERM or SIGINT, and returns which of them it was.

    What is running then is finished first, or handed back to the next run after ``FINISH_WITHIN``; what waits for its
    turn is not begun. A second signal ends the process at once. To be called from the main thread.
    ``health_address``: where health and metrics are answered, nowhere without it; raises AddressUnusable.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # what threads inherit: sigwait gets the signal
    try:
        stopping = Signal()
        places = [open_workplace(site, store, clock) for site in sites]
        scheduler = schedule(places, stopping, clock.now())
        with _answering(health_address, sites, store, clock, scheduler):
            return _run_until_signal(scheduler, places, stopping)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _answering(
    address: str | None, sites: Sequence[SiteSettings], store: Store, clock: Clock, scheduler: BackgroundScheduler
) -> AbstractContextManager[object]:
    if address is None:
        return nullcontext()
    from swapsync.health import answering, listen

    try:
        listener = listen(address)
    except OSError as error:
        raise AddressUnusable(f"{address} can't be listened on: {error.strerror}") from None
    return answering(listener, sites, store, clock, lambda: scheduler.state == STATE_RUNNING)


def _run_until_signal(scheduler: BackgroundScheduler, places: Sequence[Workplace], stopping: Signal) -> signal.Signals:
    scheduler.start()
    logger.info("started for {}", ", ".join(place.slug for place in places))
    received = signal.Signals(signal.sigwait(STOP_SIGNALS))
    for each in STOP_SIGNALS:
        signal.signal(each, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    logger.info("{}: finishing what is running; once more ends at once", received.name)
    finish(scheduler, places, stopping, FINISH_WITHIN)
    logger.info("stopped")
    return received


def finish(scheduler: BackgroundScheduler, places: Sequence[Workplace], stopping: Signal, within: float) -> None:
    """Ends the scheduler: begins nothing, and has what still runs after so many seconds handed back."""

    def hand_back() -> None:
        for place in places:
            place.hand_back()

    stopping.set()
    timer = Timer(within, hand_back)
    timer.start()
    scheduler.shutdown(wait=True)
    timer.cancel()


def schedule(
    places: Sequence[Workplace], stopping: Signal, start: datetime, holder: str = HOLDER
) -> BackgroundScheduler:
    """A scheduler, not yet started, that runs one whole cycle of each site from ``start`` on, then each job on time.

    A late run is made up for, once, however late it is. A job that is due while its run before is going on or waiting
    for its turn is skipped, and the log and the runs say so. One that another worker has run within its interval is
    left at that. Once ``stopping`` is set, nothing is begun any more. ``holder``: in whose name the leases are taken.
    Where a site has people to be told of trouble, they are, every ``EVERY_SECONDS``.
    """
    _log_trouble_of_apscheduler()
    scheduler = BackgroundScheduler(timezone=UTC)
    of_site = {place.slug: place for place in places}
    scheduler.add_listener(lambda event: _note_overlap(of_site, event), EVENT_JOB_MAX_INSTANCES)
    scheduler.add_executor(_Turns(lambda site: _visit(of_site[site], holder)), "sites")
    for place in places:
        for position, name in enumerate(JOBS):
            scheduler.add_job(
                _run,
                trigger(place.site.schedule[name], position),
                (place, name, stopping, holder),
                id=f"{place.slug}/{name}",
                executor="sites",
                next_run_time=start + _place_in_line(position),
                misfire_grace_time=None,
                coalesce=True,
                max_instances=1,
            )
    if any(place.site.alert_urls.get_secret_value() for place in places):
        scheduler.add_job(
            Lookout([place.site for place in places], places[0].store, places[0].clock).look,
            trigger(EVERY_SECONDS),
            id="alerts",
            misfire_grace_time=None,
            coalesce=True,
            max_instances=1,
        )
    return scheduler


class _Turns(DebugExecutor):  # type: ignore[misc]
    """Threads for so many sites at once: each works off what is due at one site, then turns to the next in line.

    ``visit`` is entered at a site with its slug; where it yields False, what is due there is left to another worker.
    """

    def __init__(self, visit: Callable[[str], AbstractContextManager[bool]]) -> None:
        super().__init__()
        self._visit = visit
        self._threads = ThreadPoolExecutor(SITES_AT_ONCE, thread_name_prefix="site")
        self._due: dict[str, deque[tuple[Job, list[datetime]]]] = defaultdict(deque)
        self._in_line: set[str] = set()

    def _do_submit_job(self, job: Job, run_times: list[datetime]) -> None:
        site = job.id.partition("/")[0]
        self._due[site].append((job, run_times))
        self._line_up(site)

    def _line_up(self, site: str) -> None:
        with self._lock:
            if self._due[site] and site not in self._in_line:
                self._in_line.add(site)
                self._threads.submit(self._work_off, site)

    def _work_off(self, site: str) -> None:
        due = self._due[site]
        try:
            with self._visit(site) as is_ours:
                while due:
                    job, run_times = due.popleft()
                    if is_ours:
                        super()._do_submit_job(job, run_times)  # which runs it
                    else:
                        self._run_job_success(job.id, [])
        except Exception as problem:  # noqa: BLE001 - it is logged in full, and the jobs can be due again
            while due:
                self._run_job_error(due.popleft()[0].id, problem, problem.__traceback__)
        self._in_line.discard(site)
        self._line_up(site)  # for what became due since

    def shutdown(self, wait: bool = True) -> None:
        """Begins with no other site; with ``wait``, returns when what runs has ended."""
        self._threads.shutdown(wait, cancel_futures=True)


@contextmanager
def _visit(place: Workplace, holder: str) -> Iterator[bool]:
    """Keeps other daemons away from a site meanwhile; yields False, and why stands in the log, while one is at it.

    Otherwise each of those that wake together would take one job of the site, and decide on what another still reads.
    """
    try:
        with place.store.transaction() as connection:
            lease = leases.take(connection, place.slug, VISIT, holder, place.store.now(connection, place.clock))
    except SQLAlchemyError:  # each job will find the same, and say so
        yield True
        return
    if lease is None:
        with logger.contextualize(site=place.slug):
            logger.debug("left to the daemon that is at this site")
        yield False
        return
    with leases.kept(place.store, place.clock, lease):
        yield True


def _place_in_line(position: int) -> timedelta:
    """Jobs that are due together queue up in the order of their due times: a millisecond sets them apart."""
    return timedelta(milliseconds=position)


def _run(place: Workplace, name: str, stopping: Signal, holder: str) -> RunRecord | None:
    """Runs a job, and returns its record to who listens to the scheduler; None where it was not run."""
    if stopping.is_set():
        return None
    trace = new_trace()
    with logger.contextualize(site=place.slug, job=name, trace=trace):
        try:
            record = run_job(
                place, name, JOBS[name], holder, is_due=lambda began: _is_due(place, name, began), trace=trace
            )
        except SQLAlchemyError as problem:  # the store may be away for a while; the next run tries again
            logger.error("not run: {}", str(problem).splitlines()[0])
            return None
        if record.status == "failed":  # run_job has logged why
            return record
        logger.bind(run=record.run or "-").info(
            "{}: {} read, {} changed, {} sent, {} failed in {:.2f} s{}",
            record.status,
            record.read,
            record.changed,
            record.sent,
            record.failed,
            record.seconds,
            "".join(f"; {remark}" for remark in record.remarks),
        )
        return record


def _is_due(place: Workplace, name: str, began: datetime) -> bool:
    """Whether a job that another worker began at that moment is due again, give or take a tenth of its interval."""
    every = place.site.schedule[name]
    due = due_after(every, began)
    early = timedelta(seconds=every / 10) if isinstance(every, int) else timedelta()
    return due is not None and place.clock.now() >= due - early


def _note_overlap(places: Mapping[str, Workplace], event: JobSubmissionEvent) -> None:
    site, name = event.job_id.split("/")
    place = places[site]
    reason = "its run before is not finished yet"
    with logger.contextualize(site=site, job=name):
        logger.warning("skipped: {}", reason)
        try:
            with place.store.transaction() as connection:
                runs.record_skip(connection, site, name, reason, place.clock.now())
        except SQLAlchemyError as problem:
            logger.error("the skip was not recorded: {}", str(problem).splitlines()[0])


class _ToLoguru(logging.Handler):
    """What APScheduler itself has to report as an error, in our log."""

    def emit(self, record: logging.LogRecord) -> None:
        logger.opt(exception=record.exc_info).error(record.getMessage())


def _log_trouble_of_apscheduler() -> None:
    apscheduler = logging.getLogger("apscheduler")
    if not any(isinstance(handler, _ToLoguru) for handler in apscheduler.handlers):
        apscheduler.addHandler(_ToLoguru(logging.ERROR))
