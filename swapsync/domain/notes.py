"""What is written into an order's history about a return (worker.md section 4, rule 10)."""

from enum import StrEnum


class Milestone(StrEnum):
    """What a return has reached, as it is noted on its order."""

    AUTHORISED = "authorised"
    RECEIVED = "received"
    CREDITED = "credited"
    REFUNDED = "refunded"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


_SAYS = {
    Milestone.AUTHORISED: "authorised",
    Milestone.RECEIVED: "received at the warehouse",
    Milestone.CREDITED: "credited",
    Milestone.REFUNDED: "refunded through the payment gateway",
    Milestone.CANCELLED: "cancelled",
    Milestone.EXPIRED: "expired",
}


def token(return_id: str, milestone: Milestone, n: int = 1) -> str:
    """The unique mark by which our own note is found again in an order's history."""
    return f"[swap:{return_id}:{milestone}:{n}]"


def body(rma_number: str, return_id: str, milestone: Milestone, n: int = 1, *, about: str = "") -> str:
    """The text of one note: ``Return RMA credited: credit note …. [swap:…]``, on one line."""
    tail = f": {about}" if about else ""
    return " ".join(f"Return {rma_number} {_SAYS[milestone]}{tail}. {token(return_id, milestone, n)}".split())


CREDIT_MARK = ":credit:"
"""What the transaction id of a credit has that no other effect's has."""


def void_platform_id(return_id: str, n: int) -> str:
    """The SparkLayer transaction id of what undoes a return's n-th credit."""
    return f"swap:{return_id}:void:{n}"


def credit_platform_id(return_id: str, n: int) -> str:
    """The SparkLayer transaction id of a return's n-th credit, counted from 1 (worker.md section 4, rule 3)."""
    return f"swap:{return_id}{CREDIT_MARK}{n}"
