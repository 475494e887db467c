"""poll_skus: asks for the SKU of the variants that open returns and their orders name, and keeps every SKU they had.

SparkLayer has no list of SKUs, so a variant is asked for when it is first named, once a day while it is in use, and in
every run while a return line matches nothing or another variant carries its SKU (a bounded number, those longest
unasked first).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection

from swapsync.connectors.errors import Malformed
from swapsync.connectors.sparklayer_reader import read_variant
from swapsync.domain.catalogue import Code
from swapsync.jobs.quarantine import release_readable, set_aside, unreadable
from swapsync.jobs.workplace import Tally, Workplace
from swapsync.store import exceptions, staging
from swapsync.store.exceptions import Sighting
from swapsync.store.staging import Received

STREAM = "sparklayer.variants"
AT_MOST = 200
EVERY = timedelta(hours=24)


def poll_skus(place: Workplace, tally: Tally) -> None:
    """Asks for the variants that are due."""
    start = place.clock.now()
    with place.store.reading() as connection:
        due = staging.variants_to_check(
            connection, place.slug, before=start - EVERY, unmatched_before=start, limit=AT_MOST
        )
    skus: dict[str, str] = {}
    malformed: list[tuple[Sighting, Received]] = []
    try:
        for variant_id in due:
            row = place.sparklayer.variant(variant_id)
            try:
                skus[variant_id] = read_variant(row)[1] if row is not None else ""
            except Malformed as problem:
                skus[variant_id] = ""
                malformed.append(unreadable(STREAM, variant_id, f"variant {variant_id} from SparkLayer", problem, row))
    finally:
        tally.read += len(skus)
        set_aside_ids = {raw.remote_id for _, raw in malformed}
        with place.writing() as connection:
            now = place.clock.now()
            tally.changed += staging.stage_variants(connection, place.slug, skus, now)
            _note_duplicates(connection, place.slug, skus, now)
            set_aside(connection, place.slug, STREAM, malformed, now)
            release_readable(connection, place.slug, STREAM, skus.keys() - set_aside_ids, now)


def _note_duplicates(connection: Connection, site: str, skus: Mapping[str, str], now: datetime) -> None:
    """Opens an exception for each SKU that two variants carry by now, and closes those that are cleared up."""
    standing = exceptions.open_of_code(connection, site, Code.SKU_DUPLICATE)
    concerned = {sku for sku in skus.values() if sku} | {row.sku for row in standing}
    carriers = staging.carriers(connection, site, concerned)
    seen = [
        Sighting(
            Code.SKU_DUPLICATE, f"variants {', '.join(variants)} all carry SKU {sku}", subject=f"sku:{sku}", sku=sku
        )
        for sku, variants in carriers.items()
        if len(variants) > 1
    ]
    evidence = {exceptions.key_of(row): _carried(row.sku, carriers.get(row.sku, [])) for row in standing}
    exceptions.settle(connection, site, standing, seen, now, evidence=evidence)


def _carried(sku: str, variants: Sequence[str]) -> str:
    return f"only variant {variants[0]} carries {sku} now" if variants else f"no variant carries {sku} now"
