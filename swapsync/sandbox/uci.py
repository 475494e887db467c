"""Compose data for the local Swap and SparkLayer look-alikes from real wholesale invoices.

The input is a CSV of the Online Retail II shape: the invoice lines of a UK gift-ware seller, many of whose customers
are wholesalers. Sale invoices become SparkLayer purchases, credit notes become Swap returns. The same file always
gives the same rows.

Real, straight from the file: invoice and credit note numbers, SKUs, descriptions, quantities, unit prices, moments
(UTC, to the minute), customer ids, countries; which customer returned how many units of what, and when.

Composed, because the file has no such thing: which order a credit line is booked against (the file names none), every
platform, variant, line item and SparkLayer id, e-mail and company names, PO numbers, payment methods, customer
balances, tax (20 % in the United Kingdom, none elsewhere), return reasons, parcel and inspection data, and all moments
of a return but the minute of its submission.

A credit line is booked by the rule of `RuleClass`, so that what swapsync decides about the composed return lines can be
compared with the class of the credit line. Every credit line gets at least one return line; those that no earlier order
explains belong to a return whose order does not exist in SparkLayer.
"""

import csv
import gzip
import hashlib
import re
import uuid
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from itertools import groupby
from pathlib import Path
from sys import intern
from typing import Any, Literal, NamedTuple, TextIO, cast

ATTRIBUTION = (
    "Contains data from Chen, D., Online Retail II (UCI Machine Learning Repository, doi:10.24432/C5CG6D), CC BY 4.0; "
    "cut by date, missing values and CustomerID respelled. See also Chen, Sain and Guo (2012), doi:10.1057/dbm.2012.17."
)
"""To be printed wherever data composed from that file is used."""

COLUMNS = ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"]
CURRENCY = "GBP"
STORE_ID = "store_demo_01"
STORE_NAME = "Online Retail II"

RuleClass = Literal["NON_PRODUCT", "NO_CUSTOMER", "ORPHAN_NEVER", "ORPHAN_LATER", "EXHAUSTED", "OVER", "MATCHED"]
"""What the sales before a credit line say about it; the first that fits, in this order.

Sales are the lines of invoices without a letter in their number, with a quantity above zero. Lines count in order of
their minute, sales of a minute before its credits, else in file order. *Open* are the units that the customer bought
of the SKU so far, less those that earlier credits took; a credit takes as many of its units as are open.

NON_PRODUCT: postage, fees, discounts, tests. NO_CUSTOMER: no customer id. ORPHAN_NEVER: the customer never bought the
SKU. ORPHAN_LATER: only afterwards. EXHAUSTED: nothing open any more. OVER: fewer open than returned. MATCHED: enough.
"""

_NON_PRODUCT = re.compile(r"(POST|DOT|C2|C3|D|M|S|B|BANK CHARGES|AMAZONFEE|CRUK|(ADJUST|TEST|GIFT).*)", re.DOTALL)
_PENNY = Decimal("0.01")
_VAT_PERCENT = 20
_NET_TERMS_DAYS = 30
_REASONS = ("Ordered too many", "Does not sell", "Delivered too late", "Not as described", "Wrong colour")
_IDS = uuid.UUID("6a1d0c3e-5d0f-5c55-9d27-0d6f3f1f7b42")

Row = dict[str, Any]


class UnreadableCsv(ValueError):
    """The file cannot be used; the message names it, the line (the header is line 1) and what is wrong there."""


class InvoiceLine(NamedTuple):
    """One row of the CSV.

    `line` is the number of the data row, the first one below the header being 1. `sku` is the StockCode trimmed, in
    upper case. `invoiced_at` is in UTC, cut to the minute. `unit_price` is in pounds. `customer_id` may be empty.
    """

    line: int
    number: str
    sku: str
    description: str
    quantity: int
    invoiced_at: datetime
    unit_price: Decimal
    customer_id: str
    country: str

    @property
    def is_sale(self) -> bool:
        """Whether units were sold: no letter in the invoice number, quantity above zero."""
        return self.quantity > 0 and not any(map(str.isalpha, self.number))

    @property
    def is_credit(self) -> bool:
        """Whether units were credited: a number that starts with C, quantity below zero."""
        return self.quantity < 0 and self.number.startswith("C")


