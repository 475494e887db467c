"""The warehouse's findings: each once, never more than announced, each wrong row named."""

import pytest
from sqlalchemy import select

from swapsync.jobs.inspection import Entry, Intake, read_file, record_findings
from swapsync.jobs.rulings import RulingRefused, rule
from swapsync.jobs.workplace import Workplace
from swapsync.sandbox.world import World
from swapsync.store.cases import findings
from tests.conftest import Ask, Desk, FixedClock, run
from tests.rules import scenario as s
from tests.scenario import credited, returned, sold


def take(place: Workplace, *entries: Entry) -> Intake:
    return record_findings(place.store, place.slug, entries, actor="wanda", now=place.clock.now())


def units_found(place: Workplace) -> list[tuple[str, int]]:
    with place.store.reading() as connection:
        rows = connection.execute(select(findings.c.condition, findings.c.quantity).order_by(findings.c.id)).all()
    return [(row.condition, row.quantity) for row in rows]


def test_a_sellable_finding_credits_and_restocks_with_the_next_cycle(desk: Desk, world: World) -> None:
    sold(world)
    returned(world)
    place = desk()
    run(place)
    assert credited(world) == []
    assert world.sparklayer.level("MUG", "inspection") == 4

    take(place, Entry("R1", "MUG", "Sellable", "3", "k1"), Entry("R1", "MUG", "damaged", "1", "k2"))
    run(place)

    assert credited(world) == ["-36.00"]
    levels = {name: world.sparklayer.level("MUG", name) for name in ("inspection", "damaged", "default")}
    assert levels == {"inspection": 0, "damaged": 1, "default": 3}


def test_a_file_loaded_twice_or_again_with_rows_added_counts_once(desk: Desk, world: World) -> None:
    sold(world)
    returned(world)
    place = desk()
    run(place)
    monday = b"rma,sku,condition,quantity\nR1,MUG,sellable,1\nR1,MUG,sellable,1\n"

    first = take(place, *read_file(monday))
    again = take(place, *read_file(monday))
    longer = take(place, *read_file(monday + b"R1,MUG,damaged,1\n"))

    assert [(len(i.taken), len(i.repeated), len(i.refused)) for i in (first, again, longer)] == [
        (2, 0, 0),
        (0, 2, 0),
        (1, 2, 0),
    ]
    assert units_found(place) == [("sellable", 1), ("sellable", 1), ("damaged", 1)]


def test_each_wrong_row_is_named_with_its_line_and_reason_and_the_good_ones_are_taken(desk: Desk, world: World) -> None:
    sold(world)
    returned(world)
    place = desk()
    run(place)
    content = (
        "rma,sku,condition,quantity\n"
        "R1,MUG,sellable,-1\n"
        "R1,MUG,sellable,1.5\n"
        "R1,MUG,schön,1\n"
        "R9,MUG,sellable,1\n"
        "R1,CUP,sellable,1\n"
        "R1,MUG,sellable,5\n"
        "R1,MUG,wrong item,1\n"
    ).encode("latin-1")

    intake = take(place, *read_file(content))

    assert [(entry.row, reason.split(" ")[0]) for entry, reason in intake.refused] == [
        (2, "quantity"),
        (3, "quantity"),
        (4, "condition"),
        (5, "there"),
        (6, "RMA"),
        (7, "5"),
    ]
    assert units_found(place) == [("wrong_item", 1)]


def test_an_unexpected_item_is_shown_and_moves_neither_stock_nor_money(desk: Desk, world: World) -> None:
    sold(world)
    returned(world)
    place = desk()
    run(place)
    before = s.moved(place)

    take(place, Entry("R1", "CAP", "unexpected", "2", "k1"))
    run(place)

    (problem,) = s.open_exceptions(place)
    assert (problem.code, problem.sku, problem.owner) == ("UNEXPECTED_ITEM", "CAP", "operations")
    assert problem.detail == "2 x CAP came, which no line of the return announces"
    assert (s.moved(place), credited(world)) == (before, [])
    assert s.levels(world, "CAP") == s.NOWHERE
    assert s.levels(world)["inspection"] == 4
    assert s.state(place, "ret-1") == "none"


def test_one_more_of_an_unexpected_item_is_another_matter_than_the_one_that_was_accepted(
    desk: Desk, world: World
) -> None:
    sold(world)
    returned(world)
    place = desk()
    run(place)
    take(place, Entry("R1", "CAP", "unexpected", "1", "k1"), Entry("R1", "HAT", "unexpected", "1", "k2"))
    run(place)
    cap, hat = s.open_exceptions(place)
    decide(place, cap.id, "accept")
    decide(place, hat.id, "accept")
    run(place)
    assert s.open_codes(place) == []

    take(place, Entry("R1", "CAP", "unexpected", "1", "k3"))
    run(place)

    assert [row.detail for row in s.open_exceptions(place)] == ["2 x CAP came, which no line of the return announces"]


