"""How answers look: tables for people, one JSON document for scripts."""

import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

WIDE = 160


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    import orjson

    sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2, default=str).decode() + "\n")


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table for people; a column whose name begins with a space holds numbers, and only the last column wraps.

    What comes from outside is shown as it is and never read as markup. Where nobody's terminal sets a width, there is
    room for all of it.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    for column in columns:
        numbers = column.startswith(" ")
        last = column == columns[-1]
        table.add_column(column.strip(), justify="right" if numbers else "left", overflow="fold", no_wrap=not last)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console = Console(highlight=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDE)
    if title:
        console.print(Text(printable(title), style="bold"))
    console.print(table)
    console.print()


def printable(value: object) -> str:
    """A value as one line of text without control characters, which could steer a terminal."""
    return "".join(c if c.isprintable() else " " for c in ("" if value is None else str(value)))
