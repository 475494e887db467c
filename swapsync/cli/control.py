"""pause and resume: what people say about jobs."""

from typing import TYPE_CHECKING, Annotated

import typer

from swapsync.cli.context import JsonOption, SiteOption, UserError, actor, load, opened
from swapsync.cli.output import print_json, printable

if TYPE_CHECKING:
    from swapsync.settings import Settings

JobOption = Annotated[
    str | None, typer.Option("--job", metavar="NAME", help="Only this job, instead of all jobs of the merchant.")
]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(pause)
    app.command()(resume)


def pause(
    reason: Annotated[str, typer.Option(help="Why, for the record and for whoever wonders.")],
    site: SiteOption = None,
    job: JobOption = None,
    json: JsonOption = False,
) -> None:
    """Has jobs skipped until they are resumed. Every worker skips them; what runs now is finished."""
    from swapsync.clock import Clock
    from swapsync.jobs.typed import WORDS, one_line
    from swapsync.store import controls
    from swapsync.store.views import known_sites

    try:
        reason = one_line("--reason", reason, WORDS)
    except ValueError as error:
        raise UserError(str(error)) from None
    if not reason:
        raise UserError("--reason must not be blank: it is what others read who find the job paused")
    settings, now = _settings(site, job), Clock().now()
    with opened(settings) as store, store.transaction() as connection:
        known = known_sites(connection)
        for each in settings.sites:
            if each.slug not in known:
                raise UserError(f"{each.slug} has never run, so there is nothing to pause: start it when it may run")
            controls.pause(connection, each.slug, job or "", actor=actor(), reason=reason, now=now)
    _say([(each.slug, job or "") for each in settings.sites], "paused", json)


def resume(site: SiteOption = None, job: JobOption = None, json: JsonOption = False) -> None:
    """Lets paused jobs run again. Without --job: all of the merchant's."""
    from swapsync.clock import Clock
    from swapsync.store import controls

    settings, now = _settings(site, job), Clock().now()
    resumed = []
    with opened(settings) as store, store.transaction() as connection:
        for each in settings.sites:
            standing = [row.job for row in controls.paused(connection, [each.slug])]
            if job and job not in standing and "" in standing:
                raise UserError(f"all jobs of {each.slug} are paused, not {job} alone: resume without --job")
            jobs = controls.resume(connection, each.slug, [job] if job else standing, actor=actor(), now=now)
            resumed += [(each.slug, name) for name in jobs]
    _say(resumed, "resumed", json)


def _settings(site: str | None, job: str | None) -> "Settings":
    from swapsync.jobs.cycle import JOBS

    if job is not None and job not in JOBS:
        raise UserError(f"--job {job}: there is no such job; the jobs are {', '.join(JOBS)}")
    return load(site)


def _say(done: list[tuple[str, str]], what: str, json: bool) -> None:
    if json:
        print_json({what: [{"site": site, "job": job or "all"} for site, job in done]})
        return
    for site, job in done:
        typer.echo(printable(f"{site}: {job or 'all jobs'} {what}"))
    if not done:
        typer.echo("nothing is paused")
