"""Commands for the staging store itself: its schema, its backups, and what to say after a restore."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swapsync.cli.context import SiteOption, UserError, actor, load, opened
from swapsync.cli.output import printable

if TYPE_CHECKING:
    from swapsync.store.backup import Copy
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
    for command in (upgrade, backup, restore, restored):
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
    from swapsync.store.backup import BackupError
    from swapsync.store.backup import restore as put_in_place
    from swapsync.store.db import Store, StoreError

    settings = load(require_sites=False)
    now = Clock().now()
    try:
        store = Store(settings.database_url.get_secret_value())
        database = store.engine.url.database
        store.close()
        if not store.is_sqlite or not database:
            raise UserError("the store is in PostgreSQL: restore it with pg_restore, then run swapsync db restored")

        def mark(copy: Store, numbers: dict[str, int]) -> None:
            mark_restored(copy, now, actor(), numbers=numbers | _numbers(copy, site, number))

        kept = put_in_place(Path(database), file, now, mark)
    except (BackupError, StoreError) as error:
        raise UserError(str(error)) from None
    typer.echo(f"restored from {printable(file)}{f'; what was there is now {printable(kept)}' if kept else ''}")
    typer.echo("Enter the findings and decisions made since that backup again: docs/operations.md says what is held.")


def restored(number: NumberOption = None, site: SiteOption = None) -> None:
    """Says that the store was restored by other means.

    After pg_restore, or where a backup was copied into place; before anything runs on it again.
    """
    from swapsync.clock import Clock
    from swapsync.jobs.restored import mark_restored

    settings = load(require_sites=False)
    with opened(settings, backup=True) as store:
        numbers = _numbers(store, site, number)
        mark_restored(store, Clock().now(), actor(), numbers=numbers, site=site)
        if site is None:
            store.put_in_place()
    typer.echo("noted: for every return of the time before, swapsync looks before it writes (docs/operations.md)")


def _numbers(store: "Store", site: str | None, number: int | None) -> dict[str, int]:
    """The last credit note's number as it was typed, by the site that it is of."""
    from sqlalchemy import select

    from swapsync.store.runs import sites

    with store.reading() as connection:
        known = list(connection.execute(select(sites.c.slug).order_by(sites.c.slug)).scalars())
    if site is not None and site not in known:
        raise UserError(f"--site {site}: the store knows {', '.join(known) or 'no site'}")
    if number is None:
        return {}
    if site is None and len(known) > 1:
        raise UserError(f"--last-credit-note needs --site, one of {', '.join(known)}: each has its own numbers")
    return dict.fromkeys([site] if site else known, number)


def _described(copy: "Copy") -> str:
    from swapsync.cli.output import counted

    holds = {"return_authorisation": "return", "credit_note": "credit note", "exception": "exception", "event": "event"}
    counts = ", ".join(counted(copy.counts[table], name) for table, name in holds.items() if table in copy.counts)
    return f"schema {copy.revision}, every table verified; {counts}"
