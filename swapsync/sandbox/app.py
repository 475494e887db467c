"""The web application: Swap under `/swap`, SparkLayer under `/sparklayer`, and `/sandbox` to steer them.

Further merchants, each with a world of its own, are under `/merchants/{name}/swap` and `/merchants/{name}/sparklayer`.

POST   /sandbox/faults            a list of faults (the fields of `Fault`) to switch on
DELETE /sandbox/faults            switches all of them off
GET    /sandbox/exchanges?since=n the exchanges from number n on, without headers and bodies of answers
POST   /sandbox/world             rows to upsert: {"returns", "purchases", "customers", "variants", "levels"},
                                  a level being {"sku", "stock_location_external_id", "stock_level"}
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl

import orjson
from pydantic import TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from swapsync.sandbox.faults import Fault
from swapsync.sandbox.sparklayer_api import SPARKLAYER
from swapsync.sandbox.swap_api import SWAP
from swapsync.sandbox.wire import Answer, LookAlike, RefusedError, Request
from swapsync.sandbox.world import Exchange, World, to_json

RECORDED_HEADERS = ("site-id", "content-type")
CREDENTIAL_HEADERS = ("x-api-key", "authorization")
HTML = b"<!doctype html><html><head><title>Maintenance</title></head><body><h1>We will be back soon</h1></body></html>"


def create_app(world: Callable[[], World], merchants: Mapping[str, World] = MappingProxyType({})) -> Starlette:
    """The application around the world that the callable returns, asked anew at each request, and the worlds of
    ``merchants`` by name."""

    def of_merchant(scope: Scope) -> World:
        return merchants[scope["path_params"]["name"]]

    return Starlette(
        routes=[
            Mount("/swap", _Wire(SWAP, lambda _: world())),
            Mount("/sparklayer", _Wire(SPARKLAYER, lambda _: world())),
            Mount("/sandbox", routes=_steering(world)),
            Mount("/merchants/{name}/swap", _Wire(SWAP, of_merchant)),
            Mount("/merchants/{name}/sparklayer", _Wire(SPARKLAYER, of_merchant)),
        ]
    )


class _Wire:
    """ASGI application of one look-alike: reads a request, lets faults spoil it, answers and records it."""

    def __init__(self, look_alike: LookAlike, world: Callable[[Scope], World]) -> None:
        self._look_alike = look_alike
        self._world = world

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        world, look_alike = self._world(scope), self._look_alike
        request = await _read(scope, receive)
        fault = world.faults.take(look_alike.side, request.method, request.path)
        kind = fault.kind if fault else None
        if kind == "token_expired":
            world.sparklayer.revoke_tokens()

        forbidden = False
        if fault and kind == "status":
            answer = look_alike.refusal(RefusedError(fault.status, "Injected fault."), with_body=fault.with_body)
            if fault.retry_after is not None:
                answer.headers["Retry-After"] = str(fault.retry_after)
        elif kind == "html":
            answer = Answer(200, HTML, "text/html; charset=utf-8")
        elif kind == "lost_reply_before":
            answer = Answer(0)
        else:
            answer, forbidden = _answer(look_alike, world, request)

        lost = kind in ("lost_reply_before", "lost_reply_after")
        spoilt = kind not in (None, "slow", "token_expired")
        _record(world, look_alike.side, request, answer, lost=lost, spoilt=spoilt, forbidden=forbidden)
        if fault and kind == "slow":
            await asyncio.sleep(fault.seconds)
        if lost:
            await _close(scope, receive)
        elif kind == "truncated":
            answer.body = answer.body[: len(answer.body) // 2]
            await _send(send, answer)
        elif kind == "cut_off":
            await _send(send, answer, of_body=len(answer.body) // 2)
            await _close(scope, receive)
        else:
            await _send(send, answer)


def _answer(look_alike: LookAlike, world: World, request: Request) -> tuple[Answer, bool]:
    forbidden = False
    try:
        operation = look_alike.operations.find(request)
        forbidden = operation.forbidden
        look_alike.authorise(world, request)
        return operation.handle(world, request), forbidden
    except RefusedError as refused:
        return look_alike.refusal(refused), forbidden


async def _read(scope: Scope, receive: Receive) -> Request:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    path = scope["raw_path"].decode("ascii").partition("?")[0].removeprefix(scope["root_path"])
    query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    return Request(scope["method"], path, query, headers, body)


async def _send(send: Send, answer: Answer, of_body: int | None = None) -> None:
    headers = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
    if answer.body:
        headers.append((b"content-type", answer.content_type.encode()))
    if answer.status != 204:
        headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    more = of_body is not None
    await send({"type": "http.response.body", "body": answer.body[:of_body], "more_body": more})


async def _close(scope: Scope, receive: Receive) -> None:
    """Closes the connection behind the request; the server puts its transport into the scope's state."""
    scope["state"]["transport"].close()
    await receive()


