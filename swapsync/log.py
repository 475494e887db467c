"""The log: loguru on stderr, as text or one JSON object a line, with every secret struck out.

Each line of a job carries its site, job, run (the number of its record) and trace (what one worker did in one go: the
jobs of a cycle share it). Nothing from outside can make a line of its own, or steer a terminal.
"""

import sys
import traceback
import uuid
from collections.abc import Callable
from datetime import UTC
from typing import TYPE_CHECKING

import orjson
from loguru import logger

from swapsync.settings import Settings

if TYPE_CHECKING:
    from loguru import Message, Record

_TEXT = "<level>{time:HH:mm:ss} {level: <7}</level> {extra[where]}{message}{extra[traceback]}\n"
_WHERE = ("site", "job", "run", "trace")


def set_up_log(settings: Settings) -> None:
    """Sends the log to stderr in the chosen level and format; no values of variables in tracebacks, no secrets."""
    sink: dict[str, object]
    if settings.log_format == "text":
        sink = {"sink": sys.stderr, "format": lambda _: _TEXT}
    else:
        sink = {"sink": _write_json, "format": "{message}"}
    logger.remove()
    logger.configure(patcher=_tidy(_secrets(settings)))
    logger.add(**sink, level=settings.log_level, backtrace=False, diagnose=False)  # type: ignore[call-overload]


def new_trace() -> str:
    """An id for what one worker does in one go."""
    return uuid.uuid4().hex[:12]


def _secrets(settings: Settings) -> list[str]:
    found = [settings.database_url.get_secret_value()]
    for site in settings.sites:
        found += [site.swap_api_key.get_secret_value(), site.sparklayer_client_secret.get_secret_value()]
        found += site.alert_urls.get_secret_value().split()
    return [secret for secret in found if secret and not secret.startswith("sqlite:")]


def _tidy(secrets: list[str]) -> "Callable[[Record], None]":
    def clean(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, "***")
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)

    def tidy(record: "Record") -> None:
        extra = record["extra"]
        record["message"] = clean(record["message"])
        place = "/".join(str(extra[key]) for key in ("site", "job") if key in extra)
        ids = " ".join(str(extra[key]) for key in ("run", "trace") if key in extra)
        extra["where"] = f"{place}{f' [{ids}]' if ids else ''}: " if place else ""
        extra["traceback"] = ""
        if record["exception"] is not None:
            lines = "".join(traceback.format_exception(record["exception"].value)).splitlines()
            extra["traceback"] = "".join(f"\n    | {clean(line)}" for line in lines)

    return tidy


def _write_json(message: "Message") -> None:
    record = message.record
    extra = record["extra"]
    line = {
        "time": record["time"].astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": record["level"].name,
        "message": record["message"],
        **{key: extra[key] for key in _WHERE if key in extra},
        **({"traceback": extra["traceback"].replace("\n    | ", "\n").strip()} if extra["traceback"] else {}),
    }
    sys.stderr.write(orjson.dumps(line).decode() + "\n")
    sys.stderr.flush()
