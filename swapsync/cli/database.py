"""Commands for the staging store itself: its schema, its backups, and what to say after a restore."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swapsync.cli.context import SiteOption, UserError, actor, load, opened
from swapsync.cli.output import printable

if TYPE_CHECKING:
    from swapsync.settings import Settings
    from swapsync.store.backup import Copy, LastKnown
    from swapsync.store.db import Store

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The backup.")]
NumberOption = Annotated[
    int | None,
    typer.Option(
        "--last-credit-note",
        min=0,
        max=999_999_999,
        metavar="N",
        help="The number of the last credit note given out, without its prefix; numbering goes on after it.",
    ),
]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    db = typer.Typer(no_args_is_help=True, help="Staging store: its schema and its backups.")
    for command in (upgrade, backup, restore, restored, moved):
        db.command()(command)
    app.add_typer(db, name="db")


def upgrade() -> None:
    """Brings the store's schema to this version's."""
    from sqlalchemy.exc import DBAPIError

    from swapsync.store.db import Store, StoreError

    settings = load(require_sites=False)
    try:
        store = Store(settings.database_url.get_secret_value())
        before = store.revision()
        store.upgrade()
        after = store.revision()
        store.close()
    except StoreError as error:
        raise UserError(f"SWAPSYNC_DATABASE_URL: {error}") from None
    except DBAPIError as error:
        raise UserError(
            f"SWAPSYNC_DATABASE_URL: the schema can't be upgraded: {printable(str(error.orig)).strip()}"
        ) from None
    if before == after:
        typer.echo(f"The schema is at revision {after} already.")
    else:
        typer.echo(f"The schema went from {f'revision {before}' if before else 'empty'} to revision {after}.")


def backup(file: FileArgument) -> None:
    """Copies a SQLite store to a new file, while it is in use.

    The copy is verified. PostgreSQL has pg_dump for it.
    """
    from swapsync.store.backup import BackupError, back_up

    settings = load(require_sites=False)
    with opened(settings) as store:
        if not store.is_sqlite:
            raise UserError(
                "the store is in PostgreSQL, whose own tool makes the backup while everything runs: pg_dump "
                f"--format=custom --file={printable(file)} {store.engine.url.database}. After pg_restore, and before "
                "anything runs on it: swapsync db restored"
            )
        try:
            copy = back_up(store, file)
        except BackupError as error:
            raise UserError(str(error)) from None
    typer.echo(f"{printable(file)}: {_described(copy)}")
    typer.echo("Put it back with swapsync db restore, never by copying the file: docs/operations.md says why.")


def restore(file: FileArgument, number: NumberOption = None, site: SiteOption = None) -> None:
    """Puts a backup in the place of a SQLite store.

    The store that was there is kept beside it. From then on swapsync looks before it writes for every return of the
    time before (docs/operations.md).
    """
    from swapsync.clock import Clock
    from swapsync.jobs.restored import mark_restored
    from swapsync.store.backup import BackupError, LastKnown
    from swapsync.store.backup import restore as put_in_place
    from swapsync.store.db import Store, StoreError

    settings = load(require_sites=False)
    now = Clock().now()
    new: dict[str, datetime] = {}
    try:
        store = Store(settings.database_url.get_secret_value())
        database = store.engine.url.database
        store.close()
        if not store.is_sqlite or not database:
            raise UserError("the store is in PostgreSQL: restore it with pg_restore, then run swapsync db restored")

        def mark(copy: Store, replaced: Mapping[str, LastKnown]) -> None:
            known = _known(copy, replaced or _set_up(settings), site, number)
            new.update(mark_restored(copy, now, actor(), known=known))

        kept = put_in_place(Path(database), file, now, mark)
    except (BackupError, StoreError) as error:
        raise UserError(str(error)) from None
    typer.echo(f"restored from {printable(file)}{f'; what was there is now {printable(kept)}' if kept else ''}")
    _say_cut_overs(new)
    typer.echo("Enter the findings and decisions made since that backup again: docs/operations.md says what is held.")


def restored(number: NumberOption = None, site: SiteOption = None) -> None:
    """Says that the store was restored by other means.

    After pg_restore, or where a backup was copied into place; before anything runs on it again.
    """
    from swapsync.clock import Clock
    from swapsync.jobs.restored import mark_restored
    from swapsync.store.db import StoreError

    settings = load(require_sites=False)
    now = Clock().now()
    with opened(settings, backup=True) as store:
        known = _known(store, _set_up(settings), site, number)
        try:
            new = mark_restored(store, now, actor(), known=known, site=site)
        except StoreError as error:
            raise UserError(str(error)) from None
    _say_cut_overs(new)
    typer.echo("noted: for every return of the time before, swapsync looks before it writes (docs/operations.md)")


def moved() -> None:
    """Says that the store was moved, and lost nothing.

    By a backup or a dump, before which every worker and every cron job was stopped. Nothing is looked for then.
    """
    from sqlalchemy import select

    from swapsync.clock import Clock
    from swapsync.store.db import StoreError
    from swapsync.store.events import Event, record_events
    from swapsync.store.runs import sites

    with opened(load(require_sites=False), backup=True) as store:
        try:
            store.require_in_place()
        except StoreError:
            pass
        else:
            typer.echo("The store is in its place already.")
            return
        try:
            with store.transaction() as connection:
                store.put_in_place(connection)
                for slug in list(connection.execute(select(sites.c.slug)).scalars()):
                    detail = "moved here by a backup or a dump, after which nothing ran"
                    record_events(
                        connection, slug, [Event("staff", "store_moved", detail, actor=actor())], Clock().now()
                    )
        except StoreError as error:
            raise UserError(str(error)) from None
    typer.echo("noted: the store is in its place, and goes on as it was")


def _say_cut_overs(new: Mapping[str, datetime]) -> None:
    """What to look at where the backup is older than a site's first run."""
    from swapsync.moments import to_text

    for slug, moment in new.items():
        typer.echo(f"site {slug} is not in the backup: its cut-over is {to_text(moment)} (swapsync cut-over show)")


