"""The commands: parse, call, print. Everything heavy is imported by the command that needs it."""

import atexit
import gc
import sys
from typing import Annotated, NoReturn

import typer

from swapsync.cli import (
    backfill,
    control,
    corrections,
    cut_over,
    daemon,
    database,
    demo,
    doctor,
    look,
    mappings,
    preview,
    reconcile,
    run,
    trail,
    work,
)

app = typer.Typer(
    name="swapsync",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Turns returns in Swap into credit notes, restocks and status on SparkLayer orders.",
)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"swapsync {version('swapsync')}")
        raise typer.Exit


@app.callback()
def _before_any_command(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None: ...


for commands in (
    demo,
    run,
    daemon,
    control,
    backfill,
    reconcile,
    look,
    preview,
    corrections,
    cut_over,
    work,
    mappings,
    trail,
    doctor,
    database,
):
    commands.register(app)


def _is_text(argument: str) -> bool:
    """Whether an argument came as UTF-8: other bytes stand in it as surrogates, which no store and no file takes."""
    return not any("\ud800" <= c <= "\udfff" for c in argument)


def main() -> NoReturn:
    """The entry point.

    Exit codes: 0 done, 1 a job or the store failed, 2 usage or settings, 3 differences, 130 interrupted.
    """
    from swapsync.cli.context import UserError, complain

    atexit.register(gc.freeze)  # what is alive at the end goes with the process; collecting it first takes 0.1 s
    try:
        app()
    except UserError as problem:
        complain(problem)
        sys.exit(2)
    except UnicodeEncodeError:
        if all(map(_is_text, sys.argv)):
            raise
        complain("an argument holds bytes that are no UTF-8 text")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as problem:
        from loguru import logger

        from swapsync.store.db import trouble

        if (said := trouble(problem)) is None:
            raise
        logger.opt(exception=problem).debug("the store failed")
        complain(f"{said}; what was done until then is stored: run it again once that is over")
        sys.exit(1)
    sys.exit(0)
