"""Rules 1 and 6: where returned units go, and that the same facts never move them twice."""

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

import pytest

from swapsync.domain.returns import Condition
from swapsync.domain.stock import (
    ROUTE,
    Location,
    Movement,
    Proof,
    Step,
    Transfer,
    excess,
    movements_due,
    units_received,
)


def due(
    announced: int = 4,
    *,
    delivered: bool = False,
    restock_announced: bool = False,
    moved: Mapping[Step, int] = MappingProxyType({}),
    write_off: bool = False,
    **found: int,
) -> dict[Step, int]:
    """Units to move by step, for a line of MUG; ``found``: units by condition."""
    units = Counter({Condition(condition): quantity for condition, quantity in found.items()})
    movements = movements_due(
        "mug",
        "MUG",
        announced,
        delivered=delivered,
        restock_announced=restock_announced,
        units=units,
        moved=moved,
        write_off=write_off,
    )
    assert all((movement.line_id, movement.sku) == ("mug", "MUG") for movement in movements)
    return {movement.step: movement.quantity for movement in movements}


# -- before and at receipt


def test_nothing_moves_before_receipt() -> None:
    assert due() == {}


def test_delivery_alone_moves_the_announced_units_to_inspection_and_nothing_else() -> None:
    assert due(delivered=True) == {Step.RECEIVED: 4}


def test_what_is_received_already_is_not_received_again() -> None:
    assert due(delivered=True, moved={Step.RECEIVED: 4}) == {}


def test_a_finding_proves_receipt_without_swaps_word() -> None:
    assert due(sellable=2) == {Step.RECEIVED: 2, Step.RESTOCKED: 2}


def test_a_finding_that_all_is_missing_proves_no_receipt() -> None:
    assert due(missing=4) == {}


def test_more_units_than_announced_are_never_received() -> None:
    assert due(sellable=5, damaged=1) == {Step.RECEIVED: 4, Step.DAMAGED: 1, Step.RESTOCKED: 3}
    assert due(delivered=True, sellable=6) == {Step.RECEIVED: 4, Step.RESTOCKED: 4}


# -- what the warehouse found


@pytest.mark.parametrize(
    ("condition", "step"),
    [
        ("sellable", Step.RESTOCKED),
        ("damaged", Step.DAMAGED),
        ("no_value", Step.DISPOSED),
        ("missing", Step.MISSING),
    ],
)
def test_each_condition_moves_its_units_out_of_inspection(condition: str, step: Step) -> None:
    found = {condition: 3}
    assert due(4, delivered=True, restock_announced=False, moved={Step.RECEIVED: 4}, **found) == {step: 3}


def test_wrong_items_stay_in_inspection() -> None:
    assert due(delivered=True, wrong_item=4) == {Step.RECEIVED: 4}


def test_wrong_items_that_a_person_wrote_off_leave_inspection_once() -> None:
    received = {Step.RECEIVED: 4}
    assert due(delivered=True, wrong_item=3, write_off=True, moved=received) == {Step.WRITTEN_OFF: 3}
    assert due(delivered=True, wrong_item=3, write_off=True, moved=received | {Step.WRITTEN_OFF: 3}) == {}
    assert due(delivered=True, sellable=1, write_off=True, moved=received) == {Step.RESTOCKED: 1}


def test_without_a_persons_word_wrong_items_are_not_written_off() -> None:
    wrong = Counter({Condition.WRONG_ITEM: 1})
    moved = {Step.RECEIVED: 4}
    assert movements_due("l", "MUG", 4, delivered=True, restock_announced=False, units=wrong, moved=moved) == ()


def test_no_more_is_written_off_than_stands_in_inspection() -> None:
    moved = {Step.RECEIVED: 4, Step.RESTOCKED: 3}
    assert due(delivered=True, sellable=3, wrong_item=3, write_off=True, moved=moved) == {Step.WRITTEN_OFF: 1}


@pytest.mark.parametrize(
    ("delivered", "found", "received"),
    [
        (False, {}, 0),
        (True, {}, 4),
        (True, {"missing": 1}, 3),
        (True, {"missing": 6}, 0),
        (True, {"sellable": 1}, 4),
        (False, {"sellable": 1, "damaged": 1, "missing": 1}, 2),
        (False, {"wrong_item": 6}, 4),
    ],
)
def test_what_came_is_what_was_delivered_less_what_is_missing_else_what_was_found(
    delivered: bool, found: dict[str, int], received: int
) -> None:
    units = Counter({Condition(condition): quantity for condition, quantity in found.items()})
    assert units_received(4, delivered=delivered, units=units) == received


