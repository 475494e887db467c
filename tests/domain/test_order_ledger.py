"""What is left of an order line, in units and in value, when credits were given under other names than it has now."""

from dataclasses import replace

import pytest

from swapsync.domain.catalogue import Action, Code
from swapsync.domain.facts import Case, Credited, Extra, LineKind, Policy, ReturnFacts, Shipping
from swapsync.domain.orders import Order
from swapsync.domain.returns import Condition
from swapsync.domain.settlement import Decision, decide
from tests.domain.build import (
    APPROVED,
    DELIVERED,
    a_return,
    all_decided,
    codes,
    decided,
    facts,
    finding,
    line,
    money,
    order,
    ruled,
    sold,
)

ONE_CREDITED = Credited("mug", "was", 1, 2500, 500, delivered=True, sku="MUG")
"""One of four mugs for 120.00, credited when the order called its line otherwise."""


def beside(*left_behind: Credited | Extra, of: Order | None = None, policy: Policy | None = None) -> Decision:
    """A return of all four mugs of an order on which something was credited for a return of another order by now."""
    case = Case(of or order(), (facts(a_return(**APPROVED)),), left_behind=left_behind)
    (decision,) = decide(case, policy or Policy())
    return decision


def with_credit(credited: Credited, *lines: object) -> ReturnFacts:
    ret = a_return(*lines, **APPROVED)
    return facts(ret, credited=(credited,), credited_basis=ret.basis(), credit_count=1)


# -- lines that the order names anew


def test_a_credit_counts_on_the_line_that_its_returned_line_fits_now() -> None:
    assert money(decided(with_credit(ONE_CREDITED))) == [("mug", 3, 7500, 1500)]
    third = sold(quantity=3, net=100, tax=0)
    known = with_credit(replace(ONE_CREDITED, net=34, tax=0, sku=""), line(quantity=3))
    assert money(decided(known, order(third))) == [("mug", 2, 66, 0)]


def test_a_credit_whose_line_is_still_there_counts_on_it_whatever_else_carries_its_sku() -> None:
    of = order(sold(key="was", line_item_id="1", net=100, tax=0), sold(key="new", line_item_id="2"))
    known = with_credit(replace(ONE_CREDITED, net=25, tax=0), line(line_item_id="1"))
    assert money(decided(known, of)) == [("mug", 3, 75, 0)]


def test_a_line_that_is_still_there_counts_before_the_sku_of_the_credit() -> None:
    of = order(sold(), sold("CUP", line_item_id="9"))
    assert codes(beside(replace(ONE_CREDITED, order_line_key="mug", sku="CUP"), of=of)) == [Code.QUANTITY_EXCEEDS_ORDER]


def test_a_credit_of_a_return_that_is_gone_from_the_order_counts_on_the_only_line_of_its_sku() -> None:
    assert codes(beside(ONE_CREDITED)) == [Code.QUANTITY_EXCEEDS_ORDER]
    larger = order(sold(quantity=5, net=12500, tax=2500), sold("CUP"))
    assert money(beside(ONE_CREDITED, of=larger)) == [("mug", 4, 10000, 2000)]


def test_all_credits_of_returns_that_are_gone_from_the_order_take_their_units() -> None:
    of = order(sold(quantity=5, net=12500, tax=2500))
    assert money(beside(ONE_CREDITED, of=of)) == [("mug", 4, 10000, 2000)]
    assert codes(beside(ONE_CREDITED, ONE_CREDITED, of=of)) == [Code.QUANTITY_EXCEEDS_ORDER]


@pytest.mark.parametrize("sku", ["", "CUP"])
def test_a_credit_that_fits_no_line_takes_no_units(sku: str) -> None:
    assert money(beside(replace(ONE_CREDITED, sku=sku, net=0, tax=0))) == [("mug", 4, 10000, 2000)]


def test_a_credit_whose_sku_two_lines_carry_takes_units_of_neither() -> None:
    of = order(sold(line_item_id="1"), sold(key="mug2", line_item_id="2"))
    case = Case(of, (facts(a_return(line(line_item_id="1"), **APPROVED)),), left_behind=(ONE_CREDITED,))
    (decision,) = decide(case, Policy())
    assert money(decision) == [("mug", 4, 10000, 2000)]


def test_units_that_were_credited_elsewhere_count_towards_the_rounding() -> None:
    of = order(sold(quantity=3, net=100, tax=0))
    case = Case(
        of,
        (facts(a_return(line(quantity=2), **APPROVED)),),
        left_behind=(replace(ONE_CREDITED, order_line_key="mug", net=33, tax=0),),
    )
    (decision,) = decide(case, Policy())
    assert money(decision) == [("mug", 2, 67, 0)]


def test_carriage_that_was_credited_elsewhere_is_not_credited_again() -> None:
    of = replace(order(), shipping_net=1000, shipping_tax=200)
    policy = Policy(credit_shipping=Shipping.PRO_RATA)
    assert money(beside(Extra(LineKind.SHIPPING, 600, 150), of=of, policy=policy))[1:] == [(":shipping", 1, 400, 50)]
    assert money(beside(Extra(LineKind.FEE, -600, -150), of=of, policy=policy))[1:] == [(":shipping", 1, 1000, 200)]


@pytest.mark.parametrize(("net", "tax"), [(1, 0), (0, 1)])
def test_no_more_is_credited_than_the_whole_order_is_worth(net: int, tax: int) -> None:
    elsewhere = replace(ONE_CREDITED, sku="", net=0, tax=0)
    assert money(beside(elsewhere)) == [("mug", 4, 10000, 2000)]
    assert codes(beside(replace(elsewhere, net=net, tax=tax))) == [Code.ORDER_CHANGED]


# -- units that are given free


def test_a_denied_line_whose_goods_never_came_leaves_its_units_to_the_next_return() -> None:
    one = facts(a_return(line(quantity=5), return_id="R1"))
    two = facts(a_return(line(quantity=4), return_id="R2", day=1, **APPROVED))
    held = all_decided(one, two)
    assert codes(held["R2"]) == [Code.QUANTITY_EXCEEDS_ORDER]
    one = replace(one, rulings=ruled(held["R1"], Code.QUANTITY_EXCEEDS_ORDER, Action.DENY))
    assert money(all_decided(one, two)["R2"]) == [("mug", 4, 10000, 2000)]
    three = facts(a_return(line(quantity=1), return_id="R3", day=2, **APPROVED))
    assert codes(all_decided(one, two, three)["R3"]) == [Code.QUANTITY_EXCEEDS_ORDER]


def test_a_denied_line_whose_goods_are_here_keeps_its_units() -> None:
    one = facts(a_return(line(quantity=5), **DELIVERED), finding(Condition.SELLABLE, 4))
    two = facts(a_return(line(quantity=4), return_id="R2", day=1, **APPROVED))
    one = replace(one, rulings=ruled(all_decided(one, two)["R1"], Code.QUANTITY_EXCEEDS_ORDER, Action.DENY))
    assert codes(all_decided(one, two)["R2"]) == [Code.QUANTITY_EXCEEDS_ORDER]
