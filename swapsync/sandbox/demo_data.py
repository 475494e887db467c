"""A believable wholesaler, the same at every start, its dates counted back from the world's clock.

Whoever runs a worker on it should set the cut-over to 30 days before now: what is meant to have effects was closed
within the last ten days, history long before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Literal

from swapsync.sandbox.world import (
    Row,
    World,
    customer_row,
    line_item,
    purchase_row,
    return_line,
    return_row,
    variant_row,
)

PENNY = Decimal("0.01")
VAT = Decimal("0.20")


@dataclass(frozen=True, slots=True)
class _Product:
    variant_id: str
    sku: str
    name: str
    net: Decimal
    stock: int


def _product(number: int, sku: str, name: str, net: str, stock: int) -> _Product:
    return _Product(str(44_000_000_000 + number), sku, name, Decimal(net), stock)


MUG = _product(1, "MUG-ENAMEL-BLU", "Enamel mug, blue", "4.15", 480)
MUG_RED = _product(2, "MUG-ENAMEL-RED", "Enamel mug, red", "4.15", 312)
TEAPOT = _product(3, "TEAPOT-STW-1L", "Stoneware teapot, 1 l", "18.40", 96)
APRON = _product(4, "APRON-LIN-NAT", "Linen apron, natural", "12.75", 150)
TOWEL = _product(5, "TOWEL-WAF-3", "Waffle tea towels, set of 3", "6.90", 260)
CANDLE = _product(6, "CANDLE-FIG-220", "Fig candle, 220 g", "7.33", 204)
LAMP = _product(7, "LMP-DSK-BRS", "Desk lamp, brass", "41.50", 38)
HOOK = _product(8, "00417-BRS", "Coat hook, brass", "3.33", 900)
BASKET = _product(9, "BASKET-SEA-L", "Seagrass basket, large", "15.20", 75)
THROW = _product(10, "THROW-WOOL-GRY", "Wool throw, grey", "36.00", 54)
BOARD = _product(11, "BOARD-OAK-40", "Oak board, 40 cm", "13.95", 120)
VASE = _product(12, "VASE-RCY-GRN", "Recycled glass vase, green", "9.60", 140)
CATALOGUE = (MUG, MUG_RED, TEAPOT, APRON, TOWEL, CANDLE, LAMP, HOOK, BASKET, THROW, BOARD, VASE)

RENAMED_SKU = "LAMP-DESK-BRASS"

HARBOUR = customer_row("orders@harbourgifts.example", company_name="Harbour Gifts Ltd", external_id="7801", balance=0)
FERN = customer_row("buying@fernandfell.example", company_name="Fern & Fell", external_id="7802", balance=0)
LARDER = customer_row("accounts@thelarder.example", company_name="The Larder (York) Ltd", external_id="7803", balance=0)
COPPER = customer_row("hello@copperlane.example", company_name="Copper Lane Interiors", external_id="7804", balance=0)
DUNE = customer_row("stock@dunehouse.example", company_name="Dune House", external_id="7805", balance=0)
ATELIER = customer_row(
    "achats@atelier-lumiere.example", company_name="Atelier Lumière", external_id="7806", balance=0, currency="EUR"
)
KESTREL = customer_row("shop@kestrelhome.example", company_name="Kestrel Home", external_id="7807", balance=0)
OAKWELL = customer_row("procurement@oakwell.example", company_name="Oakwell Hotels", external_id="7808", balance=0)


def _colleague(email: str, external_id: str, company: Row) -> Row:
    return customer_row(
        email, company_name=company["company_name"], external_id=external_id, parent_customer_id=company["id"]
    )


HARBOUR_WHITBY = _colleague("whitby@harbourgifts.example", "7811", HARBOUR)
HARBOUR_ROBIN = _colleague("robin@harbourgifts.example", "7812", HARBOUR)
OAKWELL_SPA = _colleague("spa@oakwell.example", "7813", OAKWELL)
LARDER_LEEDS = _colleague("leeds@thelarder.example", "7814", LARDER)
COMPANIES = (HARBOUR, FERN, LARDER, COPPER, DUNE, ATELIER, KESTREL, OAKWELL)
CUSTOMERS = (*COMPANIES, HARBOUR_WHITBY, HARBOUR_ROBIN, OAKWELL_SPA, LARDER_LEEDS)


@dataclass(frozen=True, slots=True)
class _Order:
    row: Row
    customer: Row

    @property
    def id(self) -> str:
        """The shop platform's order id."""
        return str(self.row["purchase_identifiers"]["platform"])

    @property
    def name(self) -> str:
        """The name people quote."""
        return str(self.row["purchase_identifiers"]["visible"])

    def line(self, sku: str) -> Row:
        """The order line with this SKU."""
        lines: Iterable[Row] = self.row["packages"][0]["line_items"]
        return next(line for line in lines if line["identifiers"]["sku"] == sku)


