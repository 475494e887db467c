"""Commands for the audit trail: who did what and when, and the proof that nobody has touched the record of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from swapsync.cli.context import JsonOption, SiteOption, UserError, load, opened

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from swapsync.store.events import Head

MAX_DIGITS = 18
trail = typer.Typer(no_args_is_help=True, help="Audit trail: the proof that nobody touched the record.")


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(trail, name="audit-trail")


@trail.command("verify")
def verify_trail(
    noted: Annotated[
        str | None,
        typer.Option(
            "--head", metavar="COUNT:HASH", help="A head that an earlier run printed; the trail must still hold it."
        ),
    ] = None,
    site: SiteOption = None,
    json: JsonOption = False,
) -> None:
    """Checks that nobody touched the audit trail.

    Exit code 3 when an entry was changed, removed, inserted or reordered since it was written; the first such entry is
    named. Note the head that is printed somewhere else: a later run with --head proves that not even the whole trail
    was written anew.
    """
    from swapsync.cli.output import counted, print_json, printable
    from swapsync.store.events import verify

    head = _head(noted)
    with _reading() as connection:
        slugs = _sites(connection, site)
        if head and len(slugs) > 1:
            raise UserError(f"a head belongs to one site; say which with --site: {', '.join(slugs)}")
        verdicts = {slug: verify(connection, slug, head) for slug in slugs}
    if json:
        print_json(
            [
                {
                    "site": slug,
                    "intact": not verdict.fault,
                    "entries": verdict.head.count,
                    "head": str(verdict.head),
                    "before_the_chain": verdict.earlier,
                    "fault": verdict.fault or None,
                }
                for slug, verdict in verdicts.items()
            ]
        )
    else:
        for slug, verdict in verdicts.items():
            if verdict.fault:
                typer.echo(printable(f"{slug}: NOT intact: {verdict.fault}"))
                continue
            typer.echo(f"{slug}: intact, {counted(verdict.head.count, 'entry', 'entries')}, head {verdict.head}")
            if verdict.earlier:
                typer.echo(
                    f"  the chain begins after {verdict.earlier} entries of an earlier version; they are unchanged too"
                )
    if any(verdict.fault for verdict in verdicts.values()):
        raise typer.Exit(3)


def _head(noted: str | None) -> "Head | None":
    from swapsync.store.events import Head

    if noted is None:
        return None
    count, _, digest = noted.partition(":")
    if not (count.isascii() and count.isdigit() and len(count) <= MAX_DIGITS and digest):
        raise UserError(f"--head {noted} is not COUNT:HASH, as swapsync audit-trail verify prints it")
    return Head(int(count), digest)


@contextmanager
def _reading() -> "Iterator[Connection]":
    with opened(load(require_sites=False)) as store, store.reading() as connection:
        yield connection


def _sites(connection: "Connection", site: str | None) -> list[str]:
    """The sites of the store, or the one asked for. Raises UserError when there is none."""
    from sqlalchemy import select

    from swapsync.store.runs import sites

    known = list(connection.execute(select(sites.c.slug).order_by(sites.c.slug)).scalars())
    chosen = [slug for slug in known if site in (None, slug)]
    if not chosen:
        raise UserError(f"the store knows no site {site}" if site else "the store is empty: run swapsync sync first")
    return chosen
