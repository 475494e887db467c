"""The Swap look-alike: the returns list (payload version 2) and the quality-control update."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

from swapsync.sandbox.wire import Answer, LookAlike, Operation, Operations, RefusedError, Request
from swapsync.sandbox.world import World, parse_moment, to_json

MAX_ITEMS_PER_PAGE = 100
EXACT_FILTERS = ("rma_number", "shopify_order_name", "customer_email")
MOMENT_FILTERS = ("last_RMA_updated_date", "from_return_submission_date", "to_return_submission_date")


def authorise(world: World, request: Request) -> None:
    """Refuses with 401 unless the request carries the store's key."""
    if request.headers.get("x-api-key") != world.swap.api_key:
        raise RefusedError(401, "The API key is missing or not valid.")


def error_body(refused: RefusedError) -> Mapping[str, Any]:
    """Swap's error object."""
    messages = [f"{each['property']}: {each['message']}" for each in refused.errors]
    return {
        "statusCode": refused.status,
        "message": messages or refused.detail,
        "error": HTTPStatus(refused.status).phrase,
    }


def list_returns(world: World, request: Request) -> Answer:
    """One page of the returns that pass the filters, latest `date_updated` first."""
    query = request.query
    _require_store(world, query.get("swap_store_id"), "swap_store_id")
    page = request.whole_number("page", 1, 1, 999_999_999)
    size = request.whole_number("items_per_page", MAX_ITEMS_PER_PAGE, 1, MAX_ITEMS_PER_PAGE)
    request.whole_number("api_version", 2, 0, 999_999_999)
    exact = {name: query[name] for name in EXACT_FILTERS if name in query}
    updated_since, submitted_from, submitted_to = (request.moment(name) for name in MOMENT_FILTERS)
    if page > 1 and world.swap.between_pages:
        world.swap.between_pages.pop(0)()
    total, rows, malformed = world.swap.page(
        exact, updated_since, submitted_from, submitted_to, (page - 1) * size, size
    )
    rest = {
        "version": 2,
        "query_params": {**query, "page": page, "items_per_page": size},
        "pagination": {
            "page": page,
            "items_per_page": size,
            "total_pages": -(-total // size),
            "total_items": total,
            "has_next_page": page * size < total,
            "has_previous_page": page > 1,
            "current_page_size": len(rows),
            "items_in_remaining_pages": max(0, total - page * size),
        },
    }
    if not world.swap.pagination:
        del rest["pagination"]
    body = b'{"returns":[' + b",".join(rows) + b"]," + to_json(rest)[1:]
    return Answer(200, body, malformed=malformed)


def _moment_text(text: str) -> str:
    if parse_moment(text) is None:
        raise ValueError("must be a date-time with an offset")
    return text


MomentText = Annotated[str, AfterValidator(_moment_text)]


class QualityControlUpdate(BaseModel):
    """The contract's QualityControlUpdate."""

    model_config = ConfigDict(strict=True, extra="allow")

    store_id: str
    condition: str
    return_qty: int = Field(ge=0)
    provider: str = ""
    shopify_order_id: str = ""
    shopify_order_name: str = ""
    sku: str = ""
    shopify_line_item_id: str = ""
    order_date: MomentText = ""
    receipt_date: MomentText = ""
    carton_id: str = ""


_quality_control = TypeAdapter(QualityControlUpdate)


def update_quality_control(world: World, request: Request) -> Answer:
    """Records the report. Refused 404 when no return is of the order it names."""
    try:
        report = request.json(_quality_control)
    except RefusedError as refused:
        raise RefusedError(400, refused.detail, refused.errors) from refused
    given = report.model_dump(exclude_unset=True)
    _require_store(world, report.store_id, "store_id")
    for either, other in (("shopify_order_id", "shopify_order_name"), ("sku", "shopify_line_item_id")):
        if either not in given and other not in given:
            raise RefusedError(400, f"{either} or {other} must be given.")
    if not world.swap.names_order(given.get("shopify_order_id"), given.get("shopify_order_name")):
        raise RefusedError(404, "No return of this order was found.")
    with world.lock:
        world.swap.quality_control.append(given)
    return Answer.of({"message": "accepted"})


def not_published(world: World, request: Request) -> Answer:
    """Swap publishes no such operation."""
    raise RefusedError(404, f"Cannot {request.method} {request.path}")


def _require_store(world: World, store_id: str | None, name: str) -> None:
    if store_id != world.swap.store_id:
        raise RefusedError(400, f"{name} must be the store of the API key.")


SWAP = LookAlike(
    side="swap",
    operations=Operations(
        Operation("GET", "/v2/external/returns", list_returns),
        Operation("POST", "/v1/external/quality-control/update", update_quality_control),
        Operation("GET", "/v2/external/returns/{return_id}", not_published, forbidden=True),
        Operation("GET", "/v2/external/returns/{return_id}/products", not_published, forbidden=True),
        Operation("POST", "/v2/external/returns/{return_id}/status", not_published, forbidden=True),
        Operation("POST", "/v2/external/returns/{return_id}/notes", not_published, forbidden=True),
        Operation("GET", "/products", not_published, forbidden=True),
    ),
    authorise=authorise,
    error_body=error_body,
)
