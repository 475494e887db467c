"""sync: one whole cycle of jobs for each site."""

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swapsync.cli.context import DryRunOption, JsonOption, SiteOption, UserError, interruptible, load, opened

if TYPE_CHECKING:
    from swapsync.jobs.cycle import SiteReport
    from swapsync.jobs.plan import Plan


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(sync)


def sync(
    site: SiteOption = None,
    job: Annotated[
        list[str] | None, typer.Option("--job", metavar="NAME", help="Only this job of the cycle; may be repeated.")
    ] = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Runs one whole cycle for each merchant.

    It reads both systems, decides, and writes credits, restocks and notes.
    """
    from swapsync.cli.plan import plans_as_json, print_plans
    from swapsync.clock import Clock
    from swapsync.jobs.cycle import JOBS, run_sites
    from swapsync.jobs.plan import plan_sites

    unknown = set(job or ()) - set(JOBS)
    if unknown:
        raise UserError(f"--job {sorted(unknown)[0]}: there is no such job; the jobs are {', '.join(JOBS)}")
    settings = load(site)
    clock = Clock()
    started = clock.now()
    jobs = [name for name in JOBS if not job or name in job]
    plans: list[Plan] = []
    with (
        opened(settings, dry_run=dry_run) as store,
        interruptible(),
        _spinner("reading both systems, deciding, writing …"),
    ):
        if dry_run:
            plans = plan_sites(settings.sites, store, clock, jobs)
        reports = plans or run_sites(settings.sites, store, clock, jobs)
        if not dry_run and any(site.alert_urls.get_secret_value() for site in settings.sites):
            from swapsync.jobs.alerts import tell_everybody

            tell_everybody(settings.sites, store, clock)
    if json:
        from swapsync.cli.output import print_json
        from swapsync.moments import to_text

        print_json(
            {
                "started_at": to_text(started),
                "finished_at": to_text(clock.now()),
                "sites": [{"site": report.site, "jobs": [_as_json(run) for run in report.runs]} for report in reports],
                **(plans_as_json(plans) if dry_run else {}),
            }
        )
    else:
        print_reports(reports)
        if dry_run:
            print_plans(plans)
    if any(report.failed for report in reports):
        raise typer.Exit(1)


def _spinner(words: str) -> AbstractContextManager[object]:
    """Something that moves on a person's terminal while the work takes its time; nothing elsewhere."""
    if not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status(words)


def _as_json(run: Any) -> dict[str, Any]:
    return {
        "job": run.job,
        "status": run.status,
        "read": run.read,
        "changed": run.changed,
        "sent": run.sent,
        "failed": run.failed,
        "seconds": run.seconds,
        "error": run.error,
        "remarks": run.remarks,
    }


def print_reports(reports: "Sequence[SiteReport]") -> None:
    """What each site's jobs did, for people."""
    from swapsync.cli.output import print_table, printable

    for report in reports:
        print_table(
            f"Site {report.site}",
            ("job", "status", " read", " changed", " sent", " failed", " seconds"),
            [(r.job, r.status, r.read, r.changed, r.sent, r.failed, f"{r.seconds:.2f}") for r in report.runs],
        )
        for run in report.runs:
            for remark in [*run.remarks, *([run.error] if run.error else [])]:
                typer.echo(f"  {run.job}: {printable(remark)}")