def test_units_beyond_what_was_announced_are_unexpected_once_the_others_are_inspected(desk: Desk, world: World) -> None:
    sold(world)
    returned(world)
    place = desk()
    run(place)
    too_early = take(place, Entry("R1", "MUG", "unexpected", "1", "k1"), Entry("R1", "", "unexpected", "1", "k2"))
    assert [reason for _, reason in too_early.refused] == [
        "RMA R1 still expects 4 x MUG: say in what condition these are",
        "the SKU that came is missing",
    ]

    take(place, Entry("R1", "MUG", "sellable", "4", "k3"), Entry("R1", "MUG", "unexpected", "1", "k4"))
    run(place)

    assert s.open_codes(place) == ["UNEXPECTED_ITEM"]
    assert s.levels(world) == {"inspection": 0, "default": 4, "damaged": None}
    assert credited(world) == ["-48.00"]


def test_a_return_without_an_order_shows_what_came_unexpected(desk: Desk, world: World) -> None:
    returned(world)
    place = desk()
    run(place)
    take(place, Entry("R1", "CAP", "unexpected", "1", "k1"))
    run(place)
    assert s.open_codes(place) == ["ORPHANED_RETURN", "UNEXPECTED_ITEM"]


def test_an_unexpected_item_alone_is_no_receipt_of_what_was_announced(desk: Desk, world: World) -> None:
    sold(world)
    returned(world, delivery_status="In-Transit")
    place = desk()
    run(place)
    take(place, Entry("R1", "CAP", "unexpected", "1", "k1"))
    run(place)
    assert s.tokens(world, "5001") == ["swap:ret-1:authorised:1"]
    assert s.moved(place) == []


def decide(place: Workplace, exception_id: int, action: str) -> None:
    rule(place.store, exception_id, action, note="counted", actor="olga", now=place.clock.now())


def test_wrong_items_that_are_written_off_leave_inspection_once(desk: Desk, world: World, clock: FixedClock) -> None:
    sold(world)
    returned(world)
    place = desk()
    run(place)
    take(place, Entry("R1", "MUG", "wrong_item", "1", "k1"), Entry("R1", "MUG", "sellable", "1", "k2"))
    run(place)
    assert s.levels(world)["inspection"] == 3
    (problem,) = s.open_exceptions(place)

    decide(place, problem.id, "write-off")
    for _ in range(3):
        run(place)
        clock.forward(minutes=5)

    assert s.levels(world)["inspection"] == 2
    assert s.moved(place) == [("received", 4), ("restocked", 1), ("written_off", 1)]
    assert s.open_codes(place) == []
    assert credited(world) == ["-12.00"]

    take(place, Entry("R1", "MUG", "wrong_item", "2", "k3"))
    run(place)
    (more,) = s.open_exceptions(place)
    assert s.levels(world)["inspection"] == 2
    decide(place, more.id, "write-off")
    run(place)

    assert s.levels(world)["inspection"] == 0
    assert s.moved(place)[-1] == ("written_off", 2)


def test_what_was_never_booked_in_can_not_be_written_off(desk: Desk, world: World) -> None:
    sold(world)
    returned(world)
    place = desk()
    run(place)
    take(place, Entry("R1", "CAP", "unexpected", "1", "k1"))
    run(place)
    (problem,) = s.open_exceptions(place)

    with pytest.raises(RulingRefused, match="nothing of CAP was booked into stock"):
        decide(place, problem.id, "write-off")

    assert s.open_codes(place) == ["UNEXPECTED_ITEM"]


def test_a_return_shows_for_each_line_what_was_announced_received_and_accepted(
    desk: Desk, world: World, ask_store: Ask, database_url: str
) -> None:
    sold(world)
    returned(world)
    place = desk()
    run(place)
    take(
        place,
        Entry("R1", "MUG", "sellable", "2", "k1"),
        Entry("R1", "MUG", "missing", "1", "k2"),
        Entry("R1", "CAP", "unexpected", "1", "k3"),
    )
    run(place)

    story = ask_store(database_url, "returns", "show", "R1", "--json").json
    text = ask_store(database_url, "returns", "show", "R1").out

    (line,) = story["lines"]
    assert (line["quantity"], line["received_quantity"], line["accepted_quantity"]) == (4, 3, 2)
    assert [(f["sku"], f["condition"]) for f in story["findings"]] == [
        ("MUG", "sellable"),
        ("MUG", "missing"),
        ("CAP", "unexpected"),
    ]
    header = next(row for row in text.splitlines() if "announced" in row)
    assert header.split()[:4] == ["SKU", "announced", "received", "accepted"]
    values = next(row for row in text.splitlines()[text.splitlines().index(header) + 1 :] if "MUG" in row)
    assert values.split()[:4] == ["MUG", "4", "3", "2"]
