"""What should be: a small model of the rules, written from the worker's contract (section 4) and nothing else.

It reads the other side's own rows, the story's orders, and what the warehouse said; it calls none of the product's
rules. Where the contract leaves two outcomes open (a quantity that was held only after its goods had moved), the model
says so instead of guessing.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from tests.simulation.story import Place

EXPONENT = {"GBP": 2, "EUR": 2, "USD": 2, "JPY": 0, "KWD": 3}
PAY_LATER = ("on_account", "invoice")
STATUSES = ("Open", "Closed", "Cancelled", "Expired")
CREDITED_TYPES = ("Refund", "Shop Later Credit")
KNOWN_TYPES = (*CREDITED_TYPES, "Exchange", "Warranty")


def amount(minor: int, currency: str) -> Decimal:
    """Minor units as a decimal amount."""
    return Decimal(minor).scaleb(-EXPONENT[currency])


def part(total: int, units: int, of: int) -> int:
    """The rounded value of so many units out of ``of``."""
    return int((Decimal(total) * units / of).to_integral_value(ROUND_HALF_UP))


@dataclass
class Rma:
    """One return: what the story knows beyond Swap's row. ``lines``: the order's line it means, None for a typo."""

    ret: int
    order: int
    lines: list[int | None]
    outside: bool = False
    malformed: bool = False
    friend: bool = True
    found: list[tuple[int, str, int]] = field(default_factory=list)
    paid_before_found: set[int] = field(default_factory=set)
    changed: dict[int, int] | None = None
    """Units by line that were credited when Swap changed the return; None: it was not changed after a credit."""
    came_unaware: bool = False
    """Something of it came while its order was cancelled and nobody had read that: it may be booked in, and told."""
    standing: dict[str, Any] | None = None
    """Swap's row as it was before that change."""

    @property
    def id(self) -> str:
        return f"r{self.ret}"

    def units(self, line: int, *conditions: str) -> int:
        return sum(q for at, condition, q in self.found if at == line and (not conditions or condition in conditions))


@dataclass
class Expected:
    """What should be true of one return. ``units``: to be credited, by line."""

    units: Counter[int] = field(default_factory=Counter)
    codes: set[str] = field(default_factory=set)
    notes: set[str] = field(default_factory=set)
    maybe_notes: set[str] = field(default_factory=set)
    inspection: Counter[int] = field(default_factory=Counter)
    damaged: Counter[int] = field(default_factory=Counter)
    sellable: Counter[int] = field(default_factory=Counter)
    loose: set[int] = field(default_factory=set)
    """Variants whose stock depends on what was seen first."""


@dataclass
class Rules:
    """The site's choices."""

    settle_on: str
    restock_on: str
    uses_swap_qc: bool
    po_required: bool


@dataclass(frozen=True)
class Ordered:
    """An order that is placed: its PO number of now, and the SKUs under which its lines were sold."""

    place: Place
    po: str
    skus: tuple[str, ...]
    cancelled: bool = False


