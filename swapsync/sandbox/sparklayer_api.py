"""The SparkLayer look-alike: tokens, purchases with transactions and history, stock, variants, customers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from http import HTTPStatus
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictStr, TypeAdapter

from swapsync.sandbox.wire import Answer, LookAlike, Operation, Operations, RefusedError, Request
from swapsync.sandbox.world import World

DEFAULT_LIMIT = 100
MAX_LIMIT = 500
CUSTOMER_FILTERS = ("sparklayer", "sparklayer_impersonator", "sparklayer_sales_rep")


def authorise(world: World, request: Request) -> None:
    """Refuses with 400 without a Site-Id, with 401 unless the token is good for it. The token call needs no token."""
    site_id = request.headers.get("site-id")
    if not site_id:
        raise RefusedError(400, "The Site-Id header is missing.")
    if request.path == "/api/auth/token":
        return
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not world.sparklayer.accepts_token(token, site_id):
        raise RefusedError(401, "The access token is missing, expired or of another site.")


def error_body(refused: RefusedError) -> Mapping[str, Any]:
    """RFC 7807 problem details."""
    problem = {
        "type": "about:blank",
        "title": HTTPStatus(refused.status).phrase,
        "status": refused.status,
        "detail": refused.detail,
    }
    return {**problem, "errors": refused.errors} if refused.errors else problem


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class TokenRequest(_Body):
    """The contract's TokenRequest."""

    grant_type: Literal["client_credentials"]
    client_id: str
    client_secret: str


_token_request = TypeAdapter(TokenRequest)


def get_access_token(world: World, request: Request) -> Answer:
    """A token for the site in Site-Id. Refused 401 for other credentials than the site's."""
    asked = request.json(_token_request)
    side = world.sparklayer
    site_id = request.headers["site-id"]
    if (asked.client_id, asked.client_secret, site_id) != (side.client_id, side.client_secret, side.site_id):
        raise RefusedError(401, "These credentials are not valid for this site.")
    token = side.issue_token(site_id)
    return Answer.of({"access_token": token, "expires_in": side.token_seconds, "token_type": "Bearer"})


# -- purchases


