"""The tolerant readers of SparkLayer's rows. Each spelling that the contract marks as inferred stands in one table."""

from collections import Counter
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from swapsync.connectors.errors import Malformed
from swapsync.connectors.reading import (
    Row,
    distinct,
    field,
    first,
    folded,
    identifier,
    minor,
    moment,
    present,
    text,
    whole,
)
from swapsync.domain.orders import Customer, Order, OrderLine

# Fields under more than one name, the better one first.
_ORDER_IDENTIFIERS = ("purchase_identifiers", "order_identifiers")
_LINE_ITEM_ID = ("platform", "platform_line_item_id", "line_item_id")
_VARIANT_ID = ("variant", "platform_variant", "platform_variant_id", "variant_id", "variant_external_id")
_BUYERS = ("sparklayer", "sparklayer_child")

# Kinds of packages, folded.
_CANCELLED = ("cancelled", "canceled")
_RETURNED = ("returned", "return")


def read_order(row: Any, naive_timezone: str | None = None) -> Order:
    """A purchase as an Order: a list row has no lines, a detail has them. Raises Malformed.

    A line is the whole order line: what stands of it in all packages, cancelled ones left out. An order of which
    nothing stands is cancelled, and its lines are those that it had: what they were sold for is what a person decides
    on. Whether units in a ``returned`` package are still counted in the others is not known, so the larger of both
    counts, never their sum.
    """
    row = _object(row)
    order_id, platform, visible = _order_ids(row)
    currency = (text(row.get("currency_code")) or text(_part(row, "calculated_total").get("currency"))).strip().upper()
    buyers = _part(row, "customer_identifiers")
    try:
        packages = _packages(row.get("packages"))
        standing = [package for package in packages if _kind(package) not in _CANCELLED]
        counted = standing or packages
        lines = _read_lines(counted, currency)
        shipping = _shipping([package for package in counted if _kind(package) not in _RETURNED], currency)
    except Malformed as error:
        error.remote_id = order_id
        raise
    return Order(
        order_id=order_id,
        platform_id=platform,
        visible=visible,
        type=text(row.get("type")),
        payment_method=text(row.get("payment_method")),
        po_number=text(row.get("customer_reference")).strip(),
        currency=currency,
        customer_ids=tuple(dict.fromkeys(filter(None, (identifier(buyers.get(kind)) for kind in _BUYERS)))),
        lines=lines,
        placed_at=_placed_at(_part(row, "dates"), naive_timezone),
        cancelled=bool(packages) and not standing,
        shipping_net=sum(net for net, _ in shipping),
        shipping_tax=sum(tax for _, tax in shipping),
        total=text(_part(row, "calculated_total").get("number")),
        fulfilment=text(row.get("calculated_fulfilment_status")),
    )


def order_updated_at(row: Any, naive_timezone: str | None = None) -> datetime:
    """When the purchase was last changed. Raises Malformed when it doesn't say so readably."""
    row = _object(row)
    dates = _part(row, "dates")
    try:
        for name, part in (("updated_at", dates), ("revision_date", row), ("created_at", dates)):
            if text(part.get(name)):
                return field(part, name, partial(moment, naive_timezone=naive_timezone))
        raise Malformed("dates.updated_at is missing")
    except Malformed as error:
        error.remote_id = _order_ids(row)[0]
        raise


def read_customer(row: Any) -> Customer:
    """A customer row as a Customer. Raises Malformed without an id."""
    row = _object(row)
    return Customer(
        customer_id=field(row, "id", present),
        email=text(row.get("email")).strip(),
        parent_id=identifier(row.get("parent_customer_id")),
    )


def read_variant(row: Any) -> tuple[str, str]:
    """Platform id and SKU (blank if it has none) of a variant row. Raises Malformed without a platform id."""
    row = _object(row)
    return field(row, "external_id", present), text(row.get("sku"))


def _object(row: Any) -> Row:
    if not isinstance(row, dict):
        raise Malformed("the row is not an object")
    return row


def _part(row: Row, name: str) -> Row:
    part = row.get(name)
    return part if isinstance(part, dict) else {}


def _order_ids(row: Row) -> tuple[str, str, str]:
    """Our own id of the order, its platform id, and the name that customers see."""
    ids: Row = next((row[name] for name in _ORDER_IDENTIFIERS if isinstance(row.get(name), dict)), {})
    sparklayer, platform, visible = (identifier(ids.get(kind)) for kind in ("sparklayer", "platform", "visible"))
    order_id = sparklayer or (platform and f"platform:{platform}") or (visible and f"visible:{visible}")
    if not order_id:
        raise Malformed("purchase_identifiers: none is given")
    return order_id, platform, visible


