"""SparkLayer: orders with their transactions and history, stock, variants, customers."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from urllib.parse import quote

from swapsync.clock import Clock
from swapsync.connectors.errors import BadAnswer, CredentialsRejected, Malformed, NotFound, Refused
from swapsync.connectors.http import Connection, Transport
from swapsync.connectors.rate import Budget, own_budget
from swapsync.connectors.reading import Row, field, shown, text, whole
from swapsync.domain import money
from swapsync.settings import SiteSettings

PAGE_SIZE = 500
STOCK_PAIRS_PER_CALL = 500
_RENEW_BEFORE_EXPIRY = timedelta(seconds=60)
_TOKEN_LIFETIME_SECONDS = 3600
_TOKEN_PATH = "/api/auth/token"  # noqa: S105 - a path
_PURCHASES = "/api/v1/purchases"
_CREDENTIALS_HINT = (
    "check the site's sparklayer_site_id, sparklayer_client_id and sparklayer_client_secret (SWAPSYNC_SPARKLAYER_…)"
)

# Filters of the purchases list. The printed name of the first has a bracket missing: try both at a live site.
_UPDATED_SINCE, _PLACED_FROM, _PLACED_TO = "dates[last_updated][gte]", "dates[placed][gte]", "dates[placed][lte]"


@dataclass(frozen=True, slots=True)
class OrderRef:
    """Which identifier (``platform``, ``sparklayer``, ``visible``, ``internal``) names an order, and its value."""

    lookup_by: str
    identifier: str


@dataclass(frozen=True, slots=True)
class StockLevel:
    """Units of a SKU at a location, with the two fields that stand beside the level."""

    quantity: int
    min_stock_level: int | None = None
    restock_date: str | None = None


@dataclass(frozen=True, slots=True)
class StockLevelWrite:
    """An absolute level for a SKU at a location (external id); what is None is not sent."""

    sku: str
    location: str
    quantity: int
    min_stock_level: int | None = None
    restock_date: str | None = None


class _Tokens:
    """The bearer token, renewed before it runs out; one renewal serves all threads."""

    def __init__(self, fetch: Callable[[], tuple[str, int]], clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._token = ""
        self._renew_at = datetime.min.replace(tzinfo=UTC)

    def token(self) -> str:
        with self._lock:
            if not self._token or self._clock.now() >= self._renew_at:
                token, seconds = self._fetch()
                lifetime = timedelta(seconds=seconds)
                self._renew_at = self._clock.now() + lifetime - min(_RENEW_BEFORE_EXPIRY, lifetime / 2)
                self._token = token
            return self._token

    def reject(self, token: str) -> None:
        with self._lock:
            if self._token == token:
                self._token = ""


class SparkLayerClient:
    """One merchant's SparkLayer site. Every method raises RemoteError; the module `errors` says which kind when."""

    def __init__(
        self,
        *,
        base_url: str,
        site_id: str,
        client_id: str,
        client_secret: str,
        created_by: str,
        clock: Clock,
        timeout: float,
        max_attempts: int,
        backoff: float,
        budget: Budget | None,
        transport: Transport | None = None,
        read_only: bool = False,
    ) -> None:
        self._client_id = client_id
        self._client_secret = client_secret
        self._created_by = created_by
        self._tokens = _Tokens(self._fetch_token, clock)
        self._connection = Connection(
            "SparkLayer",
            base_url,
            clock=clock,
            timeout=timeout,
            max_attempts=max_attempts,
            backoff=backoff,
            budget=budget,
            headers={"Site-Id": site_id},
            credentials_hint=_CREDENTIALS_HINT,
            secrets=(client_secret,),
            bearer=self._tokens,
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
            base_url=site.sparklayer_base_url,
            site_id=site.sparklayer_site_id,
            client_id=site.sparklayer_client_id,
            client_secret=site.sparklayer_client_secret.get_secret_value(),
            created_by=site.sparklayer_created_by,
            clock=clock,
            timeout=site.http.timeout_seconds,
            max_attempts=site.http.max_attempts,
            backoff=site.http.backoff_seconds,
            budget=budget or own_budget(site.sparklayer_requests_per_minute, clock),
            transport=transport,
            read_only=read_only,
        )

    @property
    def sent(self) -> Mapping[str, int]:
        """How many requests left, by "read" and "write"."""
        return self._connection.sent

    def check(self) -> None:
        """Gets a token, if there is none yet: proves that the site can be reached and the credentials are good."""
        self._tokens.token()

    # -- orders ------------------------------------------------------------------------------------------------------

    def purchases_page(
        self,
        *,
        offset: int,
        limit: int = PAGE_SIZE,
        updated_since: datetime | None = None,
        placed_from: datetime | None = None,
        placed_to: datetime | None = None,
    ) -> list[Any]:
        """Up to ``limit`` orders without lines, from row ``offset`` on, that pass every filter given (aware moments).

        Fewer rows than ``limit`` means that this was the last page.
        """
        filters = {_UPDATED_SINCE: updated_since, _PLACED_FROM: placed_from, _PLACED_TO: placed_to}
        params: dict[str, str | int] = {name: _wire_time(at) for name, at in filters.items() if at is not None}
        params |= {"type": "order", "offset": offset, "limit": limit}
        return self._list("GET", _PURCHASES, params=params)

    def purchase(self, lookup_by: str, identifier: str) -> dict[str, Any] | None:
        """One order with its lines, or None."""
        return self._one(_PURCHASES, lookup_by, identifier)

    def transactions(self, order: OrderRef) -> list[dict[str, Any]]:
        """The payments and refunds recorded on the order."""
        return self._objects("GET", f"{_order_path(order)}/transactions")

    def put_transaction(
        self,
        order: OrderRef,
        *,
        platform_id: str,
        total_minor: int,
        currency: str,
        details: dict[str, Any],
        counts: bool = True,
    ) -> None:
        """Records a refund of ``total_minor`` (minor units, below zero) that lowers what the customer owes.

        The same ``platform_id`` again replaces the refund. ``details`` (JSON values) are kept beside it verbatim.
        Without ``counts`` it only stands there, and what it did before is undone. Raises ValueError for one that counts
        and is not below zero.
        """
        if counts and total_minor >= 0:
            raise ValueError(f"a refund is below zero, not {total_minor}")
        transaction = {
            "platform_id": platform_id,
            "total": {"number": money.to_text(total_minor, currency), "currency": currency},
            "apply_to_balance": counts,
            "full_transaction": details,
        }
        self._connection.request("PUT", f"{_order_path(order)}/transactions", json=transaction, repeatable=True)

    def history(self, order: OrderRef) -> list[dict[str, Any]]:
        """The messages, notes and events of the order."""
        return self._objects("GET", f"{_order_path(order)}/history")

    def add_note(self, order: OrderRef, body: str) -> None:
        """Adds a note to the order, once more at every call. Raises InDoubt when the reply is lost."""
        note = {"event_type": "note", "created_by": self._created_by, "body": body}
        self._connection.request("POST", f"{_order_path(order)}/history", json=note, repeatable=False)

    # -- stock -------------------------------------------------------------------------------------------------------

    def stock_locations(self) -> dict[str, str]:
        """Id by external id of every stock location."""
        rows = self._objects("GET", "/api/v1/stock-locations")
        return {text(row.get("external_id")): text(row.get("id")) for row in rows}

    def create_stock_location(self, external_id: str) -> None:
        """Adds a stock location under this name. LookAgain where it stands; InDoubt when the reply is lost."""
        location = {"name": external_id, "external_id": external_id}
        self._connection.request("POST", "/api/v1/stock-locations", json=location, repeatable=False)

    def stock_levels(
        self, skus: Iterable[str], location_ids: Sequence[str]
    ) -> dict[tuple[str, str], StockLevel | None]:
        """Level by (SKU, location id); None where a SKU's can't be read. A pair without a level is absent."""
        wanted = list(dict.fromkeys(skus))
        levels: dict[tuple[str, str], StockLevel | None] = {}
        for start in range(0, len(wanted) if location_ids else 0, STOCK_PAIRS_PER_CALL):
            asked = {
                "skus": wanted[start : start + STOCK_PAIRS_PER_CALL],
                "filter": {"stock_location_ids": list(location_ids)},
            }
            for row in self._objects("POST", "/api/v1/batch-fetch-stock", json=asked, reads=True):
                try:
                    levels.update(_read_levels(row))
                except (TypeError, ValueError, AttributeError):
                    levels.update({(text(row.get("sku")), id_): None for id_ in location_ids})
        return levels

    def set_stock(self, levels: Sequence[StockLevelWrite]) -> None:
        """Sets absolute levels, all or none; each (SKU, location) may stand there once.

        Sent once: raises InDoubt when the reply is lost, LookAgain when another write got in between.
        """
        updates = [
            {"stock_location_external_id": level.location, "sku": level.sku, "stock_level": level.quantity}
            | ({} if level.min_stock_level is None else {"min_stock_level": level.min_stock_level})
            | ({} if level.restock_date is None else {"restock_date": level.restock_date})
            for level in levels
        ]
        if updates:
            self._connection.request("POST", "/api/v1/batch-update-stock", json=updates, repeatable=False)

    # -- variants and customers --------------------------------------------------------------------------------------

    def variant(self, external_id: str) -> dict[str, Any] | None:
        """The variant with this platform (or SparkLayer) id, or None."""
        return self._one("/api/v1/variants", external_id)

    def customer(self, lookup_by: str, identifier: str) -> dict[str, Any] | None:
        """The customer with this ``sparklayer`` id, ``platform`` id or ``email``, or None."""
        return self._one("/api/v2/customers", lookup_by, identifier)

    def get_ready(self) -> None:
        """Has at hand what else would be waited for between a look and this thread's next note or stock levels."""
        self._connection.get_ready()

    # -- plumbing ----------------------------------------------------------------------------------------------------

    def _fetch_token(self) -> tuple[str, int]:
        asked = {
            "grant_type": "client_credentials",
            "client_id": self._client_id,
            "client_secret": self._client_secret,
        }
        try:
            answer = self._connection.request(
                "POST", _TOKEN_PATH, json=asked, repeatable=True, anonymous=True, reads=True
            )
        except Refused as error:
            if error.status not in (400, 403):
                raise
            answered = f"answered {error.status}: {error.detail[:80]}"
            raise CredentialsRejected(
                f"SparkLayer: rejects the credentials, {_CREDENTIALS_HINT} ({answered})", error.status, error.detail
            ) from None
        token = answer.get("access_token") if isinstance(answer, dict) else None
        if not isinstance(token, str) or not token.isascii() or not token.isprintable() or not token:
            raise BadAnswer(f"SparkLayer: POST {_TOKEN_PATH}: the answer holds no access token")
        try:
            return token, field(answer, "expires_in", whole)
        except Malformed:
            return token, _TOKEN_LIFETIME_SECONDS

    def _one(self, collection: str, *names: str) -> dict[str, Any] | None:
        try:
            path = _path(collection, *names)
            answer = self._connection.request("GET", path, repeatable=True)
        except NotFound:
            return None
        if not isinstance(answer, dict):
            raise BadAnswer(f"SparkLayer: GET {collection}: the answer is not an object")
        return answer

    def _list(self, method: str, path: str, **parts: Any) -> list[Any]:
        answer = self._connection.request(method, path, repeatable=True, **parts)
        if not isinstance(answer, list):
            raise BadAnswer(f"SparkLayer: {method} {path}: the answer is not a list")
        return answer

    def _objects(self, method: str, path: str, **parts: Any) -> list[dict[str, Any]]:
        rows = self._list(method, path, **parts)
        if not all(isinstance(row, dict) for row in rows):
            raise BadAnswer(f"SparkLayer: {method} {path}: the answer is not a list of objects")
        return rows


def _path(collection: str, *names: str) -> str:
    if not all(name.strip(". ") for name in names):  # a dot would be taken for a step up the path, at any encoding
        raise NotFound(f"SparkLayer: {collection} knows nothing by the name {shown(names[-1])}", 404)
    return "/".join((collection, *(quote(name, safe="") for name in names)))


def _order_path(order: OrderRef) -> str:
    return _path(_PURCHASES, order.lookup_by, order.identifier)


def _wire_time(at: datetime) -> str:
    """``2026-03-02T08:00:00Z``, cut off after seconds, as fine as SparkLayer's own timestamps are."""
    if at.tzinfo is None:
        raise ValueError(f"{at} has no UTC offset")
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _read_levels(row: Row) -> dict[tuple[str, str], StockLevel]:
    return {
        (text(row.get("sku")), text(level.get("stock_location_id"))): StockLevel(
            int(level["stock_level"]), level.get("min_stock_level"), level.get("restock_date")
        )
        for level in row.get("stock_levels") or ()
        if level.get("stock_level") is not None
    }
