"""mappings list and forget: what people taught about words of the other side, and how it is taken back."""

from typing import Annotated

import typer

from swapsync.cli.context import JsonOption, SiteOption, UserError, actor
from swapsync.cli.look import store_for
from swapsync.cli.output import print_json, print_table, printable

mappings = typer.Typer(no_args_is_help=True, help="Mappings: what people said words mean, and taking it back.")


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(mappings, name="mappings")


@mappings.command("list")
def list_mappings(site: SiteOption = None, json: JsonOption = False) -> None:
    """Lists what people taught. SKUs that stand for others, payment routes, and words of Swap."""
    from swapsync.store import views

    with store_for(site) as (_, store), store.reading() as connection:
        taught = views.list_mappings(connection, site)
    if json:
        print_json(taught)
        return
    columns = ("site", "kind", "word", "means", "by", "at")
    rows = [(m["site"], m["kind"], m["word"], m["meaning"], m["actor"], m["taught_at"]) for m in taught]
    print_table("Mappings" if rows else "Mappings: none", columns, rows)


@mappings.command("forget")
def forget(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="As mappings list shows it: alias, payment_method, ...")],
    word: Annotated[str, typer.Argument(metavar="WORD", help="The word; of an alias the SKU in Swap.")],
    site: SiteOption = None,
) -> None:
    """Takes back what a word was said to mean. What waited is decided again with the next sync."""
    from swapsync.clock import Clock
    from swapsync.jobs.rulings import RulingRefused
    from swapsync.jobs.rulings import forget as take_back

    with store_for(site) as (_, store):
        try:
            gone = take_back(store, kind, word, site=site, actor=actor(), now=Clock().now())
        except RulingRefused as refusal:
            raise UserError(str(refusal)) from None
    said = f"{gone['kind']} {gone['word']} no longer means {gone['meaning']}"
    typer.echo(printable(f"{said}; swapsync sync decides again what waits"))