@dataclass(frozen=True, slots=True)
class Booking:
    """A composed return line that carries units of a credit line; an orphan's `order_name` is unknown to SparkLayer."""

    return_id: str
    product_id: str
    order_name: str
    units: int


@dataclass(frozen=True, slots=True)
class CreditLine:
    """One credit line of the CSV, its class, and the return lines that carry its units (above zero), at least one.

    `line` counts data rows from 1. `open_before` is what was open for the customer and SKU just before it; 0 for lines
    without customer or product.
    """

    line: int
    number: str
    sku: str
    units: int
    rule_class: RuleClass
    open_before: int
    bookings: tuple[Booking, ...]


@dataclass(frozen=True, slots=True)
class Composition:
    """Wire-shaped rows, ready for JSON, in file order, returns in order of their submission.

    `purchases` are SparkLayer `Purchase` details, `customers` SparkLayer `Customer`s, `returns` Swap `ReturnV2`s.
    Equal `line_total` and `tax_lines` of purchases are one shared object: replace them, do not change them in place.
    """

    purchases: list[Row]
    customers: list[Row]
    returns: list[Row]
    credit_lines: list[CreditLine]


def read_invoice_lines(path: Path) -> Iterator[InvoiceLine]:
    """Yield the rows of a CSV, gzipped where its name ends in `.gz`, in file order.

    Raises `UnreadableCsv` at the first row that is not as it should be, and where the file cannot be opened or
    unpacked.
    """
    quantities, moments, prices, skus = cache(_quantity), cache(_moment), cache(_price), cache(_sku)
    line_number = 0
    try:
        with _open_text(path) as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            if header != COLUMNS:
                raise UnreadableCsv(
                    f"{path}, line 1: the header must be {','.join(COLUMNS)}, found {','.join(header)[:200]!r}"
                )
            for line, row in enumerate(reader, start=1):
                line_number = reader.line_num
                if len(row) != len(COLUMNS):
                    raise ValueError(f"{len(row)} fields instead of {len(COLUMNS)}")
                number, stock_code, description, quantity, invoice_date, unit_price, customer_id, country = row
                yield InvoiceLine(
                    line=line,
                    number=_number(number),
                    sku=skus(stock_code),
                    description=intern(description),
                    quantity=quantities(quantity),
                    invoiced_at=moments(invoice_date),
                    unit_price=prices(unit_price),
                    customer_id=intern(customer_id.strip()),
                    country=intern(country.strip()),
                )
    except UnreadableCsv:
        raise
    except UnicodeDecodeError as error:
        raise UnreadableCsv(f"{path}, line {_undecodable_line(path)}: not UTF-8 text") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UnreadableCsv(f"{path}, after line {line_number}: not a whole gzip file: {error}") from error
    except OSError as error:
        raise UnreadableCsv(f"{path}: cannot be read: {error.strerror or error}") from error
    except csv.Error as error:
        raise UnreadableCsv(f"{path}, after line {line_number}: not CSV: {error}") from error
    except ValueError as error:
        raise UnreadableCsv(f"{path}, line {line_number}: {error}") from error