def test_findings_that_come_in_several_steps_move_only_what_is_new() -> None:
    moved = {Step.RECEIVED: 4, Step.RESTOCKED: 1}
    assert due(delivered=True, sellable=3, damaged=1, moved=moved) == {Step.RESTOCKED: 2, Step.DAMAGED: 1}


def test_units_that_follow_after_a_first_finding_are_received_on_delivery() -> None:
    assert due(delivered=True, sellable=2, moved={Step.RECEIVED: 2, Step.RESTOCKED: 2}) == {Step.RECEIVED: 2}


def test_missing_units_leave_inspection_only_if_they_were_booked_into_it() -> None:
    assert due(sellable=3, missing=1) == {Step.RECEIVED: 3, Step.RESTOCKED: 3}
    assert due(delivered=True, sellable=3, missing=1) == {Step.RECEIVED: 4, Step.MISSING: 1, Step.RESTOCKED: 3}


def test_missing_units_leave_inspection_also_when_the_delivery_was_taken_back_since() -> None:
    assert due(sellable=3, missing=1, moved={Step.RECEIVED: 4}) == {Step.MISSING: 1, Step.RESTOCKED: 3}


def test_never_more_leaves_inspection_than_came_into_it() -> None:
    restocked = {Step.RECEIVED: 4, Step.RESTOCKED: 4}
    assert due(delivered=True, damaged=2, no_value=1, missing=1, moved=restocked) == {}
    assert due(delivered=True, damaged=2, sellable=4, moved={Step.RECEIVED: 4, Step.DAMAGED: 1}) == {
        Step.DAMAGED: 1,
        Step.RESTOCKED: 2,
    }


def test_nothing_is_moved_back_when_less_is_announced_or_found_than_moved() -> None:
    assert due(1, delivered=True, sellable=1, moved={Step.RECEIVED: 4, Step.RESTOCKED: 3}) == {}


# -- restock on Swap's approval


def test_an_approval_that_releases_stock_makes_the_announced_units_sellable() -> None:
    assert due(delivered=True, restock_announced=True) == {Step.RECEIVED: 4, Step.RESTOCKED: 4}


def test_a_finding_wins_over_an_approval() -> None:
    assert due(delivered=True, restock_announced=True, damaged=4) == {Step.RECEIVED: 4, Step.DAMAGED: 4}


def test_a_finding_of_some_units_leaves_the_others_in_inspection_in_spite_of_an_approval() -> None:
    assert due(delivered=True, restock_announced=True, damaged=1) == {Step.RECEIVED: 4, Step.DAMAGED: 1}


def test_an_approval_without_receipt_moves_nothing() -> None:
    assert due(restock_announced=True) == {}


# -- the shape of a movement


def test_receipt_comes_first_so_that_the_rest_finds_units_in_inspection() -> None:
    movements = movements_due(
        "mug",
        "MUG",
        1,
        delivered=True,
        restock_announced=False,
        units=Counter({Condition.SELLABLE: 1}),
        moved={},
    )
    assert movements == (Movement("mug", Step.RECEIVED, "MUG", 1), Movement("mug", Step.RESTOCKED, "MUG", 1))


def test_locations_and_steps_are_stored_under_their_own_names() -> None:
    assert [location.value for location in Location] == ["outside", "inspection", "sellable", "damaged"]
    assert [step.value for step in Step] == [
        "received",
        "missing",
        "turned_up",
        "restocked",
        "damaged",
        "disposed",
        "written_off",
    ]


def test_every_step_has_its_origin_and_its_destination() -> None:
    assert ROUTE == {
        Step.RECEIVED: (Location.OUTSIDE, Location.INSPECTION),
        Step.MISSING: (Location.INSPECTION, Location.OUTSIDE),
        Step.TURNED_UP: (Location.OUTSIDE, Location.INSPECTION),
        Step.RESTOCKED: (Location.INSPECTION, Location.SELLABLE),
        Step.DAMAGED: (Location.INSPECTION, Location.DAMAGED),
        Step.DISPOSED: (Location.INSPECTION, Location.OUTSIDE),
        Step.WRITTEN_OFF: (Location.INSPECTION, Location.OUTSIDE),
    }


# -- what two levels prove of a write that got no answer

TAKEN = Transfer(base=20, target=24, held_before=4, held_after=0)
WITHOUT_WITNESS = Transfer(base=20, target=24, held_before=0, held_after=0)
FROM_BEFORE = Transfer(base=20, target=24, held_before=None, held_after=None)
FIRST_LEVEL = Transfer(base=20, target=24, held_before=None, held_after=0)


