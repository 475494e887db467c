"""Rule 12: what ended before the cut-over is counted, and causes nothing."""

from datetime import UTC, datetime
from typing import Any

import pytest

from swapsync.sandbox.world import World, swap_time
from tests.conftest import Desk, FixedClock, run
from tests.rules import scenario as s

BEFORE = datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC)
CUT_OVER = datetime(2026, 3, 1, tzinfo=UTC)
EARLIER: dict[str, Any] = {"created": datetime(2026, 2, 25, 9, 0, tzinfo=UTC)}


def closed_before(world: World, *lines: dict[str, Any], **fields: Any) -> None:
    s.returned(world, *lines, **(s.APPROVED | EARLIER | {"closed": BEFORE} | fields))


@pytest.mark.parametrize(
    "ending",
    [
        pytest.param({}, id="closed"),
        pytest.param({"return_status": "Cancelled"}, id="cancelled"),
        pytest.param({"return_status": "Expired"}, id="expired"),
        pytest.param({"closed": None, "updated": BEFORE}, id="by its last change where it has no closing date"),
        pytest.param({"closed": BEFORE, "updated": s.CLOSED}, id="the closing date counts before the last change"),
    ],
)
def test_a_return_that_ended_before_the_cut_over_causes_nothing(
    desk: Desk, world: World, ending: dict[str, Any]
) -> None:
    s.order(world)
    closed_before(world, **ending)
    place = desk(restock_on="swap_approved")

    run(place)

    assert s.writes(world) == []
    assert (s.state(place), s.documents(place), s.moved(place)) == ("settled_outside", [], [])
    assert s.open_codes(place) == []


@pytest.mark.parametrize(
    "ending", [{"closed": CUT_OVER}, {"closed": None, "updated": CUT_OVER}], ids=["closed", "last changed"]
)
def test_one_that_ended_at_the_cut_over_or_later_is_ours(desk: Desk, world: World, ending: dict[str, Any]) -> None:
    s.order(world)
    closed_before(world, **ending)

    run(desk())

    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}


def test_an_old_return_that_is_still_open_at_the_cut_over_is_ours(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.returned(world, **EARLIER, **s.DELIVERED)
    place = desk()
    run(place)

    clock.forward(minutes=5)
    world.swap.change_return(
        "R1", return_status="Closed", quality_control_status="Approved", date_closed=swap_time(clock.now())
    )
    run(place)

    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}


def test_it_is_matched_and_its_units_are_counted(desk: Desk, world: World) -> None:
    s.order(world)
    closed_before(world, s.back(quantity=8), total=96)
    s.second(world, **s.APPROVED)
    place = desk()

    run(place)

    assert s.matched(place, "R1") == [("li:li-MUG", "line item id")]
    assert s.money_writes(world) == []
    assert s.open_codes(place, "R2") == ["QUANTITY_EXCEEDS_ORDER"]


def test_its_units_come_first_whenever_it_was_submitted(desk: Desk, world: World) -> None:
    s.order(world)
    closed_before(world, s.back(quantity=8), total=96)
    s.second(world, **s.APPROVED, created=datetime(2026, 2, 21, 9, 0, tzinfo=UTC))

    run(desk())

    assert s.money_writes(world) == []


@pytest.mark.parametrize(
    "change",
    [
        {"tags": "touched"},
        {"return_status": "Open"},
        {"quality_control_status": "Not Approved"},
        {"date_closed": swap_time(s.CLOSED)},
    ],
)
def test_later_changes_at_swap_do_not_bring_it_back(
    desk: Desk, world: World, clock: FixedClock, change: dict[str, Any]
) -> None:
    s.order(world)
    closed_before(world)
    place = desk(restock_on="swap_approved")
    run(place)

    clock.forward(minutes=5)
    world.swap.change_return("R1", **change)
    run(place)

    assert s.writes(world) == []
    assert s.state(place) == "settled_outside"


def test_a_return_seen_open_that_closes_before_a_cut_over_to_come_is_settled_outside(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, **s.DELIVERED)
    place = desk(effects_from="2026-03-12T00:00:00Z")
    run(place)

    clock.forward(days=1)
    world.swap.change_return(
        "R1", return_status="Closed", quality_control_status="Approved", date_closed=swap_time(clock.now())
    )
    clock.forward(days=2)
    run(place)

    assert s.money_writes(world) == []
    assert s.state(place) == "settled_outside"


def test_a_return_that_closes_before_a_cut_over_to_come_is_noted_no_more(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world)
    run(desk(effects_from="2026-03-12T00:00:00Z", push_status="false"))

    clock.forward(days=1)
    world.swap.change_return("R1", return_status="Closed", date_closed=swap_time(clock.now()))
    clock.forward(days=2)
    place = desk(effects_from="2026-03-12T00:00:00Z")
    run(place)

    assert (s.state(place), s.writes(world)) == ("settled_outside", [])


def test_without_the_setting_the_cut_over_is_the_first_runs_start_and_stays_there(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    s.second(world)
    place = desk(effects_from="")
    record = run(place)["poll_returns"]
    assert (s.state(place, "R1"), place.effects_from) == ("settled_outside", clock.now())
    assert any("1" in remark and "2026-03-10" in remark for remark in record.remarks), record.remarks

    clock.forward(days=1)
    world.swap.change_return(
        "R2",
        return_status="Closed",
        delivery_status="Delivered",
        quality_control_status="Approved",
        date_closed=swap_time(clock.now()),
    )
    again = desk(effects_from="")
    records = run(again)

    assert s.credits(world) == {"swap:R2:credit:1": "-48.00"}
    assert records["poll_returns"].remarks == []


@pytest.mark.parametrize("setting", ["2020-01-01T00:00:00Z", "2026-03-09T12:00:00Z"])
def test_a_changed_setting_does_not_move_it(desk: Desk, world: World, clock: FixedClock, setting: str) -> None:
    s.order(world)
    closed_before(world)
    run(desk(), "poll_returns")

    world.swap.change_return("R1", tags="touched")
    s.second(world, **(s.APPROVED | {"closed": datetime(2026, 3, 7, tzinfo=UTC)}))
    place = desk(effects_from=setting)
    run(place)

    assert s.credits(world) == {"swap:R2:credit:1": "-48.00"}
    assert s.state(place, "R1") == "settled_outside"
