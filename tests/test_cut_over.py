"""Moving the cut-over: only by an explicit command, with a preview, and never over what was credited (rule 12)."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from swapsync.jobs.cut_over import Moved, MoveRefused, move, preview_move
from swapsync.jobs.plan import Plan
from swapsync.jobs.workplace import Workplace
from swapsync.sandbox.server import Sandbox
from swapsync.sandbox.world import World
from swapsync.store import runs
from swapsync.store.outbox import Kind
from tests.conftest import Desk, FixedClock, run
from tests.rules import scenario as s
from tests.test_dry_run import everything

LATE, EARLY = datetime(2026, 3, 10, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)
CLOSED_BEFORE: dict[str, Any] = s.APPROVED | {"closed": datetime(2026, 3, 9, 9, 0, tzinfo=UTC)}


@pytest.fixture
def outside(desk: Desk, world: World) -> Workplace:
    """RMA-1 was closed a day before the cut-over, so it is settled outside."""
    s.order(world)
    s.returned(world, **CLOSED_BEFORE)
    place = desk(effects_from="2026-03-10T00:00:00Z")
    run(place)
    assert s.state(place) == "settled_outside"
    return place


def moved(place: Workplace, to: datetime) -> Moved:
    return move(place.store, place.slug, to, actor="ida", now=place.clock.now())


def previewed(place: Workplace, to: datetime) -> tuple[Moved, Plan]:
    with place.store.copied() as copy:
        return preview_move(place.site, copy, place.clock, to)


def test_moved_back_a_return_settled_outside_is_live_again_and_credited_once(outside: Workplace, world: World) -> None:
    assert moved(outside, EARLY) == Moved(LATE, EARLY, ("R1",), ())
    run(outside)
    run(outside)
    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}
    assert s.state(outside) == "credited"


def test_the_preview_lists_what_would_be_credited_and_changes_nothing(outside: Workplace, world: World) -> None:
    before = everything(outside.store)

    what, plan = previewed(outside, EARLY)

    assert what == Moved(LATE, EARLY, ("R1",), ())
    assert [write.facts["total"] for write in plan.writes if write.kind is Kind.CREDIT] == ["-48.00"]
    assert everything(outside.store) == before
    assert s.writes(world) == []


@pytest.mark.parametrize(
    ("to", "alive"),
    [
        (datetime(2026, 3, 9, 9, 0, tzinfo=UTC), ("R1",)),
        (datetime(2026, 3, 9, 9, 0, 1, tzinfo=UTC), ()),
    ],
)
@s.one_store_is_enough
def test_what_ended_before_the_new_moment_stays_outside(
    outside: Workplace, to: datetime, alive: tuple[str, ...]
) -> None:
    assert moved(outside, to).alive == alive


def test_what_was_reopened_in_swap_meanwhile_stays_outside(outside: Workplace, world: World, clock: FixedClock) -> None:
    clock.forward(minutes=5)
    world.swap.change_return("R1", return_status="Open")
    run(outside)
    assert moved(outside, EARLY).alive == ()
    assert s.state(outside) == "settled_outside"


def test_moved_forward_what_waits_is_settled_outside_and_its_exceptions_close(desk: Desk, world: World) -> None:
    s.order(world, payment_method="barter")
    s.returned(world, **(s.APPROVED | {"delivery_status": "In-Transit"}))
    place = desk()
    run(place)
    assert s.open_codes(place) == ["PAYMENT_METHOD_UNKNOWN"]

    assert moved(place, LATE).outside == ("R1",)
    run(place)

    assert s.state(place) == "settled_outside"
    assert s.open_codes(place) == []


def test_moved_forward_it_never_touches_what_was_credited(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    run(place)
    before = s.documents(place)

    assert moved(place, LATE) == Moved(EARLY, LATE, (), ())
    run(place)

    assert (s.state(place), s.documents(place)) == ("credited", before)


def test_goods_that_we_moved_keep_their_return_ours(desk: Desk, world: World) -> None:
    s.order(world, payment_method="barter")
    s.returned(world, **s.APPROVED)
    place = desk()
    run(place)
    assert s.moved(place) == [("received", 4)]
    assert moved(place, LATE).outside == ()


def test_what_a_move_left_ours_stays_ours_when_it_changes(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world, payment_method="platform_upfront")
    s.returned(world, **s.APPROVED, total_refunded=48)
    place = desk()
    run(place)
    assert moved(place, LATE).outside == ()
    clock.forward(minutes=5)
    world.swap.change_return("R1", tags="touched")
    run(place)
    assert s.state(place) == "refunded_by_gateway"


def test_moved_forward_no_note_goes_out_any_more_and_moved_back_it_does(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, **(s.APPROVED | {"delivery_status": "In-Transit"}))
    place = desk(push_status="false")
    run(place)
    assert s.undelivered(place) == [("note", "pending")]

    assert moved(place, LATE).outside == ("R1",)
    run(desk())
    assert (s.notes(world), s.undelivered(place)) == ([], [("note", "withdrawn")])

    assert moved(place, EARLY).alive == ("R1",)
    run(desk())
    assert s.tokens(world) == ["swap:R1:authorised:1"]


def test_there_and_back_comes_to_the_same(outside: Workplace) -> None:
    assert moved(outside, EARLY).alive == ("R1",)
    assert moved(outside, LATE).outside == ("R1",)
    run(outside)
    assert s.state(outside) == "settled_outside"
    assert s.documents(outside) == []


def test_a_worker_that_was_started_before_the_move_goes_by_the_new_moment(
    outside: Workplace, world: World, clock: FixedClock
) -> None:
    moved(outside, EARLY)
    s.second(world, **CLOSED_BEFORE, updated=clock.now())
    run(outside)
    assert s.state(outside, "R2") == "credited"


def test_the_move_is_in_the_trail_with_who_did_it(outside: Workplace) -> None:
    moved(outside, EARLY)
    with outside.store.reading() as connection:
        assert runs.cut_over(connection, outside.slug) == EARLY
    entries = [row for row in everything(outside.store)["event"] if "cut_over_moved" in row]
    assert len(entries) == 1
    assert "ida" in entries[0]


def test_a_site_that_never_ran_has_none_to_move(desk: Desk, world: World) -> None:
    place = desk()
    with pytest.raises(MoveRefused, match="its first run fixes it"):
        move(place.store, "nobody", EARLY, actor="ida", now=place.clock.now())


def test_the_command_previews_first_and_moves_with_yes(outside: Workplace, server: Sandbox, tmp_path: Path) -> None:
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("SWAPSYNC_")},
        **server.environment(),
        "SWAPSYNC_DATABASE_URL": outside.store.engine.url.render_as_string(hide_password=False),
        "SWAPSYNC_EFFECTS_FROM": "2026-01-01T00:00:00Z",
    }

    def call(*arguments: str) -> Any:
        asked = [sys.executable, "-m", "swapsync", "cut-over", *arguments, "--json"]
        done = subprocess.run(asked, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    shown = {
        "site": "default",
        "effects_from": "2026-03-10T00:00:00Z",
        "setting": "2026-01-01T00:00:00Z",
        "settled_outside": 1,
    }
    assert call("show") == [shown]
    plan = call("move", "--to", "2026-03-01")
    assert (plan["moved"], plan["alive"], plan["credited"]) == (False, ["R1"], {"GBP": {"count": 1, "gross": "48.00"}})
    assert call("show") == [shown]
    done = call("move", "--to", "2026-03-01", "--yes")
    assert (done["moved"], done["alive"], done["to"]) == (True, ["R1"], "2026-03-01T00:00:00Z")
    assert call("show") == [shown | {"effects_from": "2026-03-01T00:00:00Z", "settled_outside": 0}]
