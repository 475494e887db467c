"""The HTTP core: the only module that speaks ``requests``.

A `Connection` is one remote account: one rate budget, one set of credentials, one retry policy. Sockets are kept open
for the next call to a host, whichever account makes it: with TLS, each takes some 0.7 MB and 50 ms to set up.
What comes of a call is decided by the table `_FATES`, and said in the exceptions of `swapsync.connectors.errors`.
"""

import re
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from typing import Any, Protocol
from urllib.parse import urlsplit

import requests
import urllib3.exceptions
from loguru import logger
from tenacity import RetryCallState, Retrying, retry_if_result, stop_after_attempt, wait_exponential_jitter

from swapsync.clock import Clock
from swapsync.connectors.answers import error_detail, from_json, json_or_none, retry_after, to_json
from swapsync.connectors.breaker import Breaker
from swapsync.connectors.errors import (
    BadAnswer,
    Busy,
    CredentialsRejected,
    InDoubt,
    LookAgain,
    NotFound,
    Refused,
    RemoteError,
    TryLater,
    Unreachable,
)
from swapsync.connectors.rate import Budget
from swapsync.counters import count

Transport = requests.adapters.BaseAdapter
"""What carries a prepared request to the other side and brings back the answer."""

MAX_WAIT_SECONDS = 60
_MAX_BODY_BYTES = 64 * 2**20
_WHOLE_CALL = 2
"""So many times the time limit of a single wait a whole call may take; what trickles in is given up then."""
_MAX_TEXT = 300
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_USER_AGENT = f"swapsync/{version('swapsync')}"
_SOCKETS = requests.adapters.HTTPAdapter(pool_maxsize=100)


@dataclass(frozen=True, slots=True)
class _Fate:
    """What the caller gets to hear, and whether the call is tried again before that."""

    error: type[RemoteError]
    again: bool = False


_NOT_SENT, _LOST, _UNREADABLE, _SERVER_ERROR, _OTHER_STATUS = "not sent", "lost", "unreadable", "5xx", "other"
_IN_DOUBT = _Fate(InDoubt)

# What came back: (for a call that may be repeated, for one that may not). The latter is sent once and at once: it may
# say what was read before, and goes out under a lease, so both are to be looked at anew before it is sent again.
_FATES: dict[str | int, tuple[_Fate, _Fate]] = {
    _NOT_SENT: (_Fate(Unreachable, again=True), _Fate(Unreachable)),
    _LOST: (_Fate(Unreachable, again=True), _IN_DOUBT),
    _UNREADABLE: (_Fate(BadAnswer, again=True), _IN_DOUBT),
    _SERVER_ERROR: (_Fate(TryLater, again=True), _IN_DOUBT),
    429: (_Fate(Busy, again=True), _Fate(Busy)),
    409: (_Fate(LookAgain, again=True), _Fate(LookAgain)),
    401: (_Fate(CredentialsRejected), _Fate(CredentialsRejected)),
    404: (_Fate(NotFound), _Fate(NotFound)),
    _OTHER_STATUS: (_Fate(Refused), _Fate(Refused)),
}


class WriteRefused(RuntimeError):
    """A connection that may only read was asked to write; nothing was sent."""


class Bearer(Protocol):
    """Where a connection gets its bearer tokens."""

    def token(self) -> str:
        """A token that is good now. Raises RemoteError when there is none to be had."""

    def reject(self, token: str) -> None:
        """Takes note that the other side no longer accepts this token."""


@dataclass(slots=True)
class _Call:
    method: str
    path: str
    params: Mapping[str, str | int] | None
    data: bytes | None
    headers: Mapping[str, str]
    repeatable: bool
    anonymous: bool
    reads: bool
    token: str = ""
    renewed: bool = False
    doubted: bool = False


@dataclass(frozen=True, slots=True)
class _Failure:
    error: RemoteError
    again: bool
    wait_seconds: float = 0


