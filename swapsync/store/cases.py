"""Facts in, decisions out: loads what the domain decides on, and records what it decided."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, exists, or_, select

from swapsync.domain.catalogue import Action, Code
from swapsync.domain.facts import Case, Credited, DeliveredCredit, Extra, LineKind, ReturnFacts, Ruling, Voided
from swapsync.domain.orders import Order, OrderLine, SkuHistory, same_buyer
from swapsync.domain.returns import Condition, Delivery, Finding, Remedy, Return, ReturnLine, ReturnStatus, SwapQc
from swapsync.domain.stock import Step
from swapsync.domain.suggestions import Candidate
from swapsync.store.candidates import Candidates, Orphan, candidates_of, claimed_units
from swapsync.store.db import chunks, table
from swapsync.store.staging import order_lines, orders, read_customers, return_lines, returns, variant_skus
from swapsync.store.tables import CreditNoteLineRow, CreditNoteRow, FindingRow, MovementRow, RulingRow

findings, movements, rulings = table(FindingRow), table(MovementRow), table(RulingRow)
credit_notes, credit_note_lines = table(CreditNoteRow), table(CreditNoteLineRow)

Rows = Sequence[Row[Any]]
VANISHED_AFTER = 2
"""So many sweeps in a row that didn't find a return mean that Swap no longer has it."""


def _complete() -> ColumnElement[bool]:
    """The facts of a return are complete: its order was read, and the buyers asked for; or there is no order."""
    sibling = returns.alias()
    buyer_unknown = exists().where(
        sibling.c.site == returns.c.site,
        sibling.c.order_id == returns.c.order_id,
        sibling.c.dirty,
        ~sibling.c.buyer_checked,
        ~sibling.c.settled_outside,
        sibling.c.customer_email != "",
    )
    return or_(
        and_(returns.c.order_id == "", returns.c.order_checked_at.is_not(None)),
        and_(returns.c.order_id == "", returns.c.status.in_(("cancelled", "expired"))),
        and_(orders.c.detail_digest != "", orders.c.detail_digest == orders.c.digest, ~buyer_unknown),
    )


def of_return(connection: Connection, site: str, return_id: str) -> tuple[list[str], list[str]] | None:
    """(order ids, ids of returns without an order) to load for one return; None while its facts are incomplete.

    What was decided on is complete, also when its order was touched since. Raises KeyError when the return is unknown.
    """
    decided = and_(~returns.c.dirty, or_(returns.c.order_id == "", orders.c.detail_digest != ""))
    row = connection.execute(
        select(returns.c.order_id, or_(returns.c.settled_outside, decided, _complete()).label("complete"))
        .outerjoin(orders, and_(orders.c.site == returns.c.site, orders.c.order_id == returns.c.order_id))
        .where(returns.c.site == site, returns.c.return_id == return_id)
    ).one_or_none()
    if row is None:
        raise KeyError(return_id)
    if not row.complete:
        return None
    return ([row.order_id], []) if row.order_id else ([], [return_id])


def undecided(connection: Connection, site: str, limit: int) -> tuple[list[str], list[str]]:
    """(order ids, ids of returns without an order) whose facts changed and are complete enough to decide on.

    What waits for its order to be looked up or read, or for its buyer to be asked for, is left out. ``limit`` bounds
    the number of both together. Orphans come alone and last: which order has units open for them depends on what the
    others claim.
    """
    rows = connection.execute(
        select(returns.c.order_id, returns.c.return_id)
        .outerjoin(orders, and_(orders.c.site == returns.c.site, orders.c.order_id == returns.c.order_id))
        .where(returns.c.site == site, returns.c.dirty, _complete())
        .order_by(returns.c.order_id == "", returns.c.submitted_at, returns.c.return_id)
        .limit(limit)
    ).all()
    with_order = list(dict.fromkeys(row.order_id for row in rows if row.order_id))
    return with_order, [] if with_order else [row.return_id for row in rows]


def load_cases(connection: Connection, site: str, order_ids: Sequence[str], orphan_ids: Sequence[str]) -> list[Case]:
    """A case for each order, with all of its returns, and one for each return without an order."""
    return list(_Loader(connection, site, order_ids, orphan_ids).cases())


