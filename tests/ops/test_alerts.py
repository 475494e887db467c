"""Who is told of trouble, and when: once, once more when it is over, and again while nobody could be told."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from apscheduler.events import EVENT_JOB_EXECUTED
from loguru import logger
from sqlalchemy import insert, select, text

from swapsync.cli import main
from swapsync.daemon import schedule
from swapsync.jobs.alerts import LINES, Lookout, alerts, tell_everybody
from swapsync.jobs.workplace import Workplace
from swapsync.sandbox.faults import Fault
from swapsync.sandbox.server import Sandbox
from swapsync.sandbox.world import World, utc_now
from swapsync.store.health import job_control
from tests import scenario
from tests.conftest import Desk, FixedClock, run
from tests.rules.scenario import one_store_is_enough


@dataclass
class Inbox:
    """What people were told, over real HTTP; ``answer`` is the status that the next messages get, after ``seconds``."""

    url: str = ""
    messages: list[dict[str, Any]] = field(default_factory=list)
    answer: int = 200
    seconds: float = 0

    def taken(self) -> list[tuple[str, str]]:
        """(title, text) of each message since the last look."""
        told = [(message["title"], message["message"]) for message in self.messages]
        self.messages.clear()
        return told


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    box = Inbox()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            time.sleep(box.seconds)
            if box.answer == 200:
                box.messages.append(message)
            self.send_response(box.answer)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    box.url = f"json://kim:tell-nobody@127.0.0.1:{server.server_port}/"
    yield box
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), level="INFO")
    yield lines
    logger.remove(sink)


def tell(*places: Workplace) -> None:
    tell_everybody([place.site for place in places], places[0].store, places[0].clock)


def swap_is_down(world: World) -> None:
    world.faults.add(Fault(kind="status", status=503, side="swap", times=None))


def test_lasting_trouble_is_told_once_and_once_more_when_it_is_over(
    desk: Desk, world: World, clock: FixedClock, inbox: Inbox
) -> None:
    place = desk(alert_urls=inbox.url)
    run(place)
    swap_is_down(world)
    for _ in range(13):  # an hour and five minutes
        clock.forward(minutes=5)
        run(place)
        tell(place)
    assert [title for title, _ in inbox.taken()] == ["swapsync default: 1 problem"]

    clock.forward(minutes=5)
    run(place)
    tell(place)
    assert inbox.taken() == []

    world.faults.clear()
    clock.forward(minutes=5)  # until then the circuit breaker spares Swap
    run(place)
    tell(place)
    tell(place)
    ((title, text),) = inbox.taken()
    assert title == "swapsync default: 1 problem over"
    assert text.startswith("over: poll_returns failed 5 times in a row; the last error: Swap: GET ")


def test_trouble_that_does_not_last_is_counted_and_tells_nobody(
    desk: Desk, world: World, clock: FixedClock, inbox: Inbox
) -> None:
    place = desk(alert_urls=inbox.url)
    run(place)
    swap_is_down(world)
    for _ in range(4):
        clock.forward(minutes=5)
        run(place)
        tell(place)
    world.faults.clear()
    run(place)
    tell(place)

    assert inbox.taken() == []


def test_silence_is_told_too(desk: Desk, world: World, clock: FixedClock, inbox: Inbox) -> None:
    place = desk(alert_urls=inbox.url)
    run(place)
    clock.forward(hours=3)

    tell(place)

    ((title, text),) = inbox.taken()
    assert title == "swapsync default: 7 problems"
    assert "push_credits has not succeeded since 2026-03-10 12:00 UTC" in text.splitlines()


def test_of_two_daemons_on_one_store_one_tells_the_same_trouble(
    desk: Desk, world: World, clock: FixedClock, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swapsync.daemon.EVERY_SECONDS", 1)
    place = desk(alert_urls=inbox.url)
    run(place)
    clock.forward(hours=3)
    inbox.seconds = 0.5  # both look while the first message is on its way

    looks = [threading.Semaphore(0), threading.Semaphore(0)]
    daemons = [schedule([place], threading.Event(), utc_now() + timedelta(hours=1)) for _ in looks]
    for daemon, looked in zip(daemons, looks, strict=True):
        daemon.add_listener(lambda _, looked=looked: looked.release(), EVENT_JOB_EXECUTED)
        daemon.start()
    try:
        assert all(looked.acquire(timeout=30) for looked in looks for _ in range(3))
    finally:
        for daemon in daemons:
            daemon.shutdown()

    assert [title for title, _ in inbox.taken()] == ["swapsync default: 7 problems"]


def test_a_job_that_a_person_paused_is_not_trouble(desk: Desk, world: World, clock: FixedClock, inbox: Inbox) -> None:
    place = desk(alert_urls=inbox.url)
    run(place)
    clock.forward(hours=3)
    with place.store.transaction() as connection:
        pause = {"site": "default", "paused_at": clock.now(), "actor": "kim", "reason": "stocktaking"}
        connection.execute(insert(job_control), [pause | {"job": job} for job in place.site.schedule])

    tell(place)

    assert inbox.taken() == []


def test_a_critical_exception_past_its_due_time_is_told_by_name(
    desk: Desk, world: World, clock: FixedClock, inbox: Inbox
) -> None:
    scenario.sold(world)
    scenario.approved(world, total_refunded=Decimal("48.00"))
    place = desk(alert_urls=inbox.url)
    run(place)
    clock.forward(hours=7)
    run(place)
    tell(place)
    assert inbox.taken() == []

    clock.forward(hours=2)
    run(place)
    tell(place)
    ((_, text),) = inbox.taken()
    assert text.startswith("GATEWAY_REFUND_ON_ACCOUNT, for finance, was due 2026-03-10 20:00 UTC: RMA R1: ")

    world.swap.change_return("ret-1", total_refund_value_customer_currency=0)
    clock.forward(minutes=1)
    run(place)
    tell(place)
    assert [title for title, _ in inbox.taken()] == ["swapsync default: 1 problem over"]


def test_a_message_that_nobody_took_is_sent_again_and_no_job_minds(
    desk: Desk, world: World, clock: FixedClock, inbox: Inbox, log: list[str]
) -> None:
    place = desk(alert_urls=inbox.url)
    run(place)
    clock.forward(hours=3)
    inbox.answer = 500
    tell(place)
    assert inbox.taken() == []
    assert "the json address in alert_urls did not take a message" in log[-1]

    inbox.answer = 200
    tell(place)
    assert len(inbox.taken()) == 1
    inbox.answer = 500
    run(place)
    tell(place)
    inbox.answer = 200
    tell(place)
    assert [title for title, _ in inbox.taken()] == ["swapsync default: 7 problems over"]
    assert "tell-nobody" not in "".join(log)


@one_store_is_enough
def test_one_address_that_is_broken_does_not_have_the_other_told_again_and_again(
    desk: Desk, world: World, clock: FixedClock, inbox: Inbox, log: list[str]
) -> None:
    place = desk(alert_urls=f"nonsense://topsecret {inbox.url}")
    run(place)
    clock.forward(hours=3)
    tell(place)
    tell(place)

    assert len(inbox.taken()) == 1
    assert "the nonsense address in alert_urls did not take a message" in "".join(log)
    assert "topsecret" not in "".join(log)


@one_store_is_enough
def test_what_was_never_told_needs_no_recovery_notice(
    desk: Desk, world: World, clock: FixedClock, inbox: Inbox
) -> None:
    place = desk(alert_urls=inbox.url)
    run(place)
    clock.forward(hours=3)
    inbox.answer = 500
    tell(place)
    inbox.answer = 200
    run(place)
    tell(place)

    assert inbox.taken() == []
    with place.store.reading() as connection:
        assert connection.execute(select(alerts)).all() == []


@one_store_is_enough
def test_each_sites_people_are_told_of_their_own_site_only(
    desk: Desk, world: World, clock: FixedClock, inbox: Inbox
) -> None:
    acme, beta = desk("acme", alert_urls=inbox.url), desk("beta")
    run(acme)
    run(beta)
    clock.forward(hours=3)
    run(acme)
    tell(acme, beta)

    assert inbox.taken() == []


@one_store_is_enough
def test_much_trouble_is_one_message_that_says_how_much_more_there_is(
    desk: Desk, world: World, clock: FixedClock, inbox: Inbox
) -> None:
    scenario.sold(world)
    for number in range(LINES + 5):
        scenario.approved(world, return_id=f"r{number}", rma_number=f"R{number}", total_refunded=Decimal("48.00"))
    place = desk(alert_urls=inbox.url)
    run(place)
    clock.forward(hours=9)
    run(place)
    tell(place)

    ((title, text),) = inbox.taken()
    assert title == f"swapsync default: {LINES + 5} problems"
    assert text.splitlines()[-1] == "… and 5 more: swapsync status"


@one_store_is_enough
def test_a_store_that_fails_costs_the_alerts_of_that_moment_only(
    desk: Desk, world: World, clock: FixedClock, inbox: Inbox, log: list[str]
) -> None:
    place = desk(alert_urls=inbox.url)
    run(place)
    clock.forward(hours=3)
    with place.store.transaction() as connection:
        connection.execute(text("ALTER TABLE alert RENAME TO away"))
    tell(place)
    assert "alerts wait for the next look" in log[-1]

    with place.store.transaction() as connection:
        connection.execute(text("ALTER TABLE away RENAME TO alert"))
    tell(place)
    assert len(inbox.taken()) == 1


@one_store_is_enough
def test_a_store_that_stays_away_is_told_by_the_daemon_once_and_once_more_when_it_is_back(
    desk: Desk, clock: FixedClock, inbox: Inbox
) -> None:
    place = desk(alert_urls=inbox.url)
    run(place)
    inbox.messages.clear()
    lookout = Lookout([place.site], place.store, clock)
    with place.store.transaction() as connection:
        connection.execute(text("ALTER TABLE lease RENAME TO away"))
    for _ in range(5):
        lookout.look()
        clock.forward(minutes=1)
    assert inbox.taken() == [], "it may only be restarting"

    inbox.answer = 500
    lookout.look()
    inbox.answer = 200
    for _ in range(3):
        clock.forward(minutes=1)
        lookout.look()
    [(title, body)] = inbox.taken()
    assert title == "swapsync default: the store is away"
    assert body.splitlines() == [
        "since 2026-03-10 12:00 UTC: the store failed: no such table: lease",
        "nothing is read, credited or restocked meanwhile",
    ]

    with place.store.transaction() as connection:
        connection.execute(text("ALTER TABLE away RENAME TO lease"))
    for _ in range(2):
        lookout.look()
    assert [title for title, _ in inbox.taken()] == ["swapsync default: the store is back"]

    with place.store.transaction() as connection:
        connection.execute(text("ALTER TABLE lease RENAME TO away"))
    lookout.look()
    assert inbox.taken() == [], "a new trouble begins anew"


@one_store_is_enough
def test_sync_tells_at_its_end_so_that_cron_does_too(
    server: Sandbox,
    world: World,
    database_url: str,
    inbox: Inbox,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    told_at_once = {"SWAPSYNC_ALERT_URLS": inbox.url, "SWAPSYNC_ALERT_AFTER_FAILURES": "1"}
    quick = {"SWAPSYNC_HTTP_BACKOFF_SECONDS": "0", "SWAPSYNC_HTTP_MAX_ATTEMPTS": "1"}
    settings = server.environment() | {"SWAPSYNC_DATABASE_URL": database_url} | told_at_once | quick
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["swapsync", "sync", "--job", "poll_returns"])
    swap_is_down(world)

    with pytest.raises(SystemExit) as ended:
        main()
    logger.remove()

    assert ended.value.code == 1
    assert [title for title, _ in inbox.taken()] == ["swapsync default: 1 problem"]
