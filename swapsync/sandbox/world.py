"""What the two look-alikes know: returns on Swap's side; orders, customers and stock on SparkLayer's.

Rows are kept in the shape of the wire contracts. A row is serialised once, when it is put; change it through
`change_return` or `change_purchase`, never in place.
"""

from __future__ import annotations

import copy
import secrets
import threading
import uuid
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson

from swapsync.sandbox.faults import Faults

STORE_ID = "store_demo_01"
API_KEY = "swap-demo-key"
SITE_ID = "northgate-trade"
CLIENT_ID = "11111111-2222-3333-4444-555555555555"
CLIENT_SECRET = "demo-client-secret"  # noqa: S105 - accepted by the look-alike only

Row = dict[str, Any]
Amount = Decimal | str | int
Clock = Callable[[], datetime]

DETAIL_ONLY = ("billing_address", "packages", "accounting_files", "custom_fields", "metadata")


def to_json(value: Any) -> bytes:
    """JSON bytes of a value; a Decimal becomes a JSON number with exactly its digits."""
    return orjson.dumps(value, default=_decimal)


def _decimal(value: Any) -> Any:
    if isinstance(value, Decimal):
        return orjson.Fragment(format(value, "f"))
    raise TypeError(f"{type(value).__name__} has no JSON form")


def utc_now() -> datetime:
    """The present moment, aware, in UTC."""
    return datetime.now(UTC)


def swap_time(moment: datetime) -> str:
    """An aware moment as Swap writes it: UTC, milliseconds, `Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def spark_time(moment: datetime) -> str:
    """An aware moment as SparkLayer writes it: UTC, whole seconds, `+00:00`."""
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def parse_moment(text: object) -> datetime | None:
    """An aware datetime from ISO 8601 text with an offset; None for anything else."""
    if not isinstance(text, str) or "T" not in text.upper():
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def stable_uuid(text: str) -> str:
    """The same UUID text for the same text."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"sandbox:{text}"))


