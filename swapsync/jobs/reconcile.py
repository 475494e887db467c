"""reconcile: decides again on every return whose facts changed, and records what follows in the same transaction."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, insert, select, update

from swapsync.domain import money, notes
from swapsync.domain.facts import Case, Policy, ReturnFacts, Route, method_key
from swapsync.domain.notes import Milestone
from swapsync.domain.orders import Order
from swapsync.domain.returns import Return, reason_code
from swapsync.domain.settlement import Decision, by_todays_lines, decide
from swapsync.domain.stock import ROUTE, Location, Movement
from swapsync.jobs.evidence import Decided, evidence
from swapsync.jobs.reread import reread_taught_words
from swapsync.jobs.stock_levels import OURS, ledger_levels, level_effect
from swapsync.jobs.workplace import Tally, Workplace, order_ref
from swapsync.settings import SiteSettings
from swapsync.store import exceptions, runs
from swapsync.store.cases import credit_note_lines, credit_notes, load_cases, movements, of_return, undecided
from swapsync.store.changes import changes_since, decided_entries, decisions, derived_states, last_entry
from swapsync.store.events import Event, record_events
from swapsync.store.exceptions import Sighting
from swapsync.store.outbox import Effect, Kind, enqueue, is_open, outbox
from swapsync.store.staging import mark_dirty, mark_overdue, mark_unfinished, return_lines, returns

BATCH = 300


def reconcile(place: Workplace, tally: Tally) -> None:
    """Decides until nothing is left undecided whose facts are complete, or this worker is to stop."""
    with place.writing() as connection:
        _take_up(connection, place)
    while not place.stopping.is_set() and (decided := decide_batch(place, tally)):
        tally.changed += decided


def decide_batch(place: Workplace, tally: Tally) -> int:
    """Decides on one batch of orders in one transaction; returns how many returns were decided on."""
    with place.writing() as connection:
        decided = _decide(connection, place)
    tally.read += decided
    return decided


def planned_effects(place: Workplace, *, deciding: bool = True) -> list[Effect]:
    """What would be sent if all was decided and delivered now, what waits in the outbox already included.

    It is decided by the same code, in one transaction that is rolled back: no decision stays. Credits count as
    delivered, so that the notes that follow them are in the plan. What the site has switched off is not. A stock
    level stands once for each SKU and location, and carries the ``level`` in its payload. Without ``deciding``: only
    what waits in the outbox.
    """
    with place.store.transaction() as connection:
        if deciding:
            _take_up(connection, place)
            _decide_all(connection, place)
        if deciding and place.site.push_credits:
            _assume_credits_delivered(connection, place.slug)
            _decide_all(connection, place)
        effects = _effects_to_send(connection, place)
        connection.rollback()
    return effects


@dataclass(frozen=True, slots=True)
class Preview:
    """What would be decided on one return now: the facts by its lines, the rules, what is decided and sent."""

    facts: ReturnFacts
    order: Order | None
    policy: Policy
    decision: Decision
    effects: list[Effect]


def preview(place: Workplace, return_id: str) -> Preview | None:
    """What would follow for one return if it were decided on and delivered now; None while its facts are incomplete.

    It is decided by the same code, in one transaction that is rolled back, and credits count as delivered, as in
    ``planned_effects``. Raises KeyError when there is no such return.
    """
    with place.store.transaction() as connection:
        case_of = of_return(connection, place.slug, return_id)
        if case_of is None:
            return None
        _take_up(connection, place)
        decided = _decide_on(connection, place, *case_of)
        if place.site.push_credits:
            _assume_credits_delivered(connection, place.slug, credit_notes.c.return_id == return_id)
            _decide_on(connection, place, *case_of)
        effects = _effects_to_send(connection, place, outbox.c.return_id == return_id)
        policy = place.policy(connection)
        connection.rollback()
    [(case, facts, decision)] = [
        (case, facts, decision)
        for case, decisions in decided
        for decision in decisions
        for facts in by_todays_lines(case, policy.kits).returns
        if decision.return_id == facts.ret.return_id == return_id
    ]
    return Preview(facts, case.order, policy, decision, effects)


def _effects_to_send(connection: Connection, place: Workplace, *conditions: ColumnElement[bool]) -> list[Effect]:
    """What waits in the outbox and isn't switched off; see ``planned_effects``."""
    site = place.site
    switched_on = {
        Kind.CREDIT: site.push_credits,
        Kind.STOCK_LEVEL: site.push_restocks,
        Kind.RESTOCK: site.push_restocks,
        Kind.NOTE: site.push_status,
        Kind.QUALITY_CONTROL: site.push_status and site.swap_qc_updates,
    }
    rows = connection.execute(
        select(outbox)
        .where(
            outbox.c.site == place.slug,
            is_open(outbox),
            outbox.c.kind.in_([kind for kind, on in switched_on.items() if on]),
            *conditions,
        )
        .order_by(outbox.c.id)
    ).all()
    skus = [row.payload["sku"] for row in rows if row.kind == Kind.STOCK_LEVEL]
    ledger = ledger_levels(connection, place.slug, skus)
    effects: dict[str, Effect] = {}
    for row in rows:
        key, payload = row.effect_key, row.payload
        if row.kind == Kind.STOCK_LEVEL:
            key, payload = row.target, payload | {"level": ledger[payload["sku"], payload["location"]]}
        effects[key] = Effect(Kind(row.kind), row.effect_key, row.target, payload, row.order_id, row.return_id)
    return list(effects.values())


