"""How a return is made good: the one place where credits, movements, states and exceptions are decided.

``decide`` looks at an order and all of its returns at once, because returns of one order line compete for its units
and share its value. The same facts always give the same decision, and what was done already is part of the facts, so
deciding again asks for nothing new (worker.md section 4).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

from swapsync.domain import money
from swapsync.domain.catalogue import RULE, Action, Code
from swapsync.domain.facts import Case, Credited, LineKind, Policy, ReturnFacts, Route, Ruling, method_key
from swapsync.domain.kits import Kits
from swapsync.domain.matching import LineMatch, MatchedBy, match_kits, match_line
from swapsync.domain.notes import Milestone
from swapsync.domain.order_ledger import CreditLine, OrderLedger
from swapsync.domain.orders import Order, OrderLine
from swapsync.domain.reasons import Holds, Reason, Verdict
from swapsync.domain.returns import (
    Condition,
    Inspection,
    Logistics,
    Remedy,
    Return,
    ReturnLine,
    ReturnStatus,
    Settlement,
    SwapQc,
    found,
    inspection,
    logistics,
    unexpected,
)
from swapsync.domain.stock import Movement, Step, excess, movements_due, on_hand, still_missing, units_received
from swapsync.domain.succession import carry_over
from swapsync.domain.suggestions import Suggestion, suggest_lines, suggest_orders

NO_SHARE = "the list of kits gives no share of its value"
"""Why a part of a kit is worth nothing that an alias or a chosen line could say."""
UNANNOUNCED = "unannounced:"
"""What the subject of an ``UNEXPECTED_ITEM`` begins with that belongs to no line; its SKU follows."""

DENIED = "denied:"
"""What the subject of an ``APPROVAL_NEEDED`` begins with that is about a denial whose reason is gone; code and subject
of what was denied follow."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something a person must see. ``subject`` tells two causes of one code apart; ``sku`` is blank for a return.

    ``about``: what a person's ruling on it rests on; while it stays the same, the ruling holds. ``holds``: what it
    keeps from happening. ``suggestions``: ways out for the person, best first.
    """

    code: Code
    subject: str
    detail: str
    sku: str = ""
    about: str = ""
    holds: Holds = Holds.NOTHING
    suggestions: tuple[Suggestion, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows from the facts for one return. ``credit`` lists the lines of at most one new credit note.

    ``reasons``: what each rule said, in the order in which they were asked.
    """

    return_id: str
    matches: Mapping[str, LineMatch] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    logistics: Logistics = Logistics.ANNOUNCED
    inspection: Inspection = Inspection.NONE
    settlement: Settlement = Settlement.NONE
    accepted: Mapping[str, int] = field(default_factory=dict)
    po_number: str = ""
    credit: tuple[CreditLine, ...] = ()
    movements: tuple[Movement, ...] = ()
    milestones: tuple[Milestone, ...] = ()
    reasons: tuple[Reason, ...] = ()


def decide(case: Case, policy: Policy) -> tuple[Decision, ...]:
    """One decision for each return of the case, in the order in which they compete for the order's units.

    Those settled before the cut-over come first, then the rest by submission (rule 9); but a line that money already
    moved for keeps its units before all of them. A line that a person denied keeps them if its goods came, since no
    other return can bring the same goods; until they come, it leaves its units to the returns after it.
    """
    matches = {facts.ret.return_id: _match_lines(facts, case, policy.kits) for facts in case.returns}
    stored = {facts.ret.return_id: facts for facts in case.returns}
    case = _by_todays_lines(case, matches)
    ledger = OrderLedger(case, matches, policy.kits)
    competing = sorted(case.returns, key=lambda f: (not f.settled_outside, f.ret.submitted_at, f.ret.return_id))
    for facts in competing:
        if paid := {credited.line_id for credited in facts.credited}:
            lines = [line for line in facts.ret.lines if line.line_id in paid]
            _claim(facts.ret, lines, matches[facts.ret.return_id], ledger)
    return tuple(
        _decide_return(facts, stored[return_id], case, policy, ledger, matches[return_id])
        for facts in competing
        for return_id in (facts.ret.return_id,)
    )


def by_todays_lines(case: Case, kits: Kits) -> Case:
    """The case with the facts of each return under the lines that it has now, as they are decided on."""
    return _by_todays_lines(case, {facts.ret.return_id: _match_lines(facts, case, kits) for facts in case.returns})


def _by_todays_lines(case: Case, matches: Mapping[str, Mapping[str, LineMatch]]) -> Case:
    order = case.order
    if order is None:
        return case
    carried = (carry_over(facts, matches[facts.ret.return_id], order, case.history) for facts in case.returns)
    return replace(case, returns=tuple(carried))


def _decide_return(
    facts: ReturnFacts,
    stored: ReturnFacts,
    case: Case,
    policy: Policy,
    ledger: OrderLedger,
    matches: Mapping[str, LineMatch],
) -> Decision:
    """``facts``: by the lines that the return has now; ``stored``: as they are stored."""
    ret = facts.ret
    where, seen = logistics(ret), inspection(ret, facts.findings)
    if facts.vanished:
        where = Logistics.VANISHED
    if facts.settled_outside:
        _claim(ret, ret.lines, matches, ledger)
        why = Reason(12, Verdict.HOLDS, "it ended before the cut-over: its units are counted, and it causes nothing")
        return Decision(ret.return_id, matches, (), where, seen, Settlement.SETTLED_OUTSIDE, reasons=(why,))
    book = _Book(facts, stored, case, policy, matches)
    if ret.called_off and not facts.credited and not facts.findings:
        book.check_inspection()
        milestones = (Milestone(ret.status.value),) if case.order and facts.same_buyer is not False else ()
        why = Reason(1, Verdict.HOLDS, f"it is {ret.status} in Swap, and nothing of it came")
        reasons = (why, *book.reasons)
        return Decision(
            ret.return_id, matches, tuple(book.problems), where, seen, milestones=milestones, reasons=reasons
        )
    book.check_return()
    order = case.order
    if order is None or (book.frozen and (order.cancelled or not facts.credited)):
        return Decision(
            ret.return_id,
            {},
            tuple(book.problems),
            where,
            seen,
            book.end(),
            po_number=book.po_number,
            reasons=tuple(book.reasons),
        )
    if book.claims_nothing:
        granted = {line.line_id: line.quantity for line in ret.lines}
    else:
        granted = _claim(ret, ret.lines, matches, ledger)
    if not book.turned_away:
        for line in ret.lines:
            match = matches[line.line_id]
            book.check_line(line, match, granted[line.line_id], ledger)
            if match.order_line and book.needs_no_units(line):
                ledger.release(ret, line, match.order_line, match.part)
        book.check_amount(matches)
    book.check_refund(matches)
    book.check_inspection()
    credit = book.credit(matches, granted, ledger)
    movements = book.movements()
    return Decision(
        ret.return_id,
        matches,
        tuple(book.problems),
        where,
        seen,
        book.settlement(credit),
        {line.line_id: book.accepted(line) for line in ret.lines},
        book.po_number,
        credit,
        movements,
        book.milestones(),
        tuple(book.reasons),
    )


