"""daemon: every job on its own interval or cron."""

import typer

from swapsync.cli.context import SiteOption, load, opened


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(daemon)


def daemon(site: SiteOption = None) -> None:
    """Run every job on its own schedule until SIGTERM or Ctrl-C; what is running then is finished first."""
    from signal import SIGINT

    from swapsync.clock import Clock
    from swapsync.daemon import run_daemon

    settings = load(site)
    with opened(settings) as store:
        received = run_daemon(settings.sites, store, Clock())
    if received is SIGINT:
        raise typer.Exit(130)
