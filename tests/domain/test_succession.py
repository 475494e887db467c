"""What was credited, moved and found counts on, once Swap names a return's lines anew."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import Any

import pytest

from swapsync.domain.catalogue import Action, Code
from swapsync.domain.facts import Case, Credited, Policy, ReturnFacts, Ruling
from swapsync.domain.kits import KitPart, Kits
from swapsync.domain.orders import Order, SkuHistory
from swapsync.domain.returns import (
    Condition,
    Finding,
    Inspection,
    Remedy,
    ReturnLine,
    ReturnStatus,
    Settlement,
    SwapQc,
    found,
)
from swapsync.domain.settlement import Decision, by_todays_lines
from swapsync.domain.stock import Step
from tests.domain.build import (
    APPROVED,
    DELIVERED,
    USUAL,
    a_return,
    after,
    changed,
    codes,
    decided,
    detail,
    facts,
    finding,
    line,
    money,
    moves,
    order,
    sold,
)

CREDITED = Settlement.CREDITED
NO_KITS = Kits()


def accepted(known: ReturnFacts) -> ReturnFacts:
    """The facts once a person let stand what was done, for the return as it is now."""
    ruling = Ruling(Action.ACCEPT, about=known.ret.basis())
    subjects = ("", "goods")
    return replace(known, rulings={(Code.RETURN_CHANGED_AFTER_CREDIT, subject): ruling for subject in subjects})


def settled(known: ReturnFacts, of: Order | None = None, policy: Policy = USUAL) -> tuple[ReturnFacts, Decision]:
    """The facts and the decision once nothing more follows; that comes about at once."""
    known = after(known, decided(known, of, policy))
    decision = decided(known, of, policy)
    assert (money(decision), moves(decision)) == ([], [])
    return known, decision


def by_line(
    known: ReturnFacts, of: Order | None = None, kits: Kits = NO_KITS
) -> Mapping[tuple[str, str], Mapping[Step, int]]:
    """What moved, by today's lines."""
    [carried] = by_todays_lines(Case(of or order(), (known,)), kits).returns
    return {name: {step: units for step, units in steps.items() if units} for name, steps in carried.moved.items()}


def credited(*lines: ReturnLine) -> ReturnFacts:
    """The usual return, approved, credited and taken in; then with these lines, and accepted as it is now."""
    known, _ = settled(facts(a_return(**APPROVED)))
    return accepted(changed(known, lines=lines))


def inspected(*findings: Finding, of: Iterable[ReturnLine] = ()) -> ReturnFacts:
    """The usual return, delivered, inspected and credited; then with these lines, and accepted as it is now."""
    known, _ = settled(facts(a_return(**DELIVERED), *findings))
    return accepted(changed(known, lines=tuple(of)))


# -- what was credited


def test_a_line_that_only_has_another_name_is_not_credited_again() -> None:
    known = credited(line(line_id="another"))
    _, decision = settled(known)
    assert (money(decided(known)), decision.settlement, codes(decision)) == ([], CREDITED, [])


def test_before_a_person_accepts_nothing_moves_at_all_and_the_goods_are_part_of_the_question() -> None:
    known = replace(credited(line(line_id="another")), rulings={})
    decision = decided(known)
    assert (codes(decision), money(decision), moves(decision)) == ([Code.RETURN_CHANGED_AFTER_CREDIT], [], [])
    says = (
        "the return has other lines, order or currency now than when it was credited; "
        "4 x MUG came, for lines that the return no longer has"
    )
    assert detail(decision, Code.RETURN_CHANGED_AFTER_CREDIT) == says
    accepts = {(Code.RETURN_CHANGED_AFTER_CREDIT, ""): Ruling(Action.ACCEPT, "", known.ret.basis())}
    assert codes(decided(replace(known, rulings=accepts))) == []