class _Loader:
    """Reads the facts of a handful of orders in a fixed number of statements."""

    def __init__(self, connection: Connection, site: str, order_ids: Sequence[str], orphan_ids: Sequence[str]) -> None:
        self.connection, self.site = connection, site
        place = {order_id: position for position, order_id in enumerate(order_ids)}
        self.order_rows = sorted(self._all(orders, orders.c.order_id, order_ids), key=lambda row: place[row.order_id])
        self.return_rows = [
            *self._all(returns, returns.c.order_id, order_ids),
            *self._all(returns, returns.c.return_id, orphan_ids),
        ]
        ids = [row.return_id for row in self.return_rows]
        self.lines = _by(self._all(return_lines, return_lines.c.return_id, ids, return_lines.c.position), "return_id")
        self.findings = _by(self._all(findings, findings.c.return_id, ids), "return_id")
        self.movements = _by(self._all(movements, movements.c.return_id, ids, movements.c.id), "return_id")
        self.rulings = _by(self._all(rulings, rulings.c.return_id, ids, rulings.c.id), "return_id")
        self.typed_po_numbers = {
            ruling.subject: ruling
            for ruling in self._all(rulings, rulings.c.subject, order_ids, rulings.c.id)
            if ruling.action == Action.TYPE_PO
        }
        self.notes = _by(self._all(credit_notes, credit_notes.c.return_id, ids, credit_notes.c.n), "return_id")
        order_of = {row.return_id: row.order_id for row in self.return_rows}
        self.left_behind = _by(
            [
                note
                for note in self._all(credit_notes, credit_notes.c.order_id, order_ids, credit_notes.c.number)
                if note.kind == "credit" and note.state != "void" and order_of.get(note.return_id) != note.order_id
            ],
            "order_id",
        )
        both = (self.notes, self.left_behind)
        numbers = sorted({note.number for group in both for of_one in group.values() for note in of_one})
        self.note_lines = _by(self._all(credit_note_lines, credit_note_lines.c.number, numbers), "number")
        self.found = candidates_of(
            connection,
            site,
            [
                Orphan(row.return_id, row.customer_email, row.order_name, row.submitted_at)
                for row in self.return_rows
                if not row.order_id and not row.settled_outside
            ],
        )
        candidate_ids = sorted({order_id for found in self.found.values() for order_id in found.order_ids})
        self.candidate_rows = {
            row.order_id: row
            for row in self._all(orders, orders.c.order_id, candidate_ids)
            if row.detail_digest == row.digest
        }
        self.claimed = claimed_units(connection, site, list(self.candidate_rows))
        with_lines = [*order_ids, *self.candidate_rows]
        self.order_lines = _by(
            self._all(order_lines, order_lines.c.order_id, with_lines, order_lines.c.position), "order_id"
        )
        lookups = {f"id:{customer_id}" for row in self.order_rows for customer_id in row.customer_ids}
        lookups |= {f"email:{row.customer_email.casefold()}" for row in self.return_rows if row.customer_email}
        self.customers = read_customers(connection, site, lookups)
        self.aliases = {
            row.subject: row.value
            for row in connection.execute(
                select(rulings)
                .where(rulings.c.site == site, rulings.c.action == Action.TEACH_ALIAS)
                .order_by(rulings.c.id)
            )
        }

    def cases(self) -> Iterable[Case]:
        by_order = _by(self.return_rows, "order_id")
        history = self._history()
        for row in self.order_rows:
            order = self._order(row)
            mine = by_order.get(row.order_id, [])
            facts = tuple(self._facts(ret, order) for ret in mine)
            left_behind = tuple(
                _credited(note, line) if line.kind == LineKind.GOODS else _extra(line)
                for note in self.left_behind.get(row.order_id, [])
                for line in self.note_lines.get(note.number, [])
            )
            yield Case(order, facts, history, self.aliases, left_behind=left_behind)
        for ret in by_order.get("", []):
            found = self.found.get(ret.return_id, Candidates((), 0, None))
            yield Case(None, (self._facts(ret, None),), history, self.aliases, self._candidates(found), found.left_out)

    def _candidates(self, found: Candidates) -> tuple[Candidate, ...]:
        return tuple(
            Candidate(
                self._order(row),
                self.claimed.get(order_id, {}),
                found.claimant is not None and found.claimant.customer_id in row.customer_ids,
            )
            for order_id in found.order_ids
            if (row := self.candidate_rows.get(order_id))
        )

    def _all(self, source: Any, column: Any, values: Sequence[str], *order: Any) -> list[Row[Any]]:
        rows: list[Row[Any]] = []
        for part in chunks(values):
            rows += self.connection.execute(
                select(source).where(source.c.site == self.site, column.in_(part)).order_by(*order)
            ).all()
        return rows

    def _order(self, row: Row[Any]) -> Order:
        lines = tuple(
            OrderLine(line.line_key, line.sku, line.variant_id, line.line_item_id, line.quantity, line.net, line.tax)
            for line in self.order_lines.get(row.order_id, [])
        )
        return Order(
            row.order_id,
            row.platform_id,
            row.visible,
            row.type,
            row.payment_method,
            row.po_number,
            row.currency,
            tuple(row.customer_ids),
            lines,
            row.placed_at,
            row.cancelled,
            row.shipping_net,
            row.shipping_tax,
        )

    def _facts(self, row: Row[Any], order: Order | None) -> ReturnFacts:
        moved: dict[tuple[str, str], Counter[Step]] = defaultdict(Counter)
        move_counts: dict[tuple[str, str], Counter[Step]] = defaultdict(Counter)
        notes = self.notes.get(row.return_id, [])
        stock_skus: dict[str, str] = {}
        for movement in self.movements.get(row.return_id, []):
            moved[movement.line_id, movement.sku][Step(movement.step)] += movement.quantity
            move_counts[movement.line_id, movement.sku][Step(movement.step)] += 1
            stock_skus.setdefault(movement.line_id, movement.sku)
        credits = [note for note in notes if note.kind == "credit"]
        voids = {note.voids: note for note in notes if note.kind == "void"}
        standing = [note for note in credits if note.state != "void"]
        undone = credits and all(note.number in voids and note.state == "void" for note in credits)
        lines = [(note, line) for note in standing for line in self.note_lines.get(note.number, [])]
        ruled = {(Code(ruling.code), ruling.subject): _ruling(ruling) for ruling in self.rulings.get(row.return_id, [])}
        if typed := self.typed_po_numbers.get(row.order_id):  # it was typed for one return, and holds for the order
            ruled[Code.PO_NUMBER_MISSING, ""] = _ruling(typed)
        return ReturnFacts(
            ret=to_return(row, self.lines.get(row.return_id, [])),
            findings=tuple(
                Finding(
                    finding.line_id, Condition(finding.condition), finding.quantity, finding.finding_key, finding.sku
                )
                for finding in self.findings.get(row.return_id, [])
            ),
            credited=tuple(_credited(note, line) for note, line in lines if line.kind == LineKind.GOODS),
            extras=tuple(_extra(line) for _, line in lines if line.kind != LineKind.GOODS),
            credited_basis="" if undone else row.credited_basis,
            credit_count=len(credits),
            delivered_credits=tuple(
                DeliveredCredit(note.number, note.n, note.net + note.tax, note.po_number)
                for note in credits
                if note.state == "delivered"
            ),
            voids=tuple(
                Voided(note.number, void.number, void.net + void.tax, void.reason, void.state == "delivered")
                for note in credits
                if (void := voids.get(note.number))
            ),
            moved=moved,
            move_counts=move_counts,
            stock_skus=stock_skus,
            settled_outside=row.settled_outside,
            overdue=row.overdue,
            vanished=row.missed_sweeps >= VANISHED_AFTER,
            same_buyer=self._same_buyer(row, order),
            rulings=ruled,
        )

    def _same_buyer(self, row: Row[Any], order: Order | None) -> bool | None:
        if order is None or not row.customer_email:
            return None
        buyers = [self.customers[key] for i in order.customer_ids if (key := f"id:{i}") in self.customers]
        lookup = f"email:{row.customer_email.casefold()}"
        claimant = self.customers.get(lookup)
        same = same_buyer(row.customer_email, buyers, claimant if claimant and claimant.customer_id else None)
        return None if same is False and claimant is None else same

    def _history(self) -> SkuHistory:
        """History of every variant in sight, and of those that ever carried a SKU which its order doesn't name."""
        lines = [line for group in self.lines.values() for line in group]
        sold = [line for group in self.order_lines.values() for line in group]
        c = variant_skus.c
        variant_ids = {line.variant_id for line in (*lines, *sold)} - {""}
        for skus in chunks(sorted({line.sku for line in lines} - {""})):
            variant_ids.update(
                self.connection.execute(select(c.variant_id).where(c.site == self.site, c.sku.in_(skus))).scalars()
            )
        history: dict[str, list[str]] = defaultdict(list)
        seen = {}
        for row in self._all(variant_skus, c.variant_id, sorted(variant_ids), c.last_seen, c.first_seen):
            history[row.variant_id].append(row.sku)
            seen[row.variant_id, row.sku] = (row.first_seen, row.last_seen)
        return SkuHistory(history, seen)