def compose(path: Path) -> Composition:
    """Compose purchases, customers and returns from the CSV at `path`.

    Every sale invoice with a customer becomes a purchase of pay-later or upfront kind. Each credit note becomes one
    return for every order that its lines are booked against, and one more for those that no order explains.

    Raises `UnreadableCsv` as `read_invoice_lines` does, and where an invoice names two customers.
    """
    sales: dict[str, list[InvoiceLine]] = defaultdict(list)
    credits: list[InvoiceLine] = []
    countries: dict[str, str] = {}
    for line in read_invoice_lines(path):
        if line.is_credit:
            credits.append(line)
        elif line.is_sale and line.customer_id:
            invoice = sales[line.number]
            invoice.append(line)
            if invoice[0].customer_id != line.customer_id:
                raise UnreadableCsv(
                    f"{path}, data row {line.line}: invoice {line.number} names customer {line.customer_id!r}, "
                    f"but {invoice[0].customer_id!r} before"
                )
        else:
            continue
        if line.customer_id:
            countries.setdefault(line.customer_id, line.country)

    customers = {customer_id: _customer(customer_id, country) for customer_id, country in countries.items()}
    returned = {(line.customer_id, line.sku) for line in credits}
    ledger: _Ledger = defaultdict(list)
    money = cache(_line_money)
    owed: dict[str, Decimal] = defaultdict(Decimal)
    purchases: list[Row] = []
    for number in list(sales):
        lines = sales.pop(number)
        customer_id = lines[0].customer_id
        items = []
        total = Decimal(0)
        sku_counts = Counter(line.sku for line in lines)
        platform_id = _digits("5", number)
        for position, line in enumerate(lines, start=1):
            priced = money(line.quantity, line.unit_price, line.country == "United Kingdom")
            total += priced.net + priced.tax
            items.append(_line_item(line, f"{platform_id}{position:04d}", priced))
        purchase = _purchase(lines, platform_id, items, total, customers[customer_id])
        purchases.append(purchase)
        if purchase["payment_method"] != "platform_upfront":
            owed[customer_id] += total
        for line, item in zip(lines, items, strict=True):
            if (key := (customer_id, line.sku)) in returned:
                ledger[key].append(_OrderLine(purchase, item, line, sku_counts[line.sku] == 1, line.quantity))
    for order_lines in ledger.values():
        order_lines.sort(key=lambda order_line: (order_line.sale.invoiced_at, order_line.sale.line))
    for customer_id, customer in customers.items():
        customer["payment_on_account"]["balance"] = str(owed[customer_id].quantize(_PENNY))

    returns, credit_lines = _book(credits, ledger, customers)
    return Composition(purchases, list(customers.values()), returns, credit_lines)


# Booking credits against orders


@dataclass(slots=True)
class _OrderLine:
    """A sold line that some credit may be booked against, with the units that no return has taken yet."""

    purchase: Row
    item: Row
    sale: InvoiceLine
    stands_once: bool
    open: int

    def claim(self, units: int) -> Decimal:
        """Take up to `units` of what is open; returns the gross value of all of `units`, in pounds.

        The value is the line's share rounded cumulatively, so that full returns add up to the line exactly.
        """
        taken = self.sale.quantity - self.open
        self.open -= min(self.open, units)
        return sum(
            (
                _pennies(amount * (taken + units) / self.sale.quantity) - _pennies(amount * taken / self.sale.quantity)
                for amount in (Decimal(self.item["line_total"][part]["number"]) for part in ("total_net", "total_tax"))
            ),
            Decimal(0),
        )


_Ledger = dict[tuple[str, str], list[_OrderLine]]  # customer id, SKU → sold lines in order of time


@dataclass(slots=True)
class _Return:
    rma_number: str
    purchase: Row | None
    lines: list[Row] = field(default_factory=list)
    gross: Decimal = Decimal(0)


def _book(credits: list[InvoiceLine], ledger: _Ledger, customers: dict[str, Row]) -> tuple[list[Row], list[CreditLine]]:
    returns: list[Row] = []
    credit_lines: list[CreditLine] = []
    rma_counts: Counter[str] = Counter()
    for minute, notes in groupby(_credit_notes(credits), key=lambda note: note[0].invoiced_at):
        for sequence, note in enumerate(notes):
            submitted_at = minute + timedelta(milliseconds=sequence)
            number, customer_id = note[0].number, note[0].customer_id
            of_note: dict[str, _Return] = {}
            for line in note:
                rule_class, open_before, parts = _judge(line, ledger)
                bookings = []
                for order_line, units in parts:
                    order_name = order_line.purchase["purchase_identifiers"]["visible"] if order_line else f"#{number}"
                    if order_name not in of_note:
                        rma_counts[number] += 1
                        purchase = order_line.purchase if order_line else None
                        of_note[order_name] = _Return(f"{number}-{rma_counts[number]}", purchase)
                    return_ = of_note[order_name]
                    product_id = f"prd_{return_.rma_number}-{len(return_.lines) + 1}"
                    return_.lines.append(_return_line(line, product_id, order_name, order_line, units, submitted_at))
                    return_.gross += order_line.claim(units) if order_line else _credited(line)
                    bookings.append(Booking(_return_id(return_), product_id, order_name, units))
                credit_lines.append(
                    CreditLine(line.line, number, line.sku, -line.quantity, rule_class, open_before, tuple(bookings))
                )
            returns += (_return(each, note[0], submitted_at, customers.get(customer_id)) for each in of_note.values())
    credit_lines.sort(key=lambda credit_line: credit_line.line)
    return returns, credit_lines


