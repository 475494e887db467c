"""The month-end: what came back in a period, how it was made good, and what does not agree yet.

Everything is read from the staging store, so the same facts give the same figures and the same files, byte by byte.
Each figure has one date of its own (submitted, closed or issued), so that the months of a year add up to it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, and_, case, exists, select

from swapsync.domain import money
from swapsync.domain.catalogue import Code
from swapsync.domain.returns import ReturnStatus, Settlement
from swapsync.jobs.compare import CLOSED_AT, SUBJECT, Period, in_period
from swapsync.moments import or_none, to_text
from swapsync.reports.spreadsheet import Cell, write_csv
from swapsync.store.cases import credit_note_lines, credit_notes
from swapsync.store.db import chunks
from swapsync.store.exceptions import exceptions
from swapsync.store.outbox import Kind, outbox
from swapsync.store.staging import orders, return_lines, returns

NOTE_STATES = ("delivered", "pending", "failed", "void")
SETTLEMENTS = tuple(state for state in Settlement if state is not Settlement.SETTLED_OUTSIDE)

Totals = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that keeps the period from being closed; ``amount`` in minor units, None where it is not known."""

    site: str
    code: str
    rma_number: str
    return_id: str
    order_name: str
    detail: str
    amount: int | None
    currency: str


@dataclass(frozen=True, slots=True)
class MonthEnd:
    """One site's period. ``outside``: returns settled before the cut-over; they count nowhere else.

    ``reasons``: by return id, why its lines come back: the merchant's codes, else Swap's words.
    """

    period: Period
    returns: list[Row[Any]]
    outside: list[Row[Any]]
    credit_notes: list[Row[Any]]
    credit_note_lines: list[Row[Any]]
    differences: list[Difference]
    reasons: Mapping[str, list[str]]

    @property
    def totals(self) -> Totals:
        return totals([self])


def read_month_end(connection: Connection, site: str, period: Period) -> MonthEnd:
    """What the store knows of a period."""
    found = _returns(connection, site, period)
    live = [row for row in found if not row.settled_outside]
    notes = _credit_notes(connection, site, period)
    return MonthEnd(
        period,
        live,
        [row for row in found if row.settled_outside],
        notes,
        _note_lines(connection, site, notes),
        _differences(connection, site, live, notes),
        _reasons(connection, site, [row.return_id for row in found]),
    )


# -- figures ---------------------------------------------------------------------------------------------------------


def totals(reports: Iterable[MonthEnd]) -> Totals:
    """Figures by currency, amounts as decimal strings; several sites are added up.

    - ``announced``: returns submitted in the period, at Swap's value;
    - ``returns``: all that were submitted, closed or credited in it, and the same ``by_settlement`` as it stands now;
      ``without_value`` of them carry no value in Swap;
    - ``credit_notes``: ``issued`` in it, which is the sum of ``delivered``, ``pending``, ``failed`` and ``void``;
      ``withdrawn``: those of the ``void`` that were taken back before they had any effect, so that no void undoes them;
      ``voids`` issued in it, which undo credit notes of this or an earlier period; ``credited``: issued less withdrawn
      and less voids;
    - ``gateway_refunds``: what Swap says that it gave back on returns closed in it;
    - ``settled_outside``: what was settled before the cut-over, and is in none of the others.
    """
    currencies: dict[str, _Figures] = defaultdict(_Figures)
    for report in reports:
        for row in report.returns:
            currencies[row.currency.upper()].add_return(row, report.period)
        for row in report.outside:
            currencies[row.currency.upper()].add("settled_outside", row)
        for note in report.credit_notes:
            currencies[note.currency.upper()].add_note(note)
    return {currency: currencies[currency].as_json(currency) for currency in sorted(currencies)}


