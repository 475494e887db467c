"""Which order an orphaned return may be of: ranked, with the evidence, and ambiguous where it is."""

from datetime import timedelta
from typing import Any

from swapsync.domain.orders import Order, SkuHistory
from swapsync.domain.returns import Return
from swapsync.domain.suggestions import Candidate, Suggestion, suggest_orders
from tests.domain.build import SUBMITTED, a_return, line, order, sold


def placed(name: str, *lines: Any, days_before: int = 10, **fields: Any) -> Order:
    at = SUBMITTED - timedelta(days=days_before)
    return order(*lines, order_id=f"id-{name}", visible=name, placed_at=at, **fields)


def orphan(*lines: Any, **fields: Any) -> Return:
    return a_return(*lines, order_ref="999", order_name="#999", **fields)


def suggested(
    ret: Return, *orders: Order | Candidate, aliases: dict[str, str] | None = None, left_out: int = 0
) -> tuple[Suggestion, ...]:
    candidates = [each if isinstance(each, Candidate) else Candidate(each) for each in orders]
    return suggest_orders(ret, candidates, SkuHistory({}), aliases or {}, left_out=left_out)


def names(suggestions: tuple[Suggestion, ...]) -> list[str]:
    return [suggestion.order for suggestion in suggestions]


def evidence(suggestion: Suggestion) -> str:
    return "\n".join(suggestion.evidence)


def test_the_order_that_covers_all_lines_comes_before_a_newer_one_that_covers_some() -> None:
    both, mugs_only = placed("#1", sold("MUG"), sold("CUP")), placed("#2", sold("MUG"), days_before=1)
    first, second = suggested(orphan(line("MUG"), line("CUP")), mugs_only, both)
    assert (first.order, first.covers, first.ambiguous) == ("#1", "2 of 2 lines", False)
    assert (first.action, first.value, first.order_id) == ("link-order", "#1", "id-#1")
    assert (second.order, second.covers) == ("#2", "1 of 2 lines")


def test_the_evidence_says_who_bought_what_and_when() -> None:
    (only,) = suggested(orphan(line("MUG", 3), total=9000), placed("#1", sold("MUG", 4)))
    assert evidence(only) == (
        "bought by buyer@acme.example\n"
        "placed 2026-02-20, 10 days before the return\n"
        "sold: 4 MUG, 3 come back\n"
        "comes to 90.00 GBP, as Swap says"
    )


def test_two_orders_that_fit_equally_well_are_called_ambiguous_and_the_newer_comes_first() -> None:
    suggestions = suggested(orphan(), placed("#1", days_before=30), placed("#2", days_before=3))
    assert names(suggestions) == ["#2", "#1"]
    assert all(suggestion.ambiguous for suggestion in suggestions)
    assert suggestions[0].evidence[0] == "AMBIGUOUS: #1 fits just as well; nothing but the date tells them apart"


def test_the_price_tells_two_orders_apart() -> None:
    dear, cheap = placed("#1", sold(net=20000, tax=4000), days_before=30), placed("#2", days_before=3)
    first, second = suggested(orphan(total=24000), dear, cheap)
    assert (first.order, first.ambiguous, second.ambiguous) == ("#1", False, False)
    assert "comes to 240.00 GBP, as Swap says" in evidence(first)
    assert "comes to 120.00 GBP, Swap says 240.00" in evidence(second)


def test_units_that_other_returns_claim_are_not_open() -> None:
    taken = Candidate(placed("#2", days_before=3), {"mug": 3})
    first, second = suggested(orphan(line("MUG", 2)), taken, placed("#1", days_before=30))
    assert (first.order, first.covers, first.ambiguous) == ("#1", "1 of 1 lines", False)
    assert (second.covers, "4 MUG, 1 of them not claimed by other returns" in evidence(second)) == (
        "0 of 1 lines",
        True,
    )


def test_an_order_placed_after_the_return_is_not_suggested() -> None:
    assert suggested(orphan(), placed("#1", days_before=-1)) == ()


def test_an_order_with_nothing_in_common_is_not_suggested() -> None:
    assert suggested(orphan(total=12000), placed("#1", sold("CUP"))) == ()


