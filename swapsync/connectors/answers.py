"""What stands in requests and answers: JSON, error details, Retry-After. Knows nothing of connections."""

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any

_LONGEST_RETRY_AFTER = timedelta(days=1)


def to_json(value: Any) -> bytes:
    """A request body. Raises TypeError or ValueError for what JSON can't say, a Decimal or NaN for instance."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(parse_float=Decimal, parse_constant=_no_number)


def from_json(body: bytes) -> Any:
    """An answer's body, numbers with a fraction as Decimal; None if it is empty.

    Raises ValueError or RecursionError when it is not JSON.
    """
    return _decoder.decode(body.decode("utf-8-sig")) if body.strip() else None


def json_or_none(body: bytes) -> Any:
    """The same, None also for a body that is not JSON."""
    try:
        return from_json(body)
    except (ValueError, RecursionError):
        return None


def error_detail(body: bytes) -> str:
    """What an error body says: problem details, or Swap's statusCode/message/error; blank if neither."""
    problem = json_or_none(body)
    if not isinstance(problem, dict):
        return ""
    message = next((problem[key] for key in ("detail", "message", "title", "error") if problem.get(key)), "")
    parts = [str(part) for part in (message if isinstance(message, list) else [message]) if part]
    errors = problem.get("errors")
    for error in errors if isinstance(errors, list) else []:
        if isinstance(error, dict):
            parts.append(" ".join(str(error[key]) for key in ("property", "message") if error.get(key)))
    return "; ".join(parts)


def retry_after(value: str, now: datetime) -> timedelta | None:
    """How long a Retry-After header asks to wait, at most a day; None if it asks for nothing or can't be read."""
    if re.fullmatch(r"[0-9]{1,9}", value.strip()):
        wait = timedelta(seconds=int(value))
    else:
        try:
            at = parsedate_to_datetime(value)
            wait = (at if at.tzinfo else at.replace(tzinfo=UTC)) - now
        except (ValueError, OverflowError):
            return None
    return min(wait, _LONGEST_RETRY_AFTER) if wait > timedelta(0) else None
