"""Kits: what they consist of as of a day, and how they come back, whole or in parts."""

from dataclasses import replace
from datetime import UTC, date, datetime
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swapsync.domain.catalogue import Action, Code
from swapsync.domain.facts import Case, Credited, Policy, ReturnFacts
from swapsync.domain.kits import Kits, read_kits
from swapsync.domain.orders import Order, SkuHistory
from swapsync.domain.returns import Condition
from swapsync.domain.settlement import Decision, decide
from swapsync.domain.stock import Step
from tests.domain.build import (
    APPROVED,
    DELIVERED,
    a_return,
    after,
    all_decided,
    changed,
    codes,
    detail,
    facts,
    finding,
    line,
    money,
    moves,
    order,
    ruled,
    sold,
)

HEADER = "kit_sku,part_sku,quantity,valid_from,valid_to,share\n"
PLACED = datetime(2026, 2, 20, 23, 30, tzinfo=UTC)
SET = read_kits([HEADER, "SET,CUP,2,2026-01-01,,0.5\n", "SET,PLATE,1,2026-01-01,,0.3\n", "SET,BOX,1,2026-01-01,,0.2\n"])
PARTS = {"CUP": 2, "PLATE": 1, "BOX": 1}
UNPRICED = read_kits([HEADER, "SET,CUP,2,2026-01-01,,\n"])


def a_set(quantity: int = 3, net: int = 1000, tax: int = 199, **fields: Any) -> Order:
    return order(sold("SET", quantity, net, tax), placed_at=PLACED, **fields)


def decided(*known: ReturnFacts, of: Order | None = None, kits: Kits = SET, **rules: Any) -> dict[str, Decision]:
    return all_decided(*known, of=of or a_set(), policy=Policy(kits=kits, **rules))


def approved(*lines: Any, return_id: str = "R1", day: int = 0) -> ReturnFacts:
    return facts(a_return(*lines, return_id=return_id, day=day, **APPROVED))


# -- the list of parts


def test_a_kit_has_the_parts_of_the_day_on_which_it_was_ordered() -> None:
    kits = read_kits([HEADER, "K,A,1,2026-01-01,2026-02-20,1\n", "K,B,1,2026-02-21,,1.0\n"])
    assert [part.sku for part in kits.of("K", PLACED)] == ["A"]
    assert [part.sku for part in kits.of("K", PLACED.replace(day=21))] == ["B"]
    assert kits.of("K", PLACED.replace(year=2025)) == ()
    assert kits.of("K", None) == ()
    assert kits.of("A", PLACED) == ()


def test_rows_without_a_word_are_skipped_wherever_they_stand() -> None:
    assert set(read_kits([HEADER, ",,,,,\n", "K,A,1,2026-01-01,,\n", ",,,,,\n", "L,B,1,2026-01-01,,\n"]).parts) == {
        "K",
        "L",
    }


def test_a_part_may_be_one_for_a_single_day_and_come_back_the_next() -> None:
    rows = ["K,A,1,2026-01-02,2026-01-02,\n", "K,A,2,2026-01-03,,\n"]
    for order_of_rows in (rows, rows[::-1]):
        assert len(read_kits([HEADER, *order_of_rows]).parts["K"]) == 2


@pytest.mark.parametrize("rows", [["2026-01-01,2026-01-02", "2026-01-02,"], ["2026-01-02,", "2026-01-01,2026-01-02"]])
def test_a_part_is_one_once_at_any_time(rows: list[str]) -> None:
    with pytest.raises(ValueError, match="line 3: A is a part of K already at that time, by line 2"):
        read_kits([HEADER, *(f"K,A,1,{span},\n" for span in rows)])


def test_shares_are_added_up_on_every_day_on_which_the_kit_changes() -> None:
    with pytest.raises(ValueError, match=r"as of 2026-02-01, the shares of kit K add up to 0\.5, not to 1"):
        read_kits([HEADER, "K,A,1,2026-01-01,2026-01-31,\n", "K,B,1,2026-02-01,,0.5\n"])
    with pytest.raises(ValueError, match="valid_to 'soon' is not a date"):
        read_kits([HEADER, "K,A,1,2026-01-01,soon,\n"])


def test_a_part_may_be_one_until_the_last_day_of_the_calendar() -> None:
    assert len(read_kits([HEADER, "K,A,1,2026-01-01,9999-12-31,1\n"]).parts["K"]) == 1


