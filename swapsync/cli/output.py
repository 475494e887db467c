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

    A column in which no row says anything is left out; without rows there is only the title. What comes from
    outside is shown as it is and never read as markup. Where nobody's terminal sets a width, there is room for all of
    it.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    found = [list(row) for row in rows]
    said = [place for place in range(len(columns)) if any(row[place] not in ("", None) for row in found)]
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    for place in said:
        column, last = columns[place], place == said[-1]
        numbers = column.startswith(" ")
        table.add_column(column.strip(), justify="right" if numbers else "left", overflow="fold", no_wrap=not last)
    for row in found:
        table.add_row(*(Text(printable(row[place])) for place in said))
    console = Console(highlight=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDE)
    if title:
        console.print(Text(printable(title), style="bold"))
    if said:
        console.print(table)
    console.print()


def wrapped(label: str, text: str) -> str:
    """A label and its text, broken under itself where a person's terminal ends; one line elsewhere."""
    import shutil
    import textwrap

    if not sys.stdout.isatty():
        return label + text
    width = max(shutil.get_terminal_size().columns, len(label) + 20)
    indent = " " * len(label)
    return textwrap.fill(text, width, initial_indent=label, subsequent_indent=indent, break_on_hyphens=False)


def counted(number: int, one: str, many: str = "") -> str:
    """A number and what it counts: ``1 effect``, ``2 effects``."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def printable(value: object) -> str:
    """A value as one line of text without control characters, which could steer a terminal."""
    return "".join(c if c.isprintable() else " " for c in ("" if value is None else str(value)))
