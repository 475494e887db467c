"""A worker dies at each of the points of a run in turn; ``make deaths`` tries all of them, every test run some."""

import os
from datetime import UTC, datetime
from itertools import count

import pytest

from tests.simulation.checker import Wrong
from tests.simulation.machine import Plan
from tests.simulation.stage import Machines, Stage
from tests.simulation.story import Announce, Back, Close, Dusk, Find, Place, Run, Sold, Step, Story, Travel

EVERY = int(os.environ.get("DEATHS_AT_EVERY", "15"))
SITE = {
    "settle_on": "swap_closed",
    "restock_on": "inspected",
    "uses_swap_qc": "true",
    "po_required": "false",
    "http_max_attempts": "1",
    "http_backoff_seconds": "1",
}
ON_FINDINGS = SITE | {"settle_on": "inspected"}
ON_SWAPS_WORD = SITE | {"restock_on": "swap_approved"}
CAME: tuple[Step, ...] = (Travel(1, "Delivered", wait=60),)
FOUND = (*CAME, Find(1, 0, "sellable", 2), Find(1, 0, "damaged", 1))
CLOSED = (*CAME, Close(1, "Approved", wait=60))


def story(site: dict[str, str], news: tuple[Step, ...], dies_at: int) -> Story:
    """A return is known; what is new of it is dealt with by a run that dies."""
    order = Place(1, (Sold(0, 5, 10_001, 2_000), Sold(1, 2, 999, 0)), "on_account", "PO-1", "GBP")
    announced = Announce(1, 1, (Back(0, 3), Back(1, 1)))
    steps = (order, announced, Run("A", Plan()), *news, Run("A", Plan(dies_at=dies_at), wait=60), Dusk(wait=3600))
    start = datetime(2026, 5, 11, 7, 0, tzinfo=UTC)
    return Story(dies_at, start, site, pages=100, batch=100, stock=(3, 0, None, None), steps=steps)


@pytest.mark.parametrize(("site", "news"), [(ON_FINDINGS, FOUND), (ON_SWAPS_WORD, CLOSED)], ids=["found", "closed"])
def test_a_worker_that_dies_at_any_point_of_a_run_loses_and_doubles_nothing(
    site: dict[str, str], news: tuple[Step, ...]
) -> None:
    deaths = 0
    with Machines() as machines:
        for point in count(1, EVERY):
            stage = Stage(machines, story(site, news, point))
            try:
                stage.play()
            except Wrong as wrong:
                pytest.fail(f"killed at point {point}: {wrong}\n" + "\n".join(stage.told))
            if not any(told.endswith("killed") for told in stage.told):
                break
            deaths += 1
    assert deaths > 100 // EVERY
