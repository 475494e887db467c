"""Rule 7: the return's buyer is compared with the order's; a stranger's return is held."""

from typing import Any

import pytest

from swapsync.sandbox.world import World
from tests.conftest import Desk, FixedClock, run
from tests.rules import scenario as s


def test_a_strangers_return_is_held_with_everything_it_would_cause(desk: Desk, world: World) -> None:
    s.order(world)
    s.buyer(world, "stranger@else.example")
    s.returned(world, **s.APPROVED, customer_email="stranger@else.example")
    place = desk(restock_on="swap_approved")

    run(place)

    assert s.writes(world) == []
    assert (s.state(place), s.open_codes(place)) == ("held", ["CUSTOMER_MISMATCH"])


def test_somebody_whom_sparklayer_does_not_know_is_a_stranger(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED, customer_email="nobody@else.example")
    place = desk()

    run(place)

    assert s.money_writes(world) == []
    assert s.open_codes(place) == ["CUSTOMER_MISMATCH"]


@s.one_store_is_enough
@pytest.mark.parametrize(
    ("bought_by", "returned_by"), [(s.BUYER, "Buyer@ACME.example "), ("Buyer@ACME.example", s.BUYER)]
)
def test_letter_case_does_not_matter(desk: Desk, world: World, bought_by: str, returned_by: str) -> None:
    s.order(world, by=bought_by)
    s.returned(world, **s.APPROVED, customer_email=returned_by)

    run(desk())

    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}


@pytest.mark.parametrize(
    ("by", "claimant"),
    [
        ("main@acme.example", "user@acme.example"),
        ("user@acme.example", "main@acme.example"),
        ("user@acme.example", "other@acme.example"),
    ],
)
def test_a_colleague_of_the_same_company_is_the_same_buyer(desk: Desk, world: World, by: str, claimant: str) -> None:
    main = s.buyer(world, "main@acme.example")
    for email in ("user@acme.example", "other@acme.example"):
        s.buyer(world, email, parent_customer_id=main, balance=None)
    s.order(world, by=by)
    s.returned(world, **s.APPROVED, customer_email=claimant)
    place = desk()

    run(place)

    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}
    assert s.open_codes(place) == []


def test_a_user_of_another_company_is_not(desk: Desk, world: World) -> None:
    rival = s.buyer(world, "main@rival.example")
    s.buyer(world, "user@rival.example", parent_customer_id=rival, balance=None)
    s.order(world)
    s.returned(world, **s.APPROVED, customer_email="user@rival.example")
    place = desk()

    run(place)

    assert s.money_writes(world) == []
    assert s.open_codes(place) == ["CUSTOMER_MISMATCH"]


@s.one_store_is_enough
@pytest.mark.parametrize(
    ("on_return", "on_order"),
    [
        pytest.param({"customer_email": None}, {}, id="the return names nobody"),
        pytest.param({"customer_email": ""}, {}, id="the return's e-mail is blank"),
        pytest.param({}, {"customer_identifiers": {}}, id="the order names nobody"),
        pytest.param({}, {"customer_identifiers": {"sparklayer": "gone"}}, id="the buyer can't be read"),
    ],
)
def test_where_one_side_does_not_say_nothing_is_concluded(
    desk: Desk, world: World, on_return: dict[str, Any], on_order: dict[str, Any]
) -> None:
    s.order(world, **on_order)
    s.returned(world, **(s.APPROVED | on_return))
    place = desk()

    run(place)

    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}
    assert s.open_codes(place) == []


@pytest.mark.parametrize("corrected_in", ["swap", "sparklayer"])
def test_a_corrected_address_releases_the_return(
    desk: Desk, world: World, clock: FixedClock, corrected_in: str
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED, customer_email="by.er@acme.example")
    place = desk()
    run(place)
    assert s.open_codes(place) == ["CUSTOMER_MISMATCH"]

    clock.forward(minutes=5)
    if corrected_in == "swap":
        world.swap.change_return("R1", customer_email=s.BUYER)
    else:
        customer = world.sparklayer.find_customer("email", s.BUYER)
        assert customer is not None
        world.sparklayer.put_customer(customer | {"email": "by.er@acme.example"})
    run(place)

    assert s.open_codes(place) == []
    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}
