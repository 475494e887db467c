"""The audit trail: a chain that grows with all that happens, and that shows whoever touched it."""

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.exc import DBAPIError

from swapsync.jobs.inspection import Entry, record_findings
from swapsync.jobs.rulings import comment, rule
from swapsync.jobs.workplace import Workplace
from swapsync.sandbox.world import World, customer_row
from swapsync.store.changes import described
from swapsync.store.db import Store
from swapsync.store.events import Event, Head, Verdict, events, record_events, verify
from swapsync.store.runs import first_run, sites
from tests.conftest import Ask, Desk, FixedClock, run
from tests.rules import scenario as s
from tests.scenario import OTHER, approved, returned, sold


def judged(store: Store, site: str = "default", noted: Head | None = None) -> Verdict:
    with store.reading() as connection:
        return verify(connection, site, noted)


def written(store: Store, clock: FixedClock, *details: str, site: str = "default") -> list[int]:
    """Writes an entry for each detail, each in a transaction of its own; returns the ids of the site's entries."""
    with store.transaction() as connection:
        first_run(connection, site, None, clock.now())
    for detail in details:
        with store.transaction() as connection:
            record_events(connection, site, [Event("staff", "noted", detail, actor="fiona")], clock.now())
        clock.forward(minutes=1)
    return ids(store, site)


def ids(store: Store, site: str = "default") -> list[int]:
    with store.reading() as connection:
        return list(
            connection.execute(select(events.c.id).where(events.c.site == site).order_by(events.c.id)).scalars()
        )


def unlocked(store: Store) -> None:
    """What somebody does who may do anything in the database: takes away what keeps the trail append-only."""
    with store.transaction() as connection:
        if store.is_sqlite:
            for verb in ("update", "delete"):
                connection.execute(text(f"DROP TRIGGER event_no_{verb}"))
        else:
            connection.execute(text("DROP TRIGGER event_append_only ON event"))


def copy(store: Store, id_: int) -> dict[str, Any]:
    with store.reading() as connection:
        return dict(connection.execute(select(events).where(events.c.id == id_)).one()._mapping)


def test_a_cycle_leaves_a_trail_that_is_intact(desk: Desk, world: World, store: Store) -> None:
    sold(world)
    approved(world)
    run(desk())
    verdict = judged(store)
    assert (verdict.fault, verdict.earlier, verdict.head.count) == ("", 0, len(ids(store)))
    assert verdict.head.count > 5


def test_each_site_has_a_chain_of_its_own(store: Store, clock: FixedClock) -> None:
    written(store, clock, "a", "b")
    written(store, clock, "c", site="other")
    written(store, clock, "d")
    assert (judged(store).head.count, judged(store, "other").head.count) == (3, 1)
    assert judged(store).fault == judged(store, "other").fault == ""


def test_no_statement_changes_or_deletes_an_entry(store: Store, clock: FixedClock) -> None:
    written(store, clock, "a")
    for statement in (update(events).values(detail="b"), delete(events)):
        with pytest.raises(DBAPIError, match="append-only"), store.transaction() as connection:
            connection.execute(statement)
    assert judged(store).fault == ""


def changed(store: Store, trail: list[int]) -> None:
    with store.transaction() as connection:
        connection.execute(update(events).where(events.c.id == trail[1]).values(actor="nobody"))


def backdated(store: Store, trail: list[int]) -> None:
    moment = copy(store, trail[0])["at"]
    with store.transaction() as connection:
        connection.execute(update(events).where(events.c.id == trail[1]).values(at=moment))


def removed(store: Store, trail: list[int]) -> None:
    with store.transaction() as connection:
        connection.execute(delete(events).where(events.c.id == trail[1]))


def first_removed(store: Store, trail: list[int]) -> None:
    with store.transaction() as connection:
        connection.execute(delete(events).where(events.c.id == trail[0]))


def last_removed(store: Store, trail: list[int]) -> None:
    with store.transaction() as connection:
        connection.execute(delete(events).where(events.c.id == trail[-1]))


