"""The rate limit that all workers of a store keep together (on both databases)."""

import threading
from datetime import datetime

from swapsync.jobs.workplace import Workplace
from swapsync.sandbox.world import World
from swapsync.store.db import Store
from swapsync.store.request_budget import SharedBudget
from tests.conftest import Desk, FixedClock, run


def budget(
    store: Store, clock: FixedClock, limit: int = 5, site: str = "default", account: str = "swap"
) -> SharedBudget:
    return SharedBudget(store, clock, site, account, limit)


def test_workers_of_one_store_never_send_more_together_than_the_limit_within_a_minute(
    store: Store, clock: FixedClock
) -> None:
    lock = threading.Lock()
    sent: list[datetime] = []

    def worker() -> None:
        mine = budget(Store(store.engine.url.render_as_string(hide_password=False)), clock)
        for _ in range(4):
            mine.wait_for_turn()
            with lock:
                sent.append(clock.now())

    workers = [threading.Thread(target=worker) for _ in range(3)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()

    assert len(sent) == 12
    assert (max(sent) - min(sent)).total_seconds() >= 2 * 60  # 5, 5 and 2


def test_the_one_beyond_the_limit_waits_until_the_oldest_is_a_minute_ago(store: Store, clock: FixedClock) -> None:
    mine = budget(store, clock, limit=2)
    assert mine.wait_for_turn() == 0
    clock.forward(seconds=20)
    assert mine.wait_for_turn() == 0
    assert 40 <= budget(store, clock, limit=2).wait_for_turn() <= 41.5


def test_each_account_and_each_site_has_a_limit_of_its_own(store: Store, clock: FixedClock) -> None:
    for site, account in (("default", "swap"), ("default", "sparklayer"), ("other", "swap")):
        assert budget(store, clock, 1, site, account).wait_for_turn() == 0


def test_a_clock_that_is_set_back_stops_nobody(store: Store, clock: FixedClock) -> None:
    budget(store, clock, limit=1).wait_for_turn()
    clock.forward(hours=-5)
    assert budget(store, clock, limit=1).wait_for_turn() == 0


def test_a_store_that_is_away_stops_nobody(clock: FixedClock) -> None:
    assert budget(Store("sqlite:////nowhere/at/all.db"), clock).wait_for_turn() == 0


def test_two_desks_on_one_store_share_the_limit_and_another_sites_requests_do_not_count(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    def of_a_minute(*places: Workplace) -> float:
        began = clock.now()
        for place in places:
            run(place, "poll_returns")
        return (clock.now() - began).total_seconds()

    first, second = (desk(swap_requests_per_minute="1") for _ in range(2))
    other = desk("other", swap_requests_per_minute="1")
    assert of_a_minute(first, other) == 0
    assert of_a_minute(second) >= 60