class _Figures:
    """Counts and minor units of one currency, by name."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.values: Counter[str] = Counter()

    def add(self, name: str, row: Row[Any]) -> None:
        self.counts[name] += 1
        self.values[name] += row.total or 0

    def add_return(self, row: Row[Any], period: Period) -> None:
        self.add("returns", row)
        self.add(row.settlement, row)
        self.counts["without_value"] += row.total is None
        if period.since <= row.submitted_at < period.until:
            self.add("announced", row)
        if row.settlement == Settlement.REFUNDED_BY_GATEWAY and period.since <= row.closed < period.until:
            self.counts["gateway_refunds"] += 1
            self.values["gateway_refunds"] += row.refunded

    def add_note(self, note: Row[Any]) -> None:
        sign = note.sign
        names = ["voids"] if note.kind == "void" else ["issued", note.state]
        for name in [*names, "withdrawn"] if sign == 0 else names:
            self.counts[f"notes {name}"] += 1
            self.values[f"net {name}"] += note.net
            self.values[f"tax {name}"] += note.tax
        self.counts["notes credited"] += sign
        self.values["net credited"] += sign * note.net
        self.values["tax credited"] += sign * note.tax

    def as_json(self, currency: str) -> dict[str, Any]:
        def text(minor: int) -> str:
            return money.to_text(minor, currency)

        def returned(name: str) -> dict[str, Any]:
            return {"count": self.counts[name], "value": text(self.values[name])}

        def credited(name: str) -> dict[str, Any]:
            net, tax = self.values[f"net {name}"], self.values[f"tax {name}"]
            return {"count": self.counts[f"notes {name}"], "net": text(net), "tax": text(tax), "gross": text(net + tax)}

        return {
            "announced": returned("announced"),
            "returns": returned("returns")
            | {
                "without_value": self.counts["without_value"],
                "by_settlement": {state.value: returned(state) for state in SETTLEMENTS},
            },
            "credit_notes": {
                name: credited(name) for name in ("issued", *NOTE_STATES, "withdrawn", "voids", "credited")
            },
            "gateway_refunds": {
                "count": self.counts["gateway_refunds"],
                "amount": text(self.values["gateway_refunds"]),
            },
            "settled_outside": returned("settled_outside"),
        }


# -- files -----------------------------------------------------------------------------------------------------------

_RETURN_COLUMNS = (
    "site",
    "rma_number",
    "return_id",
    "order_name",
    "po_number",
    "payment_method",
    "customer_email",
    "submitted_at",
    "closed_at",
    "logistics",
    "inspection",
    "settlement",
    "currency",
    "value",
    "refunded_by_gateway",
    "credit_notes",
    "credited_net",
    "credited_tax",
    "credited_gross",
    "reasons",
)
_NOTE_COLUMNS = (
    "site",
    "number",
    "issued_at",
    "state",
    "rma_number",
    "return_id",
    "order_name",
    "customer",
    "po_number",
    "currency",
    "net",
    "tax",
    "gross",
    "transaction",
    "kind",
    "voids",
    "reason",
    "credited",
)
_LINE_COLUMNS = (
    "site",
    "number",
    "rma_number",
    "po_number",
    "line_id",
    "sku",
    "quantity",
    "currency",
    "net",
    "tax",
    "gross",
    "reason_code",
    "reason",
    "kind",
    "credited",
)
_DIFFERENCE_COLUMNS = ("site", "code", "rma_number", "return_id", "order_name", "detail", "amount", "currency")


def write_files(folder: Path, reports: Sequence[MonthEnd]) -> list[Path]:
    """Writes the month-end of all these sites as CSV into an existing folder; returns the files.

    Credits in ``returns.csv`` are those issued in the period. Raises OSError.
    """
    files = {
        "returns.csv": (_RETURN_COLUMNS, [row for r in reports for row in _return_cells(r, r.returns)]),
        "settled-outside.csv": (_RETURN_COLUMNS, [row for r in reports for row in _return_cells(r, r.outside)]),
        "credit-notes.csv": (_NOTE_COLUMNS, [_note_cells(note) for r in reports for note in r.credit_notes]),
        "credit-note-lines.csv": (_LINE_COLUMNS, [_line_cells(line) for r in reports for line in r.credit_note_lines]),
        "differences.csv": (_DIFFERENCE_COLUMNS, [_difference_cells(each) for r in reports for each in r.differences]),
    }
    for name, (columns, rows) in files.items():
        write_csv(folder / name, columns, rows)
    return [folder / name for name in files]


def _return_cells(report: MonthEnd, rows: Iterable[Row[Any]]) -> Iterable[list[Cell]]:
    notes_of = defaultdict(list)
    for note in report.credit_notes:
        notes_of[note.return_id].append(note)
    for row in rows:
        notes = notes_of[row.return_id]
        currency = notes[0].currency if notes else row.currency
        net = sum(note.sign * note.net for note in notes)
        tax = sum(note.sign * note.tax for note in notes)
        yield [
            row.site,
            row.rma_number,
            row.return_id,
            row.visible or row.order_name,
            row.po_number or row.order_po_number,
            row.payment_method,
            row.customer_email,
            to_text(row.submitted_at),
            or_none(row.closed),
            row.logistics,
            row.inspection,
            row.settlement,
            row.currency,
            None if row.total is None else _amount(row.total, row.currency),
            _amount(row.refunded, row.currency) if row.status == ReturnStatus.CLOSED else None,
            " ".join(note.number for note in notes),
            *(_amount(minor, currency) for minor in (net, tax, net + tax)),
            "; ".join(report.reasons.get(row.return_id, ())),
        ]


def _note_cells(note: Row[Any]) -> list[Cell]:
    return [
        note.site,
        note.number,
        to_text(note.issued_at),
        note.state,
        note.rma_number,
        note.return_id,
        note.visible or note.order_name,
        note.customer,
        note.po_number,
        note.currency,
        *(_amount(minor, note.currency) for minor in (note.net, note.tax, note.net + note.tax)),
        note.platform_id,
        note.kind,
        note.voids,
        "withdrawn before it went out" if note.sign == 0 else note.reason,
        _amount(note.sign * (note.net + note.tax), note.currency),
    ]


def _line_cells(line: Row[Any]) -> list[Cell]:
    return [
        line.site,
        line.number,
        line.rma_number,
        line.po_number,
        line.line_id,
        line.sku,
        line.quantity,
        line.currency,
        *(_amount(minor, line.currency) for minor in (line.net, line.tax, line.net + line.tax)),
        line.reason_code,
        line.reason or "",
        line.note_kind,
        _amount(line.sign * (line.net + line.tax), line.currency),
    ]


def _difference_cells(each: Difference) -> list[Cell]:
    amount = None if each.amount is None else _amount(each.amount, each.currency)
    return [
        each.site,
        each.code,
        each.rma_number,
        each.return_id,
        each.order_name,
        each.detail,
        amount,
        each.currency,
    ]


def _amount(minor: int, currency: str) -> Decimal:
    return Decimal(money.to_text(minor, currency))


# -- queries ---------------------------------------------------------------------------------------------------------

_of_order = and_(orders.c.site == returns.c.site, orders.c.order_id == returns.c.order_id)
_of_return = and_(returns.c.site == credit_notes.c.site, returns.c.return_id == credit_notes.c.return_id)


_void = credit_notes.alias()
_withdrawn = and_(
    credit_notes.c.kind == "credit",
    credit_notes.c.state == "void",
    ~exists().where(_void.c.site == credit_notes.c.site, _void.c.voids == credit_notes.c.number),
)
_sign = case((_withdrawn, 0), (credit_notes.c.kind == "void", -1), else_=1).label("sign")
"""A credit note gives, unless it was withdrawn; a void takes back. The amounts on all are positive."""


def _returns(connection: Connection, site: str, period: Period) -> list[Row[Any]]:
    """Returns of the period in the order of their submission; ``closed``: when they were closed, if they are."""
    return list(
        connection.execute(
            select(
                returns,
                CLOSED_AT.label("closed"),
                orders.c.visible,
                orders.c.payment_method,
                orders.c.po_number.label("order_po_number"),
            )
            .outerjoin(orders, _of_order)
            .where(returns.c.site == site, in_period(period))
            .order_by(returns.c.submitted_at, returns.c.return_id)
        )
    )


def _credit_notes(connection: Connection, site: str, period: Period) -> list[Row[Any]]:
    """Credit notes issued in the period; ``outbox_id`` and ``last_error`` of their delivery, and what they count."""
    delivery = and_(
        outbox.c.site == credit_notes.c.site,
        outbox.c.kind == Kind.CREDIT,
        outbox.c.effect_key == credit_notes.c.platform_id,
    )
    return list(
        connection.execute(
            select(
                credit_notes,
                _sign,
                returns.c.rma_number,
                returns.c.order_name,
                orders.c.visible,
                outbox.c.id.label("outbox_id"),
                outbox.c.last_error,
            )
            .outerjoin(returns, _of_return)
            .outerjoin(orders, and_(orders.c.site == credit_notes.c.site, orders.c.order_id == credit_notes.c.order_id))
            .outerjoin(outbox, delivery)
            .where(credit_notes.c.site == site, period.covers(credit_notes.c.issued_at))
            .order_by(credit_notes.c.issued_at, credit_notes.c.number)
        )
    )


def _note_lines(connection: Connection, site: str, notes: Sequence[Row[Any]]) -> list[Row[Any]]:
    lines = [
        line
        for numbers in chunks([note.number for note in notes])
        for line in connection.execute(
            select(
                credit_note_lines,
                credit_notes.c.kind.label("note_kind"),
                _sign,
                credit_notes.c.currency,
                credit_notes.c.po_number,
                returns.c.rma_number,
                return_lines.c.reason,
            )
            .join(
                credit_notes,
                and_(
                    credit_notes.c.site == credit_note_lines.c.site,
                    credit_notes.c.number == credit_note_lines.c.number,
                ),
            )
            .outerjoin(returns, _of_return)
            .outerjoin(
                return_lines,
                and_(
                    return_lines.c.site == credit_note_lines.c.site,
                    return_lines.c.return_id == credit_notes.c.return_id,
                    return_lines.c.line_id == credit_note_lines.c.line_id,
                ),
            )
            .where(credit_note_lines.c.site == site, credit_note_lines.c.number.in_(numbers))
        )
    ]
    place = {note.number: position for position, note in enumerate(notes)}
    return sorted(lines, key=lambda line: (place[line.number], line.line_id))


def _reasons(connection: Connection, site: str, return_ids: Sequence[str]) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = defaultdict(list)
    c = return_lines.c
    for ids in chunks(return_ids):
        for row in connection.execute(
            select(c.return_id, c.reason_code, c.reason)
            .where(c.site == site, c.return_id.in_(ids))
            .order_by(c.return_id, c.position)
        ):
            reason = row.reason_code or row.reason
            if reason and reason not in reasons[row.return_id]:
                reasons[row.return_id].append(reason)
    return reasons


def _differences(
    connection: Connection, site: str, live: Sequence[Row[Any]], notes: Sequence[Row[Any]]
) -> list[Difference]:
    """Credit notes that gave up, and open exceptions: of the period's returns, and of the ledger on their orders."""
    by_id = {row.return_id: row for row in live}
    order_names = {row.visible or row.order_name or row.order_id for row in live}
    failed = {f"outbox:{note.outbox_id}": note for note in notes if note.state == "failed"}
    found = [
        Difference(
            site,
            Code.DELIVERY_FAILED,
            note.rma_number or "",
            note.return_id,
            note.visible or note.order_name or "",
            f"credit note {note.number} was not delivered: {note.last_error or 'no reason is known'}",
            note.net + note.tax,
            note.currency,
        )
        for note in failed.values()
    ]
    open_now = select(exceptions).where(exceptions.c.site == site, exceptions.c.status == "open")
    rows = [
        row
        for ids in chunks(sorted(by_id))
        for row in connection.execute(open_now.where(exceptions.c.return_id.in_(ids)))
    ]
    rows += [
        row
        for row in connection.execute(open_now.where(exceptions.c.code == Code.CREDIT_MISALIGNED))
        if row.return_id not in by_id and row.order_name in order_names
    ]
    credited = _gross_by_subject(connection, site, rows)
    for row in rows:
        if row.subject in failed:
            continue
        ret = by_id.get(row.return_id)
        amount, currency = credited.get(row.subject) or ((ret.total, ret.currency) if ret else (None, ""))
        found.append(
            Difference(site, row.code, row.rma_number, row.return_id, row.order_name, row.detail, amount, currency)
        )
    return sorted(found, key=lambda each: (each.rma_number, each.return_id, each.code, each.detail))


