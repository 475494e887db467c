"""Rule 7: a return is credited only to the buyer, or within the buyer's company."""

import pytest

from swapsync.domain.orders import Customer, same_buyer

BUYER = Customer("C1", "buyer@acme.example", parent_id="ACME")


def test_the_orders_own_customer_is_the_same_buyer() -> None:
    assert same_buyer("buyer@acme.example", [BUYER], None) is True


@pytest.mark.parametrize("written", ["BUYER@Acme.Example", " buyer@acme.example "])
def test_case_and_stray_spaces_make_no_other_buyer(written: str) -> None:
    assert same_buyer(written, [BUYER], None) is True


def test_the_case_of_the_buyers_own_address_makes_no_difference_either() -> None:
    assert same_buyer("buyer@acme.example", [Customer("C1", "Buyer@Acme.Example")], None) is True


def test_any_customer_of_the_order_will_do() -> None:
    assert same_buyer("main@acme.example", [BUYER, Customer("ACME", "main@acme.example")], None) is True


@pytest.mark.parametrize(
    "colleague",
    [
        Customer("C2", "colleague@acme.example", parent_id="ACME"),
        Customer("ACME", "main@acme.example"),
    ],
    ids=["another user of the company", "the company's main customer"],
)
def test_somebody_of_the_same_company_is_the_same_buyer(colleague: Customer) -> None:
    assert same_buyer(colleague.email, [BUYER], colleague) is True


def test_a_user_of_the_company_whose_main_customer_bought_is_the_same_buyer() -> None:
    colleague = Customer("C2", "colleague@acme.example", parent_id="ACME")
    assert same_buyer(colleague.email, [Customer("ACME", "main@acme.example")], colleague) is True


def test_the_company_counts_also_through_a_buyer_without_e_mail() -> None:
    colleague = Customer("C2", "colleague@acme.example", parent_id="ACME")
    assert same_buyer(colleague.email, [Customer("C1", "buyer@acme.example"), Customer("ACME", "")], colleague) is True


def test_a_stranger_is_not_the_same_buyer() -> None:
    assert same_buyer("stranger@other.example", [BUYER], Customer("C9", "stranger@other.example")) is False


def test_buyers_may_come_from_any_iterable() -> None:
    colleague = Customer("C2", "colleague@acme.example", parent_id="ACME")
    assert same_buyer(colleague.email, iter([BUYER]), colleague) is True


def test_somebody_unknown_to_sparklayer_is_not_the_same_buyer() -> None:
    assert same_buyer("nobody@nowhere.example", [BUYER], None) is False


def test_two_customers_without_a_company_are_not_one_company() -> None:
    stranger = Customer("C9", "stranger@other.example")
    assert same_buyer(stranger.email, [Customer("C1", "buyer@acme.example")], stranger) is False


@pytest.mark.parametrize(
    ("email", "buyers"),
    [
        ("", [BUYER]),
        ("buyer@acme.example", []),
        ("buyer@acme.example", [Customer("C1", "")]),
    ],
    ids=["the return has no e-mail", "no buyer could be read", "the buyer has no e-mail"],
)
def test_where_one_side_says_nothing_nothing_is_concluded(email: str, buyers: list[Customer]) -> None:
    assert same_buyer(email, buyers, None) is None
