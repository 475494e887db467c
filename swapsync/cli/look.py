"""Commands that look at what is in the store, and the one that has failed deliveries tried again."""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swapsync.cli.context import MAX_ID, JsonOption, SiteOption, UserError, actor, load, opened
from swapsync.cli.output import print_json, print_table, printable, wrapped
from swapsync.domain.catalogue import Code, Owner
from swapsync.domain.returns import Logistics, Settlement

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from swapsync.settings import Settings
    from swapsync.store.db import Store
    from swapsync.store.views import Page

returns = typer.Typer(no_args_is_help=True, help="Returns: list, show, and preview what would follow.")
credit_notes = typer.Typer(no_args_is_help=True, help="Credit notes: list, show, and void a wrong one.")
exceptions = typer.Typer(no_args_is_help=True, help="Exceptions: what a person must look at, and decide.")
outbox = typer.Typer(no_args_is_help=True, help="Outbox: what is still to be delivered, and what gave up.")

PEOPLE_READ = 50

LimitOption = Annotated[
    int | None,
    typer.Option(
        "--limit", min=1, max=MAX_ID, metavar="N", help=f"At most N rows; else {PEOPLE_READ}, with --json all."
    ),
]
Item = Mapping[str, Any]
Columns = Mapping[str, Callable[[Item], object]]


class NoteState(StrEnum):
    """How far a credit note is with its delivery."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    VOID = "void"


class ExceptionStatus(StrEnum):
    """Which exceptions to list."""

    OPEN = "open"
    RESOLVED = "resolved"
    ALL = "all"


class GroupBy(StrEnum):
    """What open exceptions can be counted by."""

    CODE = "code"
    SKU = "sku"
    ORDER = "order"
    OWNER = "owner"
    ASSIGNEE = "assignee"


_GROUPS = {group: "order_name" if group is GroupBy.ORDER else group.value for group in GroupBy}


class EffectState(StrEnum):
    """Which deliveries to list."""

    PENDING = "pending"
    IN_DOUBT = "in_doubt"
    SENT = "sent"
    FAILED = "failed"
    WRITTEN_OFF = "written_off"
    ALL = "all"


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(returns, name="returns")
    app.add_typer(credit_notes, name="credit-notes")
    app.add_typer(exceptions, name="exceptions")
    app.add_typer(outbox, name="outbox")
    app.command()(status)


@returns.command("list")
def list_returns(
    settlement: Annotated[Settlement | None, typer.Option(help="Only returns with this settlement.")] = None,
    logistics: Annotated[Logistics | None, typer.Option(help="Only returns whose goods are this far.")] = None,
    search: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only where RMA, order or PO number contain this.")
    ] = None,
    limit: LimitOption = None,
    site: SiteOption = None,
    json: JsonOption = False,
) -> None:
    """Lists returns, the one that changed last first."""
    from swapsync.store import views

    with store_for(site) as (_, store), store.reading() as connection:
        page = views.list_returns(
            connection,
            site=site,
            settlement=settlement,
            logistics=logistics,
            search=search,
            limit=_limit(limit, json),
        )
    _print_page(
        page,
        "Returns",
        {
            "RMA": lambda row: row["rma_number"],
            "order": lambda row: row["order_name"],
            "PO": lambda row: row["po_number"],
            "logistics": lambda row: row["state"]["logistics"],
            "inspection": lambda row: row["state"]["inspection"],
            "settlement": lambda row: row["state"]["settlement"],
            "exceptions": lambda row: ", ".join(row["exceptions"]),
        },
        json,
    )


@returns.command("show")
def show_return(
    rma: Annotated[str, typer.Argument(metavar="RMA", help="The RMA number, or Swap's id of the return.")],
    site: SiteOption = None,
    json: JsonOption = False,
) -> None:
    """Tells one return's whole story across both systems."""
    from swapsync.store import views

    with store_for(site) as (_, store), store.reading() as connection:
        item = views.show_return(connection, *the_return(connection, rma, site))
    if json:
        print_json(item)
    else:
        _print_return(item)