def _decide(connection: Connection, place: Workplace) -> int:
    runs.lock_site(connection, place.slug)
    order_ids, orphans = undecided(connection, place.slug, BATCH)
    if not order_ids and not orphans:
        return 0
    return sum(len(decisions) for _, decisions in _decide_on(connection, place, order_ids, orphans))


def _decide_on(
    connection: Connection, place: Workplace, order_ids: Sequence[str], orphans: Sequence[str]
) -> list[tuple[Case, tuple[Decision, ...]]]:
    """Decides on these orders with all of their returns, and on returns without one, and records what follows."""
    policy = place.policy(connection)
    book = Decisions(place.site, policy, runs.lock_site(connection, place.slug), place.clock.now())
    cases = load_cases(connection, place.slug, order_ids, orphans)
    decided = [(case, decide(case, policy)) for case in cases]
    for case, of_case in decided:
        book.add(case, of_case)
    book.record(connection)
    return decided


def _take_up(connection: Connection, place: Workplace) -> None:
    """Has decided again what no record announces: rules that are others now, and goods that have waited too long."""
    reread_taught_words(connection, place)
    if runs.adopt_policy(connection, place.slug, place.policy(connection).fingerprint()):
        mark_unfinished(connection, place.slug)
    if days := place.site.inspection_days:
        mark_overdue(connection, place.slug, place.clock.now() - timedelta(days=days))


def _decide_all(connection: Connection, place: Workplace) -> None:
    while _decide(connection, place):
        pass


def _assume_credits_delivered(connection: Connection, site: str, *conditions: ColumnElement[bool]) -> None:
    pending = and_(credit_notes.c.site == site, credit_notes.c.state == "pending", *conditions)
    mark_dirty(connection, site, returns.c.return_id.in_(select(credit_notes.c.return_id).where(pending)))
    connection.execute(update(credit_notes).where(pending).values(state="delivered"))