def _credit_notes(credits: list[InvoiceLine]) -> list[list[InvoiceLine]]:
    """Lines by credit note, in the order of the notes' minutes, else of their first lines.

    A note is parted where another one of the same customer and minute stands between its lines, as the order of a
    customer's lines decides which of them finds units open.
    """
    notes: list[list[InvoiceLine]] = []
    latest: dict[tuple[str, str], list[InvoiceLine]] = {}
    for line in sorted(credits, key=lambda line: line.invoiced_at):
        buyer = (line.customer_id, "" if line.customer_id else line.number)
        note = latest.get(buyer)
        if note is None or (note[0].number, note[0].invoiced_at) != (line.number, line.invoiced_at):
            note = latest[buyer] = []
            notes.append(note)
        note.append(line)
    return notes


def _judge(line: InvoiceLine, ledger: _Ledger) -> tuple[RuleClass, int, list[tuple[_OrderLine | None, int]]]:
    """The class of a credit line, the units open before it, and the order lines, with units, it is booked against."""
    units = -line.quantity
    nowhere: list[tuple[_OrderLine | None, int]] = [(None, units)]
    if _NON_PRODUCT.fullmatch(line.sku):
        return "NON_PRODUCT", 0, nowhere
    if not line.customer_id:
        return "NO_CUSTOMER", 0, nowhere
    sold = ledger.get((line.customer_id, line.sku), [])
    if not sold:
        return "ORPHAN_NEVER", 0, nowhere
    earlier = [order_line for order_line in sold if order_line.sale.invoiced_at <= line.invoiced_at]
    if not earlier:
        return "ORPHAN_LATER", 0, nowhere
    open_before = sum(order_line.open for order_line in earlier)
    parts = _allot(units, earlier)
    if not open_before:
        return "EXHAUSTED", 0, parts
    return ("OVER" if open_before < units else "MATCHED"), open_before, parts


def _allot(units: int, earlier: list[_OrderLine]) -> list[tuple[_OrderLine | None, int]]:
    """Part `units` over order lines: the latest order that covers them alone, else all open ones, latest first.

    What exceeds the open units falls on the last line used; where nothing is open, everything falls on the latest line.
    """
    pool = [order_line for order_line in reversed(earlier) if order_line.open] or earlier[-1:]
    by_order: dict[str, list[_OrderLine]] = defaultdict(list)
    for order_line in pool:
        by_order[order_line.sale.number].append(order_line)
    for lines in by_order.values():
        if sum(order_line.open for order_line in lines) >= units:
            pool = lines
            break
    for order_line in pool:
        if order_line.open >= units:
            return [(order_line, units)]
    parts: list[tuple[_OrderLine | None, int]] = []
    for order_line in pool:
        asked = units if order_line is pool[-1] else min(order_line.open, units)
        if asked:
            parts.append((order_line, asked))
            units -= asked
    return parts


# Rows of SparkLayer


class _LineMoney(NamedTuple):
    net: Decimal
    tax: Decimal
    line_total: Row
    tax_lines: list[Row]


def _line_money(quantity: int, unit_price: Decimal, taxed: bool) -> _LineMoney:
    net = _pennies(quantity * unit_price)
    tax = _pennies(net * _VAT_PERCENT / 100) if taxed else Decimal("0.00")
    line_total = {"total_net": _money(net), "total_tax": _money(tax), "total_gross": _money(net + tax)}
    tax_lines = [{"title": "VAT", "amount": _money(tax), "rate": _VAT_PERCENT}] if taxed else []
    return _LineMoney(net, tax, line_total, tax_lines)


def _line_item(line: InvoiceLine, line_item_id: str, priced: _LineMoney) -> Row:
    return {
        "identifiers": {"sku": line.sku, "platform": line_item_id, "variant": _variant_id(line.sku)},
        "name_parent": intern(line.description.strip()),
        "quantity": line.quantity,
        "line_total": priced.line_total,
        "tax_lines": priced.tax_lines,
    }


