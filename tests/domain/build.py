"""Orders, returns and what is known of them, in a few words.

The usual case: order #1001, on account, PO-77, in GBP, 4 MUG for 100.00 net and 20.00 tax; return R1 (RMA R1) brings
all of them back, is announced, and says nothing else.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from swapsync.domain.catalogue import Action, Code
from swapsync.domain.facts import Case, Credited, Extra, LineKind, Policy, ReturnFacts, Ruling
from swapsync.domain.orders import Order, OrderLine
from swapsync.domain.returns import (
    Condition,
    Delivery,
    Finding,
    Remedy,
    Return,
    ReturnLine,
    ReturnStatus,
    SwapQc,
)
from swapsync.domain.settlement import Decision, decide
from swapsync.domain.stock import Step

SUBMITTED = datetime(2026, 3, 2, 12, tzinfo=UTC)
USUAL = Policy()

DELIVERED: dict[str, Any] = {"delivery": Delivery.DELIVERED}
APPROVED: dict[str, Any] = {"status": ReturnStatus.CLOSED, "delivery": Delivery.DELIVERED, "qc": SwapQc.APPROVED}


def sold(sku: str = "MUG", quantity: int = 4, net: int = 10000, tax: int = 2000, **fields: Any) -> OrderLine:
    """An order line; its key is the SKU in lower case, unless given."""
    usual: dict[str, Any] = {"key": sku.lower(), "variant_id": "", "line_item_id": ""}
    return OrderLine(sku=sku, quantity=quantity, net=net, tax=tax, **(usual | fields))


def order(*lines: OrderLine, **fields: Any) -> Order:
    """The usual order, with other lines or fields where given."""
    usual: dict[str, Any] = {
        "order_id": "O1",
        "platform_id": "5001",
        "visible": "#1001",
        "type": "order",
        "payment_method": "on_account",
        "po_number": "PO-77",
        "currency": "GBP",
        "customer_ids": ("C1",),
    }
    return Order(lines=lines or (sold(),), **(usual | fields))


def line(sku: str = "MUG", quantity: int = 4, **fields: Any) -> ReturnLine:
    """A return line, to be credited; its id is the SKU in lower case, unless given."""
    usual: dict[str, Any] = {
        "line_id": sku.lower(),
        "variant_id": "",
        "line_item_id": "",
        "return_type": "Refund",
        "remedy": Remedy.CREDIT,
    }
    return ReturnLine(sku=sku, quantity=quantity, **(usual | fields))


def a_return(*lines: ReturnLine, return_id: str = "R1", day: int = 0, **fields: Any) -> Return:
    """The usual return, submitted ``day`` days after the first, with other lines or fields where given."""
    submitted = SUBMITTED + timedelta(days=day)
    usual: dict[str, Any] = {
        "rma_number": return_id,
        "order_ref": "5001",
        "order_name": "#1001",
        "customer_email": "buyer@acme.example",
        "currency": "GBP",
        "status": ReturnStatus.OPEN,
        "delivery": Delivery.ANNOUNCED,
        "qc": SwapQc.NONE,
        "submitted_at": submitted,
        "updated_at": submitted,
    }
    return Return(return_id=return_id, lines=lines or (line(),), **(usual | fields))


def facts(ret: Return | None = None, *findings: Finding, **known: Any) -> ReturnFacts:
    """What is known of a return: the warehouse's findings, and whatever else is given."""
    return ReturnFacts(ret or a_return(), findings, **known)


def finding(condition: Condition, quantity: int, line_id: str = "mug") -> Finding:
    return Finding(line_id, condition, quantity)


def ruled(decision: Decision, code: Code, action: Action, value: str = "") -> dict[tuple[Code, str], Ruling]:
    """A person's ruling on the one problem of this code that a decision opened, as it is stored."""
    (problem,) = (problem for problem in decision.problems if problem.code is code)
    return {(code, problem.subject): Ruling(action, value, problem.about)}


def decided(known: ReturnFacts, of: Order | None = None, policy: Policy = USUAL, **case: Any) -> Decision:
    """The decision on a return that is the only one of its order (the usual order unless given)."""
    (decision,) = decide(Case(of or order(), (known,), **case), policy)
    return decision


def all_decided(*known: ReturnFacts, of: Order | None = None, policy: Policy = USUAL) -> dict[str, Decision]:
    """The decisions on all returns of an order, by return id."""
    return {decision.return_id: decision for decision in decide(Case(of or order(), known), policy)}


def after(known: ReturnFacts, decision: Decision, *, delivered: bool = True) -> ReturnFacts:
    """The facts once a decision is carried out; ``delivered``: whether its credit has arrived at SparkLayer."""
    credited = tuple(
        Credited(new.line_id, new.order_line_key, new.quantity, new.net, new.tax, delivered, sku=new.sku)
        for new in decision.credit
        if new.kind is LineKind.GOODS
    )
    extras = tuple(Extra(new.kind, new.net, new.tax) for new in decision.credit if new.kind is not LineKind.GOODS)
    moved: dict[tuple[str, str], Mapping[Step, int]] = dict(known.moved)
    for movement in decision.movements:
        steps = Counter(moved.get((movement.line_id, movement.sku), {}))
        steps[movement.step] += movement.quantity
        moved[movement.line_id, movement.sku] = steps
    return replace(
        known,
        credited=known.credited + credited,
        extras=known.extras + extras,
        credited_basis=known.credited_basis or (known.ret.basis() if credited else ""),
        credit_count=known.credit_count + bool(credited),
        moved=moved,
    )


def changed(known: ReturnFacts, **fields: Any) -> ReturnFacts:
    """The facts after the return changed at Swap."""
    return replace(known, ret=replace(known.ret, **fields))


def codes(decision: Decision) -> list[Code]:
    return [problem.code for problem in decision.problems]


def detail(decision: Decision, code: Code) -> str:
    """What the one problem of this code says."""
    (problem,) = (problem for problem in decision.problems if problem.code is code)
    return problem.detail


def money(decision: Decision) -> list[tuple[str, int, int, int]]:
    """(line id, units, net, tax) of each credited line."""
    return [(new.line_id, new.quantity, new.net, new.tax) for new in decision.credit]


def moves(decision: Decision) -> list[tuple[str, str, int]]:
    """(line id, step, units) of each movement."""
    return [(movement.line_id, movement.step.value, movement.quantity) for movement in decision.movements]
