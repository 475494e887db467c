"""daemon: every job on its own interval or cron."""

import typer

from swapsync.cli.context import SiteOption, UserError, load, opened


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(daemon)


def daemon(site: SiteOption = None) -> None:
    """Runs every job on its own schedule. SIGTERM or Ctrl-C ends it; what is running then is finished first."""
    from signal import SIGINT

    from swapsync.clock import Clock
    from swapsync.daemon import AddressUnusable, run_daemon

    settings = load(site)
    with opened(settings) as store:
        try:
            received = run_daemon(settings.sites, store, Clock(), settings.health_address)
        except AddressUnusable as taken:
            raise UserError(f"SWAPSYNC_HEALTH_ADDRESS: {taken}") from None
    if received is SIGINT:
        raise typer.Exit(130)
