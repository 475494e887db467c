"""The states of a return, each derived from facts, and what its fingerprint rests on."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from swapsync.domain.returns import (
    Condition,
    Delivery,
    Finding,
    Inspection,
    Logistics,
    Remedy,
    Return,
    ReturnStatus,
    Settlement,
    found,
    inspection,
    logistics,
)
from tests.domain.build import SUBMITTED, a_return, finding, line

A_DAY = timedelta(days=1)

# -- logistics


@pytest.mark.parametrize(
    ("delivery", "where"),
    [
        (Delivery.ANNOUNCED, Logistics.ANNOUNCED),
        (Delivery.IN_TRANSIT, Logistics.IN_TRANSIT),
        (Delivery.DELIVERED, Logistics.DELIVERED),
        (Delivery.UNKNOWN, Logistics.ANNOUNCED),
    ],
)
@pytest.mark.parametrize("status", [ReturnStatus.OPEN, ReturnStatus.NEEDS_REVIEW, ReturnStatus.CLOSED])
def test_the_goods_are_where_the_delivery_status_says(
    status: ReturnStatus, delivery: Delivery, where: Logistics
) -> None:
    assert logistics(a_return(status=status, delivery=delivery)) is where


@pytest.mark.parametrize(
    ("status", "where"),
    [(ReturnStatus.CANCELLED, Logistics.CANCELLED), (ReturnStatus.EXPIRED, Logistics.EXPIRED)],
)
def test_a_return_that_was_called_off_says_so_whatever_the_delivery_status(
    status: ReturnStatus, where: Logistics
) -> None:
    assert logistics(a_return(status=status, delivery=Delivery.DELIVERED)) is where


# -- inspection


@pytest.mark.parametrize(
    ("findings", "seen"),
    [
        ((), Inspection.NONE),
        ((finding(Condition.SELLABLE, 3),), Inspection.PARTIAL),
        ((finding(Condition.SELLABLE, 3), finding(Condition.MISSING, 1)), Inspection.DONE),
        ((finding(Condition.SELLABLE, 5),), Inspection.DONE),
        ((finding(Condition.SELLABLE, 4, "another"),), Inspection.PARTIAL),
    ],
)
def test_the_inspection_is_done_when_every_announced_unit_was_seen_or_missed(
    findings: tuple[Finding, ...], seen: Inspection
) -> None:
    assert inspection(a_return(line(quantity=4)), findings) is seen


def test_the_inspection_of_several_lines_is_done_when_all_of_them_are() -> None:
    ret = a_return(line("MUG", 1), line("CUP", 1))
    mug, cup = finding(Condition.SELLABLE, 1), finding(Condition.DAMAGED, 1, "cup")
    assert inspection(ret, (mug,)) is Inspection.PARTIAL
    assert inspection(ret, (mug, cup)) is Inspection.DONE


def test_findings_may_come_from_any_iterable() -> None:
    findings = iter([finding(Condition.SELLABLE, 1), finding(Condition.SELLABLE, 1, "cup")])
    assert inspection(a_return(line("MUG", 1), line("CUP", 1)), findings) is Inspection.DONE


def test_findings_of_one_line_are_added_up_by_condition() -> None:
    findings = [
        finding(Condition.SELLABLE, 1),
        finding(Condition.DAMAGED, 1),
        finding(Condition.SELLABLE, 2),
        finding(Condition.SELLABLE, 9, "cup"),
    ]
    assert found(findings, "mug") == Counter({Condition.SELLABLE: 3, Condition.DAMAGED: 1})


def test_conditions_and_states_are_stored_and_shown_under_their_own_names() -> None:
    assert {condition.value for condition in Condition} == {
        "sellable",
        "damaged",
        "missing",
        "wrong_item",
        "no_value",
        "unexpected",
    }
    assert {state.value for state in Inspection} == {"none", "partial", "done"}
    assert {state.value for state in Logistics} == {
        *("announced", "in_transit", "delivered", "cancelled", "expired", "vanished")
    }
    assert {state.value for state in Settlement} == {
        *("none", "held", "due", "credited", "refunded_by_gateway", "denied", "settled_outside")
    }


# -- through with it, called off, and the cut-over


@pytest.mark.parametrize(
    ("status", "ended", "called_off"),
    [
        (ReturnStatus.OPEN, False, False),
        (ReturnStatus.NEEDS_REVIEW, False, False),
        (ReturnStatus.ON_HOLD, False, False),
        (ReturnStatus.UNKNOWN, False, False),
        (ReturnStatus.CLOSED, True, False),
        (ReturnStatus.CANCELLED, True, True),
        (ReturnStatus.EXPIRED, True, True),
    ],
)
def test_what_swap_is_through_with_and_what_was_called_off(status: ReturnStatus, ended: bool, called_off: bool) -> None:
    ret = a_return(status=status)
    assert (ret.ended, ret.called_off) == (ended, called_off)


@pytest.mark.parametrize("status", [ReturnStatus.CLOSED, ReturnStatus.CANCELLED, ReturnStatus.EXPIRED])
def test_what_ended_before_the_cut_over_belongs_to_the_time_before(status: ReturnStatus) -> None:
    ret = a_return(status=status, updated_at=SUBMITTED)
    assert ret.ended_before(SUBMITTED + A_DAY)
    assert not ret.ended_before(SUBMITTED)


def test_the_closing_date_counts_before_the_last_change() -> None:
    ret = a_return(status=ReturnStatus.CLOSED, closed_at=SUBMITTED, updated_at=SUBMITTED + 2 * A_DAY)
    assert ret.ended_before(SUBMITTED + A_DAY)


def test_a_return_that_is_still_open_never_belongs_to_the_time_before() -> None:
    assert not a_return(status=ReturnStatus.OPEN).ended_before(SUBMITTED + A_DAY)


# -- the fingerprint that a credit rests on

TWO_LINES = a_return(line("MUG", 1), line("CUP", 2))


@pytest.mark.parametrize(
    "changes",
    [
        {"order_ref": "5002"},
        {"order_name": "#1002"},
        {"currency": "EUR"},
        {"lines": (line("MUG", 1),)},
        {"lines": (line("MUG", 1), line("CUP", 3))},
        {"lines": (line("MUG", 1), line("BOWL", 2, line_id="cup"))},
        {"lines": (line("MUG", 1), line("CUP", 2, variant_id="V1"))},
        {"lines": (line("MUG", 1), line("CUP", 2, line_item_id="11"))},
        {"lines": (line("MUG", 1), line("CUP", 2, line_id="other"))},
        {"status": ReturnStatus.CANCELLED},
    ],
)
def test_the_fingerprint_changes_with_the_order_the_currency_the_lines_and_when_it_is_called_off(
    changes: dict[str, Any],
) -> None:
    assert replace(TWO_LINES, **changes).basis() != TWO_LINES.basis()


@pytest.mark.parametrize(
    "changes",
    [
        {"lines": TWO_LINES.lines[::-1]},
        {"lines": (line("MUG", 1), line("CUP", 2, reason="too small", remedy=Remedy.ASK))},
        {"status": ReturnStatus.CLOSED, "updated_at": SUBMITTED + A_DAY, "total": 1, "refunded": 1},
    ],
)
def test_the_fingerprint_stays_with_all_else(changes: dict[str, Any]) -> None:
    assert replace(TWO_LINES, **changes).basis() == TWO_LINES.basis()


def test_the_fingerprint_does_not_confuse_neighbouring_fields() -> None:
    def named(order_ref: str, order_name: str) -> Return:
        return a_return(order_ref=order_ref, order_name=order_name)

    assert named("12", "3").basis() != named("1", "23").basis()
