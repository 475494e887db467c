"""The exception queue for many hands: groups, bulk decisions, assignment, comments, due clock, and what was seen."""

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from swapsync.jobs.rulings import RulingRefused, assign, rule
from swapsync.jobs.workplace import Workplace
from swapsync.sandbox.world import World
from swapsync.store.db import Store
from swapsync.store.views import group_exceptions, list_exceptions, show_exception
from tests.conftest import Ask, Desk, FixedClock, run
from tests.rules import scenario as s


@pytest.fixture
def held(desk: Desk, world: World) -> Workplace:
    """Three returns in a wrong currency, worth little to anybody; none of them can be credited."""
    s.order(world)
    for n in (1, 2, 3):
        s.returned(
            world,
            s.back(quantity=1),
            **s.APPROVED | {"return_id": f"R{n}", "rma_number": f"RMA-{n}", "customer_currency": "EUR"},
            total=Decimal("12.00"),
        )
    place = desk()
    run(place)
    return place


def open_ids(place: Workplace) -> list[int]:
    return [row.id for row in s.open_exceptions(place)]


def told(place: Workplace, exception_id: int) -> Any:
    with place.store.reading() as connection:
        return show_exception(connection, exception_id)


def test_open_exceptions_are_counted_by_code(held: Workplace) -> None:
    with held.store.reading() as connection:
        [group] = group_exceptions(connection, "code").rows
        assert (group["code"], group["open"]) == ("CURRENCY_MISMATCH", 3)
        [of_order] = group_exceptions(connection, "order_name").rows
    assert (of_order["order_name"], of_order["open"]) == ("#1001", 3)


def test_many_are_decided_at_once_each_with_a_result_of_its_own(
    held: Workplace, ask_store: Ask, database_url: str, world: World
) -> None:
    first, second, third = open_ids(held)
    rule(held.store, second, "deny", actor="fiona", now=held.clock.now())

    answer = ask_store(
        database_url, "exceptions", "resolve", str(first), str(second), str(third), "--action", "deny", "--json"
    )

    assert answer.code == 0
    shown = json.loads(answer.out)
    assert [row["id"] for row in shown if "code" in row] == [first, third]
    [refused] = [row for row in shown if "refused" in row]
    assert (refused["id"], "resolved already: deny by fiona" in refused["refused"]) == (second, True)
    run(held)
    assert (s.open_codes(held), s.credits(world)) == ([], {})


def test_a_bulk_decision_by_code_says_how_many_before_it_is_done(
    held: Workplace, ask_store: Ask, database_url: str
) -> None:
    bulk = ("exceptions", "resolve", "--code", "CURRENCY_MISMATCH", "--order", "#1001", "--action", "deny")
    seen = told(held, open_ids(held)[0])["as_of"]
    for flags in ((), ("--yes",), ("--seen", str(seen))):
        asked = ask_store(database_url, *bulk, *flags)
        assert (asked.code, len(open_ids(held))) == (2, 3)
        assert asked.err == f"swapsync: deny would decide 3 open exceptions; to do it: --yes --seen {seen}\n"

    assert ask_store(database_url, *bulk, "--yes", "--seen", str(seen)).code == 0
    assert open_ids(held) == []


def test_a_bulk_decision_leaves_out_what_opened_or_changed_since_it_was_looked_at(
    held: Workplace, ask_store: Ask, database_url: str, world: World, clock: FixedClock
) -> None:
    first, second, third = open_ids(held)
    seen = str(told(held, first)["as_of"])
    clock.forward(minutes=5)
    world.swap.change_return("R1", customer_currency="USD")
    foreign = {"return_id": "R4", "rma_number": "RMA-4", "customer_currency": "EUR", "updated": clock.now()}
    s.returned(world, s.back(quantity=1), **s.APPROVED | foreign, total=Decimal("12.00"))
    run(held)
    [new] = set(open_ids(held)) - {first, second, third}

    bulk = ("exceptions", "resolve", "--code", "CURRENCY_MISMATCH", "--action", "deny", "--yes", "--seen", seen)
    out = ask_store(database_url, *bulk).out

    assert sorted(open_ids(held)) == [first, new]
    assert f"exception {first}: refused: RMA RMA-1 changed since" in out
    [refused] = [line for line in out.splitlines() if f"exception {new}: refused: " in line]
    assert "CURRENCY_MISMATCH: the return is in EUR" in refused


