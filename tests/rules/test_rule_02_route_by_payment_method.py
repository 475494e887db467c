"""Rule 2: a credit note of ours for pay-later orders, a mere record for gateway refunds, a person for all else."""

from typing import Any

import pytest

from swapsync.sandbox.world import World
from tests.conftest import Desk, FixedClock, run
from tests.rules import scenario as s


@pytest.mark.parametrize("method", ["on_account", "invoice", "On-Account"])
def test_a_pay_later_return_gets_one_credit_note_and_one_transaction_that_lowers_the_balance(
    desk: Desk, world: World, method: str
) -> None:
    s.order(world, payment_method=method)
    s.returned(world, **s.APPROVED)
    place = desk()

    run(place)

    (note,) = s.documents(place)
    (transaction,) = world.sparklayer.transactions("5001")
    assert (note.state, note.net, note.tax, note.currency) == ("delivered", 4000, 800, "GBP")
    assert transaction["total"] == {"number": "-48.00", "currency": "GBP"}
    assert transaction["apply_to_balance"] is True
    assert transaction["platform_id"] == note.platform_id == "swap:R1:credit:1"
    assert transaction["full_transaction"]["credit_note"] == note.number
    assert world.sparklayer.balance(s.BUYER) == 952
    assert len(s.money_writes(world)) == 1


def test_a_gateway_refund_is_recorded_and_writes_nothing_that_moves_a_balance(desk: Desk, world: World) -> None:
    s.order(world, payment_method="platform_upfront")
    s.returned(world, **s.APPROVED, total_refunded=48)
    place = desk()

    run(place)

    assert s.money_writes(world) == []
    assert s.documents(place) == []
    assert world.sparklayer.balance(s.BUYER) == 1000
    assert s.state(place) == "refunded_by_gateway"
    assert s.tokens(world) == ["swap:R1:authorised:1", "swap:R1:received:1", "swap:R1:refunded:1"]
    assert s.open_codes(place) == []


@pytest.mark.parametrize(
    "words",
    [
        pytest.param({"total_refunded": 999}, id="more than came"),
        pytest.param({"total_refunded": 48, "delivery_status": "In-Transit"}, id="nothing came"),
    ],
)
def test_a_gateway_refund_that_does_not_fit_the_goods_is_put_before_finance(
    desk: Desk, world: World, words: dict[str, Any]
) -> None:
    s.order(world, s.sold(), s.sold("CUP"), payment_method="platform_upfront")
    s.returned(world, s.back(), s.back("CUP", return_type="Exchange"), **(s.APPROVED | words))
    place = desk()
    run(place)
    [told] = s.open_exceptions(place)
    assert (told.code, told.subject, told.owner) == ("AMOUNT_MISMATCH", "refund", "finance")
    assert s.money_writes(world) == []


def test_a_gateway_refund_that_swap_only_expects_is_no_refund(desk: Desk, world: World) -> None:
    s.order(world, payment_method="platform_upfront")
    s.returned(world, **s.DELIVERED, total_refunded=48)
    place = desk()

    run(place)

    assert s.state(place) == "none"
    assert "swap:R1:refunded:1" not in s.tokens(world)


@pytest.mark.parametrize("method", ["barter", None])
def test_any_other_payment_method_is_held(desk: Desk, world: World, method: str | None) -> None:
    s.order(world, payment_method=method)
    s.returned(world, **s.APPROVED)
    place = desk()

    run(place)

    assert s.money_writes(world) == []
    assert s.documents(place) == []
    assert s.state(place) == "held"
    assert s.open_codes(place) == ["PAYMENT_METHOD_UNKNOWN"]


@pytest.mark.parametrize("settle_on", ["swap_closed", "inspected"])
def test_goods_that_swap_paid_back_are_not_made_good_twice(desk: Desk, world: World, settle_on: str) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED, total_refunded="0.01")
    place = desk(settle_on=settle_on)
    run(place, "poll_returns")

    s.found(place, "sellable", 4)
    run(place)

    assert s.money_writes(world) == []
    assert s.state(place) == "held"
    assert s.open_codes(place) == ["GATEWAY_REFUND_ON_ACCOUNT"]


def test_on_an_open_return_the_refund_figure_means_nothing(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.returned(world, **s.DELIVERED, total_refunded=48)
    place = desk()
    run(place)
    assert s.open_codes(place) == []

    s.found(place, "sellable", 4)
    run(place)

    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}


def test_a_held_gateway_refund_is_credited_once_swap_shows_none(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED, total_refunded=48)
    place = desk()
    run(place)

    clock.forward(minutes=5)
    world.swap.change_return("R1", total_refund_value_customer_currency=0)
    run(place)

    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}
    assert s.open_codes(place) == []


def test_money_given_on_what_was_credited_stays_open_when_the_order_is_paid_otherwise(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    run(place)
    for change in (
        lambda: world.swap.change_return("R1", total_refund_value_customer_currency=48),
        lambda: world.sparklayer.change_purchase("5001", payment_method="platform_upfront"),
    ):
        clock.forward(hours=1)
        change()
        run(place)
        assert s.open_codes(place) == ["GATEWAY_REFUND_ON_ACCOUNT"]
        assert (s.credits(world), s.state(place)) == ({"swap:R1:credit:1": "-48.00"}, "held")


def test_money_that_is_held_holds_no_stock(desk: Desk, world: World) -> None:
    s.order(world, payment_method="barter")
    s.returned(world, **s.DELIVERED)

    run(desk())

    assert s.levels(world)["inspection"] == 4


def test_a_user_of_a_company_buys_on_the_companys_account(desk: Desk, world: World) -> None:
    main = s.buyer(world, "accounts@acme.example")
    s.buyer(world, "user@acme.example", parent_customer_id=main, balance=None)
    s.order(world, by="user@acme.example")
    s.returned(world, **s.APPROVED, customer_email="user@acme.example")

    run(desk())

    assert world.sparklayer.balance("accounts@acme.example") == 952