def _purchase(lines: list[InvoiceLine], platform_id: str, items: list[Row], total: Decimal, customer: Row) -> Row:
    number = lines[0].number
    placed_at = min(line.invoiced_at for line in lines)
    updated_at = max(line.invoiced_at for line in lines)
    draw = _hash("payment method", number) % 100
    payment_method = "on_account" if draw < 60 else "invoice" if draw < 80 else "platform_upfront"
    po_hash = _hash("PO number", number)
    return {
        "type": "order",
        "purchase_identifiers": {
            "sparklayer": _uuid("purchase", number),
            "platform": platform_id,
            "internal": "",
            "visible": f"#{number}",
        },
        "customer_identifiers": {"sparklayer": customer["id"], "platform": customer["external_id"]},
        "payment_method": payment_method,
        "dates": {
            "created_at": placed_at.isoformat(),
            "updated_at": updated_at.isoformat(),
            "placed_at": placed_at.isoformat(),
        },
        "customer_reference": "" if po_hash % 25 == 0 else f"PO-{po_hash // 25 % 10**6:06d}",
        "currency_code": CURRENCY,
        "calculated_total": _money(total),
        "calculated_fulfilment_status": "shipped",
        "total_paid": _money(total if payment_method == "platform_upfront" else Decimal("0.00")),
        "packages": [
            {
                "type": "shipped",
                "identifiers": {"sparklayer_package_id": _uuid("package", number)},
                "line_items": items,
            }
        ],
        "accounting_files": [],
        "custom_fields": [],
        "metadata": [],
    }


def _customer(customer_id: str, country: str) -> Row:
    external_id = _digits("7", customer_id)
    return {
        "id": _uuid("customer", customer_id),
        "external_id": external_id,
        "email": f"buyer.{external_id}@example.com",
        "company_name": f"Customer {customer_id} ({country})",
        "group": "trade",
        "role": "main",
        "payment_on_account": {"balance": "0.00", "currency_code": CURRENCY, "net_terms": _NET_TERMS_DAYS},
    }


# Rows of Swap. JSON has one kind of number: amounts are computed as Decimal and become float in the row, last of all.


def _return(return_: _Return, line: InvoiceLine, submitted_at: datetime, customer: Row | None) -> Row:
    purchase = return_.purchase
    closed_at = _swap_moment(submitted_at + timedelta(days=2))
    submitted = _swap_moment(submitted_at)
    refunded = purchase is not None and purchase["payment_method"] == "platform_upfront"
    refund = float(return_.gross) if refunded else 0.0
    order_name = return_.lines[0]["order_number"]
    return {
        "rma_number": return_.rma_number,
        "return_id": _return_id(return_),
        "shopify_return_id": None,
        "shopify_order_name": order_name,
        "order_id": purchase["purchase_identifiers"]["platform"] if purchase else _digits("9", line.number),
        "date_created": submitted,
        "date_updated": closed_at,
        "submission_date": submitted,
        "submitted_at": submitted,
        "intention_date": submitted,
        "type_string": "Refund",
        "type": ["Refund"],
        "delivery_status": "Delivered",
        "return_status": "Closed",
        "shipping_carrier": None,
        "tracking_number": None,
        "shipment_from_address_country": line.country or None,
        "shipment_from_address_city": None,
        "shipment_from_address_parcel_weight": None,
        "shipment_from_address_state": None,
        "total": float(return_.gross),
        "handling_fee": 0,
        "store_id": STORE_ID,
        "store_name": STORE_NAME,
        "customer_name": customer["company_name"] if customer else None,
        "customer_email": customer["email"] if customer else None,
        "customer_locale": "en",
        "customer_currency": CURRENCY,
        "total_additional_payment": 0,
        "total_credit_exchange_value": 0,
        "total_refund_value_customer_currency": refund,
        "total_store_credit_value_customer_currency": 0,
        "shop_now_revenue": 0,
        "shop_later_revenue": 0,
        "store_credit_revenue": 0,
        "exchange_revenue": 0,
        "refund_revenue": refund,
        "shopify_order_date": _swap_moment(datetime.fromisoformat(purchase["dates"]["placed_at"]))
        if purchase
        else None,
        "rma_processed": None,
        "processed_by": None,
        "quality_control_status": "Approved",
        "delivered_date": _swap_moment(submitted_at + timedelta(days=1)),
        "date_closed": closed_at,
        "tags": None,
        "return_shipments": [
            {
                "shipment_id": f"shp_{return_.rma_number}",
                "location_id": None,
                "carrier_id": None,
                "postage_fee": 0,
                "label_type": None,
                "shipping_service": None,
                "display_name": None,
                "items": [dict(each) for each in return_.lines],
            }
        ],
        "products": return_.lines,
        "exchange_items": [],
    }


