"""Several workers on one store: who runs what when, what is skipped and why, and what people pause."""

import json
import time
from datetime import timedelta
from pathlib import Path
from threading import Event as Signal
from typing import Any

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from swapsync.cli import app
from swapsync.cli.context import UserError
from swapsync.clock import Clock
from swapsync.daemon import _is_due, _run, finish, schedule
from swapsync.jobs.cycle import HOLDER, JOBS, open_workplace, run_job, run_sites
from swapsync.jobs.workplace import Workplace
from swapsync.sandbox.faults import Fault
from swapsync.sandbox.server import Sandbox
from swapsync.sandbox.world import World, utc_now
from swapsync.settings import load_settings
from swapsync.store import controls, runs
from swapsync.store.db import Store
from tests.conftest import Desk, FixedClock, run
from tests.scenario import approved, credited, sold
from tests.workers import another_worker_at


def recorded(place: Workplace) -> list[tuple[str, str, str | None]]:
    with place.store.reading() as connection:
        rows = connection.execute(select(runs.runs).order_by(runs.runs.c.id))
        return [(row.job, row.status, row.error) for row in rows]


def timely(place: Workplace, name: str, holder: str) -> str:
    """Runs a job as a daemon does when it is due by that daemon's own time."""
    return run_job(
        place, name, lambda mine, tally: None, holder, is_due=lambda began: _is_due(place, name, began)
    ).status


def ran(place: Workplace, name: str) -> int:
    return len([1 for job, status, _ in recorded(place) if (job, status) == (name, "ok")])


@pytest.mark.parametrize(("every", "too_early", "in_time"), [(300, 200, 280), ("0 * * * *", 3500, 3601)])
def test_of_two_daemons_one_runs_a_job_and_the_other_does_not_run_it_again_before_it_is_due(
    desk: Desk, clock: FixedClock, every: int | str, too_early: int, in_time: int
) -> None:
    place = desk()
    place.site.schedule["poll_returns"] = every
    assert timely(place, "poll_returns", "A") == "ok"
    clock.forward(seconds=too_early)
    assert timely(place, "poll_returns", "B") == "skipped"
    clock.forward(seconds=in_time - too_early)
    assert timely(place, "poll_returns", "B") == "ok"
    assert recorded(place) == [("poll_returns", "ok", None)] * 2


def test_a_daemon_runs_on_its_own_time_when_it_is_alone(desk: Desk, clock: FixedClock) -> None:
    place = desk()
    for _ in range(3):
        timely(place, "poll_returns", "A")
        clock.forward(seconds=150)  # a run that waited long for its turn is followed by one in time
    assert ran(place, "poll_returns") == 3


def test_after_a_long_downtime_of_all_daemons_one_of_them_catches_up_with_one_run(
    desk: Desk, clock: FixedClock
) -> None:
    place = desk()
    timely(place, "poll_returns", "A")
    clock.forward(hours=72)
    assert [timely(place, "poll_returns", holder) for holder in "BCDA"] == ["ok", "skipped", "skipped", "skipped"]


def test_a_job_that_another_worker_began_long_ago_and_still_does_is_skipped_and_recorded_once(
    desk: Desk, clock: FixedClock
) -> None:
    place = desk()
    began = clock.now()
    with place.store.transaction() as connection:
        runs.start_run(connection, "default", "poll_returns", clock.now())
    with another_worker_at(place.store, clock, "poll_returns"):
        assert timely(place, "poll_returns", "B") == "skipped"
        assert len(recorded(place)) == 1, "it is being done in its turn, so nothing is skipped"
        clock.forward(seconds=60)
        for _ in range(3):
            assert run_job(place, "poll_returns", JOBS["poll_returns"], "B").status == "skipped"
            clock.forward(seconds=1)
    assert [status for _, status, _ in recorded(place)] == ["running", "skipped"]
    with place.store.reading() as connection:
        skip = connection.execute(select(runs.runs).where(runs.runs.c.status == "skipped")).one()
        assert runs.last_start(connection, "default", "poll_returns") == began
    assert skip.finished_at - skip.started_at == timedelta(seconds=2)


