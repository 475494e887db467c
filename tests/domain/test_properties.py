"""What holds for every order, whatever comes back, in whatever steps, and whatever people decide."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from swapsync.domain.catalogue import CATALOGUE, Action, Code
from swapsync.domain.facts import Case, Policy, ReturnFacts, Ruling
from swapsync.domain.kits import Kits
from swapsync.domain.money import share, to_minor, to_text
from swapsync.domain.orders import Order
from swapsync.domain.returns import (
    Condition,
    Delivery,
    Finding,
    Remedy,
    Return,
    ReturnLine,
    ReturnStatus,
    Settlement,
    SwapQc,
    found,
    inspection,
    logistics,
)
from swapsync.domain.settlement import Decision, by_todays_lines, decide
from swapsync.domain.stock import ROUTE, Location, Step, on_hand
from tests.domain.build import APPROVED, a_return, after, changed, facts, order, sold
from tests.domain.build import line as returned


def for_any(*inputs: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Runs a test on examples of its inputs, however long one takes."""
    return lambda test: settings(deadline=None, max_examples=60)(given(*inputs)(test))


Value = TypeVar("Value")


def mostly(usual: Value, *others: Value) -> st.SearchStrategy[Value]:
    """Nine times in ten the usual value, so that most cases get far enough to matter."""
    return st.sampled_from((usual,) * 9 * len(others) + others)


SKUS = ("MUG", "CUP", "BOWL")
SWAPS_WORDS = mostly(True, False).flatmap(
    lambda approved: (
        st.just(APPROVED)
        if approved
        else st.fixed_dictionaries(
            {
                "status": st.sampled_from(ReturnStatus),
                "delivery": st.sampled_from(Delivery),
                "qc": st.sampled_from(SwapQc),
                "refunded": mostly(0, 500),
            }
        )
    )
)
policies = st.builds(
    Policy,
    settle_on=mostly("swap_closed", "inspected"),
    restock_on=st.sampled_from(("inspected", "swap_approved")),
    uses_swap_qc=st.booleans(),
    po_required=mostly(False, True),
)


@st.composite
def orders(draw: st.DrawFn) -> Order:
    lines = []
    for n in range(draw(st.integers(1, 3))):
        sku, quantity = draw(mostly(SKUS[n], "MUG")), draw(mostly(9, 5, 3, 1, 0))
        net, tax = draw(st.integers(0, 12) | st.integers(0, 5000)), draw(st.integers(0, 12) | st.integers(0, 1000))
        lines.append(sold(sku, quantity, net, tax, key=f"o{n}", line_item_id=f"li{n}"))
    return order(
        *lines,
        payment_method=draw(mostly("on_account", "invoice", "platform_upfront", "barter")),
        po_number=draw(mostly("PO-77", "")),
        currency=draw(st.sampled_from(("GBP", "JPY", "KWD"))),
    )


@st.composite
def return_lines(draw: st.DrawFn, of: Order) -> tuple[ReturnLine, ...]:
    lines = []
    for n in range(draw(st.integers(1, 3))):
        sold_line = draw(st.sampled_from(of.lines))
        lines.append(
            returned(
                draw(mostly(sold_line.sku, "mug", "")),
                draw(st.integers(0, 3)),
                line_id=f"l{n}",
                line_item_id=draw(mostly(sold_line.line_item_id, "", "li9")),
                remedy=draw(mostly(Remedy.CREDIT, *Remedy)),
            )
        )
    return tuple(lines)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """An order with some returns of which nothing was credited or moved yet."""
    of = draw(orders())
    known = []
    for n in range(draw(st.integers(1, 4))):
        ret = a_return(
            *draw(return_lines(of)),
            return_id=f"R{n}",
            day=draw(st.integers(0, 3)),
            currency=draw(mostly(of.currency, "EUR")),
            total=draw(st.none() | st.integers(0, 6000)),
            unknown=draw(mostly((), (), (), ('delivery_status "Lost"',))),
        )
        ret = replace(ret, **draw(SWAPS_WORDS))
        known.append(
            facts(
                ret,
                *draw(findings_on(ret)),
                settled_outside=ret.ended and draw(mostly(False, False, True)),
                same_buyer=draw(mostly(True, None, False)),
            )
        )
    return Case(of, tuple(known))


@st.composite
def findings_on(draw: st.DrawFn, ret: Return) -> list[Finding]:
    of_line = draw(st.sampled_from(ret.lines)).line_id
    return [
        Finding("", condition, units, sku="CAP")
        if condition is Condition.UNEXPECTED
        else Finding(of_line, condition, units)
        for condition, units in draw(
            st.lists(st.tuples(mostly(Condition.SELLABLE, *Condition), st.integers(1, 3)), max_size=2)
        )
    ]


