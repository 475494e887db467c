"""One return's preview in plain values: what would follow for it, and why, rule by rule.

Nothing is decided here: every figure and every word comes from the decision and the facts that it rests on.
"""

from typing import Any

from swapsync.domain import money
from swapsync.domain.catalogue import CATALOGUE
from swapsync.domain.facts import method_key
from swapsync.domain.order_ledger import CreditLine
from swapsync.domain.orders import Order
from swapsync.domain.reasons import Holds, Reason, Verdict
from swapsync.domain.returns import ReturnLine, found
from swapsync.domain.stock import ROUTE
from swapsync.jobs.plan import writes
from swapsync.jobs.reconcile import Preview
from swapsync.jobs.workplace import Workplace


def preview_as_json(place: Workplace, preview: Preview) -> dict[str, Any]:
    """``lines`` with their units and the credit each would get; ``holds``; ``rules`` (every rule that spoke, in the
    order of asking); the ``credit_note`` to be issued (None if there is none), ``movements``, and all ``writes``.
    """
    ret, order, decision = preview.facts.ret, preview.order, preview.decision
    currency = order.currency if order else ret.currency
    sku_of = {line.line_id: line.sku for line in ret.lines}
    credit = decision.credit
    net, tax = sum(line.net for line in credit), sum(line.tax for line in credit)
    return {
        "site": place.slug,
        "return_id": ret.return_id,
        "rma_number": ret.rma_number,
        "order_name": (order.visible if order else "") or ret.order_name,
        "payment_method": order.payment_method if order else "",
        "route": preview.policy.routes.get(method_key(order.payment_method)) if order else None,
        "po_number": decision.po_number,
        "currency": currency,
        "state": {
            "logistics": decision.logistics,
            "inspection": decision.inspection,
            "settlement": decision.settlement,
        },
        "lines": [_line(preview, order, line) for line in ret.lines],
        "holds": [
            {
                "code": problem.code,
                "holds": problem.holds,
                "line_id": problem.subject if problem.subject in sku_of else "",
                "sku": problem.sku,
                "detail": problem.detail,
                "owner": CATALOGUE[problem.code].owner,
                "remedy": CATALOGUE[problem.code].remedy,
            }
            for problem in decision.problems
            if problem.holds is not Holds.NOTHING
        ],
        "rules": [_rule(reason, sku_of) for reason in decision.reasons],
        "credit_note": {
            "net": money.to_text(net, currency),
            "tax": money.to_text(tax, currency),
            "gross": money.to_text(net + tax, currency),
            "currency": currency,
            "po_number": decision.po_number,
        }
        if credit
        else None,
        "movements": [
            {
                "line_id": movement.line_id,
                "sku": movement.sku,
                "quantity": movement.quantity,
                "step": movement.step,
                "from": ROUTE[movement.step][0],
                "to": ROUTE[movement.step][1],
            }
            for movement in decision.movements
        ],
        "writes": [
            dict(write.facts) | {"kind": write.kind, "target": write.target, "what": write.what}
            for write in writes(place, preview.effects)
        ],
    }


def _line(preview: Preview, order: Order | None, line: ReturnLine) -> dict[str, Any]:
    decision = preview.decision
    match = decision.matches.get(line.line_id)
    sold = match.order_line if match else None
    currency = order.currency if order else ""
    credit = next((each for each in decision.credit if each.line_id == line.line_id), None)
    return {
        "line_id": line.line_id,
        "sku": line.sku,
        "announced": line.quantity,
        "found": {condition.value: units for condition, units in found(preview.facts.findings, line.line_id).items()},
        "accepted": decision.accepted.get(line.line_id, 0),
        "credited": sum(each.quantity for each in preview.facts.credited if each.line_id == line.line_id),
        "matched_order_line": sold.key if sold else None,
        "matched_by": match.by if match else None,
        "order_line": {"sku": sold.sku, "quantity": sold.quantity, **_amounts(sold.net, sold.tax, currency)}
        if sold
        else None,
        "credit": _credit(credit, currency, decision.reasons) if credit else None,
    }


def _credit(credit: CreditLine, currency: str, reasons: tuple[Reason, ...]) -> dict[str, Any]:
    computation = [
        reason.text
        for reason in reasons
        if reason.rule == 4 and reason.verdict is Verdict.RELEASES and reason.line_id == credit.line_id
    ]
    amounts = _amounts(credit.net, credit.tax, currency)
    return {"quantity": credit.quantity, **amounts, "computation": "; ".join(computation)}


def _rule(reason: Reason, sku_of: dict[str, str]) -> dict[str, Any]:
    return {
        "rule": reason.rule,
        "verdict": reason.verdict,
        "code": reason.code,
        "line_id": reason.line_id,
        "sku": sku_of.get(reason.line_id, ""),
        "text": reason.text,
    }


def _amounts(net: int, tax: int, currency: str) -> dict[str, str]:
    return {
        "net": money.to_text(net, currency),
        "tax": money.to_text(tax, currency),
        "gross": money.to_text(net + tax, currency),
    }