def the_return(connection: "Connection", rma: str, site: str | None) -> tuple[str, str]:
    """Site and id of the one return that is meant. Raises UserError when there is none, or more than one."""
    from swapsync.store import views

    found = views.find_returns(connection, rma, site)
    if not found:
        raise UserError(f"there is no return with RMA number {rma}")
    slugs = sorted({slug for slug, _ in found})
    if len(slugs) > 1:
        raise UserError(f"RMA {rma} exists at several sites; say which with --site: {', '.join(slugs)}")
    if len(found) > 1:
        ids = ", ".join(return_id for _, return_id in found)
        raise UserError(printable(f"several returns carry RMA {rma}; name one by its id instead: {ids}"))
    return found[0]


def _print_return(item: Item) -> None:
    state, swap, order = item["state"], item["swap"], item["order"]
    closed = f", closed {_when(swap['closed_at'])}" if swap["closed_at"] else ""
    total = f", total {swap['total']}" if swap["total"] is not None else ""
    print_facts(
        f"Return {item['rma_number']}",
        {
            "site": item["site"],
            "buyer": item["customer"],
            "order": f"{item['order_name']}, {order['payment_method'] or 'no payment method'}"
            if order
            else f"{item['order_name'] or '(none named)'}, not found in SparkLayer",
            "PO number": item["po_number"] or "none",
            "logistics": state["logistics"],
            "inspection": state["inspection"],
            "settlement": state["settlement"],
            "Swap says": f"{swap['status']}, {swap['delivery']}, QC {swap['qc']}{closed}{total}, "
            f"refunded {swap['refunded']} {item['currency']}",
        },
    )
    _print_rows(
        "Lines",
        {
            "SKU": lambda line: line["sku"],
            " announced": lambda line: line["quantity"],
            " received": lambda line: line["received_quantity"],
            " accepted": lambda line: line["accepted_quantity"],
            "type": lambda line: line["return_type"],
            "reason": lambda line: " ".join(filter(None, (line["reason_code"], line["reason"]))),
            "on the order": lambda line: (
                f"{line['order_line']['quantity']} x {line['order_line']['sku']}"
                if line["order_line"]
                else "not matched"
            ),
            "matched by": lambda line: line["matched_by"],
            "line": lambda line: line["line_id"],
        },
        item["lines"],
    )
    _print_rows(
        "Found by the warehouse",
        {
            "at": lambda finding: _when(finding["found_at"]),
            "SKU": lambda finding: finding["sku"] or finding["line_id"],
            " quantity": lambda finding: finding["quantity"],
            "condition": lambda finding: finding["condition"],
            "by": lambda finding: finding["actor"],
        },
        item["findings"],
    )
    _print_rows("Credit notes", _NOTE_COLUMNS, item["credit_notes"])
    _print_rows(
        "Stock movements",
        {
            "at": lambda movement: _when(movement["moved_at"]),
            " quantity": lambda movement: movement["quantity"],
            "SKU": lambda movement: movement["sku"],
            "from": lambda movement: movement["from"],
            "to": lambda movement: movement["to"],
        },
        item["movements"],
    )
    _print_rows(
        "Still to be delivered, or gave up",
        _EFFECT_COLUMNS,
        [delivery for delivery in item["deliveries"] if delivery["state"] != "sent"],
    )
    for problem in item["exception_details"]:
        if problem["status"] == "open":
            _print_exception(problem)
    _print_rows(
        "Events",
        {
            "at": lambda event: _when(event["at"]),
            "from": lambda event: event["source"],
            "event": lambda event: event["kind"],
            "detail": lambda event: event["detail"],
        },
        item["events"],
    )


@credit_notes.command("list")
def list_credit_notes(
    state: Annotated[NoteState | None, typer.Option(help="Only credit notes in this state.")] = None,
    search: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only where number, RMA, order or PO number contain this.")
    ] = None,
    limit: LimitOption = None,
    site: SiteOption = None,
    json: JsonOption = False,
) -> None:
    """Lists credit notes, the newest first."""
    from swapsync.store import views

    with store_for(site) as (_, store), store.reading() as connection:
        page = views.list_credit_notes(connection, site=site, state=state, search=search, limit=_limit(limit, json))
    _print_page(page, "Credit notes", _NOTE_COLUMNS, json)


