"""Returns that were read before a word in them had a meaning, read again from the version that was kept."""

import orjson
from sqlalchemy import Connection, and_, func, select, update

from swapsync.connectors.swap_reader import read_return
from swapsync.domain.returns import Remedy
from swapsync.jobs.workplace import Workplace
from swapsync.store import runs
from swapsync.store.db import chunks, table
from swapsync.store.mappings import taught
from swapsync.store.staging import Received, return_lines, returns, stage_returns
from swapsync.store.tables import RawRecord

raw_records = table(RawRecord)


def reread_taught_words(connection: Connection, place: Workplace) -> None:
    """Stages again, as they came, the returns in which a word that nobody understood means something by now."""
    words = taught(connection, place.slug)
    if not words:
        return
    unknown_lines = (
        select(func.count())
        .where(
            return_lines.c.site == returns.c.site,
            return_lines.c.return_id == returns.c.return_id,
            return_lines.c.remedy == Remedy.UNKNOWN,
        )
        .scalar_subquery()
    )
    not_understood = func.json_array_length(returns.c.unknown) + unknown_lines
    kept = connection.execute(
        select(raw_records, not_understood.label("not_understood"))
        .join(
            returns,
            and_(
                raw_records.c.site == returns.c.site,
                raw_records.c.remote_id == returns.c.return_id,
                raw_records.c.digest == returns.c.digest,
            ),
        )
        .where(returns.c.site == place.slug, raw_records.c.stream == "swap.returns", not_understood > 0)
    ).all()
    again = []
    for row in kept:
        ret = read_return(orjson.loads(row.body), place.site.naive_timezone, words)
        if len(ret.unknown) + sum(line.remedy is Remedy.UNKNOWN for line in ret.lines) < row.not_understood:
            again.append((ret, Received(row.remote_id, row.body, row.digest)))
    for part in chunks([ret.return_id for ret, _ in again]):
        connection.execute(
            update(returns).where(returns.c.site == place.slug, returns.c.return_id.in_(part)).values(digest="")
        )
    stage_returns(
        connection, place.slug, again, effects_from=runs.cut_over(connection, place.slug), now=place.clock.now()
    )
