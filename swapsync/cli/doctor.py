"""The command for whoever sets the worker up: doctor."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from swapsync.cli.context import JsonOption, SiteOption, load

if TYPE_CHECKING:
    from swapsync.clock import Clock
    from swapsync.connectors.sparklayer import SparkLayerClient
    from swapsync.settings import Settings, SiteSettings
    from swapsync.store.db import Store

Status = Literal["ok", "warning", "problem"]

CLOCK_TOLERANCE = timedelta(minutes=1)
ORDERS_LOOKED_AT = 50


@dataclass(frozen=True)
class Check:
    """One thing looked at: what was found, and what to do about it (blank: nothing). No site: all of them."""

    site: str | None
    check: str
    status: Status
    detail: str
    remedy: str = ""


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(doctor)


def doctor(site: SiteOption = None, json: JsonOption = False) -> None:
    """Checks the set-up and says what to mend.

    It looks at settings, database, both systems, clock, stock locations and cut-over, and writes nothing.
    """
    settings = load(site)
    checks = list(_checks(settings, narrowed=site is not None))
    if json:
        from swapsync.cli.output import print_json

        print_json({"checks": [asdict(check) for check in checks]})
    else:
        _print(checks)
    if any(check.status == "problem" for check in checks):
        raise typer.Exit(1)


def _checks(settings: "Settings", *, narrowed: bool) -> Iterator[Check]:
    from swapsync.clock import Clock
    from swapsync.jobs.cycle import SITES_AT_ONCE

    clock = Clock()
    yield from _settings(settings, narrowed=narrowed)
    database, cut_overs = _database(settings)
    yield database
    with ThreadPoolExecutor(max_workers=SITES_AT_ONCE) as pool:
        of_sites = pool.map(lambda site: list(_remote_sides(site, clock)), settings.sites)
        for site, checks in zip(settings.sites, of_sites, strict=True):
            yield from checks
            yield _cut_over(site, cut_overs)


def _settings(settings: "Settings", *, narrowed: bool) -> Iterator[Check]:
    """``narrowed``: only one site was loaded, so whether it goes with the others (one account each) is asked here."""
    from swapsync.cli.output import counted
    from swapsync.settings import SettingsError, load_settings

    for warning in settings.warnings:
        yield Check(None, "settings", "warning", warning, "Correct the name, or remove it.")
    if narrowed:
        try:
            load_settings(os.environ, Path.cwd(), require_sites=False)
        except SettingsError as error:
            remedy = "Correct it: every command without --site refuses these settings."
            yield Check(None, "settings", "problem", f"of all sites together: {error}", remedy)
            return
    if not settings.warnings:
        slugs = ", ".join(site.slug for site in settings.sites)
        yield Check(None, "settings", "ok", f"complete for {counted(len(settings.sites), 'site')}: {slugs}")


# -- the store -------------------------------------------------------------------------------------------------------


def _database(settings: "Settings") -> "tuple[Check, dict[str, datetime] | None]":
    """The check, and the fixed cut-over of each site that ran already; None where they can't be read."""
    from swapsync.store.db import HEAD, Store, StoreError

    try:
        store = Store(settings.database_url.get_secret_value())
        try:
            where = store.engine.url.set(query={}).render_as_string(hide_password=True)
            file = store.engine.url.database if store.is_sqlite else None
            if file and (trouble := _file_trouble(Path(file))):
                return Check(None, "database", "problem", f"{where}: {trouble}", "Set SWAPSYNC_DATABASE_URL."), None
            if file and not (Path(file).exists() and Path(file).stat().st_size):
                return Check(None, "database", "ok", f"{where}: empty; the first sync creates the schema"), {}
            revision = store.revision()
            store.require_in_place()
            if revision == HEAD:
                return Check(None, "database", "ok", f"{where}: schema {revision}"), _fixed_cut_overs(store)
            return _outdated(where, revision, HEAD, store.is_sqlite), None if revision else {}
        finally:
            store.close()
    except StoreError as error:
        return Check(None, "database", "problem", str(error), "Check SWAPSYNC_DATABASE_URL and the server."), None