def _match_lines(facts: ReturnFacts, case: Case, kits: Kits) -> dict[str, LineMatch]:
    order = case.order
    if order is None:
        return {line.line_id: LineMatch(None) for line in facts.ret.lines}
    matches = {}
    for line in facts.ret.lines:
        match = match_line(line, order.lines, case.history, case.aliases, order.placed_at)
        ruling = facts.rulings.get((Code.SKU_NOT_ON_ORDER, line.line_id))
        if match.order_line is None and ruling and ruling.action is Action.CHOOSE_LINE:
            chosen = order.line(ruling.value)
            if chosen and ruling.about == _no_line(line, match):
                match = LineMatch(chosen, MatchedBy.PERSON)
        matches[line.line_id] = match_kits(match, line, order, kits)
    return matches


def _no_line(line: ReturnLine, match: LineMatch) -> str:
    """In words that a returned line fits no line of its order."""
    if match.part:
        return (
            f"{line.sku} is a part of kit {match.part.kit_sku}, and {NO_SHARE}: add the shares there, or deny the line"
        )
    near = f"; near: {', '.join(match.suggestions)}" if match.suggestions else ""
    name = line.sku or line.variant_id or line.line_item_id or "a line without SKU"
    return f"{name} matches no single line of the order{near}"


def _claim(
    ret: Return, lines: Iterable[ReturnLine], matches: Mapping[str, LineMatch], ledger: OrderLedger
) -> dict[str, int]:
    granted = {}
    for line in lines:
        match = matches[line.line_id]
        granted[line.line_id] = ledger.claim(ret, line, match.order_line, match.part) if match.order_line else 0
    return granted


def _is_other(credited: Credited, sold: OrderLine, order: Order) -> bool:
    """Whether an order line is another by now than what was credited of it."""
    same_currency = credited.currency in ("", order.currency)
    return not same_currency or credited.sold not in (None, (sold.quantity, sold.net, sold.tax))


def _offer(sold: tuple[int, int, int], currency: str) -> str:
    quantity, net, tax = sold
    return f"{quantity} for {money.to_text(net + tax, currency)} {currency}"


_SAME_BY_WORD = (MatchedBy.ALIAS, MatchedBy.PERSON)
"""By these, another SKU than the order's is as it should be."""


