"""Real returns that lost their order: does swapsync suggest the right one, and does it own up where it can't tell?

One credit note in four whose lines the rule explains all is made one return again, as the customer sent it, and its
reference blanked out: no order id, a name that no order has, no line item ids, no total but the credit note's own real
one. Their orders stay in SparkLayer, and so do the other returns, which claim units of them.

What should come out is worked out from the rows alone, without swapsync: which of the customer's orders of before the
return have, together with nothing else, all of its units open (ordered less what the other returns claim).

- *unambiguous*: exactly one order has. It must be suggested first, and not be called ambiguous.
- *price decides*: several have, and exactly one was sold at the price that the credit note gives, to a percent. It must
  be suggested first.
- *ambiguous*: several have, and the price doesn't tell them apart either. The first suggestion must be called so.
- *several orders*: none has, but all of them together have. Units must be suggested from several.
- *not open*: not even all of them together have, because other returns claim the units. Nothing is expected.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Any

from sqlalchemy import select

from swapsync.sandbox.uci import Composition
from swapsync.sandbox.world import Row
from swapsync.store.db import Store
from swapsync.store.exceptions import exceptions

ONE_IN = 4
TAX = Decimal("1.2")
KINDS = ("unambiguous", "price decides", "ambiguous", "several orders", "not open")


@dataclass(frozen=True)
class Orphan:
    """A credit note as one return without its order, and the customer's orders of before it."""

    row: Row
    customer_id: str
    needed: Mapping[str, int]


def take_orders_away(composition: Composition) -> tuple[list[Row], list[Orphan]]:
    """(all returns as they are sent to swapsync, those of them that lost their order)."""
    skus = {
        item["identifiers"]["variant"]: item["identifiers"]["sku"]
        for order in composition.purchases
        for item in order["packages"][0]["line_items"]
    }
    customers = {customer["email"]: customer["id"] for customer in composition.customers}
    returns_of_note: dict[str, list[Row]] = defaultdict(list)
    for row in composition.returns:
        returns_of_note[row["rma_number"].rpartition("-")[0]].append(row)
    classes: dict[str, set[str]] = defaultdict(set)
    for line in composition.credit_lines:
        classes[line.number].add(line.rule_class)
    chosen = sorted(number for number, seen in classes.items() if seen == {"MATCHED"})[::ONE_IN]
    orphans = []
    for number in chosen:
        products = [_nameless(product) for row in returns_of_note[number] for product in row["products"]]
        row = _lost(returns_of_note[number][0], number, products)
        needed: Counter[str] = Counter()
        for product in products:
            needed[product["sku"] or skus[product["shopify_variant_id"]]] += product["item_count"]
        orphans.append(Orphan(row, customers[row["customer_email"]], needed))
    lost = {row["return_id"] for number in chosen for row in returns_of_note[number]}
    kept = [row for row in composition.returns if row["return_id"] not in lost]
    return kept + [orphan.row for orphan in orphans], orphans


def _nameless(product: Row) -> Row:
    return product | {"shopify_line_item_id": None, "order_number": None, "original_order_name": None}


def _lost(row: Row, number: str, products: list[Row]) -> Row:
    tax = TAX if row["shipment_from_address_country"] == "United Kingdom" else Decimal(1)
    credited = sum((Decimal(str(product["cost"])) * product["item_count"] for product in products), Decimal(0))
    return row | {
        "order_id": "",
        "shopify_order_name": f"lost-{number}",
        "shopify_order_date": None,
        "products": products,
        "return_shipments": [],
        "total": float((credited * tax).quantize(Decimal("0.01"))),
    }


@dataclass(frozen=True)
class Expected:
    """Of which kind an orphan is, and the order that must come first where there is one."""

    kind: str
    order: str = ""


