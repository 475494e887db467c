"""The command that closes a month: reconcile."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swapsync.cli.context import DryRunOption, JsonOption, SiteOption, UserError, interruptible, load, opened

if TYPE_CHECKING:
    from swapsync.jobs.compare import Period
    from swapsync.jobs.plan import Plan
    from swapsync.reports.month_end import Difference, MonthEnd

_MONTH = re.compile(r"[0-9]{4}-[0-9]{2}")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SETTLED = {"none": "nothing to settle yet"}
_SAYS = {
    "void": "voided or withdrawn",
    "withdrawn": "less withdrawn before they went out",
    "voids": "less voids issued",
    "credited": "so credited",
}


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(reconcile)


def reconcile(
    month: Annotated[
        str | None,
        typer.Option("--month", metavar="YYYY-MM", help="A calendar month in UTC; default: the current one."),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="D", help="From this day or moment on; goes with --until.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="D", help="Up to this day or moment, which is left out.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write the month-end files into this folder.")
    ] = None,
    fail_on_difference: Annotated[
        bool, typer.Option("--fail-on-difference", help="End with exit code 3 when there is a difference.")
    ] = False,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
    site: SiteOption = None,
) -> None:
    """Compares both systems with our ledger for the month-end.

    Differences open and close exceptions; with --out, the month-end files are written.
    """
    from swapsync.cli.plan import print_plans
    from swapsync.clock import Clock
    from swapsync.jobs.compare import reconcile_sites
    from swapsync.reports.month_end import read_month_end, write_files

    clock = Clock()
    period = _period(month, since, until, clock.now())
    settings = load(site)
    if out is not None:
        _prepare(out)
    with opened(settings, dry_run=dry_run) as store:
        with interruptible(), _progress() as watch:
            runs = reconcile_sites(settings.sites, store, clock, period, watch)
        with store.reading() as connection:
            reports = [read_month_end(connection, each.slug, period) for each in settings.sites]
    try:
        files = write_files(out, reports) if out is not None else []
    except OSError as error:
        raise UserError(f"--out {out}: {error.strerror or error}") from None
    if json:
        _print_json(period, runs, reports, files, dry_run)
    else:
        _print_for_people(period, runs, reports, files)
        if dry_run:
            print_plans(runs)
    not_compared = [record for run in runs for record in run.runs if record.job == "compare" and record.status != "ok"]
    if not_compared or any(run.failed for run in runs):  # a comparison that was not made proves nothing
        raise typer.Exit(1)
    if fail_on_difference and any(report.differences for report in reports):
        raise typer.Exit(3)


def _period(month: str | None, since: str | None, until: str | None, now: datetime) -> "Period":
    """The period that the options name, by default the current calendar month in UTC. Raises UserError."""
    from swapsync.jobs.compare import Period

    if month is not None and (since is not None or until is not None):
        raise UserError("--month says the whole period; leave out --since and --until")
    if (since is None) != (until is None):
        raise UserError("--since and --until go together")
    if since is not None and until is not None:
        period = Period(_moment("--since", since), _moment("--until", until))
        if period.since >= period.until:
            raise UserError("--since must lie before --until")
        return period
    if month is None:
        return _month_of(now.astimezone(UTC).year, now.astimezone(UTC).month)
    try:
        if not _MONTH.fullmatch(month):
            raise ValueError
        return _month_of(int(month[:4]), int(month[5:]))
    except ValueError:
        raise UserError(f"--month {month}: not a month; write it as 2026-03") from None


def _month_of(year: int, month: int) -> "Period":
    from swapsync.jobs.compare import Period

    following = (year + 1, 1) if month == 12 else (year, month + 1)
    return Period(datetime(year, month, 1, tzinfo=UTC), datetime(*following, 1, tzinfo=UTC))


def _moment(option: str, value: str) -> datetime:
    """A day (its midnight in UTC) or an ISO moment with its zone. Raises UserError."""
    try:
        moment = datetime.fromisoformat(f"{value}T00:00:00Z" if _DAY.fullmatch(value) else value)
        if moment.tzinfo is None:
            raise UserError(f"{option} {value}: the zone is missing; write a day as 2026-03-01 or a moment with Z")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise UserError(f"{option} {value}: neither a day (2026-03-01) nor a moment (2026-03-01T08:00:00Z)") from None


def _prepare(out: Path) -> None:
    """Makes sure of the folder before anything else is done. Raises UserError."""
    from tempfile import TemporaryFile

    try:
        out.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise UserError(f"--out {out}: {error.strerror or error}") from None


@contextmanager
def _progress() -> Iterator[Callable[[str, str, int, int], None]]:
    """A bar for each site on stderr, where somebody watches; silent under cron."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    bars: dict[str, TaskID] = {}
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:

        def watch(site: str, job: str, done: int, total: int) -> None:
            if site not in bars:
                bars[site] = progress.add_task(site)
            progress.update(bars[site], description=f"{site}: {job}", completed=done, total=total or None)

        yield watch


