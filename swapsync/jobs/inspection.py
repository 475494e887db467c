"""The warehouse's findings: taken line by line, each once, and never more units than were announced.

Findings are only ever added. What was missing and turned up is taken back by a finding of fewer missing units.
"""

import csv
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from typing import Any

from sqlalchemy import Connection, Row, select

from swapsync.domain.kits import Kits
from swapsync.domain.returns import Condition, Finding, found
from swapsync.domain.settlement import by_todays_lines
from swapsync.jobs.typed import VALUE, one_line
from swapsync.store import runs
from swapsync.store.cases import findings, load_cases, of_return
from swapsync.store.changes import INSPECTED
from swapsync.store.db import Store, insert_new
from swapsync.store.events import Event, record_events
from swapsync.store.staging import mark_dirty, order_lines, return_lines, returns
from swapsync.store.tables import FindingRow

COLUMNS = ("rma", "sku", "condition", "quantity")
OPTIONAL = ("line", "reference")
DELIMITERS = ",;\t"
MAX_DIGITS = 7


class UnreadableFile(ValueError):
    """The file as a whole can't be taken; the message says why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What somebody found: as typed. ``key`` makes it count once; ``row`` is its line in a file.

    ``fault``: why the line could not be read as an entry at all. ``line``: which of the return's lines is meant; blank
    where the SKU says it.
    """

    rma: str
    sku: str
    condition: str
    quantity: str
    key: str
    row: int = 0
    fault: str = ""
    line: str = ""


@dataclass
class Intake:
    """What became of the entries."""

    taken: list[Entry] = field(default_factory=list)
    repeated: list[Entry] = field(default_factory=list)
    refused: list[tuple[Entry, str]] = field(default_factory=list)


def read_file(content: bytes) -> list[Entry]:
    """Entries of a CSV file with a header: rma, sku, condition, quantity, and optionally line and reference.

    UTF-8, or Latin-1 where it isn't; cells between commas, semicolons or tabs, as the header has them. An entry is one
    line, so that an unclosed quotation mark spoils no other. It is known again by what it says and by its reference, or
    without one by how often it stood in the file before; so a file that is loaded twice, or again with rows added,
    counts once, and so does a finding that stands twice under one reference. Raises UnreadableFile.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    first, *lines = re.split(r"\r\n|\r|\n", text)
    delimiter = max(DELIMITERS, key=first.count)
    try:
        header = [name.lower() for name in _cells(first, delimiter)]
    except csv.Error as error:
        raise UnreadableFile(f"line 1: {error}") from error
    expected = f"it is to be: {','.join(COLUMNS)}{''.join(f'[,{name}]' for name in OPTIONAL)}"
    if missing := [name for name in COLUMNS if name not in header]:
        raise UnreadableFile(f"the header lacks {', '.join(missing)}; {expected}")
    if twice := [name for name in (*COLUMNS, *OPTIONAL) if header.count(name) > 1]:
        raise UnreadableFile(f"the header names {', '.join(twice)} twice; {expected}")
    seen: Counter[tuple[str, ...]] = Counter()
    entries = []
    for number, text in enumerate(lines, start=2):
        try:
            cells = _cells(text, delimiter)
        except csv.Error as error:
            entries.append(Entry("", "", "", "", "", number, f"the line can't be read: {error}"))
            continue
        if not any(cells):
            continue
        row = dict(zip(header, cells, strict=False))
        rma, sku, condition, quantity = (row.get(name, "") for name in COLUMNS)
        line_id, reference = (row.get(name, "") for name in OPTIONAL)
        says = (rma, sku, _spelled(condition), quantity.lstrip("0"), reference, *filter(None, [line_id]))
        seen[says] += not (reference and seen[says])
        key = _digest(*says, str(seen[says]))
        entries.append(Entry(rma, sku, condition, quantity, key, number, _misfit(cells, header), line_id))
    return entries


def _cells(line: str, delimiter: str) -> list[str]:
    """The cells of one line, without the spaces around them. Raises csv.Error."""
    return [cell.strip() for row in csv.reader([line], delimiter=delimiter, strict=True) for cell in row]


def _misfit(cells: list[str], header: list[str]) -> str:
    """What is wrong with the shape of a line; blank if nothing is. Blank cells at its end may be left out or added."""
    while cells and not cells[-1]:
        cells = cells[:-1]
    if len(cells) > len(header):
        return f"{len(cells)} cells under a header of {len(header)}"
    if any("\x00" in cell for cell in cells):
        return "it holds a zero byte"
    return ""


def _spelled(condition: str) -> str:
    """A condition in our spelling; as it was typed where it is none of ours."""
    try:
        return _condition(condition)
    except ValueError:
        return condition


def _digest(*parts: str) -> str:
    return hashlib.blake2b("\x1f".join(parts).encode(), digest_size=16).hexdigest()


def record_findings(store: Store, site: str, entries: Iterable[Entry], *, actor: str, now: datetime) -> Intake:
    """Takes findings of one site: the good ones, each once; says of each other one what is wrong with it.

    The next reconcile draws the conclusions.
    """
    intake = Intake()
    with store.transaction() as connection:
        runs.lock_site(connection, site)
        for entry in entries:
            if entry.fault:
                intake.refused.append((entry, entry.fault))
                continue
            if _is_known(connection, site, entry):
                intake.repeated.append(entry)
                continue
            try:
                rows = _rows(connection, site, entry)
            except ValueError as problem:
                intake.refused.append((entry, str(problem)))
                continue
            insert_new(
                connection,
                FindingRow,
                [row | {"site": site, "found_at": now, "actor": actor} for row in rows],
            )
            return_id = rows[0]["return_id"]
            mark_dirty(connection, site, returns.c.return_id == return_id)
            back = sum(-row["quantity"] for row in rows if row["quantity"] < 0)
            turned_up = f", {back} of them had been missing" if back else ""
            what = f"{entry.quantity} x {entry.sku} {rows[0]['condition']}{turned_up} ({actor})"
            counted = sum(row["quantity"] for row in rows if row["quantity"] > 0)
            found = {"sku": entry.sku, "condition": rows[0]["condition"], "quantity": counted, "turned up": back}
            told = Event("staff", INSPECTED, what, return_id, actor=actor, after=found)
            record_events(connection, site, [told], now)
            intake.taken.append(entry)
    return intake


def _is_known(connection: Connection, site: str, entry: Entry) -> bool:
    of_rma = select(returns.c.return_id).where(returns.c.site == site, returns.c.rma_number == entry.rma)
    keys = connection.execute(
        select(findings.c.finding_key).where(findings.c.site == site, findings.c.return_id.in_(of_rma))
    ).scalars()
    return any(key.startswith(f"{entry.key}:") for key in keys)


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of a return that a finding can be of: units that nobody has looked at, and those recorded missing."""

    line_id: str
    sku: str
    unseen: int
    missing: int
    order_line_key: str


