"""What was settled before the cut-over takes its units of the order before anything new does (rule 12)."""

from datetime import UTC, datetime

import pytest

from swapsync.domain.catalogue import Code
from swapsync.sandbox.world import World, return_line
from swapsync.store import exceptions
from tests.conftest import Desk, run
from tests.scenario import approved, credited, sold


@pytest.mark.parametrize("order_id", ["5001", "an id that SparkLayer does not know"])
def test_history_counts_at_once_on_an_order_older_than_what_the_first_poll_reads(
    desk: Desk, world: World, order_id: str
) -> None:
    sold(world, placed=datetime(2024, 6, 1, 9, 0, tzinfo=UTC))
    approved(
        world,
        return_id="ret-0",
        rma_number="R0",
        order_id=order_id,
        lines=[return_line("MUG", 8, line_item_id="71")],
        created=datetime(2026, 1, 2, 9, 0, tzinfo=UTC),
        closed=datetime(2026, 2, 1, 9, 0, tzinfo=UTC),
    )
    approved(world)
    place = desk()
    run(place)
    run(place)
    assert credited(world) == []
    with place.store.reading() as connection:
        details = [row.detail for row in exceptions.open_of_code(connection, "default", Code.QUANTITY_EXCEEDS_ORDER)]
    assert details == ["4 of MUG to come back, 2 left of 10; also claimed by RMA R0"]