def test_what_a_person_accepted_is_not_what_the_return_became_since() -> None:
    known = replace(credited(line(quantity=3)), rulings={})
    accepts = {(Code.RETURN_CHANGED_AFTER_CREDIT, ""): Ruling(Action.ACCEPT, "", known.ret.basis())}
    known = replace(known, rulings=accepts)
    assert codes(decided(known)) == []
    assert codes(decided(changed(known, lines=(line(quantity=2),)))) == [Code.RETURN_CHANGED_AFTER_CREDIT]


def test_a_line_that_has_another_name_is_not_credited_again_though_the_order_names_its_lines_anew_too() -> None:
    known, of = credited(line(line_id="another")), order(sold(key="anew"))
    known = replace(known, credited=tuple(replace(each, sku="MUG") for each in known.credited))
    assert (money(decided(known, of)), codes(decided(known, of))) == ([], [])


def test_of_a_line_that_was_split_the_rest_is_found_though_the_order_names_its_lines_anew_too() -> None:
    known, of = credited(line(quantity=1), line(quantity=3, line_id="rest")), order(sold(key="anew"))
    known = replace(known, credited=tuple(replace(each, sku="") for each in known.credited))
    assert (money(decided(known, of)), codes(decided(known, of))) == ([], [])


def test_a_line_that_matches_nothing_takes_no_credit_over() -> None:
    known = credited(line("GHOST", line_id="another"), line(line_id="successor"))
    assert (money(decided(known)), codes(decided(known))) == ([], [Code.SKU_NOT_ON_ORDER])


@pytest.mark.parametrize("units", [(1, 3), (2, 2), (3, 1), (1, 1, 2)])
def test_a_line_that_was_split_is_not_credited_again(units: tuple[int, ...]) -> None:
    known = credited(*(line(quantity=n, line_id=f"l{i}") for i, n in enumerate(units)))
    known, decision = settled(known)
    assert money(decision) == []
    assert decision.accepted == {f"l{i}": n for i, n in enumerate(units)}
    assert by_line(known) == {(f"l{i}", "MUG"): {Step.RECEIVED: n} for i, n in enumerate(units)}


def test_a_line_that_was_split_and_kept_its_name_is_not_credited_again() -> None:
    known = credited(line(quantity=1), line(quantity=3, line_id="rest"))
    known, _ = settled(known)
    assert by_line(known) == {("mug", "MUG"): {Step.RECEIVED: 1}, ("rest", "MUG"): {Step.RECEIVED: 3}}


def test_lines_that_were_joined_are_not_credited_again() -> None:
    known, _ = settled(facts(a_return(line(quantity=1, line_id="l0"), line(quantity=3, line_id="l1"), **APPROVED)))
    settled(accepted(changed(known, lines=(line(line_id="both"),))))


def test_only_the_units_that_are_new_are_credited_however_often_it_is_decided() -> None:
    of = order(sold(quantity=10, net=10000, tax=2000))
    known, _ = settled(facts(a_return(**APPROVED)), of)
    known = accepted(changed(known, lines=(line(quantity=6, line_id="another"),)))
    assert money(decided(known, of)) == [("another", 2, 2000, 400)]
    assert moves(decided(known, of)) == [("another", "received", 2)]
    known, _ = settled(known, of)
    known = accepted(changed(known, lines=(line(quantity=7, line_id="third"),)))
    assert money(decided(known, of)) == [("third", 1, 1000, 200)]
    settled(known, of)


def test_fewer_units_under_another_name_are_covered_and_the_rest_leaves_inspection() -> None:
    known = credited(line(quantity=2, line_id="another"))
    assert (money(decided(known)), moves(decided(known))) == ([], [("mug", "written_off", 2)])
    known, decision = settled(known)
    assert by_line(known)["another", "MUG"] == {Step.RECEIVED: 2}
    assert decision.settlement is CREDITED


