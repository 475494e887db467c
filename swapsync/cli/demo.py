"""Commands for whoever wants to see it work: demo, sandbox."""

import os
import shlex
import shutil
import sys
import tempfile
import threading
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swapsync.cli.context import UserError, interruptible

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from swapsync.sandbox.server import Sandbox
    from swapsync.sandbox.world import World

DEMO_CUT_OVER = timedelta(days=30)
READING_POSTS = ("/api/auth/token", "/api/v1/batch-fetch-stock")


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(demo)
    app.command()(sandbox)


def demo(
    serve: Annotated[
        bool, typer.Option("--serve/--no-serve", help="Keep the look-alikes running until Ctrl-C, or end at once.")
    ] = True,
) -> None:
    """Runs the main job on look-alikes of both systems. It explains what came of it.

    It reads no .env, no configuration file and no SWAPSYNC_ variable, and leaves its files in a new temporary folder.
    """
    from rich.console import Console

    from swapsync.clock import Clock
    from swapsync.jobs.cycle import JOBS, run_sites
    from swapsync.log import set_up_log
    from swapsync.sandbox.demo_data import seed_demo
    from swapsync.sandbox.server import Sandbox
    from swapsync.sandbox.world import World
    from swapsync.settings import load_settings
    from swapsync.store.db import Store

    clock = Clock()
    progress = Console(stderr=True, highlight=False)
    folder = Path(tempfile.mkdtemp(prefix="swapsync-demo-"))
    world = World()
    seed_demo(world)
    with Sandbox(world) as running:
        environment = _environment(running, folder, {"SWAPSYNC_EFFECTS_FROM": _text(clock.now() - DEMO_CUT_OVER)})
        settings = load_settings({**environment, "SWAPSYNC_LOG_LEVEL": "WARNING"}, folder)
        set_up_log(settings)
        site = settings.sites[0].slug
        store = Store(settings.database_url.get_secret_value())
        store.upgrade()
        writes = []
        for attempt in ("first", "second"):
            with progress.status(f"Running the main job, {attempt} time: {len(JOBS)} jobs"):
                reports = run_sites(settings.sites, store, clock, list(JOBS))
            writes.append(_writes(world))
            if any(report.failed for report in reports):
                from swapsync.cli.run import print_reports

                print_reports(reports)
                raise typer.Exit(1)
        with store.reading() as connection:
            _print_summary(connection, site)
        _print_proof(*writes)
        with store.reading() as connection:
            _print_next(connection, site, _sourcing(_write(folder, environment)), serve=serve)
        store.close()
        if serve:
            typer.echo()
            _wait_for_interrupt(f"Serving the look-alikes at {running.url} until Ctrl-C.")


def sandbox(
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port on loopback; 0 takes a free one.")] = 0,
    empty: Annotated[bool, typer.Option("--empty", help="No data, instead of the demo's.")] = False,
    csv: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Data composed from a CSV in the shape of Online Retail II."),
    ] = None,
) -> None:
    """Serves look-alikes of both systems until Ctrl-C.

    It prints the settings that point to them.
    """
    from swapsync.sandbox.server import Sandbox
    from swapsync.sandbox.world import World

    if empty and csv:
        raise UserError("--empty and --csv exclude each other")
    world = World()
    extra = {} if empty else _put_csv(world, csv) if csv else _put_demo(world)
    try:
        listening = Sandbox(world, port)
    except OSError as error:
        raise UserError(f"--port {port}: {error.strerror}") from None
    with listening as running:
        folder = Path(tempfile.mkdtemp(prefix="swapsync-sandbox-"))
        environment = _environment(running, folder, extra)
        typer.echo(f"# Swap:       {running.swap_url}\n# SparkLayer: {running.sparklayer_url}")
        typer.echo(_as_dotenv(environment), nl=False)
        typer.echo(f"Point a terminal to them: {_sourcing(_write(folder, environment))}", err=True)
        _wait_for_interrupt(f"Serving the look-alikes at {running.url} until Ctrl-C.")