def test_optional_columns_may_be_left_out_and_blank_lines_are_skipped() -> None:
    (part,) = read_kits(["part_sku,kit_sku,quantity,valid_from\n", "\n", " 00123 ,K,02,2026-01-01\n"]).parts["K"]
    assert (part.sku, part.quantity, part.valid_from, part.valid_to, part.share) == (
        "00123",
        2,
        date(2026, 1, 1),
        None,
        None,
    )


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (["kit_sku,part_sku,valid_from\n"], "line 1: column quantity is missing"),
        ([HEADER.replace("share", "value")], "line 1: unknown column 'value'"),
        ([], "line 1: column kit_sku is missing"),
        ([HEADER, ",A,1,2026-01-01,,\n"], "line 2: kit_sku is blank"),
        ([HEADER, "K,,1,2026-01-01,,\n"], "line 2: part_sku is blank"),
        ([HEADER, "K,K,1,2026-01-01,,\n"], "line 2: K is a part of itself"),
        ([HEADER, "K,A,0,2026-01-01,,\n"], "line 2: quantity '0' is not a whole number above zero"),
        ([HEADER, "K,A,1.5,2026-01-01,,\n"], "line 2: quantity '1.5'"),
        ([HEADER, "K,A,-1,2026-01-01,,\n"], "line 2: quantity '-1'"),
        ([HEADER, "K,A,1,01/02/2026,,\n"], "line 2: valid_from '01/02/2026' is not a date"),
        ([HEADER, "K,A,1,2026-02-30,,\n"], "line 2: valid_from '2026-02-30' is not a day"),
        ([HEADER, "K,A,1,,,\n"], "line 2: valid_from ''"),
        ([HEADER, "K,A,1,2026-01-02,2026-01-01,\n"], "line 2: valid_to is before valid_from"),
        ([HEADER, "K,A,1,2026-01-01,,1.5\n"], "line 2: share '1.5' is not a decimal from 0 to 1"),
        ([HEADER, "K,A,1,2026-01-01,,50%\n"], "line 2: share '50%'"),
        ([HEADER, "K,A,1,2026-01-01,,1,x\n"], "line 2: has more cells"),
        ([HEADER, "K,A,1,2026-01-01,,\n", "K,A,1,2026-06-01,,\n"], "line 3: A is a part of K already at that time"),
        ([HEADER, "K,A,1,2026-01-01,,\n", "A,B,1,2026-01-01,,\n"], "line 2: part A is a kit itself"),
        ([HEADER, "K,A,1,2026-01-01,,0.5\n", "K,B,1,2026-01-01,,\n"], "line 3: as of 2026-01-01, only some parts"),
        ([HEADER, "K,A,1,2026-01-01,,0.5\n", "K,B,1,2026-01-01,,0.4\n"], "add up to 0.9, not to 1"),
        (
            [HEADER, "K,A,1,2026-01-01,,0.5\n", "K,B,1,2026-01-01,2026-03-01,0.5\n"],
            "line 2: as of 2026-03-02, the shares of kit K add up to 0.5",
        ),
        ([HEADER, 'K,A,"1\n'], "not CSV"),
    ],
)
def test_a_list_that_cannot_be_right_is_named_by_line_and_reason(rows: list[str], problem: str) -> None:
    with pytest.raises(ValueError, match="line ") as refused:
        read_kits(rows)
    assert problem in str(refused.value)


# -- coming back


def test_a_kit_comes_back_whole_and_moves_its_parts() -> None:
    decision = decided(approved(line("SET", 2)), restock_on="swap_approved")["R1"]
    assert money(decision) == [("set", 2, 667, 133)]
    assert [(m.sku, m.step.value, m.quantity) for m in decision.movements] == [
        ("CUP", "received", 4),
        ("CUP", "restocked", 4),
        ("PLATE", "received", 2),
        ("PLATE", "restocked", 2),
        ("BOX", "received", 2),
        ("BOX", "restocked", 2),
    ]


def test_a_finding_about_a_whole_kit_moves_all_of_its_parts() -> None:
    known = facts(a_return(line("SET", 1), **DELIVERED), finding(Condition.DAMAGED, 1, "set"))
    damaged = [m for m in decided(known)["R1"].movements if m.step.value == "damaged"]
    assert [(m.sku, m.quantity) for m in damaged] == [("CUP", 2), ("PLATE", 1), ("BOX", 1)]


