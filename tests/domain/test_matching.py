"""Rule 8: which order line a returned line came from. What is not certain is a suggestion."""

from datetime import UTC, datetime

import pytest

from swapsync.domain.matching import (
    LineMatch,
    MatchedBy,
    difference_in_writing,
    fitting_lines,
    match_line,
    near_matches,
)
from swapsync.domain.orders import OrderLine, SkuHistory
from swapsync.domain.returns import ReturnLine
from tests.domain.build import line, order, sold

NO_HISTORY = SkuHistory({})


def matched(
    returned: ReturnLine, *lines: OrderLine, history: SkuHistory = NO_HISTORY, aliases: dict[str, str] | None = None
) -> tuple[str | None, MatchedBy | None]:
    """(key of the order line, what it was matched by)"""
    match = match_line(returned, lines, history, aliases or {})
    return (match.order_line.key if match.order_line else None, match.by)


NOTHING = (None, None)


# -- the order in which identifiers are trusted


def test_the_line_item_id_names_the_line_before_all_else() -> None:
    returned = line("CUP", line_item_id="11", variant_id="22")
    assert matched(
        returned, sold("MUG", line_item_id="11"), sold("PLATE", variant_id="22"), sold("CUP", key="by-sku")
    ) == ("mug", MatchedBy.LINE_ITEM)


def test_the_variant_id_comes_next() -> None:
    returned = line("CUP", line_item_id="99", variant_id="22")
    assert matched(
        returned, sold("MUG", line_item_id="11"), sold("PLATE", variant_id="22"), sold("CUP", key="by-sku")
    ) == ("plate", MatchedBy.VARIANT)


def test_a_variant_id_may_stand_where_the_order_has_its_platform_identifier() -> None:
    assert matched(line("", variant_id="22"), sold("MUG", line_item_id="22")) == ("mug", MatchedBy.VARIANT)


def test_then_the_exact_sku() -> None:
    assert matched(line("CUP"), sold("MUG"), sold("CUP")) == ("cup", MatchedBy.SKU)


def test_then_the_alias_that_a_person_taught() -> None:
    assert matched(line("CUP-EU"), sold("MUG"), sold("CUP"), aliases={"CUP-EU": "CUP"}) == ("cup", MatchedBy.ALIAS)


def test_the_exact_sku_wins_over_an_alias() -> None:
    assert matched(line("CUP"), sold("MUG"), sold("CUP"), aliases={"CUP": "MUG"}) == ("cup", MatchedBy.SKU)


def test_an_alias_wins_over_the_sku_history() -> None:
    history = SkuHistory({"V1": ["MUG", "MUG-2"]})
    assert matched(line("MUG-2"), sold("MUG"), sold("CUP"), history=history, aliases={"MUG-2": "CUP"}) == (
        "cup",
        MatchedBy.ALIAS,
    )


def test_an_alias_of_one_sku_says_nothing_about_another() -> None:
    assert matched(line("BOWL"), sold("CUP"), aliases={"CUP-EU": "CUP"}) == NOTHING


# -- SKU history


def test_a_renamed_variant_is_found_by_the_variant_that_carries_the_new_sku() -> None:
    history = SkuHistory({"V1": ["MUG", "MUG-2"]})
    assert matched(line("MUG-2"), sold("MUG", variant_id="V1"), sold("CUP"), history=history) == (
        "mug",
        MatchedBy.SKU_HISTORY,
    )


def test_a_renamed_variant_is_found_on_an_order_that_names_only_skus() -> None:
    history = SkuHistory({"V1": ["MUG", "MUG-2"]})
    assert matched(line("MUG-2"), sold("MUG"), sold("CUP"), history=history) == ("mug", MatchedBy.SKU_HISTORY)


def test_a_return_that_names_the_variant_is_found_by_the_skus_it_once_had() -> None:
    history = SkuHistory({"V1": ["MUG", "MUG-2"]})
    assert matched(line("", variant_id="V1"), sold("MUG"), sold("CUP"), history=history) == (
        "mug",
        MatchedBy.SKU_HISTORY,
    )


def test_a_sku_that_two_variants_carried_proves_nothing() -> None:
    history = SkuHistory({"V1": ["MUG", "MUG-2"], "V2": ["MUG-2"]})
    assert matched(line("MUG-2"), sold("MUG"), history=history) == NOTHING


