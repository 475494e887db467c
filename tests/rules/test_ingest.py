"""Reading both systems as they are: again, late, malformed, slow, refusing, or not there at all."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from swapsync.jobs.cycle import RunRecord, run_sites
from swapsync.jobs.workplace import Workplace
from swapsync.sandbox.faults import Fault
from swapsync.sandbox.world import World, swap_time, variant_row
from swapsync.store.db import table
from swapsync.store.staging import returns
from swapsync.store.tables import RawRecord
from tests.conftest import Desk, FixedClock, run
from tests.rules import scenario as s

LIST = "/v2/external/returns"
ONCE = {"swap:R1:credit:1": "-48.00"}


def failed(records: dict[str, RunRecord]) -> set[str]:
    return {name for name, record in records.items() if record.status != "ok"}


def kept(place: Workplace, stream: str) -> int:
    raw = table(RawRecord)
    with place.store.reading() as connection:
        return int(connection.execute(select(func.count()).where(raw.c.stream == stream)).scalar_one())


def staged_ids(place: Workplace) -> set[str]:
    with place.store.reading() as connection:
        return set(connection.execute(select(returns.c.return_id)).scalars())


# -- again, late, after a long time


def test_a_row_that_is_read_again_changes_nothing_and_is_kept_once(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.returned(world)
    place = desk()
    run(place)

    for _ in range(2):
        clock.forward(minutes=1)
        records = run(place)
        assert (records["poll_returns"].read, records["poll_returns"].changed) == (1, 0)
        assert records["reconcile"].changed == 0
    assert kept(place, "swap.returns") == 1

    world.swap.change_return("R1", delivery_status="Delivered")
    assert run(place)["poll_returns"].changed == 1
    assert kept(place, "swap.returns") == 2


def test_nothing_is_lost_in_seventy_two_hours_of_downtime(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.returned(world)
    place = desk()
    run(place)

    for hour in range(72):
        clock.forward(hours=1)
        s.order(world, platform_id=f"60{hour:02}", visible=f"#60{hour:02}", placed=clock.now())
        numbered = {"return_id": f"N{hour}", "rma_number": f"RMA-N{hour}", "created": clock.now()}
        named = {"order_id": f"60{hour:02}", "order_name": f"#60{hour:02}"}
        s.returned(world, **(s.APPROVED | numbered | named | {"closed": clock.now()}))
    world.swap.change_return("R1", return_status="Cancelled")
    run(place)

    assert [s.credits(world, f"60{hour:02}") for hour in range(72)] == [
        {f"swap:N{hour}:credit:1": "-48.00"} for hour in range(72)
    ]
    assert s.tokens(world) == ["swap:R1:authorised:1", "swap:R1:cancelled:1"]


@pytest.mark.parametrize("seconds", [0, 1, 600])
def test_a_row_that_arrives_late_behind_the_watermark_is_not_missed(
    desk: Desk, world: World, clock: FixedClock, seconds: int
) -> None:
    s.order(world)
    s.returned(world, updated=s.CLOSED)
    place = desk()
    run(place, "poll_returns")

    late = s.CLOSED - timedelta(seconds=seconds)
    s.second(world, **(s.APPROVED | {"closed": None}), updated=late)
    clock.forward(minutes=5)
    run(place)

    assert s.credits(world) == {"swap:R2:credit:1": "-48.00"}


def test_an_order_that_arrives_late_behind_the_watermark_is_not_missed(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world, platform_id="5002", visible="#1002", updated=s.CLOSED)
    s.returned(world, **s.APPROVED, order_id="")
    place = desk()
    run(place)

    s.order(world, updated=s.CLOSED - timedelta(seconds=600))
    clock.forward(minutes=5)
    run(place)

    assert s.credits(world) == ONCE


def test_a_return_that_comes_before_its_order_is_settled_when_the_order_comes(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.returned(world, **s.APPROVED)
    place = desk()
    run(place)
    assert s.open_codes(place) == ["ORPHANED_RETURN"]

    clock.forward(minutes=5)
    s.order(world, placed=clock.now())
    run(place)

    assert s.credits(world) == ONCE


def test_a_site_reads_as_far_back_as_it_is_told_on_its_first_run(desk: Desk, world: World, clock: FixedClock) -> None:
    for number, days in enumerate((9, 11)):
        at = clock.now() - timedelta(days=days)
        s.returned(world, return_id=f"R{number}", rma_number=f"RMA-{number}", created=at)
    place = desk(history_days="10")

    run(place, "poll_returns")

    assert staged_ids(place) == {"R0"}


# -- rows that can't be read


@s.one_store_is_enough
@pytest.mark.parametrize(
    ("spoilt", "says"),
    [
        ({"return_id": None}, "return_id"),
        ({"return_id": ""}, "return_id"),
        ({"date_updated": "2026-03-05T09:00:00"}, "date_updated"),
        ({"date_updated": "yesterday"}, "date_updated"),
        ({"products": "none"}, "products"),
        ({"products": [{"sku": "MUG"}]}, "line 1"),
        ({"products": [s.back() | {"item_count": -1}]}, "item_count"),
        ({"products": [s.back() | {"item_count": 1.5}]}, "item_count"),
        ({"order_id": None, "shopify_order_name": None}, "order_id"),
    ],
)
def test_a_malformed_return_costs_only_itself(desk: Desk, world: World, spoilt: dict[str, Any], says: str) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    s.second(world)
    world.swap.put_return(world.swap.get_return("R2") | spoilt, malformed=True)
    if "return_id" in spoilt:
        world.swap.delete_return("R2")
    place = desk()

    records = run(place)

    assert failed(records) == set()
    assert s.credits(world) == ONCE
    (exception,) = s.open_exceptions(place)
    assert (exception.code, says in exception.detail) == ("MALFORMED_RECORD", True)
    assert kept(place, "swap.returns.malformed") == 1
    assert staged_ids(place) == {"R1"}


def test_figures_that_can_not_be_read_hold_only_their_own_return(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    s.second(world, **s.APPROVED)
    row = world.swap.get_return("R2") | {"total_refund_value_customer_currency": "some"}
    world.swap.put_return(row, malformed=True)
    place = desk()

    run(place)

    assert s.credits(world) == ONCE
    assert s.open_codes(place, "R2") == ["UNKNOWN_VALUE"]


def test_a_malformed_order_costs_only_itself(desk: Desk, world: World) -> None:
    world.record_bodies = False
    s.order(world)
    s.order(world, s.sold() | {"quantity": "a few"}, platform_id="5002", visible="#1002")
    s.returned(world, **s.APPROVED)
    s.second(world, **s.APPROVED, order_id="5002", order_name="#1002")
    place = desk()

    records = run(place)

    assert failed(records) == set()
    assert s.credits(world) == ONCE
    assert s.open_codes(place) == ["MALFORMED_RECORD"]


def test_a_malformed_order_in_the_list_costs_only_itself(desk: Desk, world: World) -> None:
    world.record_bodies = False
    s.order(world)
    s.order(world, platform_id="5002", visible="#1002", dates={"updated_at": "2026-03-05T09:00:00+00:00"})
    world.sparklayer.change_purchase("5002", purchase_identifiers={"sparklayer": " ", "platform": " "})
    s.returned(world, **s.APPROVED)
    place = desk()

    records = run(place)

    assert failed(records) == set()
    assert s.credits(world) == ONCE
    assert s.open_codes(place) == ["MALFORMED_RECORD"]


def test_a_malformed_variant_costs_only_itself(desk: Desk, world: World) -> None:
    world.record_bodies = False
    s.order(world, s.sold("MUG"), s.sold("CUP"))
    world.sparklayer.put_variant(variant_row("v-MUG", "MUG"))
    world.sparklayer.change_variant("v-MUG", id="v-MUG", external_id=" ")
    world.sparklayer.put_variant(variant_row("v-CUP", "CUP-2026"))
    s.returned(world, s.back("CUP-2026", line_item_id=None, variant_id=None), **s.APPROVED)
    place = desk()

    records = run(place)

    assert failed(records) == set()
    assert s.credits(world) == ONCE


def test_a_malformed_customer_costs_only_what_it_would_have_told(desk: Desk, world: World) -> None:
    world.record_bodies = False
    s.order(world)
    s.order(world, platform_id="5002", visible="#1002", by="second@acme.example")
    customer = world.sparklayer.find_customer("email", s.BUYER)
    assert customer is not None
    world.sparklayer.put_customer(customer)
    world.sparklayer._customers[customer["id"]]["id"] = " "
    s.returned(world, **s.APPROVED)
    s.second(world, **s.APPROVED, order_id="5002", order_name="#1002", customer_email="second@acme.example")
    place = desk()

    records = run(place)

    assert failed(records) == set()
    assert len(s.credits(world, "5002")) == 1


# -- nobody there, somebody else there, too much asked


def test_swap_that_is_down_fails_its_job_and_no_other_and_loses_nothing(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    run(place, "poll_returns")
    s.second(world, updated=clock.now())
    world.faults.add(Fault(kind="lost_reply_before", side="swap", times=None))

    records = run(place)

    assert failed(records) == {"poll_returns"}
    assert s.credits(world) == ONCE
    world.faults.clear()
    clock.forward(minutes=5)
    assert failed(run(place)) == set()
    assert staged_ids(place) == {"R1", "R2"}


def test_sparklayer_that_is_down_does_not_stop_the_reading_of_swap(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    world.faults.add(Fault(kind="status", status=503, side="sparklayer", times=None))

    records = run(place)

    assert failed(records) == {"poll_orders", "poll_skus"}
    assert staged_ids(place) == {"R1"}
    assert s.documents(place) == []
    world.faults.clear()
    clock.forward(minutes=5)
    assert failed(run(place)) == set()
    assert s.credits(world) == ONCE


@s.one_store_is_enough
@pytest.mark.parametrize(
    ("setting", "jobs"),
    [
        ("swap_api_key", {"poll_returns"}),
        ("sparklayer_client_secret", {"poll_orders", "poll_skus"}),
    ],
)
def test_a_wrong_key_fails_its_jobs_and_names_the_setting_and_never_the_secret(
    desk: Desk, world: World, setting: str, jobs: set[str]
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk(**{setting: "wr0ng-s3cret"})

    records = run(place)

    assert failed(records) == jobs
    assert all(setting in str(records[job].error) for job in jobs)
    assert not any("wr0ng-s3cret" in str(record) for record in records.values())
    assert s.writes(world) == []
    refused = [call for call in world.exchanges if call.status == 401]
    assert len(refused) == len(jobs), "the same wrong key is not tried again and again"


@s.one_store_is_enough
@pytest.mark.parametrize("kind", ["html", "truncated", "cut_off", "lost_reply_before"])
@pytest.mark.parametrize(("path", "job"), [(LIST, "poll_returns"), ("/api/v1/purchases", "poll_orders")])
def test_an_answer_that_is_not_one_fails_the_job_and_is_read_again_next_time(
    desk: Desk, world: World, clock: FixedClock, kind: Any, path: str, job: str
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    world.faults.add(Fault(kind=kind, method="GET", path_contains=path, times=2))

    assert failed(run(place)) == {job}
    assert s.money_writes(world) == []
    clock.forward(minutes=5)
    assert failed(run(place)) == set()

    assert s.credits(world) == ONCE


@s.one_store_is_enough
@pytest.mark.parametrize("kind", ["html", "truncated", "cut_off", "lost_reply_before"])
def test_a_single_such_answer_is_asked_for_again_at_once(desk: Desk, world: World, kind: Any) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    world.faults.add(
        Fault(kind=kind, method="GET", path_contains=LIST), Fault(kind=kind, method="GET", path_contains="/purchases")
    )

    assert failed(run(desk())) == set()
    assert s.credits(world) == ONCE


@s.one_store_is_enough
@pytest.mark.parametrize("after", [0, 1, 2, 4, 6])
def test_a_token_that_expires_in_the_middle_of_a_run_is_renewed(desk: Desk, world: World, after: int) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    world.faults.add(Fault(kind="token_expired", after=after))

    records = run(place)

    assert failed(records) == set()
    assert s.credits(world) == ONCE
    assert s.tokens(world) == ["swap:R1:authorised:1", "swap:R1:received:1", "swap:R1:credited:1"]
    assert s.levels(world)["inspection"] == 4
    assert s.open_codes(place) == []


def test_a_token_is_renewed_before_its_time_is_up(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    run(place, "poll_orders")

    clock.forward(seconds=3590)
    run(place)

    assert len(world.calls("POST", "/auth/token")) == 2
    assert [call for call in world.exchanges if call.status == 401] == []


@s.one_store_is_enough
@pytest.mark.parametrize("retry_after", [30, "Tue, 10 Mar 2026 12:00:30 GMT"])
@pytest.mark.parametrize("path", [LIST, "/api/v1/purchases", "/transactions"])
def test_who_asks_too_much_waits_as_long_as_he_is_told(
    desk: Desk, world: World, clock: FixedClock, retry_after: int | str, path: str
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    start = clock.now()
    world.faults.add(Fault(kind="status", status=429, retry_after=retry_after, path_contains=path))

    records = run(desk())

    assert failed(records) == set()
    hit = next(number for number, call in enumerate(world.exchanges) if call.status == 429)
    assert world.exchanges[hit + 1].when - start == timedelta(seconds=30)
    assert s.credits(world) == ONCE
    assert s.levels(world)["inspection"] == 4
    assert len(s.tokens(world)) == 3


def test_a_note_is_not_kept_waiting_but_left_to_a_run_after_the_time_that_was_asked_for(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    world.faults.add(Fault(kind="status", status=429, retry_after=30, path_contains="/history"))

    assert failed(run(place)) == set()
    sent = len(world.calls("POST", "/history"))
    clock.forward(seconds=29)
    run(place, "push_status")
    assert len(world.calls("POST", "/history")) == sent

    clock.forward(seconds=1)
    run(place, "push_status")
    assert len(s.tokens(world)) == 3


@s.one_store_is_enough
@pytest.mark.parametrize("restock_on", ["inspected", "swap_approved"])
def test_a_stock_level_is_not_kept_waiting_either_and_nothing_of_stock_is_sent_before_that_time(
    desk: Desk, world: World, clock: FixedClock, restock_on: str
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk(restock_on=restock_on)
    world.faults.add(Fault(kind="status", status=429, retry_after=300, path_contains="/batch-update-stock"))

    records = run(place)
    assert failed(records) == {"push_restocks"}, "else nobody would hear of it if it lasted"
    assert "what is left is for a later run" in str(records["push_restocks"].error)
    sent = len(s.stock_writes(world))
    clock.forward(seconds=299)
    run(place, "push_restocks")
    assert len(s.stock_writes(world)) == sent

    clock.forward(seconds=1)
    assert failed(run(place, "push_restocks")) == set()
    levels = s.levels(world)
    assert (levels["inspection"], levels.get("default") or 0) == ((4, 0) if restock_on == "inspected" else (0, 4))


def test_a_long_wait_is_left_to_a_later_run_and_nothing_is_sent_before(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    world.faults.add(Fault(kind="status", status=429, retry_after=7200, path_contains="/transactions"))
    start = clock.now()
    run(place)
    assert clock.now() - start < timedelta(minutes=1)

    clock.forward(minutes=119)
    run(place)
    assert len(world.calls("PUT", "/transactions")) == 1
    clock.forward(minutes=2)
    run(place)

    assert s.credits(world) == ONCE


@s.one_store_is_enough
@pytest.mark.parametrize(("status", "with_body"), [(500, True), (502, False), (503, True), (504, False)])
def test_a_server_error_is_tried_again(desk: Desk, world: World, status: int, with_body: bool) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    for path in (LIST, "/api/v1/purchases", "/transactions"):
        world.faults.add(Fault(kind="status", status=status, with_body=with_body, path_contains=path))

    assert failed(run(desk())) == set()
    assert s.credits(world) == ONCE


# -- writing, with every reply lost once


@pytest.mark.parametrize("kind", ["lost_reply_before", "lost_reply_after"])
def test_with_every_reply_to_a_write_lost_once_each_effect_still_happens_once(
    desk: Desk, world: World, clock: FixedClock, kind: Any
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    world.sparklayer.set_level("MUG", "default", 20)
    place = desk(restock_on="swap_approved")
    for path in ("/transactions", "/history", "/batch-update-stock"):
        for number in range(0, 8, 2):
            world.faults.add(
                Fault(kind=kind, path_contains=path, after=number, method="PUT" if "trans" in path else "POST")
            )

    for _ in range(10):
        run(place)
        clock.forward(minutes=90)

    assert s.credits(world) == ONCE
    assert world.sparklayer.balance(s.BUYER) == 952
    assert s.tokens(world) == ["swap:R1:authorised:1", "swap:R1:received:1", "swap:R1:credited:1"]
    assert s.levels(world) == {"inspection": 0, "default": 24, "damaged": None}
    assert s.undelivered(place) == []
    assert s.open_codes(place) == []


# -- several merchants


def test_one_sites_wrong_key_touches_no_other_site(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    bad, good = desk("bad", swap_api_key="wrong", sparklayer_client_secret="wrong"), desk("good")

    reports = {
        report.site: report
        for report in run_sites(
            [bad.site, good.site], good.store, clock, ("poll_returns", "poll_orders", "reconcile", "push_credits")
        )
    }

    assert (reports["bad"].failed, reports["good"].failed) == (True, False)
    assert s.credits(world) == ONCE
    assert s.documents(bad) == []


def test_everything_stored_carries_its_site(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    here, there = desk("here"), desk("there", push_credits="false", push_status="false", push_restocks="false")
    run(here)

    assert s.documents(there) == []
    assert s.all_exceptions(there) == []
    world.swap.change_return("R1", customer_currency="EUR", date_updated=swap_time(clock.now()))
    run(there)
    assert s.open_codes(there) == ["CURRENCY_MISMATCH"]
    assert s.open_codes(here) == []
