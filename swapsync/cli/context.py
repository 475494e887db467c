"""What every command begins with: settings, log, store. A user's mistake ends in one line and exit code 2."""

import getpass
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from swapsync.settings import Settings
    from swapsync.store.db import Store

SiteOption = Annotated[str | None, typer.Option("--site", metavar="SLUG", help="Only this merchant.")]
MAX_ID = 2**31 - 1
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Only show what would be written outside; nothing is sent, nothing is kept.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, for scripts.")]


class UserError(Exception):
    """Something that the person at the keyboard can mend: one line, no traceback."""


def actor() -> str:
    """The name of the person at the keyboard, for the audit trail. Raises UserError when it is no name."""
    from swapsync.jobs.typed import VALUE, one_line

    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        name = f"uid {os.getuid()}"
    try:
        return one_line("user's name (LOGNAME)", name, VALUE)
    except ValueError as error:
        raise UserError(str(error)) from None


def complain(words: object) -> None:
    """One line on stderr, in which nothing steers a terminal."""
    from swapsync.cli.output import printable

    print(f"swapsync: {printable(words)}", file=sys.stderr)


def load(site: str | None = None, *, require_sites: bool = True) -> "Settings":
    """The settings of this environment, with the log set up as they say. Raises UserError."""
    from swapsync.log import set_up_log
    from swapsync.settings import SettingsError, load_settings

    try:
        settings = load_settings(os.environ, Path.cwd(), site=site, require_sites=require_sites)
    except SettingsError as error:
        raise UserError(str(error)) from None
    set_up_log(settings)
    for warning in settings.warnings:
        complain(warning)
    return settings


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and SIGINT raise KeyboardInterrupt meanwhile, once; a second one ends the process at once."""
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}

    def interrupt(*_: object) -> NoReturn:
        for each in before:
            signal.signal(each, signal.SIG_DFL)
        raise KeyboardInterrupt

    for each in before:
        signal.signal(each, interrupt)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def opened(settings: "Settings", *, dry_run: bool = False, backup: bool = False) -> "Iterator[Store]":
    """The staging store, at this version's schema; for a dry run a throw-away copy of it, and the store stays as it is.

    Raises UserError when it can't be used; with ``backup`` it may be one that was copied into place.
    """
    from swapsync.store.db import Store, StoreError

    with ExitStack() as stack:
        try:
            store = Store(settings.database_url.get_secret_value())
            stack.callback(store.close)
            if dry_run:
                store = stack.enter_context(store.copied())
            else:
                store.require_current(backup=backup)
        except StoreError as error:
            raise UserError(f"SWAPSYNC_DATABASE_URL: {error}") from None
        yield store
