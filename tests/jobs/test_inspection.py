"""The warehouse's findings: each once, never more than announced, each wrong row named."""

import pytest
from sqlalchemy import select

from swapsync.jobs.inspection import Entry, Intake, UnreadableFile, read_file, record_findings
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


# -- what was missing and turns up


def test_missing_units_that_turn_up_are_recorded_credited_and_sold_again(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    sold(world)
    returned(world)
    place = desk()
    run(place)
    take(place, Entry("R1", "MUG", "sellable", "2", "k1"), Entry("R1", "MUG", "missing", "2", "k2"))
    run(place)
    assert (s.open_codes(place), s.levels(world)["inspection"]) == (["INSPECTION_SHORT"], 0)

    late = b"rma,sku,condition,quantity\nR1,MUG,sellable,1\nR1,MUG,damaged,1\nR1,MUG,sellable,1\n"
    first = take(place, *read_file(late))
    again = take(place, *read_file(late))
    assert ([len(i.taken) for i in (first, again)], len(again.repeated)) == ([2, 0], 2)
    [(_, reason)] = first.refused
    assert reason == "1 x MUG is more than RMA R1 still expects: 0 not inspected yet"
    run(place)
    run(place)

    assert units_found(place) == [
        ("sellable", 2),
        ("missing", 2),
        ("sellable", 1),
        ("missing", -1),
        ("damaged", 1),
        ("missing", -1),
    ]
    assert credited(world) == ["-24.00", "-12.00"]
    assert s.open_codes(place) == ["INSPECTION_REVIEW"]
    assert s.levels(world) == {"inspection": 0, "damaged": 1, "default": 3}
    assert s.moved(place)[-3:] == [("turned_up", 2), ("damaged", 1), ("restocked", 1)]


def test_what_is_not_inspected_yet_is_taken_before_what_was_missing(desk: Desk, world: World) -> None:
    sold(world)
    returned(world)
    place = desk()
    run(place)
    take(place, Entry("R1", "MUG", "missing", "2", "k1"), Entry("R1", "MUG", "sellable", "3", "k2"))
    assert units_found(place) == [("missing", 2), ("sellable", 3), ("missing", -1)]

    much = take(place, Entry("R1", "MUG", "sellable", "2", "k3"), Entry("R1", "MUG", "missing", "1", "k4"))
    assert [reason for _, reason in much.refused] == [
        "2 x MUG is more than RMA R1 still expects: 0 not inspected yet, 1 recorded missing",
        "1 x MUG is more than RMA R1 still expects: 0 not inspected yet",
    ]
    surplus = take(place, Entry("R1", "MUG", "unexpected", "1", "k5"))
    assert [reason for _, reason in surplus.refused] == [
        "RMA R1 still expects 1 x MUG: say in what condition these are"
    ]


def test_a_return_in_two_parcels_is_inspected_as_they_come(desk: Desk, world: World, clock: FixedClock) -> None:
    """Swap tells of the lines by parcel; what the first lacks is recorded missing, and found in the second."""
    sold(world)
    returned(world)
    row = world.swap.get_return("ret-1")
    [parcel] = row["return_shipments"]
    parcels = [
        parcel | {"shipment_id": name, "items": [parcel["items"][0] | {"item_count": 2, "product_id": name}]}
        for name in ("first", "second")
    ]
    world.swap.put_return(row | {"products": [], "return_shipments": parcels})
    place = desk(settle_on="inspected")
    run(place)
    assert s.levels(world)["inspection"] == 4

    take(place, Entry("R1", "MUG", "sellable", "2", "k1"), Entry("R1", "MUG", "missing", "2", "k2"))
    run(place)
    assert (credited(world), s.open_codes(place)) == (["-24.00"], ["INSPECTION_SHORT"])
    assert s.levels(world) == {"inspection": 0, "damaged": None, "default": 2}

    clock.forward(days=3)
    take(place, Entry("R1", "MUG", "sellable", "2", "k3"))
    run(place)
    assert (credited(world), s.open_codes(place)) == (["-24.00", "-24.00"], [])
    assert s.levels(world) == {"inspection": 0, "damaged": None, "default": 4}


# -- several lines of one SKU


def at_two_prices(desk: Desk, world: World, **fields: str) -> Workplace:
    """One order with a mug for 12.00 and one for 60.00, both delivered."""
    s.order(
        world,
        s.sold(quantity=1, net="10.00", tax="2.00", line_item_id="li-A"),
        s.sold(quantity=1, net=fields.get("net", "50.00"), tax=fields.get("tax", "10.00"), line_item_id="li-B"),
    )
    lines = [s.back(quantity=1, line_item_id=f"li-{name}", product_id=f"line-{name}") for name in "AB"]
    s.returned(world, *lines, total=72, **s.DELIVERED)
    place = desk(amount_tolerance="1000")
    run(place)
    return place


def test_which_line_a_unit_is_of_must_be_said_where_the_prices_differ(desk: Desk, world: World) -> None:
    place = at_two_prices(desk, world)
    intake = take(
        place,
        Entry("RMA-1", "MUG", "sellable", "1", "k1"),
        Entry("RMA-1", "MUG", "missing", "1", "k2", line="line-A"),
        Entry("RMA-1", "MUG", "missing", "1", "k3", line="line-A"),
        Entry("RMA-1", "MUG", "sellable", "1", "k4", line="line-C"),
        Entry("RMA-1", "MUG", "sellable", "1", "k5"),
    )
    assert [reason for _, reason in intake.refused] == [
        "RMA RMA-1 has MUG at different prices: say which line it is, line-A, line-B",
        "1 x MUG is more than RMA RMA-1 still expects: 0 not inspected yet",
        "RMA RMA-1 has no line line-C with SKU MUG, but line-A, line-B",
    ]
    run(place)
    assert s.credits(world) == {"swap:R1:credit:1": "-60.00"}


def test_where_all_of_them_came_or_the_prices_are_equal_nothing_need_be_said(desk: Desk, world: World) -> None:
    place = at_two_prices(desk, world)
    assert take(place, Entry("RMA-1", "MUG", "sellable", "2", "k1")).refused == []
    assert units_found(place) == [("sellable", 1), ("sellable", 1)]


def test_at_one_price_the_first_line_comes_first(desk: Desk, world: World) -> None:
    place = at_two_prices(desk, world, net="10.00", tax="2.00")
    assert take(place, Entry("RMA-1", "MUG", "sellable", "1", "k1")).refused == []


def test_a_file_may_name_the_line(desk: Desk, world: World) -> None:
    place = at_two_prices(desk, world)
    without = read_file(b"rma,sku,condition,quantity\nRMA-1,MUG,sellable,2\n")
    blank = read_file(b"rma,sku,condition,quantity,line\nRMA-1,MUG,sellable,2,\n")
    assert [entry.key for entry in without] == [entry.key for entry in blank], "a column that is added changes no row"
    rows = b"RMA-1,MUG,sellable,1,line-B\nRMA-1,MUG,sellable,1,line-A\n"
    file = read_file(b"rma,sku,condition,quantity,line\n" + rows)
    assert [len(take(place, *file).taken) for _ in range(2)] == [2, 0]
    with pytest.raises(UnreadableFile, match="the header names line twice"):
        read_file(b"rma,sku,condition,quantity,line,line\n")
