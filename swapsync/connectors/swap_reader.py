"""The tolerant reader of a return. Each spelling that Swap's contract marks as inferred stands in one table below."""

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

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
    shown,
    text,
    whole,
)
from swapsync.domain.returns import Delivery, Remedy, Return, ReturnLine, ReturnStatus, SwapQc

Word = TypeVar("Word", bound=StrEnum)
Figure = TypeVar("Figure")

EMPTY: Mapping[Any, Any] = MappingProxyType({})

# Values, folded: lower case, without spaces, hyphens and underscores.
_STATUSES = {
    "open": ReturnStatus.OPEN,
    "needsreview": ReturnStatus.NEEDS_REVIEW,
    "onhold": ReturnStatus.ON_HOLD,
    "closed": ReturnStatus.CLOSED,
    "cancelled": ReturnStatus.CANCELLED,
    "canceled": ReturnStatus.CANCELLED,
    "expired": ReturnStatus.EXPIRED,
}
_DELIVERIES = {
    **dict.fromkeys(("", "pretransit", "ownlabel", "returntostore", "greenreturn"), Delivery.ANNOUNCED),
    **dict.fromkeys(("intransit", "consolidationtransit", "consolidationdelivered"), Delivery.IN_TRANSIT),
    **dict.fromkeys(("atconsolidationcentre", "atconsolidationcenter"), Delivery.IN_TRANSIT),
    "delivered": Delivery.DELIVERED,
}
_QUALITY_CONTROLS = {
    "": SwapQc.NONE,
    "pending": SwapQc.PENDING,
    "approved": SwapQc.APPROVED,
    "notapproved": SwapQc.NOT_APPROVED,
    "missing": SwapQc.MISSING,
}
_REMEDIES = {
    **dict.fromkeys(("refund", "shoplatercredit"), Remedy.CREDIT),
    **dict.fromkeys(("exchange", "shopnowcredit"), Remedy.STOCK_ONLY),
    **dict.fromkeys(("additionalpayment", "recycle", "warranty", "repair", "reglaze", "faulty"), Remedy.ASK),
}

# Fields under more than one name, the better one first.
_RMA_NUMBER = ("rma_number", "rma", "return_id")  # a return without a number goes by its id
_ORDER_NAME = ("shopify_order_name", "order_name")
_SUBMITTED = ("submission_date", "submitted_at", "intention_date", "date_created", "date_updated")


MEANINGS: Mapping[str, type[StrEnum]] = {
    "return_status": ReturnStatus,
    "delivery_status": Delivery,
    "quality_control_status": SwapQc,
    "return_type": Remedy,
}
"""What words of these fields can mean; each has an ``unknown``, which is no meaning."""

Taught = Mapping[tuple[str, str], str]
"""(field, folded word) -> meaning, where a person said what a word means that the tables above don't have."""


def read_return(row: Any, naive_timezone: str | None, taught: Taught = EMPTY) -> Return:
    """A row of the returns list as a Return; ``naive_timezone`` (IANA) is the zone of timestamps without an offset.

    A word without a meaning becomes UNKNOWN and is named in ``Return.unknown``, as is an unreadable figure. Raises
    Malformed only where the return can't be identified, ordered in time, or its lines can't be counted.
    """
    if not isinstance(row, dict):
        raise Malformed("the row is not an object")
    try:
        return _read_return(row, partial(moment, naive_timezone=naive_timezone), taught)
    except Malformed as error:
        error.remote_id = identifier(row.get("return_id")) or None
        raise