def _placed_at(dates: Row, naive_timezone: str | None) -> datetime | None:
    with suppress(ValueError):  # for people to read; nothing is decided by it
        return moment(dates.get("placed_at") or dates.get("created_at"), naive_timezone)
    return None


def _kind(package: Row) -> str:
    return folded(text(package.get("type")))


def _shipping(packages: list[Row], currency: str) -> list[tuple[int, int]]:
    """Net and tax of each package's carriage, where it says so."""
    methods = ((package.get("shipping_method") or {}) for package in packages)
    totals = (method.get("line_total") for method in methods if isinstance(method, dict))
    return [_net_and_tax(total, currency) for total in totals if isinstance(total, dict) and total]


def _read_lines(packages: list[Row], currency: str) -> tuple[OrderLine, ...]:
    # A row without line item id is known by its variant or SKU and by how many such rows of its package precede it:
    # two rows of one package have two prices, the same row in two packages is one line shipped in parts.
    sums: dict[tuple[str, int], dict[bool, OrderLine]] = {}
    for package in packages:
        rows_before: Counter[str] = Counter()
        for item in _objects(package.get("line_items"), "line_items"):
            line = _read_line(item, currency)
            by_group = sums.setdefault((line.key, 0 if line.line_item_id else rows_before[line.key]), {})
            rows_before[line.key] += 1
            returned = _kind(package) in _RETURNED
            by_group[returned] = _together(by_group[returned], line) if returned in by_group else line
    lines: dict[str, OrderLine] = {}
    for (name, _), by_group in sums.items():
        key = distinct(name, lines)
        larger = max((by_group[returned] for returned in sorted(by_group)), key=lambda line: line.quantity)
        lines[key] = replace(larger, key=key)
    return tuple(lines.values())


def _packages(packages: Any) -> list[Row]:
    if isinstance(packages, dict) and "line_items" in packages:
        return [packages]
    if isinstance(packages, dict):
        named = zip(packages, _objects(list(packages.values()), "packages"), strict=True)
        return [{**package, "type": package.get("type") or name} for name, package in named]
    return _objects(packages, "packages")


def _objects(rows: Any, name: str) -> list[Row]:
    if rows is None:
        return []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Malformed(f"{name} is not a list of objects")
    return rows


def _together(one: OrderLine, other: OrderLine) -> OrderLine:
    return replace(
        one,
        sku=one.sku or other.sku,
        variant_id=one.variant_id or other.variant_id,
        quantity=one.quantity + other.quantity,
        net=one.net + other.net,
        tax=one.tax + other.tax,
    )


def _read_line(item: Row, currency: str) -> OrderLine:
    ids = _part(item, "identifiers")
    sku = text(ids.get("sku")) or text(item.get("sku"))
    line_item_id = first(ids, _LINE_ITEM_ID, identifier) or identifier(item.get("line_item_id"))
    variant_id = first(ids, _VARIANT_ID, identifier) or identifier(item.get("variant_id"))
    key = f"li:{line_item_id}" if line_item_id else f"v:{variant_id}" if variant_id else f"s:{sku}"
    try:
        net, tax = _net_and_tax(_part(item, "line_total"), currency)
        return OrderLine(key, sku, variant_id, line_item_id, field(item, "quantity", whole), net, tax)
    except Malformed as error:
        raise Malformed(f"line {sku or key}: {error.reason}") from error


def _net_and_tax(total: Row, currency: str) -> tuple[int, int]:
    if not currency:
        raise Malformed("currency_code is missing")
    net, tax, gross = (_amount(total, name, currency) for name in ("total_net", "total_tax", "total_gross"))
    if net is not None and tax is not None:
        return net, tax
    if gross is not None and net is not None:
        return net, gross - net
    if gross is not None and tax is not None:
        return gross - tax, tax
    raise Malformed("line_total: two of total_net, total_tax and total_gross are needed")


def _amount(total: Row, name: str, currency: str) -> int | None:
    amount = total.get(name)
    if isinstance(amount, dict):
        other = text(amount.get("currency")).strip().upper()
        if other and other != currency:
            raise Malformed(f"{name} is in {other}, the order in {currency}")
        amount = amount.get("number")
    return None if amount in (None, "") else field({name: amount}, name, partial(minor, currency=currency))