def money(number: Amount, currency: str) -> Row:
    """SparkLayer's Money: decimal text and currency."""
    return {"number": format(Decimal(number), "f"), "currency": currency}


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One request that reached a look-alike, and what was answered.

    `path` is as sent (percent-encoded) and without the `/swap` or `/sparklayer` in front. `headers` holds only
    those that the contracts name, credentials masked. `status` is None when the connection was closed without an
    answer. `faulted` marks an answer spoilt on purpose, `malformed` one that carries a row flagged so.
    `response_body` is recorded only while `World.record_bodies` is true.
    """

    number: int
    when: datetime
    side: str
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    request_body: Any
    status: int | None
    faulted: bool
    malformed: bool
    response_type: str | None
    response_body: bytes | None


class TimeIndex:
    """Keys in the order of a moment each."""

    def __init__(self) -> None:
        self._entries: list[tuple[datetime, str]] = []
        self._moments: dict[str, datetime] = {}

    def place(self, key: str, moment: datetime) -> None:
        """Puts the key at this moment, away from where it stood."""
        self.remove(key)
        self._moments[key] = moment
        insort(self._entries, (moment, key))

    def remove(self, key: str) -> None:
        """Forgets the key; an unknown one is no error."""
        moment = self._moments.pop(key, None)
        if moment is not None:
            del self._entries[bisect_left(self._entries, (moment, key))]

    def moment(self, key: str) -> datetime:
        """Where the key stands. KeyError if it does not."""
        return self._moments[key]

    def window(self, since: datetime | None, until: datetime | None) -> tuple[int, int]:
        """Positions [low, high) of the keys from `since` to `until`, both inclusive, None for no bound."""
        low = bisect_left(self._entries, (since, "")) if since else 0
        high = bisect_left(self._entries, (until + timedelta(microseconds=1), "")) if until else len(self._entries)
        return low, max(low, high)

    def newest_first(self, low: int, high: int) -> Iterator[str]:
        """Keys at the positions [low, high), the latest moment first."""
        return (self._entries[position][1] for position in range(high - 1, low - 1, -1))


@dataclass(slots=True)
class _Return:
    row: Row
    body: bytes
    malformed: bool
    submitted: datetime | None


class SwapWorld:
    """Swap's side: returns and the quality-control reports that came in.

    `pagination = False` leaves the pagination object out of every page (a breach of the contract, to test tolerance;
    such exchanges are flagged faulted). `between_pages` holds callables; each request for a page after the first
    takes one from the front and runs it before it is answered.
    """

    _indexed_fields = ("rma_number", "shopify_order_name", "customer_email", "order_id")

    def __init__(self, lock: threading.RLock, now: Clock) -> None:
        self.store_id = STORE_ID
        self.api_key = API_KEY
        self.pagination = True
        self.between_pages: list[Callable[[], None]] = []
        self.quality_control: list[Row] = []
        self._lock = lock
        self._now = now
        self._returns: dict[str, _Return] = {}
        self._updated = TimeIndex()
        self._by_field: dict[str, dict[str, set[str]]] = {field: {} for field in self._indexed_fields}

    @property
    def returns(self) -> Mapping[str, Row]:
        """Copies of all rows by return id (a row without one goes by a key of the sandbox)."""
        with self._lock:
            return {key: copy.deepcopy(stored.row) for key, stored in self._returns.items()}

    @property
    def malformed(self) -> list[str]:
        """The keys in `returns` of the rows flagged malformed."""
        with self._lock:
            return [key for key, stored in self._returns.items() if stored.malformed]

    def get_return(self, return_id: str) -> Row:
        """A copy of one row. KeyError if there is none."""
        with self._lock:
            return copy.deepcopy(self._returns[return_id].row)

    def put_return(self, row: Row, *, malformed: bool = False) -> None:
        """Adds a ReturnV2 row, or replaces the one with its return_id.

        `malformed` flags the exchanges that carry the row, so that contract checks can leave them out. A row without
        a readable `date_updated` counts as changed now.
        """
        row = dict(row)
        key = row.get("return_id")
        if not isinstance(key, str):
            key = f"row:{row.get('rma_number', len(self._returns))}"
        with self._lock:
            self.delete_return(key)
            submitted = parse_moment(row.get("submission_date") or row.get("submitted_at"))
            self._returns[key] = _Return(row, to_json(row), malformed, submitted)
            self._updated.place(key, parse_moment(row.get("date_updated")) or self._now())
            for field, keys_of in self._by_field.items():
                keys_of.setdefault(_folded(row.get(field)), set()).add(key)

    def change_return(self, return_id: str, **fields: Any) -> None:
        """Overwrites fields of a return; `date_updated` becomes now unless it is among them. KeyError if unknown."""
        with self._lock:
            stored = self._returns[return_id]
            changes = {"date_updated": swap_time(self._now()), **fields}
            self.put_return({**stored.row, **changes}, malformed=stored.malformed)

    def delete_return(self, return_id: str) -> None:
        """Forgets a return; an unknown one is no error."""
        with self._lock:
            stored = self._returns.pop(return_id, None)
            if stored is None:
                return
            self._updated.remove(return_id)
            for field, keys_of in self._by_field.items():
                keys_of[_folded(stored.row.get(field))].discard(return_id)

    def page(
        self,
        exact: Mapping[str, str],
        updated_since: datetime | None,
        submitted_from: datetime | None,
        submitted_to: datetime | None,
        offset: int,
        limit: int,
    ) -> tuple[int, list[bytes], bool]:
        """Rows that pass the filters, latest `date_updated` first.

        In: values that rma_number, shopify_order_name or customer_email must have (compared without case), and
        inclusive bounds. Out: how many rows pass, the JSON of `limit` of them from `offset` on, and whether one of
        these is flagged malformed.
        """
        with self._lock:
            low, high = self._updated.window(updated_since, None)
            if not exact and submitted_from is None and submitted_to is None:
                total = high - low
                last = max(low, high - offset)
                keys: Iterable[str] = self._updated.newest_first(max(low, last - limit), last)
            else:
                passing = [
                    key
                    for key in self._candidates(exact, low, high)
                    if (updated_since is None or self._updated.moment(key) >= updated_since)
                    and _between(self._returns[key].submitted, submitted_from, submitted_to)
                ]
                total = len(passing)
                keys = passing[offset : offset + limit]
            rows = [self._returns[key] for key in keys]
        return total, [stored.body for stored in rows], any(stored.malformed for stored in rows)

    def names_order(self, order_id: str | None, order_name: str | None) -> bool:
        """Whether any return is of the order with this id or this display name."""
        with self._lock:
            named = {"order_id": order_id, "shopify_order_name": order_name}
            return any(
                value is not None and self._by_field[field].get(_folded(value)) for field, value in named.items()
            )

    def _candidates(self, exact: Mapping[str, str], low: int, high: int) -> Iterable[str]:
        if not exact:
            return self._updated.newest_first(low, high)
        matching = set.intersection(*(self._by_field[field].get(_folded(exact[field]), set()) for field in exact))
        return sorted(matching, key=lambda key: (self._updated.moment(key), key), reverse=True)


def _folded(value: object) -> str:
    return str(value).casefold()


def _between(moment: datetime | None, since: datetime | None, until: datetime | None) -> bool:
    if since is None and until is None:
        return True
    return moment is not None and (since is None or moment >= since) and (until is None or moment <= until)


@dataclass(slots=True)
class _Purchase:
    detail: Row
    body: bytes
    base: bytes


class SparkLayerWorld:
    """SparkLayer's side: purchases with transactions and history, customers, variants, stock.

    `refused_skus` are SKUs that a stock update refuses, `choking_skus` those that break it. `token_seconds` is how
    long a token issued from now on lives. `between_pages` works as on Swap's side, for requests with an offset above
    zero.
    """

    def __init__(self, lock: threading.RLock, now: Clock) -> None:
        self.site_id = SITE_ID
        self.client_id = CLIENT_ID
        self.client_secret = CLIENT_SECRET
        self.token_seconds = 3600
        self.refused_skus: set[str] = set()
        self.choking_skus: set[str] = set()
        self.between_pages: list[Callable[[], None]] = []
        self._lock = lock
        self._now = now
        self._purchases: dict[str, _Purchase] = {}
        self._updated = TimeIndex()
        self._purchase_keys: dict[tuple[str, str], str] = {}
        self._transactions: dict[str, dict[str, Row]] = {}
        self._history: dict[str, list[Row]] = {}
        self._customers: dict[str, Row] = {}
        self._customer_keys: dict[tuple[str, str], str] = {}
        self._variants: dict[str, Row] = {}
        self._locations: dict[str, Row] = {}
        self._levels: dict[str, dict[str, Row]] = {}
        self._tokens: dict[str, tuple[str, datetime]] = {}
        for external_id, name in (
            ("default", "Main warehouse"),
            ("inspection", "Returns inspection"),
            ("damaged", "Damaged goods"),
        ):
            self.add_location(name, external_id)

    # -- tokens

    def issue_token(self, site_id: str) -> str:
        """A new token for this site, good for `token_seconds`."""
        token = secrets.token_urlsafe(24)
        with self._lock:
            self._tokens[token] = (site_id, self._now() + timedelta(seconds=self.token_seconds))
        return token

    def accepts_token(self, token: str, site_id: str) -> bool:
        """Whether the token was issued for this site and has not run out."""
        with self._lock:
            site_of_token, expires_at = self._tokens.get(token, ("", self._now()))
        return site_of_token == site_id and self._now() < expires_at

    def revoke_tokens(self) -> None:
        """Forgets every token."""
        with self._lock:
            self._tokens.clear()

    # -- purchases

    @property
    def purchases(self) -> Mapping[str, Row]:
        """Copies of all purchases by platform id."""
        with self._lock:
            return {
                stored.detail["purchase_identifiers"]["platform"]: copy.deepcopy(stored.detail)
                for stored in self._purchases.values()
            }

    def put_purchase(self, detail: Row) -> None:
        """Adds a Purchase (with packages), or replaces the one with its `sparklayer` identifier.

        Needs `purchase_identifiers.sparklayer` and `.platform`, and `dates.updated_at` with an offset; KeyError or
        ValueError otherwise.
        """
        identifiers = detail["purchase_identifiers"]
        key, updated = identifiers["sparklayer"], parse_moment(detail["dates"]["updated_at"])
        if updated is None:
            raise ValueError(f"purchase {identifiers['platform']}: dates.updated_at is not a moment with an offset")
        base = {name: value for name, value in detail.items() if name not in DETAIL_ONLY}
        with self._lock:
            if key in self._purchases:
                for kind, value in self._purchases[key].detail["purchase_identifiers"].items():
                    self._purchase_keys.pop((kind, value), None)
            self._purchases[key] = _Purchase(dict(detail), to_json(detail), to_json(base))
            self._updated.place(key, updated)
            for kind, value in identifiers.items():
                if value:
                    self._purchase_keys[kind, value] = key

    def change_purchase(self, platform_id: str, **fields: Any) -> None:
        """Overwrites fields of a purchase (None removes one); `dates.updated_at` and `revision_date` become now.

        KeyError if no purchase has this platform id.
        """
        with self._lock:
            detail = self._purchases[self._purchase_keys["platform", platform_id]].detail
            now = spark_time(self._now())
            changed = {**detail, "revision_date": now, **fields}
            changed["dates"] = {**detail["dates"], "updated_at": now, **fields.get("dates", {})}
            self.put_purchase({name: value for name, value in changed.items() if value is not None})

    def delete_purchase(self, platform_id: str) -> None:
        """Takes a purchase out, with its transactions and its history. KeyError if none has this platform id."""
        with self._lock:
            key = self._purchase_keys["platform", platform_id]
            self._purchase_keys = {name: of for name, of in self._purchase_keys.items() if of != key}
            self._updated.remove(key)
            for kept in (self._purchases, self._transactions, self._history):
                kept.pop(key, None)

    def find_purchase(self, lookup_by: str, identifier: str) -> str | None:
        """The key (SparkLayer id) of the purchase with this identifier, or None."""
        with self._lock:
            return self._purchase_keys.get((lookup_by, identifier))

    def purchase_body(self, key: str) -> bytes:
        """JSON of one purchase with its packages. KeyError if unknown."""
        return self._purchases[key].body

    def currency_of(self, key: str) -> str:
        """The currency of one purchase. KeyError if unknown or if the purchase names none."""
        currency: str = self._purchases[key].detail["currency_code"]
        return currency

    def page(
        self,
        updated: tuple[datetime | None, datetime | None],
        placed: tuple[datetime | None, datetime | None],
        type_: str | None,
        customers: Mapping[str, str],
        offset: int,
        limit: int,
    ) -> list[bytes]:
        """JSON of the base fields of `limit` purchases from `offset` on, latest `dates.updated_at` first.

        In: inclusive bounds (None: none), a purchase type, and values that named customer identifiers must have.
        """
        with self._lock:
            low, high = self._updated.window(*updated)
            if type_ is None and not customers and placed == (None, None):
                last = max(low, high - offset)
                keys = self._updated.newest_first(max(low, last - limit), last)
                return [self._purchases[key].base for key in keys]
            rows: list[bytes] = []
            skip = offset
            for key in self._updated.newest_first(low, high):
                stored = self._purchases[key]
                if not _passes(stored.detail, placed, type_, customers):
                    continue
                if skip:
                    skip -= 1
                    continue
                rows.append(stored.base)
                if len(rows) == limit:
                    break
            return rows

    # -- transactions and history

    def transactions(self, platform_id: str) -> list[Row]:
        """Copies of the transactions on the purchase with this platform id. KeyError if unknown."""
        with self._lock:
            return self.transactions_of(self._purchase_keys["platform", platform_id])

    def transactions_of(self, key: str) -> list[Row]:
        """The same, by the purchase's key."""
        with self._lock:
            return copy.deepcopy(list(self._transactions.get(key, {}).values()))

    def put_transaction(self, key: str, transaction: Row) -> bool:
        """Adds a transaction to a purchase, or replaces the one with its `platform_id`; true when it is new.

        While `apply_to_balance` is true, `total` counts: it is part of the purchase's `total_paid`, and both a
        payment and a refund lower what the customer owes by its size. A change of what counts moves these figures by
        the difference, adds a visible history event and touches the purchase; a mere repeat changes nothing.
        """
        with self._lock:
            of_purchase = self._transactions.setdefault(key, {})
            before = of_purchase.get(transaction["platform_id"])
            of_purchase[transaction["platform_id"]] = copy.deepcopy(transaction)
            was, counts = _counting(before), _counting(transaction)
            if was != counts:
                detail = self._purchases[key].detail
                currency = transaction["total"]["currency"]
                self._move_balance(detail["customer_identifiers"].get("sparklayer", ""), abs(was) - abs(counts))
                self.add_event(
                    key,
                    {
                        "event_type": "transaction",
                        "created_by": "system",
                        "body": f"Transaction {transaction['platform_id']} now counts {counts} {currency}.",
                    },
                )
                paid = Decimal(detail.get("total_paid", {}).get("number", "0.00")) - was + counts
                self.change_purchase(detail["purchase_identifiers"]["platform"], total_paid=money(paid, currency))
            return before is None

    def history(self, platform_id: str) -> list[Row]:
        """Copies of the history of the purchase with this platform id, oldest first. KeyError if unknown."""
        with self._lock:
            return self.history_of(self._purchase_keys["platform", platform_id])

    def history_of(self, key: str) -> list[Row]:
        """The same, by the purchase's key."""
        with self._lock:
            return copy.deepcopy(self._history.get(key, []))

    def add_event(self, key: str, event: Row) -> Row:
        """Adds an event to a purchase's history and returns it with its `created_at`."""
        stored = {**event, "created_at": spark_time(self._now())}
        with self._lock:
            self._history.setdefault(key, []).append(stored)
        return stored

    # -- customers

    def put_customer(self, customer: Row) -> None:
        """Adds a Customer, or replaces the one with its `id`."""
        with self._lock:
            for name in _customer_names(self._customers.get(customer["id"], {})):
                self._customer_keys.pop(name, None)
            self._customers[customer["id"]] = copy.deepcopy(customer)
            for name in _customer_names(customer):
                self._customer_keys[name] = customer["id"]

    def find_customer(self, lookup_by: str, identifier: str) -> Row | None:
        """A copy of the customer with this identifier (`sparklayer`, `platform`, or `email` without case), or None."""
        value = identifier.casefold() if lookup_by == "email" else identifier
        with self._lock:
            key = self._customer_keys.get((lookup_by, value))
            return copy.deepcopy(self._customers[key]) if key else None

    def balance(self, email: str) -> Decimal:
        """What the customer with this e-mail owes. KeyError without such a customer or account."""
        with self._lock:
            customer = self._customers[self._customer_keys["email", email.casefold()]]
            return Decimal(customer["payment_on_account"]["balance"])

    def _move_balance(self, customer_id: str, by: Decimal) -> None:
        customer = self._customers.get(customer_id, {})
        if "payment_on_account" not in customer:  # a user of a company buys on the company's account
            customer = self._customers.get(customer.get("parent_customer_id", ""), {})
        account = customer.get("payment_on_account")
        if account is not None:
            account["balance"] = format(Decimal(account["balance"]) + by, "f")

    # -- variants and stock

    def put_variant(self, variant: Row) -> None:
        """Adds a Variant, or replaces the one with its `id`."""
        with self._lock:
            self._variants[variant["id"]] = copy.deepcopy(variant)

    def change_variant(self, variant_id: str, **fields: Any) -> None:
        """Overwrites fields of the variant with this SparkLayer or external id; `updated_at` becomes now.

        KeyError if unknown.
        """
        with self._lock:
            variant = next((row for row in self._variants.values() if variant_id in _names(row)), None)
            if variant is None:
                raise KeyError(variant_id)
            variant.update({"updated_at": spark_time(self._now()), **fields})

    def find_variants(self, *, name: str | None = None, product_id: str | None = None) -> list[Row]:
        """Variants with this SparkLayer or external id, or of this product, each with the `stock` of its SKU."""
        with self._lock:
            by_id = [self._variants[name]] if name in self._variants else self._variants.values()
            return [
                {**row, "stock": self.levels(row.get("sku", ""), None)}
                for row in by_id
                if (name is None or name in _names(row)) and (product_id is None or row.get("product_id") == product_id)
            ]

    @property
    def locations(self) -> list[Row]:
        """Copies of the stock locations, by id ascending."""
        with self._lock:
            return [dict(self._locations[location_id]) for location_id in sorted(self._locations)]

    def find_location(self, name: str) -> Row | None:
        """The stock location with this id or external id, or None."""
        with self._lock:
            return next(
                (dict(row) for row in self._locations.values() if name in (row["id"], row["external_id"])), None
            )

    def add_location(self, name: str, external_id: str) -> Row:
        """Adds a stock location and returns it. ValueError when the external id is taken."""
        with self._lock:
            if any(row["external_id"] == external_id for row in self._locations.values()):
                raise ValueError(f"stock location {external_id!r} exists already")
            row = {"id": stable_uuid(f"location:{external_id}"), "name": name, "external_id": external_id}
            self._locations[row["id"]] = row
            return dict(row)

    def remove_locations(self, *external_ids: str) -> None:
        """Forgets stock locations, as if somebody had never set them up."""
        with self._lock:
            for row in [row for row in self._locations.values() if row["external_id"] in external_ids]:
                del self._locations[row["id"]]

    def set_level(
        self,
        sku: str,
        location_external_id: str,
        level: int,
        min_stock_level: int | None = None,
        restock_date: str | None = None,
    ) -> None:
        """Sets the stock of a SKU at a location. KeyError for an unknown location."""
        location = self.find_location(location_external_id)
        if location is None:
            raise KeyError(location_external_id)
        with self._lock:
            self._levels.setdefault(sku, {})[location["id"]] = {
                "stock_location_id": location["id"],
                "stock_level": level,
                "min_stock_level": min_stock_level,
                "restock_date": restock_date,
            }

    def level(self, sku: str, location_external_id: str) -> int | None:
        """The stock of a SKU at a location, None where no level was ever set. KeyError for an unknown location."""
        location = self.find_location(location_external_id)
        if location is None:
            raise KeyError(location_external_id)
        with self._lock:
            row = self._levels.get(sku, {}).get(location["id"])
            return row["stock_level"] if row else None

    def levels(self, sku: str, location_ids: Sequence[str] | None) -> list[Row]:
        """Copies of the StockLevel rows of a SKU at these locations (None: at all)."""
        with self._lock:
            return [
                dict(row)
                for location_id, row in self._levels.get(sku, {}).items()
                if location_ids is None or location_id in location_ids
            ]