def _return_line(
    line: InvoiceLine,
    product_id: str,
    order_name: str,
    order_line: _OrderLine | None,
    units: int,
    submitted_at: datetime,
) -> Row:
    variant_id, line_item_id, sku = None, None, None
    draw = _hash("identified by", product_id) % 4
    if order_line is None:
        variant_id, sku = _variant_id(line.sku), line.sku
    elif draw < 2 or not order_line.stands_once:
        variant_id, sku = _variant_id(line.sku), line.sku
        line_item_id = order_line.item["identifiers"]["platform"]
    elif draw == 2:
        variant_id = _variant_id(line.sku)
    else:
        sku = line.sku
    description = line.description.strip()
    reason = _hash("reason", product_id) % len(_REASONS)
    return {
        "product_id": product_id,
        "shopify_product_id": None,
        "shopify_variant_id": variant_id,
        "shopify_line_item_id": line_item_id,
        "order_number": order_name,
        "original_order_name": order_name,
        "date": _swap_moment(submitted_at),
        "product_name": description,
        "variant_name": None,
        "full_sku_description": description,
        "sku": sku,
        "barcode": None,
        "main_reason_id": f"r{reason + 1}",
        "main_reason_text": _REASONS[reason],
        "item_count": units,
        "cost": float(line.unit_price),
        "return_type": "Refund",
        "currency": CURRENCY,
        "grams": None,
    }


def _credited(line: InvoiceLine) -> Decimal:
    priced = _line_money(-line.quantity, line.unit_price, line.country == "United Kingdom")
    return priced.net + priced.tax


def _return_id(return_: _Return) -> str:
    return f"ret_{return_.rma_number}"


def _swap_moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


# Money and identifiers


def _pennies(amount: Decimal) -> Decimal:
    return amount.quantize(_PENNY, ROUND_HALF_UP)


def _money(amount: Decimal) -> Row:
    return {"number": str(amount.quantize(_PENNY)), "currency": CURRENCY}


def _hash(purpose: str, key: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{purpose}:{key}".encode(), digest_size=8).digest(), "big")


def _digits(kind: str, key: str) -> str:
    """An id of 15 digits; ids of different kinds differ in the first one."""
    return f"{kind}{_hash(kind, key) % 10**14:014d}"


@cache
def _variant_id(sku: str) -> str:
    return _digits("4", sku)


def _uuid(kind: str, key: str) -> str:
    return str(uuid.uuid5(_IDS, f"{kind}:{key}"))


# Reading


def _open_text(path: Path) -> TextIO:
    opener = gzip.open if path.suffix == ".gz" else open
    return cast(TextIO, opener(path, "rt", encoding="utf-8-sig", newline=""))


def _undecodable_line(path: Path) -> int:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as file:
        for line_number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return line_number
    raise AssertionError(f"{path} changed while it was read")


def _number(text: str) -> str:
    number = text.strip()
    if not number:
        raise ValueError("InvoiceNo is empty")
    return intern(number)


def _sku(text: str) -> str:
    sku = text.strip().upper()
    if not sku:
        raise ValueError("StockCode is empty")
    return sku


def _quantity(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,9}", text):
        raise ValueError(f"Quantity {text!r} is not a whole number of at most 9 digits")
    return int(text)


def _price(text: str) -> Decimal:
    if not re.fullmatch(r"-?[0-9]{1,9}(\.[0-9]{1,6})?", text):
        raise ValueError(f"UnitPrice {text!r} is not a decimal number of pounds")
    return Decimal(text)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(second=0, tzinfo=UTC)
    except ValueError:
        moment = None
    if moment is None or not 1900 <= moment.year < 3000:
        raise ValueError(f"InvoiceDate {text!r} is not a date like 2009-12-01 07:45:00")
    return moment