# -- the look-alikes and their settings ------------------------------------------------------------------------------


def _environment(running: "Sandbox", folder: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """The settings of one site on the look-alikes and a store of its own, whatever a real site's .env and TOML say."""
    return {
        "SWAPSYNC_CONFIG": os.devnull,
        "SWAPSYNC_SITE": "demo",
        "SWAPSYNC_DATABASE_URL": f"sqlite:///{folder / 'demo.db'}",
        **running.environment(),
        **extra,
    }


def _write(folder: Path, environment: Mapping[str, str]) -> Path:
    file = folder / "demo.env"
    file.write_text(_as_dotenv(environment), encoding="utf-8")
    return file


def _as_dotenv(environment: Mapping[str, str]) -> str:
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in environment.items())


def _sourcing(file: Path) -> str:
    return f"set -a; . {shlex.quote(str(file))}; set +a"


def _put_demo(world: "World") -> dict[str, str]:
    from swapsync.sandbox.demo_data import seed_demo

    seed_demo(world)
    return {"SWAPSYNC_EFFECTS_FROM": _text(world.now() - DEMO_CUT_OVER)}


def _put_csv(world: "World", file: Path) -> dict[str, str]:
    """Fills the world from the file; returns the settings by which all of its history counts. Raises UserError."""
    from rich.console import Console

    from swapsync.sandbox.uci import ATTRIBUTION, UnreadableCsv, compose

    with Console(stderr=True, highlight=False).status(f"Composing orders and returns from {file.name}"):
        try:
            composition = compose(file)
        except UnreadableCsv as error:
            raise UserError(f"--csv {error}") from None
        for put, rows in (
            (world.sparklayer.put_customer, composition.customers),
            (world.sparklayer.put_purchase, composition.purchases),
            (world.swap.put_return, composition.returns),
        ):
            for row in rows:
                put(row)
    typer.echo(
        f"{file.name}: {len(composition.purchases)} orders, {len(composition.customers)} customers, "
        f"{len(composition.returns)} returns. {ATTRIBUTION}",
        err=True,
    )
    moments = [purchase["dates"]["placed_at"] for purchase in composition.purchases]
    moments += [each["submission_date"] for each in composition.returns]
    if not moments:
        return {}
    first = min(datetime.fromisoformat(moment) for moment in moments)
    return {
        "SWAPSYNC_EFFECTS_FROM": _text(first),
        "SWAPSYNC_HISTORY_DAYS": str((world.now() - first).days + 1),
    }


def _wait_for_interrupt(announcement: str) -> None:
    """Says so, and returns at SIGINT or SIGTERM, also where the shell that started us has SIGINT ignored."""
    sys.stdout.flush()
    try:
        with interruptible():
            typer.echo(announcement, err=True)
            threading.Event().wait()
    except KeyboardInterrupt:
        typer.echo("Stopped.", err=True)


def _writes(world: "World") -> int:
    """How many requests that change something reached the look-alikes so far."""
    return sum(each.method != "GET" and each.path not in READING_POSTS for each in list(world.exchanges))


# -- what came of it -------------------------------------------------------------------------------------------------


def _print_summary(connection: "Connection", site: str) -> None:
    _print_returns(connection, site)
    _print_credits(connection, site)
    _print_inspection_stock(connection, site)
    _print_card_refunds(connection, site)
    _print_history(connection, site)
    _print_exceptions(connection, site)