def _file_trouble(file: Path) -> str:
    if not file.parent.is_dir():
        return "its folder does not exist"
    return "" if os.access(file if file.exists() else file.parent, os.W_OK) else "it can't be written"


def _outdated(where: str, revision: str | None, head: str, is_sqlite: bool) -> Check:
    if revision is not None and revision > head:
        return Check(
            None,
            "database",
            "problem",
            f"{where}: schema {revision} is newer than this swapsync's, {head}",
            "Install a newer swapsync.",
        )
    standing = f"{where}: {f'schema {revision}, this swapsync has {head}' if revision else 'empty'}"
    if is_sqlite:
        return Check(None, "database", "ok", f"{standing}; the next sync brings the schema up to date")
    return Check(None, "database", "problem", standing, "Run swapsync db upgrade.")


def _fixed_cut_overs(store: "Store") -> "dict[str, datetime]":
    from sqlalchemy import select

    from swapsync.store.runs import sites

    with store.reading() as connection:
        rows = connection.execute(select(sites.c.slug, sites.c.effects_from))
        return {row.slug: row.effects_from for row in rows}


def _cut_over(site: "SiteSettings", fixed: "dict[str, datetime] | None") -> Check:
    from swapsync.moments import to_text

    if fixed is None:
        return Check(site.slug, "cut-over", "warning", "not checked: the store can't be read")
    if site.slug not in fixed:
        moment = f"at {to_text(site.effects_from)}, as set" if site.effects_from else "at the start of the first run"
        return Check(site.slug, "cut-over", "ok", f"will be fixed {moment}; what ended before it has no effects")
    standing = to_text(fixed[site.slug])
    if site.effects_from in (None, fixed[site.slug]):
        return Check(site.slug, "cut-over", "ok", f"fixed at {standing}")
    return Check(
        site.slug,
        "cut-over",
        "warning",
        f"fixed at {standing} in the store, which counts; the settings say {to_text(site.effects_from)}",
        "Set SWAPSYNC_EFFECTS_FROM (effects_from) to the fixed moment, or remove it.",
    )


# -- the remote systems ----------------------------------------------------------------------------------------------


def _remote_sides(site: "SiteSettings", clock: "Clock") -> Iterator[Check]:
    """Each call is tried once: the doctor says what is the case now."""
    once = site.model_copy(update={"http": site.http.model_copy(update={"max_attempts": 1})})
    newest: list[datetime] = []
    yield _swap(once, clock, newest)
    yield from _sparklayer(once, clock, newest)
    yield _clock_check(site.slug, newest, clock.now())


def _swap(site: "SiteSettings", clock: "Clock", newest: "list[datetime]") -> Check:
    from swapsync.connectors.errors import RemoteError
    from swapsync.connectors.swap import SwapClient
    from swapsync.connectors.swap_reader import read_return

    try:
        page = SwapClient.for_site(site, clock).returns_page(page=1)
    except RemoteError as error:
        return Check(site.slug, "Swap", "problem", str(error), _remedy(error))
    if not page.rows:
        detail = "the key is accepted; the store has no returns"
        return Check(site.slug, "Swap", "warning", detail, "Check swap_store_id.")
    moments = _readable(page.rows, lambda row: read_return(row, site.naive_timezone).updated_at)
    newest += moments
    found = f"the key is accepted; {len(page.rows) if page.total is None else page.total} returns"
    return _list_check(site.slug, "Swap", found, len(page.rows), len(moments))


def _sparklayer(site: "SiteSettings", clock: "Clock", newest: "list[datetime]") -> Iterator[Check]:
    from swapsync.connectors.errors import RemoteError
    from swapsync.connectors.sparklayer import SparkLayerClient
    from swapsync.connectors.sparklayer_reader import order_updated_at

    client = SparkLayerClient.for_site(site, clock)
    try:
        client.check()
    except RemoteError as error:
        yield Check(site.slug, "SparkLayer", "problem", str(error), _remedy(error))
        for name in ("orders", "stock locations"):
            yield Check(site.slug, name, "warning", "not checked: SparkLayer gives no token")
        return
    yield Check(site.slug, "SparkLayer", "ok", "the client is accepted")
    try:
        rows = client.purchases_page(offset=0, limit=ORDERS_LOOKED_AT)
    except RemoteError as error:
        yield Check(site.slug, "orders", "problem", str(error), _remedy(error))
    else:
        moments = _readable(rows, lambda row: order_updated_at(row, site.naive_timezone))
        newest += moments
        found = "the list of orders can be read" + ("" if rows else "; it is empty")
        yield _list_check(site.slug, "orders", found, len(rows), len(moments))
    yield _stock_locations(site, client)