class _Book:
    """The working paper of one return: problems found so far, and what they hold.

    ``frozen``: nothing at all may follow until a person decides. ``money_held``: no credit yet. ``denied``: no credit,
    as a person decided; goods move on. ``denied_whole``: it is the whole return that they denied, not only its money.
    ``stranger``: it is not the buyer's, as far as anybody knows.
    ``held_lines``: neither credit nor stock for them. ``denied_lines``: no credit for them, as a person decided.
    ``asked_lines``: no credit for them until a person decides.
    ``changed_lines``: no further credit for them, since the order is another than the one they were credited by.
    ``written_off``: their wrong items leave inspection, as a person decided.
    ``raised``: all that was asked or decided, by code and subject; a denial of anything else has outlived its reason.
    """

    def __init__(
        self,
        facts: ReturnFacts,
        stored: ReturnFacts,
        case: Case,
        policy: Policy,
        matches: Mapping[str, LineMatch],
    ) -> None:
        order = case.order
        self.facts, self.ret, self.order, self.policy = facts, facts.ret, order, policy
        self.stored, self.matches = stored, matches
        self.case = case
        self.problems: list[Problem] = []
        self.raised: set[tuple[Code, str]] = set()
        self.reasons: list[Reason] = []
        self.frozen = False
        self.money_held = False
        self.denied = False
        self.denied_whole = False
        self.stranger = False
        self.held_lines: set[str] = set()
        self.denied_lines: set[str] = set()
        self.asked_lines: set[str] = set()
        self.changed_lines: set[str] = set()
        self.written_off: set[str] = set()
        self.route: Route | None = None
        self.po_number = order.po_number if order else ""

    # -- the return as a whole ---------------------------------------------------------------------------------------

    def check_return(self) -> None:
        ret, order, case = self.ret, self.order, self.case
        for sku, came in unexpected(self.facts.findings).items():
            detail = f"{came} x {sku} came, which no line of the return announces"
            self._open(Code.UNEXPECTED_ITEM, f"{UNANNOUNCED}{sku}", detail, sku)
        for value in ret.unknown:
            self._open(Code.UNKNOWN_VALUE, value, f"swapsync has no meaning for {value}", holds=Holds.EVERYTHING)
        if self.facts.vanished:
            self._hold_all(Code.RETURN_VANISHED, "", f"RMA {ret.rma_number} is no longer in Swap")
        if ret.status in (ReturnStatus.NEEDS_REVIEW, ReturnStatus.ON_HOLD):
            parked = ret.status.replace("_", " ")
            self._open(Code.REFUND_STUCK_IN_SWAP, "", f"Swap shows RMA {ret.rma_number} as {parked}")
        if order is None:
            names = f"id {ret.order_ref or '(none)'} or name {ret.order_name or '(none)'}"
            suggestions = suggest_orders(ret, case.candidates, case.history, case.aliases, left_out=case.left_out)
            self._hold_all(Code.ORPHANED_RETURN, "", f"SparkLayer has no order with {names}", suggestions=suggestions)
            return
        if self.facts.same_buyer is False:
            detail = f"{ret.customer_email} asked for the return; order {order.visible} was bought by somebody else"
            self.stranger = not self._hold_all(Code.CUSTOMER_MISMATCH, "", detail)
        elif self.facts.same_buyer:
            self._say(7, Verdict.RELEASES, f"{ret.customer_email} belongs to the buyer of order {order.visible}")
        else:
            self._say(7, Verdict.NOTES, "the buyers of return and order can't be compared, so nothing is concluded")
        if order.cancelled:
            self._hold_all(Code.ORDER_CHANGED, "", f"order {order.visible} was cancelled")
        goods = self._goods_in_question()
        if self.facts.credited_basis:
            self._check_unchanged(goods)
        if not self.frozen:
            self._check_goods(goods)
        self._check_voids(order)
        self._check_payment(order)

    def _hold_all(
        self, code: Code, subject: str, detail: str, about: str = "", suggestions: tuple[Suggestion, ...] = ()
    ) -> bool:
        """Nothing may follow until a person rules; and no credit if they deny it, while goods that came move on.

        Returns whether they let it go on as it is.
        """
        ruling = self._open(code, subject, detail, about=about, holds=Holds.EVERYTHING, suggestions=suggestions)
        if ruling is not None and ruling.action is Action.DENY:
            self.denied = self.denied_whole = True
        return ruling is not None and ruling.action is not Action.DENY

    def _check_unchanged(self, goods: str) -> None:
        """Rule 3: whether the return still is what it was credited for, and Swap still says what was relied on.

        What that means for its ``goods`` is part of the question.
        """
        ret = self.ret
        code = Code.RETURN_CHANGED_AFTER_CREDIT
        if self.facts.credited_basis != ret.basis():
            what = f"is {ret.status} now" if ret.called_off else "has other lines, order or currency now"
            detail = "; ".join(filter(None, [f"the return {what} than when it was credited", goods]))
            self._hold_all(code, "", detail, about=ret.basis())
        relied_on_swap = {c.line_id for c in self.facts.credited} - {f.line_id for f in self.facts.findings}
        refused = ret.qc in (SwapQc.NOT_APPROVED, SwapQc.MISSING)
        if relied_on_swap and not ret.called_off and (refused or not self._closed_and_delivered):
            detail = f"credited on Swap's word; Swap now says {ret.status}, {ret.delivery}, QC {ret.qc}"
            self._hold_all(code, "swap", detail)

    def _check_goods(self, goods: str) -> None:
        """Asks about goods that the return does not announce, unless a person ruled on the return as it is now."""
        as_it_is = self.facts.rulings.get((Code.RETURN_CHANGED_AFTER_CREDIT, ""))
        if goods and not (as_it_is and as_it_is.about == self.ret.basis()):
            self._hold_all(Code.RETURN_CHANGED_AFTER_CREDIT, "goods", goods, about=self.ret.basis())

    def _goods_in_question(self) -> str:
        """What was counted for lines that the return no longer has, and what came beyond what its lines announce."""
        lines = {line.line_id for line in self.ret.lines}
        came = [
            f"{units} x {sku} came"
            for (line_id, sku), steps in self.stored.moved.items()
            if line_id not in lines and (units := steps.get(Step.RECEIVED, 0) - still_missing(steps)) > 0
        ]
        gone = Counter[Condition]()
        for finding in self.stored.findings:
            if finding.line_id and finding.line_id not in lines:
                gone[finding.condition] += finding.quantity
        seen = [f"{units} {condition}" for condition, units in gone.items() if units > 0]
        says = []
        if came or seen:
            inspected = [f"the warehouse found {', '.join(seen)}"] if seen else []
            says.append(f"{'; '.join([*came, *inspected])}, for lines that the return no longer has")
        for line in self.ret.lines:
            for sku, per_unit in self._stock_of(line).items():
                announced = line.quantity * per_unit
                if more := self._excess(line, sku, per_unit):
                    says.append(f"{announced + more} x {sku} came, and the return announces {announced} now")
        return "; ".join(says)

    def _excess(self, line: ReturnLine, sku: str, per_unit: int) -> int:
        """Units of a SKU that came for a line and that it does not announce any more."""
        return excess(line.quantity * per_unit, units=self._units(line, per_unit), moved=self._moved(line, sku))

    def _moved(self, line: ReturnLine, sku: str) -> Mapping[Step, int]:
        """What moved of a SKU for a line; of a line that is no kit under whatever SKU, as it may have had another."""
        parts = {part.sku for part in self.matches[line.line_id].kit}
        moved = Counter[Step]()
        for (line_id, of), steps in self.facts.moved.items():
            if line_id == line.line_id and (of == sku or sku not in parts):
                moved.update(steps)
        return moved

    def _units(self, line: ReturnLine, per_unit: int) -> Counter[Condition]:
        """What was found of a line, in units of what moves."""
        units = found(self.facts.findings, line.line_id)
        return Counter({condition: n * per_unit for condition, n in units.items()})

    def _check_voids(self, order: Order) -> None:
        """Rule 3: what was voided is not credited again before the void is delivered and a person has ruled."""
        for void in self.facts.voids:
            amount = f"{money.to_text(void.gross, order.currency)} {order.currency}"
            detail = f"credit note {void.number} of {amount} was voided by {void.by}: {void.reason}"
            code = Code.RETURN_CHANGED_AFTER_CREDIT
            ruling = self._open(code, f"void:{void.by}", detail, holds=Holds.CREDIT)
            if ruling is not None and ruling.action is Action.DENY:
                self.denied = True
            if not void.delivered:
                self.money_held = True
                self._say(3, Verdict.HOLDS, f"{void.by} is still to be delivered")

    def check_inspection(self) -> None:
        """Whether goods have waited for the warehouse for too long."""
        ret, moved = self.ret, self.facts.moved
        if not self.facts.overdue or inspection(ret, self.facts.findings) is Inspection.DONE:
            return
        awaited = ret.delivered and not ret.called_off
        if any(on_hand(steps) > 0 for steps in moved.values()) or (awaited and not moved):
            since = f" since {ret.delivered_at:%Y-%m-%d}" if ret.delivered_at else ""
            ended = f", though it is {ret.status}" if ret.called_off else ""
            detail = f"RMA {ret.rma_number} is delivered{since} and not inspected{ended}"
            self._open(Code.INSPECTION_OVERDUE, "", detail)

    def _check_payment(self, order: Order) -> None:
        ret = self.ret
        self.route = self.policy.routes.get(method_key(order.payment_method))
        if self.route is None:
            detail = f"order {order.visible} has payment method {order.payment_method or '(none)'}"
            self._open(Code.PAYMENT_METHOD_UNKNOWN, "", detail, holds=Holds.CREDIT)
        elif self.route is Route.CREDIT_NOTE:
            self._say(2, Verdict.RELEASES, f"{order.payment_method}: a credit note of ours and one transaction")
        else:
            self._say(2, Verdict.HOLDS, f"{order.payment_method}: the payment gateway refunds, through Swap")
        if ret.currency.upper() != order.currency.upper():
            ruling = self._open(
                Code.CURRENCY_MISMATCH,
                "",
                f"the return is in {ret.currency or '(none)'}, order {order.visible} in {order.currency or '(none)'}",
                holds=Holds.CREDIT,
            )
            self.denied = self.denied or ruling is not None
        pay_later = self.route is Route.CREDIT_NOTE
        if (pay_later or self.facts.credited) and ret.status is ReturnStatus.CLOSED and ret.refunded > 0:
            refunded = money.to_text(ret.refunded, ret.currency)
            detail = f"Swap shows {refunded} {ret.currency} given back on {order.payment_method} order {order.visible}"
            if not pay_later:
                detail += f", and {money.to_text(self._credited_so_far, order.currency)} was credited before"
            ruling = self._open(Code.GATEWAY_REFUND_ON_ACCOUNT, "", detail, holds=Holds.CREDIT)
            self.denied = self.denied or (ruling is not None and ruling.action is Action.DENY)
        if not pay_later:
            return
        if not self.po_number:
            detail = f"{order.payment_method} order {order.visible} has no PO number"
            holds = Holds.CREDIT if self.policy.po_required else Holds.NOTHING
            ruling = self._open(Code.PO_NUMBER_MISSING, "", detail, holds=holds)
            self.po_number = ruling.value if ruling else ""
        if self.po_number:
            self._say(5, Verdict.NOTES, f"PO number {self.po_number} goes on the credit note and the notes")

    # -- line by line ------------------------------------------------------------------------------------------------

    def check_line(self, line: ReturnLine, match: LineMatch, granted: int, ledger: OrderLedger) -> None:
        if line.remedy is Remedy.UNKNOWN:
            self._hold(line, Code.UNKNOWN_VALUE, f"swapsync has no meaning for return type {line.return_type!r}")
        if match.order_line is None:
            suggestions = suggest_lines(line, self.order, self.case.history, self.policy.kits) if self.order else ()
            self._hold(line, Code.SKU_NOT_ON_ORDER, _no_line(line, match), suggestions=suggestions)
            return
        sold = match.order_line
        self._say(8, Verdict.RELEASES, f"{sold.sku or sold.key} of the order, by {match.by}", line)
        if line.sku and sold.sku and line.sku != sold.sku and match.by not in _SAME_BY_WORD and not match.part:
            self._open(
                Code.SKU_CHANGED,
                line.line_id,
                f"sold as {sold.sku}, returned as {line.sku}; matched by {match.by}",
                line.sku,
            )
        if granted < line.quantity:
            claimants = ledger.claimants[sold.key].items()
            others = [rma for return_id, rma in claimants if return_id != self.ret.return_id]
            also = f"; also claimed by RMA {', '.join(dict.fromkeys(others))}" if others else ""
            name = line.sku if match.part else sold.sku or sold.key
            asked = f"{line.quantity} of {name} to come back, {granted} left of {sold.quantity * match.per_unit}"
            if self._hold(line, Code.QUANTITY_EXCEEDS_ORDER, asked + also, about=asked) and not granted:
                self.denied_lines.add(line.line_id)
        self._check_order_line(line, sold, ledger.credited[sold.key])
        self._check_findings(line)

    def _check_order_line(self, line: ReturnLine, sold: OrderLine, credited: Iterable[Credited]) -> None:
        """Whether the order line still is what it was credited by.

        Credits add up along the line, so what another return was credited by matters as soon as one is due for this.
        """
        assert self.order
        mine = [c for c in self.facts.credited if c.line_id == line.line_id]
        due = self.accepted(line) > sum(c.quantity for c in mine)
        then = next((c for c in (*mine, *(credited if due else ())) if _is_other(c, sold, self.order)), None)
        if then:
            before = _offer(then.sold or (sold.quantity, sold.net, sold.tax), then.currency or self.order.currency)
            after = _offer((sold.quantity, sold.net, sold.tax), self.order.currency)
            detail = f"{sold.sku or sold.key} was credited when the order had {before}; it has {after} now"
            ruling = self._open(Code.ORDER_CHANGED, line.line_id, detail, line.sku, holds=Holds.LINE_CREDIT)
            if ruling is None or ruling.action is Action.DENY:
                self.changed_lines.add(line.line_id)

    def _check_findings(self, line: ReturnLine) -> None:
        units = found(self.facts.findings, line.line_id)
        sku = line.sku or line.line_id
        paid = sum(credited.quantity for credited in self.facts.credited if credited.line_id == line.line_id)
        already = f"; {paid} credited already" if paid else ""

        def note(code: Code, what: str, holds: Holds = Holds.NOTHING) -> Ruling | None:
            return self._open(code, line.line_id, what + already, sku, about=what, holds=holds)

        short = [f"{missing} of {line.quantity} {sku} did not come"] if (missing := units[Condition.MISSING]) else []
        if short := short + self._on_sale(line, units):
            note(Code.INSPECTION_SHORT, "; ".join(short))
        if wrong := units[Condition.WRONG_ITEM]:
            ruling = note(Code.UNEXPECTED_ITEM, f"{wrong} of {line.quantity} {sku} are another item")
            if ruling is not None and ruling.action is Action.WRITE_OFF:
                self.written_off.add(line.line_id)
        doubtful = units[Condition.DAMAGED] + units[Condition.NO_VALUE]
        asks = []
        if doubtful and line.remedy is not Remedy.STOCK_ONLY:
            asks.append(f"{doubtful} of {line.quantity} {sku} came back damaged or without value")
        if line.remedy is Remedy.ASK:
            asks.append(f"{sku} comes back as {line.return_type}")
        if self.ret.called_off and units.total() > units[Condition.MISSING]:
            asks.append(f"{sku} came although the return is {self.ret.status}")
        if asks and (paid or not self.denied):
            note(Code.INSPECTION_REVIEW, "; ".join(asks), Holds.LINE_CREDIT)

    def _on_sale(self, line: ReturnLine, units: Counter[Condition]) -> list[str]:
        """In words, what of a line was released for sale on Swap's word and then was not found sellable."""
        faults = " or ".join(seen.replace("_", " ") for seen in units if seen is not Condition.SELLABLE)
        good, bad = units[Condition.SELLABLE], units.total() - units[Condition.SELLABLE]
        return [
            f"{more} x {sku} were released for sale and then found {faults}: take them off sale"
            for sku, per_unit in self._stock_of(line).items()
            if (more := min(bad * per_unit, self._moved(line, sku).get(Step.RESTOCKED, 0) - good * per_unit)) > 0
        ]

    def check_amount(self, matches: Mapping[str, LineMatch]) -> None:
        ret, order = self.ret, self.order
        if order is None or ret.currency.upper() != order.currency.upper():
            return
        expected = 0
        for line in ret.lines:
            sold, units = matches[line.line_id].order_line, line.quantity * matches[line.line_id].weight
            if sold is None or units > sold.quantity or line.remedy is not Remedy.CREDIT:
                return
            expected += self._worth(matches[line.line_id], line.quantity)
        if ret.total is not None and abs(ret.total - expected) > self._tolerance(expected, order):
            says = f"Swap says {money.to_text(ret.total, order.currency)}"
            self._open(Code.AMOUNT_MISMATCH, "", f"{says}, the order says {self._amount(expected)}")

    def check_refund(self, matches: Mapping[str, LineMatch]) -> None:
        """Whether the gateway gave back no more than the goods that came are worth.

        What was exchanged and what fits no line of the order are worth nothing to it. That it gave less is no sign of
        anything: fees and store credit are the merchant's matter with Swap.
        """
        ret, order = self.ret, self.order
        closed_by_gateway = self.route is Route.GATEWAY and ret.status is ReturnStatus.CLOSED
        if order is None or not closed_by_gateway or ret.currency.upper() != order.currency.upper():
            return
        came = 0
        for line in ret.lines:
            if line.remedy is not Remedy.STOCK_ONLY:
                units = found(self.facts.findings, line.line_id)
                received = units_received(line.quantity, delivered=ret.delivered, units=units)
                came += self._worth(matches[line.line_id], received)
        if ret.refunded > came + self._tolerance(came, order):
            refunded = f"the gateway refunded {money.to_text(ret.refunded, order.currency)}"
            says = f"{refunded}, what came is worth {self._amount(came)} by the order"
            self._open(Code.AMOUNT_MISMATCH, "refund", says)

    def _worth(self, match: LineMatch, quantity: int) -> int:
        """Gross of so many units of a line by the order, of no more than it sold; nothing where it fits none."""
        sold = match.order_line
        if sold is None or not sold.quantity:
            return 0
        units = min(quantity * match.weight, Fraction(sold.quantity))
        return money.share(sold.net, units, sold.quantity) + money.share(sold.tax, units, sold.quantity)

    def _tolerance(self, expected: int, order: Order) -> int:
        """How much an amount may be off, in minor units."""
        return max(
            money.to_minor(self.policy.amount_tolerance, order.currency),
            int(expected * self.policy.amount_tolerance_percent / 100),
        )

    def _amount(self, minor: int) -> str:
        """An amount in the order's currency, in words."""
        currency = self.order.currency if self.order else ""
        return f"{money.to_text(minor, currency)} {currency}"

    # -- what follows ------------------------------------------------------------------------------------------------

    @property
    def _closed_and_delivered(self) -> bool:
        return self.ret.status is ReturnStatus.CLOSED and self.ret.delivered

    @property
    def _confirmed_by_swap(self) -> bool:
        """Rule 1: what counts as confirmed for money without a finding."""
        qc_passed = self.ret.qc is SwapQc.APPROVED or (self.ret.qc is SwapQc.NONE and not self.policy.uses_swap_qc)
        return self.policy.settle_on == "swap_closed" and self._closed_and_delivered and qc_passed

    def accepted(self, line: ReturnLine) -> int:
        """Units of a line that are confirmed for money: by the warehouse if it has spoken, else by Swap."""
        return min(self._confirmed(line)[0], line.quantity)

    def _confirmed(self, line: ReturnLine) -> tuple[int, str]:
        """How many units are confirmed for money, and by what; or what is missing."""
        verdict = self._verdict(line)
        if self._is_denied(line):
            return 0, "a person decided that it is not credited"
        units = found(self.facts.findings, line.line_id)
        if units:
            doubtful = units[Condition.DAMAGED] + units[Condition.NO_VALUE]
            seen = ", ".join(f"{number} {condition}" for condition, number in units.items())
            if verdict is Action.CREDIT:
                return units[Condition.SELLABLE] + doubtful, f"the warehouse found {seen}; a person decided to credit"
            return units[Condition.SELLABLE], f"the warehouse found {seen}"
        says = f"Swap says {self.ret.status}, {self.ret.delivery}, QC {self.ret.qc}"
        if self._confirmed_by_swap:
            return line.quantity, says
        waits_for = "the warehouse's finding"
        if self.policy.settle_on == "swap_closed":
            waits_for += f", or closed, delivered{' and QC approved' if self.policy.uses_swap_qc else ''} in Swap"
        return 0, f"{says}; it waits for {waits_for}"

    def _verdict(self, line: ReturnLine) -> Action | None:
        """What a person decided about a doubtful line, as long as it holds."""
        ruling = self.facts.rulings.get((Code.INSPECTION_REVIEW, line.line_id))
        return ruling.action if ruling and line.line_id not in self.asked_lines else None

    def _takes_a_verdict(self, line: ReturnLine) -> bool:
        """Whether a person decides on the line as a whole, not only on its doubtful units."""
        return line.remedy is Remedy.ASK or self.ret.called_off

    def _creditable(self, line: ReturnLine) -> bool:
        if line.line_id in self.held_lines or line.remedy in (Remedy.STOCK_ONLY, Remedy.UNKNOWN):
            return False
        return not self._takes_a_verdict(line) or self._verdict(line) is Action.CREDIT

    def credit(
        self, matches: Mapping[str, LineMatch], granted: Mapping[str, int], ledger: OrderLedger
    ) -> tuple[CreditLine, ...]:
        """The lines of the next credit note: accepted units that none covers yet. Empty when worth nothing."""
        if self.denied:
            self._say(2, Verdict.HOLDS, "a person decided that nothing is credited")
        order = self.order
        if self.frozen or self.money_held or self.denied or self.route is not Route.CREDIT_NOTE or order is None:
            return ()
        at_first = ledger.snapshot()
        lines: list[CreditLine] = []
        for line in self.ret.lines:
            sold = matches[line.line_id].order_line
            if sold is None or not self._creditable(line) or line.line_id in self.changed_lines:
                continue
            accepted, why = self._confirmed(line)
            covered = sum(c.quantity for c in self.facts.credited if c.line_id == line.line_id)
            due = min(accepted, granted[line.line_id]) - covered
            verdict = Verdict.RELEASES if accepted else Verdict.HOLDS
            self._say(1, verdict, f"{accepted} of {line.quantity} accepted: {why}", line)
            if covered:
                self._say(3, Verdict.HOLDS, f"{covered} of {line.quantity} credited already", line)
            if due <= 0:
                continue
            before = ledger.units[sold.key]
            outlived = self._outlived_denials(line.line_id)
            at_line = ledger.snapshot()
            weight, finest = matches[line.line_id].weight, matches[line.line_id].finest
            credit = ledger.credit(line.line_id, sold, line.sku or sold.sku, due, weight, finest)
            if credit is None:
                detail = f"{sold.sku or sold.key}: the order now holds less than was credited for it already"
                self._open(Code.ORDER_CHANGED, line.line_id, detail, line.sku, holds=Holds.LINE_CREDIT)
            elif not self._lets_go(outlived, Holds.LINE_CREDIT, line):
                ledger.rewind(at_line)
            else:
                lines.append(credit)
                self._say(4, Verdict.RELEASES, self._computation(credit, sold, before, weight), line)
        if not lines:
            return ()
        if shipping := ledger.credit_shipping(order, self.policy.credit_shipping):
            lines.append(shipping)
            self._say(4, Verdict.RELEASES, f"carriage by the site's policy ({self.policy.credit_shipping})")
        if not any(line.net or line.tax for line in lines):
            self._say(4, Verdict.HOLDS, "what is accepted is worth nothing, so there is no credit note")
            return ()
        if fee := self._fee(lines):
            lines.append(fee)
            kept = money.to_text(-(fee.net + fee.tax), order.currency)
            self._say(4, Verdict.HOLDS, f"handling fee of {kept} {order.currency} kept back by the site's policy")
        gross = sum(line.net + line.tax for line in lines)
        approved = gross > 0 and not self._withdrawn(gross, order) and self._approved(gross, order)
        if not approved or not self._lets_go(self._outlived_denials(), Holds.CREDIT):
            ledger.rewind(at_first)
            return ()
        return tuple(lines)

    def _withdrawn(self, gross: int, order: Order) -> bool:
        """Rule 3: whether a person withdrew what is due, as it could not be delivered; or else is to be asked."""
        amount = f"{money.to_text(gross, order.currency)} {order.currency}"
        withdrawn = [
            (subject, ruling.value)
            for (code, subject), ruling in sorted(self.facts.rulings.items())
            if code is Code.DELIVERY_FAILED and ruling.action is Action.DENY
        ]
        self.raised |= {(Code.DELIVERY_FAILED, subject) for subject, _ in withdrawn}
        if not withdrawn:
            return False
        if amount in (worth for _, worth in withdrawn):
            self._say(3, Verdict.HOLDS, f"a credit of {amount} could not be delivered, and a person withdrew it")
            self.denied = True
            return True
        asked = f"{DENIED}{Code.DELIVERY_FAILED}:{withdrawn[-1][0]}"
        before = " and ".join(worth for _, worth in withdrawn)
        detail = f"{before} could not be delivered and was withdrawn, and {amount} is due by now: credit all of that?"
        ruling = self._open(Code.APPROVAL_NEEDED, asked, detail, holds=Holds.CREDIT)
        self.denied = ruling is not None and ruling.action is Action.DENY
        return ruling is None or self.denied

    def _outlived_denials(self, line_id: str = "") -> list[tuple[Code, str, Ruling]]:
        """What a person denied and no rule raises any more: of a line; or of the return, and of lines that are gone."""
        lines = {line.line_id for line in self.ret.lines}
        return [
            (code, subject, ruling)
            for (code, subject), ruling in sorted(self.facts.rulings.items())
            if ruling.action is Action.DENY and (code, subject) not in self.raised
            if not subject.startswith(DENIED) and (subject if subject in lines else "") == line_id
        ]

    def _lets_go(
        self, outlived: Iterable[tuple[Code, str, Ruling]], holds: Holds, line: ReturnLine | None = None
    ) -> bool:
        """Whether a credit that is due may go out although it was denied, for reasons that are gone by now."""
        answers = []
        for code, subject, ruling in outlived:
            denied = f"{code} ({ruling.about})" if " " in ruling.about else code
            detail = f"{denied} was denied, and the reason for it is gone: credit it now?"
            sku = line.sku if line else ""
            answers.append(self._open(Code.APPROVAL_NEEDED, f"{DENIED}{code}:{subject}", detail, sku, holds=holds))
        if any(answer is not None and answer.action is Action.DENY for answer in answers):
            self.denied = self.denied or line is None
            self.denied_lines |= {line.line_id} if line else set()
        return all(answer is not None and answer.action is not Action.DENY for answer in answers)

    def _fee(self, lines: list[CreditLine]) -> CreditLine | None:
        """Swap's handling fee as far as it was not kept yet, taxed like the goods; never more than they are worth."""
        kept = -sum(extra.net + extra.tax for extra in self.facts.extras if extra.kind is LineKind.FEE)
        net, tax = sum(line.net for line in lines), sum(line.tax for line in lines)
        fee = min(self.ret.handling_fee - kept, net + tax)
        if not self.policy.deduct_handling_fee or fee <= 0:
            return None
        net_of_fee = money.share(net, fee, net + tax)
        return CreditLine(":fee", "", "", 1, -net_of_fee, net_of_fee - fee, LineKind.FEE)

    def _approved(self, gross: int, order: Order) -> bool:
        """Whether a credit may go out: with it the return stays within the limit, or a person approved exactly it."""
        limit, total = self.policy.approve_above, self._credited_so_far + gross
        if limit is None or total <= money.to_minor(limit, order.currency):
            return True
        n = self.facts.credit_count + 1
        amount, in_all = (f"{money.to_text(minor, order.currency)} {order.currency}" for minor in (gross, total))
        detail = f"credit {n} of RMA {self.ret.rma_number} comes to {amount}"
        if total != gross:
            detail += f", with those before it to {in_all}"
        ruling = self._open(Code.APPROVAL_NEEDED, str(n), detail, holds=Holds.CREDIT)
        self.denied = ruling is not None and ruling.action is Action.DENY
        return ruling is not None and not self.denied

    @property
    def _credited_so_far(self) -> int:
        """Gross of all credits of the return that stand, in minor units."""
        goods = sum(credited.net + credited.tax for credited in self.facts.credited)
        return goods + sum(extra.net + extra.tax for extra in self.facts.extras)

    def _computation(self, credit: CreditLine, sold: OrderLine, before: Fraction, weight: Fraction) -> str:
        """How the amount of a line came about; ``before``: units of the order line that were credited before it."""
        of_kit = "" if weight == 1 else f" x {weight} of a kit"
        currency = self.order.currency if self.order else ""
        net, tax, of_net, of_tax = (
            money.to_text(minor, currency) for minor in (credit.net, credit.tax, sold.net, sold.tax)
        )
        return (
            f"{credit.quantity}{of_kit} of {sold.quantity} sold, {before} credited before: "
            f"net {net} of {of_net}, tax {tax} of {of_tax} {currency}"
        )

    def movements(self) -> tuple[Movement, ...]:
        if self.frozen:
            self._say(6, Verdict.HOLDS, "no stock moves while the return is held as a whole")
            return ()
        lines = {line.line_id for line in self.ret.lines}
        due = [
            Movement(line_id, Step.WRITTEN_OFF, sku, left)
            for (line_id, sku), steps in self.facts.moved.items()
            if line_id not in lines and (left := on_hand(steps)) > 0
        ]
        restock_announced = (
            self.policy.restock_on == "swap_approved" and self._closed_and_delivered and self.ret.qc is SwapQc.APPROVED
        )
        for line in self.ret.lines:
            if line.line_id in self.held_lines:
                continue
            for sku, per_unit in self._stock_of(line).items():
                due += movements_due(
                    line.line_id,
                    sku,
                    line.quantity * per_unit,
                    delivered=self.ret.delivered and not self.ret.called_off,
                    restock_announced=restock_announced,
                    units=self._units(line, per_unit),
                    moved=self._moved(line, sku),
                    write_off=line.line_id in self.written_off,
                    in_excess=self._excess(line, sku, per_unit),
                )
        return tuple(due)

    def _stock_of(self, line: ReturnLine) -> dict[str, int]:
        """What moves for each unit of a line, by SKU: a whole kit moves its parts, all else itself.

        What has begun to move under a SKU goes on under it. Nothing begins to for a line that fits none of the order.
        """
        match = self.matches[line.line_id]
        moving = self.facts.stock_skus.get(line.line_id)
        if match.order_line is None:
            skus = {sku for line_id, sku in self.facts.moved if line_id == line.line_id}
            return {sku: 1 for sku in skus if skus == {moving}}
        if match.kit and not match.part and moving in (None, *(part.sku for part in match.kit)):
            return {part.sku: part.quantity for part in match.kit}
        sold_variant = match.order_line.variant_id if not match.part else ""
        sku = moving or self.case.history.current(line.variant_id or sold_variant) or line.sku or match.order_line.sku
        return {sku: 1} if sku else {}

    def milestones(self) -> tuple[Milestone, ...]:
        if self.frozen or self.turned_away or self.stranger:
            return ()
        ret = self.ret
        if ret.called_off:
            return (Milestone(ret.status.value),)
        reached = [Milestone.AUTHORISED]
        if ret.delivered or any(f.line_id and f.condition is not Condition.MISSING for f in self.facts.findings):
            reached.append(Milestone.RECEIVED)
        if self.route is Route.GATEWAY and ret.status is ReturnStatus.CLOSED and ret.refunded > 0:
            reached.append(Milestone.REFUNDED)
        return tuple(reached)

    @property
    def turned_away(self) -> bool:
        """Whether a person denied the whole return and nothing of it came: only what is known of its money is left."""
        seen = any(finding.condition is not Condition.MISSING for finding in self.facts.findings)
        came = self.ret.delivered or seen or self.facts.moved
        return self.denied_whole and not came and not self.facts.credited

    @property
    def claims_nothing(self) -> bool:
        """Whether nothing of the return came or Swap ended it without accepting it: another may bring its goods."""
        if self.turned_away:
            return True
        refused = self.ret.qc in (SwapQc.NOT_APPROVED, SwapQc.MISSING) or not self.ret.delivered
        ended = self.ret.status is ReturnStatus.CLOSED and refused
        return ended and not self.facts.findings and not self.facts.credited

    def needs_no_units(self, line: ReturnLine) -> bool:
        """Whether a person denied a line, or all of them, and nothing of it came and nothing was credited."""
        units = found(self.facts.findings, line.line_id)
        came = self.ret.delivered or units.total() > units[Condition.MISSING]
        paid = any(credited.line_id == line.line_id for credited in self.facts.credited)
        return (self.denied_whole or self._is_denied(line)) and not came and not paid

    def _is_denied(self, line: ReturnLine) -> bool:
        return line.line_id in self.denied_lines or (self._takes_a_verdict(line) and self._verdict(line) is Action.DENY)

    def end(self) -> Settlement:
        """Where a return stands of which nothing further can follow: a person has to decide, or did."""
        if any(problem.holds is Holds.EVERYTHING for problem in self.problems):
            return Settlement.HELD
        if any(not credited.delivered for credited in self.facts.credited):
            return Settlement.DUE
        return Settlement.CREDITED if self.facts.credited else Settlement.DENIED

    def settlement(self, credit: tuple[CreditLine, ...]) -> Settlement:
        ret = self.ret
        if self.denied and not self.facts.credited:
            return Settlement.DENIED
        if any(problem.holds is not Holds.NOTHING for problem in self.problems):
            return Settlement.HELD
        if credit or any(not credited.delivered for credited in self.facts.credited):
            return Settlement.DUE
        if self.facts.credited:
            return Settlement.CREDITED
        if self.route is Route.GATEWAY:
            refunded = ret.status is ReturnStatus.CLOSED and ret.refunded > 0
            return Settlement.REFUNDED_BY_GATEWAY if refunded else Settlement.NONE
        asking = [line for line in ret.lines if line.quantity and line.remedy is not Remedy.STOCK_ONLY]
        return Settlement.DENIED if asking and all(map(self._turned_down, asking)) else Settlement.NONE

    def _turned_down(self, line: ReturnLine) -> bool:
        """Whether nothing is to be credited for a line: a person, the warehouse or else Swap said so."""
        if self._is_denied(line):
            return True
        if units := found(self.facts.findings, line.line_id):
            return units.total() >= line.quantity and not self.accepted(line)
        refused = self.ret.qc in (SwapQc.NOT_APPROVED, SwapQc.MISSING) or not self.ret.delivered
        return self.ret.status is ReturnStatus.CLOSED and refused

    # -- bookkeeping -------------------------------------------------------------------------------------------------

    def _open(
        self,
        code: Code,
        subject: str,
        detail: str,
        sku: str = "",
        about: str = "",
        holds: Holds = Holds.NOTHING,
        suggestions: tuple[Suggestion, ...] = (),
    ) -> Ruling | None:
        """Notes a problem, unless a person has ruled on exactly this; then their ruling comes back instead."""
        self.raised.add((code, subject))
        ruling = self.facts.rulings.get((code, subject))
        if ruling is None or ruling.about != (about or detail):
            self._note(Problem(code, subject, detail, sku, about or detail, holds, suggestions))
            return None
        said = f"{detail}; a person decided: {ruling.action}{f' {ruling.value}' if ruling.value else ''}"
        verdict = Verdict.HOLDS if ruling.action is Action.DENY else Verdict.RELEASES
        self.reasons.append(Reason(RULE[code], verdict, said, self._line_id(subject), code))
        return ruling

    def _hold(
        self,
        line: ReturnLine,
        code: Code,
        detail: str,
        about: str = "",
        suggestions: tuple[Suggestion, ...] = (),
    ) -> Ruling | None:
        """Neither credit nor stock for a line until a person rules; and no credit if they deny it."""
        self.raised.add((code, line.line_id))
        standing = self.facts.rulings.get((code, line.line_id))
        if standing is None or standing.action not in (Action.ACCEPT, Action.DENY):
            self._note(Problem(code, line.line_id, detail, line.sku, about or detail, Holds.LINE, suggestions))
            return None
        ruling = self._open(code, line.line_id, detail, line.sku, about, Holds.LINE, suggestions)
        if ruling is not None and ruling.action is Action.DENY:
            self.denied_lines.add(line.line_id)
        return ruling

    def _note(self, problem: Problem) -> None:
        self.problems.append(problem)
        verdict = Verdict.NOTES if problem.holds is Holds.NOTHING else Verdict.HOLDS
        self.reasons.append(
            Reason(RULE[problem.code], verdict, problem.detail, self._line_id(problem.subject), problem.code)
        )
        self.frozen = self.frozen or problem.holds is Holds.EVERYTHING
        self.money_held = self.money_held or problem.holds is Holds.CREDIT
        if problem.holds is Holds.LINE:
            self.held_lines.add(problem.subject)
        if problem.holds is Holds.LINE_CREDIT:
            self.asked_lines.add(problem.subject)

    def _line_id(self, subject: str) -> str:
        if subject.startswith(DENIED):
            subject = subject.split(":", 2)[2]
        return subject if any(line.line_id == subject for line in self.ret.lines) else ""

    def _say(self, rule: int, verdict: Verdict, text: str, line: ReturnLine | None = None) -> None:
        self.reasons.append(Reason(rule, verdict, text, line.line_id if line else ""))
