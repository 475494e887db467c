"""What the daemon says of itself: alive, ready, and its figures."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import requests
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import insert, text

from swapsync.health import answering, listen
from swapsync.jobs.workplace import Workplace
from swapsync.sandbox.faults import Fault
from swapsync.sandbox.world import World
from swapsync.store.health import job_control
from tests import scenario
from tests.conftest import Desk, FixedClock, run
from tests.rules.scenario import one_store_is_enough

LABELS = ("site", "job", "stream", "connection", "kind", "state", "status", "owner", "severity", "outcome")
Figures = dict[tuple[str, ...], float]


@dataclass
class Pages:
    """The pages of a daemon for these sites, asked over real HTTP."""

    places: list[Workplace]
    scheduling: bool = True

    def get(self, path: str) -> requests.Response:
        store, clock = self.places[0].store, self.places[0].clock
        sites = [place.site for place in self.places]
        with listen("127.0.0.1:0") as socket, answering(socket, sites, store, clock, lambda: self.scheduling):
            return requests.get(f"http://127.0.0.1:{socket.getsockname()[1]}{path}", timeout=30)


def pages(*places: Workplace, scheduling: bool = True) -> Pages:
    return Pages(list(places), scheduling)


def figures(place: Workplace, name: str) -> Figures:
    """The values of one metric by the values of its labels, read as Prometheus reads them."""
    page = pages(place).get("/metrics").text
    return {
        tuple(sample.labels[label] for label in LABELS if label in sample.labels): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == f"swapsync_{name}"
    }


def test_healthz_says_whether_the_scheduler_runs(desk: Desk) -> None:
    assert pages(desk()).get("/healthz").json() == {"ok": True, "problems": []}

    answer = pages(desk(), scheduling=False).get("/healthz")

    assert (answer.status_code, answer.json()["problems"]) == (503, ["the scheduler does not run"])


def test_ready_while_every_job_succeeded_in_time_and_not_once_one_is_late(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    place = desk()
    run(place)
    clock.forward(minutes=64)
    assert pages(place).get("/readyz").status_code == 200

    run(place, "poll_returns", "poll_orders", "poll_skus", "reconcile", "push_restocks", "push_status")
    clock.forward(minutes=2)
    late = pages(place).get("/readyz")

    assert (late.status_code, late.json()["problems"]) == (503, ["default/push_credits is late"])


def test_a_job_that_never_succeeded_is_late_from_its_first_run_on(desk: Desk, world: World, clock: FixedClock) -> None:
    place = desk()
    world.faults.add(Fault(kind="status", status=503, side="swap", times=None))
    for _ in range(2):
        run(place, "poll_returns")
        clock.forward(minutes=31)

    assert pages(place).get("/readyz").json()["problems"] == ["default/poll_returns is late"]


def test_a_paused_job_is_not_late(desk: Desk, world: World, clock: FixedClock) -> None:
    place = desk()
    run(place)
    clock.forward(hours=9)
    with place.store.transaction() as connection:
        connection.execute(
            insert(job_control).values(site="default", job="", paused_at=clock.now(), actor="kim", reason="stocktaking")
        )

    assert pages(place).get("/readyz").status_code == 200
    assert figures(place, "job_paused")["default", "push_credits"] == 1


def test_a_job_on_a_cron_string_is_late_only_after_its_next_time(desk: Desk, world: World, clock: FixedClock) -> None:
    place = desk()
    weekdays = place.site.model_copy(update={"schedule": place.site.schedule | {"poll_returns": "0 6 * * mon-fri"}})
    place = Workplace(weekdays, place.store, place.swap, place.sparklayer, clock, place.effects_from)
    clock.moment = datetime(2026, 3, 13, 6, 0, tzinfo=UTC)  # a Friday
    run(place, "poll_returns")

    clock.moment = datetime(2026, 3, 16, 6, 59, tzinfo=UTC)
    assert pages(place).get("/readyz").status_code == 200
    clock.forward(minutes=2)
    assert pages(place).get("/readyz").status_code == 503


def test_not_ready_on_another_schema_or_without_a_store(desk: Desk, world: World, tmp_path: Path) -> None:
    place = desk()
    with place.store.transaction() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert "the store has schema 9999" in pages(place).get("/readyz").json()["problems"][0]

    with place.store.transaction() as connection:
        connection.execute(text("DROP TABLE run"))
        connection.execute(text("DELETE FROM alembic_version"))
    assert pages(place).get("/readyz").status_code == 503
    assert figures(place, "store_up") == {(): 0}


def test_the_figures_are_those_of_the_store(desk: Desk, world: World, clock: FixedClock) -> None:
    scenario.sold(world)
    scenario.approved(world)
    scenario.returned(world, return_id="ret-2", rma_number="R2", order_id="404", order_name="#404")
    place = desk()
    world.faults.add(Fault(kind="status", status=503, path_contains="/transactions", times=None))
    run(place)
    clock.forward(days=3)

    assert figures(place, "job_last_success_age_seconds")["default", "poll_returns"] == 3 * 86_400
    assert figures(place, "job_failures_in_a_row")["default", "poll_returns"] == 0
    assert figures(place, "outbox_effects")["default", "credit", "pending"] == 1
    assert figures(place, "outbox_oldest_age_seconds")["default", "credit", "pending"] == 3 * 86_400
    assert figures(place, "exceptions_open") == {("default", "customer_service", "warning"): 1}
    assert figures(place, "exceptions_overdue") == {("default", "customer_service", "warning"): 1}
    streams = {("default", "swap.returns"), ("default", "sparklayer.orders")}
    assert figures(place, "stream_age_seconds").keys() == streams
    assert figures(place, "store_up") == {(): 1}


@one_store_is_enough
def test_requests_and_runs_of_the_process_are_counted(desk: Desk, world: World) -> None:
    place = desk()
    before = figures(place, "requests_total").get(("Swap", "5xx"), 0)
    runs_before = figures(place, "job_runs_total").get(("default", "poll_returns", "failed"), 0)
    world.faults.add(Fault(kind="status", status=503, side="swap", times=2))

    run(place, "poll_returns")

    assert figures(place, "requests_total")["Swap", "5xx"] == before + 2
    assert figures(place, "job_runs_total")["default", "poll_returns", "failed"] == runs_before + 1


@one_store_is_enough
def test_waiting_for_our_own_limit_is_counted(desk: Desk, world: World) -> None:
    place = desk(swap_requests_per_minute="1")
    before = figures(place, "rate_limit_wait_seconds_total").get(("Swap",), 0)

    run(place, "poll_returns")
    run(place, "poll_returns")

    assert figures(place, "rate_limit_wait_seconds_total")["Swap",] >= before + 59


@one_store_is_enough
def test_no_label_holds_what_came_from_outside_and_other_sites_are_left_to_their_own_daemon(
    desk: Desk, world: World
) -> None:
    scenario.sold(world)
    scenario.approved(world)
    other, place = desk("other"), desk()
    run(other)
    run(place)

    page = pages(place).get("/metrics").text
    of_store = [line for line in page.splitlines() if re.match(r"swapsync_(job_last|outbox|exceptions|stream)", line)]

    assert of_store
    assert all('site="default"' in line for line in of_store)
    assert not re.search("ret-1|R1|5001|MUG|PO-1|buyer", page)


@one_store_is_enough
def test_a_scrape_takes_few_statements_however_many_sites_there_are(desk: Desk, world: World) -> None:
    from sqlalchemy import event

    places = [desk(f"site{number}") for number in range(5)]
    for place in places:
        run(place)
    statements: list[str] = []
    event.listen(places[0].store.engine, "before_cursor_execute", lambda *a: statements.append(a[2]))

    pages(*places).get("/metrics")

    assert len([s for s in statements if s.lstrip().startswith(("SELECT", "WITH"))]) <= 6