def _credited(note: Row[Any], line: Row[Any]) -> Credited:
    sold = None if line.sold_quantity is None else (line.sold_quantity, line.sold_net, line.sold_tax)
    delivered = note.state == "delivered"
    return Credited(
        line.line_id,
        line.order_line_key,
        line.quantity,
        line.net,
        line.tax,
        delivered,
        sold,
        line.sku,
        note.currency,
    )


def _ruling(row: Row[Any]) -> Ruling:
    return Ruling(Action(row.action), row.value, row.about)


def _extra(line: Row[Any]) -> Extra:
    return Extra(LineKind(line.kind), line.net, line.tax)


def to_return(row: Row[Any], lines: Rows) -> Return:
    """A staged return as the domain knows it."""
    return Return(
        row.return_id,
        row.rma_number,
        row.order_ref,
        row.order_name,
        row.customer_email,
        row.currency,
        ReturnStatus(row.status),
        Delivery(row.delivery),
        SwapQc(row.qc),
        tuple(
            ReturnLine(
                line.line_id,
                line.sku,
                line.variant_id,
                line.line_item_id,
                line.quantity,
                line.return_type,
                Remedy(line.remedy),
                line.reason,
                line.main_reason_id,
                line.main_reason_text,
                line.sub_reason_id,
                line.sub_reason_text,
                line.reason_code,
            )
            for line in lines
        ),
        row.submitted_at,
        row.updated_at,
        row.closed_at,
        row.total,
        row.refunded,
        tuple(row.unknown),
        row.delivered_at,
        row.handling_fee,
    )


def _by(rows: Iterable[Row[Any]], name: str) -> dict[str, list[Row[Any]]]:
    grouped: dict[str, list[Row[Any]]] = defaultdict(list)
    for row in rows:
        grouped[getattr(row, name)].append(row)
    return grouped