def test_a_credit_goes_with_its_order_line_when_the_names_of_two_lines_are_swapped() -> None:
    of = order(sold(), sold("CUP", net=2000, tax=400))
    known, _ = settled(facts(a_return(**APPROVED)), of)
    known = accepted(changed(known, lines=(line("CUP", line_id="mug"), line(line_id="another"))))
    assert money(decided(known, of)) == [("mug", 4, 2000, 400)]
    settled(known, of)


def test_a_credit_that_fits_no_other_line_covers_the_line_of_its_name() -> None:
    of = order(sold(), sold("CUP", net=2000, tax=400))
    known, _ = settled(facts(a_return(**APPROVED)), of)
    known = accepted(changed(known, lines=(line("CUP", line_id="mug"),)))
    assert money(decided(known, of)) == []


def test_a_credit_of_an_order_line_that_was_named_anew_goes_with_its_sku() -> None:
    known = credited(line(line_id="another"))
    assert money(decided(known, order(sold(key="new")))) == []


def test_a_new_line_of_another_order_line_is_credited_as_ever() -> None:
    of = order(sold(), sold("CUP", net=2000, tax=400))
    known, _ = settled(facts(a_return(**APPROVED)), of)
    known = accepted(changed(known, lines=(line("CUP"),)))
    assert money(decided(known, of)) == [("cup", 4, 2000, 400)]


def test_what_was_credited_on_swaps_word_is_relied_on_swap_under_another_name_too() -> None:
    known = credited(line(line_id="another"))
    known = accepted(changed(known, qc=SwapQc.NOT_APPROVED))
    assert "Swap now says" in detail(decided(known), Code.RETURN_CHANGED_AFTER_CREDIT)


# -- goods and findings


def test_goods_that_were_sold_again_are_not_taken_in_again_and_their_finding_counts() -> None:
    known = inspected(finding(Condition.SELLABLE, 4), of=[line(line_id="another")])
    known, decision = settled(known)
    assert by_line(known) == {("another", "MUG"): {Step.RECEIVED: 4, Step.RESTOCKED: 4}}
    assert (decision.inspection, decision.accepted, decision.settlement) == (Inspection.DONE, {"another": 4}, CREDITED)


def test_each_successor_gets_units_with_what_was_found_of_them() -> None:
    findings = (
        finding(Condition.WRONG_ITEM, 1),
        finding(Condition.DAMAGED, 1),
        finding(Condition.SELLABLE, 1),
        finding(Condition.MISSING, 1),
    )
    known = inspected(*findings, of=[line(quantity=2, line_id="l0"), line(quantity=2, line_id="l1")])
    known, decision = settled(known)
    assert by_line(known) == {
        ("l0", "MUG"): {Step.RECEIVED: 2, Step.RESTOCKED: 1, Step.DAMAGED: 1},
        ("l1", "MUG"): {Step.RECEIVED: 2, Step.MISSING: 1},
    }
    assert sorted((p.code, p.subject) for p in decision.problems) == [
        (Code.INSPECTION_REVIEW, "l0"),
        (Code.INSPECTION_SHORT, "l1"),
        (Code.UNEXPECTED_ITEM, "l1"),
    ]


def test_what_is_recorded_for_a_successor_is_found_there_however_its_quantity_changes() -> None:
    """Two lines took over four units; two of the second were found and sold again; then the first announces more."""
    known, _ = settled(facts(a_return(**DELIVERED)))
    known = accepted(changed(known, lines=(line(quantity=2, line_id="l0"), line(quantity=2, line_id="l1"))))
    known = replace(known, findings=(finding(Condition.SELLABLE, 2, "l1"),))
    assert moves(decided(known)) == [("l1", "restocked", 2)]
    known, _ = settled(known)
    assert by_line(known) == {("l0", "MUG"): {Step.RECEIVED: 2}, ("l1", "MUG"): {Step.RECEIVED: 2, Step.RESTOCKED: 2}}
    known = accepted(changed(known, lines=(line(quantity=4, line_id="l0"),)))
    known, _ = settled(known)
    assert by_line(known) == {("l0", "MUG"): {Step.RECEIVED: 4, Step.RESTOCKED: 2}}