def _passes(
    detail: Row, placed: tuple[datetime | None, datetime | None], type_: str | None, customers: Mapping[str, str]
) -> bool:
    return (
        (type_ is None or detail["type"] == type_)
        and all(detail["customer_identifiers"].get(kind) == value for kind, value in customers.items())
        and _between(parse_moment(detail["dates"].get("placed_at")), *placed)
    )


def _counting(transaction: Row | None) -> Decimal:
    if transaction is None or not transaction["apply_to_balance"]:
        return Decimal("0.00")
    return Decimal(transaction["total"]["number"])


def _customer_names(customer: Row) -> list[tuple[str, str]]:
    fields = {"sparklayer": "id", "platform": "external_id", "email": "email"}
    return [
        (lookup_by, customer[field].casefold() if field == "email" else customer[field])
        for lookup_by, field in fields.items()
        if customer.get(field)
    ]


def _names(variant: Row) -> tuple[object, object]:
    return variant["id"], variant.get("external_id")


class World:
    """Both sides, the faults switched on, and a record of every request.

    `now` is the sandbox's clock: a callable that returns an aware datetime in UTC; replace it to move time.
    `forbidden_calls` are the requests for operations that a worker must never call; they are in `exchanges` too.
    """

    def __init__(self, now: Clock = utc_now) -> None:
        self.now = now
        self.lock = threading.RLock()
        self.faults = Faults()
        self.exchanges: list[Exchange] = []
        self.forbidden_calls: list[Exchange] = []
        self.record_bodies = False
        self.swap = SwapWorld(self.lock, lambda: self.now())
        self.sparklayer = SparkLayerWorld(self.lock, lambda: self.now())

    def calls(self, method: str, path_contains: str = "") -> list[Exchange]:
        """The recorded exchanges of this method whose path as sent contains a text."""
        return [each for each in list(self.exchanges) if each.method == method and path_contains in each.path]


