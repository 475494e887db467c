"""backfill: history in resumable windows, with a plan of its effects under ``--dry-run``."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Annotated

import typer

from swapsync.cli.context import DryRunOption, JsonOption, SiteOption, UserError, interruptible, load, opened

if TYPE_CHECKING:
    from swapsync.jobs.backfill import BackfillReport

_MOMENT = "a day in UTC (2026-03-01) or a moment with a zone (2026-03-01T08:00:00Z)"


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(backfill)


def backfill(
    since: Annotated[str, typer.Option("--since", metavar="D", help=f"Where to begin: {_MOMENT}.")],
    until: Annotated[
        str | None, typer.Option("--until", metavar="D", help="Where to end, a day meaning its start; default: now.")
    ] = None,
    dry_run: DryRunOption = False,
    again: Annotated[bool, typer.Option("--again", help="Read windows that were read before, too.")] = False,
    site: SiteOption = None,
    json: JsonOption = False,
) -> None:
    """Reads older returns and orders, window by window. What follows from them is done; an interrupted call goes on."""
    from swapsync.clock import Clock

    clock = Clock()
    now = clock.now()
    begin = moment("--since", since)
    end = min(now, moment("--until", until)) if until else now
    if begin >= end:
        raise UserError(f"--since {since}: it must lie before --until, and in the past")
    settings = load(site)

    from swapsync.jobs.backfill import LISTS, backfill_sites, windows

    span = windows(begin, end)
    with (
        opened(settings, dry_run=dry_run) as store,
        interruptible(),
        _progress(len(span) * LISTS * len(settings.sites)) as advance,
    ):
        reports = backfill_sites(settings.sites, store, clock, span, again=again, advance=advance)
    if json:
        _print_json(begin, end, dry_run, reports)
    else:
        _print(dry_run, reports)
    if any(report.failed for report in reports):
        raise typer.Exit(1)


def moment(option: str, text: str) -> datetime:
    """A day in UTC (its midnight) or an ISO moment with its zone. Raises UserError."""
    try:
        if len(text) == len("2026-03-01"):
            return datetime.combine(date.fromisoformat(text), time(), UTC)
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise UserError(f"{option} {text}: it must be {_MOMENT}") from None
    raise UserError(f"{option} {text}: a time of day needs a zone, such as Z or +01:00")


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """A progress bar on stderr where somebody looks at it; yields what moves it on by one window."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = ("windows", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)


def _print(dry_run: bool, reports: "Sequence[BackfillReport]") -> None:
    from swapsync.cli.plan import print_plans
    from swapsync.cli.run import print_reports

    print_reports(list(reports))
    for report in reports:
        typer.echo(f"Site {report.site}: {report.windows_read} windows read, {report.windows_skipped} read before")
    if dry_run:
        print_plans(reports)


def _print_json(since: datetime, until: datetime, dry_run: bool, reports: "Sequence[BackfillReport]") -> None:
    from dataclasses import asdict

    from swapsync.cli.output import print_json
    from swapsync.cli.plan import plans_as_json
    from swapsync.moments import to_text

    print_json(
        {
            "since": to_text(since),
            "until": to_text(until),
            "sites": [
                {
                    "site": report.site,
                    "windows": {"read": report.windows_read, "skipped": report.windows_skipped},
                    "jobs": [asdict(run) for run in report.runs],
                }
                for report in reports
            ],
            **(plans_as_json(reports) if dry_run else {"dry_run": False, "planned": []}),
        }
    )