def swapped(store: Store, trail: list[int]) -> None:
    one, other = copy(store, trail[1]), copy(store, trail[2])
    with store.transaction() as connection:
        for row, id_ in ((one, trail[2]), (other, trail[1])):
            connection.execute(update(events).where(events.c.id == id_).values(row | {"id": id_}))


def inserted(store: Store, trail: list[int]) -> None:
    row = copy(store, trail[-1]) | {"id": trail[-1] + 1, "detail": "never happened"}
    with store.transaction() as connection:
        connection.execute(insert(events).values(row))


def inserted_without_a_hash(store: Store, trail: list[int]) -> None:
    row = copy(store, trail[-1]) | {"id": trail[-1] + 1, "hash": "", "previous_hash": ""}
    with store.transaction() as connection:
        connection.execute(insert(events).values(row))


def inserted_with_a_good_hash(store: Store, trail: list[int]) -> None:
    """As swapsync itself would have written it; but the head on the site says that it wasn't."""
    with store.transaction() as connection:
        head = connection.execute(select(sites.c.event_count, sites.c.last_event_hash)).one()
        record_events(connection, "default", [Event("staff", "noted", "forged")], copy(store, trail[-1])["at"])
        connection.execute(update(sites).values(event_count=head.event_count, last_event_hash=head.last_event_hash))


TAMPERING = {
    "an entry changed": (changed, "entry {1} .* was changed"),
    "a moment changed": (backdated, "entry {1} .* was changed"),
    "an entry removed": (removed, "the entry before entry {2} .* was removed"),
    "the first entry removed": (first_removed, "what was written before entry {1} .* removed"),
    "the last entry removed": (last_removed, "4 entries were written and 3 are left"),
    "two entries swapped": (swapped, "entry {1} .* was moved: it was written after entry {2}"),
    "an entry inserted": (inserted, "entry {4} .* was (inserted|changed)"),
    "an entry inserted without a hash": (inserted_without_a_hash, "entry {4} .* was inserted"),
    "an entry inserted with a good hash": (inserted_with_a_good_hash, "entry {4} .* was inserted"),
}


@pytest.mark.parametrize(("tamper", "fault"), TAMPERING.values(), ids=TAMPERING.keys())
def test_the_first_entry_that_is_not_as_it_was_written_is_named(
    store: Store, clock: FixedClock, tamper: Callable[[Store, list[int]], None], fault: str
) -> None:
    trail = written(store, clock, "a", "b", "c", "d")
    unlocked(store)
    tamper(store, trail)
    assert re.search(fault.format(*trail, trail[-1] + 1), judged(store).fault), judged(store).fault


def test_a_trail_that_was_written_anew_is_found_by_a_head_noted_before(store: Store, clock: FixedClock) -> None:
    trail = written(store, clock, "a", "b")
    noted = judged(store).head
    written(store, clock, "c")
    assert judged(store, noted=noted).fault == ""

    unlocked(store)
    with store.transaction() as connection:
        connection.execute(delete(events))
        connection.execute(update(sites).values(event_count=0, last_event_hash=""))
    anew = written(store, clock, "a", "x", "c")

    assert judged(store).fault == ""
    assert f"entry {anew[1]} " in judged(store, noted=noted).fault
    assert "had 9 when" in judged(store, noted=Head(9, noted.hash)).fault
    assert len(trail) == 2


def test_what_an_earlier_version_wrote_is_covered_as_a_whole_by_the_first_entry_of_the_chain(
    store: Store, clock: FixedClock
) -> None:
    with store.transaction() as connection:
        first_run(connection, "default", None, clock.now())
        old = {"site": "default", "at": clock.now(), "source": "swap", "kind": "return_announced", "return_id": "R1"}
        connection.execute(insert(events), [old | {"detail": "a"}, old | {"detail": "b"}])
    written(store, clock, "c", "d")
    assert (judged(store).fault, judged(store).earlier, judged(store).head.count) == ("", 2, 2)

    unlocked(store)
    with store.transaction() as connection:
        connection.execute(update(events).where(events.c.detail == "b").values(detail="x"))
    assert "what was written before entry" in judged(store).fault


