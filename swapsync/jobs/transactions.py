"""Transactions as they stand on SparkLayer orders."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from swapsync.connectors.reading import shown, text


@dataclass(frozen=True, slots=True)
class Transaction:
    """A payment or refund as it stands on an order; ``total`` is None when it can't be read.

    ``written`` is the total as it came, for people to read. ``currency`` and ``credit_note``, the number of our
    document, are blank when the row doesn't say.
    """

    platform_id: str
    total: Decimal | None
    currency: str
    applied: bool
    written: str
    credit_note: str


def read_transaction(row: Mapping[str, Any]) -> Transaction:
    """A transaction row; its total may be an object with number and currency, a number, or text."""
    total = row.get("total")
    number, currency = (total.get("number"), total.get("currency")) if isinstance(total, dict) else (total, None)
    try:
        amount = Decimal(text(number))
    except InvalidOperation:
        amount = Decimal("NaN")
    return Transaction(
        text(row.get("platform_id")).strip(),
        amount if amount.is_finite() else None,
        text(currency).strip().upper(),
        row.get("apply_to_balance") is True,
        shown(number),
        text(details.get("credit_note")) if isinstance(details := row.get("full_transaction"), dict) else "",
    )