def test_the_returns_own_variant_id_decides_between_two_variants_of_one_sku() -> None:
    history = SkuHistory({"V1": ["MUG", "MUG-2"], "V2": ["MUG-2"]})
    assert matched(line("MUG-2", variant_id="V1"), sold("MUG"), history=history) == ("mug", MatchedBy.SKU_HISTORY)


def test_a_label_that_passed_on_to_another_variant_does_not_match_that_other_variant() -> None:
    history = SkuHistory({"V1": ["MUG", "MUG-2"], "V2": ["MUG"]})
    assert matched(line("MUG-2"), sold("MUG", variant_id="V2"), history=history) == NOTHING


def test_a_line_without_sku_is_not_matched_to_an_order_line_without_one() -> None:
    history = SkuHistory({"V1": ["", "MUG-2"]})
    assert matched(line("MUG-2"), sold("", key="blank"), history=history) == NOTHING


def test_a_line_without_sku_is_not_taken_for_a_variant_that_once_had_none() -> None:
    assert matched(line(""), sold("MUG"), history=SkuHistory({"V1": ["", "MUG"]})) == NOTHING


# -- blank, unknown and ambiguous


@pytest.mark.parametrize("returned", [line(""), line("BOWL"), line("BOWL", variant_id="V9", line_item_id="99")])
def test_what_the_order_does_not_name_matches_nothing(returned: ReturnLine) -> None:
    assert matched(returned, sold("MUG", variant_id="V1", line_item_id="11"), sold("", key="blank")) == NOTHING


def test_blank_identifiers_never_match_each_other() -> None:
    assert matched(line(""), sold("", key="blank")) == NOTHING


def test_a_sku_that_stands_twice_on_the_order_names_neither_line() -> None:
    twice = sold("MUG", key="one"), sold("MUG", key="two")
    match = match_line(line("MUG"), twice, NO_HISTORY, {})
    assert match == LineMatch(None, suggestions=("MUG (stands on the order more than once)",))


def test_a_line_item_id_tells_two_lines_of_one_sku_apart() -> None:
    twice = sold("MUG", key="one", line_item_id="11"), sold("MUG", key="two", line_item_id="12")
    assert matched(line("MUG", line_item_id="12"), *twice) == ("two", MatchedBy.LINE_ITEM)


def test_an_ambiguous_variant_leaves_it_to_the_sku() -> None:
    twice = sold("MUG", variant_id="V1"), sold("MUG-B", variant_id="V1")
    assert matched(line("MUG-B", variant_id="V1"), *twice) == ("mug-b", MatchedBy.SKU)


def test_a_matched_line_has_no_suggestions() -> None:
    assert match_line(line("MUG"), (sold("MUG"), sold("mug", key="low")), NO_HISTORY, {}).suggestions == ()


def test_what_a_line_was_matched_by_is_stored_and_shown_in_these_words() -> None:
    assert [by.value for by in MatchedBy] == [
        "line item id",
        "variant id",
        "SKU",
        "taught alias",
        "SKU history",
        "part of a kit",
        "a person's choice",
    ]


# -- near matches


@pytest.mark.parametrize(
    ("returned", "ordered", "suggestion"),
    [
        ("mug", "MUG", "MUG (differs in letter case)"),
        ("mug 1", "MUG-1", "MUG-1 (differs in spaces or hyphens)"),
        ("MUG1", "MUG-1", "MUG-1 (differs in spaces or hyphens)"),
        ("00123", "123", "123 (differs in leading zeros)"),
        (" 123", "0123", "0123 (differs in leading zeros)"),
        ("123", "00123", "00123 (differs in leading zeros)"),
    ],
)
def test_what_differs_only_in_writing_is_suggested_with_the_reason_and_never_matched(
    returned: str, ordered: str, suggestion: str
) -> None:
    assert match_line(line(returned), (sold(ordered),), NO_HISTORY, {}) == LineMatch(None, suggestions=(suggestion,))


@pytest.mark.parametrize(
    ("returned", "ordered"),
    [("MUG", "CUP"), ("120", "12"), ("", "MUG"), ("MUG", ""), ("", "--"), ("--", ""), ("00", ""), ("X12", "12")],
)
def test_what_differs_in_substance_is_not_suggested(returned: str, ordered: str) -> None:
    assert near_matches(returned, (sold(ordered),)) == ()