def _read_return(row: Row, at: Callable[[Any], datetime], taught: Taught) -> Return:
    unknown: list[str] = []

    def meaning(name: str, meanings: Mapping[str, Word], otherwise: Word) -> Word:
        value = row.get(name)
        word = folded(text(value)) if value is None or isinstance(value, str) else None
        if word is not None and word in meanings:
            return meanings[word]
        if word is not None and (name, word) in taught:
            return type(otherwise)(taught[name, word])
        unknown.append(f"{name} {shown(value)}")
        return otherwise

    def figure(name: str, read: Callable[[Any], Figure]) -> Figure | None:
        if row.get(name) in (None, ""):
            return None
        try:
            return read(row[name])
        except ValueError:
            unknown.append(f"{name} {shown(row[name])}")
            return None

    return_id = field(row, "return_id", present)
    order_ref, order_name = identifier(row.get("order_id")), first(row, _ORDER_NAME)
    if not order_ref and not order_name:
        raise Malformed("order_id is missing, and so is the order's name")
    field(row, "return_status", present)
    updated_at = field(row, "date_updated", at)
    currency = text(row.get("customer_currency")).strip().upper()
    in_minor_units = partial(minor, currency=currency)
    return Return(
        return_id=return_id,
        rma_number=first(row, _RMA_NUMBER, identifier),
        order_ref=order_ref,
        order_name=order_name,
        customer_email=text(row.get("customer_email")).strip(),
        currency=currency,
        status=meaning("return_status", _STATUSES, ReturnStatus.UNKNOWN),
        delivery=meaning("delivery_status", _DELIVERIES, Delivery.UNKNOWN),
        qc=meaning("quality_control_status", _QUALITY_CONTROLS, SwapQc.UNKNOWN),
        lines=_read_lines(row, taught),
        submitted_at=_submitted_at(row, at, updated_at),
        updated_at=updated_at,
        closed_at=figure("date_closed", at),
        total=figure("total", in_minor_units),
        refunded=figure("total_refund_value_customer_currency", in_minor_units) or 0,
        unknown=tuple(unknown),
        handling_fee=max(figure("handling_fee", in_minor_units) or 0, 0),
    )


def _submitted_at(row: Row, at: Callable[[Any], datetime], updated_at: datetime) -> datetime:
    for name in _SUBMITTED:
        with suppress(ValueError):  # no core field: the next one says it nearly as well
            return at(row.get(name))
    return updated_at


def _read_lines(row: Row, taught: Taught) -> tuple[ReturnLine, ...]:
    products = row.get("products")
    if products is None or products == []:
        shipments = row.get("return_shipments")
        shipped = (
            [s.get("items") or [] for s in shipments if isinstance(s, dict)] if isinstance(shipments, list) else []
        )
        if products is None and not any(shipped):
            raise Malformed("products is missing")
        products = [item for items in shipped if isinstance(items, list) for item in items]
    if not isinstance(products, list):
        raise Malformed("products is not a list")
    lines: dict[str, ReturnLine] = {}
    for position, product in enumerate(products, start=1):
        try:
            line = _read_line(product, position, lines, taught)
        except Malformed as error:
            raise Malformed(f"line {position}: {error.reason}") from error
        lines[line.line_id] = line
    return tuple(lines.values())


def _read_line(product: Any, position: int, taken: Collection[str], taught: Taught) -> ReturnLine:
    if not isinstance(product, dict):
        raise Malformed("it is not an object")
    return_type = field(product, "return_type", present)
    word = folded(return_type)
    line_item_id, sku = identifier(product.get("shopify_line_item_id")), text(product.get("sku"))
    said = {f"{level}_reason_id": identifier(product.get(f"{level}_reason_id")) for level in ("main", "sub")}
    said |= {f"{level}_reason_text": text(product.get(f"{level}_reason_text")).strip() for level in ("main", "sub")}
    line_id = identifier(product.get("product_id")) or line_item_id or sku or str(position)
    return ReturnLine(
        line_id=distinct(line_id, taken),
        sku=sku,
        variant_id=identifier(product.get("shopify_variant_id")),
        line_item_id=line_item_id,
        quantity=field(product, "item_count", whole),
        return_type=return_type,
        remedy=_REMEDIES.get(word) or Remedy(taught.get(("return_type", word), Remedy.UNKNOWN)),
        reason=" / ".join(filter(None, (said["main_reason_text"], said["sub_reason_text"]))),
        **said,
    )