def _readable(rows: "list[Any]", moment_of: "Callable[[Any], datetime]") -> "list[datetime]":
    """The moment of change of each row that can be read."""
    from swapsync.connectors.errors import Malformed

    moments = []
    for row in rows:
        with suppress(Malformed):
            moments.append(moment_of(row))
    return moments


def _list_check(site: str, check: str, found: str, rows: int, readable: int) -> Check:
    if readable < rows:
        return Check(
            site,
            check,
            "warning",
            f"{found}; {rows - readable} of the {rows} looked at can't be read",
            "Nothing is lost: after a sync, swapsync exceptions list says which and why.",
        )
    return Check(site, check, "ok", found)


def _stock_locations(site: "SiteSettings", client: "SparkLayerClient") -> Check:
    from swapsync.connectors.errors import RemoteError

    if site.stock_path == "none":
        return Check(site.slug, "stock locations", "ok", "not needed: stock_path is none")
    names = ("inspection_location", "sellable_location", "damaged_location")
    try:
        known = client.stock_locations()
    except RemoteError as error:
        return Check(site.slug, "stock locations", "problem", str(error), _remedy(error))
    missing = [name for name in names if getattr(site, name) not in known]
    if missing and site.create_stock_locations and "sellable_location" not in missing:
        return Check(
            site.slug,
            "stock locations",
            "ok",
            f"{', '.join(repr(getattr(site, name)) for name in missing)} will be created when the first goods come in",
        )
    if missing:
        return Check(
            site.slug,
            "stock locations",
            "problem",
            "SparkLayer has none with the external id "
            + ", ".join(f"{getattr(site, name)!r} ({name})" for name in missing)
            + f"; it has {', '.join(map(repr, sorted(known))) or 'none at all'}",
            f"Create it in SparkLayer, or set {', '.join(f'SWAPSYNC_{name.upper()}' for name in missing)}.",
        )
    return Check(site.slug, "stock locations", "ok", ", ".join(getattr(site, name) for name in names))


def _clock_check(site: str, newest: "list[datetime]", now: datetime) -> Check:
    from swapsync.moments import to_text

    if not newest:
        return Check(site, "clock", "ok", "not compared: neither system has shown a moment to compare with")
    ahead = max(newest) - now
    if ahead > CLOCK_TOLERANCE:
        return Check(
            site,
            "clock",
            "warning",
            f"the newest remote change is at {to_text(max(newest))}, {round(ahead.total_seconds())} s ahead of "
            f"this machine's clock",
            "Synchronise this machine's clock (NTP).",
        )
    return Check(site, "clock", "ok", "no remote change lies in the future")


def _remedy(error: Exception) -> str:
    from swapsync.connectors.errors import CredentialsRejected, TryLater

    if isinstance(error, CredentialsRejected):
        return "Correct the settings that the answer names."
    if isinstance(error, TryLater):
        return "Check the base URL and the network; if both are right, try again later."
    return "Check the site's base URL and ids."


# -- what people see -------------------------------------------------------------------------------------------------


def _print(checks: list[Check]) -> None:
    from swapsync.cli.output import print_table

    rows: list[tuple[str, ...]] = []
    for check in checks:
        status = check.status if check.status == "ok" else check.status.upper()
        rows.append((check.site or "", check.check, status, check.detail))
        if check.remedy:
            rows.append(("", "", "", f"→ {check.remedy}"))
    print_table("", ("site", "check", "status", "found"), rows)
    counts = {status: sum(check.status == status for check in checks) for status in ("problem", "warning")}
    found = [f"{count} {status}{'s' if count > 1 else ''}" for status, count in counts.items() if count]
    typer.echo(f"{len(checks)} checks: {', '.join(found) or 'all is well'}.")


def _one_line(error: object) -> str:
    return " ".join(str(error).split())