@dataclass
class Decisions:
    """What a batch of decisions writes, gathered so that it can be written in bulk."""

    site: SiteSettings
    policy: Policy
    last_number: int
    now: datetime
    return_updates: list[dict[str, Any]] = field(default_factory=list)
    line_updates: list[dict[str, Any]] = field(default_factory=list)
    reason_updates: list[dict[str, Any]] = field(default_factory=list)
    credit_notes: list[dict[str, Any]] = field(default_factory=list)
    credit_lines: list[dict[str, Any]] = field(default_factory=list)
    movements: list[dict[str, Any]] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    sightings: list[Sighting] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    decided: dict[str, Decided] = field(default_factory=dict)

    def add(self, case: Case, decisions: Iterable[Decision]) -> None:
        """Takes in the decisions on one case."""
        facts_of = {facts.ret.return_id: facts for facts in case.returns}
        family = tuple(facts_of)
        for decision in decisions:
            facts = facts_of[decision.return_id]
            basis = facts.credited_basis
            if decision.credit and case.order:
                basis = basis or facts.ret.basis()
                self._issue_credit_note(facts, decision, case.order)
            if case.order and not facts.settled_outside:
                self._write_notes(facts, decision, case.order)
                self._report_findings(facts, case.order)
            self._move(facts, decision.movements)
            self._note_exceptions(facts.ret, decision, case.order)
            self._update(facts.ret, decision, basis)
            self.decided[decision.return_id] = Decided(facts.ret.rma_number, family, decision.reasons)

    def record(self, connection: Connection) -> None:
        """Writes everything: decisions, documents, movements, effects, exceptions and the trail of them."""
        site, now = self.site.slug, self.now
        ids = [update_["of_return"] for update_ in self.return_updates]
        before, read_to = derived_states(connection, site, ids), last_entry(connection)
        standing = [
            row for row in exceptions.open_of_returns(connection, site, ids) if not row.subject.startswith(UNDERIVED)
        ]
        seen = {sighting.key for sighting in self.sightings}
        gone = [row for row in standing if exceptions.key_of(row) not in seen]
        concerned = {return_id for row in gone for return_id in self.decided[row.return_id].family}
        news = changes_since(connection, site, decided_entries(connection, site, concerned))
        connection.execute(
            update(returns)
            .where(returns.c.site == site, returns.c.return_id == bindparam("of_return"))
            .values(
                dirty=False,
                decided_entry=read_to,
                **{name: bindparam(f"new_{name}") for name in _DERIVED},
            ),
            self.return_updates,
        )
        if self.line_updates:
            connection.execute(
                update(return_lines)
                .where(
                    return_lines.c.site == site,
                    return_lines.c.return_id == bindparam("of_return"),
                    return_lines.c.line_id == bindparam("of_line"),
                )
                .values(
                    order_line_key=bindparam("to_key"),
                    matched_by=bindparam("by"),
                    accepted=bindparam("units_accepted"),
                ),
                self.line_updates,
            )
        if self.reason_updates:
            connection.execute(
                update(return_lines)
                .where(
                    return_lines.c.site == site,
                    return_lines.c.return_id == bindparam("of_return"),
                    return_lines.c.line_id == bindparam("of_line"),
                )
                .values(reason_code=bindparam("code")),
                self.reason_updates,
            )
        if self.credit_notes:
            connection.execute(insert(credit_notes), self.credit_notes)
            connection.execute(insert(credit_note_lines), self.credit_lines)
            runs.set_last_credit_number(connection, site, self.last_number)
        if self.movements:
            connection.execute(insert(movements), self.movements)
        enqueue(connection, site, sorted(self.effects, key=lambda effect: effect.kind is not Kind.CREDIT), now)
        decided = list(decisions(before, derived_states(connection, site, ids)))
        closed_by = evidence(gone, self.decided, news, {event.return_id: event.detail for event in decided})
        exceptions.settle(connection, site, standing, self.sightings, now, evidence=closed_by)
        record_events(connection, site, [*self.events, *decided], now)

    def _update(self, ret: Return, decision: Decision, basis: str) -> None:
        self.return_updates.append(
            {
                "of_return": ret.return_id,
                "new_logistics": decision.logistics,
                "new_inspection": decision.inspection,
                "new_settlement": decision.settlement,
                "new_po_number": decision.po_number,
                "new_credited_basis": basis,
            }
        )
        for line_id, match in decision.matches.items():
            self.line_updates.append(
                {
                    "of_return": ret.return_id,
                    "of_line": line_id,
                    "to_key": match.order_line.key if match.order_line else "",
                    "by": match.by or "",
                    "units_accepted": decision.accepted.get(line_id, 0),
                }
            )

        for line in ret.lines:
            if (code := reason_code(line, self.site.reasons)) != line.reason_code:
                self.reason_updates.append({"of_return": ret.return_id, "of_line": line.line_id, "code": code})

    def _issue_credit_note(self, facts: ReturnFacts, decision: Decision, order: Order) -> None:
        ret = facts.ret
        returned = {line.line_id: line for line in ret.lines}
        codes = {line_id: reason_code(line, self.site.reasons) for line_id, line in returned.items()}
        self.last_number += 1
        number = self.site.credit_note_number(self.last_number)
        n = facts.credit_count + 1
        net, tax = sum(line.net for line in decision.credit), sum(line.tax for line in decision.credit)
        platform_id = notes.credit_platform_id(ret.return_id, n)
        shared = {"site": self.site.slug, "number": number}
        self.credit_notes.append(
            shared
            | {
                "platform_id": platform_id,
                "return_id": ret.return_id,
                "n": n,
                "order_id": order.order_id,
                "customer": ret.customer_email,
                "po_number": decision.po_number,
                "currency": order.currency,
                "net": net,
                "tax": tax,
                "issued_at": self.now,
                "state": "pending",
            }
        )
        for line in decision.credit:
            self.credit_lines.append(
                shared
                | {
                    "line_id": line.line_id,
                    "order_line_key": line.order_line_key,
                    "sku": line.sku,
                    "quantity": line.quantity,
                    "net": line.net,
                    "tax": line.tax,
                    "kind": line.kind,
                    "reason_code": codes.get(line.line_id, ""),
                    "sold_quantity": line.sold and line.sold.quantity,
                    "sold_net": line.sold and line.sold.net,
                    "sold_tax": line.sold and line.sold.tax,
                }
            )
        gross = money.to_text(net + tax, order.currency)
        self.effects.append(
            Effect(
                Kind.CREDIT,
                platform_id,
                f"order {order.visible or order.order_id}",
                {
                    "order": _address(order),
                    "platform_id": platform_id,
                    "total": -(net + tax),
                    "currency": order.currency,
                    "details": {
                        "source": "swapsync",
                        "credit_note": number,
                        "rma_number": ret.rma_number,
                        "return_id": ret.return_id,
                        "customer_reference": decision.po_number,
                        "reasons": [
                            {
                                "sku": line.sku,
                                "quantity": line.quantity,
                                "code": codes[line.line_id],
                                "text": returned[line.line_id].reason,
                            }
                            for line in decision.credit
                            if line.line_id in returned
                        ],
                    },
                },
                order.order_id,
                ret.return_id,
            )
        )
        po_number = f", PO {decision.po_number}" if decision.po_number else ""
        lines = {
            f"line {line.line_id}": f"{line.quantity} x {line.sku}, "
            f"{money.to_text(line.net, order.currency)} net and {money.to_text(line.tax, order.currency)} tax"
            for line in decision.credit
        }
        issued = {"credit_note": number, "total": f"{gross} {order.currency}", **lines}
        self._event("credit_note_issued", f"{number}: {gross} {order.currency}{po_number}", ret, after=issued)

    def _write_notes(self, facts: ReturnFacts, decision: Decision, order: Order) -> None:
        for milestone in decision.milestones:
            self._note(facts.ret, order, milestone, 1, "")
        for credit in facts.delivered_credits:
            gross = money.to_text(credit.gross, order.currency)
            po_number = f", PO {credit.po_number}" if credit.po_number else ""
            about = f"credit note {credit.number}, {gross} {order.currency}{po_number}"
            self._note(facts.ret, order, Milestone.CREDITED, credit.n, about)

    def _note(self, ret: Return, order: Order, milestone: Milestone, n: int, about: str) -> None:
        token = notes.token(ret.return_id, milestone, n)
        self.effects.append(
            Effect(
                Kind.NOTE,
                token,
                f"order {order.visible or order.order_id}",
                {
                    "order": _address(order),
                    "token": token,
                    "body": notes.body(ret.rma_number, ret.return_id, milestone, n, about=about),
                },
                order.order_id,
                ret.return_id,
            )
        )

    def _report_findings(self, facts: ReturnFacts, order: Order) -> None:
        """Tells Swap what was found, where the site wants it; never for a pay-later order, since Swap may refund it."""
        route = self.policy.routes.get(method_key(order.payment_method))
        if not self.site.swap_qc_updates or route is not Route.GATEWAY:
            return
        lines = {line.line_id: line for line in facts.ret.lines}
        for finding in facts.findings:
            line = lines.get(finding.line_id)
            if line is None or finding.quantity < 0 or not (line.line_item_id or line.sku):
                continue
            self.effects.append(
                Effect(
                    Kind.QUALITY_CONTROL,
                    finding.key,
                    f"RMA {facts.ret.rma_number}, {finding.quantity} x {line.sku or line.line_item_id}",
                    {
                        "condition": finding.condition,
                        "quantity": finding.quantity,
                        "order_id": facts.ret.order_ref,
                        "order_name": "" if facts.ret.order_ref else facts.ret.order_name,
                        "line_item_id": line.line_item_id,
                        "sku": line.sku,
                    },
                    return_id=facts.ret.return_id,
                )
            )

    def _move(self, facts: ReturnFacts, due: Sequence[Movement]) -> None:
        for movement in due:
            origin, destination = ROUTE[movement.step]
            n = facts.moves(movement.line_id, movement.sku, movement.step) + 1
            key = f"{facts.ret.return_id}:{movement.line_id}:{movement.step}:{n}:{movement.sku}"
            self.movements.append(
                {
                    "site": self.site.slug,
                    "return_id": facts.ret.return_id,
                    "line_id": movement.line_id,
                    "step": movement.step,
                    "n": n,
                    "sku": movement.sku,
                    "from_location": origin,
                    "to_location": destination,
                    "quantity": movement.quantity,
                    "moved_at": self.now,
                }
            )
            self._event(
                "stock_moved",
                f"{movement.quantity} x {movement.sku} from {origin} to {destination}",
                facts.ret,
                before={"location": origin},
                after={"location": destination, "sku": movement.sku, "quantity": movement.quantity},
            )
            if self.site.stock_path != "none":
                self.effects += _stock_effects(key, movement, origin, destination, facts.ret.return_id)

    def _note_exceptions(self, ret: Return, decision: Decision, order: Order | None) -> None:
        for problem in decision.problems:
            self.sightings.append(
                Sighting(
                    problem.code,
                    problem.detail,
                    problem.subject,
                    ret.return_id,
                    ret.rma_number,
                    order.visible if order else ret.order_name,
                    problem.sku,
                    problem.about,
                    tuple(suggestion.as_row() for suggestion in problem.suggestions),
                )
            )

    def _event(
        self,
        kind: str,
        detail: str,
        ret: Return,
        *,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
    ) -> None:
        self.events.append(Event("swapsync", kind, detail, ret.return_id, before=before, after=after))


UNDERIVED = ("outbox:", "write:", "ledger:", "restored:")
"""Exceptions about deliveries and the ledger: the jobs that deliver and compare open and close them, not a decision."""

_DERIVED = ("logistics", "inspection", "settlement", "po_number", "credited_basis")


def _address(order: Order) -> dict[str, str]:
    ref = order_ref(order.order_id, order.platform_id, order.visible)
    return {"lookup_by": ref.lookup_by, "identifier": ref.identifier}


def _stock_effects(
    key: str, movement: Movement, origin: Location, destination: Location, return_id: str
) -> Iterable[Effect]:
    for location in (origin, destination):
        if location in OURS:
            yield level_effect(key, movement.sku, location, return_id)
        if location is Location.SELLABLE:
            yield Effect(
                Kind.RESTOCK,
                f"{key}:{location}",
                f"{movement.quantity} x {movement.sku} to {location}",
                {"sku": movement.sku, "quantity": movement.quantity},
                return_id=return_id,
            )