_NOTE_COLUMNS: Columns = {
    "number": lambda note: note["number"],
    "issued": lambda note: note["issued_at"][:10],
    "RMA": lambda note: note["rma_number"],
    "order": lambda note: note["order_name"],
    " tax": lambda note: note["tax"],
    " gross": lambda note: f"{note['gross']} {note['currency']}",
    "state": lambda note: note["state"],
    "void": lambda note: (
        f"of {note['voids']}" if note["voids"] else f"by {note['voided_by']}" if note["voided_by"] else ""
    ),
    "PO": lambda note: note["po_number"] or "(none)",
}


@credit_notes.command("show")
def show_credit_note(
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="The credit note's number.")],
    site: SiteOption = None,
    json: JsonOption = False,
) -> None:
    """Shows one credit note with its lines and its delivery."""
    from swapsync.store import views

    with store_for(site) as (_, store), store.reading() as connection:
        found = views.list_credit_notes(connection, site=site, number=number).rows
        if not found:
            raise UserError(f"there is no credit note {number}")
        if len(found) > 1:
            slugs = ", ".join(sorted(note["site"] for note in found))
            raise UserError(f"credit note {number} exists at several sites; say which with --site: {slugs}")
        item = found[0] | {
            "deliveries": views.deliveries_of_credit_note(connection, found[0]["site"], found[0]["platform_id"])
        }
    if json:
        print_json(item)
        return
    print_facts(
        f"{'Void' if item['voids'] else 'Credit note'} {item['number']}",
        {
            "site": item["site"],
            "issued": _when(item["issued_at"]),
            "buyer": item["customer"],
            "PO number": item["po_number"] or "none",
            "return": f"RMA {item['rma_number']}",
            "order": item["order_name"],
            "net": f"{item['net']} {item['currency']}",
            "tax": f"{item['tax']} {item['currency']}",
            "gross": f"{item['gross']} {item['currency']}",
            "state": item["state"],
            "voids": item["voids"],
            "voided by": item["voided_by"],
            "because": item["reason"] and f"{item['reason']} ({item['actor']})",
            "in SparkLayer": f"transaction {item['platform_id']}",
        },
    )
    _print_rows(
        "Lines",
        {
            "SKU": lambda line: line["sku"],
            " quantity": lambda line: line["quantity"],
            " net": lambda line: line["net"],
            " tax": lambda line: line["tax"],
            " gross": lambda line: line["gross"],
        },
        item["lines"],
    )
    _print_rows("Delivery", _EFFECT_COLUMNS, item["deliveries"])


@exceptions.command("list")
def list_exceptions(
    owner: Annotated[Owner | None, typer.Option(help="Only what this team has to solve.")] = None,
    status: Annotated[ExceptionStatus, typer.Option(help="Open ones, resolved ones, or all.")] = ExceptionStatus.OPEN,
    code: Annotated[
        Code | None,
        typer.Option(metavar="CODE", case_sensitive=False, help="Only this kind, such as PO_NUMBER_MISSING."),
    ] = None,
    assignee: Annotated[str | None, typer.Option(metavar="NAME", help="Only what this person has.")] = None,
    overdue: Annotated[bool, typer.Option("--overdue", help="Only what should have been solved by now.")] = False,
    group: Annotated[GroupBy | None, typer.Option(help="Count the open ones by this instead, the most first.")] = None,
    limit: LimitOption = None,
    site: SiteOption = None,
    json: JsonOption = False,
) -> None:
    """Lists what a person must look at, the most urgent first."""
    from swapsync.clock import Clock
    from swapsync.moments import to_text
    from swapsync.store import views

    if group is not None:
        with store_for(site) as (_, store), store.reading() as connection:
            page = views.group_exceptions(connection, _GROUPS[group], site=site, owner=owner)
        _print_page(page, f"Open exceptions by {group}", _group_columns(_GROUPS[group]), json)
        return
    now = Clock().now()
    with store_for(site) as (_, store), store.reading() as connection:
        page = views.list_exceptions(
            connection,
            site=site,
            owner=owner,
            status=None if status is ExceptionStatus.ALL else status,
            code=code,
            assignee=assignee,
            due_before=now if overdue else None,
            limit=_limit(limit, json),
        )
    late = to_text(now)
    _print_page(
        page,
        "Exceptions" if status is ExceptionStatus.ALL else f"{status.capitalize()} exceptions",
        {
            " id": lambda row: row["id"],
            "owner": lambda row: row["owner"],
            "due": lambda row: _due(row, late),
            "who": lambda row: row["assignee"],
            "RMA": lambda row: row["rma_number"],
            "order": lambda row: row["order_name"],
            "what is the matter": lambda row: (
                f"{row['code']}: {row['detail']}" + (f" ({row['resolution']})" if row["resolution"] else "")
            ),
        },
        json,
    )


