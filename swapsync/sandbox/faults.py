"""Faults that a test can switch on, on either side of the sandbox."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Literal

FaultKind = Literal[
    "status", "lost_reply_before", "lost_reply_after", "html", "truncated", "cut_off", "slow", "token_expired"
]
Side = Literal["swap", "sparklayer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong, and with which requests.

    A request is hit when `side`, `method` and `path_contains` (a part of the path as sent, percent-encoding
    included) all agree; None agrees with everything. The first `after` such requests pass unharmed, the next
    `times` (None: all) are hit.

    Kinds, and whether the request still takes effect:
    - `status`: answers `status`, with an error body unless `with_body` is false, and with a `Retry-After` header
      when `retry_after` (seconds, or the HTTP date form) is given. No effect.
    - `lost_reply_before`: the connection is closed without an answer. No effect.
    - `lost_reply_after`: the connection is closed without an answer. The effect happened.
    - `html`: a proxy's HTML page under status 200. No effect.
    - `truncated`: the JSON is cut in half; its Content-Length is that of the half. The effect happened.
    - `cut_off`: the whole length is announced, half is sent, the connection is closed. The effect happened.
    - `slow`: the effect happens at once, the answer comes `seconds` late and is otherwise as usual.
    - `token_expired`: SparkLayer forgets every token it gave out, then answers as usual (so 401). Token requests
      themselves are never hit.
    """

    kind: FaultKind
    side: Side | None = None
    method: str | None = None
    path_contains: str | None = None
    times: int | None = 1
    after: int = 0
    status: int = 500
    with_body: bool = True
    retry_after: int | str | None = None
    seconds: float = 0.0

    def hits(self, side: str, method: str, path: str) -> bool:
        """Whether a request of this side ("swap" or "sparklayer"), method and path as sent is meant."""
        if self.kind == "token_expired" and (side != "sparklayer" or path.endswith("/auth/token")):
            return False
        return (
            self.side in (None, side)
            and (self.method is None or self.method.upper() == method)
            and (self.path_contains is None or self.path_contains in path)
        )


class Faults:
    """The faults now switched on. At most one hits a request: the first one added that still has hits left."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._met: list[tuple[Fault, list[int]]] = []

    def add(self, *faults: Fault) -> None:
        """Switches faults on, behind those that are on already."""
        with self._lock:
            self._met.extend((fault, [0]) for fault in faults)

    def clear(self) -> None:
        """Switches every fault off."""
        with self._lock:
            self._met.clear()

    def take(self, side: str, method: str, path: str) -> Fault | None:
        """The fault that hits this request, counted as used, or None."""
        with self._lock:
            for fault, met in self._met:
                if not fault.hits(side, method, path):
                    continue
                met[0] += 1
                if met[0] > fault.after and (fault.times is None or met[0] <= fault.after + fault.times):
                    return fault
        return None