class Connection:
    """One remote account; may be used by several threads at once."""

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        clock: Clock,
        timeout: float,
        max_attempts: int,
        backoff: float,
        budget: Budget | None,
        headers: Mapping[str, str],
        credentials_hint: str,
        secrets: tuple[str, ...] = (),
        bearer: Bearer | None = None,
        transport: Transport | None = None,
        read_only: bool = False,
    ) -> None:
        """``timeout`` and ``backoff`` (the first wait) are in seconds; without a ``budget`` there is no rate limit.

        ``timeout`` is for each wait for the other side; a whole call may take twice that.
        ``credentials_hint`` names the settings to check when the credentials are rejected. No text of an exception
        ever holds one of the ``secrets``, or a token of ``bearer``. ``transport``: how requests travel; by default over
        HTTP. ``read_only``: whatever isn't a read is refused before it leaves.
        ``sent`` counts the requests that left, by "read" and "write".
        """
        self.name = name
        self._base_url = base_url.rstrip("/")
        self._clock = clock
        self._timeout = timeout
        self._credentials_hint = credentials_hint
        self._secrets = secrets
        self._bearer = bearer
        self._read_only = read_only
        self.sent: Counter[str] = Counter()
        self._budget = budget
        self._of_thread = threading.local()
        self._breaker = Breaker(clock)
        self._headers = {
            **requests.utils.default_headers(),
            "User-Agent": _USER_AGENT,
            "Accept": "application/json",
            **headers,
        }
        self._transport = transport or _SOCKETS
        self._environment = _proxies_and_certificates(self._base_url)
        self._backoff = wait_exponential_jitter(multiplier=backoff, max=MAX_WAIT_SECONDS, jitter=backoff)
        self._retrying = Retrying(
            sleep=clock.sleep,
            stop=stop_after_attempt(max_attempts),
            wait=self._wait_seconds,
            retry=retry_if_result(lambda outcome: isinstance(outcome, _Failure) and outcome.again),
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        )

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool,
        anonymous: bool = False,
        reads: bool = False,
    ) -> Any:
        """The parsed JSON of the answer, numbers with a fraction as Decimal; None for an empty body.

        ``path`` is percent-encoded already. ``repeatable``: sending it twice is the same as once; without it, the
        call is sent once, and a 2xx status is proof enough whatever the body. After `get_ready` it waits for nothing.
        ``anonymous``: without a bearer token. ``reads``: it changes nothing, although it is no GET. Raises RemoteError;
        the module `errors` says which kind when. Raises WriteRefused on a connection that may only read.
        """
        anonymous = anonymous or self._bearer is None
        call = _Call(method, path, params, None, dict(headers or ()), repeatable, anonymous, reads or method == "GET")
        if json is not None:
            call.data = to_json(json)
            call.headers = {"Content-Type": "application/json", **call.headers}
        outcome = self._retrying(self._attempt, call)
        if isinstance(outcome, _Failure):
            raise outcome.error
        return outcome

    def get_ready(self) -> None:
        """Has a token and a turn of the rate limit at hand for this thread's next call that must not be repeated.

        Raises RemoteError.
        """
        if self._bearer:
            self._bearer.token()
        if not self._has_turn():
            self._wait_for_turn()
            self._of_thread.has_turn = True

    def stop(self, reason: str) -> None:
        """Lets the call that is under way end, and makes no other: each raises Unreachable with this reason."""
        self._breaker.stop(reason)

    def _attempt(self, call: _Call) -> Any:
        if self._bearer and not call.anonymous:
            self._bearer.token()  # where it has to be fetched, that call is the probe
        if refusal := self._breaker.refusal():
            return _Failure(Unreachable(f"{self.name}: {refusal}"), again=False)
        outcome = self._send_renewing_token(call)
        self._breaker.note(str(outcome.error) if _is_no_answer(outcome) else None)
        return outcome

    def _send_renewing_token(self, call: _Call) -> Any:
        outcome = self._send(call)
        if self._bearer and not call.anonymous and not call.renewed and _is_unauthorised(outcome):
            call.renewed = True
            self._bearer.reject(call.token)
            outcome = self._send(call) if call.repeatable else _Failure(LookAgain(str(outcome.error)), again=False)
        return outcome

    def _send(self, call: _Call) -> Any:
        if self._read_only and not call.reads:
            raise WriteRefused(f"{self.name}: {call.method} {_without_email(call.path)} was not sent: read only")
        headers = call.headers
        if self._bearer and not call.anonymous:
            call.token = self._bearer.token()
            headers = {**headers, "Authorization": f"Bearer {call.token}"}
        if call.repeatable or not self._has_turn():
            self._wait_for_turn()
        if not call.repeatable:
            self._of_thread.has_turn = False
        if reason := self._breaker.stopped:  # meanwhile
            return _Failure(Unreachable(f"{self.name}: {reason}"), again=False)
        self.sent["read" if call.reads else "write"] += 1
        started = time.monotonic()
        status, body, trouble = 0, b"", None
        try:
            request = requests.PreparedRequest()
            request.prepare_method(call.method)
            request.prepare_url(self._base_url + call.path, call.params)
            request.prepare_headers({**self._headers, **headers})
            request.prepare_body(call.data, None)
            with self._transport.send(request, timeout=self._timeout, **self._environment) as response:
                status = response.status_code
                body = _bounded_body(response, started + _WHOLE_CALL * self._timeout)
        except (OSError, urllib3.exceptions.HTTPError) as error:  # all of requests' own errors are OSErrors
            if isinstance(error, ValueError):  # a URL or header that could never be sent; its text quotes the value
                raise ValueError(f"{self.name}: the request is not valid ({type(error).__name__})") from None
            trouble = error
        count("requests", self.name, _outcome(status))
        milliseconds = round((time.monotonic() - started) * 1000)
        logger.debug(
            "{} {} {} {} {} ms", self.name, call.method, _without_email(call.path), status or "-", milliseconds
        )
        if not status and trouble:
            return self._failure(call, _NOT_SENT if _never_sent(trouble) else _LOST, _innermost(trouble))
        if not 200 <= status < 300:
            return self._bad_status(call, status, response.headers, body)
        return self._parsed(call, response.headers.get("Content-Type", ""), body, trouble)

    def _has_turn(self) -> bool:
        return getattr(self._of_thread, "has_turn", False)

    def _wait_for_turn(self) -> None:
        if self._budget and (waited := self._budget.wait_for_turn()):
            count("rate_limit_waits", self.name)
            count("rate_limit_wait_seconds", self.name, amount=waited)

    def _parsed(self, call: _Call, content_type: str, body: bytes, trouble: Exception | None) -> Any:
        if not call.repeatable:
            if "html" in content_type.lower():  # a proxy's page: whether anything got past it can't be told
                return self._failure(call, _UNREADABLE, "an HTML page came instead of an answer")
            return None if trouble else json_or_none(body)
        if trouble:
            return self._failure(call, _UNREADABLE, f"the answer broke off: {_innermost(trouble)}")
        try:
            return from_json(body)
        except (ValueError, RecursionError):
            return self._failure(call, _UNREADABLE, "the answer is not JSON")

    def _bad_status(self, call: _Call, status: int, headers: Mapping[str, str], body: bytes) -> _Failure:
        detail = self._clean(error_detail(body), call.token)
        what = f"answered {status}{f': {detail}' if detail else ''}"
        if 300 <= status < 400:
            what = f"answered {status}: redirects are not followed, check the base URL"
        if status == 401:
            what = f"rejects the credentials, {self._credentials_hint} ({what})"
        kind: str | int = status if status in _FATES else _SERVER_ERROR if status >= 500 else _OTHER_STATUS
        now = self._clock.now()
        asked = retry_after(headers.get("Retry-After", ""), now) if status in (429, 503) else None
        return self._failure(call, kind, what, status=status, detail=detail, wait=asked)

    def _failure(
        self,
        call: _Call,
        kind: str | int,
        what: str,
        *,
        status: int = 0,
        detail: str = "",
        wait: timedelta | None = None,
    ) -> _Failure:
        fate = _FATES[kind][0 if call.repeatable else 1]
        call.doubted = call.doubted or kind in (_LOST, _UNREADABLE, _SERVER_ERROR)
        doubt = "; whether it took effect is not known" if fate.error is InDoubt else ""
        what = self._clean(what, call.token)[: _MAX_TEXT - len(doubt) - 100]
        message = self._clean(
            f"{self.name}: {call.method} {_without_email(call.path)[-70:]}: {what}{doubt}", call.token
        )
        if issubclass(fate.error, Refused):
            return _Failure(fate.error(message, status, detail, had_no_effect=not call.doubted), fate.again)
        if issubclass(fate.error, TryLater):
            error = fate.error(message, self._clock.now() + wait if wait else None)
            seconds = wait.total_seconds() if wait else 0
            return _Failure(error, fate.again and seconds <= MAX_WAIT_SECONDS, seconds)
        return _Failure(fate.error(message), fate.again)

    def _clean(self, text: str, token: str = "") -> str:
        for secret in (*self._secrets, token):
            if secret:
                text = text.replace(secret, "***")
        return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:_MAX_TEXT]

    def _wait_seconds(self, state: RetryCallState) -> float:
        failure = state.outcome.result() if state.outcome else None
        return failure.wait_seconds if failure and failure.wait_seconds else self._backoff(state)