def _rows(connection: Connection, site: str, entry: Entry) -> list[dict[str, Any]]:
    """The finding spread over the return's lines of that SKU. Raises ValueError with what is wrong.

    Units beyond those that nobody has looked at are some that were recorded missing and turned up: as many are taken
    back from what is missing.
    """
    condition = _condition(entry.condition)
    quantity = _quantity(entry.quantity)
    ret = _return(connection, site, entry.rma)
    lines = _lines(connection, site, ret.return_id, entry.sku)
    if condition is Condition.UNEXPECTED:
        return [_unexpected(entry, ret.return_id, quantity, sum(line.unseen + line.missing for line in lines))]
    if not lines:
        raise ValueError(f"RMA {entry.rma} has no line with SKU {entry.sku}")
    if entry.line:
        names = ", ".join(line.line_id for line in lines)
        lines = [line for line in lines if line.line_id == entry.line]
        if not lines:
            raise ValueError(f"RMA {entry.rma} has no line {entry.line} with SKU {entry.sku}, but {names}")
    unseen = [line.unseen for line in lines]
    missing = [line.missing if condition is not Condition.MISSING else 0 for line in lines]
    if quantity > sum(unseen) + sum(missing):
        also = f", {sum(missing)} recorded missing" if any(missing) else ""
        left = f"{sum(unseen)} not inspected yet{also}"
        raise ValueError(f"{quantity} x {entry.sku} is more than RMA {entry.rma} still expects: {left}")
    at_hand = min(quantity, sum(unseen))
    rows = []
    for line, seen, turned_up in zip(
        lines,
        _spread(connection, site, ret, entry, lines, unseen, at_hand),
        _spread(connection, site, ret, entry, lines, missing, quantity - at_hand),
        strict=True,
    ):
        if seen or turned_up:
            rows.append(_finding(entry, ret.return_id, line.line_id, condition, seen + turned_up, line.sku))
        if turned_up:
            back = _finding(entry, ret.return_id, line.line_id, Condition.MISSING, -turned_up, line.sku)
            rows.append(back | {"finding_key": f"{back['finding_key']}:turned up"})
    return rows


def _spread(
    connection: Connection,
    site: str,
    ret: Row[Any],
    entry: Entry,
    lines: Sequence[_Line],
    room: Sequence[int],
    quantity: int,
) -> list[int]:
    """Units spread over the lines that have room for them, the first ones first.

    Raises ValueError where it matters which ones they are of: not all get what they have room for, and the order sold
    them at different prices.
    """
    if 0 < quantity < sum(room):
        possible = [line for line, units in zip(lines, room, strict=True) if units]
        if len(possible) > 1 and _prices_differ(connection, site, ret.order_id, possible):
            choice = ", ".join(line.line_id for line in possible)
            raise ValueError(f"RMA {entry.rma} has {entry.sku} at different prices: say which line it is, {choice}")
    parts = []
    for units in room:
        parts.append(min(units, quantity))
        quantity -= parts[-1]
    return parts


