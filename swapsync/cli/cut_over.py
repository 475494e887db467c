"""cut-over show and move: from when on swapsync acts, and the explicit way to change it."""

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swapsync.cli.context import JsonOption, SiteOption, UserError, actor, load, opened

if TYPE_CHECKING:
    from swapsync.jobs.cut_over import Moved
    from swapsync.jobs.plan import Plan
    from swapsync.settings import SiteSettings

cut_over = typer.Typer(no_args_is_help=True, help="Cut-over: from when on swapsync acts, and moving it.")


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(cut_over, name="cut-over")


@cut_over.command("show")
def show(site: SiteOption = None, json: JsonOption = False) -> None:
    """Shows each merchant's cut-over, stored and set. Also how many returns ended before it."""
    from swapsync.cli.output import print_json, print_table
    from swapsync.moments import or_none
    from swapsync.store import views

    settings = load(site)
    with opened(settings) as store, store.reading() as connection:
        stored = {item["site"]: item for item in views.status(connection, {each.slug: {} for each in settings.sites})}
    items = [
        {
            "site": each.slug,
            "effects_from": stored[each.slug]["effects_from"],
            "setting": or_none(each.effects_from),
            "settled_outside": stored[each.slug]["settled_outside"],
        }
        for each in settings.sites
    ]
    if json:
        print_json(items)
        return
    columns = ("site", "cut-over", "the settings say", " settled outside")
    rows = [
        (item["site"], item["effects_from"] or "not run yet", item["setting"] or "nothing", item["settled_outside"])
        for item in items
    ]
    print_table("Cut-over", columns, rows)


@cut_over.command("move")
def move(
    to: Annotated[
        str, typer.Option("--to", metavar="MOMENT", help="A day in UTC (2026-03-01), or a moment with a zone.")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without it, only show what would follow.")] = False,
    site: SiteOption = None,
    json: JsonOption = False,
) -> None:
    """Shows what another cut-over would mean; --yes moves it. Moving back brings returns to life."""
    from swapsync.cli.backfill import moment
    from swapsync.cli.output import counted, print_json
    from swapsync.clock import Clock
    from swapsync.jobs.cut_over import MoveRefused, preview_move
    from swapsync.jobs.cut_over import move as move_it
    from swapsync.moments import to_text

    target = moment("--to", to)
    settings = load(site)
    if len(settings.sites) != 1:
        raise UserError(f"--site is needed, one of {', '.join(each.slug for each in settings.sites)}")
    chosen: SiteSettings = settings.sites[0]
    clock = Clock()
    try:
        if yes:
            with opened(settings) as store:
                done = move_it(store, chosen.slug, target, actor=actor(), now=clock.now())
        else:
            with opened(settings, dry_run=True) as copy:
                moved, plan = preview_move(chosen, copy, clock, target)
    except MoveRefused as refusal:
        raise UserError(str(refusal)) from None
    if not yes:
        _show(moved, plan, json)
        if plan.failed:
            raise typer.Exit(1)
        return
    if json:
        moments = {"before": to_text(done.before), "to": to_text(done.to)}
        print_json(
            {"site": chosen.slug, "moved": True, **moments, "alive": done.alive, "settled_outside": done.outside}
        )
    else:
        typer.echo(f"Site {chosen.slug}: the cut-over moved from {to_text(done.before)} to {to_text(done.to)}")
        alive = counted(len(done.alive), "return")
        typer.echo(f"{alive} live again, {len(done.outside)} settled outside; swapsync sync goes on")


def _show(moved: "Moved", plan: "Plan", json: bool) -> None:
    from swapsync.cli.output import counted, print_json
    from swapsync.cli.plan import plans_as_json, print_writes
    from swapsync.moments import to_text

    totals = _credited(plan)
    if json:
        print_json(
            {
                "site": plan.site,
                "moved": False,
                "before": to_text(moved.before),
                "to": to_text(moved.to),
                "alive": moved.alive,
                "settled_outside": moved.outside,
                "credited": totals,
                **plans_as_json([plan]),
            }
        )
        return
    typer.echo(f"Site {plan.site}: from {to_text(moved.before)} to {to_text(moved.to)}")
    alive = counted(len(moved.alive), "return")
    typer.echo(f"{alive} would be live again, {len(moved.outside)} would count as settled outside")
    for currency, total in totals.items():
        typer.echo(f"{counted(total['count'], 'credit')}, {total['gross']} {currency} together, would be issued")
    print_writes(f"{counted(len(plan.writes), 'effect')} planned", plan.writes)
    for run in plan.runs:
        if run.error:
            typer.echo(f"{run.job} failed: {run.error}")
    typer.echo("Nothing was changed and nothing was sent; --yes moves it.")


def _credited(plan: "Plan") -> dict[str, dict[str, Any]]:
    """Number and sum of the credits that would be issued, by currency."""
    from swapsync.domain import money
    from swapsync.store.outbox import Kind

    counts, sums = Counter[str](), Counter[str]()
    for write in plan.writes:
        if write.kind is Kind.CREDIT:
            currency = write.facts["currency"]
            counts[currency] += 1
            sums[currency] -= money.to_minor(write.facts["total"], currency)
    return {
        currency: {"count": counts[currency], "gross": money.to_text(sums[currency], currency)}
        for currency in sorted(counts)
    }
