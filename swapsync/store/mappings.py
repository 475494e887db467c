"""What people said a word of the other side means."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, select

from swapsync.domain.settlement import Route
from swapsync.store.db import table, upsert
from swapsync.store.tables import MappingRow

mappings = table(MappingRow)

PAYMENT_METHOD = "payment_method"

Taught = Mapping[tuple[str, str], str]
"""(field, word) -> meaning; words as they are compared, folded."""


def taught(connection: Connection, site: str) -> Taught:
    """All that was taught for a site."""
    rows = connection.execute(select(mappings).where(mappings.c.site == site))
    return {(row.field, row.word): row.meaning for row in rows}


def payment_routes(connection: Connection, site: str, configured: Mapping[str, str]) -> dict[str, Route]:
    """How each payment method is made good: as it is configured, unless people said otherwise."""
    said = {word: meaning for (field, word), meaning in taught(connection, site).items() if field == PAYMENT_METHOD}
    return {method: Route(route) for method, route in {**configured, **said}.items()}


def teach(connection: Connection, site: str, field: str, word: str, meaning: str, actor: str, now: datetime) -> None:
    """Notes what a word of a field means from now on; a later word on it wins."""
    row = {"site": site, "field": field, "word": word, "meaning": meaning, "actor": actor, "taught_at": now}
    upsert(connection, MappingRow, [row])
