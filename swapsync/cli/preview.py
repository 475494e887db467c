"""returns preview: what would follow for one return, and why."""

from typing import Annotated, Any

import typer

from swapsync.cli import look
from swapsync.cli.context import JsonOption, SiteOption, UserError, load, opened


def register(app: typer.Typer) -> None:
    """Adds the command."""
    look.returns.command("preview")(preview_return)


def preview_return(
    rma: Annotated[str, typer.Argument(metavar="RMA", help="The RMA number, or Swap's id of the return.")],
    site: SiteOption = None,
    json: JsonOption = False,
) -> None:
    """Shows what would follow for one return, rule by rule.

    What would be credited, moved and noted, and why. It rests on what the last polls read; nothing is written and
    nothing is sent.
    """
    from swapsync.clock import Clock
    from swapsync.jobs.cycle import open_workplace
    from swapsync.jobs.reconcile import preview
    from swapsync.reports.preview import preview_as_json

    settings = load(site)
    with opened(settings) as store:
        with store.reading() as connection:
            slug, return_id = look.the_return(connection, rma, site)
        described = [each for each in settings.sites if each.slug == slug]
        if not described:
            raise UserError(f"RMA {rma} belongs to site {slug}, which the settings no longer describe")
        place = open_workplace(described[0], store, Clock())
        found = preview(place, return_id)
        if found is None:
            raise UserError(f"the order of RMA {rma} is still to be read from SparkLayer: run swapsync sync --dry-run")
        item = preview_as_json(place, found)
    if json:
        from swapsync.cli.output import print_json

        print_json(item)
    else:
        _print(item)


def _print(item: dict[str, Any]) -> None:
    from swapsync.cli.output import print_table

    note = item["credit_note"]
    po_number = f", PO {item['po_number']}" if item["po_number"] else ""
    look.print_facts(
        f"Return {item['rma_number']}: preview",
        {
            "order": f"{item['order_name']}, {item['payment_method'] or 'payment method not known'}",
            "settlement": item["state"]["settlement"],
            "credit note": f"{note['gross']} {note['currency']} ({note['net']} net, {note['tax']} tax){po_number}"
            if note
            else "none",
            **{f"held by {hold['code']}": f"{hold['detail']} (holds {hold['holds']})" for hold in item["holds"]},
        },
    )
    print_table(
        "Lines",
        ("SKU", " announced", "found", " accepted", " credited before", " credit now", "how it is worked out"),
        [
            (
                line["sku"] or line["line_id"],
                line["announced"],
                ", ".join(f"{units} {condition}" for condition, units in line["found"].items()),
                line["accepted"],
                line["credited"],
                line["credit"]["gross"] if line["credit"] else "",
                line["credit"]["computation"] if line["credit"] else "",
            )
            for line in item["lines"]
        ],
    )
    print_table(
        "Why",
        (" rule", "", "SKU", "what it says"),
        [
            (
                rule["rule"],
                rule["verdict"],
                rule["sku"],
                f"{rule['code']}: {rule['text']}" if rule["code"] else rule["text"],
            )
            for rule in item["rules"]
        ],
    )
    print_table(
        "What would be written outside" if item["writes"] else "Nothing would be written outside",
        ("kind", "target", "what"),
        [(write["kind"], write["target"], write["what"]) for write in item["writes"]],
    )
    typer.echo("Nothing was written and nothing was sent.")