def test_goods_of_a_line_without_a_credit_are_known_by_their_sku() -> None:
    known = facts(
        a_return(line(quantity=4, remedy=Remedy.STOCK_ONLY), **DELIVERED), Finding("mug", Condition.SELLABLE, 4)
    )
    known, _ = settled(known)
    known = accepted(changed(known, lines=(line("CUP"), line(line_id="another", remedy=Remedy.STOCK_ONLY))))
    _, decision = settled(known, order(sold(), sold("CUP")))
    [carried] = by_todays_lines(Case(order(), (known,)), Kits()).returns
    assert found(carried.findings, "another") == {Condition.SELLABLE: 4}
    assert decision.accepted["another"] == 4


def test_a_finding_that_nothing_followed_from_yet_is_known_by_the_sku_it_was_typed_in_for() -> None:
    known = facts(a_return(line(line_id="another")), Finding("mug", Condition.SELLABLE, 4, sku="MUG"))
    [carried] = by_todays_lines(Case(order(), (known,)), Kits()).returns
    assert found(carried.findings, "another") == {Condition.SELLABLE: 4}


def test_what_no_line_announces_belongs_to_no_line_afterwards_either() -> None:
    cap = Finding("", Condition.UNEXPECTED, 1, sku="CAP")
    known = inspected(finding(Condition.SELLABLE, 4), cap, of=[line(line_id="another")])
    [carried] = by_todays_lines(Case(order(), (known,)), Kits()).returns
    assert cap in carried.findings


def test_goods_move_on_under_the_sku_that_they_began_with() -> None:
    of = order(sold(variant_id="v1"))
    history = SkuHistory({"v1": ("MUG", "MUG-26")})
    known = facts(a_return(line(variant_id="v1"), **DELIVERED))
    known = after(known, decided(known, of))
    known = accepted(changed(known, lines=(line("MUG-26", line_id="another", variant_id="v1"),)))
    known = replace(known, findings=(finding(Condition.SELLABLE, 4, "another"),), stock_skus={"mug": "MUG"})
    [movement] = decided(known, of, history=history).movements
    assert (movement.line_id, movement.sku, movement.step) == ("another", "MUG", Step.RESTOCKED)


# -- kits

SET = (
    KitPart("SET", "POT", 1, date(2025, 1, 1), share=Fraction(1, 2)),
    KitPart("SET", "LID", 2, date(2025, 1, 1), share=Fraction(1, 2)),
)
WITH_KITS = Policy(kits=Kits({"SET": SET}))
KIT_ORDER = order(sold("SET", 2, 8000, 1600), placed_at=datetime(2026, 2, 1, tzinfo=UTC))


def test_a_kit_under_another_name_keeps_its_parts_in_stock() -> None:
    known, _ = settled(
        facts(a_return(line("SET", 2), **DELIVERED), finding(Condition.SELLABLE, 2, "set")), KIT_ORDER, WITH_KITS
    )
    lines = (line("SET", 1, line_id="l0"), line("SET", 1, line_id="l1"))
    known, _ = settled(accepted(changed(known, lines=lines)), KIT_ORDER, WITH_KITS)
    assert by_line(known, KIT_ORDER, WITH_KITS.kits) == {
        (line_id, sku): {Step.RECEIVED: n, Step.RESTOCKED: n}
        for sku, n in (("POT", 1), ("LID", 2))
        for line_id in ("l0", "l1")
    }


def test_a_part_of_a_kit_under_another_name_covers_that_part_and_no_other() -> None:
    known, _ = settled(facts(a_return(line("POT", 2), **APPROVED)), KIT_ORDER, WITH_KITS)
    known = accepted(changed(known, lines=(line("LID", 4, line_id="l0"), line("POT", 2, line_id="l1"))))
    assert money(decided(known, KIT_ORDER, WITH_KITS)) == [("l0", 4, 4000, 800)]
    settled(known, KIT_ORDER, WITH_KITS)