def _prices_differ(connection: Connection, site: str, order_id: str, lines: Iterable[_Line]) -> bool:
    """Whether a unit of one of these lines was sold at another price than a unit of another."""
    sold = connection.execute(
        select(order_lines.c.line_key, order_lines.c.quantity, order_lines.c.net, order_lines.c.tax).where(
            order_lines.c.site == site, order_lines.c.order_id == order_id
        )
    )
    prices = {
        row.line_key: (Fraction(row.net, row.quantity), Fraction(row.tax, row.quantity)) for row in sold if row.quantity
    }
    return len({prices.get(line.order_line_key) for line in lines}) > 1


def _unexpected(entry: Entry, return_id: str, quantity: int, expected: int) -> dict[str, Any]:
    """The finding of units that no line of the return announces, or that came beyond what it announces."""
    if not entry.sku:
        raise ValueError("the SKU that came is missing")
    if expected:
        raise ValueError(f"RMA {entry.rma} still expects {expected} x {entry.sku}: say in what condition these are")
    sku = one_line("SKU", entry.sku, VALUE)
    return _finding(entry, return_id, "", Condition.UNEXPECTED, quantity, sku)


def _finding(
    entry: Entry, return_id: str, line_id: str, condition: Condition, quantity: int, sku: str
) -> dict[str, Any]:
    return {
        "finding_key": f"{entry.key}:{line_id}",
        "return_id": return_id,
        "line_id": line_id,
        "condition": condition,
        "quantity": quantity,
        "sku": sku,
    }


def _condition(word: str) -> Condition:
    folded = "".join(c for c in word.lower() if c.isalpha())
    for condition in Condition:
        if condition.replace("_", "") == folded:
            return condition
    raise ValueError(f"condition {word!r} is not one of {', '.join(Condition)}")


def _quantity(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not text.strip("0"):
        raise ValueError(f"quantity {text[:20]!r} is not a whole number above zero")
    if len(text.lstrip("0")) > MAX_DIGITS:
        raise ValueError(f"quantity {text[:20]}… is more than any parcel holds")
    return int(text)


def _return(connection: Connection, site: str, rma: str) -> Any:
    found = connection.execute(
        select(returns.c.return_id, returns.c.order_id, returns.c.settled_outside).where(
            returns.c.site == site, returns.c.rma_number == rma
        )
    ).all()
    if not found:
        raise ValueError(f"there is no return with RMA {rma}")
    if len(found) > 1:
        raise ValueError(f"RMA {rma} names {len(found)} returns")
    if found[0].settled_outside:
        raise ValueError(f"RMA {rma} was settled before swapsync began")
    return found[0]


def _lines(connection: Connection, site: str, return_id: str, sku: str) -> list[_Line]:
    """A return's lines with this SKU; a line id stands for a line without one."""
    lines = connection.execute(
        select(return_lines.c.line_id, return_lines.c.sku, return_lines.c.quantity, return_lines.c.order_line_key)
        .where(return_lines.c.site == site, return_lines.c.return_id == return_id)
        .order_by(return_lines.c.position)
    ).all()
    seen = _seen(connection, site, return_id, lines)
    return [
        _Line(
            line.line_id,
            line.sku,
            max(line.quantity - seen[line.line_id].total(), 0),
            max(seen[line.line_id][Condition.MISSING], 0),
            line.order_line_key,
        )
        for line in lines
        if (line.sku or line.line_id) == sku
    ]


def _seen(connection: Connection, site: str, return_id: str, lines: Sequence[Any]) -> dict[str, Counter[Condition]]:
    """What was found of each line that the return has now, also under the names that its lines had before."""
    rows = connection.execute(
        select(findings.c.line_id, findings.c.condition, findings.c.quantity, findings.c.sku)
        .where(findings.c.site == site, findings.c.return_id == return_id, findings.c.line_id != "")
        .order_by(findings.c.id)
    ).all()
    known = [Finding(row.line_id, Condition(row.condition), row.quantity, sku=row.sku) for row in rows]
    seen = {line.line_id: found(known, line.line_id) for line in lines}
    skus = {line.line_id: ("", line.sku) for line in lines}
    as_ever = all(finding.sku in skus.get(finding.line_id, ()) for finding in known)
    if not as_ever or any(seen[line.line_id].total() > line.quantity for line in lines):
        for case in load_cases(connection, site, *(of_return(connection, site, return_id) or ((), ()))):
            for facts in by_todays_lines(case, Kits()).returns:
                if facts.ret.return_id == return_id:
                    seen = {line.line_id: found(facts.findings, line.line_id) for line in lines}
    return seen
