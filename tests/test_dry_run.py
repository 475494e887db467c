"""Dry runs: everything that would be written outside is shown, nothing is sent, and nothing is kept."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import SQLModel

from swapsync.connectors.http import WriteRefused
from swapsync.connectors.sparklayer import OrderRef, StockLevelWrite
from swapsync.domain.returns import Condition
from swapsync.jobs.compare import Period, reconcile_sites
from swapsync.jobs.cycle import JOBS, open_workplace
from swapsync.jobs.plan import Plan, add_plan, plan_sites
from swapsync.jobs.workplace import Workplace
from swapsync.sandbox.demo_data import seed_demo
from swapsync.sandbox.server import Sandbox
from swapsync.sandbox.world import World
from swapsync.store import controls, leases, runs
from swapsync.store.db import Store
from swapsync.store.outbox import Kind
from tests.conftest import Desk, FixedClock, run
from tests.rules import scenario as s


def dry(place: Workplace, *jobs: str) -> Plan:
    with place.store.copied() as copy:
        [plan] = plan_sites([place.site], copy, place.clock, jobs or tuple(JOBS))
    return plan


def everything(store: Store) -> dict[str, list[Any]]:
    """All rows of all tables."""
    with store.reading() as connection:
        return {
            each.name: sorted((tuple(row) for row in connection.execute(each.select())), key=repr)
            for each in SQLModel.metadata.sorted_tables
        }


def stock(plan: Plan) -> list[tuple[str, str, int | None, int]]:
    return [
        (write.facts["sku"], write.facts["location"], write.facts["before"], write.facts["after"])
        for write in plan.writes
        if write.kind in (Kind.STOCK_LEVEL, Kind.RESTOCK)
    ]


def test_a_dry_sync_shows_every_write_that_the_real_one_makes(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    world.sparklayer.set_level("MUG", "default", 12)
    place = desk(restock_on="swap_approved")

    plan = dry(place)

    assert {record.job: record.status for record in plan.runs} == dict.fromkeys(
        ("poll_returns", "poll_orders", "poll_skus", "reconcile", "plan"), "ok"
    )
    [credit] = [write for write in plan.writes if write.kind is Kind.CREDIT]
    assert (credit.target, credit.what) == ("order #1001", "credit 48.00 GBP for RMA RMA-1, PO PO-77")
    assert credit.facts["platform_id"] == "swap:R1:credit:1"
    assert stock(plan) == [("MUG", "inspection", None, 0), ("MUG", "default", 12, 16)]
    assert s.writes(world) == []

    run(place)

    assert s.credits(world) == {credit.facts["platform_id"]: credit.facts["total"]}
    assert s.notes(world) == [write.facts["body"] for write in plan.writes if write.kind is Kind.NOTE]
    assert s.levels(world) == {"inspection": 0, "default": 16, "damaged": None}


def test_nothing_at_all_stays_in_the_store(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.returned(world, **s.DELIVERED)
    place = desk()
    run(place)
    world.swap.change_return("R1", return_status="Closed", quality_control_status="Approved", date_closed=None)
    clock.forward(minutes=5)
    before = everything(place.store)

    plan = dry(place)

    assert [write.kind for write in plan.writes].count(Kind.CREDIT) == 1
    assert everything(place.store) == before


def test_the_first_dry_run_of_a_site_does_not_fix_its_cut_over(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk("elsewhere", effects_from="")
    other = place.site.model_copy(update={"slug": "new"})

    with place.store.copied() as copy:
        [plan] = plan_sites([other], copy, clock, tuple(JOBS))

    assert plan.writes == []
    with place.store.reading() as connection:
        slugs = list(connection.execute(runs.sites.select()).mappings())
    assert [row["slug"] for row in slugs] == ["elsewhere"]


def test_what_waits_in_the_outbox_is_in_the_plan_and_still_waits(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    run(place, "poll_returns", "poll_orders", "reconcile")
    waiting = s.undelivered(place)

    assert [write.kind for write in dry(place, "push_credits").writes] == [Kind.CREDIT]
    assert s.undelivered(place) == waiting
    assert s.writes(world) == []


def test_jobs_that_are_not_asked_for_are_neither_run_nor_planned(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    plan = dry(desk(), "poll_returns", "poll_orders", "reconcile", "push_status")
    assert [record.job for record in plan.runs] == ["poll_returns", "poll_orders", "reconcile", "plan"]
    assert {write.kind for write in plan.writes} == {Kind.NOTE}


def test_while_reconcile_is_paused_the_plan_holds_only_what_is_decided_already(
    desk: Desk, world: World, store: Store, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    run(place, "poll_returns", "poll_orders")
    with store.transaction() as connection:
        controls.pause(connection, "default", "reconcile", actor="ada", reason="month-end", now=clock.now())
    assert dry(place).writes == []


def test_what_a_paused_job_would_write_is_not_in_the_plan_which_says_that_it_is_paused(
    desk: Desk, world: World, store: Store, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    with store.transaction() as connection:
        controls.pause(connection, "default", "push_credits", actor="ada", reason="month-end", now=clock.now())

    plan = dry(place)

    assert {write.kind for write in plan.writes} == {Kind.NOTE, Kind.STOCK_LEVEL}
    assert [(r.job, "month-end" in r.remarks[0]) for r in plan.runs if r.status == "skipped"] == [
        ("push_credits", True)
    ]


def test_a_dry_reconcile_compares_and_plans_on_a_copy(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    before = everything(place.store)
    month = Period(clock.now().replace(day=1), clock.now().replace(day=28))

    with place.store.copied() as copy:
        [report] = reconcile_sites([place.site], copy, clock, month, lambda *_: None)

    assert [record.job for record in report.runs][-2:] == ["compare", "plan"]
    assert [write.kind for write in report.writes].count(Kind.CREDIT) == 1
    assert everything(place.store) == before
    assert s.writes(world) == []


def test_a_worker_that_is_at_it_does_not_keep_a_dry_run_from_reading(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    with place.store.transaction() as connection:
        assert leases.take(connection, place.slug, "poll_returns", "somebody else", place.clock.now())

    plan = dry(place)

    assert {record.status for record in plan.runs} == {"ok"}


# -- the proof -------------------------------------------------------------------------------------------------------


def test_on_a_copy_every_kind_of_write_is_refused_before_it_leaves(desk: Desk, world: World) -> None:
    s.order(world)
    place = desk()
    order = OrderRef("platform", "5001")
    with place.store.copied() as copy:
        on_copy = open_workplace(place.site, copy, place.clock)
        attempts: list[Callable[[], None]] = [
            lambda: on_copy.sparklayer.put_transaction(
                order, platform_id="x", total_minor=-1, currency="GBP", details={}
            ),
            lambda: on_copy.sparklayer.add_note(order, "x"),
            lambda: on_copy.sparklayer.set_stock([StockLevelWrite("MUG", "default", 1)]),
            lambda: on_copy.swap.report_quality_control(
                condition=Condition.SELLABLE, quantity=1, order_id="5001", sku="MUG"
            ),
        ]
        for attempt in attempts:
            with pytest.raises(WriteRefused):
                attempt()
        assert on_copy.sparklayer.stock_levels(["MUG"], list(on_copy.sparklayer.stock_locations().values())) == {}

    assert [(e.method, e.path.rpartition("/")[2]) for e in world.exchanges if e.method != "GET"] == [
        ("POST", "token"),
        ("POST", "batch-fetch-stock"),
    ]
    assert dict(on_copy.sparklayer.sent) == {"read": 3}
    assert dict(on_copy.swap.sent) == {}


def test_a_job_that_would_deliver_from_a_copy_fails_and_sends_nothing(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    with place.store.copied() as copy:
        records = run(open_workplace(place.site, copy, place.clock))
    assert records["push_credits"].status == "failed"
    assert "read only" in (records["push_credits"].error or "")
    assert s.writes(world) == []


def test_the_plan_counts_the_requests_that_left_as_the_other_side_saw_them(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    plan = dry(desk())
    seen = {side: len([e for e in world.exchanges if e.side == side]) for side in ("swap", "sparklayer")}
    assert plan.sent == {side: {"read": number} for side, number in seen.items()}


def test_no_plan_is_made_on_the_store_itself(desk: Desk, world: World) -> None:
    place = desk()
    with pytest.raises(ValueError, match="copy"):
        add_plan(place, Plan(place.slug, []))


# -- the copy --------------------------------------------------------------------------------------------------------


def test_a_copy_holds_all_that_the_store_holds_and_is_gone_afterwards(desk: Desk, world: World) -> None:
    seed_demo(world)
    place = desk(effects_from="2026-02-08T00:00:00Z")
    run(place)
    before = everything(place.store)

    with place.store.copied() as copy:
        file = Path(copy.engine.url.database or "")
        assert everything(copy) == before | {"lease": []}
        assert file.exists()

    assert not file.exists()
    assert everything(place.store) == before


# -- the commands ----------------------------------------------------------------------------------------------------


@pytest.fixture
def command(server: Sandbox, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("SWAPSYNC_")},
        **server.environment(),
        "SWAPSYNC_DATABASE_URL": f"sqlite:///{tmp_path / 'store.db'}",
        "SWAPSYNC_EFFECTS_FROM": "2026-02-08T00:00:00Z",
        "SWAPSYNC_HTTP_BACKOFF_SECONDS": "0",
    }

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        asked = [sys.executable, "-m", "swapsync", *arguments]
        return subprocess.run(asked, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=120)

    return call


@pytest.mark.parametrize(
    "arguments",
    [("sync",), ("backfill", "--since", "2026-02-01"), ("reconcile", "--since", "2026-02-01", "--until", "2026-04-01")],
    ids=["sync", "backfill", "reconcile"],
)
def test_a_dry_command_tells_scripts_and_people_and_leaves_no_store_behind(
    command: Callable[..., subprocess.CompletedProcess[str]], world: World, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    seed_demo(world)

    answer = command(*arguments, "--dry-run", "--json")
    document = json.loads(answer.stdout)

    assert answer.returncode == 0, answer.stderr
    assert document["dry_run"] is True
    assert len([write for write in document["planned"] if write["kind"] == "credit"]) == 10
    assert [(each["swap"]["write"], each["sparklayer"]["write"]) for each in document["requests"]] == [(0, 0)]
    assert not (tmp_path / "store.db").exists()

    people = command(*arguments, "--dry-run").stdout
    assert "credit 132.48 GBP for RMA 30001, PO PO-98401" in people
    assert "0 writes were sent to SparkLayer" in people
    assert "the store is as it was" in people
    assert s.writes(world) == []