def _record(
    world: World, side: str, request: Request, answer: Answer, *, lost: bool, spoilt: bool, forbidden: bool
) -> None:
    headers = {name: request.headers[name] for name in RECORDED_HEADERS if name in request.headers}
    for name in CREDENTIAL_HEADERS:
        if name in request.headers:
            headers[name] = "Bearer ***" if request.headers[name][:7].lower() == "bearer " else "***"
    with world.lock:
        exchange = Exchange(
            number=len(world.exchanges),
            when=world.now(),
            side=side,
            method=request.method,
            path=request.path,
            query=request.query,
            headers=headers,
            request_body=_recorded_body(request.body),
            status=None if lost else answer.status,
            faulted=spoilt or (side == "swap" and not world.swap.pagination),
            malformed=answer.malformed,
            response_type=answer.content_type if answer.body else None,
            response_body=answer.body if world.record_bodies and not lost else None,
        )
        world.exchanges.append(exchange)
        if forbidden:
            world.forbidden_calls.append(exchange)


def _recorded_body(body: bytes) -> Any:
    """The parsed JSON, its client secret masked; text where it is not JSON; None where there is none."""
    if not body:
        return None
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode("utf-8", "replace")
    if isinstance(parsed, dict) and "client_secret" in parsed:
        return {**parsed, "client_secret": "***"}
    return parsed


def _steering(world: Callable[[], World]) -> list[Route]:
    faults = TypeAdapter(list[Fault])

    async def add_faults(request: StarletteRequest) -> Response:
        try:
            world().faults.add(*faults.validate_json(await request.body()))
        except ValidationError as error:
            return Response(str(error), 400, media_type="text/plain")
        return Response(status_code=204)

    async def clear_faults(_request: StarletteRequest) -> Response:
        world().faults.clear()
        return Response(status_code=204)

    async def exchanges(request: StarletteRequest) -> Response:
        since = request.query_params.get("since", "0")
        if not (since.isascii() and since.isdigit()):
            return Response("since must be the number of an exchange", 400, media_type="text/plain")
        hidden = ("headers", "response_body", "response_type")
        rows = [
            {name: getattr(each, name) for name in Exchange.__slots__ if name not in hidden}
            for each in world().exchanges[int(since) :]
        ]
        return Response(to_json(rows), media_type="application/json")

    async def put_rows(request: StarletteRequest) -> Response:
        try:
            _put_rows(world(), orjson.loads(await request.body()))
        except (KeyError, ValueError) as error:
            return Response(f"{type(error).__name__}: {error}", 400, media_type="text/plain")
        return Response(status_code=204)

    return [
        Route("/faults", add_faults, methods=["POST"]),
        Route("/faults", clear_faults, methods=["DELETE"]),
        Route("/exchanges", exchanges, methods=["GET"]),
        Route("/world", put_rows, methods=["POST"]),
    ]


def _put_rows(world: World, rows: dict[str, list[dict[str, Any]]]) -> None:
    side = world.sparklayer
    for put, name in (
        (world.swap.put_return, "returns"),
        (side.put_purchase, "purchases"),
        (side.put_customer, "customers"),
        (side.put_variant, "variants"),
    ):
        for row in rows.get(name, []):
            put(row)
    for level in rows.get("levels", []):
        side.set_level(
            level["sku"],
            level["stock_location_external_id"],
            level["stock_level"],
            level.get("min_stock_level"),
            level.get("restock_date"),
        )
