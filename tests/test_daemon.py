"""The daemon: what it schedules, and a real process that works, survives trouble and stops cleanly."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from threading import Event as Signal
from typing import Any

import pytest
import requests
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger
from loguru import logger
from sqlalchemy import select

from swapsync.daemon import VISIT, _Turns, schedule
from swapsync.jobs.alerts import Lookout
from swapsync.jobs.cycle import JOBS
from swapsync.jobs.workplace import Workplace
from swapsync.sandbox.demo_data import seed_demo
from swapsync.sandbox.faults import Fault
from swapsync.sandbox.server import Sandbox
from swapsync.sandbox.world import World, utc_now
from swapsync.store import runs
from swapsync.store.db import Store
from swapsync.store.leases import leases
from swapsync.store.outbox import outbox
from tests.conftest import Desk
from tests.workers import another_worker_at

START = datetime(2026, 3, 10, 12, 2, tzinfo=UTC)
DEADLINE = 60
NEVER_AGAIN = 86_400

only_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def with_schedule(place: Workplace, every: int | str = NEVER_AGAIN, **schedules: int | str) -> Workplace:
    site = place.site.model_copy(update={"schedule": dict.fromkeys(JOBS, every) | schedules})
    return Workplace(site, place.store, place.swap, place.sparklayer, place.clock, place.effects_from)


def wait_until(true: Callable[[], bool], what: str) -> None:
    give_up = time.monotonic() + DEADLINE
    while not true():
        assert time.monotonic() < give_up, f"{what}: not within {DEADLINE} s"
        time.sleep(0.05)


def finished(store: Store, *statuses: str) -> list[str]:
    """The jobs that ran, in the order in which they began; only those that ended so, if statuses are given."""
    with store.reading() as connection:
        ran = connection.execute(select(runs.runs.c.job, runs.runs.c.status).order_by(runs.runs.c.id)).all()
    return [row.job for row in ran if row.status in (statuses or ("ok", "failed"))]


# -- what is scheduled -----------------------------------------------------------------------------------------------


@only_sqlite
def test_each_job_of_each_site_is_one_scheduled_job_that_makes_up_for_lateness_once(desk: Desk) -> None:
    scheduler = schedule([desk("acme"), desk("beta")], Signal(), START)
    jobs = scheduler.get_jobs()

    assert [job.id for job in jobs] == [f"{site}/{name}" for site in ("acme", "beta") for name in JOBS]
    assert {(job.coalesce, job.max_instances, job.misfire_grace_time) for job in jobs} == {(True, 1, None)}
    assert {job.trigger.timezone for job in jobs} == {UTC}


@only_sqlite
def test_trouble_is_looked_for_on_a_schedule_of_its_own_where_a_site_has_people_to_tell(desk: Desk) -> None:
    quiet, loud = desk("acme"), desk("beta", alert_urls="json://127.0.0.1:9/")
    assert schedule([quiet], Signal(), START).get_job("alerts") is None

    alerts = schedule([quiet, loud], Signal(), START).get_job("alerts")

    assert alerts.func.__name__ == "look"
    assert alerts.func.__self__ == Lookout([quiet.site, loud.site], quiet.store, quiet.clock)
    assert (alerts.coalesce, alerts.max_instances, alerts.misfire_grace_time) == (True, 1, None)
    assert (alerts.trigger.interval, alerts.trigger.timezone) == (timedelta(minutes=1), UTC)


@only_sqlite
def test_seconds_become_an_interval_and_a_cron_string_becomes_a_cron_in_utc(desk: Desk) -> None:
    place = with_schedule(desk(), 300, reconcile="30 6 * * mon-fri")
    triggers = {job.id.split("/")[1]: job.trigger for job in schedule([place], Signal(), START).get_jobs()}

    assert isinstance(triggers["poll_returns"], IntervalTrigger)
    assert triggers["poll_returns"].interval == timedelta(minutes=5)
    assert isinstance(triggers["reconcile"], CronTrigger)
    friday_noon, monday = datetime(2026, 3, 13, 12, tzinfo=UTC), datetime(2026, 3, 16, 6, 30, tzinfo=UTC)
    assert triggers["reconcile"].get_next_fire_time(None, friday_noon).replace(second=0) == monday


@only_sqlite
@pytest.mark.parametrize("every", [300, "*/5 * * * *"])
def test_jobs_that_are_due_together_are_due_in_the_order_of_a_cycle(desk: Desk, every: int | str) -> None:
    jobs = schedule([with_schedule(desk(), every)], Signal(), START).get_jobs()
    first = [job.next_run_time for job in jobs]
    second = [job.trigger.get_next_fire_time(job.next_run_time, job.next_run_time) for job in jobs]

    assert first == sorted(set(first))
    assert first[-1] - START < timedelta(seconds=1)
    assert second == sorted(set(second))


@only_sqlite
@pytest.mark.parametrize("day", [datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 10, 24, 12, tzinfo=UTC)])
def test_a_daily_job_runs_once_a_day_when_clocks_change(
    desk: Desk, day: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Europe/London")
    time.tzset()
    try:
        trigger = schedule([with_schedule(desk(), "30 1 * * *")], Signal(), START).get_jobs()[0].trigger
        fired = [day]
        while fired[-1] < day + timedelta(days=2):
            fired.append(trigger.get_next_fire_time(fired[-1], fired[-1]))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert [(at.hour, at.minute, at.utcoffset()) for at in fired[1:]] == [(1, 30, timedelta(0))] * 3
    assert {after - before for before, after in pairwise(fired[1:])} == {timedelta(days=1)}


# -- running it here -------------------------------------------------------------------------------------------------


@pytest.fixture
def running() -> Iterator[Callable[[BackgroundScheduler], None]]:
    """Starts a scheduler, and shuts it down when the test is over."""
    started: list[BackgroundScheduler] = []

    def start(scheduler: BackgroundScheduler) -> None:
        scheduler.start()
        started.append(scheduler)

    yield start
    for scheduler in started:
        if scheduler.running:
            scheduler.shutdown()


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []
    layout = "{extra[site]}/{extra[job]}: {message}"
    sink = logger.add(lambda message: lines.append(str(message).strip()), level="INFO", format=layout)
    yield lines
    logger.remove(sink)


def test_a_fresh_daemon_begins_with_one_whole_cycle_in_order_and_logs_a_line_for_each_run(
    desk: Desk, world: World, running: Any, log: list[str]
) -> None:
    seed_demo(world)
    place = with_schedule(desk(effects_from="2026-02-08T00:00:00Z"))

    running(schedule([place], Signal(), utc_now()))
    wait_until(lambda: len(log) >= len(JOBS), "a cycle")

    assert finished(place.store, "ok") == list(JOBS)
    assert len(world.calls("PUT", "/transactions")) == 10
    assert [line.partition(": ")[0] for line in log] == [f"default/{name}" for name in JOBS]
    assert log[4].startswith("default/push_credits: ok: 0 read, 0 changed, 10 sent, 0 failed in ")


@only_sqlite
def test_after_a_long_stall_each_job_runs_once(desk: Desk, world: World, running: Any, log: list[str]) -> None:
    place = with_schedule(desk(), 3600)
    running(schedule([place], Signal(), utc_now() - timedelta(hours=5, minutes=30)))
    wait_until(lambda: len(log) >= len(JOBS), "a cycle")
    assert finished(place.store) == list(JOBS)


@only_sqlite
def test_a_job_that_is_due_while_it_still_runs_is_skipped_and_the_log_says_so(
    desk: Desk, world: World, running: Any, log: list[str]
) -> None:
    world.faults.add(Fault(kind="slow", side="swap", seconds=4))
    running(schedule([with_schedule(desk(), poll_returns=1)], Signal(), utc_now()))
    wait_until(lambda: any("skipped" in line for line in log), "a skip")
    assert "default/poll_returns: skipped: its run before is not finished yet" in log


@only_sqlite
def test_a_job_that_another_worker_is_doing_is_skipped_and_the_others_run(
    desk: Desk, world: World, running: Any, log: list[str]
) -> None:
    place = with_schedule(desk())
    with another_worker_at(place.store, place.clock, "poll_orders"):
        running(schedule([place], Signal(), utc_now()))
        wait_until(lambda: len(log) >= len(JOBS), "a cycle")
    assert finished(place.store) == [name for name in JOBS if name != "poll_orders"]
    assert "default/poll_orders: skipped" in log[1]
    assert "another worker is doing this job" in log[1]


def test_a_site_that_another_daemon_is_at_is_left_to_it_and_the_other_sites_are_done(
    desk: Desk, world: World, running: Any, log: list[str]
) -> None:
    taken, free = with_schedule(desk("taken")), with_schedule(desk("free"))
    with another_worker_at(taken.store, taken.clock, VISIT, "taken"):
        running(schedule([taken, free], Signal(), utc_now()))
        wait_until(lambda: len(log) >= len(JOBS), "a cycle")
    assert {line.partition("/")[0] for line in log} == {"free"}
    with taken.store.reading() as connection:
        sites = connection.execute(select(runs.runs.c.site)).scalars()
        assert set(sites) == {"free"}, "what is left to another is not skipped"


class Bustle:
    """Jobs that take a moment, and what was seen of them: which ran, and how many at once."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.most = 0
        self._at_work: list[str] = []

    def job(self, name: str) -> None:
        self.began.append(name)
        self._at_work.append(name.partition("/")[0])
        assert self._at_work.count(self._at_work[-1]) == 1, "two jobs of one site at once"
        self.most = max(self.most, len(self._at_work))
        time.sleep(0.02)
        self._at_work.remove(name.partition("/")[0])

    def scheduler(self, sites: str, jobs: int) -> BackgroundScheduler:
        """Every job is due at once, those of a site one millisecond apart."""
        scheduler = BackgroundScheduler(timezone=UTC)
        scheduler.add_executor(_Turns(lambda _: nullcontext(True)), "sites")
        for name in (f"{site}/{number}" for number in range(jobs) for site in sites):
            at = utc_now() + timedelta(milliseconds=int(name[-1]))
            scheduler.add_job(
                self.job, "date", (name,), id=name, run_date=at, executor="sites", misfire_grace_time=None
            )
        return scheduler