def test_an_entry_carries_who_did_it_and_what_was_so_before_and_after(store: Store, clock: FixedClock) -> None:
    with store.transaction() as connection:
        first_run(connection, "default", None, clock.now())
        happened = clock.now() - timedelta(hours=1)
        event = Event(
            *("staff", "ruling", "credit"),
            return_id="R1",
            at=happened,
            actor="fiona",
            exception_id=7,
            before={"settlement": "held"},
            after={"settlement": "due"},
        )
        record_events(connection, "default", [event], clock.now())
    row = copy(store, ids(store)[0])
    assert (row["at"], row["actor"], row["exception_id"]) == (happened, "fiona", 7)
    assert (row["before"], row["after"]) == ('{"settlement":"held"}', '{"settlement":"due"}')


def test_two_workers_write_one_chain(desk: Desk, world: World, store: Store) -> None:
    place = desk()

    def write(worker: Workplace) -> None:
        for n in range(20):
            with worker.store.transaction() as connection:
                record_events(connection, worker.slug, [Event("staff", "noted", str(n))], worker.clock.now())

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, [place, place]))

    assert (judged(store).fault, judged(store).head.count) == ("", 40)


def test_the_command_prints_a_head_to_note_and_fails_when_somebody_touched_the_trail(
    ask_store: Ask, store: Store, database_url: str, clock: FixedClock
) -> None:
    trail = written(store, clock, "a", "b")
    answer = ask_store(database_url, "audit-trail", "verify")
    assert (answer.code, answer.out) == (0, f"default: intact, 2 entries, head {judged(store).head}\n")
    assert ask_store(database_url, "audit-trail", "verify", "--head", str(judged(store).head)).code == 0

    unlocked(store)
    changed(store, trail)

    answer = ask_store(database_url, "audit-trail", "verify", "--json")
    assert answer.code == 3
    (site,) = json.loads(answer.out)
    assert (site["site"], site["intact"]) == ("default", False)
    assert f"entry {trail[1]} " in site["fault"]


def test_a_head_that_is_none_is_refused(ask_store: Ask, store: Store, database_url: str) -> None:
    answer = ask_store(database_url, "audit-trail", "verify", "--head", "yesterday")
    assert (answer.code, "COUNT:HASH" in answer.err) == (2, True)


def test_the_trail_says_what_changed_what_was_decided_and_what_was_written(
    desk: Desk, world: World, store: Store, clock: FixedClock
) -> None:
    sold(world)
    returned(world)
    place = desk()
    run(place)
    world.swap.change_return("ret-1", return_status="Closed", quality_control_status="Approved")
    clock.forward(minutes=5)
    run(place)

    with store.reading() as connection:
        rows = connection.execute(select(events).where(events.c.return_id == "ret-1").order_by(events.c.id)).all()
    told = [(row.kind, row.actor, described(row)) for row in rows]
    assert ("return_changed", "swap", "status open -> closed, QC pending -> approved") in told
    assert ("order_linked", "swapsync", "order (none) -> #5001") in told
    assert any(kind == "decided" and "settlement none -> due" in what for kind, _, what in told)
    assert any(kind == "decided" and "settlement due -> credited" in what for kind, _, what in told)
    assert ("credit_delivered", "swapsync", "state pending -> delivered, total (none) -> -48.00 GBP") in told
    assert sum(kind == "note_written" for kind, _, _ in told) == 3
    assert not any("buyer@shop.example" in row.before + row.after for row in rows)