def test_a_whole_kit_is_not_what_its_part_was() -> None:
    known, _ = settled(facts(a_return(line("POT", 1), **APPROVED)), KIT_ORDER, WITH_KITS)
    known = accepted(changed(known, lines=(line("SET", 1, line_id="another"),)))
    assert money(decided(known, KIT_ORDER, WITH_KITS)) == [("another", 1, 4000, 800)]


def test_what_moved_of_a_line_under_another_sku_counts_for_it() -> None:
    known = facts(
        a_return(line(line_id="l0", quantity=3), line(line_id="l2", quantity=1), **DELIVERED),
        finding(Condition.SELLABLE, 2, line_id="l2"),
        finding(Condition.SELLABLE, 2, line_id="l0"),
    )
    moved = {Step.RECEIVED: 2, Step.RESTOCKED: 2}
    known = accepted(replace(known, moved={("l0", "CUP"): moved, ("l2", "MUG"): moved}, stock_skus={"l0": "CUP"}))
    assert moves(decided(known)) == []


# -- by what a line takes over


def renamed(known: ReturnFacts, of: Order, **case: Any) -> Decision:
    """The decision once everything is done and Swap then names the only line otherwise."""
    known = after(known, decided(known, of, **case))
    [only] = known.ret.lines
    return decided(accepted(changed(known, lines=(replace(only, line_id="another"),))), of, **case)


def test_what_was_credited_and_never_moved_goes_over_too() -> None:
    known = facts(a_return(line("", line_id="1", line_item_id="11"), **APPROVED))
    decision = renamed(known, order(sold("", key="blank", line_item_id="11")))
    assert (money(decision), codes(decision), decision.settlement) == ([], [], CREDITED)


def test_what_only_came_goes_over_too() -> None:
    known = facts(a_return(**DELIVERED))
    decision = renamed(known, order())
    assert (moves(decision), codes(decision), decision.accepted) == ([], [], {"another": 0})


@pytest.mark.parametrize(
    ("returned", "of"),
    [
        (line("", line_item_id="11"), order(sold(line_item_id="11"))),
        (line(variant_id="V1"), order(sold())),
        (line(), order(sold(variant_id="V1"))),
    ],
    ids=["the order's", "the returned variant's of today", "the ordered variant's of today"],
)
def test_goods_go_over_under_whatever_sku_they_moved(returned: ReturnLine, of: Order) -> None:
    history = SkuHistory({"V1": ["MUG", "MUG-2"]})
    decision = renamed(facts(a_return(returned, **DELIVERED)), of, history=history)
    assert (moves(decision), codes(decision)) == ([], [])


SET = Kits({"SET": tuple(KitPart("SET", sku, 1, date(2026, 1, 1), None, Fraction(1, 2)) for sku in ("CUP", "BOX"))})
A_SET = order(sold("SET"), placed_at=datetime(2026, 2, 1, tzinfo=UTC))


@pytest.mark.parametrize("came", ["SET", "BOX"])
def test_a_part_of_a_kit_takes_over_neither_the_kit_nor_another_part(came: str) -> None:
    known = facts(a_return(line("CUP", 1), **DELIVERED), moved={("gone", came): {Step.RECEIVED: 1}})
    assert by_line(known, A_SET, SET) == {("gone", came): {Step.RECEIVED: 1}}


@pytest.mark.parametrize("sku", ["SET", "CUP"])
def test_a_kit_or_a_part_of_one_that_only_has_another_name_is_not_credited_again(sku: str) -> None:
    decision = renamed(facts(a_return(line(sku), **APPROVED)), A_SET, policy=Policy(kits=SET))
    assert (money(decision), codes(decision), decision.settlement) == ([], [], CREDITED)


def test_a_credit_whose_sku_was_not_kept_may_be_of_a_part() -> None:
    known = facts(a_return(line("CUP", line_id="another"), **APPROVED))
    known = replace(known, credited=(Credited("cup", "set", 4, 5000, 1000, delivered=True),))
    decision = decided(known, A_SET, Policy(kits=SET))
    assert (money(decision), codes(decision)) == ([], [])


