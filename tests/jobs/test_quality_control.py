"""Findings reported to Swap: only where the site wants it, never for a pay-later order, never twice."""

import pytest
from sqlalchemy import select

from swapsync.jobs.inspection import Entry, record_findings
from swapsync.sandbox.faults import Fault
from swapsync.sandbox.world import World
from swapsync.store.exceptions import exceptions
from tests.conftest import Desk, run
from tests.scenario import returned, sold


@pytest.mark.parametrize(
    ("switch", "payment_method", "reports"),
    [("true", "platform_upfront", 1), ("false", "platform_upfront", 0), ("true", "on_account", 0)],
)
def test_a_finding_reaches_swap_only_where_it_cannot_refund_a_pay_later_order(
    desk: Desk, world: World, switch: str, payment_method: str, reports: int
) -> None:
    sold(world, payment_method=payment_method)
    returned(world)
    place = desk(swap_qc_updates=switch)
    run(place)
    record_findings(
        place.store, place.slug, [Entry("R1", "MUG", "no value", "4", "k")], actor="wanda", now=place.clock.now()
    )

    run(place)
    run(place)

    assert len(world.swap.quality_control) == reports
    assert all(r["condition"] == "No-Value" and r["return_qty"] == 4 for r in world.swap.quality_control)


def test_a_finding_that_waits_is_not_told_once_the_order_is_paid_later(desk: Desk, world: World) -> None:
    sold(world, payment_method="platform_upfront")
    returned(world)
    place = desk(swap_qc_updates="true")
    run(place)
    record_findings(
        place.store, place.slug, [Entry("R1", "MUG", "no value", "4", "k")], actor="wanda", now=place.clock.now()
    )
    run(place, "reconcile")
    world.sparklayer.change_purchase("5001", payment_method="on_account")

    run(place)
    run(place)

    assert world.swap.quality_control == []


def test_a_report_without_a_reply_is_not_sent_again_but_shown_to_a_person(desk: Desk, world: World) -> None:
    sold(world, payment_method="platform_upfront")
    returned(world)
    place = desk(swap_qc_updates="true")
    run(place)
    record_findings(
        place.store, place.slug, [Entry("R1", "MUG", "sellable", "4", "k")], actor="wanda", now=place.clock.now()
    )
    world.faults.add(Fault(kind="lost_reply_after", path_contains="quality-control"))

    run(place)
    run(place)

    assert len(world.swap.quality_control) == 1
    with place.store.reading() as connection:
        [row] = connection.execute(select(exceptions).where(exceptions.c.status == "open")).all()
    assert row.code == "DELIVERY_FAILED"
    assert "check the return in Swap" in row.detail
