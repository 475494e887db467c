"""What both look-alikes are made of: requests, answers, refusals, and operations found by method and path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import unquote

import orjson
from pydantic import TypeAdapter, ValidationError

from swapsync.sandbox.world import World, parse_moment, to_json

T = TypeVar("T")


class RefusedError(Exception):
    """The request is refused with this status; each side words it in its own error shape."""

    def __init__(self, status: int, detail: str, errors: list[dict[str, str]] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors or []
        self.headers: dict[str, str] = {}


@dataclass(slots=True)
class Answer:
    """Status and body to send; `malformed` tells that the body carries a row flagged so."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    malformed: bool = False

    @classmethod
    def of(cls, value: Any, status: int = 200) -> Answer:
        """A JSON answer."""
        return cls(status, to_json(value))


@dataclass(slots=True)
class Request:
    """One request: header names in lower case, `params` the decoded `{…}` parts of the operation's path."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    params: dict[str, str] = field(default_factory=dict)

    def json(self, shape: TypeAdapter[T]) -> T:
        """The body as this shape. Refused 415 if it is not announced as JSON, 400 if it does not fit."""
        media_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise RefusedError(415, "The body must be application/json.")
        try:
            return shape.validate_python(orjson.loads(self.body))
        except orjson.JSONDecodeError as error:
            raise RefusedError(400, f"The body is not JSON: {error}.") from error
        except ValidationError as error:
            raise RefusedError(400, "The request is not valid.", _problems(error)) from error

    def whole_number(self, name: str, default: int, least: int, most: int) -> int:
        """A query parameter as an integer from `least` to `most`. Refused 400 if it is something else."""
        text = self.query.get(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
            raise RefusedError(400, f"{name} must be a whole number from {least} to {most}.")
        return int(text)

    def moment(self, name: str) -> datetime | None:
        """A query parameter as an aware moment, None if absent. Refused 400 if it is something else."""
        text = self.query.get(name)
        if text is None:
            return None
        moment = parse_moment(text)
        if moment is None:
            raise RefusedError(400, f"{name} must be a date-time with an offset, such as 2026-03-02T08:00:00Z.")
        return moment


def _problems(error: ValidationError) -> list[dict[str, str]]:
    return [
        {"code": each["type"], "message": each["msg"], "property": _property(each["loc"])} for each in error.errors()
    ]


def _property(location: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")


Handler = Callable[[World, Request], Answer]


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a contract; `forbidden` marks those a worker must never call."""

    method: str
    path: str
    handle: Handler
    forbidden: bool = False


class Operations:
    """The operations of one side. Path parts are compared before percent-decoding, so `%2F` never parts."""

    def __init__(self, *operations: Operation) -> None:
        self._by_length: dict[int, list[tuple[list[str], Operation]]] = {}
        for operation in operations:
            parts = operation.path.split("/")
            self._by_length.setdefault(len(parts), []).append((parts, operation))

    def find(self, request: Request) -> Operation:
        """The operation of this request, its path parameters noted in it.

        Refused 404 for an unknown path, 405 (with `Allow`) for an unknown method.
        """
        sent = request.path.split("/")
        allowed = set()
        for parts, operation in self._by_length.get(len(sent), ()):
            if not all(part == given or (part[:1] == "{" and given) for part, given in zip(parts, sent, strict=True)):
                continue
            if operation.method == request.method:
                request.params = {
                    part[1:-1]: unquote(given) for part, given in zip(parts, sent, strict=True) if part[:1] == "{"
                }
                return operation
            allowed.add(operation.method)
        if not allowed:
            raise RefusedError(404, "There is no such resource.")
        refusal = RefusedError(405, "This method is not allowed here.")
        refusal.headers["Allow"] = ", ".join(sorted(allowed))
        raise refusal


@dataclass(frozen=True, slots=True)
class LookAlike:
    """One remote system: its name, its operations, who may call, and how it words a refusal."""

    side: str
    operations: Operations
    authorise: Callable[[World, Request], None]
    error_body: Callable[[RefusedError], Mapping[str, Any]]

    def refusal(self, refused: RefusedError, *, with_body: bool = True) -> Answer:
        """The answer to a refused request."""
        body = to_json(self.error_body(refused)) if with_body else b""
        return Answer(refused.status, body, headers=refused.headers)
