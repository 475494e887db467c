"""CSV files that a spreadsheet opens as they are: nothing in them can run as a formula."""

import csv
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path

Cell = str | int | Decimal | None

_BREAKS = ("Cc", "Cs", "Zl", "Zp")
_FORMULA = re.compile(r"(^|;)([\s\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]*)(?=[=+\-@＝＋－＠﹦﹢﹣﹫−])")


def harmless(text: str) -> str:
    """Text on one line that no spreadsheet runs: an apostrophe stands before whatever could begin a formula.

    That is ``= + - @``, full-width ones too, at the start or after a semicolon (which separates cells where the
    comma separates decimals), also behind spaces and invisible characters.
    """
    line = "".join(" " if unicodedata.category(c) in _BREAKS else c for c in text)
    return _FORMULA.sub(r"\1'\2", line)


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Writes a whole file or none of it, in UTF-8 with the mark by which Excel knows it.

    Text is made harmless and otherwise kept as it is, numbers stay numbers, None is an empty cell. Raises OSError.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows([harmless(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
