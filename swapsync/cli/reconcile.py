"""Commands."""

import typer


def register(app: typer.Typer) -> None:
    """Adds the commands."""