class Model:
    """All returns of a story, and what should follow from them."""

    def __init__(self, rules: Rules, rows: Mapping[str, dict[str, Any]], orders: Mapping[int, Ordered]) -> None:
        """``rows``: Swap's, by return id. ``orders``: those that are placed."""
        self.rules, self.rows, self.orders = rules, rows, orders

    def expect(self, rmas: Iterable[Rma], paid: Mapping[tuple[str, int], int]) -> dict[str, Expected]:
        """By return id. ``paid``: units that credit notes cover, by return and line."""
        expected = {rma.id: Expected() for rma in rmas}
        claimed: Counter[tuple[int, int]] = Counter()
        standing: Counter[tuple[int, int]] = Counter()  # units that are credited and whose line has claimed nothing yet
        granted: dict[tuple[str, int], int] = {}

        def claim(rma: Rma, line: int) -> None:
            target = rma.lines[line]
            if target is None or (rma.id, line) in granted:
                return
            sold = self.orders[rma.order].place.lines[target].quantity
            wanted = self._quantity(rma, line)
            standing[rma.order, target] -= paid.get((rma.id, line), 0)
            got = max(0, min(wanted, sold - claimed[rma.order, target] - standing[rma.order, target]))
            granted[rma.id, line] = got
            claimed[rma.order, target] += got

        competing = sorted(
            (rma for rma in rmas if rma.order in self.orders and not rma.malformed),
            key=lambda rma: (not rma.outside, self.rows[rma.id]["submission_date"], rma.id),
        )
        for rma in competing:
            for line, target in enumerate(rma.lines):
                if target is not None:
                    standing[rma.order, target] += paid.get((rma.id, line), 0)
        for rma in competing:
            for line in range(len(rma.lines)):
                if paid.get((rma.id, line)):
                    claim(rma, line)
        for rma in competing:
            if rma.outside or not (self._called_off(rma) and not self._was_paid(rma, paid) and not rma.found):
                frozen = self._unknown(rma) or not rma.friend or self.orders[rma.order].cancelled
                if self._refused(rma) and not rma.found and not self._was_paid(rma, paid) and not rma.outside:
                    granted.update({(rma.id, line): self._quantity(rma, line) for line in range(len(rma.lines))})
                if not frozen or self._was_paid(rma, paid) or rma.outside:
                    for line in range(len(rma.lines)):
                        claim(rma, line)
        for rma in rmas:
            if not rma.outside:
                self._one(rma, expected[rma.id], granted, self._was_paid(rma, paid))
        return expected

    # -- one return --------------------------------------------------------------------------------------------------

    def _one(self, rma: Rma, say: Expected, granted: Mapping[tuple[str, int], int], was_paid: bool) -> None:
        if rma.malformed:
            say.codes.add("MALFORMED_RECORD")
            return
        row = self.rows[rma.id]
        token = f"swap:{rma.id}:"
        if self._called_off(rma) and not was_paid and not rma.found:
            if rma.order in self.orders and rma.friend:
                say.notes.add(f"{token}{row['return_status'].lower()}:1")
                say.maybe_notes.add(f"{token}authorised:1")
            return
        if self._unknown(rma):
            say.codes.add("UNKNOWN_VALUE")
        if rma.order not in self.orders:
            say.codes.add("ORPHANED_RETURN")
            return
        order, po = self.orders[rma.order].place, self.orders[rma.order].po
        frozen = self._unknown(rma) or not rma.friend or rma.changed is not None
        if not rma.friend:
            say.codes.add("CUSTOMER_MISMATCH")
        if self.orders[rma.order].cancelled:
            say.codes.add("ORDER_CHANGED")
            frozen = True
        if rma.changed is not None:
            say.codes.add("RETURN_CHANGED_AFTER_CREDIT")
        held = frozen
        pay_later = order.method in PAY_LATER
        if order.method not in (*PAY_LATER, "platform_upfront"):
            say.codes.add("PAYMENT_METHOD_UNKNOWN")
            held = True
        same_currency = row["customer_currency"] == order.currency
        if not same_currency:
            say.codes.add("CURRENCY_MISMATCH")
            held = True
        closed = row["return_status"] == "Closed"
        refunded = closed and row["total_refund_value_customer_currency"] > 0
        if pay_later and refunded:
            say.codes.add("GATEWAY_REFUND_ON_ACCOUNT")
            held = True
        if pay_later and not po:
            say.codes.add("PO_NUMBER_MISSING")
            held = held or self.rules.po_required
        if frozen and not was_paid:
            if self.orders[rma.order].cancelled and rma.friend:
                say.maybe_notes.add(f"{token}authorised:1")
                if rma.came_unaware:
                    say.maybe_notes.update(token + milestone for milestone in self._reached(rma, row, order))
                    say.loose.update(order.lines[target].variant for target in rma.lines if target is not None)
            return
        self._lines(rma, say, granted, order)
        if same_currency:
            self._amount(rma, say, order)
            self._refund(rma, say, order)
        if rma.changed is not None:
            say.units.update(rma.changed)
        elif pay_later and not held:
            for line in range(len(rma.lines)):
                say.units[line] = self._due(rma, line, granted)
        self._stock(rma, say, granted, order)
        notes = self._reached(rma, rma.standing or row, order)
        (say.maybe_notes if frozen else say.notes).update(token + milestone for milestone in notes)

    def _reached(self, rma: Rma, row: Mapping[str, Any], order: Place) -> set[str]:
        notes = {"authorised:1"}
        if row["delivery_status"] == "Delivered" or any(condition != "missing" for _, condition, _ in rma.found):
            notes.add("received:1")
        refunded = row["return_status"] == "Closed" and row["total_refund_value_customer_currency"] > 0
        if order.method == "platform_upfront" and refunded:
            notes.add("refunded:1")
        return notes

    def _lines(self, rma: Rma, say: Expected, granted: Mapping[tuple[str, int], int], order: Place) -> None:
        for line, target in enumerate(rma.lines):
            product = self._product(rma, line)
            if product["return_type"] not in KNOWN_TYPES:
                say.codes.add("UNKNOWN_VALUE")
            if target is None:
                say.codes.add("SKU_NOT_ON_ORDER")
                continue
            if product["sku"] != self.orders[rma.order].skus[target]:
                say.codes.add("SKU_CHANGED")
            if granted[rma.id, line] < product["item_count"]:
                say.codes.add("QUANTITY_EXCEEDS_ORDER")
            if rma.units(line, "missing"):
                say.codes.add("INSPECTION_SHORT")
            if rma.units(line, "wrong_item"):
                say.codes.add("UNEXPECTED_ITEM")
            doubtful = rma.units(line, "damaged", "no_value")
            if (doubtful and product["return_type"] != "Exchange") or product["return_type"] == "Warranty":
                say.codes.add("INSPECTION_REVIEW")

    def _amount(self, rma: Rma, say: Expected, order: Place) -> None:
        worth = 0
        for line, target in enumerate(rma.lines):
            product = self._product(rma, line)
            if target is None or product["return_type"] not in CREDITED_TYPES:
                return
            sold = order.lines[target]
            if product["item_count"] > sold.quantity:
                return
            worth += part(sold.net, product["item_count"], sold.quantity)
            worth += part(sold.tax, product["item_count"], sold.quantity)
        expected = amount(worth, order.currency)
        if abs(self.rows[rma.id]["total"] - expected) > max(Decimal("0.05"), expected / 100):
            say.codes.add("AMOUNT_MISMATCH")

    def _refund(self, rma: Rma, say: Expected, order: Place) -> None:
        """Once the gateway is through: it gave no more than what came is worth."""
        row = self.rows[rma.id]
        if order.method != "platform_upfront" or row["return_status"] != "Closed":
            return
        came = 0
        for line, target in enumerate(rma.lines):
            if target is None:
                continue
            product, sold = self._product(rma, line), order.lines[target]
            missing = rma.units(line, "missing")
            arrived = product["item_count"] if row["delivery_status"] == "Delivered" else rma.units(line)
            units = 0 if product["return_type"] == "Exchange" else min(arrived - missing, sold.quantity)
            came += part(sold.net, units, sold.quantity) + part(sold.tax, units, sold.quantity)
        most = amount(came, order.currency)
        if row["total_refund_value_customer_currency"] > most + max(Decimal("0.05"), most / 100):
            say.codes.add("AMOUNT_MISMATCH")

    def _due(self, rma: Rma, line: int, granted: Mapping[tuple[str, int], int]) -> int:
        product = self._product(rma, line)
        if self._held(rma, line, granted) or product["return_type"] not in CREDITED_TYPES:
            return 0
        if rma.units(line) and line not in rma.paid_before_found:
            return rma.units(line, "sellable")
        return int(product["item_count"]) if self._confirmed(rma) else 0

    def _stock(self, rma: Rma, say: Expected, granted: Mapping[tuple[str, int], int], order: Place) -> None:
        row = rma.standing or self.rows[rma.id]
        delivered = row["delivery_status"] == "Delivered"
        approved = row["return_status"] == "Closed" and delivered and row["quality_control_status"] == "Approved"
        for line, target in enumerate(rma.lines):
            if target is None:
                continue
            variant = order.lines[target].variant
            if rma.changed is not None and line not in rma.changed:
                say.loose.add(variant)
                continue
            if rma.changed is None and self._held(rma, line, granted):
                if granted[rma.id, line] < self._quantity(rma, line) and (delivered or rma.found):
                    say.loose.add(variant)
                continue
            announced = row["products"][line]["item_count"]
            inside = rma.units(line) - rma.units(line, "missing")
            at_hand = announced - rma.units(line, "missing") if delivered else inside
            first_word = not rma.units(line) or line in rma.paid_before_found
            if self.rules.restock_on == "swap_approved" and approved and first_word:
                say.sellable[variant] += announced
                if rma.units(line) > rma.units(line, "sellable"):
                    say.codes.add("INSPECTION_SHORT")
                continue
            say.sellable[variant] += rma.units(line, "sellable")
            say.damaged[variant] += rma.units(line, "damaged")
            say.inspection[variant] += at_hand - rma.units(line, "sellable", "damaged", "no_value")

    # -- the words of the rules --------------------------------------------------------------------------------------

    def _held(self, rma: Rma, line: int, granted: Mapping[tuple[str, int], int]) -> bool:
        known = self._product(rma, line)["return_type"] in KNOWN_TYPES
        return rma.lines[line] is None or not known or granted[rma.id, line] < self._quantity(rma, line)

    def _confirmed(self, rma: Rma) -> bool:
        row = self.rows[rma.id]
        qc = row["quality_control_status"]
        passed = qc == "Approved" or (qc is None and not self.rules.uses_swap_qc)
        closed = row["return_status"] == "Closed" and row["delivery_status"] == "Delivered"
        return self.rules.settle_on == "swap_closed" and closed and passed

    def _product(self, rma: Rma, line: int) -> dict[str, Any]:
        product: dict[str, Any] = self.rows[rma.id]["products"][line]
        return product

    def _quantity(self, rma: Rma, line: int) -> int:
        return int(self._product(rma, line)["item_count"])

    def _unknown(self, rma: Rma) -> bool:
        return self.rows[rma.id]["return_status"] not in STATUSES

    def _refused(self, rma: Rma) -> bool:
        """Swap is through with it, and its goods were not accepted or never came: it claims none of the order's."""
        row = self.rows[rma.id]
        came = row["delivery_status"] == "Delivered"
        refused = row["quality_control_status"] in ("Not Approved", "Missing")
        return row["return_status"] == "Closed" and (refused or not came)

    def _called_off(self, rma: Rma) -> bool:
        return self.rows[rma.id]["return_status"] in ("Cancelled", "Expired")

    @staticmethod
    def _was_paid(rma: Rma, paid: Mapping[tuple[str, int], int]) -> bool:
        return any(return_id == rma.id for return_id, _ in paid)