def _print_returns(connection: "Connection", site: str) -> None:
    from collections import Counter

    from sqlalchemy import and_, func, select

    from swapsync.cli.output import print_table
    from swapsync.store.staging import return_lines, returns

    r = returns.c
    rows = connection.execute(
        select(r.logistics, r.settled_outside, func.sum(return_lines.c.quantity).label("units"))
        .join(return_lines, and_(return_lines.c.site == r.site, return_lines.c.return_id == r.return_id))
        .where(r.site == site)
        .group_by(r.return_id, r.logistics, r.settled_outside)
    ).all()
    count: Counter[str] = Counter()
    units: Counter[str] = Counter()
    for row in rows:
        place = "(closed before the cut-over)" if row.settled_outside else _plain(row.logistics)
        count[place] += 1
        units[place] += int(row.units)
    print_table(
        f"What came in: {len(rows)} returns from Swap, by where the goods are",
        ("goods", " returns", " units"),
        [(place, count[place], units[place]) for place in sorted(count, reverse=True)],
    )


def _print_credits(connection: "Connection", site: str) -> None:
    from sqlalchemy import and_, select

    from swapsync.cli.output import print_table
    from swapsync.domain.money import to_text
    from swapsync.store.cases import credit_notes
    from swapsync.store.staging import orders, returns

    n = credit_notes.c
    rows = connection.execute(
        select(n.number, returns.c.rma_number, orders.c.visible, n.customer, n.po_number, n.net, n.tax, n.currency)
        .join(returns, and_(returns.c.site == n.site, returns.c.return_id == n.return_id))
        .join(orders, and_(orders.c.site == n.site, orders.c.order_id == n.order_id))
        .where(n.site == site)
        .order_by(n.number)
    ).all()
    print_table(
        f"What was credited: {len(rows)} credit notes, each lowers what the customer owes",
        ("number", "RMA", "order", "customer", "PO number", " gross"),
        [
            (
                row.number,
                row.rma_number,
                row.visible,
                row.customer,
                row.po_number or "(none)",
                f"{to_text(row.net + row.tax, row.currency)} {row.currency}",
            )
            for row in rows
        ],
    )


def _print_inspection_stock(connection: "Connection", site: str) -> None:
    from sqlalchemy import select

    from swapsync.cli.output import print_table
    from swapsync.domain.stock import Location
    from swapsync.jobs.stock_levels import ledger_levels
    from swapsync.store.cases import movements

    skus = connection.execute(select(movements.c.sku).where(movements.c.site == site).distinct()).scalars().all()
    levels = ledger_levels(connection, site, skus)
    rows = [(sku, levels[sku, Location.INSPECTION]) for sku in sorted(skus) if levels[sku, Location.INSPECTION]]
    print_table(
        f"What went to inspection stock: {sum(units for _, units in rows)} units, not for sale until inspected",
        ("SKU", " units"),
        rows,
    )


def _print_card_refunds(connection: "Connection", site: str) -> None:
    from swapsync.cli.output import print_table
    from swapsync.domain.money import to_text
    from swapsync.domain.returns import Settlement

    print_table(
        "What was refunded to cards: by Swap; noted on the order, and no credit from us",
        ("RMA", "order", " refunded"),
        [
            (row.rma_number, row.order_name, f"{to_text(row.refunded, row.currency)} {row.currency}")
            for row in _returns(connection, site, Settlement.REFUNDED_BY_GATEWAY)
        ],
    )


def _print_history(connection: "Connection", site: str) -> None:
    from swapsync.cli.output import print_table
    from swapsync.domain.returns import Settlement

    print_table(
        f"What was history: closed before the cut-over {DEMO_CUT_OVER.days} days ago; counted, not credited",
        ("RMA", "order", "closed"),
        [
            (row.rma_number, row.order_name, f"{row.closed_at or row.updated_at:%Y-%m-%d}")
            for row in _returns(connection, site, Settlement.SETTLED_OUTSIDE)
        ],
    )


def _returns(connection: "Connection", site: str, settlement: str) -> "list[Row[Any]]":
    from sqlalchemy import select

    from swapsync.store.staging import returns

    return list(
        connection.execute(
            select(returns)
            .where(returns.c.site == site, returns.c.settlement == settlement)
            .order_by(returns.c.rma_number)
        )
    )


