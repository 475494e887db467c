"""Rule 11: a list that moves while it is read is read again; the watermark moves after a quiet walk only."""

import itertools
from datetime import datetime, timedelta
from typing import Any

import pytest

from swapsync.sandbox.world import World, spark_time, swap_time
from swapsync.store import runs
from tests.conftest import Desk, FixedClock, run
from tests.rules import scenario as s

LIST = "/v2/external/returns"
STREAM = "swap.returns"


def many(world: World, count: int, **fields: Any) -> None:
    """Returns N0, N1, … of the usual order, each changed a minute after the one before."""
    for number in range(count):
        at = s.SUBMITTED + timedelta(minutes=number)
        numbered = {"return_id": f"N{number}", "rma_number": f"RMA-N{number}", "updated": at}
        s.returned(world, s.back(quantity=0), total=0, **(numbered | fields))


def position(place: Any, stream: str = STREAM) -> datetime | None:
    with place.store.reading() as connection:
        return runs.watermark(connection, place.slug, stream)


def pages(world: World) -> list[str]:
    return [call.query["page"] for call in world.calls("GET", LIST)]


def test_a_quiet_walk_is_done_once_with_one_fixed_filter(desk: Desk, world: World, clock: FixedClock) -> None:
    many(world, 201)
    place = desk()

    record = run(place, "poll_returns")["poll_returns"]

    assert pages(world) == ["1", "2", "3"]
    assert len({call.query["last_RMA_updated_date"] for call in world.calls("GET", LIST)}) == 1
    assert (record.read, record.changed) == (201, 201)
    assert position(place) == s.SUBMITTED + timedelta(minutes=200)


def test_a_walk_in_which_the_total_moved_is_repeated(desk: Desk, world: World, clock: FixedClock) -> None:
    many(world, 150)
    world.swap.between_pages = [lambda: world.swap.delete_return("N149")]
    place = desk()

    run(place, "poll_returns")

    assert pages(world) == ["1", "2", "1", "2"]
    assert s.staged(place, "N49").return_id == "N49", "the row that slipped between the pages"
    assert position(place) == s.SUBMITTED + timedelta(minutes=148)


def test_a_walk_in_which_a_row_was_met_twice_is_repeated(desk: Desk, world: World, clock: FixedClock) -> None:
    many(world, 150)
    world.swap.between_pages = [lambda: world.swap.change_return("N10", delivery_status="Delivered")]
    place = desk()

    run(place, "poll_returns")

    assert pages(world) == ["1", "2", "1", "2"]
    assert s.staged(place, "N10").delivery == "delivered"


def always_moving(world: World, clock: FixedClock) -> None:
    """Between any two pages, the oldest return that did not change yet changes, and so goes to the front."""
    oldest = itertools.count()

    def move() -> None:
        clock.forward(seconds=1)
        world.swap.change_return(f"N{next(oldest)}", tags="moved")
        world.swap.between_pages.append(move)

    world.swap.between_pages = [move]


def test_a_list_that_never_stands_still_is_walked_five_times_and_the_watermark_stays(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    many(world, 150)
    always_moving(world, clock)
    place = desk()

    record = run(place, "poll_returns")["poll_returns"]

    assert pages(world) == ["1", "2"] * 5
    assert position(place) is None
    assert record.status == "ok"
    assert any("moved" in remark for remark in record.remarks)
    assert s.staged(place, "N149").return_id == "N149", "what was read is kept"


def test_after_such_a_run_the_next_one_reads_from_the_old_place(desk: Desk, world: World, clock: FixedClock) -> None:
    many(world, 150)
    place = desk(overlap_seconds="0")
    run(place, "poll_returns")
    old = position(place)
    clock.forward(hours=1)
    for number in range(150):
        clock.forward(seconds=1)
        world.swap.change_return(f"N{number}", tags="new")
    always_moving(world, clock)
    run(place, "poll_returns")
    assert position(place) == old

    world.swap.between_pages = []
    seen = len(world.exchanges)
    run(place, "poll_returns")

    assert old is not None
    assert {call.query["last_RMA_updated_date"] for call in world.exchanges[seen:]} == {swap_time(old)}
    assert position(place) == clock.now()


def test_what_was_read_of_a_moving_list_is_used(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    many(world, 150)
    s.second(world, **s.APPROVED)
    always_moving(world, clock)

    run(desk())

    assert s.credits(world) == {"swap:R2:credit:1": "-48.00"}


def test_rows_newer_than_the_walks_start_are_taken_and_the_watermark_never_passes_the_start(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.returned(world, updated=clock.now() + timedelta(hours=1))
    place = desk()

    run(place, "poll_returns")

    assert s.staged(place).return_id == "R1"
    assert position(place) == clock.now()


def test_the_watermark_is_the_newest_change_seen_and_never_the_present(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.returned(world, updated=s.SUBMITTED)
    place = desk()

    run(place, "poll_returns")

    assert position(place) == s.SUBMITTED


def test_the_newest_version_of_a_row_stands_whichever_page_came_first(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.returned(world)
    place = desk()
    clock.forward(minutes=10)
    world.swap.change_return("R1", delivery_status="Delivered")
    run(place, "poll_returns")

    world.swap.change_return("R1", delivery_status="In-Transit", date_updated=swap_time(s.SUBMITTED))
    clock.forward(minutes=10)
    run(desk(overlap_seconds="31536000"), "poll_returns")

    assert s.staged(place).delivery == "delivered"


@pytest.mark.parametrize("count", [0, 99, 100, 101, 200])
def test_without_pagination_the_first_page_shorter_than_the_page_size_is_the_last(
    desk: Desk, world: World, clock: FixedClock, count: int
) -> None:
    many(world, count)
    world.swap.pagination = False
    place = desk()

    record = run(place, "poll_returns")["poll_returns"]

    assert pages(world) == [str(page) for page in range(1, count // 100 + 2)]
    assert (record.status, record.read) == ("ok", count)


def test_an_orders_detail_is_read_when_a_return_needs_it_and_once_for_each_revision(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.order(world, platform_id="5002", visible="#1002")
    s.returned(world)
    place = desk()

    def details() -> list[str]:
        return [call.path.rpartition("/")[2] for call in world.calls("GET", "/purchases/platform/")]

    for _ in range(3):
        run(place)
        clock.forward(minutes=5)
    assert details() == ["5001"]

    world.sparklayer.change_purchase("5001", customer_reference="PO-78")
    world.sparklayer.change_purchase("5002", customer_reference="PO-79")
    for _ in range(3):
        run(place)
        clock.forward(minutes=5)
    assert details() == ["5001", "5001"]
    assert s.staged(place).po_number == "PO-78"


def test_a_list_of_orders_that_shifts_is_walked_again(desk: Desk, world: World, clock: FixedClock) -> None:
    for number in range(600):
        s.order(
            world,
            s.sold(),
            platform_id=f"{7000 + number}",
            visible=f"#{7000 + number}",
            placed=s.PLACED + timedelta(minutes=number),
        )
    oldest = spark_time(s.PLACED - timedelta(days=30))
    world.sparklayer.between_pages = [
        lambda: world.sparklayer.change_purchase("7599", dates={"updated_at": oldest, "placed_at": oldest})
    ]
    place = desk()

    run(place, "poll_orders")

    offsets = [call.query["offset"] for call in world.calls("GET", "/api/v1/purchases")]
    assert offsets == ["0", "499"] * 2
    assert position(place, "sparklayer.orders") == s.PLACED + timedelta(minutes=598)