# -- shared out between two lines


def in_two(first: int, second: int, *findings: Finding, **known: Any) -> ReturnFacts:
    """The usual return with two lines of MUG, ``first`` and ``second``, and whatever is stored under any name."""
    lines = line(quantity=first, line_id="first"), line(quantity=second, line_id="second")
    return accepted(facts(a_return(*lines, **APPROVED), *findings, **known))


def paid(line_id: str, quantity: int) -> Credited:
    return Credited(line_id, "mug", quantity, 2500 * quantity, 500 * quantity, delivered=True, sku="MUG")


def seen(condition: Condition, quantity: int, line_id: str = "gone") -> Finding:
    return Finding(line_id, condition, quantity, sku="MUG")


def test_a_note_that_is_shared_out_keeps_its_amount_in_one_piece() -> None:
    [carried] = by_todays_lines(Case(order(), (in_two(1, 3, credited=(paid("gone", 4),)),)), NO_KITS).returns
    rows = [(row.line_id, row.quantity, row.net, row.tax) for row in carried.credited]
    assert rows == [("first", 1, 10000, 2000), ("second", 3, 0, 0)]


@pytest.mark.parametrize(
    ("units", "findings", "of_first"),
    [
        ((2, 2), [seen(Condition.DAMAGED, 2, "first"), seen(Condition.SELLABLE, 2, "second")], 0),
        ((2, 2), [seen(Condition.DAMAGED, 2, "first")], 0),
        (
            (2, 1),
            [
                seen(Condition.SELLABLE, 1, "first"),
                seen(Condition.DAMAGED, 1, "first"),
                seen(Condition.SELLABLE, 1, "second"),
            ],
            1,
        ),
        ((2, 1), [seen(Condition.DAMAGED, 1, "first")], 1),
    ],
    ids=["sellable before damaged", "unseen before damaged", "each sellable once", "each unseen once"],
)
def test_a_credit_goes_to_the_units_that_it_was_given_for(
    units: tuple[int, int], findings: list[Finding], of_first: int
) -> None:
    notes = (paid("first", of_first), paid("gone", units[1])) if of_first else (paid("gone", units[1]),)
    assert money(decided(in_two(*units, *findings, credited=notes))) == []


def test_goods_that_moved_under_a_sku_of_no_line_go_with_what_was_credited_for_them() -> None:
    moved = {("gone", "OLD"): {Step.RECEIVED: 4, Step.RESTOCKED: 4}}
    known = in_two(1, 3, Finding("gone", Condition.SELLABLE, 4), credited=(paid("gone", 4),), moved=moved)
    assert by_line(known) == {
        ("first", "OLD"): {Step.RECEIVED: 1, Step.RESTOCKED: 1},
        ("second", "OLD"): {Step.RECEIVED: 3, Step.RESTOCKED: 3},
    }
    decision = decided(changed(known, status=ReturnStatus.OPEN))
    assert (decision.accepted, money(decision)) == ({"first": 1, "second": 3}, [])


def test_a_line_goes_on_under_its_own_sku_when_it_takes_goods_over() -> None:
    one, two = {Step.RECEIVED: 1}, {Step.RECEIVED: 2}
    moved = {("first", "OLD"): one, ("first", "MUG"): one, ("gone", "MUG"): two}
    known = in_two(4, 0, moved=moved, stock_skus={"first": "MUG"})
    [carried] = by_todays_lines(Case(order(), (known,)), NO_KITS).returns
    assert carried.stock_skus == {"first": "MUG"}