def _print_exceptions(connection: "Connection", site: str) -> None:
    from itertools import groupby

    from swapsync.cli.output import print_table

    rows = _open_exceptions(connection, site)
    typer.echo(f"Who has to look at what: {len(rows)} open exceptions; everything else went on\n")
    for owner, mine in groupby(rows, key=lambda row: str(row.owner)):
        print_table(
            f"For {_plain(owner)}",
            (" id", "code", "RMA", "what is the matter"),
            [(row.id, row.code, row.rma_number, row.detail) for row in mine],
        )


def _open_exceptions(connection: "Connection", site: str) -> "list[Row[Any]]":
    from sqlalchemy import select

    from swapsync.store.exceptions import exceptions

    e = exceptions.c
    return list(
        connection.execute(select(exceptions).where(e.site == site, e.status == "open").order_by(e.owner, e.id))
    )


def _print_proof(first: int, second: int) -> None:
    again = second - first
    verdict = "nothing is done twice" if again == 0 else "something was done twice: please report it"
    typer.echo(f"A second run of the main job: {again} writes (the first: {first}); {verdict}.")


def _print_next(connection: "Connection", site: str, sourcing: str, *, serve: bool) -> None:
    from swapsync.domain.catalogue import Code

    swapsync = _program()
    typer.echo(f"\nTry next, in another terminal:\n\n  {sourcing}\n")
    puzzle = next(row for row in _open_exceptions(connection, site) if row.code == Code.SKU_NOT_ON_ORDER)
    rma_number, sku, quantity = _waiting_line(connection, site)
    inspect = f"inspect {rma_number} --sku {shlex.quote(sku)} --condition sellable --quantity {quantity}"
    for command, meaning in (
        (f"returns show {puzzle.rma_number}", "one return's story across both systems"),
        (f"exceptions show {puzzle.id}", "why it is held, and what can be done about it"),
        (inspect, "the warehouse's finding ..."),
        ("sync", "... and what follows from it" + ("" if serve else " (needs a running demo)")),
        ("doctor", "the checks to run before going live" + ("" if serve else " (needs a running demo)")),
    ):
        typer.echo(f"  # {meaning}\n  {swapsync} {command}")
    typer.echo("\nTo go live: copy config/.env.example to .env, fill in your accounts, then run doctor and sync.")
    if not serve:
        typer.echo(f"The look-alikes have stopped; {swapsync} demo, without --no-serve, keeps them running.")


def _waiting_line(connection: "Connection", site: str) -> tuple[str, str, int]:
    """A line that has come back and that nobody has looked at yet: its RMA number, SKU and quantity."""
    from sqlalchemy import and_, select

    from swapsync.domain.returns import Inspection, Logistics, ReturnStatus, Settlement
    from swapsync.store.staging import return_lines, returns

    r, line = returns.c, return_lines.c
    rma_number, sku, quantity = connection.execute(
        select(r.rma_number, line.sku, line.quantity)
        .join(return_lines, and_(line.site == r.site, line.return_id == r.return_id))
        .where(
            r.site == site,
            r.status == ReturnStatus.OPEN,
            r.logistics == Logistics.DELIVERED,
            r.inspection == Inspection.NONE,
            r.settlement == Settlement.NONE,
        )
        .order_by(r.rma_number, line.position)
        .limit(1)
    ).one()
    return rma_number, sku, quantity


def _program() -> str:
    """What to type for swapsync: make calls it by a path, from a folder that is not on the PATH."""
    called = Path(sys.argv[0])
    return str(called) if called.name == "swapsync" and not shutil.which("swapsync") else "swapsync"


def _plain(word: str) -> str:
    return word.replace("_", " ")


def _text(moment: datetime) -> str:
    from swapsync.moments import to_text

    return to_text(moment.replace(microsecond=0))
