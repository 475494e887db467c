"""Our own stock locations are held against our ledger: a difference is shown, and a person settles it."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from swapsync.jobs.compare import Period, reconcile_sites
from swapsync.jobs.rulings import RulingRefused, rule
from swapsync.jobs.stock_drift import look_for_drift
from swapsync.jobs.stock_levels import ledger_levels
from swapsync.jobs.workplace import Tally, Workplace
from swapsync.sandbox.world import World
from swapsync.store.cases import movements
from tests.conftest import Desk, FixedClock, run
from tests.rules import scenario as s

DAY = timedelta(days=1)


@pytest.fixture
def place(desk: Desk, world: World) -> Workplace:
    """Four mugs in inspection, as SparkLayer and our ledger say."""
    s.order(world)
    s.returned(world, **s.DELIVERED)
    opened = desk()
    run(opened)
    assert s.levels(world)["inspection"] == 4
    return opened


def days_later(place: Workplace, clock: FixedClock, days: int = 1) -> None:
    clock.moment += DAY * days
    run(place)


def look(place: Workplace) -> None:
    look_for_drift(place, Tally(), at_all=True)


def reads(world: World) -> int:
    return len(world.calls("POST", "/batch-fetch-stock"))


def act(place: Workplace, action: str, code: str = "RESTOCK_DRIFT") -> None:
    for problem in [row for row in s.open_exceptions(place) if row.code == code]:
        rule(place.store, problem.id, action, note="counted twice", actor="olga", now=place.clock.now())


def ledger(place: Workplace) -> dict[str, int]:
    with place.store.reading() as connection:
        levels = ledger_levels(connection, place.slug, ["MUG"])
    assert sum(levels.values()) == 0
    return {location: units for (_, location), units in levels.items() if location != "outside" and units}


def test_a_level_that_somebody_changed_is_shown_within_a_day_and_closes_when_it_is_put_right(
    place: Workplace, world: World, clock: FixedClock
) -> None:
    world.sparklayer.set_level("MUG", "inspection", 7)
    days_later(place, clock)

    (problem,) = s.open_exceptions(place)
    assert (problem.code, problem.sku, problem.owner) == ("RESTOCK_DRIFT", "MUG", "operations")
    assert problem.detail == "MUG at inspection: SparkLayer shows 7, our ledger says 4"
    assert s.levels(world)["inspection"] == 7

    world.sparklayer.set_level("MUG", "inspection", 4)
    clock.forward(minutes=5)
    run(place)

    assert s.open_codes(place) == []


def test_a_level_that_can_not_be_read_is_named_and_looked_at_again_in_a_day(
    place: Workplace, world: World, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(place.sparklayer, "stock_levels", lambda skus, ids: {(skus[0], ids[0]): None})
        days_later(place, clock)
        asked = Tally()
        look_for_drift(place, asked, at_all=True)
        assert asked.remarks == [
            "the levels of 1 SKUs can't be read, so they are not held against our ledger today: MUG"
        ]
        assert s.open_codes(place) == []
    world.sparklayer.set_level("MUG", "inspection", 7)

    before = reads(world)
    clock.forward(hours=1)
    run(place)
    assert reads(world) == before
    days_later(place, clock)

    assert s.open_codes(place) == ["RESTOCK_DRIFT"]


def test_a_drift_that_grows_is_one_exception_with_a_count(place: Workplace, world: World, clock: FixedClock) -> None:
    for level in (7, 8):
        world.sparklayer.set_level("MUG", "inspection", level)
        days_later(place, clock)
    (problem,) = s.open_exceptions(place)
    assert problem.detail == "MUG at inspection: SparkLayer shows 8, our ledger says 4"
    assert problem._mapping["count"] == 2


def test_levels_are_read_once_a_day_and_only_where_something_stands(
    place: Workplace, world: World, clock: FixedClock
) -> None:
    before = reads(world)
    for _ in range(5):
        clock.forward(hours=1)
        run(place)
    assert reads(world) == before

    days_later(place, clock)
    assert reads(world) == before + 1
    assert world.calls("POST", "/batch-fetch-stock")[-1].request_body["skus"] == ["MUG"]

    s.found(place, "no_value", 4)
    run(place)
    days_later(place, clock)  # emptied since the last look: looked at once more
    emptied = reads(world)
    for _ in range(3):
        days_later(place, clock)
    assert reads(world) == emptied


def test_the_reconcile_command_looks_at_once(place: Workplace, world: World, clock: FixedClock) -> None:
    world.sparklayer.set_level("MUG", "inspection", 7)
    period = Period(clock.now() - DAY, clock.now())

    (report,) = reconcile_sites([place.site], place.store, clock, period, lambda *_: None)

    assert [(each.job, each.status) for each in report.runs][-1] == ("compare", "ok")
    assert s.open_codes(place) == ["RESTOCK_DRIFT"]


def test_retry_sets_our_level_again(place: Workplace, world: World, clock: FixedClock) -> None:
    world.sparklayer.set_level("MUG", "inspection", 7)
    days_later(place, clock)

    act(place, "retry")
    assert s.open_codes(place) == ["RESTOCK_DRIFT"]
    run(place)

    assert s.levels(world)["inspection"] == 4
    assert s.open_codes(place) == []
    assert ledger(place) == {"inspection": 4}


@pytest.mark.parametrize(("counted", "step"), [(7, ("outside", "inspection", 3)), (1, ("inspection", "outside", 3))])
def test_write_off_books_the_difference_by_name(
    place: Workplace, world: World, clock: FixedClock, counted: int, step: tuple[str, str, int]
) -> None:
    world.sparklayer.set_level("MUG", "inspection", counted)
    days_later(place, clock)

    act(place, "write-off")
    days_later(place, clock, 2)

    assert s.open_codes(place) == []
    assert ledger(place) == {"inspection": counted}
    assert s.levels(world)["inspection"] == counted
    with place.store.reading() as connection:
        booked = connection.execute(select(movements).where(movements.c.step == "adjusted")).one()
    assert (booked.from_location, booked.to_location, booked.quantity) == step
    assert (booked.actor, booked.return_id) == ("olga", "")
    (told,) = [row for row in s.trail(place) if row.kind == "stock_adjusted"]
    assert told.actor == "olga"


def test_a_second_difference_of_one_sku_is_booked_as_well(place: Workplace, world: World, clock: FixedClock) -> None:
    for counted in (7, 5):
        world.sparklayer.set_level("MUG", "inspection", counted)
        days_later(place, clock)
        act(place, "write-off")
    assert ledger(place) == {"inspection": 5}


def test_a_difference_that_changed_since_it_was_read_is_not_booked(
    place: Workplace, world: World, clock: FixedClock
) -> None:
    world.sparklayer.set_level("MUG", "inspection", 7)
    days_later(place, clock)
    s.found(place, "no_value", 1)
    run(place, "reconcile")

    changed = "it changed meanwhile: MUG at inspection: SparkLayer shows 7, our ledger says 3"
    with pytest.raises(RulingRefused, match=changed):
        act(place, "write-off")

    assert ledger(place) == {"inspection": 3}


def test_what_is_still_to_be_written_is_no_drift(place: Workplace, world: World, clock: FixedClock) -> None:
    s.found(place, "damaged", 1)
    run(place, "reconcile")
    look(place)
    assert "RESTOCK_DRIFT" not in s.open_codes(place)


def test_units_that_could_not_be_restocked_are_expected_in_inspection(
    place: Workplace, world: World, clock: FixedClock
) -> None:
    s.found(place, "sellable", 4)
    world.sparklayer.refused_skus = {"MUG"}
    run(place)
    days_later(place, clock)
    assert set(s.open_codes(place)) == {"DELIVERY_FAILED"}
    assert s.levels(world)["inspection"] == 4


def test_units_of_a_restock_that_was_written_off_leave_our_books_and_inspection(
    place: Workplace, world: World, clock: FixedClock
) -> None:
    s.found(place, "sellable", 4)
    world.sparklayer.refused_skus = {"MUG"}
    run(place)
    assert s.open_codes(place) == ["DELIVERY_FAILED"] * 2
    world.sparklayer.refused_skus = set()

    act(place, "write-off", "DELIVERY_FAILED")
    days_later(place, clock)
    days_later(place, clock)

    assert (s.levels(world)["inspection"], s.levels(world)["default"], s.open_codes(place)) == (0, None, [])
    assert (ledger(place), s.moved(place)[-1]) == ({}, ("adjusted", 4))
    (told,) = [row for row in s.trail(place) if row.kind == "stock_adjusted"]
    assert (told.actor, told.return_id, told.before, told.after) == (
        *("olga", "R1"),
        *('{"location":"sellable"}', '{"location":"outside"}'),
    )


def test_a_level_that_is_refused_still_is_no_units_twice(place: Workplace, world: World, clock: FixedClock) -> None:
    s.found(place, "sellable", 4)
    world.sparklayer.refused_skus = {"MUG"}
    run(place)
    act(place, "write-off", "DELIVERY_FAILED")
    run(place)
    act(place, "write-off", "DELIVERY_FAILED")  # the level of inspection that is to follow
    days_later(place, clock)
    assert (s.levels(world)["inspection"], s.open_codes(place)) == (4, ["RESTOCK_DRIFT"])

    act(place, "write-off")
    days_later(place, clock)

    assert (ledger(place), s.open_codes(place)) == ({"inspection": 4}, [])


def test_a_ledger_below_zero_is_shown_as_a_drift_and_never_written(
    place: Workplace, world: World, clock: FixedClock
) -> None:
    world.sparklayer.set_level("MUG", "inspection", 0)
    days_later(place, clock)
    act(place, "write-off")
    s.found(place, "damaged", 4)
    run(place)

    assert s.levels(world) == {"inspection": 0, "default": None, "damaged": 4}


def test_a_merchant_whose_platform_owns_stock_is_not_asked(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.returned(world, **s.DELIVERED)
    place = desk(stock_path="none")
    run(place)
    days_later(place, clock)
    look(place)
    assert [call.path for call in world.exchanges if "stock" in call.path] == []