class _Wholesaler:
    """Puts orders and returns into a world, numbering them as it goes."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._now = world.now().replace(second=0, microsecond=0)
        self._orders = 0
        self._returns = 0
        self._owed: dict[str, Decimal] = {}

    def ago(self, days: float) -> datetime:
        """The moment this many days back."""
        return self._now - timedelta(days=days)

    def order(
        self,
        customer: Row,
        lines: Sequence[tuple[_Product, int]],
        *,
        days: float,
        method: str = "on_account",
        po: str | None = "",
        discount: Decimal = Decimal("0.00"),
        currency: str = "GBP",
    ) -> _Order:
        """An order placed `days` ago, `discount` (net) taken off each of its lines. An empty PO means: make one up."""
        self._orders += 1
        number = 10_400 + self._orders
        rate = VAT if currency == "GBP" else Decimal("0.00")
        items = []
        for position, (product, quantity) in enumerate(lines, start=1):
            net = product.net * quantity - discount
            items.append(
                line_item(
                    product.sku,
                    quantity,
                    net=net,
                    tax=(net * rate).quantize(PENNY, ROUND_HALF_UP),
                    line_item_id=f"149{number}{position:02}",
                    variant_id=product.variant_id,
                    currency=currency,
                    name=product.name,
                    discount_net=discount or None,
                )
            )
        row = purchase_row(
            f"61000000{number}",
            f"#{number}",
            items,
            customer_id=customer["id"],
            payment_method=method,
            customer_reference=f"PO-{88_000 + number}" if po == "" else po,
            currency=currency,
            placed=self.ago(days),
            updated=self.ago(days - 1),
        )
        self._world.sparklayer.put_purchase(row)
        if method in ("on_account", "invoice"):
            account: str = customer.get("parent_customer_id") or customer["id"]
            self._owed[account] = self._owed.get(account, Decimal("0.00")) + Decimal(row["calculated_total"]["number"])
        return _Order(row, customer)

    def returned(
        self,
        order: _Order,
        lines: Sequence[tuple[_Product, int]],
        *,
        days: float,
        stage: Literal["in_transit", "delivered", "closed"] = "closed",
        refunded: bool = False,
        line_fields: Row | None = None,
        **fields: Any,
    ) -> Row:
        """A return of units of the order that reached its stage `days` ago; what is refunded is its whole total."""
        self._returns += 1
        moment = self.ago(days)
        since = {"in_transit": 1, "delivered": 3, "closed": 6}[stage]
        total = Decimal("0.00")
        products = []
        for product, quantity in lines:
            line = order.line(product.sku)
            gross = Decimal(line["line_total"]["total_gross"]["number"]) * quantity / line["quantity"]
            total += gross.quantize(PENNY, ROUND_HALF_UP)
            known: dict[str, Any] = {
                "sku": product.sku,
                "line_item_id": line["identifiers"]["platform"],
                "variant_id": product.variant_id,
                "cost": (gross / quantity).quantize(PENNY, ROUND_HALF_UP),
                "name": product.name,
                "main_reason_text": "Ordered too many",
            }
            products.append(return_line(quantity=quantity, **{**known, **(line_fields or {})}))
        facts: dict[str, Any] = {
            "customer_email": order.customer["email"],
            "customer_name": order.customer["company_name"],
            "customer_currency": order.row["currency_code"],
            "total": total,
            "total_refunded": total if refunded else Decimal("0.00"),
            "created": moment - timedelta(days=since),
            "updated": moment,
            "shopify_order_date": order.row["dates"]["placed_at"],
        }
        if stage != "in_transit":
            facts |= {
                "delivery_status": "Delivered",
                "delivered": moment - timedelta(days=2 if stage == "closed" else 0),
            }
        if stage == "closed":
            facts |= {"return_status": "Closed", "quality_control_status": "Approved", "closed": moment}
        identity = {"order_id": order.id, "order_name": order.name}
        return return_row(
            f"ret_demo_{self._returns:04}",
            str(30_000 + self._returns),
            **{**identity, "lines": products, **facts, **fields},
        )

    def put(self, order: _Order, lines: Sequence[tuple[_Product, int]], *, days: float, **facts: Any) -> None:
        """Puts a return, described as in `returned`, into the world."""
        self._world.swap.put_return(self.returned(order, lines, days=days, **facts))

    def put_malformed(self, row: Row) -> None:
        """Puts a row that breaks the contract into the world."""
        self._world.swap.put_return(row, malformed=True)

    def put_customers(self) -> None:
        """Puts the customers, each company owing what its people ordered."""
        for customer in CUSTOMERS:
            row = dict(customer)
            if "payment_on_account" in row:
                owed = self._owed.get(row["id"], Decimal("0.00"))
                row["payment_on_account"] = {**row["payment_on_account"], "balance": format(owed, "f")}
            self._world.sparklayer.put_customer(row)


def seed_demo(world: World) -> None:
    """Fills an empty world with orders, returns, customers, variants and the stock at the default location."""
    shop = _Wholesaler(world)
    for product in CATALOGUE:
        sku = RENAMED_SKU if product is LAMP else product.sku
        world.sparklayer.put_variant(variant_row(product.variant_id, sku))
        world.sparklayer.set_level(sku, "default", product.stock)
    _to_be_credited(shop)
    _not_ours_to_credit(shop)
    _on_their_way(shop)
    _questions_about_the_order(shop)
    _questions_about_the_line(shop)
    _questions_about_the_money(shop)
    _unreadable(shop)
    _history(shop)
    _orders_nobody_returns(shop)
    shop.put_customers()


def _to_be_credited(shop: _Wholesaler) -> None:
    whole_line = shop.order(HARBOUR, [(MUG, 48), (TEAPOT, 6)], days=34)
    shop.put(whole_line, [(TEAPOT, 6)], days=6.2)

    odd_pennies = shop.order(FERN, [(CANDLE, 7), (TOWEL, 12)], days=41, discount=Decimal("0.05"))
    shop.put(odd_pennies, [(CANDLE, 3)], days=8.4)
    shop.put(odd_pennies, [(CANDLE, 4)], days=3.1)

    two_lines = shop.order(LARDER, [(APRON, 10), (BOARD, 8), (TOWEL, 20)], days=38, method="invoice")
    shop.put(two_lines, [(APRON, 2), (BOARD, 3)], days=5.6)

    by_gid = shop.order(COPPER, [(VASE, 11), (BASKET, 4)], days=29, method="invoice", discount=Decimal("1.00"))
    shop.put(by_gid, [(VASE, 5)], days=4.3, order_id=f"gid://shopify/Order/{by_gid.id}")

    colleague = shop.order(HARBOUR_WHITBY, [(THROW, 5)], days=27)
    shop.put(colleague, [(THROW, 1)], days=2.2, customer_email=HARBOUR_ROBIN["email"])

    euros = shop.order(ATELIER, [(LAMP, 3), (VASE, 9)], days=31, currency="EUR")
    shop.put(euros, [(VASE, 2)], days=7.7)

    no_po = shop.order(DUNE, [(BASKET, 6)], days=33, po=None)
    shop.put(no_po, [(BASKET, 2)], days=5.1)


def _not_ours_to_credit(shop: _Wholesaler) -> None:
    card = shop.order(KESTREL, [(THROW, 2), (CANDLE, 6)], days=24, method="platform_upfront", po=None)
    shop.put(card, [(THROW, 1)], days=3.4, refunded=True)

    exchange = shop.order(FERN, [(MUG_RED, 24)], days=26)
    swapped = {"shopify_variant_id": MUG.variant_id, "sku": MUG.sku, "item_count": 6, "currency": "GBP"}
    shop.put(exchange, [(MUG_RED, 6)], days=4.8, line_fields={"return_type": "Exchange"}, exchange_items=[swapped])

    cancelled = shop.order(LARDER_LEEDS, [(BOARD, 5)], days=22)
    shop.put(cancelled, [(BOARD, 1)], days=6.6, stage="in_transit", return_status="Cancelled", delivery_status=None)

    expired = shop.order(DUNE, [(APRON, 4)], days=60)
    shop.put(
        expired, [(APRON, 1)], days=9.2, stage="in_transit", return_status="Expired", delivery_status="Pre-Transit"
    )

    not_approved = shop.order(OAKWELL, [(TOWEL, 60)], days=30)
    shop.put(not_approved, [(TOWEL, 8)], days=2.9, quality_control_status="Not Approved")

    refunded_by_swap = shop.order(OAKWELL_SPA, [(THROW, 12)], days=28, method="invoice")
    shop.put(refunded_by_swap, [(THROW, 2)], days=1.8, refunded=True)


def _on_their_way(shop: _Wholesaler) -> None:
    posted = shop.order(COPPER, [(LAMP, 4)], days=15)
    shop.put(posted, [(LAMP, 1)], days=0.6, stage="in_transit")

    label_made = shop.order(KESTREL, [(VASE, 6)], days=12, method="invoice")
    shop.put(label_made, [(VASE, 2)], days=0.2, stage="in_transit", delivery_status="Pre-Transit")

    arrived = shop.order(OAKWELL, [(MUG, 96), (TOWEL, 40)], days=20)
    shop.put(arrived, [(MUG, 12), (TOWEL, 5)], days=0.4, stage="delivered")

    waiting = shop.order(HARBOUR, [(BASKET, 5)], days=25)
    shop.put(waiting, [(BASKET, 1)], days=7.5, stage="delivered")

    parked = shop.order(FERN, [(BOARD, 9)], days=19, method="invoice")
    shop.put(parked, [(BOARD, 2)], days=1.3, stage="delivered", return_status="Needs Review")


def _questions_about_the_order(shop: _Wholesaler) -> None:
    unknown = shop.order(LARDER, [(CANDLE, 12)], days=36)
    shop.put(unknown, [(CANDLE, 2)], days=4.1, order_id="6199999999999", order_name="#99999")

    other_buyer = shop.order(COPPER, [(TEAPOT, 4)], days=23)
    shop.put(other_buyer, [(TEAPOT, 1)], days=3.8, customer_email=KESTREL["email"], customer_name="Kestrel Home")

    odd_method = shop.order(DUNE, [(VASE, 8)], days=21, method="bank_guarantee")
    shop.put(odd_method, [(VASE, 1)], days=2.5)


def _questions_about_the_line(shop: _Wholesaler) -> None:
    unlinked = {"line_item_id": None, "variant_id": None}

    renamed = shop.order(HARBOUR, [(LAMP, 2)], days=45)
    shop.put(renamed, [(LAMP, 1)], days=3.3, line_fields={**unlinked, "sku": RENAMED_SKU})

    near_match = shop.order(LARDER, [(HOOK, 50)], days=32)
    shop.put(near_match, [(HOOK, 10)], days=5.9, line_fields={**unlinked, "sku": "417-brs"})

    too_many = shop.order(KESTREL, [(BASKET, 6)], days=35)
    shop.put(too_many, [(BASKET, 4)], days=8.1)
    shop.put(too_many, [(BASKET, 4)], days=2.7)


def _questions_about_the_money(shop: _Wholesaler) -> None:
    other_currency = shop.order(COPPER, [(APRON, 6)], days=18)
    shop.put(other_currency, [(APRON, 1)], days=2.1, customer_currency="EUR")


def _unreadable(shop: _Wholesaler) -> None:
    odd_status = shop.order(DUNE, [(TOWEL, 18)], days=17)
    shop.put(odd_status, [(TOWEL, 3)], days=1.6, stage="delivered", return_status="Awaiting Collection")

    no_number = shop.order(FERN, [(THROW, 3)], days=16)
    shop.put_malformed(shop.returned(no_number, [(THROW, 1)], days=1.1, line_fields={"item_count": "three"}))

    no_id = shop.returned(no_number, [(THROW, 1)], days=0.9)
    del no_id["return_id"]
    shop.put_malformed(no_id)


def _history(shop: _Wholesaler) -> None:
    long_ago = shop.order(HARBOUR, [(MUG, 36), (CANDLE, 10)], days=240)
    shop.put(long_ago, [(MUG, 6)], days=200)
    shop.put(long_ago, [(CANDLE, 2)], days=120)


def _orders_nobody_returns(shop: _Wholesaler) -> None:
    methods = ("on_account", "invoice", "on_account")
    for number in range(12):
        customer = CUSTOMERS[(number * 5) % len(CUSTOMERS)]
        first, second = CATALOGUE[(number * 7) % 12], CATALOGUE[(number * 7 + 5) % 12]
        currency = "EUR" if customer is ATELIER else "GBP"
        lines = [(first, 4 + number % 5), (second, 6 + number % 7)]
        shop.order(customer, lines, days=54 - 4 * number, method=methods[number % 3], currency=currency)