def test_the_trail_masks_addresses_that_the_exception_names_in_full(
    desk: Desk, world: World, store: Store, clock: FixedClock
) -> None:
    sold(world)
    returned(world, customer_email=OTHER)
    place = desk()
    run(place)
    world.swap.change_return("ret-1", customer_email="third@else.example")
    world.sparklayer.put_customer(customer_row("third@else.example"))
    clock.forward(minutes=5)
    run(place)
    [problem] = s.open_exceptions(place)
    comment(store, problem.id, "asked <jo.o'neil@else.example>, PO@7 is theirs", actor="carla", now=clock.now())

    assert problem.detail.startswith("third@else.example asked for the return")
    with store.reading() as connection:
        rows = connection.execute(select(events).order_by(events.c.id)).all()
    said = "\n".join(row.detail + row.before + row.after for row in rows)
    assert "t…@else.example asked for the return" in said
    assert "asked <j…@else.example>, PO@7 is theirs" in said
    for name in ("third@", "other@", "neil@", "buyer@"):
        assert name not in said


def facts_of(place: Workplace, kind: str) -> list[tuple[str, Any, Any]]:
    """(actor, before, after) of every entry of a kind."""
    return [
        (row.actor, json.loads(row.before or "null"), json.loads(row.after or "null"))
        for row in s.trail(place)
        if row.kind == kind
    ]


def test_stock_is_told_with_where_it_was_and_what_was_written(desk: Desk, world: World, store: Store) -> None:
    sold(world)
    returned(world)
    world.sparklayer.set_level("MUG", "default", 20)
    place = desk()
    run(place)
    found = Entry("R1", "MUG", "sellable", "4", "k1")
    record_findings(store, place.slug, [found], actor="wanda", now=place.clock.now())
    run(place)

    inspected = {"sku": "MUG", "condition": "sellable", "quantity": 4, "turned up": 0}
    assert facts_of(place, "inspected") == [("wanda", None, inspected)]
    units = {"sku": "MUG", "quantity": 4}
    assert facts_of(place, "stock_moved") == [
        ("swapsync", {"location": "outside"}, {"location": "inspection"} | units),
        ("swapsync", {"location": "inspection"}, {"location": "sellable"} | units),
    ]
    assert facts_of(place, "stock_level_set") == [("swapsync", None, {"level": 4})] * 2
    assert facts_of(place, "stock_added") == [
        ("swapsync", {"level": 20, "inspection": 4}, {"level": 24, "inspection": 0}),
    ]


def test_a_stock_location_that_was_created_is_told_with_its_name(desk: Desk, world: World) -> None:
    sold(world)
    returned(world)
    place = desk(inspection_location="returns-desk", create_stock_locations="true")
    run(place)
    [(actor, _, after)] = facts_of(place, "stock_location_created")
    assert (actor, after["location"], bool(after["id"])) == ("swapsync", "returns-desk", True)


def test_a_credit_note_is_told_with_its_total_and_its_lines(desk: Desk, world: World) -> None:
    sold(world)
    approved(world)
    place = desk()
    run(place)
    [(actor, _, issued)] = facts_of(place, "credit_note_issued")
    [line] = [value for name, value in issued.items() if name.startswith("line ")]
    assert (actor, issued["credit_note"], issued["total"], line) == (
        *("swapsync", "CN-000001"),
        *("48.00 GBP", "4 x MUG, 40.00 net and 8.00 tax"),
    )


def test_a_ruling_is_told_with_what_became_of_the_exception(desk: Desk, world: World) -> None:
    sold(world, customer_reference=None, payment_method="barter")
    approved(world)
    place = desk()
    run(place)
    asked = {row.code: row.id for row in s.open_exceptions(place)}
    for code, action, value in (
        ("PO_NUMBER_MISSING", "type-po", "PO-9"),
        ("PAYMENT_METHOD_UNKNOWN", "map", "credit_note"),
    ):
        if code in asked:
            rule(place.store, asked[code], action, value=value, actor="fiona", now=place.clock.now())
    told = {after["action"]: (before["status"], after["status"]) for _, before, after in facts_of(place, "ruling")}
    assert told["map"] == ("open", "open")
    assert told.get("type-po", ("open", "resolved")) == ("open", "resolved")