# -- rows in the contracts' shapes, from few facts


def return_line(
    sku: str | None,
    quantity: int,
    *,
    line_item_id: str | None = None,
    variant_id: str | None = None,
    cost: Amount = 0,
    return_type: str = "Refund",
    name: str = "Item",
    **fields: Any,
) -> Row:
    """One line for `return_row`; `fields` are further contract fields, or replacements."""
    return {
        "shopify_product_id": None,
        "shopify_variant_id": variant_id,
        "shopify_line_item_id": line_item_id,
        "product_name": name,
        "variant_name": None,
        "full_sku_description": name,
        "sku": sku,
        "barcode": None,
        "item_count": quantity,
        "cost": Decimal(cost),
        "return_type": return_type,
        "grams": None,
        "is_faulty": False,
        **fields,
    }


def return_row(
    return_id: str,
    rma_number: str,
    order_id: str,
    order_name: str,
    lines: Sequence[Row],
    *,
    customer_email: str | None = "buyer@example.com",
    customer_name: str | None = "Buyer",
    customer_currency: str = "GBP",
    return_status: str = "Open",
    delivery_status: str | None = "In-Transit",
    quality_control_status: str | None = "Pending",
    total: Amount = 0,
    total_refunded: Amount = 0,
    created: datetime | None = None,
    updated: datetime | None = None,
    delivered: datetime | None = None,
    closed: datetime | None = None,
    **fields: Any,
) -> Row:
    """A complete ReturnV2 row.

    In: lines from `return_line`; aware moments (`created` by default now, `updated` the latest of the given ones);
    `total_refunded` is what Swap shows as refunded in the customer's currency; `fields` are further contract fields,
    or replacements.
    """
    created = created or utc_now()
    updated = updated or max(moment for moment in (created, delivered, closed) if moment)
    products = [
        {
            "product_id": f"{return_id}-{position}",
            "order_number": order_name,
            "original_order_name": order_name,
            "date": swap_time(created),
            "currency": customer_currency,
            **line,
        }
        for position, line in enumerate(lines, start=1)
    ]
    types = list(dict.fromkeys(line["return_type"] for line in products)) or ["Refund"]
    return {
        "rma_number": rma_number,
        "return_id": return_id,
        "shopify_return_id": None,
        "shopify_order_name": order_name,
        "order_id": order_id,
        "date_created": swap_time(created),
        "date_updated": swap_time(updated),
        "submission_date": swap_time(created),
        "submitted_at": swap_time(created),
        "intention_date": swap_time(created),
        "type_string": ", ".join(types),
        "type": types,
        "delivery_status": delivery_status,
        "return_status": return_status,
        "shipping_carrier": "royal-mail",
        "tracking_number": f"TRK-{rma_number}",
        "shipment_from_address_country": "GB",
        "shipment_from_address_city": "Leeds",
        "shipment_from_address_parcel_weight": Decimal("1.4"),
        "shipment_from_address_state": None,
        "total": Decimal(total),
        "handling_fee": 0,
        "store_id": STORE_ID,
        "store_name": "Northgate Trade",
        "customer_name": customer_name,
        "customer_email": customer_email,
        "customer_locale": "en",
        "customer_currency": customer_currency,
        "total_additional_payment": 0,
        "total_credit_exchange_value": 0,
        "total_refund_value_customer_currency": Decimal(total_refunded),
        "total_store_credit_value_customer_currency": 0,
        "shop_now_revenue": 0,
        "shop_later_revenue": 0,
        "store_credit_revenue": 0,
        "exchange_revenue": 0,
        "refund_revenue": Decimal(total_refunded),
        "shopify_order_date": None,
        "rma_processed": None,
        "processed_by": None,
        "quality_control_status": quality_control_status,
        "delivered_date": swap_time(delivered) if delivered else None,
        "date_closed": swap_time(closed) if closed else None,
        "tags": "wholesale,sparklayer",
        "return_shipments": [
            {
                "shipment_id": f"{return_id}-shipment",
                "location_id": "loc_main",
                "carrier_id": "carrier_1",
                "postage_fee": 0,
                "label_type": "prepaid",
                "shipping_service": "standard",
                "display_name": "Drop-off",
                "tracking_number": f"TRK-{rma_number}",
                "items": products,
            }
        ],
        "products": products,
        "exchange_items": [],
        **fields,
    }


