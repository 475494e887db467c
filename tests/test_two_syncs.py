"""Two `swapsync sync` processes at the same moment on one store, time and again: nothing twice, no lock to see."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from swapsync.sandbox.faults import Fault
from swapsync.sandbox.server import Sandbox
from swapsync.sandbox.world import World, utc_now
from swapsync.store.db import Store
from tests.scenario import approved, credited, mugs, return_line, sold

ROUNDS = 3
TOGETHER = 2
DEADLINE = 120


def environment(server: Sandbox, database_url: str) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("SWAPSYNC_")},
        **server.environment(),
        "SWAPSYNC_DATABASE_URL": database_url,
        "SWAPSYNC_EFFECTS_FROM": "2026-03-01T00:00:00Z",
        "SWAPSYNC_RESTOCK_ON": "swap_approved",
        "SWAPSYNC_HTTP_BACKOFF_SECONDS": "0",
    }


def syncs_at_once(environ: dict[str, str], folder: Path) -> list[dict[str, Any]]:
    """Starts them together; returns what each of them reports."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "swapsync", "sync", "--json"],
            env=environ,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(TOGETHER)
    ]
    reports = []
    for process in processes:
        out, err = process.communicate(timeout=DEADLINE)
        assert process.returncode == 0, f"{out}\n{err}"
        assert "locked" not in err
        assert "Traceback" not in err
        reports.append(json.loads(out))
    return reports


def test_two_syncs_at_once_do_everything_once_and_never_meet_a_lock(
    server: Sandbox, world: World, database_url: str, tmp_path: Path
) -> None:
    """On SQLite the first round also creates the store; PostgreSQL is set up by `db upgrade`, as it must be."""
    world.now = utc_now
    store = Store(database_url)
    if not store.is_sqlite:
        store.upgrade()
    store.close()
    environ = environment(server, database_url)
    orders: list[str] = []
    for number in range(ROUNDS):
        name = f"60{number}"
        sold(world, platform_id=name, visible=f"#{name}", lines=[mugs(line_item_id=f"7{number}")])
        approved(
            world,
            return_id=f"ret-{number}",
            rma_number=f"R{number}",
            order_id=name,
            order_name=f"#{name}",
            lines=[return_line("MUG", 4, line_item_id=f"7{number}")],
        )
        orders.append(name)
        reports = syncs_at_once(environ, tmp_path)
        statuses = {run["status"] for report in reports for run in report["sites"][0]["jobs"]}
        assert statuses <= {"ok", "skipped"}
    syncs_at_once(environ, tmp_path)  # what a skipped job left

    assert {order: credited(world, order) for order in orders} == {order: ["-48.00"] for order in orders}
    notes = [
        (order, event["body"])
        for order in orders
        for event in world.sparklayer.history(order)
        if "[swap:" in event["body"]
    ]
    assert len(notes) >= 2 * ROUNDS
    assert max(Counter(notes).values()) == 1
    assert world.sparklayer.level("MUG", "default") == 4 * ROUNDS


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_signal_ends_it_with_the_call_that_is_under_way_and_the_next_one_has_its_jobs_at_once(
    server: Sandbox, world: World, database_url: str, tmp_path: Path, stop: signal.Signals
) -> None:
    world.now = utc_now
    sold(world)
    approved(world)
    world.faults.add(Fault(kind="slow", side="swap", seconds=2))
    environ = environment(server, database_url)
    begun = [sys.executable, "-m", "swapsync", "sync"]
    process = subprocess.Popen(begun, env=environ, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    give_up = time.monotonic() + DEADLINE
    while not world.calls("GET", "/returns"):
        assert time.monotonic() < give_up
        time.sleep(0.01)

    process.send_signal(stop)
    _, err = process.communicate(timeout=DEADLINE)

    assert process.returncode == 130
    assert "Traceback" not in err
    assert {exchange.path for exchange in world.exchanges} == {"/v2/external/returns"}
    again = subprocess.run([*begun, "--json"], env=environ, cwd=tmp_path, capture_output=True, check=True)
    report = json.loads(again.stdout)
    assert {run["status"] for run in report["sites"][0]["jobs"]} == {"ok"}
    assert credited(world, "5001") == ["-48.00"]
