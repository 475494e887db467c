"""A disk that is full in the middle of a cycle, as SQLite itself reports it: nothing is lost, nothing done twice."""

from typing import Any

import pytest
from sqlalchemy import event

from swapsync.sandbox.world import World
from swapsync.store.db import Store
from tests.conftest import Desk, FixedClock, run
from tests.rules import scenario as s

RETURNS = 12


@s.one_store_is_enough
@pytest.mark.parametrize("room", [0, 4, 12, 20])
def test_what_did_not_fit_is_done_once_when_there_is_room_again(
    desk: Desk, world: World, store: Store, clock: FixedClock, room: int
) -> None:
    """``room``: how many more pages of 4 KiB the store may take."""
    world.sparklayer.set_level("MUG", "default", 20)
    ids = [f"60{n}" for n in range(RETURNS)]
    for n, order in enumerate(ids):
        s.order(world, s.sold(line_item_id=f"li-{order}"), platform_id=order, visible=f"#{order}")
        s.returned(
            world,
            s.back(line_item_id=f"li-{order}", reason_text="scuffed " * 40),
            **(
                s.APPROVED
                | {"return_id": f"R{n}", "rma_number": f"RMA-{n}", "order_id": order, "order_name": f"#{order}"}
            ),
        )
    place = desk(restock_on="swap_approved")
    with store.reading() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    store.engine.dispose()

    def leave_room(connection: Any, _record: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages + room}")

    event.listen(store.engine, "connect", leave_room)
    said = [record.error for record in run(place).values() if record.error]
    event.remove(store.engine, "connect", leave_room)
    store.engine.dispose()
    assert said
    assert all("database or disk is full" in error for error in said)

    for _ in range(3):
        clock.forward(hours=2)
        run(place)

    for n, order in enumerate(ids):
        assert s.credits(world, order) == {f"swap:R{n}:credit:1": "-48.00"}
        assert len(s.tokens(world, order)) == len(set(s.tokens(world, order))) == 3
    assert s.levels(world)["default"] == 20 + 4 * RETURNS
    assert s.open_codes(place) == []
    assert s.undelivered(place) == []
