"""What comes back: a return as Swap tells it, the warehouse's findings, and the states derived from both."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class ReturnStatus(StrEnum):
    """Where Swap is with a return."""

    OPEN = "open"
    NEEDS_REVIEW = "needs_review"
    ON_HOLD = "on_hold"
    CLOSED = "closed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


class Delivery(StrEnum):
    """Where the parcel is, by Swap."""

    ANNOUNCED = "announced"
    IN_TRANSIT = "in_transit"
    DELIVERED = "delivered"
    UNKNOWN = "unknown"


class SwapQc(StrEnum):
    """What Swap's quality control says about a whole return."""

    NONE = "none"
    PENDING = "pending"
    APPROVED = "approved"
    NOT_APPROVED = "not_approved"
    MISSING = "missing"
    UNKNOWN = "unknown"


class Remedy(StrEnum):
    """What a line's return type asks of us (design.md section 7)."""

    CREDIT = "credit"
    STOCK_ONLY = "stock_only"
    ASK = "ask"
    UNKNOWN = "unknown"


class Condition(StrEnum):
    """The warehouse's finding for some units of a line; ``UNEXPECTED`` units belong to no line of the return."""

    SELLABLE = "sellable"
    DAMAGED = "damaged"
    MISSING = "missing"
    WRONG_ITEM = "wrong_item"
    NO_VALUE = "no_value"
    UNEXPECTED = "unexpected"


class Logistics(StrEnum):
    """Where the goods are, derived from Swap's words."""

    ANNOUNCED = "announced"
    IN_TRANSIT = "in_transit"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    VANISHED = "vanished"


class Inspection(StrEnum):
    """How far the warehouse has come."""

    NONE = "none"
    PARTIAL = "partial"
    DONE = "done"


class Settlement(StrEnum):
    """How a return is made good."""

    NONE = "none"
    HELD = "held"
    DUE = "due"
    CREDITED = "credited"
    REFUNDED_BY_GATEWAY = "refunded_by_gateway"
    DENIED = "denied"
    SETTLED_OUTSIDE = "settled_outside"


@dataclass(frozen=True, slots=True)
class ReturnLine:
    """One line of a return. Identifiers are text; blank means that Swap doesn't say.

    ``reason``: both levels of Swap's reason in words. ``reason_code``: the merchant's own, as it was last decided.
    """

    line_id: str
    sku: str
    variant_id: str
    line_item_id: str
    quantity: int
    return_type: str
    remedy: Remedy
    reason: str = ""
    main_reason_id: str = ""
    main_reason_text: str = ""
    sub_reason_id: str = ""
    sub_reason_text: str = ""
    reason_code: str = ""


def reason_code(line: ReturnLine, codes: Mapping[str, str]) -> str:
    """The merchant's own code for why a line comes back; blank where none is mapped.

    ``codes``: id or text of Swap's reason, as ``reason_key`` spells it -> code. An id counts before any text, and the
    sub-reason, which says more, before the main one.
    """
    said = (line.sub_reason_id, line.main_reason_id, line.reason, line.sub_reason_text, line.main_reason_text)
    return next((codes[key] for key in map(reason_key, said) if key and key in codes), "")


def reason_key(word: str) -> str:
    """A reason in one spelling: lower case, without spaces, hyphens and underscores."""
    return re.sub(r"[\s_-]", "", word).lower()


@dataclass(frozen=True, slots=True)
class Return:
    """One return authorisation.

    ``total``, ``refunded`` and ``handling_fee`` are Swap's figures in minor units of ``currency``. ``delivered_at`` is
    when it was first seen as delivered.
    ``unknown`` names each value that we have no meaning for, for a person to read.
    """

    return_id: str
    rma_number: str
    order_ref: str
    order_name: str
    customer_email: str
    currency: str
    status: ReturnStatus
    delivery: Delivery
    qc: SwapQc
    lines: tuple[ReturnLine, ...]
    submitted_at: datetime
    updated_at: datetime
    closed_at: datetime | None = None
    total: int | None = None
    refunded: int = 0
    unknown: tuple[str, ...] = ()
    delivered_at: datetime | None = None
    handling_fee: int = 0

    @property
    def ended(self) -> bool:
        """Closed, cancelled or expired: Swap is through with it."""
        return self.status in (ReturnStatus.CLOSED, ReturnStatus.CANCELLED, ReturnStatus.EXPIRED)

    @property
    def called_off(self) -> bool:
        return self.status in (ReturnStatus.CANCELLED, ReturnStatus.EXPIRED)

    @property
    def delivered(self) -> bool:
        return self.delivery is Delivery.DELIVERED

    def ended_before(self, moment: datetime) -> bool:
        """Whether it belongs to the time before the cut-over (worker.md section 4, rule 12)."""
        return self.ended and (self.closed_at or self.updated_at) < moment

    def basis(self) -> str:
        """Fingerprint of what a credit rests on: order, currency, lines, and whether the return was called off.

        It may not change after a credit.
        """
        lines = sorted(
            (line.line_id, line.sku, line.variant_id, line.line_item_id, line.quantity) for line in self.lines
        )
        basis = [self.order_ref, self.order_name, self.currency, self.called_off, lines]
        return hashlib.sha256(json.dumps(basis).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Finding:
    """What the warehouse found for some units of a line; ``key`` names the finding.

    ``sku``: the line's at that time, if it is known. What no line announces has a blank ``line_id``, and ``sku`` is
    what came.
    """

    line_id: str
    condition: Condition
    quantity: int
    key: str = ""
    sku: str = ""


def found(findings: Iterable[Finding], line_id: str) -> Counter[Condition]:
    """Units of one line by condition."""
    units: Counter[Condition] = Counter()
    for finding in findings:
        if finding.line_id == line_id:
            units[finding.condition] += finding.quantity
    return units


def unexpected(findings: Iterable[Finding]) -> Counter[str]:
    """Units that no line announces, by SKU."""
    units: Counter[str] = Counter()
    for finding in findings:
        if finding.condition is Condition.UNEXPECTED:
            units[finding.sku] += finding.quantity
    return units


def logistics(ret: Return) -> Logistics:
    """Where the goods are, from Swap's return and delivery status."""
    if ret.called_off:
        return Logistics(ret.status.value)
    if ret.delivery is Delivery.UNKNOWN:
        return Logistics.ANNOUNCED
    return Logistics(ret.delivery.value)


def inspection(ret: Return, findings: Iterable[Finding]) -> Inspection:
    """How far the warehouse has come, from its findings alone."""
    findings = tuple(findings)
    if not findings:
        return Inspection.NONE
    complete = all(found(findings, line.line_id).total() >= line.quantity for line in ret.lines)
    return Inspection.DONE if complete else Inspection.PARTIAL