def test_each_near_sku_is_suggested_once() -> None:
    lines = sold("MUG", key="one"), sold("MUG", key="two"), sold("Mug", key="three"), sold("CUP")
    assert near_matches("mug", lines) == ("MUG (differs in letter case)", "Mug (differs in letter case)")


# -- the history itself, and an order's lines


def test_the_history_knows_every_sku_of_a_variant_and_every_variant_of_a_sku() -> None:
    history = SkuHistory({"V1": ["MUG", "MUG-2"], "V2": ["MUG"]})
    assert history.skus_of("V1") == ("MUG", "MUG-2")
    assert history.variants_of("MUG") == {"V1", "V2"}
    assert history.variants_of("MUG-2") == {"V1"}
    assert history.current("V1") == "MUG-2"


def test_the_history_of_what_was_never_seen_is_blank() -> None:
    assert NO_HISTORY.skus_of("V1") == ()
    assert NO_HISTORY.variants_of("MUG") == frozenset()
    assert NO_HISTORY.current("V1") == ""


def test_an_order_finds_its_line_by_key() -> None:
    mug, cup = sold("MUG"), sold("CUP", net=500, tax=100)
    assert order(mug, cup).line("cup") is cup
    assert order(mug, cup).line("bowl") is None
    assert cup.gross == 600


# -- a SKU that moved from one variant to another


def on(day: int) -> datetime:
    return datetime(2026, 3, day, tzinfo=UTC)


MOVED = SkuHistory(
    {"A": ["X", "Y"], "B": ["Z", "X"]},
    {
        ("A", "X"): (on(1), on(10)),
        ("A", "Y"): (on(12), on(20)),
        ("B", "Z"): (on(1), on(9)),
        ("B", "X"): (on(15), on(20)),
    },
)


@pytest.mark.parametrize(
    ("placed_at", "key"),
    [
        (on(5), "a"),  # A was seen with X before and after
        (on(11), "a"),  # A was last seen with X
        (on(13), None),  # A had Y already, B not yet X
        (on(16), "b"),
        (None, None),
    ],
)
def test_a_sku_means_the_variant_that_carried_it_when_the_order_was_placed(
    placed_at: datetime | None, key: str | None
) -> None:
    lines = sold("", key="a", variant_id="A"), sold("", key="b", variant_id="B")
    match = match_line(line("X"), lines, MOVED, {}, placed_at)
    assert (match.order_line and match.order_line.key) == key


def test_the_lines_that_fit_go_by_that_moment_too() -> None:
    lines = sold("", key="a", variant_id="A"), sold("", key="b", variant_id="B")
    _, fitting = fitting_lines(line("X"), lines, MOVED, {}, on(2))
    match = match_line(line("X"), lines, MOVED, {}, on(2))
    assert fitting == (match.order_line,)


def test_on_the_very_day_of_a_change_the_newer_sku_counts_and_the_old_one_until_then() -> None:
    history = SkuHistory({"A": ["X", "Y"]}, {("A", "X"): (on(1), on(5)), ("A", "Y"): (on(5), on(9))})
    assert [history.held("A", on(day)) for day in (1, 4, 5, 9)] == ["X", "X", "Y", "Y"]


def test_a_sku_that_came_back_to_its_variant_held_throughout_but_for_the_time_between() -> None:
    history = SkuHistory({"A": ["Y", "X"]}, {("A", "X"): (on(1), on(20)), ("A", "Y"): (on(8), on(9))})
    assert [history.held("A", on(day)) for day in (1, 8, 9, 10, 25)] == ["X", "Y", "Y", "X", "X"]


def test_what_a_variant_carried_before_it_was_ever_seen_is_not_known() -> None:
    assert MOVED.held("B", datetime(2026, 1, 1, tzinfo=UTC)) == ""


@pytest.mark.parametrize("there", ["A-1", "a 1", "A1"])
def test_spaces_and_hyphens_make_a_near_match(there: str) -> None:
    assert difference_in_writing("A--1", there) == "differs in spaces or hyphens"


@pytest.mark.parametrize(("one", "other"), [("X1", "1"), ("0X1", "1"), ("A1", "A2"), ("", "A"), ("A", "")])
def test_what_differs_in_substance_differs_in_nothing_that_could_be_named(one: str, other: str) -> None:
    assert difference_in_writing(one, other) == ""