def _due(row: Item, now: str) -> str:
    if row["resolved_at"]:
        return f"resolved {row['resolved_at'][:10]}"
    return f"{row['due_at'][:10]}{' overdue' if row['due_at'] < now else ''}"


def _group_columns(by: str) -> Columns:
    return {
        " open": lambda row: row["open"],
        "code": lambda row: row["code"],
        **({} if by == "code" else {by.removesuffix("_name"): lambda row: row[by]}),
        "first due": lambda row: _when(row["due_at"]),
    }


@exceptions.command("show")
def show_exception(
    exception_id: Annotated[int, typer.Argument(metavar="ID", max=MAX_ID, help="The exception's number.")],
    site: SiteOption = None,
    json: JsonOption = False,
) -> None:
    """Explains one exception: its meaning and how to decide it."""
    from swapsync.store import views

    with store_for(site) as (_, store), store.reading() as connection:
        item = views.show_exception(connection, exception_id, site)
    if item is None:
        raise UserError(f"there is no exception {exception_id}{f' at site {site}' if site else ''}")
    if json:
        print_json(item)
    else:
        _print_exception(item)


def _print_exception(item: Item) -> None:
    from swapsync.jobs.rulings import NEEDS_VALUE

    print_facts(
        f"Exception {item['id']}: {item['code']}",
        {
            "detail": item["detail"],
            "meaning": item["meaning"],
            "what to do": item["remedy"],
            "closes when": item["closes_when"],
            "owner": f"{item['owner']} ({item['severity']})",
            "opened": _when(item["opened_at"]) + (f", seen {item['count']} times" if item["count"] > 1 else ""),
            "due": _when(item["due_at"]),
            "with": item["assignee"],
            "site": item["site"],
            "return": item["rma_number"] and f"RMA {item['rma_number']}",
            "order": item["order_name"],
            "SKU": item["sku"],
            "resolved": item["resolved_at"] and f"{_when(item['resolved_at'])}: {item['resolution']}",
            "as of": f"{item['as_of']}, for --seen" if item["actions"] else "",
        },
    )
    for suggestion in item["suggestions"]:
        _print_suggestion(suggestion)
        if item["status"] == "open" and "action" in suggestion:
            value = shlex.quote(printable(suggestion["value"]))
            typer.echo(f"    {_resolving(item, suggestion['action'], value)}")
    if item["suggestions"]:
        typer.echo()
    if item["actions"]:
        for action in item["actions"]:
            value = f'"{NEEDS_VALUE[action]}"' if action in NEEDS_VALUE else ""
            typer.echo(f"  {_resolving(item, action, value)}")
        typer.echo()
    _print_rows(
        "History",
        {
            "at": lambda event: _when(event["at"]),
            "who": lambda event: event["actor"],
            "event": lambda event: event["kind"],
            "detail": lambda event: event["detail"],
        },
        item.get("history", []),
    )


def _resolving(item: Item, action: str, value: str) -> str:
    """The command that takes an action. ``value``: as a shell is to read it; blank where there is none."""
    needed = f" --value {value}" if value else ""
    return f"swapsync exceptions resolve {item['id']} --action {action}{needed} --seen {item['as_of']}"


def _print_suggestion(suggestion: Item) -> None:
    name = suggestion.get("order") or suggestion.get("sku", "")
    covers = f", covers {suggestion['covers']}" if "covers" in suggestion else ""
    typer.echo(f"  suggested: {printable(name)}{covers}")
    for line in suggestion["evidence"]:
        typer.echo(f"    - {printable(line)}")


