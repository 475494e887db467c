"""Money as whole minor units (pence, cents, fils) of one currency; never a float.

Amounts of one order share one currency, so the arithmetic here works on plain integers and the currency is
checked where two documents meet.
"""

from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from fractions import Fraction

# ISO 4217, table A.1: currencies whose minor unit is not a hundredth. CLDR's digits (babel) are for display and
# differ: IQD 0 instead of 3, RSD and ALL 0 instead of 2.
_EXPONENTS = {
    **dict.fromkeys(
        [
            "BIF",
            "CLP",
            "DJF",
            "GNF",
            "ISK",
            "JPY",
            "KMF",
            "KRW",
            "PYG",
            "RWF",
            "UGX",
            "UYI",
            "VND",
            "VUV",
            "XAF",
            "XOF",
            "XPF",
        ],
        0,
    ),
    **dict.fromkeys(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"], 3),
    **dict.fromkeys(["CLF", "UYW"], 4),
}


def exponent(currency: str) -> int:
    """Decimal places of a currency's minor unit: 2 for GBP, 0 for JPY, 3 for KWD (ISO 4217)."""
    return _EXPONENTS.get(currency.upper(), 2)


def to_minor(amount: str | int | Decimal, currency: str) -> int:
    """An amount such as ``"48.00"`` in whole minor units, rounded half-up when it is finer than the currency.

    Raises ValueError when the text is not a finite decimal number.
    """
    try:
        value = Decimal(amount)
        return int(value.scaleb(exponent(currency)).to_integral_value(ROUND_HALF_UP))
    except (InvalidOperation, ValueError, OverflowError) as error:
        raise ValueError(f"{str(amount)[:40]!r} is not an amount of money") from error


def to_text(minor: int, currency: str) -> str:
    """Minor units as a decimal string with the currency's own number of places: ``4800`` GBP is ``"48.00"``."""
    return str(Decimal(minor).scaleb(-exponent(currency)))


def share(total: int, units: int | Fraction, of_units: int) -> int:
    """The value of ``units`` out of ``of_units`` that are worth ``total`` together, rounded half-up (away from zero).

    Credits are differences of two such cumulative shares, so any partition of the units adds up to ``total`` exactly.
    Raises ValueError unless 0 <= units <= of_units and of_units > 0.
    """
    if not 0 <= units <= of_units or of_units == 0:
        raise ValueError(f"{units} of {of_units} units is not a share")
    parts, of_parts = units.numerator, of_units * units.denominator
    quotient = (2 * abs(total) * parts + of_parts) // (2 * of_parts)
    return quotient if total >= 0 else -quotient
