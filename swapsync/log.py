"""The log: loguru on stderr, as text or one JSON object a line, with every secret struck out."""

import sys
from typing import TYPE_CHECKING

from loguru import logger

from swapsync.settings import Settings

if TYPE_CHECKING:
    from loguru import Record

_TEXT = "<level>{time:HH:mm:ss} {level: <7}</level> {extra[where]}{message}"


def set_up_log(settings: Settings) -> None:
    """Sends the log to stderr in the chosen level and format; no values of variables in tracebacks, no secrets."""
    secrets = [
        secret.get_secret_value()
        for site in settings.sites
        for secret in (site.swap_api_key, site.sparklayer_client_secret)
    ]

    def tidy(record: "Record") -> None:
        message = record["message"]
        for secret in secrets:
            message = message.replace(secret, "***")
        record["message"] = message.replace("\r", "\\r").replace("\n", "\\n")
        place = "/".join(str(record["extra"][key]) for key in ("site", "job") if key in record["extra"])
        record["extra"]["where"] = f"{place}: " if place else ""

    logger.remove()
    logger.configure(patcher=tidy)
    logger.add(
        sys.stderr,
        level=settings.log_level,
        format=_TEXT if settings.log_format == "text" else "{message}",
        serialize=settings.log_format == "json",
        backtrace=False,
        diagnose=False,
    )