@outbox.command("list")
def list_outbox(
    state: Annotated[
        EffectState | None, typer.Option(help="Only this state; without it all that is not delivered.")
    ] = None,
    limit: LimitOption = None,
    site: SiteOption = None,
    json: JsonOption = False,
) -> None:
    """Lists what is still to be delivered, and what gave up."""
    from swapsync.store import views

    if state is None:
        states: Sequence[str] = views.UNDELIVERED
    else:
        states = [*views.UNDELIVERED, "sent", "written_off"] if state is EffectState.ALL else [state]
    with store_for(site) as (_, store), store.reading() as connection:
        page = views.list_outbox(connection, site=site, states=states, limit=_limit(limit, json))
    _print_page(page, "Outbox", _EFFECT_COLUMNS, json)


_EFFECT_COLUMNS: Columns = {
    " id": lambda effect: effect["id"],
    "kind": lambda effect: effect["kind"],
    "for": lambda effect: effect["target"],
    "state": lambda effect: effect["state"],
    " attempts": lambda effect: effect["attempts"],
    "next attempt": lambda effect: _when(effect["next_attempt_at"]),
    "last error": lambda effect: effect["last_error"],
}


@outbox.command("retry")
def retry_deliveries(
    ids: Annotated[
        list[int] | None, typer.Argument(metavar="ID...", max=MAX_ID, help="The numbers that outbox list shows.")
    ] = None,
    failed: Annotated[bool, typer.Option("--all-failed", "--failed", help="All that gave up.")] = False,
    kind: Annotated[
        str | None, typer.Option(help="With --all-failed: only this kind, as outbox list shows it.")
    ] = None,
    site: SiteOption = None,
    json: JsonOption = False,
) -> None:
    """Has deliveries that gave up tried again. It happens with the next sync."""
    from swapsync.clock import Clock
    from swapsync.store import views
    from swapsync.store.events import Event, record_events
    from swapsync.store.outbox import Kind, retry
    from swapsync.store.runs import lock_site

    if bool(ids) == failed:
        raise UserError("name the deliveries to retry by their ids (see swapsync outbox list), or use --all-failed")
    if kind and not failed:
        raise UserError("--kind narrows --all-failed; ids say by themselves what is meant")
    if kind and kind not in tuple(Kind):
        raise UserError(f"--kind {kind}: there is no such kind; the kinds are {', '.join(Kind)}")
    wanted = None if failed else sorted(set(ids or ()))
    now, who = Clock().now(), actor()
    with store_for(site) as (_, store), store.transaction() as connection:
        effects = views.list_outbox(connection, site=site, states=["failed"], ids=wanted, kind=kind).rows
        if unknown := set(wanted or ()) - {effect["id"] for effect in effects}:
            raise UserError(f"the outbox has no delivery {', '.join(map(str, sorted(unknown)))}; nothing was changed")
        retried: list[int] = []
        for slug in sorted({effect["site"] for effect in effects}):
            lock_site(connection, slug)
            retried += retry(connection, slug, [effect["id"] for effect in effects if effect["site"] == slug], now)
        again = views.list_outbox(connection, ids=retried).rows
        state = {effect["id"]: effect["state"] for effect in again}
        for effect in effects:
            if effect["id"] in retried:
                detail = f"{effect['kind']} for {effect['target']}, asked for by {who}"
                retry_asked = Event(
                    *("staff", "delivery_retried", detail, effect["return_id"]),
                    actor=who,
                    before={"state": effect["state"]},
                    after={"state": state[effect["id"]]},
                )
                record_events(connection, effect["site"], [retry_asked], now)
    over = [effect for effect in effects if effect["id"] not in retried]
    if json:
        by_state = {
            state: [effect["id"] for effect in over if effect["state"] == state]
            for state in ("sent", "withdrawn", "written_off")
        }
        print_json({"retried": again, "already_sent": by_state.pop("sent"), **by_state})
        return
    for effect in again:
        will = "will be looked for first" if effect["state"] == "in_doubt" else "will be tried"
        typer.echo(printable(f"{effect['id']}: {effect['kind']} for {effect['target']} {will} with the next sync"))
    for effect in over:
        was = "was delivered already" if effect["state"] == "sent" else f"stays {effect['state'].replace('_', ' ')}"
        typer.echo(printable(f"{effect['id']}: {effect['kind']} for {effect['target']} {was}"))
    if not effects:
        typer.echo("nothing has given up")