def test_what_was_seen_stands_in_the_list_and_in_every_command_that_is_printed(
    held: Workplace, ask_store: Ask, database_url: str
) -> None:
    first, *_ = open_ids(held)
    seen = told(held, first)["as_of"]

    rows = ask_store(database_url, "exceptions", "list", "--json").json
    assert {row["as_of"] for row in rows} == {seen}
    shown = ask_store(database_url, "exceptions", "show", str(first)).out
    assert f"{seen}, for --seen" in shown
    story = ask_store(database_url, "returns", "show", "RMA-1").out
    for out in (shown, story):
        commands = [line for line in out.splitlines() if "swapsync exceptions resolve" in line]
        assert commands
        assert all(line.endswith(f" --seen {seen}") for line in commands)


def test_an_exception_is_given_to_a_person_and_talked_about(held: Workplace, ask_store: Ask, database_url: str) -> None:
    first, *_ = open_ids(held)
    assert ask_store(database_url, "exceptions", "assign", str(first), "--to", "fiona").code == 0
    assert ask_store(database_url, "exceptions", "comment", str(first), "asked the buyer").code == 0

    mine = ask_store(database_url, "exceptions", "list", "--assignee", "fiona", "--json").json
    assert [row["id"] for row in mine] == [first]
    item = told(held, first)
    assert item["assignee"] == "fiona"
    kinds = [(event["kind"], event["detail"]) for event in item["history"]]
    assert kinds[0][0] == "exception_opened"
    assert kinds[1:] == [("assigned", "CURRENCY_MISMATCH: to fiona"), ("comment", "asked the buyer")]
    assert item["history"][1]["before"] == {"assignee": ""}


def test_what_should_have_been_solved_by_now_is_overdue(
    held: Workplace, clock: FixedClock, ask_store: Ask, database_url: str, store: Store
) -> None:
    with store.reading() as connection:
        assert list_exceptions(connection, due_before=clock.now()).rows == []
        assert len(list_exceptions(connection, due_before=clock.now() + timedelta(hours=9)).rows) == 3
    # the command's clock is the computer's, which is past the test's
    late = ask_store(database_url, "exceptions", "list", "--overdue")
    assert late.out.count("overdue") == 3


def test_an_action_on_a_return_that_changed_since_its_decision_is_refused_with_what_changed(
    held: Workplace, world: World, clock: FixedClock
) -> None:
    first, *_ = open_ids(held)
    clock.forward(minutes=5)
    world.swap.change_return("R1", return_status="Cancelled")
    run(held, "poll_returns")

    with pytest.raises(RulingRefused, match="RMA-1 changed since: status closed -> cancelled"):
        rule(held.store, first, "deny", actor="fiona", now=clock.now())
    assert first in open_ids(held)


def test_an_action_on_an_order_that_changed_since_its_decision_is_refused_with_what_changed(
    held: Workplace, world: World, clock: FixedClock
) -> None:
    first, *_ = open_ids(held)
    clock.forward(minutes=5)
    world.sparklayer.change_purchase("5001", customer_reference="PO-78")
    run(held, "poll_orders")

    with pytest.raises(RulingRefused, match="PO number PO-77 -> PO-78"):
        rule(held.store, first, "deny", actor="fiona", now=clock.now())


def test_an_action_that_says_what_was_seen_is_refused_when_more_was_decided_since(
    held: Workplace, world: World, clock: FixedClock
) -> None:
    first, second, _ = open_ids(held)
    seen = told(held, first)["as_of"]
    clock.forward(minutes=5)
    world.swap.change_return("R1", customer_currency="USD")
    run(held)

    with pytest.raises(RulingRefused, match="currency EUR -> USD"):
        rule(held.store, first, "deny", seen=seen, actor="fiona", now=clock.now())
    rule(held.store, second, "deny", seen=seen, actor="fiona", now=clock.now())
    rule(held.store, first, "deny", seen=told(held, first)["as_of"], actor="fiona", now=clock.now())


