"""Commands with which people do their part: the warehouse's findings, and decisions about exceptions."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swapsync.cli import look
from swapsync.cli.context import MAX_ID, JsonOption, SiteOption, UserError, actor, load, opened
from swapsync.domain.catalogue import Code

if TYPE_CHECKING:
    from sqlalchemy import Row

    from swapsync.jobs.inspection import Entry, Intake
    from swapsync.store.db import Store


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(inspect)
    look.exceptions.command("resolve")(resolve)
    look.exceptions.command("assign")(assign)
    look.exceptions.command("comment")(comment)


def inspect(
    rma: Annotated[str | None, typer.Argument(metavar="[RMA]", help="The return's RMA number.")] = None,
    sku: Annotated[str | None, typer.Option(help="The SKU that was found, as it stands on the return.")] = None,
    condition: Annotated[
        str | None, typer.Option(help="sellable, damaged, missing, wrong_item, no_value or unexpected.")
    ] = None,
    quantity: Annotated[
        str | None,
        typer.Option(help="How many units. More than are not inspected yet are missing ones that turned up."),
    ] = None,
    line: Annotated[
        str | None,
        typer.Option(metavar="LINE_ID", help="Which line, as returns show has it, where several have the SKU."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            help="A CSV file instead: rma,sku,condition,quantity[,line][,reference]. Loaded twice, it counts once; a "
            "reference (a scan number, say) tells two equal findings of different files apart."
        ),
    ] = None,
    site: SiteOption = None,
    json: JsonOption = False,
) -> None:
    """Records what the warehouse found in a returned parcel. Credits and restocks follow with the next sync."""
    from swapsync.clock import Clock
    from swapsync.jobs.inspection import record_findings

    entries = _entries(rma, sku, condition, quantity, line, file)
    settings = load(site, require_sites=False)
    with opened(settings) as store:
        slug = _only_site(store, site)
        intake = record_findings(store, slug, entries, actor=actor(), now=Clock().now())
    if file is None and intake.refused:
        raise UserError(intake.refused[0][1])
    _print_intake(intake, json)


def _entries(
    rma: str | None,
    sku: str | None,
    condition: str | None,
    quantity: str | None,
    line: str | None,
    file: Path | None,
) -> "list[Entry]":
    import uuid

    from swapsync.jobs.inspection import Entry, UnreadableFile, read_file

    typed = {"RMA": rma, "--sku": sku, "--condition": condition, "--quantity": quantity}
    if file is not None:
        if given := [name for name, value in (*typed.items(), ("--line", line)) if value is not None]:
            raise UserError(f"--file and {given[0]} can't go together")
        try:
            return read_file(file.read_bytes())
        except (UnreadableFile, OSError) as error:
            raise UserError(f"{file}: {getattr(error, 'strerror', None) or error}") from None
    if missing := [name for name, value in typed.items() if value is None]:
        raise UserError(f"{missing[0]} is missing: swapsync inspect RMA --sku SKU --condition C --quantity N")
    return [Entry(rma or "", sku or "", condition or "", quantity or "", key=uuid.uuid4().hex, line=line or "")]


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
                "line_id": entry.line or None,
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
    if any(entry.row for entry in [*intake.taken, *intake.repeated, *(entry for entry, _ in intake.refused)]):
        counts = f"{len(intake.taken)} taken, {len(intake.repeated)} known already, {len(intake.refused)} refused"
        typer.echo(f"{counts}; a corrected file can be loaded again, what was taken counts once")


ExceptionIds = Annotated[list[int], typer.Argument(metavar="ID...", max=MAX_ID, help="The exceptions' numbers.")]


def resolve(
    action: Annotated[str, typer.Option(help="What to do; exceptions show ID lists what is possible.")],
    ids: Annotated[
        list[int] | None, typer.Argument(metavar="[ID...]", max=MAX_ID, help="The exceptions' numbers.")
    ] = None,
    value: Annotated[str, typer.Option(help="What the action needs: a PO number, a SKU, an order.")] = "",
    note: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    seen: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            max=MAX_ID,
            help="What exceptions show, or --code without --yes, printed; what changed or opened since is refused.",
        ),
    ] = None,
    code: Annotated[
        Code | None,
        typer.Option(metavar="CODE", case_sensitive=False, help="Instead of IDs: all open ones of this kind."),
    ] = None,
    sku: Annotated[str | None, typer.Option(help="With --code: only for this SKU.")] = None,
    order: Annotated[str | None, typer.Option(help="With --code: only for this order.")] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="With --code and --seen: do it, having seen how many there are.")
    ] = False,
    site: SiteOption = None,
    json: JsonOption = False,
) -> None:
    """Decides exceptions, one or many. What follows from it is done with the next sync.

    Each is decided by itself: one that can't be is named with the reason, and the others are decided.
    """
    from swapsync.cli.output import counted
    from swapsync.jobs.rulings import rule

    if bool(ids) == bool(code):
        raise UserError("name the exceptions by their numbers (see swapsync exceptions list), or by --code")
    with opened(load(require_sites=False)) as store:
        if code:
            open_ones = _open_ones(store, code, sku, order, site)
            chosen = [row["id"] for row in open_ones]
            if not yes or seen is None:
                would = f"{action} would decide {counted(len(chosen), 'open exception')}"
                raise UserError(f"{would}; to do it: --yes --seen {open_ones[0]['as_of']}")
        else:
            chosen = list(dict.fromkeys(ids or ()))
        done, refused = _each(chosen, lambda i, told: rule(store, i, action, value=value, note=note, seen=seen, **told))
    if len(chosen) == 1 and refused:
        raise UserError(refused[chosen[0]])
    if json:
        from swapsync.cli.output import print_json

        shown: list[dict[str, Any]] = [
            {
                "id": row.id,
                "site": row.site,
                "code": row.code,
                "action": action,
                "value": value,
                "note": note,
                "remark": remark or None,
            }
            for row, remark in done
        ]
        also = [{"id": id_, "refused": why} for id_, why in refused.items()]
        print_json(shown[0] if ids and len(chosen) == 1 else [*shown, *also])
        return
    _print_each(done, refused, f"{action} noted; swapsync sync does what follows from it")


def assign(
    ids: ExceptionIds,
    to: Annotated[str, typer.Option(metavar="NAME", help="Who takes it; blank: nobody.")],
) -> None:
    """Gives exceptions to a person."""
    from swapsync.jobs.rulings import assign

    with opened(load(require_sites=False)) as store:
        done, refused = _each(ids, lambda i, told: (assign(store, i, to, **told), ""))
    _print_each(done, refused, f"assigned to {to.strip() or 'nobody'}")


def comment(
    exception_id: Annotated[int, typer.Argument(metavar="ID", max=MAX_ID, help="The exception's number.")],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to say.")],
) -> None:
    """Adds a comment to an exception. exceptions show ID lists them."""
    from swapsync.jobs.rulings import comment

    with opened(load(require_sites=False)) as store:
        done, refused = _each([exception_id], lambda i, told: (comment(store, i, text, **told), ""))
    _print_each(done, refused, "commented")


def _open_ones(
    store: "Store", code: Code, sku: str | None, order: str | None, site: str | None
) -> list[dict[str, Any]]:
    from swapsync.store.views import list_exceptions

    with store.reading() as connection:
        page = list_exceptions(connection, code=code, sku=sku, order=order, site=site)
    if not page.rows:
        raise UserError(f"there is no open exception of code {code}{' like that' if sku or order or site else ''}")
    return page.rows


Done = list[tuple["Row[Any]", str]]
"""Exceptions with which something was done, each with what else the person should know."""


def _each(
    ids: Iterable[int], do: "Callable[[int, dict[str, Any]], tuple[Row[Any], str]]"
) -> tuple[Done, dict[int, str]]:
    """Does something with each exception: (those with which it was done, why not by id)."""
    from swapsync.clock import Clock
    from swapsync.jobs.rulings import RulingRefused

    done: Done = []
    refused = {}
    who = actor()
    for exception_id in ids:
        try:
            done.append(do(exception_id, {"actor": who, "now": Clock().now()}))
        except RulingRefused as refusal:
            refused[exception_id] = str(refusal)
    return done, refused


def _print_each(done: Done, refused: dict[int, str], what: str) -> None:
    """One line for each. Raises UserError when nothing was done."""
    from swapsync.cli.output import printable

    if not done:
        raise UserError("; ".join(dict.fromkeys(refused.values())))
    for row, remark in done:
        typer.echo(printable(f"exception {row.id} ({row.code}): {what}{f'; {remark}' if remark else ''}"))
    for exception_id, why in refused.items():
        typer.echo(printable(f"exception {exception_id}: refused: {why}"))
