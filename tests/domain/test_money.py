from decimal import Decimal

import pytest

from swapsync.domain import money


@pytest.mark.parametrize(
    ("currency", "places"),
    [("GBP", 2), ("EUR", 2), ("JPY", 0), ("ISK", 0), ("XPF", 0), ("KWD", 3), ("IQD", 3), ("CLF", 4), ("kwd", 3)],
)
def test_each_currency_has_the_places_that_iso_4217_gives_it(currency: str, places: int) -> None:
    assert money.exponent(currency) == places


def test_the_currencies_whose_minor_unit_is_no_hundredth_are_those_of_iso_4217() -> None:
    without = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
    assert {money.exponent(currency) for currency in without.split()} == {0}
    assert {money.exponent(currency) for currency in ["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"]} == {3}
    assert {money.exponent(currency) for currency in ["CLF", "UYW"]} == {4}


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        ("48.00", "GBP", 4800),
        ("48", "GBP", 4800),
        ("-0.01", "GBP", -1),
        ("48", "JPY", 48),
        ("48.125", "KWD", 48125),
        (12, "GBP", 1200),
        (Decimal("0.05"), "GBP", 5),
    ],
)
def test_an_amount_becomes_whole_minor_units_of_its_currency(
    amount: str | int | Decimal, currency: str, minor: int
) -> None:
    assert money.to_minor(amount, currency) == minor


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [("0.005", "GBP", 1), ("0.0049", "GBP", 0), ("0.015", "GBP", 2), ("-0.005", "GBP", -1), ("0.5", "JPY", 1)],
)
def test_what_is_finer_than_the_currency_is_rounded_half_up_away_from_zero(
    amount: str, currency: str, minor: int
) -> None:
    assert money.to_minor(amount, currency) == minor


@pytest.mark.parametrize("amount", ["", "abc", "NaN", "sNaN", "Infinity", "-Infinity", "1,50", "£4"])
def test_what_is_no_amount_is_refused_and_named(amount: str) -> None:
    with pytest.raises(ValueError, match="is not an amount of money") as refusal:
        money.to_minor(amount, "GBP")
    assert repr(amount) in str(refusal.value)


def test_a_long_text_is_named_by_its_beginning_only() -> None:
    with pytest.raises(ValueError, match="is not an amount of money") as refusal:
        money.to_minor("x" * 1000, "GBP")
    assert str(refusal.value) == f"'{'x' * 40}' is not an amount of money"


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (4800, "GBP", "48.00"),
        (5, "GBP", "0.05"),
        (0, "GBP", "0.00"),
        (-4800, "GBP", "-48.00"),
        (48, "JPY", "48"),
        (0, "JPY", "0"),
        (48125, "KWD", "48.125"),
        (1, "CLF", "0.0001"),
    ],
)
def test_minor_units_are_written_with_all_the_places_of_their_currency(minor: int, currency: str, text: str) -> None:
    assert money.to_text(minor, currency) == text


@pytest.mark.parametrize(
    ("total", "units", "of_units", "value"),
    [
        (10000, 1, 4, 2500),
        (100, 1, 3, 33),
        (100, 2, 3, 67),
        (100, 3, 3, 100),
        (1, 1, 2, 1),
        (3, 1, 2, 2),
        (1, 1, 3, 0),
        (0, 1, 3, 0),
        (100, 0, 3, 0),
        (-1, 1, 2, -1),
        (-100, 1, 3, -33),
    ],
)
def test_a_share_is_pro_rata_and_rounded_half_up_away_from_zero(
    total: int, units: int, of_units: int, value: int
) -> None:
    assert money.share(total, units, of_units) == value


@pytest.mark.parametrize(("units", "of_units"), [(-1, 4), (5, 4), (0, 0), (1, 0), (0, -1)])
def test_more_units_than_there_are_or_none_at_all_make_no_share(units: int, of_units: int) -> None:
    with pytest.raises(ValueError, match=f"{units} of {of_units} units is not a share"):
        money.share(100, units, of_units)
