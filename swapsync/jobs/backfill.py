"""backfill: reads a span of history in windows that need not be read twice, then decides and delivers.

Returns are read by the moment of their submission, orders by the moment they were placed. The watermarks of the live
polls stay where they are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from swapsync.clock import Clock
from swapsync.jobs import poll_orders, poll_returns
from swapsync.jobs.cycle import JOBS, Job, at_each_site, run_job
from swapsync.jobs.plan import Plan, add_plan
from swapsync.jobs.workplace import Tally, Workplace
from swapsync.settings import SiteSettings
from swapsync.store import runs
from swapsync.store.db import Store

WINDOW = timedelta(days=7)
EDGE = timedelta(seconds=1)
"""Each window is read this much beyond both ends: neither system promises that its bounds are inclusive."""
LISTS = 2
"""Lists that are read window by window: returns and orders."""

DELIVERIES = ("push_credits", "push_restocks", "push_status")

Window = tuple[datetime, datetime]


@dataclass
class BackfillReport(Plan):
    """What a backfill of one site came to. A window counts once for each list that was read, or had been before."""

    windows_read: int = 0
    windows_skipped: int = 0


def windows(since: datetime, until: datetime) -> list[Window]:
    """The span in windows of ``WINDOW`` from ``since`` on, the last one cut off at ``until``."""
    count = -((since - until) // WINDOW)
    return [(since + n * WINDOW, min(since + (n + 1) * WINDOW, until)) for n in range(count)]


def backfill_sites(
    sites: Sequence[SiteSettings],
    store: Store,
    clock: Clock,
    span: Sequence[Window],
    *,
    again: bool,
    advance: Callable[[], None],
) -> list[BackfillReport]:
    """Backfills several sites side by side.

    ``again`` reads windows that were finished before, too. On a copy of the store it plans what it would otherwise
    deliver. ``advance`` is called after each window of each list, from any thread.
    """

    def one(place: Workplace) -> BackfillReport:
        backfill = Backfill(span, BackfillReport(place.slug, []), again, advance)
        for name, job in backfill.jobs().items():
            if not place.stopping.is_set() and not (store.is_copy and name in DELIVERIES):
                backfill.report.runs.append(run_job(place, name, job))
        if store.is_copy and not place.stopping.is_set():
            add_plan(place, backfill.report)
        return backfill.report

    return at_each_site(sites, store, clock, one)


@dataclass
class Backfill:
    """A backfill of one site: its windows, and what it came to so far."""

    span: Sequence[Window]
    report: BackfillReport
    again: bool = False
    advance: Callable[[], None] = lambda: None

    def jobs(self) -> dict[str, Job]:
        """What is done, by name, in this order."""
        reads: dict[str, Job] = {"backfill_returns": self._read_returns, "backfill_orders": self._read_orders}
        return reads | {name: JOBS[name] for name in ("poll_skus", "reconcile", *DELIVERIES)}

    def _read_returns(self, place: Workplace, tally: Tally) -> None:
        def walk(since: datetime, until: datetime) -> bool:
            return poll_returns.walk_until_quiet(
                place,
                tally,
                lambda page: place.swap.returns_page(page=page, submitted_from=since, submitted_to=until),
                at_end=lambda connection, newest: None,
            )

        self._read_windows(place, tally, poll_returns.STREAM, walk)

    def _read_orders(self, place: Workplace, tally: Tally) -> None:
        def walk(since: datetime, until: datetime) -> bool:
            return poll_orders.walk_until_quiet(place, tally, placed_from=since, placed_to=until)

        self._read_windows(place, tally, poll_orders.STREAM, walk)
        poll_orders.read_what_returns_need(place, tally)

    def _read_windows(
        self, place: Workplace, tally: Tally, stream: str, walk: Callable[[datetime, datetime], bool]
    ) -> None:
        complete_until = place.clock.now() - timedelta(seconds=place.site.overlap_seconds)
        with place.store.reading() as connection:
            finished = set() if self.again else runs.finished_windows(connection, place.slug, stream)
        restless = 0
        for since, until in self.span:
            if (since, until) in finished:
                self.report.windows_skipped += 1
            else:
                quiet = walk(since - EDGE, until + EDGE)
                self.report.windows_read += 1
                restless += not quiet
                if quiet and until <= complete_until:
                    with place.writing() as connection:
                        runs.finish_window(connection, place.slug, stream, since, until, place.clock.now())
            self.advance()
        if restless:
            tally.remarks.append(
                f"the list moved during every walk of {restless} windows; what was read is kept, "
                "the next call reads them again"
            )