def test_who_does_not_say_what_they_saw_does_not_decide_on_what_changed_since_it_opened(
    held: Workplace, world: World, clock: FixedClock
) -> None:
    first, second, _ = open_ids(held)
    clock.forward(minutes=5)
    world.swap.change_return("R1", customer_currency="USD")
    run(held)

    with pytest.raises(RulingRefused, match=r"currency EUR -> USD; CURRENCY_MISMATCH: the return is in USD.* --seen"):
        rule(held.store, first, "deny", actor="fiona", now=clock.now())
    rule(held.store, second, "deny", actor="fiona", now=clock.now())
    rule(held.store, first, "deny", seen=told(held, first)["as_of"], actor="fiona", now=clock.now())


def test_a_question_that_rests_on_other_facts_now_is_another_one_though_its_words_are_the_same(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    run(place)
    for quantity in (3, 2):
        clock.forward(minutes=5)
        s.returned(world, s.back(quantity=quantity), **s.APPROVED, updated=clock.now())
        run(place)
    asked = [row.id for row in s.open_exceptions(place) if row.subject == ""]

    with pytest.raises(RulingRefused, match=r"line .* 3 x MUG, .* -> 2 x MUG"):
        rule(place.store, asked[0], "accept", actor="fiona", now=clock.now())
    rule(place.store, asked[0], "accept", seen=told(place, asked[0])["as_of"], actor="fiona", now=clock.now())


def test_what_a_finding_changed_counts_too(held: Workplace, clock: FixedClock) -> None:
    first, *_ = open_ids(held)
    s.found(held, "damaged", 1)
    with pytest.raises(RulingRefused, match="1 x MUG damaged"):
        rule(held.store, first, "deny", actor="fiona", now=clock.now())


def test_two_decisions_on_one_return_do_not_stand_in_each_others_way(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world, customer_reference=None)
    s.returned(world, **s.APPROVED | {"customer_currency": "EUR"})
    place = desk()
    run(place)
    codes = {row.code: row.id for row in s.open_exceptions(place)}
    rule(place.store, codes["PO_NUMBER_MISSING"], "type-po", value="PO-9", actor="fiona", now=clock.now())
    rule(place.store, codes["CURRENCY_MISMATCH"], "deny", actor="fiona", now=clock.now())


def test_a_resolved_exception_can_be_talked_about_and_not_given_away(held: Workplace, clock: FixedClock) -> None:
    first, *_ = open_ids(held)
    rule(held.store, first, "deny", actor="fiona", now=clock.now())
    with pytest.raises(RulingRefused, match="resolved already"):
        assign(held.store, first, "paul", actor="fiona", now=clock.now())


def test_the_summary_says_who_decided_and_why(held: Workplace, ask_store: Ask, database_url: str) -> None:
    first, *_ = open_ids(held)
    rule(held.store, first, "deny", note="paid in cash", actor="fiona", now=held.clock.now())
    out = ask_store(database_url, "exceptions", "show", str(first)).out
    assert "deny by fiona: paid in cash" in out
    assert "ruling" in out


def test_the_answer_to_a_late_po_number_names_the_credit_note_without_it(
    desk: Desk, world: World, ask_store: Ask, database_url: str
) -> None:
    s.order(world, customer_reference=None)
    s.returned(world, **s.APPROVED)
    place = desk()
    run(place)
    [asked] = open_ids(place)

    answer = ask_store(database_url, "exceptions", "resolve", str(asked), "--action", "type-po", "--value", "PO-9")

    assert answer.code == 0
    assert "CN-000001 issued without it: void and credit again if the buyer needs it on the document" in answer.out


def test_what_can_follow_is_shown_on_a_resolved_exception(
    desk: Desk, world: World, clock: FixedClock, ask_store: Ask, database_url: str
) -> None:
    s.order(world)
    s.returned(world, **s.DELIVERED)
    place = desk()
    run(place)
    s.found(place, "wrong_item", 2)
    run(place)
    [asked] = open_ids(place)
    rule(place.store, asked, "accept", actor="wanda", now=clock.now())

    seen = told(place, asked)["as_of"]
    out = ask_store(database_url, "exceptions", "show", str(asked)).out
    assert f"swapsync exceptions resolve {asked} --action write-off --seen {seen}" in out
    assert "--action accept --seen" not in out

    rule(place.store, asked, "write-off", actor="wanda", now=clock.now())
    assert told(place, asked)["actions"] == []