def line_item(
    sku: str,
    quantity: int,
    *,
    net: Amount,
    tax: Amount = "0.00",
    line_item_id: str,
    variant_id: str,
    currency: str = "GBP",
    name: str = "Item",
    discount_net: Amount | None = None,
) -> Row:
    """One order line; `net` and `tax` are of the whole line, after its discount (`discount_net`, shown only)."""
    line_total = {
        "total_net": money(net, currency),
        "total_tax": money(tax, currency),
        "total_gross": money(Decimal(net) + Decimal(tax), currency),
    }
    if discount_net is not None:
        line_total["discount_net"] = money(discount_net, currency)
    return {
        "identifiers": {"sku": sku, "platform": line_item_id, "variant": variant_id},
        "name_parent": name,
        "quantity": quantity,
        "line_total": line_total,
    }


def purchase_row(
    platform_id: str,
    visible: str,
    lines: Sequence[Row],
    *,
    customer_id: str,
    payment_method: str | None = "on_account",
    customer_reference: str | None = None,
    currency: str = "GBP",
    placed: datetime | None = None,
    updated: datetime | None = None,
    **fields: Any,
) -> Row:
    """A complete Purchase of type `order`, shipped in one package.

    In: the shop platform's order id, the display name, lines from `line_item` (in `currency`), the SparkLayer id of
    the customer, the PO number (None: the field is left out), aware moments (`placed` by default now, `updated` by
    default `placed`); `fields` are further contract fields, or replacements.
    """
    placed = placed or utc_now()
    gross = sum((Decimal(line["line_total"]["total_gross"]["number"]) for line in lines), Decimal("0.00"))
    paid = gross if payment_method == "platform_upfront" else Decimal("0.00")
    row = {
        "type": "order",
        "purchase_identifiers": {
            "sparklayer": stable_uuid(f"purchase:{platform_id}"),
            "platform": platform_id,
            "internal": "",
            "visible": visible,
        },
        "customer_identifiers": {"sparklayer": customer_id},
        "payment_method": payment_method,
        "dates": {
            "created_at": spark_time(placed),
            "updated_at": spark_time(updated or placed),
            "placed_at": spark_time(placed),
        },
        "customer_reference": customer_reference,
        "currency_code": currency,
        "calculated_total": money(gross, currency),
        "calculated_fulfilment_status": "shipped",
        "total_paid": money(paid, currency),
        "revision_date": spark_time(updated or placed),
        "packages": [
            {
                "type": "shipped",
                "identifiers": {"sparklayer_package_id": stable_uuid(f"package:{platform_id}")},
                "line_items": list(lines),
            }
        ],
        "accounting_files": [],
        "custom_fields": [],
        "metadata": [],
        **fields,
    }
    return {name: value for name, value in row.items() if value is not None}


def customer_row(
    email: str,
    *,
    company_name: str | None = None,
    external_id: str | None = None,
    parent_customer_id: str | None = None,
    balance: Amount | None = None,
    currency: str = "GBP",
    **fields: Any,
) -> Row:
    """A Customer whose id follows from the e-mail; with an account to buy on when `balance` (owed now) is given."""
    row: Row = {
        "id": stable_uuid(f"customer:{email}"),
        "external_id": external_id,
        "email": email,
        "company_name": company_name,
        "group": "trade",
        "role": "main" if parent_customer_id is None else "user",
        "parent_customer_id": parent_customer_id,
        **fields,
    }
    if balance is not None:
        row["payment_on_account"] = {
            "credit_limit": "10000.00",
            "balance": format(Decimal(balance), "f"),
            "currency_code": currency,
            "net_terms": 30,
        }
    return {name: value for name, value in row.items() if value is not None}


def variant_row(external_id: str, sku: str, **fields: Any) -> Row:
    """A live Variant of its own product; `external_id` is the shop platform's variant id."""
    return {
        "product_id": f"pp_{external_id}",
        "id": f"pv_{external_id}",
        "external_id": external_id,
        "sku": sku,
        "status": "live",
        **fields,
    }
