"""The warehouse's findings: each once, never more than announced, each wrong row named."""

from sqlalchemy import select

from swapsync.jobs.inspection import Entry, Intake, read_file, record_findings
from swapsync.jobs.workplace import Workplace
from swapsync.sandbox.world import World
from swapsync.store.cases import findings
from tests.conftest import Desk, run
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
