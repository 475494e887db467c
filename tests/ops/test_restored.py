"""The danger of a restore: what was done since the backup is not done a second time."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from swapsync.connectors.reading import shown
from swapsync.connectors.sparklayer import OrderRef
from swapsync.jobs.corrections import VoidRefused, void_credit_note
from swapsync.jobs.restored import mark_restored
from swapsync.jobs.rulings import RulingRefused, rule
from swapsync.jobs.workplace import Workplace
from swapsync.sandbox.faults import Fault
from swapsync.sandbox.world import World
from swapsync.store import outbox
from swapsync.store.backup import LastKnown, back_up, restore
from swapsync.store.cases import credit_notes
from swapsync.store.db import Store
from tests.conftest import Desk, FixedClock, run
from tests.rules import scenario as s

Restore = Callable[[], Workplace]


@pytest.fixture
def backed_up(desk: Desk, store: Store, tmp_path: Path, clock: FixedClock) -> Callable[[], Restore]:
    """Backs the store up; what it returns restores it, a day later, and opens the desk again."""

    def back() -> Restore:
        file = tmp_path / "backup.db"
        back_up(store, file)

        def put_back() -> Workplace:
            clock.forward(days=1)
            store.close()

            def mark(copy: Store, known: Mapping[str, LastKnown]) -> None:
                mark_restored(copy, clock.now(), "kim", known=known)

            restore(Path(str(store.engine.url.database)), file, clock.now(), mark)
            clock.forward(minutes=1)
            return desk()

        return put_back

    return back


def returned_and_received(world: World, place: Workplace) -> None:
    s.order(world)
    s.returned(world, **s.DELIVERED)
    run(place)


def outside(world: World) -> tuple[object, ...]:
    """Everything that money, sellable stock and notes come to on the other side."""
    return s.credits(world), s.levels(world)["default"], s.tokens(world), world.sparklayer.balance(s.BUYER)


@s.one_store_is_enough
def test_a_site_whose_first_run_came_after_the_backup_looks_first_too(
    world: World, desk: Desk, store: Store, tmp_path: Path, clock: FixedClock
) -> None:
    back_up(store, tmp_path / "empty.db")
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk(restock_on="swap_approved")
    run(place)
    before = outside(world)
    assert len(s.credits(world)) == 1
    cut_over = place.effects_from
    clock.forward(days=1)
    store.close()
    where = Path(str(store.engine.url.database))
    restore(
        where,
        tmp_path / "empty.db",
        clock.now(),
        lambda copy, known: mark_restored(copy, clock.now(), "kim", known=known),
    )

    place = desk(restock_on="swap_approved")
    run(place)

    assert outside(world) == before
    assert place.effects_from == cut_over
    assert s.open_codes(place) == ["RESTOCK_UNCERTAIN"]


@s.one_store_is_enough
def test_credit_restock_and_note_that_the_store_forgot_are_not_made_again(
    desk: Desk, world: World, clock: FixedClock, backed_up: Callable[[], Restore]
) -> None:
    world.sparklayer.set_level("MUG", "default", 20)
    returned_and_received(world, desk())
    put_back = backed_up()
    s.found(desk(), "sellable", 4)
    run(desk())
    done = outside(world)
    assert done[0] == {"swap:R1:credit:1": "-48.00"}
    assert s.levels(world)["default"] == 24

    place = put_back()
    run(place)
    s.found(place, "sellable", 4)
    for _ in range(3):
        clock.forward(hours=2)
        run(place)

    assert outside(world) == done
    assert s.open_codes(place) == ["RESTOCK_DRIFT", "RESTOCK_UNCERTAIN"]  # here the units still wait in inspection
    assert [(note.number, note.state) for note in s.documents(place)] == [("CN-000001", "delivered")]
    assert s.document_lines(place) == [("MUG", 4, 4000, 800)]
    [told] = [event for event in s.trail(place) if event.kind == "credit_note_renumbered"]
    assert (told.before, told.after) == ('{"credit_note":"CN-000002"}', '{"credit_note":"CN-000001"}')
    void_credit_note(place.store, place.site, "CN-000001", reason="wrong", actor="kim", now=clock.now())
    run(place)
    there = world.sparklayer.transactions("5001")
    assert [each["full_transaction"]["credit_note"] for each in there] == ["CN-000001", "CN-000003"]


@s.one_store_is_enough
def test_a_credit_that_was_overtaken_before_the_backup_is_looked_for_and_not_sent(
    desk: Desk, world: World, clock: FixedClock, backed_up: Callable[[], Restore]
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    run(desk(), "poll_returns", "poll_orders", "reconcile")
    place = backed_up()()
    s.returned(world, **(s.APPROVED | {"return_status": "Cancelled", "updated": clock.now()}))
    for _ in range(3):
        run(place)
        clock.forward(hours=2)

    assert s.credits(world) == {}
    assert s.open_codes(place) == ["RETURN_CHANGED_AFTER_CREDIT"]


@s.one_store_is_enough
def test_of_two_credits_that_stand_there_under_one_number_one_takes_it_and_the_other_is_a_persons_to_decide(
    desk: Desk, world: World, clock: FixedClock, backed_up: Callable[[], Restore]
) -> None:
    for n, name in ((1, "5001"), (2, "5002")):
        s.order(world, platform_id=name, visible=f"#{name}")
        s.returned(
            world,
            **(
                s.DELIVERED
                | {"return_id": f"R{n}", "rma_number": f"RMA-{n}", "order_id": name, "order_name": f"#{name}"}
            ),
        )
    run(desk())
    put_back = backed_up()
    for n in (1, 2):
        s.found(desk(), "sellable", 4, rma=f"RMA-{n}")
    run(desk())
    [second] = world.sparklayer.transactions("5002")
    key = world.sparklayer.find_purchase("platform", "5002")
    assert key
    world.sparklayer.put_transaction(
        key, second | {"full_transaction": second["full_transaction"] | {"credit_note": "CN-000001"}}
    )
    place = put_back()
    for n in (1, 2):
        s.found(place, "sellable", 4, rma=f"RMA-{n}")
    for _ in range(2):
        run(place)
        clock.forward(hours=2)

    assert [(note.number, note.state) for note in s.documents(place)] == [
        ("CN-000001", "delivered"),
        ("CN-000004", "pending"),
    ]
    assert s.open_codes(place).count("CREDIT_MISALIGNED") == 1


@s.one_store_is_enough
@pytest.mark.parametrize("number", ["CN-000041", "INV-7", "CN-41'", "CN-0000041", "CN-٠٠٠٠٤١"])
def test_a_credit_that_stands_there_under_anothers_number_is_a_persons_to_decide(
    desk: Desk, world: World, clock: FixedClock, backed_up: Callable[[], Restore], number: str
) -> None:
    returned_and_received(world, desk())
    put_back = backed_up()
    s.found(desk(), "sellable", 4)
    run(desk())
    place = put_back()
    [transaction] = world.sparklayer.transactions("5001")
    key = world.sparklayer.find_purchase("platform", "5001")
    assert key
    world.sparklayer.put_transaction(
        key, transaction | {"full_transaction": transaction["full_transaction"] | {"credit_note": number}}
    )
    with place.store.transaction() as connection:
        row = {"number": "CN-000041", "platform_id": "swap:R9:credit:1", "return_id": "R9", "issued_at": clock.now()}
        connection.execute(credit_notes.insert().values(site="default", state="delivered", **row))

    s.found(place, "sellable", 4)
    run(place)

    [held] = [row for row in s.open_exceptions(place) if row.code == "CREDIT_MISALIGNED"]
    assert f"is credit note {shown(number)} there, which is another one here or none of ours" in held.detail
    assert [note.state for note in s.documents(place) if note.return_id == "R1"] == ["pending"]


@s.one_store_is_enough
def test_the_same_with_a_decision_that_was_in_the_backup_and_delivered_after_it(
    desk: Desk, world: World, clock: FixedClock, backed_up: Callable[[], Restore]
) -> None:
    world.sparklayer.set_level("MUG", "default", 20)
    returned_and_received(world, desk())
    s.found(desk(), "sellable", 4)
    run(desk(), "reconcile")
    put_back = backed_up()
    run(desk())
    done = outside(world)

    place = put_back()
    run(place, "push_restocks")  # before anything is read again
    for _ in range(3):
        run(place)
        clock.forward(hours=2)

    assert outside(world) == done
    assert s.open_codes(place) == ["RESTOCK_UNCERTAIN"]


@s.one_store_is_enough
@pytest.mark.parametrize(("action", "level"), [("written", 24), ("not-written", 28)])
def test_a_person_decides_whether_the_restock_was_made(
    desk: Desk, world: World, backed_up: Callable[[], Restore], clock: FixedClock, action: str, level: int
) -> None:
    world.sparklayer.set_level("MUG", "default", 20)
    returned_and_received(world, desk())
    put_back = backed_up()
    s.found(desk(), "sellable", 4)
    run(desk())
    place = put_back()
    s.found(place, "sellable", 4)
    run(place)
    (held,) = s.open_exceptions(place)

    rule(place.store, held.id, action, actor="kim", now=clock.now())
    for _ in range(2):
        clock.forward(hours=2)
        run(place)

    assert s.levels(world) == {"inspection": 0, "default": level, "damaged": None}
    assert s.open_codes(place) == []


@s.one_store_is_enough
def test_findings_entered_again_in_another_partition_credit_nothing_until_a_person_decides(
    desk: Desk, world: World, clock: FixedClock, backed_up: Callable[[], Restore]
) -> None:
    returned_and_received(world, desk())
    put_back = backed_up()
    for _ in range(2):
        s.found(desk(), "sellable", 2)
        run(desk())
    two = {"swap:R1:credit:1": "-24.00", "swap:R1:credit:2": "-24.00"}
    assert s.credits(world) == two

    place = put_back()
    s.found(place, "sellable", 4)
    for _ in range(3):
        run(place)
        clock.forward(hours=2)
    assert s.credits(world) == two
    (held,) = [row for row in s.open_exceptions(place) if row.code == "CREDIT_MISALIGNED"]
    assert 'this store knows nothing of swap:R1:credit:2 of "-24.00"' in held.detail
    assert 'swap:R1:credit:1 is "-24.00" there and -48.00 here' in held.detail

    rule(place.store, held.id, "accept", actor="kim", now=clock.now())
    for _ in range(2):
        clock.forward(hours=2)
        run(place)
    assert s.credits(world) == two
    assert "CREDIT_MISALIGNED" not in s.open_codes(place)
    [note] = s.documents(place)
    assert note.state == "delivered"

    with pytest.raises(VoidRefused, match="was accepted in place of CN-"):
        void_credit_note(place.store, place.site, note.number, reason="wrong", actor="kim", now=clock.now())


@s.one_store_is_enough
def test_what_stood_there_as_our_credit_note_says_can_be_voided_although_other_credits_were_accepted(
    desk: Desk, world: World, clock: FixedClock, backed_up: Callable[[], Restore]
) -> None:
    returned_and_received(world, desk())
    s.found(desk(), "sellable", 1)
    run(desk())
    put_back = backed_up()
    for quantity in (1, 2):
        s.found(desk(), "sellable", quantity)
        run(desk())
    place = put_back()
    s.found(place, "sellable", 3)
    run(place)
    [held] = [row for row in s.open_exceptions(place) if row.code == "CREDIT_MISALIGNED"]
    rule(place.store, held.id, "accept", actor="kim", now=clock.now())
    known, accepted = s.documents(place)

    void_credit_note(place.store, place.site, known.number, reason="wrong", actor="kim", now=clock.now())
    with pytest.raises(VoidRefused, match=f"was accepted in place of {accepted.number}"):
        void_credit_note(place.store, place.site, accepted.number, reason="wrong", actor="kim", now=clock.now())


@s.one_store_is_enough
def test_what_stands_there_is_not_taken_for_a_void(
    desk: Desk, world: World, clock: FixedClock, backed_up: Callable[[], Restore]
) -> None:
    returned_and_received(world, desk())
    s.found(desk(), "sellable", 2)
    run(desk())
    put_back = backed_up()
    s.found(desk(), "sellable", 1)
    run(desk())
    place = put_back()
    [known] = s.documents(place)
    void_credit_note(place.store, place.site, known.number, reason="wrong", actor="kim", now=clock.now())
    run(place)
    [held] = [row for row in s.open_exceptions(place) if row.code == "CREDIT_MISALIGNED"]

    with pytest.raises(RulingRefused, match="only a void waits"):
        rule(place.store, held.id, "accept", actor="kim", now=clock.now())

    key = world.sparklayer.find_purchase("platform", "5001")
    assert key
    del world.sparklayer._transactions[key]["swap:R1:credit:2"]
    clock.forward(hours=2)
    run(place)
    assert set(s.credits(world)) == {"swap:R1:credit:1", "swap:R1:void:1"}
    assert "CREDIT_MISALIGNED" not in s.open_codes(place)


@s.one_store_is_enough
def test_what_had_been_withdrawn_does_not_count_as_delivered_when_a_person_takes_what_stands_there(
    desk: Desk, world: World, clock: FixedClock, backed_up: Callable[[], Restore]
) -> None:
    returned_and_received(world, desk())
    put_back = backed_up()
    for _ in range(2):
        s.found(desk(), "sellable", 2)
        run(desk())
    place = put_back()
    s.found(place, "sellable", 4)
    run(place)
    [held] = [row for row in s.open_exceptions(place) if row.code == "CREDIT_MISALIGNED"]
    with place.store.transaction() as connection:
        assert outbox.withdraw_credits(connection, "default", "R1") == [], "some worker may have sent it"
        connection.execute(outbox.outbox.update().where(outbox.outbox.c.kind == "credit").values(state="withdrawn"))
        connection.execute(credit_notes.update().values(state="void"))

    rule(place.store, held.id, "accept", actor="kim", now=clock.now())

    assert [note.state for note in s.documents(place)] == ["void"]


@s.one_store_is_enough
def test_findings_entered_again_as_they_were_agree_by_themselves(
    desk: Desk, world: World, clock: FixedClock, backed_up: Callable[[], Restore]
) -> None:
    returned_and_received(world, desk())
    put_back = backed_up()
    for _ in range(2):
        s.found(desk(), "sellable", 2)
        run(desk())
    done = s.credits(world)

    place = put_back()
    s.found(place, "sellable", 2)
    run(place)
    assert "CREDIT_MISALIGNED" in s.open_codes(place)
    clock.forward(days=7)
    s.found(place, "sellable", 2)
    run(place)
    clock.forward(hours=2)
    run(place)

    assert s.credits(world) == done
    assert "CREDIT_MISALIGNED" not in s.open_codes(place)
    assert [note.state for note in s.documents(place)] == ["delivered", "delivered"]
    assert len(s.tokens(world)) == len(set(s.tokens(world)))


@s.one_store_is_enough
def test_a_return_that_came_right_before_the_restore_by_a_clock_that_is_ahead_is_looked_for_too(
    desk: Desk, world: World, clock: FixedClock, backed_up: Callable[[], Restore]
) -> None:
    desk()
    put_back = backed_up()
    s.order(world)
    s.returned(world, **(s.DELIVERED | {"created": clock.now() + timedelta(days=1, minutes=4)}))
    run(desk())
    written = s.tokens(world)
    assert len(written) == 2

    run(put_back())

    assert s.tokens(world) == written


@s.one_store_is_enough
def test_a_return_that_came_after_the_restore_goes_its_way(
    desk: Desk, world: World, clock: FixedClock, backed_up: Callable[[], Restore]
) -> None:
    world.sparklayer.set_level("MUG", "default", 20)
    returned_and_received(world, desk())
    place = backed_up()()
    clock.forward(hours=1)
    s.second(world, **(s.DELIVERED | {"created": clock.now()}))
    run(place)
    s.found(place, "sellable", 4, rma="RMA-2")
    run(place)

    assert s.credits(world) == {"swap:R2:credit:1": "-48.00"}
    assert s.levels(world)["default"] == 24
    assert s.open_codes(place) == []


@s.one_store_is_enough
def test_a_parcel_that_came_after_the_restore_is_restocked_without_a_question(
    desk: Desk, world: World, clock: FixedClock, backed_up: Callable[[], Restore]
) -> None:
    world.sparklayer.set_level("MUG", "default", 20)
    s.order(world)
    s.returned(world)
    run(desk())
    place = backed_up()()
    run(place)
    clock.forward(hours=5)
    s.returned(world, **(s.DELIVERED | {"updated": clock.now()}))
    run(place)
    s.found(place, "sellable", 4)
    run(place)

    assert s.levels(world)["default"] == 24
    assert s.open_codes(place) == []


@s.one_store_is_enough
def test_while_the_transactions_cannot_be_read_nothing_is_credited(
    desk: Desk, world: World, clock: FixedClock, backed_up: Callable[[], Restore]
) -> None:
    returned_and_received(world, desk())
    place = backed_up()()
    s.found(place, "sellable", 4)
    world.faults.add(Fault(kind="status", status=503, method="GET", path_contains="/transactions", times=None))
    for _ in range(2):
        run(place)
        clock.forward(hours=2)
    assert s.credits(world) == {}

    world.faults.clear()
    run(place)
    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}


@s.one_store_is_enough
def test_credit_notes_go_on_after_the_numbers_of_the_lost_time(
    desk: Desk, world: World, clock: FixedClock, backed_up: Callable[[], Restore]
) -> None:
    returned_and_received(world, desk())
    put_back = backed_up()
    s.found(desk(), "sellable", 4)
    run(desk())

    place = put_back()
    s.second(world, **(s.APPROVED | {"created": clock.now()}))
    run(place)

    assert [note.number for note in s.documents(place)] == ["CN-000002"]


def test_a_store_restored_by_other_means_is_told_so(desk: Desk, world: World, clock: FixedClock) -> None:
    world.sparklayer.set_level("MUG", "default", 20)
    place = desk()
    returned_and_received(world, place)
    forgotten = {"platform_id": "swap:R1:credit:7", "total_minor": -1200, "currency": "GBP", "details": {}}
    place.sparklayer.put_transaction(OrderRef("platform", "5001"), **forgotten)

    mark_restored(place.store, clock.now(), "kim", known={"default": LastKnown(41, clock.now())})
    clock.forward(minutes=1)
    s.found(place, "sellable", 4)
    run(place)

    assert s.credits(world) == {"swap:R1:credit:7": "-12.00"}
    assert s.levels(world)["default"] == 20
    assert s.open_codes(place) == ["CREDIT_MISALIGNED", "RESTOCK_UNCERTAIN"]
    assert [note.number for note in s.documents(place)] == ["CN-000042"]


def test_a_credit_that_had_been_refused_before_the_backup_may_stand_by_now_and_is_not_withdrawn(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    place = desk()
    returned_and_received(world, place)
    world.faults.add(Fault(kind="status", status=422, path_contains="/transactions"))
    s.found(place, "sellable", 4)
    run(place)
    mark_restored(place.store, clock.now(), "kim", known={})
    clock.forward(hours=1)
    world.swap.change_return("R1", return_status="Cancelled")
    run(place)
    [problem] = [row for row in s.open_exceptions(place) if row.code == "RETURN_CHANGED_AFTER_CREDIT"]
    rule(place.store, problem.id, "deny", actor="kim", now=clock.now())

    assert [note.state for note in s.documents(place)] == ["failed"]
