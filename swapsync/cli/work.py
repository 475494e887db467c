"""Commands with which people do their part: the warehouse's findings, and decisions about exceptions."""

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swapsync.cli import look
from swapsync.cli.context import JsonOption, SiteOption, UserError, load, opened

if TYPE_CHECKING:
    from swapsync.jobs.inspection import Entry, Intake
    from swapsync.store.db import Store


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(inspect)
    look.exceptions.command("resolve")(resolve)


def inspect(
    rma: Annotated[str | None, typer.Argument(metavar="[RMA]", help="The return's RMA number.")] = None,
    sku: Annotated[str | None, typer.Option(help="The SKU that was found, as it stands on the return.")] = None,
    condition: Annotated[
        str | None, typer.Option(help="sellable, damaged, missing, wrong_item, no_value or unexpected.")
    ] = None,
    quantity: Annotated[str | None, typer.Option(help="How many units.")] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            help="A CSV file instead: rma,sku,condition,quantity[,reference]. Loaded twice, it counts once; a "
            "reference (a scan number, say) tells two equal findings of different files apart."
        ),
    ] = None,
    site: SiteOption = None,
    json: JsonOption = False,
) -> None:
    """Records what the warehouse found in a returned parcel. Credits and restocks follow with the next sync."""
    from swapsync.clock import Clock
    from swapsync.jobs.inspection import record_findings

    entries = _entries(rma, sku, condition, quantity, file)
    settings = load(site, require_sites=False)
    with opened(settings) as store:
        slug = _only_site(store, site)
        intake = record_findings(store, slug, entries, actor=getpass.getuser(), now=Clock().now())
    if file is None and intake.refused:
        raise UserError(intake.refused[0][1])
    _print_intake(intake, json)


def _entries(
    rma: str | None, sku: str | None, condition: str | None, quantity: str | None, file: Path | None
) -> "list[Entry]":
    import uuid

    from swapsync.jobs.inspection import Entry, UnreadableFile, read_file

    typed = {"RMA": rma, "--sku": sku, "--condition": condition, "--quantity": quantity}
    if file is not None:
        if given := [name for name, value in typed.items() if value is not None]:
            raise UserError(f"--file and {given[0]} can't go together")
        try:
            return read_file(file.read_bytes())
        except (UnreadableFile, OSError) as error:
            raise UserError(f"{file}: {getattr(error, 'strerror', None) or error}") from None
    if missing := [name for name, value in typed.items() if value is None]:
        raise UserError(f"{missing[0]} is missing: swapsync inspect RMA --sku SKU --condition C --quantity N")
    return [Entry(rma or "", sku or "", condition or "", quantity or "", key=uuid.uuid4().hex)]


def _only_site(store: "Store", site: str | None) -> str:
    """The site that is meant. Raises UserError when that isn't clear."""
    from sqlalchemy import select

    from swapsync.store.runs import sites

    with store.reading() as connection:
        known: list[str] = list(connection.execute(select(sites.c.slug).order_by(sites.c.slug)).scalars())
    chosen = [slug for slug in known if site in (None, slug)]
    if len(chosen) == 1:
        return chosen[0]
    if not known:
        raise UserError("the store knows no returns yet: run swapsync sync first")
    raise UserError(f"--site is needed, one of {', '.join(known)}")


def _print_intake(intake: "Intake", json: bool) -> None:
    if json:
        from swapsync.cli.output import print_json

        def shown(entry: "Entry") -> dict[str, Any]:
            return {
                "row": entry.row or None,
                "rma_number": entry.rma,
                "sku": entry.sku,
                "condition": entry.condition,
                "quantity": entry.quantity,
            }

        print_json(
            {
                "taken": [shown(entry) for entry in intake.taken],
                "repeated": [shown(entry) for entry in intake.repeated],
                "refused": [shown(entry) | {"reason": reason} for entry, reason in intake.refused],
            }
        )
        return
    from swapsync.cli.output import printable

    for entry in intake.taken:
        typer.echo(printable(f"taken: RMA {entry.rma}, {entry.quantity} x {entry.sku} {entry.condition}"))
    for entry in intake.repeated:
        typer.echo(printable(f"known already, line {entry.row}: RMA {entry.rma}, {entry.quantity} x {entry.sku}"))
    for entry, reason in intake.refused:
        typer.echo(printable(f"refused, line {entry.row}: {reason}"))


def resolve(
    exception_id: Annotated[int, typer.Argument(metavar="ID", help="The exception's number.")],
    action: Annotated[str, typer.Option(help="What to do; exceptions show ID lists what is possible.")],
    value: Annotated[str, typer.Option(help="What the action needs: a PO number, a SKU, an order.")] = "",
    note: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    json: JsonOption = False,
) -> None:
    """Decides an exception. What follows from it is done with the next sync."""
    from swapsync.clock import Clock
    from swapsync.jobs.rulings import RulingRefused, rule

    settings = load(require_sites=False)
    with opened(settings) as store:
        try:
            row = rule(
                store,
                exception_id,
                action,
                value=value,
                note=note,
                actor=getpass.getuser(),
                now=Clock().now(),
            )
        except RulingRefused as refusal:
            raise UserError(str(refusal)) from None
    if json:
        from swapsync.cli.output import print_json

        print_json({"id": row.id, "site": row.site, "code": row.code, "action": action, "value": value, "note": note})
    else:
        typer.echo(f"exception {row.id} ({row.code}): {action} noted; swapsync sync does what follows from it")