def _gross_by_subject(connection: Connection, site: str, rows: Sequence[Row[Any]]) -> dict[str, tuple[int, str]]:
    """Gross and currency of the credit notes that exceptions are about, by the exceptions' subject."""
    platform_ids = [row.subject.removeprefix(SUBJECT) for row in rows if row.subject.startswith(SUBJECT)]
    outbox_ids = [int(row.subject.removeprefix("outbox:")) for row in rows if row.subject.startswith("outbox:")]
    gross: dict[str, tuple[int, str]] = {}
    for wanted in (
        *(credit_notes.c.platform_id.in_(part) for part in chunks(sorted(platform_ids))),
        *(outbox.c.id.in_(part) for part in chunks(sorted(outbox_ids))),
    ):
        for note in connection.execute(
            select(
                credit_notes.c.platform_id, credit_notes.c.currency, credit_notes.c.net, credit_notes.c.tax, outbox.c.id
            )
            .join(outbox, and_(outbox.c.site == credit_notes.c.site, outbox.c.effect_key == credit_notes.c.platform_id))
            .where(credit_notes.c.site == site, wanted)
        ):
            for subject in (f"{SUBJECT}{note.platform_id}", f"outbox:{note.id}"):
                gross[subject] = (note.net + note.tax, note.currency)
    return gross