def carried_out(case: Case, decisions: Sequence[Decision]) -> Case:
    """The case with the outcome of its decisions among its facts."""
    of = {decision.return_id: decision for decision in decisions}
    return replace(case, returns=tuple(after(known, of[known.ret.return_id]) for known in case.returns))


def ruled_on(case: Case, decisions: Sequence[Decision], data: st.DataObject) -> Case:
    """The case after people answered some of the problems."""
    answered = []
    for known in case.returns:
        rulings = dict(known.rulings)
        for decision in decisions:
            for problem in decision.problems if decision.return_id == known.ret.return_id else ():
                choice = data.draw(st.sampled_from((None, *CATALOGUE[problem.code].actions)))
                if choice is not None:
                    value = "PO-78" if choice is Action.TYPE_PO else ""
                    rulings[problem.code, problem.subject] = Ruling(choice, value, problem.detail)
        answered.append(replace(known, rulings=rulings))
    return replace(case, returns=tuple(answered))


def moved_on(case: Case, data: st.DataObject) -> Case:
    """The case after Swap and the warehouse said more; now and then a return has changed altogether."""
    later = []
    for known in case.returns:
        if not known.settled_outside:
            known = changed(known, **data.draw(SWAPS_WORDS))
            known = replace(known, findings=(*known.findings, *data.draw(findings_on(known.ret))))
            if data.draw(mostly(False, False, False, True)):
                assert case.order is not None
                known = changed(known, lines=data.draw(return_lines(case.order)))
        later.append(known)
    return replace(case, returns=tuple(later))


def named_now(case: Case) -> Case:
    """The case by the lines that its returns have now."""
    return by_todays_lines(case, Kits())


def told(data: st.DataObject, policy: Policy) -> list[tuple[Case, tuple[Decision, ...]]]:
    """A history of three rounds: each case with its decisions, the next with their outcome and more facts."""
    case = data.draw(cases())
    rounds = []
    for _ in range(3):
        decisions = decide(case, policy)
        rounds.append((case, decisions))
        case = moved_on(ruled_on(carried_out(case, decisions), decisions, data), data)
    return rounds


# -- money: exact, bounded, once


