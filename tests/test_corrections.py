"""Corrections: a credit note is never edited; a wrong one is voided by its opposite, once, and a person decides on."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from swapsync.jobs.compare import Period, reconcile_sites
from swapsync.jobs.corrections import VoidRefused, void_credit_note
from swapsync.jobs.reconcile import preview
from swapsync.jobs.rulings import RulingRefused, rule
from swapsync.jobs.workplace import Workplace
from swapsync.reports.month_end import read_month_end, write_files
from swapsync.sandbox.faults import Fault
from swapsync.sandbox.server import Sandbox
from swapsync.sandbox.world import World
from swapsync.store import views
from swapsync.store.cases import credit_notes
from tests.conftest import Desk, FixedClock, run
from tests.rules import scenario as s

VOID = "swap:R1:void:1"


@pytest.fixture
def credited(desk: Desk, world: World) -> Workplace:
    """RMA-1 is credited with 48.00, and the buyer, who owed 1000.00, owes 952.00."""
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    run(place)
    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}
    assert world.sparklayer.balance(s.BUYER) == Decimal("952.00")
    return place


def void(place: Workplace, number: str | None = None, reason: str = "wrong buyer") -> str:
    number = number or s.documents(place)[0].number
    return void_credit_note(place.store, place.site, number, reason=reason, actor="fay", now=place.clock.now())


def pair(place: Workplace) -> list[tuple[str, str, str]]:
    return [(note.kind, note.state, note.voids) for note in s.documents(place)]


def liability(place: Workplace) -> list[dict[str, str]]:
    with place.store.reading() as connection:
        [status] = views.status(connection, {place.slug: {"onaccount": "credit_note"}})
    return list(status["liability"])


def ruled(place: Workplace, action: str, questions: int = 1) -> None:
    problems = s.open_exceptions(place)
    assert [problem.code for problem in problems] == ["RETURN_CHANGED_AFTER_CREDIT"] * questions
    for problem in problems:
        rule(place.store, problem.id, action, actor="fay", now=place.clock.now())


def test_a_void_is_a_document_of_its_own_and_gives_the_buyer_back_what_they_owed(
    credited: Workplace, world: World
) -> None:
    [original] = s.documents(credited)

    number = void(credited)
    run(credited)
    run(credited)

    assert number > original.number
    assert pair(credited) == [("credit", "void", ""), ("void", "delivered", original.number)]
    [_, opposite] = s.documents(credited)
    assert (opposite.platform_id, opposite.net, opposite.tax, opposite.po_number) == (VOID, 4000, 800, "PO-77")
    assert (opposite.reason, opposite.actor) == ("wrong buyer", "fay")
    assert s.document_lines(credited) == [("MUG", 4, 4000, 800), ("MUG", 4, 4000, 800)]
    assert s.credits(world) == {"swap:R1:credit:1": "-48.00", VOID: "48.00"}
    assert world.sparklayer.balance(s.BUYER) == Decimal("1000.00")
    written = {row["platform_id"]: row["full_transaction"] for row in world.sparklayer.transactions("5001")}
    assert (written[VOID]["voids"], written[VOID]["reason"]) == (original.number, "wrong buyer")
    assert written["swap:R1:credit:1"]["voided_by"] == number


def test_after_a_void_nothing_is_credited_again_by_itself(credited: Workplace, world: World, clock: FixedClock) -> None:
    void(credited)
    run(credited)
    clock.forward(minutes=5)
    world.swap.change_return("R1", tags="touched")
    run(credited)

    assert s.state(credited) == "held"
    assert s.open_codes(credited) == ["RETURN_CHANGED_AFTER_CREDIT"]
    assert list(s.credits(world)) == ["swap:R1:credit:1", VOID]


def test_a_person_can_have_it_credited_again_at_the_full_amount(credited: Workplace, world: World) -> None:
    void(credited)
    run(credited)
    ruled(credited, "accept")
    run(credited)

    assert s.credits(world)["swap:R1:credit:2"] == "-48.00"
    assert world.sparklayer.balance(s.BUYER) == Decimal("952.00")
    assert s.state(credited) == "credited"
    assert s.open_codes(credited) == []


def test_a_person_can_leave_it_at_that(credited: Workplace, world: World) -> None:
    void(credited)
    run(credited)
    ruled(credited, "deny")
    run(credited)

    assert list(s.credits(world)) == ["swap:R1:credit:1", VOID]
    assert s.state(credited) == "denied"
    assert liability(credited) == []


def test_nothing_is_credited_again_while_the_void_is_still_to_be_delivered(credited: Workplace, world: World) -> None:
    void(credited)
    run(credited, "reconcile")
    ruled(credited, "accept")
    run(credited, "reconcile")
    assert [note.kind for note in s.documents(credited)] == ["credit", "void"]

    run(credited)
    run(credited)  # the order is read once more before it is credited again
    assert [note.kind for note in s.documents(credited)] == ["credit", "void", "credit"]


def test_a_ruling_against_the_return_does_not_take_the_void_back(credited: Workplace, world: World) -> None:
    void(credited)
    run(credited, "reconcile")
    ruled(credited, "deny")
    run(credited)
    assert pair(credited)[1][1] == "delivered"
    assert world.sparklayer.balance(s.BUYER) == Decimal("1000.00")


def test_a_return_that_was_corrected_in_swap_is_credited_by_what_it_is_then(
    credited: Workplace, world: World, clock: FixedClock
) -> None:
    void(credited)
    run(credited)
    clock.forward(minutes=5)
    s.returned(world, s.back(quantity=3), total=36, **s.APPROVED, updated=clock.now())
    run(credited)
    ruled(credited, "accept", questions=2)  # what was voided, and the fourth one that came
    run(credited)

    assert s.credits(world)["swap:R1:credit:2"] == "-36.00"
    assert s.open_codes(credited) == []


def test_only_the_voided_one_of_two_credits_is_undone(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, **s.DELIVERED)
    place = desk()
    run(place)
    for units in (1, 3):
        s.found(place, "sellable", units)
        run(place)
    first, second = s.documents(place)

    void(place, second.number)
    run(place)

    assert s.credits(world) == {"swap:R1:credit:1": "-12.00", "swap:R1:credit:2": "-36.00", "swap:R1:void:2": "36.00"}
    assert world.sparklayer.balance(s.BUYER) == Decimal("988.00")
    ruled(place, "accept")
    run(place)
    assert s.credits(world)["swap:R1:credit:3"] == "-36.00"
    assert first.number in [note.number for note in s.documents(place) if note.state == "delivered"]


@pytest.mark.parametrize("after", [0, 1], ids=["before the credit is taken out", "before the void stands beside it"])
def test_a_lost_reply_does_not_void_twice(credited: Workplace, world: World, clock: FixedClock, after: int) -> None:
    void(credited)
    world.faults.add(Fault(kind="status", side="sparklayer", path_contains="/transactions", after=after, times=2))
    run(credited)
    clock.forward(hours=1)
    run(credited)

    assert s.credits(world) == {"swap:R1:credit:1": "-48.00", VOID: "48.00"}
    assert world.sparklayer.balance(s.BUYER) == Decimal("1000.00")
    assert pair(credited)[0][1] == "void"


# -- refused ---------------------------------------------------------------------------------------------------------


def test_a_credit_note_is_voided_once_and_a_void_not_at_all(credited: Workplace) -> None:
    [original] = s.documents(credited)
    number = void(credited)
    with pytest.raises(VoidRefused, match=f"voided already, by {number}"):
        void(credited, original.number)
    with pytest.raises(VoidRefused, match="accept its exception RETURN_CHANGED_AFTER_CREDIT"):
        void(credited, number)
    run(credited)
    with pytest.raises(VoidRefused, match="voided already"):
        void(credited, original.number)
    assert len(s.documents(credited)) == 2


@pytest.mark.parametrize(
    ("state", "says"), [("pending", "has not gone out yet"), ("failed", "retry it"), ("void", "was withdrawn")]
)
def test_what_does_not_stand_outside_is_not_voided(credited: Workplace, state: str, says: str) -> None:
    with credited.store.transaction() as connection:
        connection.execute(update(credit_notes).values(state=state))
    with pytest.raises(VoidRefused, match=says):
        void(credited)


def test_an_unknown_number_and_a_void_without_reason_are_refused(credited: Workplace) -> None:
    with pytest.raises(VoidRefused, match="there is no credit note CN-9"):
        void(credited, "CN-9")
    with pytest.raises(VoidRefused, match="say why"):
        void(credited, reason="  ")
    assert len(s.documents(credited)) == 1


# -- the pair in every report ----------------------------------------------------------------------------------------


def month(place: Workplace) -> Period:
    return Period(place.clock.now().replace(day=1), place.clock.now().replace(day=28))


def test_lists_and_the_returns_story_show_both_sides_and_the_trail_who_did_it(credited: Workplace) -> None:
    [original] = s.documents(credited)
    number = void(credited)
    run(credited)

    with credited.store.reading() as connection:
        listed = {note["number"]: note for note in views.list_credit_notes(connection).rows}
        story = views.show_return(connection, credited.slug, "R1")

    assert (listed[original.number]["state"], listed[original.number]["voided_by"]) == ("void", number)
    assert (listed[number]["kind"], listed[number]["voids"]) == ("void", original.number)
    assert {note["gross"] for note in listed.values()} == {"48.00"}
    assert {note["number"] for note in story["credit_notes"]} == {original.number, number}
    assert "credit_note_voided" in [event["kind"] for event in story["events"]]


def test_month_end_adds_up_with_the_void(credited: Workplace, tmp_path: Path) -> None:
    number = void(credited)
    run(credited)
    with credited.store.reading() as connection:
        report = read_month_end(connection, credited.slug, month(credited))
    notes = report.totals["GBP"]["credit_notes"]
    write_files(tmp_path, [report])

    assert (notes["issued"]["gross"], notes["void"]["gross"], notes["delivered"]["gross"]) == ("48.00", "48.00", "0.00")
    assert (notes["voids"]["count"], notes["voids"]["gross"], notes["credited"]["gross"]) == (1, "48.00", "0.00")
    with (tmp_path / "credit-notes.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = {row["number"]: row for row in csv.DictReader(file)}
    assert (rows[number]["kind"], rows[number]["gross"], rows[number]["credited"]) == ("void", "48.00", "-48.00")
    assert sum(Decimal(row["credited"]) for row in rows.values()) == 0
    with (tmp_path / "returns.csv").open(encoding="utf-8-sig", newline="") as file:
        [returned] = csv.DictReader(file)
    assert returned["credited_gross"] == "0.00"


def test_what_is_owed_follows_the_void(credited: Workplace) -> None:
    assert liability(credited) == []
    void(credited)
    run(credited, "reconcile")
    assert liability(credited) == []  # the buyer still has the credit, and is to be asked for it
    run(credited)
    assert liability(credited) == [{"currency": "GBP", "gross": "48.00"}]  # held: credited again, or denied


def test_the_comparison_expects_both_and_reports_what_is_missing(
    credited: Workplace, world: World, clock: FixedClock
) -> None:
    void(credited)
    run(credited)
    held = ["RETURN_CHANGED_AFTER_CREDIT"]

    def compared() -> list[str]:
        reconcile_sites([credited.site], credited.store, clock, month(credited), lambda *_: None)
        return [problem.detail for problem in s.open_exceptions(credited) if problem.code == "CREDIT_MISALIGNED"]

    assert compared() == []
    assert s.open_codes(credited) == held

    key = world.sparklayer.find_purchase("platform", "5001")
    assert key is not None
    [credit, opposite] = world.sparklayer.transactions("5001")
    world.sparklayer.put_transaction(key, credit | {"apply_to_balance": True})
    [detail] = compared()
    assert "in SparkLayer it counts towards the customer's balance" in detail
    world.sparklayer.put_transaction(key, credit)
    assert compared() == []
    world.sparklayer.put_transaction(key, opposite | {"total": {"number": "47.00", "currency": "GBP"}})
    [detail] = compared()
    assert 'its total in SparkLayer is "47.00" instead of 48.00' in detail


@pytest.mark.parametrize("ruling", ["accept", "deny"])
def test_a_voided_credit_that_somebody_changed_is_written_again_as_one_that_does_not_count(
    credited: Workplace, world: World, clock: FixedClock, ruling: str
) -> None:
    void(credited)
    run(credited)
    ruled(credited, ruling)
    run(credited)
    before, documents = world.sparklayer.transactions("5001"), pair(credited)
    key = world.sparklayer.find_purchase("platform", "5001")
    assert key is not None
    changed = {"total": {"number": "-47.00", "currency": "GBP"}, "apply_to_balance": True}
    world.sparklayer.put_transaction(key, before[0] | changed)
    reconcile_sites([credited.site], credited.store, clock, month(credited), lambda *_: None)

    [problem] = s.open_exceptions(credited)
    assert problem.code == "CREDIT_MISALIGNED"
    rule(credited.store, problem.id, "retry", actor="fay", now=clock.now())
    clock.forward(minutes=2)
    run(credited)
    reconcile_sites([credited.site], credited.store, clock, month(credited), lambda *_: None)

    assert sorted(world.sparklayer.transactions("5001"), key=str) == sorted(before, key=str)
    assert (pair(credited), s.open_codes(credited)) == (documents, [])


def test_a_withdrawn_credit_is_not_written_again_whatever_stands_outside(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk(push_credits="false")
    run(place)
    clock.forward(hours=1)
    world.swap.change_return("R1", return_status="Cancelled")
    run(place)
    ruled(place, "deny")
    transaction = {"platform_id": "swap:R1:credit:1", "total": {"number": "-48.00", "currency": "GBP"}}
    key = world.sparklayer.find_purchase("platform", "5001")
    assert key is not None
    world.sparklayer.put_transaction(key, transaction | {"apply_to_balance": False, "full_transaction": {}})
    reconcile_sites([place.site], place.store, clock, month(place), lambda *_: None)

    [problem] = s.open_exceptions(place)
    assert problem.code == "CREDIT_MISALIGNED"
    with pytest.raises(RulingRefused, match="it was withdrawn"):
        rule(place.store, problem.id, "retry", actor="fay", now=clock.now())


# -- a credit that is refused for good


def failed(place: Workplace) -> Any:
    [problem] = [row for row in s.open_exceptions(place) if row.code == "DELIVERY_FAILED"]
    return problem


def withdrawn(place: Workplace, note: str = "paid by hand") -> None:
    rule(place.store, failed(place).id, "deny", note=note, actor="fay", now=place.clock.now())


def refused(desk: Desk, world: World, **fields: Any) -> Workplace:
    s.order(world)
    s.returned(world, **fields)
    world.faults.add(Fault(kind="status", status=422, path_contains="/transactions"))
    return desk()


def test_a_refused_credit_that_was_paid_by_hand_is_withdrawn_for_good(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    place = refused(desk, world, **s.APPROVED)
    run(place)
    assert liability(place) == [{"currency": "GBP", "gross": "48.00"}]

    withdrawn(place)
    for _ in range(2):
        clock.forward(minutes=15)
        world.swap.change_return("R1", tags=f"touched at {clock.now()}")
        run(place)

    [note] = s.documents(place)
    assert (note.number, note.state, note.reason, note.actor) == (
        *("CN-000001", "void"),
        *("DELIVERY_FAILED was denied: paid by hand", "fay"),
    )
    assert (s.credits(world), s.state(place), s.open_codes(place)) == ({}, "denied", [])
    assert (world.sparklayer.balance(s.BUYER), liability(place)) == (Decimal("1000.00"), [])
    [told] = [event for event in s.trail(place) if event.kind == "credit_note_withdrawn"]
    assert (told.actor, told.detail) == ("fay", "CN-000001 of 48.00 GBP: DELIVERY_FAILED was denied: paid by hand")
    reconcile_sites([place.site], place.store, clock, month(place), lambda *_: None)
    assert s.open_codes(place) == []


@pytest.mark.parametrize(("answer", "credits"), [("credit", {"swap:R1:credit:2": "-48.00"}), ("deny", {})])
def test_more_than_was_withdrawn_is_asked_about(desk: Desk, world: World, answer: str, credits: dict[str, str]) -> None:
    place = refused(desk, world, **s.DELIVERED)
    run(place)
    s.found(place, "sellable", 1)
    run(place)
    withdrawn(place)
    run(place)
    assert (s.credits(world), s.state(place)) == ({}, "denied")

    s.found(place, "sellable", 3)
    run(place)
    [asked] = s.open_exceptions(place)
    assert (asked.code, asked.detail) == (
        "APPROVAL_NEEDED",
        "12.00 GBP could not be delivered and was withdrawn, and 48.00 GBP is due by now: credit all of that?",
    )
    rule(place.store, asked.id, answer, actor="fay", now=place.clock.now())
    run(place)

    assert (s.credits(world), s.open_codes(place)) == (credits, [])


def test_what_was_credited_before_stands_when_a_later_credit_is_withdrawn(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, **s.DELIVERED)
    place = desk()
    run(place)
    s.found(place, "sellable", 1)
    run(place)
    world.faults.add(Fault(kind="status", status=422, path_contains="/transactions"))
    s.found(place, "sellable", 3)
    run(place)
    withdrawn(place)
    run(place)
    assert (s.credits(world), s.state(place), s.open_codes(place)) == ({"swap:R1:credit:1": "-12.00"}, "credited", [])


def test_a_refused_credit_that_may_have_arrived_is_not_withdrawn(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    world.faults.add(Fault(kind="lost_reply_after", method="PUT", path_contains="/transactions", times=2))
    place = desk()
    run(place)
    world.faults.add(Fault(kind="status", status=422, path_contains="/transactions"))
    clock.forward(hours=1)
    run(place)
    with pytest.raises(RulingRefused, match="a credit may have arrived before it was refused"):
        withdrawn(place)
    assert s.documents(place)[0].state == "failed"


def test_the_preview_says_what_the_void_holds(credited: Workplace) -> None:
    void(credited)
    found = preview(credited, "R1")
    assert found is not None
    assert found.decision.credit == ()
    assert any("was voided by" in reason.text for reason in found.decision.reasons)


# -- the command -----------------------------------------------------------------------------------------------------


def test_the_command_voids_and_says_what_comes_next(credited: Workplace, server: Sandbox, tmp_path: Path) -> None:
    [original] = s.documents(credited)
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("SWAPSYNC_")},
        **server.environment(),
        "SWAPSYNC_DATABASE_URL": credited.store.engine.url.render_as_string(hide_password=False),
    }
    call: Callable[..., Any] = lambda *arguments: subprocess.run(  # noqa: E731
        [sys.executable, "-m", "swapsync", "credit-notes", "void", *arguments],
        env=environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )

    document = json.loads(call(original.number, "--reason", "wrong buyer", "--json").stdout)
    again = call(original.number, "--reason", "wrong buyer")

    assert (document["voids"], document["kind"], document["gross"]) == (original.number, "void", "48.00")
    assert again.returncode == 2
    assert again.stderr.strip() == f"swapsync: {original.number} is voided already, by {document['number']}"
