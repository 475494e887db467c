"""One whole cycle against the demo's data, on both databases."""

from swapsync.sandbox.demo_data import seed_demo
from swapsync.sandbox.world import World
from tests.conftest import Desk, FixedClock, run


def test_a_second_and_third_cycle_change_nothing_outside(desk: Desk, world: World, clock: FixedClock) -> None:
    seed_demo(world)
    place = desk(effects_from="2026-02-08T00:00:00Z")

    first = run(place)
    writes = [e for e in world.exchanges if e.method in ("PUT", "POST") and "auth" not in e.path]
    clock.forward(minutes=5)
    run(place)
    clock.forward(minutes=5)
    third = run(place)

    assert {record.status for record in (*first.values(), *third.values())} == {"ok"}
    assert first["push_credits"].sent == 10
    assert [e for e in world.exchanges if e.method in ("PUT", "POST") and "auth" not in e.path] == writes
    assert [(r.changed, r.sent, r.failed) for r in third.values()] == [(0, 0, 0)] * 7