def _print_json(
    period: "Period",
    runs: "Sequence[Plan]",
    reports: "Sequence[MonthEnd]",
    files: Sequence[Path],
    dry_run: bool,
) -> None:
    from dataclasses import asdict

    from swapsync.cli.output import print_json
    from swapsync.cli.plan import plans_as_json
    from swapsync.moments import to_text
    from swapsync.reports.month_end import totals

    print_json(
        {
            "period": {"since": to_text(period.since), "until": to_text(period.until)},
            "totals": totals(reports),
            "differences": [_as_json(each) for report in reports for each in report.differences],
            "files": [str(path) for path in files],
            "sites": [
                {"site": run.site, "totals": report.totals, "jobs": [asdict(record) for record in run.runs]}
                for run, report in zip(runs, reports, strict=True)
            ],
            **(plans_as_json(runs) if dry_run else {}),
        }
    )


def _as_json(difference: "Difference") -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(difference) | {"amount": _amount(difference)}


def _amount(difference: "Difference") -> str | None:
    from swapsync.domain.money import to_text

    return None if difference.amount is None else to_text(difference.amount, difference.currency)


def _print_for_people(
    period: "Period", runs: "Sequence[Plan]", reports: "Sequence[MonthEnd]", files: Sequence[Path]
) -> None:
    from swapsync.cli.output import counted, print_table, printable
    from swapsync.moments import to_text

    typer.echo(f"From {to_text(period.since)} up to {to_text(period.until)}")
    for run, report in zip(runs, reports, strict=True):
        for currency, figures in report.totals.items():
            print_table(f"Site {run.site}, {currency or 'no currency'}", ("", " count", " amount"), _lines(figures))
        if not report.totals:
            typer.echo(f"Site {run.site}: nothing in this period")
        if report.differences:
            print_table(
                f"Site {run.site}: {counted(len(report.differences), 'difference')}",
                ("code", "RMA", "order", " amount", "", "detail"),
                [(d.code, d.rma_number, d.order_name, _amount(d), d.currency, d.detail) for d in report.differences],
            )
        else:
            typer.echo(f"Site {run.site}: no differences")
        for record in run.runs:
            if record.status != "ok" or record.remarks:
                said = "; ".join([*record.remarks, *([record.error] if record.error else [])])
                typer.echo(f"Site {run.site}: {record.job} {record.status}: {printable(said)}")
    for path in files:
        typer.echo(f"Wrote {path}")


def _lines(figures: dict[str, Any]) -> list[tuple[object, ...]]:
    """The figures of one currency, a line each; what is nothing at all is left out below the headings."""
    returned, notes = figures["returns"], figures["credit_notes"]
    named = [
        ("returns submitted in it, at Swap's value", figures["announced"]["count"], figures["announced"]["value"]),
        ("returns submitted, closed or credited in it, at Swap's value", returned["count"], returned["value"]),
        *(
            (f"  {_SETTLED.get(name) or name.replace('_', ' ')}", e["count"], e["value"])
            for name, e in returned["by_settlement"].items()
        ),
        ("credit notes issued", notes["issued"]["count"], notes["issued"]["gross"]),
        *(
            (f"  {_SAYS.get(name, name)}", notes[name]["count"], notes[name]["gross"])
            for name in notes
            if name != "issued"
        ),
        ("  net", "", notes["issued"]["net"]),
        ("  tax", "", notes["issued"]["tax"]),
        ("refunded by the gateway", figures["gateway_refunds"]["count"], figures["gateway_refunds"]["amount"]),
        ("settled outside, before the cut-over", *figures["settled_outside"].values()),
    ]
    return [line for line in named if line[1] or not str(line[0]).startswith("  ") or line[0] in ("  net", "  tax")]