@pytest.mark.parametrize(
    ("transfer", "level", "held", "proof"),
    [
        (TAKEN, 24, 0, Proof.ARRIVED),
        (TAKEN, 24, None, Proof.ARRIVED),
        (TAKEN, 20, 4, Proof.NEVER_ARRIVED),
        (TAKEN, 20, 0, Proof.UNCERTAIN),
        (TAKEN, 20, None, Proof.UNCERTAIN),
        (TAKEN, 24, 4, Proof.UNCERTAIN),
        (TAKEN, 22, 0, Proof.UNCERTAIN),
        (TAKEN, 22, 4, Proof.UNCERTAIN),
        (TAKEN, 20, 7, Proof.UNCERTAIN),
        (TAKEN, 24, 7, Proof.UNCERTAIN),
        (WITHOUT_WITNESS, 24, 0, Proof.ARRIVED),
        (WITHOUT_WITNESS, 20, 0, Proof.UNCERTAIN),
        (FROM_BEFORE, 24, 4, Proof.ARRIVED),
        (FROM_BEFORE, 20, None, Proof.UNCERTAIN),
        (FIRST_LEVEL, 20, None, Proof.NEVER_ARRIVED),
        (FIRST_LEVEL, 20, 0, Proof.UNCERTAIN),
        (FIRST_LEVEL, 24, 0, Proof.ARRIVED),
        (FIRST_LEVEL, 24, None, Proof.UNCERTAIN),
    ],
)
def test_a_write_is_proved_or_disproved_only_where_both_levels_say_so(
    transfer: Transfer, level: int, held: int | None, proof: Proof
) -> None:
    assert transfer.proof(level, held) is proof


def test_a_proof_is_stored_under_its_own_name() -> None:
    assert [proof.value for proof in Proof] == ["proved", "disproved", "uncertain"]


# -- what was missing and turns up


def test_missing_units_that_turn_up_come_back_into_inspection_and_move_on_as_found() -> None:
    moved = {Step.RECEIVED: 4, Step.MISSING: 2, Step.RESTOCKED: 2}
    assert due(4, delivered=True, moved=moved, sellable=3, damaged=1) == {
        Step.TURNED_UP: 2,
        Step.DAMAGED: 1,
        Step.RESTOCKED: 1,
    }
    assert due(4, delivered=True, moved=moved, sellable=3, missing=1) == {Step.TURNED_UP: 1, Step.RESTOCKED: 1}


def test_what_turned_up_turns_up_once_and_can_be_missing_again() -> None:
    moved = {Step.RECEIVED: 4, Step.MISSING: 2, Step.TURNED_UP: 2, Step.RESTOCKED: 4}
    assert due(4, delivered=True, moved=moved, sellable=4) == {}
    moved = {Step.RECEIVED: 4, Step.MISSING: 2, Step.TURNED_UP: 2, Step.RESTOCKED: 2}
    assert due(4, delivered=True, moved=moved, sellable=2, missing=2) == {Step.MISSING: 2}


def test_units_that_turn_up_one_after_the_other_come_back_each_in_its_turn() -> None:
    moved = {Step.RECEIVED: 4, Step.MISSING: 2, Step.TURNED_UP: 1, Step.RESTOCKED: 3}
    assert due(4, delivered=True, moved=moved, sellable=4) == {Step.TURNED_UP: 1, Step.RESTOCKED: 1}


def test_missing_units_that_were_never_booked_in_are_received_when_they_turn_up() -> None:
    assert due(4, moved={Step.RECEIVED: 2, Step.RESTOCKED: 2}, sellable=4) == {Step.RECEIVED: 2, Step.RESTOCKED: 2}


def test_what_still_stands_in_inspection_is_found_before_anything_turns_up() -> None:
    moved = {Step.RECEIVED: 4, Step.MISSING: 2}
    assert due(4, delivered=True, moved=moved, sellable=2, missing=1) == {Step.RESTOCKED: 2}


def test_units_in_excess_are_those_that_came_are_not_missing_and_are_not_announced() -> None:
    def beyond(announced: int, moved: dict[Step, int], **found: int) -> int:
        units = Counter({Condition(condition): quantity for condition, quantity in found.items()})
        return excess(announced, units=units, moved=moved)

    assert beyond(4, {Step.RECEIVED: 4}) == 0
    assert beyond(5, {Step.RECEIVED: 4}) == 0
    assert beyond(1, {Step.RECEIVED: 4}) == 3
    assert beyond(1, {Step.RECEIVED: 4}, missing=2) == 1
    assert beyond(1, {Step.RECEIVED: 4, Step.MISSING: 2}, missing=2) == 1
    assert beyond(1, {Step.RECEIVED: 4, Step.MISSING: 2}) == 1
    assert beyond(1, {Step.RECEIVED: 4, Step.MISSING: 2}, sellable=4) == 3
    assert beyond(1, {}, sellable=4) == 0
