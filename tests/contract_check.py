"""Holds recorded exchanges against the two wire contracts.

Use it in any test that runs against the sandbox:

    world.record_bodies = True
    ...
    contract_checker().check_all(world)

or let a fixture do it after every test:

    @pytest.fixture
    def world() -> Iterator[World]:
        world = World()
        world.record_bodies = True
        yield world
        contract_checker().check_all(world)

The request of every exchange is checked. Its answer is not when it was spoilt on purpose (`faulted`), carries a row
flagged malformed, or was not recorded.
"""

from __future__ import annotations

import functools
import hashlib
from importlib import resources
from typing import Any

import orjson
import yaml
from openapi_core import OpenAPI
from openapi_core.datatypes import RequestParameters
from werkzeug.datastructures import Headers, ImmutableMultiDict

from swapsync.sandbox.world import Exchange, World

HOST = "http://sandbox"


def load_contract(side: str) -> dict[str, Any]:
    """The contract of a side ("swap" or "sparklayer") as a document, without the operations nobody may call."""
    text = resources.files("swapsync").joinpath(f"contracts/{side}.openapi.yaml").read_text(encoding="utf-8")
    document: dict[str, Any] = yaml.safe_load(text)
    document["paths"] = {
        path: operations
        for path, item in document["paths"].items()
        if (operations := {name: each for name, each in item.items() if name == "parameters" or _callable(each)})
    }
    return document


def _callable(operation: dict[str, Any]) -> bool:
    return operation.get("x-call-in-production", True) is not False


class ContractChecker:
    """Both contracts, ready to validate. Get it through `contract_checker()`, which builds one for the process."""

    def __init__(self) -> None:
        self._contracts = {side: _openapi(side) for side in ("swap", "sparklayer")}
        self._sound: set[bytes] = set()

    def check(self, exchange: Exchange) -> None:
        """Raises AssertionError that names the exchange and what is wrong with its request or its answer."""
        content = _content(exchange)
        if content in self._sound:
            return
        self._check(exchange)
        self._sound.add(content)

    def _check(self, exchange: Exchange) -> None:
        contract = self._contracts[exchange.side]
        request = _Request(exchange)
        for error in contract.iter_request_errors(request):
            raise AssertionError(_reason(exchange, "request", error))
        if exchange.faulted or exchange.malformed or exchange.response_body is None:
            return
        for error in contract.iter_response_errors(request, _Response(exchange)):
            raise AssertionError(_reason(exchange, "answer", error))

    def check_all(self, world: World) -> None:
        """Checks every exchange recorded so far."""
        for exchange in list(world.exchanges):
            self.check(exchange)


@functools.cache
def contract_checker() -> ContractChecker:
    """The one checker of this process; parsing the contracts takes about a second."""
    return ContractChecker()


def _content(exchange: Exchange) -> bytes:
    """Digest of all that is checked about an exchange: what was found sound once need not be checked again."""
    told = {name: getattr(exchange, name) for name in Exchange.__slots__ if name not in ("number", "when")}
    body = told.pop("response_body") or b""
    return hashlib.sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS) + b"\0" + body).digest()


def _openapi(side: str) -> OpenAPI:
    return OpenAPI.from_dict({**load_contract(side), "servers": [{"url": HOST}]})


def _reason(exchange: Exchange, part: str, error: BaseException) -> str:
    reasons = []
    cause: BaseException | None = error
    while cause is not None:
        reasons.append(str(cause))
        reasons.extend(
            f"{each.json_path}: {each.message}"[:500] for each in getattr(cause, "schema_errors", ()) if each
        )
        cause = cause.__cause__
    where = f"{exchange.side} {exchange.method} {exchange.path} -> {exchange.status}"
    return f"exchange {exchange.number} ({where}): its {part} breaks the contract: {'; '.join(reasons)}"


class _Request:
    def __init__(self, exchange: Exchange) -> None:
        self.host_url = HOST
        self.path = exchange.path
        self.method = exchange.method.lower()
        self.content_type = exchange.headers.get("content-type", "").lower()
        self.body = None if exchange.request_body is None else orjson.dumps(exchange.request_body)
        self.parameters = RequestParameters(
            query=ImmutableMultiDict(exchange.query), header=Headers(exchange.headers), cookie=ImmutableMultiDict()
        )


class _Response:
    def __init__(self, exchange: Exchange) -> None:
        self.status_code = exchange.status or 0
        self.content_type = exchange.response_type or ""
        self.headers = Headers()
        self.data = exchange.response_body