def status(site: SiteOption = None, json: JsonOption = False) -> None:
    """Shows how each merchant's integration stands. Jobs, backlog, open exceptions, and what is owed to buyers."""
    from swapsync.settings import DEFAULT_PAYMENT_ROUTES
    from swapsync.store import views

    with store_for(site) as (settings, store), store.reading() as connection:
        slugs = [site] if site else [*views.known_sites(connection), *(each.slug for each in settings.sites)]
        known = {each.slug: each for each in settings.sites if each.slug in slugs}
        report = views.status(
            connection,
            {slug: known[slug].payment_routes if slug in known else DEFAULT_PAYMENT_ROUTES for slug in slugs},
            {slug: each.kits_file for slug, each in known.items() if each.kits_file},
        )
    if json:
        print_json({"sites": report})
        return
    for item in report:
        _print_status(item)
    if not report:
        typer.echo("nothing has run on this store yet: swapsync sync")


def _print_status(item: Item) -> None:
    backlog, queue = item["outbox"], item["exceptions"]
    owners = ", ".join(f"{owner} {number}" for owner, number in queue["by_owner"].items() if number)
    owed = ", ".join(f"{part['gross']} {part['currency']}" for part in item["liability"])
    unvalued = f"; {item['unvalued_lines']} lines without a known price" if item["unvalued_lines"] else ""
    print_facts(
        f"Site {item['site']}",
        {
            "effects from": _when(item["effects_from"]) or "not run yet",
            "settled before": f"{item['settled_outside']} returns",
            "owed to buyers": f"{owed or 'nothing'}{unvalued}",
            "open exceptions": f"{queue['open']}{f' ({owners})' if owners else ''}",
            "outbox": f"{backlog['pending']} pending, {backlog['in_doubt']} in doubt, {backlog['failed']} gave up",
            **{
                f"paused: {each['job']}": f"{each['reason']} ({each['actor']}, {_when(each['since'])})"
                for each in item["paused"]
            },
            **{f"{stream} read to": _when(position) for stream, position in item["watermarks"].items()},
        },
    )
    _print_rows(
        "Last runs",
        {
            "job": lambda run: run["job"],
            "status": lambda run: run["status"],
            "finished": lambda run: _when(run["finished_at"]),
            " read": lambda run: run["read"],
            " changed": lambda run: run["changed"],
            " sent": lambda run: run["sent"],
            " failed": lambda run: run["failed"],
            "error": lambda run: run["error"],
        },
        item["jobs"],
    )


@contextmanager
def store_for(site: str | None) -> "Iterator[tuple[Settings, Store]]":
    """The settings and the store. Raises UserError for a site that neither of them knows."""
    from swapsync.store.views import known_sites

    settings = load(require_sites=False)
    with opened(settings) as store:
        if site is not None:
            with store.reading() as connection:
                stored = known_sites(connection)
            if site not in stored:
                try:
                    load(site, require_sites=False)
                except UserError as unknown:
                    raise UserError(f"{unknown}; in the store: {', '.join(stored) or 'none'}") from None
        yield settings, store


def _limit(limit: int | None, json: bool) -> int | None:
    return limit or (None if json else PEOPLE_READ)


def _when(moment: str | None) -> str:
    """A moment to the minute, for people."""
    return f"{moment[:10]} {moment[11:16]}Z" if moment else ""


def _print_page(page: "Page", title: str, columns: Columns, json: bool) -> None:
    if json:
        print_json(page.rows)
        return
    if not page.rows:
        typer.echo(f"{title}: none")
    if len({row["site"] for row in page.rows}) > 1:
        columns = {"site": lambda row: row["site"], **columns}
    _print_rows(title, columns, page.rows)
    if page.total > len(page.rows):
        typer.echo(f"{page.total - len(page.rows)} more; --limit {page.total} shows all of them")


def _print_rows(title: str, columns: Columns, rows: Sequence[Item]) -> None:
    if rows:
        print_table(title, list(columns), [[cell(row) for cell in columns.values()] for row in rows])


def print_facts(title: str, facts: Mapping[str, object]) -> None:
    """A heading and one line for each fact that is known."""
    typer.echo(f"\n{printable(title)}")
    width = max(map(len, facts))
    for name, fact in facts.items():
        if fact:
            typer.echo(wrapped(f"  {name:{width}}  ", printable(fact)))
    typer.echo()