def test_of_many_sites_so_many_are_worked_on_at_once_each_in_order_and_all_come_to_their_turn(
    running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swapsync.daemon.SITES_AT_ONCE", 3)
    bustle = Bustle()
    running(bustle.scheduler("abcdefgh", jobs=4))
    wait_until(lambda: len(bustle.began) == 32, "all of them")

    assert bustle.most == 3
    for site in "abcdefgh":
        assert [name for name in bustle.began if name[0] == site] == [f"{site}/{number}" for number in range(4)]


def test_a_stop_does_not_begin_with_the_sites_that_still_wait(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swapsync.daemon.SITES_AT_ONCE", 2)
    bustle = Bustle()
    scheduler = bustle.scheduler("abcdefgh", jobs=1)
    running(scheduler)
    wait_until(lambda: bool(bustle.began), "the first")
    scheduler.shutdown(wait=True)
    assert len(bustle.began) < 8


def test_a_job_that_breaks_holds_up_no_other_of_its_site(running: Any) -> None:
    bustle = Bustle()
    scheduler = bustle.scheduler("a", jobs=3)
    scheduler.modify_job("a/1", func=lambda name: 1 / 0)
    running(scheduler)
    wait_until(lambda: bustle.began == ["a/0", "a/2"], "the others")


def test_a_site_that_can_not_be_visited_is_visited_when_its_jobs_are_due_again(running: Any) -> None:
    visits = iter([RuntimeError("can't start new thread"), nullcontext(True)])

    def visit(_: str) -> AbstractContextManager[bool]:
        at_first = next(visits)
        if isinstance(at_first, Exception):
            raise at_first
        return at_first

    bustle = Bustle()
    scheduler = BackgroundScheduler(timezone=UTC)
    scheduler.add_executor(_Turns(visit), "sites")
    every = {"trigger": "interval", "seconds": 1, "executor": "sites", "next_run_time": utc_now()}
    scheduler.add_job(bustle.job, args=("a/0",), id="a/0", **every)
    running(scheduler)
    wait_until(lambda: bustle.began == ["a/0"], "the second visit")


@only_sqlite
def test_one_sites_slow_remote_system_holds_up_no_other_site(
    desk: Desk, world: World, running: Any, log: list[str]
) -> None:
    world.faults.add(Fault(kind="slow", side="swap", seconds=5))
    slow, quick = with_schedule(desk("slow")), with_schedule(desk("quick"))
    at = utc_now()
    running(schedule([slow], Signal(), at))
    wait_until(lambda: bool(world.calls("GET", "/returns")), "the slow call")
    running(schedule([quick], Signal(), at))
    wait_until(lambda: len(log) >= len(JOBS), "a cycle")
    assert {line.partition("/")[0] for line in log[: len(JOBS)]} == {"quick"}


@only_sqlite
def test_a_store_that_fails_for_a_while_costs_the_runs_of_that_while_only(
    desk: Desk, world: World, running: Any, log: list[str], tmp_path: Path
) -> None:
    place = with_schedule(desk(), 1)
    database, away = Path(str(place.store.engine.url.database)), tmp_path / "away.db"
    place.store.close()
    database.rename(away)
    running(schedule([place], Signal(), utc_now()))
    wait_until(lambda: any("not run: " in line for line in log), "a failure")
    place.store.close()
    database.unlink()
    away.rename(database)
    wait_until(lambda: any(": ok: " in line for line in log), "a run")


# -- a real process --------------------------------------------------------------------------------------------------


class Daemon:
    """A daemon process, its log in a file."""

    def __init__(self, server: Sandbox, store: Store, folder: Path, every: int, settings: dict[str, str]) -> None:
        schedules = "\n".join(f"{name} = {every}" for name in JOBS)
        (folder / "swapsync.toml").write_text(f"[defaults.schedule]\n{schedules}\n")
        self._log = folder / "daemon.log"
        environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SWAPSYNC_")},
            **server.environment(),
            "SWAPSYNC_CONFIG": "swapsync.toml",
            "SWAPSYNC_DATABASE_URL": store.engine.url.render_as_string(hide_password=False),
            "SWAPSYNC_EFFECTS_FROM": (utc_now() - timedelta(days=30)).isoformat(),
            "SWAPSYNC_HTTP_BACKOFF_SECONDS": "0",
            "SWAPSYNC_HTTP_MAX_ATTEMPTS": "1",
            **settings,
        }
        with self._log.open("w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "swapsync", "daemon"], env=environ, cwd=folder, stderr=stderr
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait(DEADLINE)


StartDaemon = Callable[..., Daemon]


@pytest.fixture
def daemon(server: Sandbox, world: World, store: Store, tmp_path: Path) -> Iterator[StartDaemon]:
    """Starts a daemon against the sandbox, which lives in the present: ``daemon(every=1)``, in seconds, with further
    settings by the names of their variables."""
    world.now = utc_now
    started: list[Daemon] = []

    def start(every: int = 1, **settings: str) -> Daemon:
        started.append(Daemon(server, store, tmp_path, every, settings))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()
        print(each.log)  # shown with a failure


def test_the_process_does_the_work_and_stops_cleanly_on_sigterm(
    daemon: StartDaemon, world: World, store: Store
) -> None:
    seed_demo(world)
    process = daemon()
    wait_until(lambda: len(world.calls("PUT", "/transactions")) >= 10, "credits")
    wait_until(lambda: finished(store, "ok").count("push_status") >= 2, "a second round")

    assert process.stop() == 0
    assert "Traceback" not in process.log
    assert "SIGTERM: finishing what is running" in process.log
    assert finished(store, "running", "failed") == []
    assert len(world.calls("PUT", "/transactions")) == 10


@only_sqlite
def test_the_process_answers_for_its_health_and_a_second_one_at_the_same_address_says_why_it_ends(
    daemon: StartDaemon, world: World
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    first = daemon(SWAPSYNC_HEALTH_ADDRESS=str(port))
    wait_until(lambda: "started for default" in first.log, "the start")

    for page in ("healthz", "readyz", "metrics"):
        assert requests.get(f"http://127.0.0.1:{port}/{page}", timeout=DEADLINE).status_code == 200
    second = daemon(SWAPSYNC_HEALTH_ADDRESS=str(port))
    assert second.process.wait(DEADLINE) == 2
    assert f"SWAPSYNC_HEALTH_ADDRESS: 127.0.0.1:{port} can't be listened on: Address already in use" in second.log
    assert first.stop() == 0


@only_sqlite
def test_one_remote_system_that_is_down_fails_its_jobs_only_and_is_picked_up_when_it_is_back(
    daemon: StartDaemon, world: World, store: Store
) -> None:
    seed_demo(world)
    world.faults.add(Fault(kind="status", side="swap", status=503, times=None))
    process = daemon()
    wait_until(lambda: finished(store, "failed").count("poll_returns") >= 2, "failures")
    wait_until(lambda: set(finished(store, "ok")) == set(JOBS) - {"poll_returns"}, "the other jobs")
    assert set(finished(store, "failed")) == {"poll_returns"}

    world.faults.clear()
    wait_until(lambda: len(world.calls("PUT", "/transactions")) >= 10, "credits")
    assert process.stop() == 0
    assert "Traceback" not in process.log


@only_sqlite
def test_a_stop_lets_the_running_job_finish_and_begins_no_other(
    daemon: StartDaemon, world: World, store: Store
) -> None:
    world.faults.add(Fault(kind="slow", side="swap", seconds=3))
    process = daemon(every=NEVER_AGAIN)
    wait_until(lambda: bool(world.calls("GET", "/returns")), "the first call")

    assert process.stop() == 0
    assert finished(store, "ok", "failed", "running") == ["poll_returns"]
    assert finished(store, "ok") == ["poll_returns"]


@only_sqlite
def test_ctrl_c_is_an_interruption_by_its_exit_code(daemon: StartDaemon, world: World, store: Store) -> None:
    process = daemon(every=NEVER_AGAIN)
    wait_until(lambda: "started for default" in process.log, "the start")
    assert process.stop(signal.SIGINT) == 130
    assert "Traceback" not in process.log


@only_sqlite
def test_a_second_signal_ends_the_process_at_once(daemon: StartDaemon, world: World) -> None:
    world.faults.add(Fault(kind="slow", side="swap", seconds=20))
    process = daemon(every=NEVER_AGAIN)
    wait_until(lambda: bool(world.calls("GET", "/returns")), "the first call")
    process.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "once more ends at once" in process.log, "the first signal")

    assert process.stop() == -signal.SIGTERM
    assert "stopped" not in process.log


@only_sqlite
def test_a_killed_daemon_is_replaced_without_a_second_credit(daemon: StartDaemon, world: World, store: Store) -> None:
    seed_demo(world)
    first = daemon()
    wait_until(lambda: bool(world.calls("PUT", "/transactions")), "the first credit")
    first.process.kill()
    first.process.wait()
    with store.transaction() as connection:
        long_ago = utc_now() - timedelta(hours=1)
        connection.execute(leases.update().values(expires_at=long_ago))
        connection.execute(outbox.update().values(claimed_until=long_ago))

    second = daemon()
    wait_until(lambda: finished(store, "ok").count("push_status") >= 2, "two rounds")
    world.exchanges = [
        each for each in world.exchanges if each.method != "PUT" or each.request_body
    ]  # torn by the kill
    assert second.stop() == 0
    credits = [each.request_body["platform_id"] for each in world.calls("PUT", "/transactions")]
    assert len(set(credits)) == 10
    standing = [t["platform_id"] for order in world.sparklayer.purchases for t in world.sparklayer.transactions(order)]
    assert sorted(p for p in standing if p.startswith("swap:")) == sorted(set(credits))