def test_what_moved_is_not_moved_again() -> None:
    known = facts(
        a_return(line("SET", 1), **DELIVERED),
        moved={("set", "CUP"): {Step.RECEIVED: 2}, ("set", "PLATE"): {Step.RECEIVED: 1}},
        stock_skus={"set": "CUP"},
    )
    assert [(m.sku, m.quantity) for m in decided(known)["R1"].movements] == [("BOX", 1)]


def test_a_part_comes_back_for_its_share_of_the_kit_and_moves_itself() -> None:
    decision = decided(approved(line("CUP", 3)))["R1"]
    assert money(decision) == [("cup", 3, 250, 50)], "3 of 6 cups are a quarter of three sets"
    assert moves(decision) == [("cup", "received", 3)]
    assert decision.movements[0].sku == "CUP"
    assert decision.matches["cup"].by == "part of a kit"
    assert codes(decision) == []


def test_a_part_that_names_the_kits_line_item_is_a_part_all_the_same() -> None:
    of = order(sold("SET", 3, 1000, 199, line_item_id="7"), placed_at=PLACED)
    decision = decided(approved(line("CUP", 6, line_item_id="7")), of=of)["R1"]
    assert (money(decision), codes(decision)) == ([("cup", 6, 500, 100)], [])
    assert decision.matches["cup"].by == "part of a kit"


def test_a_part_that_was_also_ordered_by_itself_is_of_its_own_line() -> None:
    of = order(sold("SET", 3, 1000, 199), sold("CUP", 1, 300, 60), placed_at=PLACED)
    assert money(decided(approved(line("CUP", 1)), of=of)["R1"]) == [("cup", 1, 300, 60)]


def test_a_part_whose_share_nobody_gave_is_held_and_says_what_is_missing() -> None:
    decision = decided(approved(line("CUP", 1)), kits=UNPRICED)["R1"]
    assert money(decision) == []
    assert detail(decision, Code.SKU_NOT_ON_ORDER) == (
        "CUP is a part of kit SET, and the list of kits gives no share of its value: add the shares there, or deny the "
        "line"
    )
    assert moves(decision) == []


def test_a_part_whose_share_is_nothing_comes_back_for_nothing() -> None:
    kits = read_kits([HEADER, "SET,CUP,1,2026-01-01,,1\n", "SET,RIBBON,1,2026-01-01,,0\n"])
    decision = decided(approved(line("RIBBON", 1)), kits=kits)["R1"]
    assert (money(decision), codes(decision), moves(decision)) == ([], [], [("ribbon", "received", 1)])


def test_a_whole_kit_without_shares_is_credited_all_the_same() -> None:
    assert money(decided(approved(line("SET", 3)), kits=UNPRICED)["R1"]) == [("set", 3, 1000, 199)]


def test_a_part_of_two_kits_on_the_order_is_a_persons_choice() -> None:
    kits = read_kits([HEADER, "SET,CUP,1,2026-01-01,,1\n", "BIG,CUP,4,2026-01-01,,1\n"])
    of = order(sold("SET", 1), sold("BIG", 1), placed_at=PLACED)
    (problem,) = decided(approved(line("CUP", 1)), of=of, kits=kits)["R1"].problems
    assert [(each.action, each.value) for each in problem.suggestions] == [
        ("choose-line", "set"),
        ("choose-line", "big"),
    ]


def test_a_kit_is_no_kit_on_an_order_from_before_its_list() -> None:
    early = order(sold("SET", 3, 1000, 199), placed_at=PLACED.replace(year=2025))
    assert codes(decided(approved(line("CUP", 1)), of=early)["R1"]) == [Code.SKU_NOT_ON_ORDER]


@pytest.mark.parametrize(
    ("first", "second", "exceeds"),
    [
        (line("SET", 2), line("CUP", 2), False),
        (line("SET", 2), line("CUP", 3), True),
        (line("CUP", 3), line("SET", 1), False),
        (line("CUP", 3), line("SET", 2), True),
        (line("CUP", 6), line("PLATE", 3), False),
        (line("CUP", 6), line("SET", 1), True),
    ],
)
def test_kits_and_their_parts_compete_for_the_same_units(first: Any, second: Any, exceeds: bool) -> None:
    decisions = decided(approved(first), approved(second, return_id="R2", day=1))
    assert (Code.QUANTITY_EXCEEDS_ORDER in codes(decisions["R2"])) == exceeds
    assert codes(decisions["R1"]) == []


