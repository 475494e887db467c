"""Swap: the returns list and the quality-control report. Of the contract, only what Swap publishes is called."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from swapsync.clock import Clock
from swapsync.connectors.errors import BadAnswer
from swapsync.connectors.http import Connection, Transport
from swapsync.connectors.rate import Budget, own_budget
from swapsync.domain.returns import Condition
from swapsync.settings import SiteSettings

PAGE_SIZE = 100
_RETURNS = "/v2/external/returns"
_CONDITION = {
    Condition.SELLABLE: "Sellable",
    Condition.DAMAGED: "Damaged",
    Condition.MISSING: "Missing",
    Condition.WRONG_ITEM: "Wrong-Item",
    Condition.NO_VALUE: "No-Value",
}
_LIST = ("returns", "orders")  # what the list is called, the better name first


@dataclass(frozen=True, slots=True)
class ReturnsPage:
    """One page of the returns list. ``total``: rows of the whole list, None where Swap doesn't say."""

    rows: list[Any]
    total: int | None
    last: bool


class SwapClient:
    """One merchant's Swap account."""

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        store_id: str,
        clock: Clock,
        timeout: float,
        max_attempts: int,
        backoff: float,
        budget: Budget | None,
        transport: Transport | None = None,
        read_only: bool = False,
    ) -> None:
        self._store_id = store_id
        self._connection = Connection(
            "Swap",
            base_url,
            clock=clock,
            timeout=timeout,
            max_attempts=max_attempts,
            backoff=backoff,
            budget=budget,
            headers={"X-API-Key": api_key},
            credentials_hint="check the site's swap_api_key (SWAPSYNC_SWAP_API_KEY)",
            secrets=(api_key,),
            transport=transport,
            read_only=read_only,
        )

    def stop(self, reason: str) -> None:
        """Makes no call any more after the one that is under way; each raises Unreachable with this reason."""
        self._connection.stop(reason)

    @classmethod
    def for_site(
        cls,
        site: SiteSettings,
        clock: Clock,
        transport: Transport | None = None,
        *,
        budget: Budget | None = None,
        read_only: bool = False,
    ) -> Self:
        """The client that the site's settings describe. ``read_only``: its writes raise WriteRefused.

        ``budget``: who keeps the site's rate limit; by default it is kept within this process.
        """
        return cls(
            base_url=site.swap_base_url,
            api_key=site.swap_api_key.get_secret_value(),
            store_id=site.swap_store_id,
            clock=clock,
            timeout=site.http.timeout_seconds,
            max_attempts=site.http.max_attempts,
            backoff=site.http.backoff_seconds,
            budget=budget or own_budget(site.swap_requests_per_minute, clock),
            transport=transport,
            read_only=read_only,
        )

    @property
    def sent(self) -> Mapping[str, int]:
        """How many requests left, by "read" and "write"."""
        return self._connection.sent

    def returns_page(
        self,
        *,
        page: int,
        updated_since: datetime | None = None,
        submitted_from: datetime | None = None,
        submitted_to: datetime | None = None,
        rma_number: str | None = None,
    ) -> ReturnsPage:
        """One page, counted from 1, of the returns that pass every filter given. Moments are aware.

        Raises RemoteError; BadAnswer when there is no list of returns in the answer.
        """
        filters = {
            "last_RMA_updated_date": updated_since,
            "from_return_submission_date": submitted_from,
            "to_return_submission_date": submitted_to,
        }
        params: dict[str, str | int] = {name: _wire_time(at) for name, at in filters.items() if at is not None}
        if rma_number is not None:
            params["rma_number"] = rma_number
        params |= {"swap_store_id": self._store_id, "items_per_page": PAGE_SIZE, "page": page}
        answer = self._connection.request("GET", _RETURNS, params=params, repeatable=True)
        rows = next((answer[name] for name in _LIST if name in answer), None) if isinstance(answer, dict) else None
        if not isinstance(rows, list):
            raise BadAnswer(f"Swap: GET {_RETURNS}: the answer holds no list of returns")
        pagination = answer.get("pagination")
        pagination = pagination if isinstance(pagination, dict) else {}
        return ReturnsPage(rows, _count(pagination.get("total_items")), _is_last(pagination, page, len(rows)))

    def report_quality_control(
        self,
        *,
        condition: Condition,
        quantity: int,
        order_id: str = "",
        order_name: str = "",
        line_item_id: str = "",
        sku: str = "",
        received_at: datetime | None = None,
        carton_id: str = "",
    ) -> None:
        """Tells Swap what the warehouse found for some units of an order line; Swap may act on it, money included.

        The order goes by id or name, the line by line item id or SKU. Whether a repeat adds up is not known, so a
        lost reply raises InDoubt. Raises RemoteError, and ValueError where order or line is not named.
        """
        if not (order_id or order_name) or not (line_item_id or sku):
            raise ValueError("a quality-control report needs an order (id or name) and a line (line item id or SKU)")
        optional = {
            "shopify_order_id": order_id,
            "shopify_order_name": order_name,
            "shopify_line_item_id": line_item_id,
            "sku": sku,
            "receipt_date": _wire_time(received_at) if received_at else "",
            "carton_id": carton_id,
        }
        report = {"store_id": self._store_id, "condition": _CONDITION[condition], "return_qty": quantity}
        report |= {name: value for name, value in optional.items() if value}
        self._connection.request("POST", "/v1/external/quality-control/update", json=report, repeatable=False)


def _wire_time(at: datetime) -> str:
    """``2026-03-02T08:00:00.000Z``, cut off after milliseconds, so never later than the moment itself."""
    if at.tzinfo is None:
        raise ValueError(f"{at} has no UTC offset")
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _is_last(pagination: Mapping[str, Any], page: int, rows: int) -> bool:
    more, pages = pagination.get("has_next_page"), _count(pagination.get("total_pages"))
    if rows == 0:
        return True
    if isinstance(more, bool):
        return not more
    return page >= pages if pages is not None else rows < PAGE_SIZE
