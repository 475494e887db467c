"""Backfill: history in windows that need not be read twice, and a plan that writes nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, func, select
from sqlmodel import SQLModel

from swapsync.domain.returns import Settlement
from swapsync.jobs.backfill import WINDOW, BackfillReport, backfill_sites, windows
from swapsync.jobs.reconcile import planned_effects
from swapsync.jobs.workplace import Workplace
from swapsync.sandbox.demo_data import seed_demo
from swapsync.sandbox.faults import Fault
from swapsync.sandbox.server import Sandbox
from swapsync.sandbox.world import Exchange, World, return_row
from swapsync.store.cases import credit_note_lines, credit_notes, movements
from swapsync.store.exceptions import exceptions
from swapsync.store.outbox import Kind, outbox
from swapsync.store.runs import watermarks
from swapsync.store.staging import orders, return_lines, returns
from tests.conftest import Desk, FixedClock, run
from tests.scenario import approved, credited, sold

SINCE = datetime(2026, 2, 1, tzinfo=UTC)
DEADLINE = 60


def backfill(
    place: Workplace, since: datetime = SINCE, until: datetime | None = None, *, again: bool = False, dry: bool = False
) -> BackfillReport:
    span = windows(since, until or place.clock.now())
    with place.store.copied() if dry else nullcontext(place.store) as store:
        [report] = backfill_sites([place.site], store, place.clock, span, again=again, advance=lambda: None)
    return report


def statuses(report: BackfillReport) -> dict[str, str]:
    return {record.job: record.status for record in report.runs}


def returns_read_from(world: World) -> list[str]:
    return [each.query["from_return_submission_date"] for each in world.calls("GET", "/v2/external/returns")]


def writes(world: World) -> list[Exchange]:
    reads = ("/auth/token", "/batch-fetch-stock")
    return [each for each in world.exchanges if each.method != "GET" and not each.path.endswith(reads)]


def rows(place: Workplace, source: Table, *without: str) -> list[tuple[Any, ...]]:
    columns = [column for column in source.c if column.name not in ("site", "id", *without)]
    with place.store.reading() as connection:
        found = connection.execute(select(*columns).where(source.c.site == place.slug))
        return sorted((tuple(row) for row in found), key=repr)


def count(place: Workplace, source: Table) -> int:
    with place.store.reading() as connection:
        return connection.execute(select(func.count()).select_from(source)).scalar_one()


# -- windows ---------------------------------------------------------------------------------------------------------


def test_windows_cover_the_span_without_a_gap_and_only_the_last_depends_on_its_end() -> None:
    until = SINCE + 3 * WINDOW + timedelta(hours=5)
    span = windows(SINCE, until)

    assert (span[0][0], span[-1][1], len(span)) == (SINCE, until, 4)
    assert all(before[1] == after[0] for before, after in pairwise(span))
    assert windows(SINCE, until + timedelta(hours=9))[:3] == span[:3]
    assert windows(SINCE, SINCE + WINDOW) == [(SINCE, SINCE + WINDOW)]


def test_what_stands_exactly_on_a_boundary_is_read_and_counts_once(desk: Desk, world: World) -> None:
    boundary = SINCE + WINDOW
    sold(world, placed=boundary)
    approved(world, created=boundary, closed=datetime(2026, 3, 5, tzinfo=UTC))

    place = desk(history_days="0")
    report = backfill(place)

    assert set(statuses(report).values()) == {"ok"}
    assert (count(place, returns), count(place, orders)) == (1, 1)
    assert credited(world) == ["-48.00"]


@pytest.mark.parametrize("offset", [timedelta(0), timedelta(milliseconds=-1), timedelta(milliseconds=1)])
def test_both_ends_of_the_span_are_inclusive(desk: Desk, world: World, offset: timedelta) -> None:
    until = SINCE + 2 * WINDOW
    for return_id, submitted in (("first", SINCE + abs(offset)), ("middle", SINCE + WINDOW + offset), ("last", until)):
        world.swap.put_return(
            return_row(return_id, return_id, "1", "#1", [], created=submitted, closed=submitted, return_status="Closed")
        )
    place = desk()
    backfill(place, SINCE, until)
    assert [row[0] for row in rows(place, returns)] == ["first", "last", "middle"]


# -- resuming --------------------------------------------------------------------------------------------------------


def test_after_an_interruption_only_the_windows_not_yet_read_are_read(desk: Desk, world: World) -> None:
    sold(world)
    approved(world)
    place = desk()
    world.faults.add(Fault(kind="status", side="swap", path_contains="/returns", after=1, times=None))

    broken = backfill(place)
    world.faults.clear()
    asked = len(returns_read_from(world))
    resumed = backfill(place)

    assert statuses(broken)["backfill_returns"] == "failed"
    assert {status for job, status in statuses(broken).items() if job != "backfill_returns"} == {"ok"}
    assert returns_read_from(world)[asked:] == [
        f"2026-{day}T23:59:59.000Z" for day in ("02-07", "02-14", "02-21", "02-28", "03-07")
    ]
    assert set(statuses(resumed).values()) == {"ok"}
    assert credited(world) == ["-48.00"]


def test_a_finished_span_is_not_read_again_unless_asked(desk: Desk, world: World) -> None:
    place = desk()
    until = SINCE + 3 * WINDOW

    first, second, third = (backfill(place, SINCE, until, again=again) for again in (False, False, True))

    assert [(r.windows_read, r.windows_skipped) for r in (first, second, third)] == [(6, 0), (0, 6), (6, 0)]
    assert len(returns_read_from(world)) == 6


def test_the_window_that_reaches_up_to_now_is_read_every_time(desk: Desk, world: World, clock: FixedClock) -> None:
    place = desk()
    backfill(place)
    sold(world)
    approved(world, created=clock.now())
    clock.forward(minutes=1)

    report = backfill(place)

    assert (report.windows_read, report.windows_skipped) == (2, 10)
    assert credited(world) == ["-48.00"]


def test_a_window_whose_end_is_within_the_overlap_is_not_taken_for_complete(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    place = desk(overlap_seconds="600")
    until = clock.now() - timedelta(seconds=599)
    backfill(place, until - timedelta(days=1), until)
    clock.forward(seconds=1)
    assert backfill(place, until - timedelta(days=1), until).windows_read == 2
    assert backfill(place, until - timedelta(days=1), until).windows_skipped == 2


def test_a_window_whose_list_kept_moving_is_kept_but_read_again(desk: Desk, world: World) -> None:
    long_ago = datetime(2026, 2, 3, tzinfo=UTC)

    def put(number: int) -> None:
        row = return_row(f"r{number}", str(number), "1", "#1", [], created=long_ago, return_status="Closed")
        world.swap.put_return(row)

    for number in range(101):
        put(number)
    world.swap.between_pages = [lambda n=n: put(1000 + n) for n in range(5)]
    place = desk()

    moved = backfill(place, SINCE, SINCE + WINDOW)
    quiet = backfill(place, SINCE, SINCE + WINDOW)

    assert statuses(moved)["backfill_returns"] == "ok"
    assert "moved during every walk of 1 windows" in moved.runs[0].remarks[0]
    assert count(place, returns) == 106
    assert (quiet.windows_read, quiet.windows_skipped) == (1, 1)
    assert backfill(place, SINCE, SINCE + WINDOW).windows_skipped == 2


# -- beside the live jobs --------------------------------------------------------------------------------------------


def test_the_watermarks_of_the_live_polls_stay_where_they_are(desk: Desk, world: World, clock: FixedClock) -> None:
    seed_demo(world)
    place = desk(history_days="5")
    backfill(place)
    assert rows(place, watermarks) == []

    run(place)
    standing = rows(place, watermarks)
    clock.forward(hours=1)
    for return_id in list(world.swap.returns)[:3]:
        if return_id.startswith("ret_"):
            world.swap.change_return(return_id)
    backfill(place, again=True)

    assert len(standing) == 2
    assert rows(place, watermarks) == standing


def test_backfill_then_sync_comes_to_the_same_as_sync_with_enough_history(
    desk: Desk, world: World, server: Sandbox, clock: FixedClock
) -> None:
    seed_demo(world)
    filled = desk("filled", history_days="0", effects_from="2026-02-08T00:00:00Z")
    backfill(filled, datetime(2025, 6, 1, tzinfo=UTC))
    run(filled)

    server.world = other = World(now=clock.now)
    seed_demo(other)
    synced = desk("synced", history_days="365", effects_from="2026-02-08T00:00:00Z")
    run(synced)
    run(synced)

    for source in (returns, return_lines, orders, credit_notes, credit_note_lines, movements):
        assert rows(filled, source, "decided_entry") == rows(synced, source, "decided_entry")
    assert rows(filled, exceptions, "count") == rows(synced, exceptions, "count")
    by_whom = ("write_id", "claimed_by", "claimed_until")
    assert rows(filled, outbox, *by_whom) == rows(synced, outbox, *by_whom)
    assert {(e.path, e.request_body["total"]["number"]) for e in world.calls("PUT")} == {
        (e.path, e.request_body["total"]["number"]) for e in other.calls("PUT")
    }
    assert len(world.calls("PUT")) == len(other.calls("PUT")) > 0


def test_history_before_the_cut_over_is_settled_outside_and_causes_nothing(desk: Desk, world: World) -> None:
    sold(world, placed=datetime(2026, 1, 20, tzinfo=UTC))
    approved(world, created=datetime(2026, 2, 3, tzinfo=UTC), closed=datetime(2026, 2, 9, tzinfo=UTC))
    place = desk(effects_from="2026-03-01T00:00:00Z")

    backfill(place, datetime(2026, 1, 1, tzinfo=UTC))

    with place.store.reading() as connection:
        assert list(connection.execute(select(returns.c.settlement)).scalars()) == [Settlement.SETTLED_OUTSIDE]
    assert writes(world) == []
    assert (count(place, credit_notes), count(place, movements), count(place, outbox)) == (0, 0, 0)


# -- the plan --------------------------------------------------------------------------------------------------------


def test_a_dry_run_writes_nothing_outside_and_keeps_nothing(desk: Desk, world: World) -> None:
    seed_demo(world)
    place = desk(effects_from="2026-02-08T00:00:00Z")

    report = backfill(place, dry=True)

    assert list(statuses(report)) == ["backfill_returns", "backfill_orders", "poll_skus", "reconcile", "plan"]
    assert set(statuses(report).values()) == {"ok"}
    assert len([write for write in report.writes if write.kind is Kind.CREDIT]) == 10
    assert writes(world) == []
    assert [count(place, source) for source in SQLModel.metadata.sorted_tables if source.name != "site"] == [0] * (
        len(SQLModel.metadata.sorted_tables) - 1
    )


def test_the_real_run_does_exactly_what_the_dry_run_planned(desk: Desk, world: World) -> None:
    seed_demo(world)
    place = desk(effects_from="2026-02-08T00:00:00Z")
    planned = backfill(place, dry=True).writes

    real = backfill(place)

    assert real.windows_read == 12
    credits = {write.facts["platform_id"]: write.facts["total"] for write in planned if write.kind is Kind.CREDIT}
    orders = list(world.sparklayer.purchases)
    stand = [row for order in orders for row in world.sparklayer.transactions(order)]
    assert {row["platform_id"]: row["total"]["number"] for row in stand} == credits
    notes = [write.facts["body"] for write in planned if write.kind is Kind.NOTE]
    bodies = [each["body"] for order in orders for each in world.sparklayer.history(order)]
    assert sorted(body for body in bodies if "[swap:" in body) == sorted(notes)
    levels = {
        (write.facts["sku"], write.facts["location"]): write.facts["after"]
        for write in planned
        if write.kind in (Kind.STOCK_LEVEL, Kind.RESTOCK)
    }
    assert levels == {(sku, name): world.sparklayer.level(sku, name) for sku, name in levels}
    assert len(levels) > 5


def test_the_plan_holds_what_waits_already_and_leaves_out_what_is_switched_off(desk: Desk, world: World) -> None:
    sold(world)
    approved(world)
    run(desk(), "poll_returns", "poll_orders", "reconcile")

    kinds = [effect.kind for effect in planned_effects(desk())]
    assert sorted(kinds) == ["credit", "note", "note", "note", "stock_level"]

    off = desk()
    place = Workplace(
        off.site.model_copy(update={"push_credits": False, "push_restocks": False}),
        off.store,
        off.swap,
        off.sparklayer,
        off.clock,
        off.effects_from,
    )
    assert [effect.kind for effect in planned_effects(place)] == ["note", "note"]
    assert writes(world) == []


# -- the command -----------------------------------------------------------------------------------------------------


Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environ(server: Sandbox, database_url: str) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("SWAPSYNC_")},
        **server.environment(),
        "SWAPSYNC_DATABASE_URL": database_url,
        "SWAPSYNC_EFFECTS_FROM": "2026-02-08T00:00:00Z",
        "SWAPSYNC_HTTP_BACKOFF_SECONDS": "0",
    }


@pytest.fixture
def command(environ: dict[str, str], tmp_path: Path) -> Command:
    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        asked = [sys.executable, "-m", "swapsync", "backfill", *arguments]
        return subprocess.run(asked, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE)

    return call


only_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@only_sqlite
def test_json_says_what_was_read_skipped_and_done(command: Command, world: World) -> None:
    seed_demo(world)
    span = ("--since", "2026-02-01", "--until", "2026-03-10T13:00:00+01:00", "--json")

    documents = [json.loads(command(*arguments).stdout) for arguments in ((*span, "--dry-run"), span)]

    dry, real = documents
    assert {(d["since"], d["until"]) for d in documents} == {("2026-02-01T00:00:00Z", "2026-03-10T12:00:00Z")}
    assert [d["sites"][0]["windows"] for d in documents] == [{"read": 12, "skipped": 0}, {"read": 12, "skipped": 0}]
    assert [d["dry_run"] for d in documents] == [True, False]
    [first] = [write for write in dry["planned"] if write["kind"] == "credit" and write["target"] == "order #10401"]
    assert first == {
        "site": "default",
        "kind": "credit",
        "target": "order #10401",
        "what": "credit 132.48 GBP for RMA 30001, PO PO-98401",
        "return_id": "ret_demo_0001",
        "order": "#10401",
        "rma_number": "30001",
        "credit_note": first["credit_note"],
        "platform_id": "swap:ret_demo_0001:credit:1",
        "total": "-132.48",
        "currency": "GBP",
        "po_number": "PO-98401",
    }
    assert [requests["sparklayer"]["write"] for requests in dry["requests"]] == [0]
    assert real["planned"] == []
    assert [(job["job"], job["status"]) for job in real["sites"][0]["jobs"]] == [
        (name, "ok")
        for name in (
            "backfill_returns",
            "backfill_orders",
            "poll_skus",
            "reconcile",
            "push_credits",
            "push_restocks",
            "push_status",
        )
    ]
    assert real["sites"][0]["jobs"][4]["sent"] == 10


@only_sqlite
def test_the_plan_is_shown_as_a_table_and_nothing_is_written(command: Command, world: World) -> None:
    seed_demo(world)
    answer = command("--since", "2026-02-01", "--until", "2026-03-10", "--dry-run")
    assert answer.returncode == 0
    assert "effects planned" in answer.stdout
    assert "order #10401" in answer.stdout
    assert "Nothing was written outside" in answer.stdout
    assert writes(world) == []


@only_sqlite
@pytest.mark.parametrize(
    ("span", "said"),
    [
        (["--since", "2026-02-01T08:00:00"], "needs a zone"),
        (["--since", "last week"], "it must be a day in UTC"),
        (["--since", "2026-02-30"], "it must be a day in UTC"),
        (["--since", "2026-02-02", "--until", "2026-02-02"], "must lie before --until"),
        (["--since", "9999-01-01"], "in the past"),
    ],
)
def test_a_span_that_makes_no_sense_is_a_usage_error_in_one_line(command: Command, span: list[str], said: str) -> None:
    answer = command(*span)
    assert answer.returncode == 2
    assert said in answer.stderr
    assert answer.stderr.count("\n") == 1


@only_sqlite
def test_a_failed_part_is_exit_code_1(command: Command, world: World) -> None:
    world.faults.add(Fault(kind="status", side="swap", times=None))
    assert command("--since", "2026-02-01", "--until", "2026-02-08").returncode == 1


@only_sqlite
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_the_call_that_is_under_way_and_the_next_call_goes_on(
    command: Command, environ: dict[str, str], tmp_path: Path, world: World, stop: signal.Signals
) -> None:
    span = ("--since", "2026-02-01", "--until", "2026-03-01")
    world.faults.add(Fault(kind="slow", side="swap", after=1, seconds=8))

    process = subprocess.Popen([sys.executable, "-m", "swapsync", "backfill", *span], env=environ, cwd=tmp_path)
    give_up = time.monotonic() + DEADLINE
    while len(returns_read_from(world)) < 2 and time.monotonic() < give_up:
        time.sleep(0.05)
    process.send_signal(stop)

    assert process.wait(DEADLINE) == 130
    assert len(returns_read_from(world)) == 2
    resumed = json.loads(command(*span, "--json").stdout)
    assert resumed["sites"][0]["windows"] == {"read": 6, "skipped": 2}