@pytest.mark.parametrize(
    ("units", "findings", "kept"),
    [
        ((4, 0), [seen(Condition.SELLABLE, 1), seen(Condition.SELLABLE, 3)], (4, 0)),
        ((1, 3), [Finding("first", Condition.SELLABLE, 4)], (1, 3)),
        ((1, 1), [seen(Condition.DAMAGED, 1, "first"), seen(Condition.SELLABLE, 1, "first")], (1, 0)),
    ],
    ids=["added up", "the rest is another line's", "what is sellable stays"],
)
def test_what_was_found_goes_over_before_anything_moved(
    units: tuple[int, int], findings: list[Finding], kept: tuple[int, int]
) -> None:
    known = changed(in_two(*units, *findings), status=ReturnStatus.OPEN)
    assert tuple(decided(known).accepted.values()) == kept


RESTOCKED_ONE = {Step.RECEIVED: 1, Step.RESTOCKED: 1}
RESTOCKED, DAMAGED = {Step.RECEIVED: 2, Step.RESTOCKED: 2}, {Step.RECEIVED: 2, Step.DAMAGED: 2}


@pytest.mark.parametrize("sku", ["MUG", "OLD"])
def test_what_was_found_goes_where_that_was_done(sku: str) -> None:
    found_ = seen(Condition.SELLABLE, 2), seen(Condition.DAMAGED, 2)
    known = in_two(2, 2, *found_, moved={("first", sku): DAMAGED, ("second", sku): RESTOCKED})
    assert decided(known).accepted == {"first": 0, "second": 2}


@pytest.mark.parametrize("own", [[], [seen(Condition.SELLABLE, 1, "first")]])
def test_what_was_found_goes_where_nothing_was_found_for_what_was_done(own: list[Finding]) -> None:
    moved = {("second", "MUG"): RESTOCKED_ONE} | ({("first", "MUG"): RESTOCKED_ONE} if own else {})
    [carried] = by_todays_lines(
        Case(order(), (in_two(2, 1, *own, seen(Condition.SELLABLE, 1), moved=moved),)), NO_KITS
    ).returns
    assert found(carried.findings, "second") == {Condition.SELLABLE: 1}


def test_what_was_found_of_kits_goes_where_whole_kits_of_parts_moved() -> None:
    kits = Kits({"SET": (KitPart("SET", "CUP", 2, date(2026, 1, 1), None, Fraction(1)),)})
    lines = line("SET", 2, line_id="first"), line("SET", 1, line_id="second")
    moved = {
        ("first", "CUP"): {Step.RECEIVED: 3, Step.RESTOCKED: 3},
        ("second", "CUP"): {Step.RECEIVED: 2, Step.RESTOCKED: 2},
    }
    known = facts(a_return(*lines, **APPROVED), Finding("gone", Condition.SELLABLE, 2, sku="SET"), moved=moved)
    [carried] = by_todays_lines(Case(A_SET, (known,)), kits).returns
    assert [found(carried.findings, name)[Condition.SELLABLE] for name in ("first", "second")] == [1, 1]


def test_what_left_a_line_that_it_was_not_booked_in_for_came_with_what_it_took_over() -> None:
    known = in_two(1, 3, moved={("gone", "MUG"): {Step.RECEIVED: 3}, ("first", "MUG"): {Step.RESTOCKED: 1}})
    assert by_line(known) == {
        ("first", "MUG"): {Step.RECEIVED: 1, Step.RESTOCKED: 1},
        ("second", "MUG"): {Step.RECEIVED: 2},
    }


def test_a_line_that_is_gone_makes_up_for_that_before_one_that_is_there() -> None:
    lines = tuple(line(quantity=1, line_id=name) for name in ("zero", "first", "second"))
    moved = {
        ("first", "MUG"): {Step.RECEIVED: 1},
        ("gone", "MUG"): {Step.RECEIVED: 1},
        ("second", "MUG"): {Step.RESTOCKED: 1},
    }
    assert by_line(facts(a_return(*lines, **DELIVERED), moved=moved)) == {
        ("first", "MUG"): {Step.RECEIVED: 1},
        ("second", "MUG"): {Step.RECEIVED: 1, Step.RESTOCKED: 1},
    }