# -- many sites in one process -----------------------------------------------------------------------------------------


def test_sites_side_by_side_share_one_connection_to_the_database(
    server: Sandbox, world: World, store: Store, clock: FixedClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No transaction asks for a second connection while it holds one, or all threads could wait for each other."""
    monkeypatch.setattr("swapsync.store.db.CONNECTIONS", 1)
    url = store.engine.url.render_as_string(hide_password=False)
    sold(world)
    approved(world)
    environ = server.environment() | {
        "SWAPSYNC_EFFECTS_FROM": "2026-03-01T00:00:00Z",
        "SWAPSYNC_SWAP_REQUESTS_PER_MINUTE": "1000",  # each request is counted in the store
        "SWAPSYNC_SPARKLAYER_REQUESTS_PER_MINUTE": "1000",
    }
    sites = [load_settings(environ | {"SWAPSYNC_SITE": slug}, tmp_path).sites[0] for slug in ("acme", "beta", "gamma")]
    narrow = Store(url)
    try:
        reports = run_sites(sites, narrow, clock, tuple(JOBS))
    finally:
        narrow.close()
    assert {run.status for report in reports for run in report.runs} == {"ok"}


# -- pause and resume ------------------------------------------------------------------------------------------------


@pytest.fixture
def swapsync(
    server: Sandbox, desk: Desk, store: Store, clock: FixedClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    environ = server.environment() | {
        "SWAPSYNC_DATABASE_URL": store.engine.url.render_as_string(hide_password=False),
        "SWAPSYNC_EFFECTS_FROM": "2026-03-01T00:00:00Z",
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("swapsync.clock.Clock.now", lambda self: clock.moment)

    desk()  # the site has run

    def call(*arguments: str) -> Any:
        ended = CliRunner().invoke(app, [*arguments, "--json"])
        if isinstance(ended.exception, UserError):
            raise ended.exception
        assert ended.exit_code == 0, ended.output
        return json.loads(ended.stdout)

    return call


def test_a_paused_job_is_skipped_with_the_reason_until_it_is_resumed(
    desk: Desk, world: World, store: Store, swapsync: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USER", "ada")
    monkeypatch.setenv("LOGNAME", "ada")
    sold(world)
    approved(world)
    swapsync("pause", "--job", "push_credits", "--reason", "SparkLayer maintenance")

    [site] = swapsync("sync")["sites"]
    of = {each["job"]: each for each in site["jobs"]}
    assert of["push_credits"]["status"] == "skipped"
    assert of["push_credits"]["remarks"] == ["paused by ada since 2026-03-10T12:00:00Z: SparkLayer maintenance"]
    assert of["push_status"]["status"] == "ok"
    assert credited(world) == []
    assert swapsync("status")["sites"][0]["paused"] == [
        {"job": "push_credits", "since": "2026-03-10T12:00:00Z", "actor": "ada", "reason": "SparkLayer maintenance"}
    ]
    place = desk()
    assert recorded(place)[4] == ("push_credits", "skipped", of["push_credits"]["remarks"][0])

    assert swapsync("resume", "--job", "push_credits") == {"resumed": [{"site": "default", "job": "push_credits"}]}
    run(place)
    assert credited(world) == ["-48.00"]
    with store.reading() as connection:
        said = connection.exec_driver_sql(
            "SELECT kind, actor, detail, before, after FROM event WHERE kind IN ('paused', 'resumed') ORDER BY id"
        ).all()
    running, paused = '{"state":"running"}', '{"state":"paused","reason":"SparkLayer maintenance"}'
    assert [tuple(each) for each in said] == [
        ("paused", "ada", "push_credits: SparkLayer maintenance", running, paused),
        ("resumed", "ada", "push_credits", paused, running),
    ]


def test_a_paused_site_does_nothing_at_all_and_the_other_sites_go_on(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    acme, beta = desk("acme"), desk("beta")
    with acme.store.transaction() as connection:
        controls.pause(connection, "acme", "", actor="ada", reason="moving house", now=clock.now())

    assert {record.status for record in run(acme).values()} == {"skipped"}
    assert world.exchanges == []
    assert {record.status for record in run(beta).values()} == {"ok"}


def test_a_pause_is_heard_by_a_running_daemon(desk: Desk, clock: FixedClock) -> None:
    place = desk()
    with place.store.transaction() as connection:
        controls.pause(connection, "default", "reconcile", actor="ada", reason="month-end", now=clock.now())
    _run(place, "reconcile", Signal(), HOLDER)
    assert recorded(place) == [("reconcile", "skipped", "paused by ada since 2026-03-10T12:00:00Z: month-end")]


def test_while_reconcile_is_paused_nothing_is_decided_and_what_was_decided_is_delivered(
    desk: Desk, world: World, store: Store, clock: FixedClock
) -> None:
    sold(world)
    sold(world, platform_id="5002", visible="#5002")
    approved(world)
    approved(world, return_id="ret-2", rma_number="R2", order_id="5002", order_name="#5002")
    place = desk()
    run(place, "poll_returns", "poll_orders", "reconcile")
    with store.transaction() as connection:
        controls.pause(connection, "default", "reconcile", actor="ada", reason="month-end", now=clock.now())
    clock.forward(minutes=20)
    world.swap.change_return("ret-2", total=24)

    assert run(place)["push_credits"].remarks == [
        "what follows from these credits is not decided yet; "
        "reconcile: paused by ada since 2026-03-10T12:00:00Z: month-end"
    ]

    assert (credited(world), credited(world, "5002")) == (["-48.00"], [])
    assert noted_credits(world) == []
    with store.transaction() as connection:
        controls.resume(connection, "default", ["reconcile"], actor="ada", now=clock.now())
    run(place)
    assert (credited(world), credited(world, "5002")) == (["-48.00"], ["-48.00"])
    assert len(noted_credits(world)) == 1


def noted_credits(world: World) -> list[str]:
    return [note["body"] for note in world.sparklayer.history("5001") if "credit note" in note["body"]]


def test_what_can_not_be_paused_or_resumed_is_said(swapsync: Any) -> None:
    with pytest.raises(UserError, match="there is no such job"):
        swapsync("pause", "--job", "push_money", "--reason", "x")
    with pytest.raises(UserError, match="must not be blank"):
        swapsync("pause", "--reason", " ")
    assert swapsync("resume") == {"resumed": []}
    swapsync("pause", "--reason", "all of it")
    with pytest.raises(UserError, match="resume without --job"):
        swapsync("resume", "--job", "reconcile")
    assert swapsync("resume") == {"resumed": [{"site": "default", "job": "all"}]}


# -- the end of a daemon ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_does_not_finish_in_time_is_handed_back_and_the_next_run_goes_on(desk: Desk, world: World) -> None:
    """The other side always asks to be called again a second later, so the job alone would go on for 100 seconds."""
    sold(world)
    approved(world)
    patient = desk(http_max_attempts="100")
    place = open_workplace(patient.site, patient.store, Clock())
    world.faults.add(Fault(kind="status", side="swap", status=429, retry_after="1", times=None))
    stopping = Signal()
    scheduler = schedule([place], stopping, utc_now())
    scheduler.start()
    while not world.exchanges:
        time.sleep(0.01)

    finish(scheduler, [place], stopping, within=0.1)

    [(job, status, error)] = recorded(place)
    assert (job, status) == ("poll_returns", "failed")
    assert error
    assert "the next run goes on from here" in error
    world.faults.clear()
    assert {record.status for record in run(open_workplace(patient.site, patient.store, Clock())).values()} == {"ok"}
    assert credited(world) == ["-48.00"]