def _set_up(settings: "Settings") -> dict[str, "LastKnown"]:
    """The sites that are set up, each of which may have run since the backup."""
    from swapsync.store.backup import LastKnown

    return {each.slug: LastKnown(0, each.effects_from) for each in settings.sites}


def _known(
    store: "Store", known: Mapping[str, "LastKnown"], site: str | None, number: int | None
) -> Mapping[str, "LastKnown"]:
    """What is known of the sites, with the last credit note's number as it was typed."""
    from sqlalchemy import select

    from swapsync.store.backup import LastKnown
    from swapsync.store.runs import sites

    with store.reading() as connection:
        stored = {row.slug: row for row in connection.execute(select(sites))}
    names = sorted({*stored, *known})
    if (site is not None and site not in names) or (number is not None and not names):
        raise UserError(
            f"{f'--site {site}' if site else '--last-credit-note'}: the store knows {', '.join(names) or 'no site'}"
        )
    if number is None:
        return known
    if site is None and len(names) > 1:
        raise UserError(f"--last-credit-note needs --site, one of {', '.join(names)}: each has its own numbers")
    [slug] = [site] if site else names
    of_site = known.get(slug) or LastKnown(0, stored[slug].effects_from)
    return {**known, slug: LastKnown(max(number, of_site.last_credit_number), of_site.effects_from)}


def _described(copy: "Copy") -> str:
    from swapsync.cli.output import counted

    holds = {"return_authorisation": "return", "credit_note": "credit note", "exception": "exception", "event": "event"}
    counts = ", ".join(counted(copy.counts[table], name) for table, name in holds.items() if table in copy.counts)
    return f"schema {copy.revision}, every table verified; {counts}"