@st.composite
def mixtures(draw: st.DrawFn) -> list[tuple[str, int]]:
    """Returns of SET, CUP, PLATE and BOX in any order, which bring back all of three sets."""
    whole = draw(st.integers(0, 3))
    pieces = [("SET", n) for n in draw(_partition(whole))]
    for sku, per in (("CUP", 2), ("PLATE", 1), ("BOX", 1)):
        pieces += [(sku, n) for n in draw(_partition((3 - whole) * per))]
    return draw(st.permutations(pieces))


def _partition(units: int) -> st.SearchStrategy[list[int]]:
    def cut(cuts: list[int]) -> list[int]:
        edges = [0, *sorted({cut for cut in cuts if 0 < cut < units}), units]
        return [b - a for a, b in pairwise(edges) if b > a]

    return st.lists(st.integers(0, max(units, 1)), max_size=5).map(cut)


@given(mixtures(), st.integers(0, 5000), st.integers(0, 1200))
def test_any_mixture_of_kits_and_parts_adds_up_to_the_line_and_never_exceeds_it(
    pieces: list[tuple[str, int]], net: int, tax: int
) -> None:
    of = a_set(net=net, tax=tax)
    known: list[ReturnFacts] = []
    for number, (sku, units) in enumerate(pieces):
        known.append(approved(line(sku, units), return_id=f"R{number:02}", day=number))
        decision = decided(*known, of=of)[known[-1].ret.return_id]
        assert codes(decision) == []
        known[-1] = after(known[-1], decision)
        credited = [each for facts_ in known for each in facts_.credited]
        assert sum(each.net for each in credited) <= net
        assert sum(each.tax for each in credited) <= tax
    assert (sum(each.net for each in credited), sum(each.tax for each in credited)) == (net, tax)


@given(st.lists(st.tuples(st.sampled_from(["SET", "CUP", "PLATE", "BOX"]), st.integers(1, 7)), max_size=8))
def test_no_returns_whatever_are_credited_more_units_than_were_ordered(pieces: list[tuple[str, int]]) -> None:
    known = [approved(line(sku, n), return_id=f"R{i}", day=i) for i, (sku, n) in enumerate(pieces)]
    decisions = decided(*known).values()
    units = {"SET": 0, "CUP": 0, "PLATE": 0, "BOX": 0}
    value = 0
    for decision in decisions:
        for credit in decision.credit:
            units[credit.sku] += credit.quantity
            value += credit.net
    for sku, per in (("CUP", 2), ("PLATE", 1), ("BOX", 1)):
        assert Fraction(units[sku], per) + units["SET"] <= 3
    assert value <= 1000


def test_a_part_never_moves_as_the_kit_that_it_was_sold_in() -> None:
    of = order(sold("SET", 3, 1000, 199, variant_id="v-set"), placed_at=PLACED)
    history = SkuHistory({"v-set": ["SET"]})
    known = facts(a_return(line("BOX", 1), **DELIVERED), finding(Condition.SELLABLE, 1, "box"))
    (decision,) = decide(Case(of, (known,), history), Policy(kits=SET))
    assert {movement.sku for movement in decision.movements} == {"BOX"}


def test_parts_that_make_up_less_than_a_kit_leave_whole_kits_only() -> None:
    part = facts(a_return(line("CUP", 3), **APPROVED))
    whole = facts(a_return(line("SET", 2), return_id="R2", day=1, **APPROVED))
    held = decided(part, whole)["R2"]
    assert detail(held, Code.QUANTITY_EXCEEDS_ORDER).startswith("2 of SET to come back, 1 left of 3")
    part = facts(a_return(line("CUP", 7), return_id="R3", day=2, **APPROVED))
    assert detail(decided(part)["R3"], Code.QUANTITY_EXCEEDS_ORDER).startswith("7 of CUP to come back, 6 left of 6")


