"""credit-notes void: undoing a wrong credit note by its opposite."""

from typing import Annotated

import typer

from swapsync.cli import look
from swapsync.cli.context import JsonOption, SiteOption, UserError, actor, load, opened


def register(app: typer.Typer) -> None:
    """Adds the command."""
    look.credit_notes.command("void")(void)


def void(
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="The credit note's number.")],
    reason: Annotated[str, typer.Option(help="Why; it stands on the void for good.")],
    site: SiteOption = None,
    json: JsonOption = False,
) -> None:
    """Voids a credit note that was delivered, by its opposite.

    The void goes out with the next sync; the return then waits for a person.
    """
    from swapsync.clock import Clock
    from swapsync.jobs.corrections import VoidRefused, void_credit_note
    from swapsync.store import views

    settings = load(site)
    with opened(settings) as store:
        with store.reading() as connection:
            found = views.list_credit_notes(connection, site=site, number=number).rows
        if len(found) > 1:
            slugs = ", ".join(sorted(note["site"] for note in found))
            raise UserError(f"credit note {number} exists at several sites; say which with --site: {slugs}")
        slug = found[0]["site"] if found else site
        described = next((each for each in settings.sites if slug in (None, each.slug)), None)
        if described is None:
            raise UserError(f"credit note {number} belongs to site {slug}, which the settings no longer describe")
        try:
            new = void_credit_note(store, described, number, reason=reason, actor=actor(), now=Clock().now())
        except VoidRefused as refusal:
            raise UserError(str(refusal)) from None
        with store.reading() as connection:
            [item] = views.list_credit_notes(connection, site=described.slug, number=new).rows
    if json:
        from swapsync.cli.output import print_json

        print_json(item)
        return
    typer.echo(f"{new} voids {number}: {item['gross']} {item['currency']}; swapsync sync delivers it")
    typer.echo(f"RMA {item['rma_number']} is held: decide on its exception whether it is credited again")
