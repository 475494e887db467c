"""Returns in which a word had another meaning, or none, when they were read: read again from the version kept."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import orjson
from sqlalchemy import Connection, Row, and_, func, or_, select, update

from swapsync.connectors.swap_reader import read_return
from swapsync.domain.returns import Remedy, Return
from swapsync.jobs.workplace import Workplace
from swapsync.store import runs
from swapsync.store.cases import to_return
from swapsync.store.db import chunks, table
from swapsync.store.mappings import Taught, taught
from swapsync.store.staging import Received, return_lines, returns, stage_returns, unfinished
from swapsync.store.tables import RawRecord

raw_records = table(RawRecord)


def reread_taught_words(connection: Connection, place: Workplace) -> None:
    """Stages again, as they came, the returns that say something else by what people taught.

    Those in which something is not understood are looked at each time; all unfinished ones when a word was taught or
    taken back since they were read.
    """
    words = taught(connection, place.slug)
    changed = runs.adopt_words(connection, place.slug, _fingerprint(words))
    if not words and not changed:
        return
    unknown_line = (
        select(return_lines.c.line_id)
        .where(
            return_lines.c.site == returns.c.site,
            return_lines.c.return_id == returns.c.return_id,
            return_lines.c.remedy == Remedy.UNKNOWN,
        )
        .exists()
    )
    not_understood = or_(func.json_array_length(returns.c.unknown) > 0, unknown_line)
    of_site = and_(returns.c.site == place.slug, or_(not_understood, unfinished()) if changed else not_understood)
    for part in chunks(list(connection.execute(select(returns.c.return_id).where(of_site)).scalars())):
        _reread(connection, place, part, words)


def _reread(connection: Connection, place: Workplace, return_ids: Sequence[str], words: Taught) -> None:
    kept = connection.execute(
        select(returns, raw_records.c.body)
        .join(
            raw_records,
            and_(
                raw_records.c.site == returns.c.site,
                raw_records.c.remote_id == returns.c.return_id,
                raw_records.c.digest == returns.c.digest,
            ),
        )
        .where(returns.c.site == place.slug, returns.c.return_id.in_(return_ids))
        .where(raw_records.c.stream == "swap.returns")
    ).all()
    lines: dict[str, list[Row[Any]]] = defaultdict(list)
    for line in connection.execute(
        select(return_lines)
        .where(return_lines.c.site == place.slug, return_lines.c.return_id.in_(return_ids))
        .order_by(return_lines.c.position)
    ):
        lines[line.return_id].append(line)
    again = []
    for row in kept:
        ret = read_return(orjson.loads(row.body), place.site.naive_timezone, words)
        if _understood(ret) != _understood(to_return(row, lines[row.return_id])):
            again.append((ret, Received(row.return_id, row.body, row.digest)))
    connection.execute(
        update(returns)
        .where(returns.c.site == place.slug, returns.c.return_id.in_([ret.return_id for ret, _ in again]))
        .values(digest="")
    )
    stage_returns(
        connection, place.slug, again, effects_from=runs.cut_over(connection, place.slug), now=place.clock.now()
    )


def _understood(ret: Return) -> tuple[object, ...]:
    """What the words of a return were taken to mean, and which of them mean nothing."""
    remedies = [(line.line_id, line.remedy) for line in ret.lines]
    return ret.status, ret.delivery, ret.qc, remedies, [named.partition(" ")[0] for named in ret.unknown]


def _fingerprint(words: Taught) -> str:
    """Equal for equal words; blank for none."""
    said = orjson.dumps(sorted((*key, meaning) for key, meaning in words.items()))
    return hashlib.blake2b(said, digest_size=16).hexdigest() if words else ""