def test_parts_that_come_back_one_after_the_other_are_added_up() -> None:
    first, second = (approved(line("CUP", 2), return_id=f"R{n}", day=n) for n in (1, 2))
    third = decided(first, second, approved(line("CUP", 3), return_id="R3", day=3))["R3"]
    assert detail(third, Code.QUANTITY_EXCEEDS_ORDER).startswith("3 of CUP to come back, 2 left of 6")


def test_the_reasons_say_that_a_credit_is_of_a_part() -> None:
    texts = [reason.text for reason in decided(approved(line("BOX", 1)))["R1"].reasons]
    assert any(" x 1/5 of a kit" in text for text in texts)
    assert not any("of a kit" in reason.text for reason in decided(approved(line("SET", 1)))["R1"].reasons)


def test_a_denied_part_that_never_came_leaves_its_units_to_the_next_return() -> None:
    part = facts(a_return(line("CUP", 7)))
    whole = facts(a_return(line("SET", 3), return_id="R2", day=1, **APPROVED))
    held = decided(part, whole)
    assert codes(held["R2"]) == [Code.QUANTITY_EXCEEDS_ORDER]
    part = replace(part, rulings=ruled(held["R1"], Code.QUANTITY_EXCEEDS_ORDER, Action.DENY))
    assert money(decided(part, whole)["R2"]) == [("set", 3, 1000, 199)]
    another = facts(a_return(line("CUP", 6), return_id="R3", day=2, **APPROVED))
    assert money(decided(part, another)["R3"]) == [("cup", 6, 500, 100)]
    one_more = facts(a_return(line("CUP", 1), return_id="R4", day=3, **APPROVED))
    assert codes(decided(part, another, one_more)["R4"]) == [Code.QUANTITY_EXCEEDS_ORDER]


def test_a_part_that_was_credited_for_a_return_of_another_order_by_now_counts_by_its_own_share() -> None:
    box = Credited("box", "set", 1, 67, 13, delivered=True, sku="BOX")
    case = Case(a_set(), (approved(line("SET", 2)),), left_behind=(box,))
    (decision,) = decide(case, Policy(kits=SET))
    assert money(decision) == [("set", 2, 733 - 67, 146 - 13)], "2.2 of 3 sets, less the box"


@pytest.mark.parametrize(("worth", "ahead"), [(3, 2), (4, 3)])
def test_a_part_worth_less_than_a_minor_unit_waits_until_its_share_has_caught_up(worth: int, ahead: int) -> None:
    box = approved(line("BOX", 1))
    box = replace(box, credited=(Credited("box", "set", 1, ahead, 0, delivered=True),), credit_count=1)
    box = replace(box, credited_basis=box.ret.basis())
    cup = approved(line("CUP", 1), return_id="R2", day=1)
    second = decided(box, cup, of=a_set(1, worth, 0))["R2"]
    assert (second.credit, codes(second)) == ((), [])


def test_parts_that_came_for_more_kits_than_are_announced_now_leave_inspection_when_a_person_accepts() -> None:
    known = facts(a_return(line("SET", 3), **DELIVERED))
    known = after(known, decided(known)["R1"])
    known = changed(known, lines=(line("SET", 1),))
    says = (
        "6 x CUP came, and the return announces 2 now; 3 x PLATE came, and the return announces 1 now; "
        "3 x BOX came, and the return announces 1 now"
    )
    assert detail(decided(known)["R1"], Code.RETURN_CHANGED_AFTER_CREDIT) == says
    known = replace(known, rulings=ruled(decided(known)["R1"], Code.RETURN_CHANGED_AFTER_CREDIT, Action.ACCEPT))
    left = {(movement.sku, movement.step): movement.quantity for movement in decided(known)["R1"].movements}
    assert left == {("CUP", Step.WRITTEN_OFF): 4, ("PLATE", Step.WRITTEN_OFF): 2, ("BOX", Step.WRITTEN_OFF): 2}


def test_parts_of_a_kit_that_never_went_on_sale_are_not_to_be_taken_off() -> None:
    moved = {("set", part): {Step.RECEIVED: 3 * units, Step.RESTOCKED: units} for part, units in PARTS.items()}
    found = finding(Condition.SELLABLE, 1, "set"), finding(Condition.DAMAGED, 2, "set")
    known = facts(a_return(line("SET", 3), **APPROVED), *found, moved=moved)
    assert codes(decided(known, restock_on="swap_approved")["R1"]) == [Code.INSPECTION_REVIEW]
