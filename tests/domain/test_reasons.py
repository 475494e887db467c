"""The merchant's own code for why goods come back."""

import pytest

from swapsync.domain.returns import reason_code, reason_key
from tests.domain.build import line

TOO_MANY = {"main_reason_id": "r1", "main_reason_text": "Ordered too many"}
TOO_LARGE = {"sub_reason_id": "r1.2", "sub_reason_text": "Box too large"}
CODES = {"r1": "R10", "orderedtoomany/boxtoolarge": "R11", "boxtoolarge": "R12"}


@pytest.mark.parametrize(
    ("said", "codes", "code"),
    [
        pytest.param(TOO_MANY | TOO_LARGE, {"r1.2": "A", **CODES}, "A", id="the sub-reason's id"),
        pytest.param(TOO_MANY | TOO_LARGE, CODES, "R10", id="the main reason's id before any text"),
        pytest.param({"reason": "Ordered too many / Box too large", **TOO_LARGE}, CODES, "R11", id="both texts"),
        pytest.param(TOO_LARGE, CODES, "R12", id="the sub-reason's text"),
        pytest.param({"main_reason_text": "ordered-TOO many"}, {"orderedtoomany": "B"}, "B", id="spelling"),
        pytest.param({"main_reason_text": "Lost"}, CODES, "", id="unmapped"),
        pytest.param({}, {"": "never"}, "", id="no reason"),
    ],
)
def test_the_surest_word_that_is_mapped_gives_the_code(said: dict[str, str], codes: dict[str, str], code: str) -> None:
    assert reason_code(line(**said), codes) == code


def test_a_reason_is_spelled_without_case_spaces_hyphens_and_underscores() -> None:
    assert reason_key(" Ordered_too-MANY\t") == "orderedtoomany"