def _proxies_and_certificates(base_url: str) -> Mapping[str, Any]:
    """What the environment says of them, read once; a session of requests would ask again at every call."""
    session = requests.Session()
    session.trust_env = urlsplit(base_url).hostname not in _LOOPBACK  # a proxy can't reach this machine
    return session.merge_environment_settings(base_url, {}, True, None, None)


def _bounded_body(response: requests.Response, deadline: float) -> bytes:
    """The whole body; each read takes what is there by then, so that one that trickles is noticed."""
    chunks = []
    left = _MAX_BODY_BYTES
    while chunk := response.raw.read1(2**16, decode_content=True):
        left -= len(chunk)
        if left < 0:
            raise requests.exceptions.ContentDecodingError(f"it is longer than {_MAX_BODY_BYTES} bytes")
        if time.monotonic() > deadline:
            raise requests.ReadTimeout("it came so slowly that it timed out")
        chunks.append(chunk)
    return b"".join(chunks)


def _is_no_answer(outcome: Any) -> bool:
    """Whether the other side did not answer properly; to be told to wait (429, 409) is an answer."""
    if not isinstance(outcome, _Failure):
        return False
    return isinstance(outcome.error, InDoubt | TryLater) and not isinstance(outcome.error, Busy | LookAgain)


def _is_unauthorised(outcome: Any) -> bool:
    return isinstance(outcome, _Failure) and isinstance(outcome.error, CredentialsRejected)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was caused by, innermost last."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        candidates = (getattr(following, "reason", None), *following.args, following.__cause__, following.__context__)
        following = next((c for c in candidates if isinstance(c, BaseException) and id(c) not in seen), None)


def _never_sent(error: BaseException) -> bool:
    """Whether the request provably did not leave: no connection came about, or the server is not the one it claims."""
    before_sending = (
        requests.ConnectTimeout,
        urllib3.exceptions.NewConnectionError,
        urllib3.exceptions.ConnectTimeoutError,
        ssl.SSLCertVerificationError,
    )
    return any(isinstance(cause, before_sending) for cause in _causes(error))


def _outcome(status: int) -> str:
    """What a request came to, in few words: its class of status; 401 and 429 by themselves."""
    if not status:
        return "no_answer"
    return str(status) if status in (401, 429) else f"{status // 100}xx"


def _innermost(error: BaseException) -> str:
    """The root cause in words; the outer layers of requests quote the URL with all its query values."""
    *_, root = _causes(error)
    return str(root) or type(root).__name__


def _without_email(path: str) -> str:
    return re.sub(r"[^/]*(%40|@)[^/]*", "…", path)