@for_any(st.lists(st.integers(1, 6), min_size=1, max_size=6), st.integers(0, 9) | st.integers(0, 99999), st.data())
def test_any_partition_of_a_line_into_returns_credits_exactly_its_net_and_tax(
    parts: list[int], net: int, data: st.DataObject
) -> None:
    tax = data.draw(st.integers(0, net // 4))
    of = order(sold(quantity=sum(parts), net=net, tax=tax))
    waiting = data.draw(st.permutations([(f"R{n}", units) for n, units in enumerate(parts)]))
    case = Case(of, ())
    for day, (name, units) in enumerate(waiting):
        ret = a_return(returned(quantity=units), return_id=name, day=data.draw(st.integers(0, day)), **APPROVED)
        case = replace(case, returns=(*case.returns, facts(ret)))
        decisions = decide(case, Policy())
        assert not any(decision.problems for decision in decisions)
        case = carried_out(case, decisions)
    credited = [credit for known in case.returns for credit in known.credited]
    assert sum(credit.net for credit in credited) == net
    assert sum(credit.tax for credit in credited) == tax


@for_any(st.integers(0, 10**9), st.lists(st.integers(0, 50), min_size=1, max_size=8).filter(any))
def test_cumulative_shares_never_fall_and_end_at_the_total(total: int, parts: list[int]) -> None:
    units, values = 0, [0]
    for part in parts:
        units += part
        values.append(share(total, units, sum(parts)))
    assert values == sorted(values)
    assert values[-1] == total


@for_any(st.integers(-(10**12), 10**12), st.sampled_from(("GBP", "JPY", "KWD", "CLF")))
def test_every_amount_survives_being_written_and_read(minor: int, currency: str) -> None:
    assert to_minor(to_text(minor, currency), currency) == minor


@for_any(policies, st.data())
def test_credits_never_exceed_the_ordered_units_or_their_value(policy: Policy, data: st.DataObject) -> None:
    for case, decisions in told(data, policy):
        assert case.order is not None
        for sold_line in case.order.lines:
            credits = [
                credit
                for known in carried_out(case, decisions).returns
                for credit in known.credited
                if credit.order_line_key == sold_line.key
            ]
            assert sum(credit.quantity for credit in credits) <= sold_line.quantity
            assert sum(credit.net for credit in credits) <= sold_line.net
            assert sum(credit.tax for credit in credits) <= sold_line.tax


@for_any(policies, st.data())
def test_a_credit_note_has_units_on_every_line_and_is_worth_something(policy: Policy, data: st.DataObject) -> None:
    for _, decisions in told(data, policy):
        for decision in decisions:
            assert all(new.quantity > 0 and new.net >= 0 and new.tax >= 0 for new in decision.credit)
            assert not decision.credit or sum(new.net + new.tax for new in decision.credit) > 0


@for_any(policies, st.data())
def test_no_unit_of_a_return_is_credited_twice(policy: Policy, data: st.DataObject) -> None:
    for case, decisions in told(data, policy):
        for known, decision in zip(_by_id(named_now(case)), _sorted(decisions), strict=True):
            for new in decision.credit:
                covered = sum(credit.quantity for credit in known.credited if credit.line_id == new.line_id)
                assert covered + new.quantity <= _line(known.ret, new.line_id).quantity


@for_any(policies, st.data())
def test_a_credit_needs_receipt(policy: Policy, data: st.DataObject) -> None:
    for case, decisions in told(data, policy):
        for known, decision in zip(_by_id(named_now(case)), _sorted(decisions), strict=True):
            ret = known.ret
            for new in decision.credit:
                units = found(known.findings, new.line_id)
                if units:
                    in_hand = units.total() - units[Condition.MISSING] - units[Condition.WRONG_ITEM]
                    covered = sum(credit.quantity for credit in known.credited if credit.line_id == new.line_id)
                    assert covered + new.quantity <= in_hand
                else:
                    assert policy.settle_on == "swap_closed"
                    assert (ret.status, ret.delivery) == (ReturnStatus.CLOSED, Delivery.DELIVERED)
                    assert ret.qc is SwapQc.APPROVED or (ret.qc is SwapQc.NONE and not policy.uses_swap_qc)


@for_any(cases(), policies)
def test_nothing_is_credited_by_itself_for_what_was_settled_outside_or_called_off(case: Case, policy: Policy) -> None:
    for known, decision in zip(_by_id(case), _sorted(decide(case, policy)), strict=True):
        if known.settled_outside or known.ret.called_off:
            assert decision.credit == ()
        if known.settled_outside:
            assert (decision.movements, decision.milestones, decision.problems) == ((), (), ())


# -- deciding again


@for_any(policies, st.data())
def test_deciding_again_on_the_outcome_asks_for_nothing_new(policy: Policy, data: st.DataObject) -> None:
    for case, decisions in told(data, policy):
        again = carried_out(case, decisions)
        second = decide(again, policy)
        assert all((decision.credit, decision.movements) == ((), ()) for decision in second)
        assert decide(carried_out(again, second), policy) == second


@for_any(policies, st.data())
def test_what_was_no_problem_is_none_after_the_credit(policy: Policy, data: st.DataObject) -> None:
    for case, decisions in told(data, policy):
        causes = _causes(decisions)
        assert _causes(decide(carried_out(case, decisions), policy)) <= causes


@for_any(policies, st.data())
def test_the_order_in_which_returns_are_given_changes_nothing(policy: Policy, data: st.DataObject) -> None:
    for case, decisions in told(data, policy):
        shuffled = replace(case, returns=tuple(data.draw(st.permutations(case.returns))))
        assert decide(shuffled, policy) == decisions


@for_any(policies, st.data())
def test_every_return_gets_one_decision_with_the_states_that_its_facts_show(
    policy: Policy, data: st.DataObject
) -> None:
    for case, decisions in told(data, policy):
        for known, decision in zip(_by_id(named_now(case)), _sorted(decisions), strict=True):
            assert decision.return_id == known.ret.return_id
            assert decision.logistics is logistics(known.ret)
            assert decision.inspection is inspection(known.ret, known.findings)


# -- stock


@for_any(policies, st.data())
def test_never_more_leaves_inspection_than_was_received_and_never_more_is_received_than_announced(
    policy: Policy, data: st.DataObject
) -> None:
    announced: Counter[tuple[str, str]] = Counter()
    for case, decisions in told(data, policy):
        for known in case.returns:
            for line in known.ret.lines:
                name = known.ret.return_id, line.line_id
                announced[name] = max(announced[name], line.quantity)
        case = carried_out(case, decisions)
        for known in case.returns:
            for (line_id, _), steps in known.moved.items():
                assert steps.get(Step.RECEIVED, 0) <= announced[known.ret.return_id, line_id]
        for known in named_now(case).returns:
            assert all(on_hand(steps) >= 0 for steps in known.moved.values())


@for_any(policies, st.data())
def test_units_are_neither_made_nor_lost_and_no_location_of_ours_holds_less_than_none(
    policy: Policy, data: st.DataObject
) -> None:
    for case, decisions in told(data, policy):
        for known in named_now(carried_out(case, decisions)).returns:
            for steps in known.moved.values():
                levels: Counter[Location] = Counter()
                for step, units in steps.items():
                    origin, destination = ROUTE[step]
                    levels[origin] -= units
                    levels[destination] += units
                assert sum(levels.values()) == 0
                assert all(units >= 0 for location, units in levels.items() if location is not Location.OUTSIDE)
                gone = steps.get(Step.RESTOCKED, 0) + steps.get(Step.WRITTEN_OFF, 0)
                assert gone <= steps.get(Step.RECEIVED, 0)


@for_any(policies, st.data())
def test_only_wrong_items_that_a_person_wrote_off_are_written_off(policy: Policy, data: st.DataObject) -> None:
    for case, decisions in told(data, policy):
        for known, decision in zip(_by_id(named_now(case)), _sorted(decisions), strict=True):
            for movement in decision.movements:
                if movement.step is Step.WRITTEN_OFF:
                    ruling = known.rulings[Code.UNEXPECTED_ITEM, movement.line_id]
                    assert ruling.action is Action.WRITE_OFF
                    assert movement.quantity <= found(known.findings, movement.line_id)[Condition.WRONG_ITEM]


@for_any(cases(), policies)
def test_nothing_moves_before_receipt(case: Case, policy: Policy) -> None:
    for known, decision in zip(_by_id(named_now(case)), _sorted(decide(case, policy)), strict=True):
        for movement in decision.movements:
            units = found(known.findings, movement.line_id)
            came = units.total() > units[Condition.MISSING]
            assert came or (known.ret.delivered and not known.ret.called_off)


@for_any(cases(), policies)
def test_only_what_the_warehouse_or_an_approval_calls_sellable_becomes_sellable(case: Case, policy: Policy) -> None:
    for known, decision in zip(_by_id(named_now(case)), _sorted(decide(case, policy)), strict=True):
        ret = known.ret
        for movement in decision.movements:
            if movement.step is Step.RESTOCKED:
                units = found(known.findings, movement.line_id)
                if units:
                    assert movement.quantity <= units[Condition.SELLABLE]
                else:
                    assert policy.restock_on == "swap_approved"
                    assert (ret.status, ret.qc, ret.delivered) == (ReturnStatus.CLOSED, SwapQc.APPROVED, True)


@for_any(cases(), policies)
def test_goods_move_alike_whatever_holds_the_money(case: Case, policy: Policy) -> None:
    def held(of: Order) -> Order:
        return replace(of, payment_method="barter", po_number="", currency="USD")

    assert case.order is not None
    usual, without = decide(case, policy), decide(replace(case, order=held(case.order)), policy)
    assert [decision.movements for decision in usual] == [decision.movements for decision in without]
    assert all(decision.credit == () for decision in without)


# -- problems


@for_any(policies, st.data())
def test_every_problem_is_in_the_catalogue_says_something_and_stands_there_once(
    policy: Policy, data: st.DataObject
) -> None:
    for _, decisions in told(data, policy):
        for decision in decisions:
            assert all(problem.code in CATALOGUE for problem in decision.problems)
            assert all(problem.detail.strip() for problem in decision.problems)
            causes = [(problem.code, problem.subject) for problem in decision.problems]
            assert len(set(causes)) == len(causes)


@for_any(policies, st.data())
def test_what_is_held_has_a_problem_and_what_is_credited_has_credits(policy: Policy, data: st.DataObject) -> None:
    for case, decisions in told(data, policy):
        for known, decision in zip(_by_id(case), _sorted(decisions), strict=True):
            if decision.settlement is Settlement.HELD:
                assert decision.problems
            if decision.settlement is Settlement.CREDITED:
                assert known.credited
                assert not decision.credit


def _by_id(case: Case) -> list[ReturnFacts]:
    return sorted(case.returns, key=lambda known: known.ret.return_id)


def _sorted(decisions: Sequence[Decision]) -> list[Decision]:
    return sorted(decisions, key=lambda decision: decision.return_id)


def _causes(decisions: Sequence[Decision]) -> set[tuple[str, str, str]]:
    return {(d.return_id, problem.code.value, problem.subject) for d in decisions for problem in d.problems}


def _line(ret: Return, line_id: str) -> ReturnLine:
    (found_line,) = (line for line in ret.lines if line.line_id == line_id)
    return found_line
