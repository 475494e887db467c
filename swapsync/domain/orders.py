"""What was sold: an order as SparkLayer tells it, and who bought it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class OrderLine:
    """One line of an order. ``net`` and ``tax``: the whole line's, in minor units, its discount already taken off."""

    key: str
    sku: str
    variant_id: str
    line_item_id: str
    quantity: int
    net: int
    tax: int

    @property
    def gross(self) -> int:
        return self.net + self.tax


@dataclass(frozen=True, slots=True)
class Order:
    """One SparkLayer purchase. Blank text means that the order doesn't say.

    ``cancelled``: all of its packages are. ``shipping_net`` and ``shipping_tax``: what was charged for carriage, in
    minor units. ``total`` and ``fulfilment``: its gross value and state in SparkLayer's words, to tell whether it
    changed.
    """

    order_id: str
    platform_id: str
    visible: str
    type: str
    payment_method: str
    po_number: str
    currency: str
    customer_ids: tuple[str, ...]
    lines: tuple[OrderLine, ...]
    placed_at: datetime | None = None
    cancelled: bool = False
    shipping_net: int = 0
    shipping_tax: int = 0
    total: str = ""
    fulfilment: str = ""

    def line(self, key: str) -> OrderLine | None:
        """The line with this key, or None."""
        return next((line for line in self.lines if line.key == key), None)


@dataclass(frozen=True, slots=True)
class Customer:
    """A SparkLayer customer; a company's users name the company's main customer as their parent."""

    customer_id: str
    email: str
    parent_id: str = ""


def same_buyer(return_email: str, buyers: Iterable[Customer], claimant: Customer | None) -> bool | None:
    """Whether a return comes from the order's buyer (worker.md section 4, rule 7).

    ``buyers``: the order's customers as far as they could be read. ``claimant``: the customer who owns the return's
    e-mail address, None when SparkLayer knows nobody by it. Returns None where nothing can be concluded.
    """
    buyers = tuple(buyers)
    emails = {buyer.email.casefold() for buyer in buyers if buyer.email}
    if not return_email or not emails:
        return None
    if return_email.strip().casefold() in emails:
        return True
    if claimant is None:
        return False
    company = {claimant.customer_id, claimant.parent_id} - {""}
    return any(company & {buyer.customer_id, buyer.parent_id} for buyer in buyers)


class SkuHistory:
    """Every SKU that a variant ever had, oldest first; the last one is its label today.

    ``seen``: (variant, SKU) -> the first and the last moment at which the one was seen with the other.
    """

    def __init__(
        self,
        skus_by_variant: Mapping[str, Sequence[str]],
        seen: Mapping[tuple[str, str], tuple[datetime, datetime]] | None = None,
    ) -> None:
        self._skus = skus_by_variant
        self._seen = seen or {}
        self._variants: dict[str, set[str]] = {}
        for variant, skus in skus_by_variant.items():
            for sku in skus:
                self._variants.setdefault(sku, set()).add(variant)

    def variants_of(self, sku: str) -> frozenset[str]:
        """The variants that carry, or once carried, this SKU."""
        return frozenset(self._variants.get(sku, ()))

    def variants_at(self, sku: str, at: datetime | None) -> frozenset[str]:
        """The variant that carries, or once carried, this SKU; of several, those that carried it at that moment."""
        variants = self.variants_of(sku)
        if len(variants) < 2 or at is None:
            return variants
        return frozenset(variant for variant in variants if self.held(variant, at) == sku)

    def held(self, variant_id: str, at: datetime) -> str:
        """The SKU that a variant carried at a moment, as far as it was seen by then; blank where it wasn't.

        That is the SKU seen both before and after it, the newer one if two were; else the last one seen before.
        """
        spans = [
            (*self._seen[variant_id, sku], sku) for sku in self.skus_of(variant_id) if (variant_id, sku) in self._seen
        ]
        around = [(first, sku) for first, last, sku in spans if first <= at <= last]
        before = [(last, sku) for _, last, sku in spans if last <= at]
        return max(around or before, default=(at, ""))[1]

    def skus_of(self, variant_id: str) -> tuple[str, ...]:
        """Every SKU the variant ever had, oldest first."""
        return tuple(self._skus.get(variant_id, ()))

    def current(self, variant_id: str) -> str:
        """The variant's SKU of today, blank when it is not known."""
        return (self.skus_of(variant_id) or ("",))[-1]
