"""The warehouse's findings: taken line by line, each once, and never more units than were announced."""

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from swapsync.domain.returns import Condition
from swapsync.store import runs
from swapsync.store.cases import findings
from swapsync.store.db import Store, insert_new
from swapsync.store.events import Event, record_events
from swapsync.store.staging import mark_dirty, return_lines, returns
from swapsync.store.tables import FindingRow

COLUMNS = ("rma", "sku", "condition", "quantity")


class UnreadableFile(ValueError):
    """The file as a whole can't be taken; the message says why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What somebody found: as typed. ``key`` makes it count once; ``row`` is its line in a file."""

    rma: str
    sku: str
    condition: str
    quantity: str
    key: str
    row: int = 0


@dataclass
class Intake:
    """What became of the entries."""

    taken: list[Entry] = field(default_factory=list)
    repeated: list[Entry] = field(default_factory=list)
    refused: list[tuple[Entry, str]] = field(default_factory=list)


def read_file(content: bytes) -> list[Entry]:
    """Entries of a CSV file with a header: rma, sku, condition, quantity, and optionally reference.

    UTF-8, or Latin-1 where it isn't. An entry is known again by its content, its reference and how often it stood in
    the file before, so a file that is loaded twice, or again with rows added, counts once. Raises UnreadableFile.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    reader = csv.DictReader(io.StringIO(text, newline=""))
    header = [(name or "").strip().lower() for name in reader.fieldnames or ()]
    if missing := [name for name in COLUMNS if name not in header]:
        raise UnreadableFile(f"the header lacks {', '.join(missing)}; it is to be: {','.join(COLUMNS)}[,reference]")
    reader.fieldnames = header
    seen: Counter[tuple[str, ...]] = Counter()
    entries = []
    try:
        for row in reader:
            cells = tuple((row.get(name) or "").strip() for name in (*COLUMNS, "reference"))
            if any(cells):
                seen[cells] += 1
                rma, sku, condition, quantity, _ = cells
                key = _digest(*cells, str(seen[cells]))
                entries.append(Entry(rma, sku, condition, quantity, key, reader.line_num))
    except csv.Error as error:
        raise UnreadableFile(f"line {reader.line_num}: {error}") from error
    return entries


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
            known = connection.execute(
                select(findings.c.id).where(findings.c.site == site, findings.c.finding_key.like(f"{entry.key}:%"))
            ).first()
            if known:
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
            what = f"{entry.quantity} x {entry.sku} {rows[0]['condition']} ({actor})"
            record_events(connection, site, [Event("staff", "inspected", what, return_id, actor=actor)], now)
            intake.taken.append(entry)
    return intake


def _rows(connection: Connection, site: str, entry: Entry) -> list[dict[str, Any]]:
    """The finding spread over the return's lines of that SKU. Raises ValueError with what is wrong."""
    condition = _condition(entry.condition)
    quantity = _quantity(entry.quantity)
    ret = _return(connection, site, entry.rma)
    room = _room(connection, site, ret.return_id, entry.sku)
    if not room:
        raise ValueError(f"RMA {entry.rma} has no line with SKU {entry.sku}")
    if quantity > sum(units for _, units in room):
        raise ValueError(
            f"{quantity} x {entry.sku} is more than RMA {entry.rma} still expects: "
            f"{sum(units for _, units in room)} not inspected yet"
        )
    rows = []
    for line_id, units in room:
        part = min(units, quantity)
        quantity -= part
        if part:
            rows.append(
                {
                    "finding_key": f"{entry.key}:{line_id}",
                    "return_id": ret.return_id,
                    "line_id": line_id,
                    "condition": condition,
                    "quantity": part,
                }
            )
    return rows


def _condition(word: str) -> Condition:
    folded = "".join(c for c in word.lower() if c.isalpha())
    for condition in Condition:
        if condition.replace("_", "") == folded:
            return condition
    raise ValueError(f"condition {word!r} is not one of {', '.join(Condition)}")


def _quantity(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise ValueError(f"quantity {text!r} is not a whole number above zero")
    return int(text)


def _return(connection: Connection, site: str, rma: str) -> Any:
    found = connection.execute(
        select(returns.c.return_id, returns.c.settled_outside).where(
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


def _room(connection: Connection, site: str, return_id: str, sku: str) -> list[tuple[str, int]]:
    """(line id, units not inspected yet) of a return's lines with this SKU; a line id stands for a line without one."""
    inspected = (
        select(findings.c.line_id, func.sum(findings.c.quantity).label("units"))
        .where(findings.c.site == site, findings.c.return_id == return_id)
        .group_by(findings.c.line_id)
        .subquery()
    )
    rows = connection.execute(
        select(return_lines.c.line_id, return_lines.c.quantity, func.coalesce(inspected.c.units, 0).label("done"))
        .outerjoin(inspected, inspected.c.line_id == return_lines.c.line_id)
        .where(
            return_lines.c.site == site,
            return_lines.c.return_id == return_id,
            (return_lines.c.sku == sku) | ((return_lines.c.sku == "") & (return_lines.c.line_id == sku)),
        )
        .order_by(return_lines.c.position)
    )
    return [(row.line_id, row.quantity - int(row.done)) for row in rows]