def test_a_line_item_id_beats_everything_else() -> None:
    named = placed("#1", sold("MUG", line_item_id="71"), days_before=300)
    first, _ = suggested(orphan(line("MUG", line_item_id="71")), placed("#2"), named)
    assert (first.order, first.ambiguous) == ("#1", False)
    assert "(by line item id)" in evidence(first)


def test_a_taught_alias_counts_and_a_difference_in_writing_is_a_hint() -> None:
    assert names(suggested(orphan(line("JUG")), placed("#1"), aliases={"JUG": "MUG"})) == ["#1"]
    (hint,) = suggested(orphan(line("mug")), placed("#1"))
    assert (hint.covers, "mug may be MUG (differs in letter case)" in evidence(hint)) == ("0 of 1 lines", True)


def test_a_name_that_differs_only_in_writing_tells_two_orders_apart() -> None:
    ret = a_return(order_ref="", order_name="1001")
    first, second = suggested(ret, placed("#1001", days_before=30), placed("#1002"))
    assert (first.order, first.ambiguous, second.ambiguous) == ("#1001", False, False)
    assert "the return names 1001, the order is #1001" in evidence(first)


def test_the_buyers_own_order_comes_before_a_colleagues() -> None:
    colleagues = Candidate(placed("#2", days_before=1), same_buyer=False)
    first, second = suggested(orphan(), colleagues, placed("#1", days_before=30))
    assert (first.order, first.ambiguous) == ("#1", False)
    assert "bought by the same company" in evidence(second)


def test_another_currency_comes_last() -> None:
    assert names(suggested(orphan(), placed("#2", currency="EUR", days_before=1), placed("#1"))) == ["#1", "#2"]


def test_two_lines_of_one_sku_cover_together_what_neither_does_alone() -> None:
    twice = placed("#1", sold("MUG", 2, key="a"), sold("MUG", 2, key="b"))
    (only,) = suggested(orphan(line("MUG", 4)), twice)
    assert only.covers == "1 of 1 lines"


def test_two_returned_lines_of_one_sku_do_not_claim_the_same_units() -> None:
    ret = orphan(line("MUG", 3, line_id="a"), line("MUG", 3, line_id="b"))
    (only,) = suggested(ret, placed("#1", sold("MUG", 4)))
    assert only.covers == "1 of 2 lines"


def test_a_return_that_no_order_covers_is_split_over_the_fewest() -> None:
    ret = orphan(line("MUG", 2), line("CUP", 2), line("JUG", 2))
    split, *singles = suggested(
        ret, placed("#1", sold("MUG"), sold("CUP")), placed("#2", sold("JUG")), placed("#3", sold("CUP"))
    )
    assert (split.order, split.covers, split.ambiguous) == ("#1 + #2", "3 of 3 lines", False)
    assert [(part.order, part.line_id, part.quantity) for part in split.parts] == [
        ("#1", "mug", 2),
        ("#1", "cup", 2),
        ("#2", "jug", 2),
    ]
    assert (split.action, names(tuple(singles))) == ("", ["#1", "#3", "#2"])
    assert not any(single.ambiguous for single in singles), "they explain different lines"


def test_a_line_of_more_units_than_any_order_has_is_split_by_units() -> None:
    split, *_ = suggested(orphan(line("MUG", 6)), placed("#1", sold("MUG", 4)), placed("#2", sold("MUG", 3)))
    assert [(part.order, part.quantity) for part in split.parts] == [("#1", 4), ("#2", 2)]
    assert split.covers == "1 of 1 lines"


def test_a_split_that_could_be_made_otherwise_is_called_ambiguous() -> None:
    ret = orphan(line("MUG"), line("CUP"))
    split, *_ = suggested(ret, placed("#1", sold("MUG")), placed("#2", sold("CUP")), placed("#3", sold("CUP")))
    assert split.ambiguous
    assert split.evidence[0].startswith("AMBIGUOUS")


def test_what_was_not_looked_at_is_said() -> None:
    (only,) = suggested(orphan(), placed("#1"), left_out=7)
    assert "7 older orders of the customer were not looked at" in only.evidence


def test_more_than_five_orders_are_not_listed_but_counted_as_equals() -> None:
    suggestions = suggested(orphan(), *(placed(f"#{n}", days_before=n) for n in range(1, 9)))
    assert names(suggestions) == ["#1", "#2", "#3", "#4", "#5"]
    assert "#2, #3, #4 and 4 more fit just as well" in evidence(suggestions[0])