class Shelf:
    """What customers bought and what the returns that kept their order claim of it."""

    def __init__(self, composition: Composition, sent: Sequence[Row]) -> None:
        self.by_customer: dict[str, list[_Order]] = defaultdict(list)
        by_platform: dict[str, _Order] = {}
        for purchase in composition.purchases:
            order = _Order(purchase)
            self.by_customer[purchase["customer_identifiers"]["sparklayer"]].append(order)
            by_platform[purchase["purchase_identifiers"]["platform"]] = order
        for row in sent:
            if order_claimed := by_platform.get(row["order_id"]):
                for product in row["products"]:
                    order_claimed.claim(product)

    def expected(self, orphan: Orphan) -> Expected:
        submitted = datetime.fromisoformat(orphan.row["submission_date"])
        before = [order for order in self.by_customer[orphan.customer_id] if order.placed <= submitted]
        fitting = [order for order in before if order.has(orphan.needed)]
        if len(fitting) == 1:
            return Expected("unambiguous", fitting[0].name)
        if fitting:
            total = Decimal(str(orphan.row["total"]))
            priced = [order for order in fitting if order.costs(orphan.needed, total)]
            return Expected("price decides", priced[0].name) if len(priced) == 1 else Expected("ambiguous")
        together: Counter[str] = Counter()
        for order in before:
            together.update(order.open)
        enough = all(together[sku] >= units for sku, units in orphan.needed.items())
        return Expected("several orders" if enough else "not open")


class _Order:
    def __init__(self, purchase: Row) -> None:
        self.name: str = purchase["purchase_identifiers"]["visible"]
        self.placed = datetime.fromisoformat(purchase["dates"]["placed_at"])
        self.items: list[Row] = purchase["packages"][0]["line_items"]
        self.claims: Counter[str] = Counter()

    def claim(self, product: Row) -> None:
        """Takes the units of a returned line from the order line that it names."""
        for field, kind in (("shopify_line_item_id", "platform"), ("shopify_variant_id", "variant"), ("sku", "sku")):
            if product[field]:
                item = next(item for item in self.items if item["identifiers"][kind] == product[field])
                self.claims[item["identifiers"]["platform"]] += product["item_count"]
                return

    def left(self, item: Row) -> int:
        return max(0, int(item["quantity"]) - self.claims[item["identifiers"]["platform"]])

    @cached_property
    def open(self) -> Counter[str]:
        units: Counter[str] = Counter()
        for item in self.items:
            units[item["identifiers"]["sku"]] += self.left(item)
        return units

    def has(self, needed: Mapping[str, int]) -> bool:
        return all(self.open[sku] >= units for sku, units in needed.items())

    def costs(self, needed: Mapping[str, int], total: Decimal) -> bool:
        """Whether these units, open ones first come first served, were sold for ``total``, to a percent."""
        value = Decimal(0)
        for sku, units in needed.items():
            for item in self.items:
                if item["identifiers"]["sku"] == sku and units:
                    taken = min(units, self.left(item))
                    units -= taken
                    value += Decimal(item["line_total"]["total_gross"]["number"]) * taken / item["quantity"]
        return abs(value - total) <= value / 100 + Decimal("0.01")


def read_suggestions(database_url: str) -> dict[str, list[dict[str, Any]]]:
    """Suggestions of each open ORPHANED_RETURN, by return id."""
    store = Store(database_url)
    with store.reading() as connection:
        rows = connection.execute(
            select(exceptions.c.return_id, exceptions.c.suggestions).where(
                exceptions.c.status == "open", exceptions.c.code == "ORPHANED_RETURN"
            )
        ).all()
    store.close()
    return {row.return_id: row.suggestions for row in rows}


def verdict(expected: Expected, suggestions: Sequence[Mapping[str, Any]]) -> str:
    """What came out, in words; blank where it is as it should be."""
    if not suggestions:
        return "" if expected.kind == "not open" else "nothing is suggested"
    first = suggestions[0]
    if expected.kind == "ambiguous":
        return "" if first["ambiguous"] else "not called ambiguous"
    if expected.kind == "several orders":
        return "" if first.get("parts") else "no split is suggested"
    if expected.order and first["order"] != expected.order:
        return "another order comes first"
    return "called ambiguous" if expected.order and first["ambiguous"] else ""
