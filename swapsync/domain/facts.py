"""What a settlement is decided on: a merchant's rules, and what is known of an order and of its returns."""

import hashlib
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from decimal import Decimal
from enum import StrEnum

from swapsync.domain.catalogue import Action, Code
from swapsync.domain.kits import Kits
from swapsync.domain.orders import Order, SkuHistory
from swapsync.domain.returns import (
    Finding,
    Return,
)
from swapsync.domain.stock import Step
from swapsync.domain.suggestions import Candidate


class Route(StrEnum):
    """How returns of an order are made good: by a credit note of ours, or by the payment gateway through Swap."""

    CREDIT_NOTE = "credit_note"
    GATEWAY = "gateway"


def method_key(payment_method: str) -> str:
    """A payment method in one spelling: lower case, letters and digits only."""
    return "".join(c for c in payment_method.lower() if c.isalnum())


class Shipping(StrEnum):
    """How much of an order's carriage its credits give back: none of it, the share of the goods credited so far, or
    all of it once every unit of the order is credited."""

    NEVER = "never"
    PRO_RATA = "pro_rata"
    WHOLE_ORDER = "whole_order"


@dataclass(frozen=True, slots=True)
class Policy:
    """One merchant's rules. ``routes`` is keyed by ``method_key`` of the payment method, ``reasons`` by ``reason_key``.

    ``approve_above``: the gross value of a credit, in its currency, above which a person approves it first.
    """

    settle_on: str = "swap_closed"
    restock_on: str = "inspected"
    uses_swap_qc: bool = True
    po_required: bool = False
    routes: Mapping[str, Route] = field(
        default_factory=lambda: {
            "onaccount": Route.CREDIT_NOTE,
            "invoice": Route.CREDIT_NOTE,
            "platformupfront": Route.GATEWAY,
        }
    )
    amount_tolerance: Decimal = Decimal("0.05")
    amount_tolerance_percent: Decimal = Decimal(1)
    credit_shipping: Shipping = Shipping.NEVER
    deduct_handling_fee: bool = False
    approve_above: Decimal | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)
    kits: Kits = field(default_factory=Kits)

    def fingerprint(self) -> str:
        """Equal for equal rules: what was decided by others is decided again."""
        rules = [sorted(value.items()) if isinstance(value, Mapping) else value for value in astuple(self)]
        return hashlib.sha256(repr(rules).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Credited:
    """Units of a returned line that a credit note of ours already covers; amounts in minor units.

    ``sold``: quantity, net and tax of the order line when it was credited; None where that was not kept. ``sku`` and
    ``currency`` are the credit note's.
    """

    line_id: str
    order_line_key: str
    quantity: int
    net: int
    tax: int
    delivered: bool
    sold: tuple[int, int, int] | None = None
    sku: str = ""
    currency: str = ""


class LineKind(StrEnum):
    """What a line of a credit note is for."""

    GOODS = "goods"
    SHIPPING = "shipping"
    FEE = "fee"


@dataclass(frozen=True, slots=True)
class Extra:
    """Carriage that a credit note of ours gave back, or a fee that it kept (negative); amounts in minor units."""

    kind: LineKind
    net: int
    tax: int


@dataclass(frozen=True, slots=True)
class DeliveredCredit:
    """A credit note of ours that stands in SparkLayer's ledger; ``gross`` in minor units of the order's currency."""

    number: str
    n: int
    gross: int
    po_number: str


@dataclass(frozen=True, slots=True)
class Voided:
    """A credit note that another one, ``by``, undoes; ``gross`` in minor units. ``delivered``: it is undone outside."""

    number: str
    by: str
    gross: int
    reason: str
    delivered: bool


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a person decided about an exception. It holds as long as the exception says what they read."""

    action: Action
    value: str = ""
    about: str = ""


@dataclass(frozen=True, slots=True)
class ReturnFacts:
    """One return and everything known of it. ``credited_basis`` is its basis when it was first credited.

    ``moved`` and ``move_counts``: units, and number of movements, by line id and SKU (a kit moves several), and step.
    ``overdue``: delivered longer ago than the warehouse may take. ``vanished``: Swap no longer has it.
    """

    ret: Return
    findings: tuple[Finding, ...] = ()
    credited: tuple[Credited, ...] = ()
    extras: tuple[Extra, ...] = ()
    credited_basis: str = ""
    credit_count: int = 0
    delivered_credits: tuple[DeliveredCredit, ...] = ()
    voids: tuple[Voided, ...] = ()
    moved: Mapping[tuple[str, str], Mapping[Step, int]] = field(default_factory=dict)
    move_counts: Mapping[tuple[str, str], Mapping[Step, int]] = field(default_factory=dict)
    stock_skus: Mapping[str, str] = field(default_factory=dict)
    settled_outside: bool = False
    overdue: bool = False
    vanished: bool = False
    same_buyer: bool | None = None
    rulings: Mapping[tuple[Code, str], Ruling] = field(default_factory=dict)

    def moves(self, line_id: str, sku: str, step: Step) -> int:
        """How many movements of a SKU there were on a line for this reason."""
        return self.move_counts.get((line_id, sku), {}).get(step, 0)


@dataclass(frozen=True, slots=True)
class Case:
    """An order with all of its returns; or a return without an order. ``aliases``: SKU in Swap -> SKU on orders.

    ``candidates``: the orders that a return without one may be of; ``left_out`` older ones were not looked at.
    ``left_behind``: what was credited on the order for returns that are of another order by now.
    """

    order: Order | None
    returns: tuple[ReturnFacts, ...]
    history: SkuHistory = field(default_factory=lambda: SkuHistory({}))
    aliases: Mapping[str, str] = field(default_factory=dict)
    candidates: tuple[Candidate, ...] = ()
    left_out: int = 0
    left_behind: tuple[Credited | Extra, ...] = ()
