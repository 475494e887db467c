"""What people said a word of the other side means."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, delete, select

from swapsync.domain.facts import Route
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


def payment_routes(connection: Connection, configured: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, Route]]:
    """How each payment method is made good, by site: as it is ``configured``, else as people said.

    What is configured by default has a route, so people are never asked for one.
    """
    routes: dict[str, dict[str, Route]] = {site: {} for site in configured}
    said = select(mappings).where(mappings.c.site.in_(routes), mappings.c.field == PAYMENT_METHOD)
    for row in connection.execute(said):
        routes[row.site][row.word] = Route(row.meaning)
    for site, of_site in configured.items():
        routes[site] |= {word: Route(route) for word, route in of_site.items()}
    return routes


def teach(connection: Connection, site: str, field: str, word: str, meaning: str, actor: str, now: datetime) -> None:
    """Notes what a word of a field means from now on; a later word on it wins."""
    row = {"site": site, "field": field, "word": word, "meaning": meaning, "actor": actor, "taught_at": now}
    upsert(connection, MappingRow, [row])


def unteach(connection: Connection, site: str, field: str, word: str) -> None:
    """Forgets what a word of a field was said to mean."""
    c = mappings.c
    connection.execute(delete(mappings).where(c.site == site, c.field == field, c.word == word))