def list_purchases(world: World, request: Request) -> Answer:
    """A bare array of base fields, latest `dates.updated_at` first; `order_by` is taken and changes nothing."""
    offset = request.whole_number("offset", 0, 0, 999_999_999)
    limit = request.whole_number("limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
    updated, placed = (
        (request.moment(f"dates[{name}][gte]"), request.moment(f"dates[{name}][lte]"))
        for name in ("last_updated", "placed")
    )
    customers = {
        kind: request.query[f"customer_identifiers[{kind}]"]
        for kind in CUSTOMER_FILTERS
        if f"customer_identifiers[{kind}]" in request.query
    }
    if offset and world.sparklayer.between_pages:
        world.sparklayer.between_pages.pop(0)()
    rows = world.sparklayer.page(updated, placed, request.query.get("type"), customers, offset, limit)
    return Answer(200, b"[" + b",".join(rows) + b"]")


def _purchase(world: World, request: Request) -> str:
    lookup_by, identifier = request.params["lookupBy"], request.params["identifier"]
    if lookup_by not in ("sparklayer", "platform", "internal", "visible"):
        raise RefusedError(400, f"There is no look-up by {lookup_by}.")
    key = world.sparklayer.find_purchase(lookup_by, identifier)
    if key is None:
        raise RefusedError(404, f"No purchase has the {lookup_by} identifier {identifier}.")
    return key


def get_purchase(world: World, request: Request) -> Answer:
    """The purchase with its packages and lines."""
    return Answer(200, world.sparklayer.purchase_body(_purchase(world, request)))


class MoneyBody(_Body):
    """The contract's Money, both fields needed."""

    number: str = Field(pattern=r"^-?[0-9]+(\.[0-9]+)?$")
    currency: str = Field(min_length=1)


class TransactionWrite(_Body):
    """The contract's TransactionWrite."""

    platform_id: str = Field(min_length=1)
    total: MoneyBody
    apply_to_balance: bool
    full_transaction: dict[str, Any] = {}


_transaction_write = TypeAdapter(TransactionWrite)


def get_transactions(world: World, request: Request) -> Answer:
    """The transactions recorded on the purchase, oldest first."""
    return Answer.of(world.sparklayer.transactions_of(_purchase(world, request)))


def put_transaction(world: World, request: Request) -> Answer:
    """Adds (201) or updates (200) the transaction named by `platform_id`.

    Refused 400 when its currency is not that of the purchase.
    """
    key = _purchase(world, request)
    transaction = request.json(_transaction_write)
    currency = world.sparklayer.currency_of(key)
    if transaction.total.currency.casefold() != currency.casefold():
        raise RefusedError(
            400, f"The purchase is in {currency}.", [_error("currency", "Another currency.", "total.currency")]
        )
    stored = transaction.model_dump(exclude_unset=True)
    added = world.sparklayer.put_transaction(key, stored)
    return Answer.of(stored, 201 if added else 200)


class HistoryEventWrite(_Body):
    """The contract's HistoryEventWrite."""

    event_type: Literal["message", "note", "email"]
    body: str
    created_by: str = ""
    sent_by: str = ""


_history_event_write = TypeAdapter(HistoryEventWrite)


def get_history(world: World, request: Request) -> Answer:
    """The history of the purchase, oldest first."""
    return Answer.of(world.sparklayer.history_of(_purchase(world, request)))


def post_history(world: World, request: Request) -> Answer:
    """Adds an event, again on every repeat."""
    key = _purchase(world, request)
    event = request.json(_history_event_write)
    needed = "sent_by" if event.event_type == "email" else "created_by"
    if not getattr(event, needed):
        raise RefusedError(
            400, "The request is not valid.", [_error("missing", f"Needed for {event.event_type}.", needed)]
        )
    return Answer.of(world.sparklayer.add_event(key, event.model_dump(exclude_unset=True)), 201)


# -- stock


def _uuid_text(text: str) -> str:
    UUID(text)
    return text


def _date_text(text: str) -> str:
    date.fromisoformat(text)
    return text


UuidText = Annotated[StrictStr, AfterValidator(_uuid_text)]
DateText = Annotated[StrictStr, AfterValidator(_date_text)]
Int32 = Annotated[int, Field(strict=True, ge=-(2**31), le=2**31 - 1)]


class StockFilter(_Body):
    """The contract's filter of BatchFetchStock."""

    stock_location_ids: list[UuidText] = []
    all_stock_locations: StrictBool = False


class BatchFetchStock(_Body):
    """The contract's BatchFetchStock."""

    skus: list[str]
    filter: StockFilter = StockFilter()


_batch_fetch_stock = TypeAdapter(BatchFetchStock)


def batch_fetch_stock(world: World, request: Request) -> Answer:
    """Levels by SKU, at `default` unless the filter says otherwise. SKUs without a level there are absent."""
    asked = request.json(_batch_fetch_stock)
    location_ids: list[str] | None = asked.filter.stock_location_ids
    if asked.filter.all_stock_locations:
        location_ids = None
    elif not location_ids:
        default = world.sparklayer.find_location("default")
        location_ids = [default["id"]] if default else []
    levels = {sku: world.sparklayer.levels(sku, location_ids) for sku in asked.skus}
    return Answer.of([{"sku": sku, "stock_levels": rows} for sku, rows in levels.items() if rows])


class StockUpdate(BaseModel):
    """The contract's StockUpdate."""

    model_config = ConfigDict(strict=True, extra="forbid")

    sku: str = Field(min_length=1)
    stock_level: Int32
    stock_location_id: UuidText = ""
    stock_location_external_id: str = ""
    restock_date: DateText | None = None
    min_stock_level: Int32 | None = None


_stock_updates = TypeAdapter(Annotated[list[StockUpdate], Field(min_length=1)])


def batch_update_stock(world: World, request: Request) -> Answer:
    """Sets levels, all of them or none.

    Refused 400 for a pair given twice, an unknown location, a SKU among `refused_skus`; every such item is named. A SKU
    among `choking_skus` gets a 500.
    """
    updates = request.json(_stock_updates)
    side = world.sparklayer
    by_name = {row[name]: row["external_id"] for row in side.locations for name in ("id", "external_id")}
    levels: dict[tuple[str, str], StockUpdate] = {}
    errors = []
    for position, update in enumerate(updates):
        given = [
            name for name in ("stock_location_id", "stock_location_external_id") if name in update.model_fields_set
        ]
        if len(given) != 1:
            errors.append(_error("location", "Name the location in exactly one way.", f"[{position}]"))
            continue
        location = by_name.get(getattr(update, given[0]))
        if location is None:
            errors.append(_error("unknown_location", "No such location.", f"[{position}].{given[0]}"))
        elif (update.sku, location) in levels:
            errors.append(_error("duplicate", "This SKU and location stand here twice.", f"[{position}]"))
        elif update.sku in side.refused_skus:
            errors.append(_error("refused_sku", "This SKU can not be stocked.", f"[{position}].sku"))
        else:
            levels[update.sku, location] = update
    if errors:
        raise RefusedError(400, "The request is not valid.", errors)
    if any(update.sku in side.choking_skus for update in updates):
        raise RefusedError(500, "Something went wrong.")
    with world.lock:
        for (sku, location), update in levels.items():
            side.set_level(sku, location, update.stock_level, update.min_stock_level, update.restock_date)
    return Answer(204)


def get_locations(world: World, request: Request) -> Answer:
    """All stock locations, by id ascending."""
    return Answer.of(world.sparklayer.locations)


class StockLocationWrite(_Body):
    """The contract's StockLocationWrite."""

    name: str
    external_id: str = Field(min_length=1)


_stock_location_write = TypeAdapter(StockLocationWrite)


def create_location(world: World, request: Request) -> Answer:
    """Adds a stock location. Refused 409 when its external id is taken."""
    asked = request.json(_stock_location_write)
    try:
        return Answer.of(world.sparklayer.add_location(asked.name, asked.external_id))
    except ValueError as error:
        raise RefusedError(409, f"The {error}.") from error


def get_location(world: World, request: Request) -> Answer:
    """One stock location, by id or external id."""
    location = world.sparklayer.find_location(request.params["StockLocationID"])
    if location is None:
        raise RefusedError(404, "There is no such stock location.")
    return Answer.of(location)


# -- products and customers


def get_variant(world: World, request: Request) -> Answer:
    """One variant, by SparkLayer id or external id."""
    variants = world.sparklayer.find_variants(name=request.params["id"])
    if not variants:
        raise RefusedError(404, "There is no such variant.")
    return Answer.of(variants[0])


def get_product(world: World, request: Request) -> Answer:
    """The variants of one product, by the product's SparkLayer id."""
    variants = world.sparklayer.find_variants(product_id=request.params["id"])
    if not variants:
        raise RefusedError(404, "There is no such product.")
    return Answer.of({"id": request.params["id"], "variants": variants})


def _customer(world: World, request: Request) -> dict[str, Any]:
    lookup_by, identifier = request.params["lookupBy"], request.params["identifier"]
    if lookup_by not in ("sparklayer", "platform", "email"):
        raise RefusedError(400, f"There is no look-up by {lookup_by}.")
    customer = world.sparklayer.find_customer(lookup_by, identifier)
    if customer is None:
        raise RefusedError(404, f"No customer has the {lookup_by} identifier {identifier}.")
    return customer


def get_customer(world: World, request: Request) -> Answer:
    """One customer."""
    return Answer.of(_customer(world, request))


def list_addresses(world: World, request: Request) -> Answer:
    """The addresses of one customer."""
    return Answer.of(_customer(world, request).get("addresses", []))


def not_for_the_worker(world: World, request: Request) -> Answer:
    """An operation that the worker has no business to call."""
    raise RefusedError(403, "This API key may not do that.")


def _error(code: str, message: str, property_: str) -> dict[str, str]:
    return {"code": code, "message": message, "property": property_}


PURCHASE = "/api/v1/purchases/{lookupBy}/{identifier}"
CUSTOMER = "/api/v2/customers/{lookupBy}/{identifier}"

SPARKLAYER = LookAlike(
    side="sparklayer",
    operations=Operations(
        Operation("POST", "/api/auth/token", get_access_token),
        Operation("GET", "/api/v1/purchases", list_purchases),
        Operation("GET", PURCHASE, get_purchase),
        Operation("PUT", PURCHASE, not_for_the_worker, forbidden=True),
        Operation("DELETE", PURCHASE, not_for_the_worker, forbidden=True),
        Operation("GET", f"{PURCHASE}/transactions", get_transactions),
        Operation("PUT", f"{PURCHASE}/transactions", put_transaction),
        Operation("GET", f"{PURCHASE}/history", get_history),
        Operation("POST", f"{PURCHASE}/history", post_history),
        Operation("POST", "/api/v1/batch-fetch-stock", batch_fetch_stock),
        Operation("POST", "/api/v1/batch-update-stock", batch_update_stock),
        Operation("POST", "/api/v1/batch-delete-stock", not_for_the_worker, forbidden=True),
        Operation("GET", "/api/v1/stock-locations", get_locations),
        Operation("POST", "/api/v1/stock-locations", create_location),
        Operation("GET", "/api/v1/stock-locations/{StockLocationID}", get_location),
        Operation("GET", "/api/v1/products/{id}", get_product),
        Operation("GET", "/api/v1/variants/{id}", get_variant),
        Operation("GET", CUSTOMER, get_customer),
        Operation("PUT", CUSTOMER, not_for_the_worker, forbidden=True),
        Operation("GET", f"{CUSTOMER}/addresses", list_addresses),
        Operation("POST", f"{CUSTOMER}/credit", not_for_the_worker, forbidden=True),
    ),
    authorise=authorise,
    error_body=error_body,
)
