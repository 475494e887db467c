"""poll_skus: asks for the SKU of the variants that open returns and their orders name, and keeps every SKU they had.

SparkLayer has no list of SKUs, so a variant is asked for when it is first named, once a day while it is in use, and in
every run while a return line matches nothing (a bounded number, those longest unasked first).
"""

from datetime import timedelta

from swapsync.connectors.sparklayer_reader import read_variant
from swapsync.jobs.workplace import Tally, Workplace
from swapsync.store import staging

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
    try:
        for variant_id in due:
            row = place.sparklayer.variant(variant_id)
            skus[variant_id] = read_variant(row)[1] if row is not None else ""
    finally:
        tally.read += len(skus)
        with place.writing() as connection:
            tally.changed += staging.stage_variants(connection, place.slug, skus, place.clock.now())
