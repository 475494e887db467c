"""swapsync reconcile: what a person, a cron job and a month-end get from it."""

import csv
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from loguru import logger
from sqlalchemy import select

from swapsync.cli import main
from swapsync.connectors.sparklayer import OrderRef
from swapsync.domain.catalogue import Code
from swapsync.jobs.compare import Period, compare, read_transaction, reconcile_sites
from swapsync.jobs.workplace import Tally
from swapsync.reports.month_end import read_month_end
from swapsync.sandbox.faults import Fault
from swapsync.sandbox.server import Sandbox
from swapsync.sandbox.world import World, stable_uuid
from swapsync.store.db import Store
from swapsync.store.exceptions import exceptions, open_of_code
from tests.conftest import Desk, FixedClock, run
from tests.scenario import approved, returned, sold
from tests.workers import another_worker_at

MARCH = ("--month", "2026-03")
PERIOD = Period(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC))
CREDIT = "swap:ret-1:credit:1"


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Ended]


@pytest.fixture
def swapsync(
    server: Sandbox,
    world: World,
    store: Store,
    database_url: str,
    clock: FixedClock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """The command itself, at a site whose environment it reads: ``swapsync("sync")``."""
    environment = server.environment() | {
        "SWAPSYNC_DATABASE_URL": database_url,
        "SWAPSYNC_HTTP_BACKOFF_SECONDS": "0",
        "SWAPSYNC_HTTP_MAX_ATTEMPTS": "2",
        "SWAPSYNC_EFFECTS_FROM": "2026-03-01T00:00:00Z",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("swapsync.clock.Clock", lambda: clock)

    def call(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["swapsync", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        logger.remove()
        said = capsys.readouterr()
        return Ended(int(ended.value.code or 0), said.out, said.err)

    return call


def credit_delivered(world: World, swapsync: Command) -> None:
    """Return R1 of order #5001, credited with 48.00."""
    sold(world)
    approved(world)
    assert swapsync("sync").code == 0
    assert [row["platform_id"] for row in world.sparklayer.transactions("5001")] == [CREDIT]


def by_hand(world: World, **changes: Any) -> None:
    """Somebody changes our transaction in SparkLayer."""
    [standing] = (row for row in world.sparklayer.transactions("5001") if row["platform_id"] == CREDIT)
    world.sparklayer.put_transaction(stable_uuid("purchase:5001"), standing | changes)


def deleted_by_hand(world: World, platform_id: str = CREDIT) -> None:
    del world.sparklayer._transactions[stable_uuid("purchase:5001")][platform_id]


def misaligned(store: Store) -> list[tuple[str, str]]:
    """Subject and status of every CREDIT_MISALIGNED there ever was."""
    with store.reading() as connection:
        rows = connection.execute(
            select(exceptions).where(exceptions.c.code == Code.CREDIT_MISALIGNED).order_by(exceptions.c.id)
        )
        return [(row.subject, row.status) for row in rows]


# -- a month that closes ---------------------------------------------------------------------------------------------


def test_a_clean_month_has_no_differences_and_ends_with_0(world: World, swapsync: Command) -> None:
    credit_delivered(world, swapsync)

    ended = swapsync("reconcile", *MARCH, "--fail-on-difference", "--json")

    assert ended.code == 0
    assert ended.document["differences"] == []
    assert ended.document["files"] == []
    assert ended.document["period"] == {"since": "2026-03-01T00:00:00Z", "until": "2026-04-01T00:00:00Z"}
    assert ended.document["totals"]["GBP"]["credit_notes"]["delivered"] == {
        "count": 1,
        "net": "40.00",
        "tax": "8.00",
        "gross": "48.00",
    }
    assert [job["job"] for job in ended.document["sites"][0]["jobs"]] == [
        "poll_returns",
        "poll_orders",
        "poll_skus",
        "reconcile",
        "compare",
    ]


def test_it_reads_both_systems_first_and_writes_to_neither(world: World, swapsync: Command) -> None:
    sold(world)
    approved(world)

    ended = swapsync("reconcile", *MARCH, "--json")

    assert ended.document["totals"]["GBP"]["credit_notes"]["pending"]["gross"] == "48.00"
    assert [e.path for e in world.exchanges if e.method in ("PUT", "POST")] == ["/api/auth/token"]


def test_a_credit_that_waits_for_delivery_is_counted_and_is_no_difference(world: World, swapsync: Command) -> None:
    sold(world)
    approved(world)

    ended = swapsync("reconcile", *MARCH, "--fail-on-difference", "--json")

    assert (ended.code, ended.document["differences"]) == (0, [])


def test_a_refund_by_the_gateway_is_counted_and_is_no_difference(world: World, swapsync: Command) -> None:
    sold(world, payment_method="platform_upfront")
    approved(world, total_refunded=Decimal("47.50"), closed=None)

    ended = swapsync("reconcile", *MARCH, "--fail-on-difference", "--json")

    figures = ended.document["totals"]["GBP"]
    assert ended.code == 0
    assert figures["gateway_refunds"] == {"count": 1, "amount": "47.50"}
    assert figures["returns"]["by_settlement"]["refunded_by_gateway"] == {"count": 1, "value": "48.00"}
    assert figures["credit_notes"]["issued"]["count"] == 0
    assert world.calls("GET", "/transactions") == []


def test_history_from_before_the_cut_over_stands_apart_and_is_no_difference(
    world: World, swapsync: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWAPSYNC_EFFECTS_FROM", "2026-03-09T00:00:00Z")
    sold(world)
    approved(world, customer_email="stranger@else.example", total=Decimal(999))

    ended = swapsync("reconcile", *MARCH, "--fail-on-difference", "--json")

    assert (ended.code, ended.document["differences"]) == (0, [])
    assert ended.document["totals"]["GBP"]["settled_outside"] == {"count": 1, "value": "999.00"}
    assert ended.document["totals"]["GBP"]["returns"]["count"] == 0
    assert world.calls("GET", "/transactions") == []


# -- our ledger against SparkLayer's ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"total": {"number": "-47.99", "currency": "GBP"}}, '"-47.99" instead of -48.00'),
        ({"total": {"number": "-48.001", "currency": "GBP"}}, '"-48.001" instead of -48.00'),
        ({"total": {"number": "48.00", "currency": "GBP"}}, '"48.00" instead of -48.00'),
        ({"total": {"number": "-48.00", "currency": "EUR"}}, "it is in EUR"),
        ({"apply_to_balance": False}, "does not count towards the customer's balance"),
    ],
)
def test_a_transaction_changed_by_hand_is_a_difference(
    world: World, store: Store, swapsync: Command, changes: dict[str, Any], says: str
) -> None:
    credit_delivered(world, swapsync)
    by_hand(world, **changes)

    ended = swapsync("reconcile", *MARCH, "--fail-on-difference", "--json")

    assert ended.code == 3
    [difference] = ended.document["differences"]
    assert (difference["code"], difference["rma_number"], difference["order_name"]) == (
        "CREDIT_MISALIGNED",
        "R1",
        "#5001",
    )
    assert (difference["amount"], difference["currency"]) == ("48.00", "GBP")
    assert says in difference["detail"]
    assert misaligned(store) == [(f"ledger:{CREDIT}", "open")]


def test_a_transaction_deleted_by_hand_is_a_difference_until_it_is_put_back(
    world: World, store: Store, swapsync: Command
) -> None:
    credit_delivered(world, swapsync)
    [ours] = world.sparklayer.transactions("5001")
    deleted_by_hand(world)

    first = swapsync("reconcile", *MARCH, "--fail-on-difference", "--json")
    again = swapsync("reconcile", *MARCH, "--json")
    world.sparklayer.put_transaction(stable_uuid("purchase:5001"), ours)
    mended = swapsync("reconcile", *MARCH, "--fail-on-difference", "--json")

    assert (first.code, again.code, mended.code) == (3, 0, 0)
    assert "missing in SparkLayer" in first.document["differences"][0]["detail"]
    assert again.document["differences"] == first.document["differences"]
    assert mended.document["differences"] == []
    assert misaligned(store) == [(f"ledger:{CREDIT}", "resolved")]


def test_an_ordinary_cycle_leaves_a_difference_of_the_ledger_open(
    world: World, store: Store, swapsync: Command
) -> None:
    credit_delivered(world, swapsync)
    deleted_by_hand(world)
    swapsync("reconcile", *MARCH)
    world.swap.change_return("ret-1", processed_by="somebody")

    swapsync("sync")

    assert misaligned(store) == [(f"ledger:{CREDIT}", "open")]


def test_a_difference_of_last_month_closes_in_the_reconcile_of_this_month(
    world: World, store: Store, swapsync: Command, clock: FixedClock
) -> None:
    credit_delivered(world, swapsync)
    [ours] = world.sparklayer.transactions("5001")
    deleted_by_hand(world)
    swapsync("reconcile", *MARCH)
    world.sparklayer.put_transaction(stable_uuid("purchase:5001"), ours)
    clock.forward(days=31)

    ended = swapsync("reconcile", "--json")

    assert ended.document["period"]["since"] == "2026-04-01T00:00:00Z"
    assert misaligned(store) == [(f"ledger:{CREDIT}", "resolved")]


def test_a_transaction_with_our_prefix_that_no_credit_note_belongs_to_is_a_difference(
    world: World, store: Store, swapsync: Command
) -> None:
    sold(world)
    returned(world)
    stray = {"platform_id": CREDIT, "total": {"number": "-48.00", "currency": "GBP"}, "apply_to_balance": True}
    world.sparklayer.put_transaction(stable_uuid("purchase:5001"), stray)

    ended = swapsync("reconcile", *MARCH, "--fail-on-difference", "--json")

    assert ended.code == 3
    [difference] = ended.document["differences"]
    assert (difference["code"], difference["rma_number"]) == ("CREDIT_MISALIGNED", "R1")
    assert "no credit note here belongs to it" in difference["detail"]
    deleted_by_hand(world)
    assert swapsync("reconcile", *MARCH, "--fail-on-difference").code == 0
    assert [status for _, status in misaligned(store)] == ["resolved"]


def test_a_stray_transaction_of_a_return_that_is_not_ours_is_shown_with_its_order(
    world: World, swapsync: Command
) -> None:
    credit_delivered(world, swapsync)
    stray = {"platform_id": "swap:other:credit:1", "total": {"number": "-1.00", "currency": "GBP"}}
    world.sparklayer.put_transaction(stable_uuid("purchase:5001"), stray | {"apply_to_balance": True})

    [difference] = swapsync("reconcile", *MARCH, "--json").document["differences"]

    assert (difference["rma_number"], difference["order_name"], difference["amount"]) == ("", "#5001", None)
    assert "swap:other:credit:1" in difference["detail"]


def test_a_transaction_of_ours_on_the_wrong_order_is_a_difference(world: World, swapsync: Command) -> None:
    credit_delivered(world, swapsync)
    [ours] = world.sparklayer.transactions("5001")
    sold(world, platform_id="4001", visible="#4001")
    approved(world, return_id="ret-2", rma_number="R2", order_id="4001", order_name="#4001")
    swapsync("sync")
    world.sparklayer.put_transaction(stable_uuid("purchase:4001"), ours)

    [difference] = swapsync("reconcile", *MARCH, "--json").document["differences"]

    assert (difference["code"], difference["order_name"]) == ("CREDIT_MISALIGNED", "#4001")


def test_a_stray_transaction_of_last_month_closes_in_the_reconcile_of_this_month(
    world: World, store: Store, swapsync: Command, clock: FixedClock
) -> None:
    sold(world)
    returned(world)
    stray = {"platform_id": CREDIT, "total": {"number": "-48.00", "currency": "GBP"}, "apply_to_balance": True}
    world.sparklayer.put_transaction(stable_uuid("purchase:5001"), stray)
    swapsync("reconcile", *MARCH)
    deleted_by_hand(world)
    clock.forward(days=31)

    swapsync("reconcile")

    assert [status for _, status in misaligned(store)] == ["resolved"]


def test_transactions_of_others_on_the_order_are_left_alone(world: World, swapsync: Command) -> None:
    credit_delivered(world, swapsync)
    payment = {"platform_id": "pay-1", "total": {"number": "120.00", "currency": "GBP"}, "apply_to_balance": True}
    world.sparklayer.put_transaction(stable_uuid("purchase:5001"), payment)

    assert swapsync("reconcile", *MARCH, "--json").document["differences"] == []


def test_the_transactions_of_an_order_are_read_once_however_many_credits_it_has(
    world: World, swapsync: Command
) -> None:
    sold(world)
    approved(world)
    approved(world, return_id="ret-2", rma_number="R2")
    swapsync("sync")

    swapsync("reconcile", *MARCH)

    assert len(world.calls("GET", "/transactions")) == 1


# -- other differences -----------------------------------------------------------------------------------------------


def test_a_credit_that_gave_up_is_one_difference_with_its_amount(world: World, swapsync: Command) -> None:
    sold(world)
    approved(world)
    world.faults.add(Fault(kind="status", side="sparklayer", method="PUT", status=422))
    swapsync("sync")

    ended = swapsync("reconcile", *MARCH, "--fail-on-difference", "--json")

    assert ended.code == 3
    [difference] = ended.document["differences"]
    assert (difference["code"], difference["amount"], difference["currency"]) == ("DELIVERY_FAILED", "48.00", "GBP")
    assert "CN-000001" in difference["detail"]
    assert ended.document["totals"]["GBP"]["credit_notes"]["failed"]["count"] == 1


def test_an_open_exception_of_a_return_of_the_period_is_a_difference_with_the_value_of_the_return(
    world: World, swapsync: Command
) -> None:
    returned(world)

    ended = swapsync("reconcile", *MARCH, "--fail-on-difference", "--json")

    assert ended.code == 3
    [difference] = ended.document["differences"]
    assert (difference["code"], difference["amount"]) == ("ORPHANED_RETURN", "48.00")
    assert swapsync("reconcile", "--month", "2026-02", "--json").document["differences"] == []


def test_differences_do_not_fail_the_command_unless_asked_to(world: World, swapsync: Command) -> None:
    returned(world)

    ended = swapsync("reconcile", *MARCH)

    assert ended.code == 0
    assert "ORPHANED_RETURN" in ended.out


# -- trouble ---------------------------------------------------------------------------------------------------------


def test_when_a_side_is_down_it_ends_with_1_and_still_writes_what_is_known(
    world: World, swapsync: Command, tmp_path: Path
) -> None:
    credit_delivered(world, swapsync)
    returned(world, return_id="ret-2", rma_number="R2", order_id="none", order_name="none")
    swapsync("sync")
    world.faults.add(Fault(kind="status", side="sparklayer", status=503, times=None))

    ended = swapsync("reconcile", *MARCH, "--out", "out", "--fail-on-difference")

    assert ended.code == 1
    assert "compare failed" in ended.out
    with (tmp_path / "out" / "returns.csv").open(encoding="utf-8-sig", newline="") as file:
        assert [row["rma_number"] for row in csv.DictReader(file)] == ["R1", "R2"]
    assert "ORPHANED_RETURN" in (tmp_path / "out" / "differences.csv").read_text(encoding="utf-8-sig")


def test_an_outage_closes_nothing(world: World, store: Store, swapsync: Command) -> None:
    credit_delivered(world, swapsync)
    deleted_by_hand(world)
    swapsync("reconcile", *MARCH)
    world.faults.add(Fault(kind="status", side="sparklayer", path_contains="/transactions", status=503, times=None))

    ended = swapsync("reconcile", *MARCH, "--json")

    assert ended.code == 1
    assert [difference["code"] for difference in ended.document["differences"]] == ["CREDIT_MISALIGNED"]
    assert misaligned(store) == [(f"ledger:{CREDIT}", "open")]


def test_one_order_that_can_not_be_read_does_not_hide_the_others(world: World, store: Store, swapsync: Command) -> None:
    credit_delivered(world, swapsync)
    deleted_by_hand(world)
    sold(world, platform_id="4001", visible="#4001")
    approved(world, return_id="ret-2", rma_number="R2", order_id="4001", order_name="#4001")
    swapsync("sync")
    spoilt = Fault(kind="html", side="sparklayer", path_contains="/4001/transactions", times=None)
    world.faults.add(spoilt)

    ended = swapsync("reconcile", *MARCH)

    assert ended.code == 1
    assert "1 of 2 orders could not be compared; order #4001" in ended.out
    assert misaligned(store) == [(f"ledger:{CREDIT}", "open")]


def test_after_three_orders_in_a_row_that_can_not_be_read_it_asks_no_further(world: World, swapsync: Command) -> None:
    for number in range(5):
        name = f"400{number}"
        sold(world, platform_id=name, visible=f"#{name}")
        approved(world, return_id=f"ret-{number}", rma_number=f"R{number}", order_id=name, order_name=f"#{name}")
    world.faults.add(Fault(kind="status", side="sparklayer", path_contains="/transactions", status=503, times=None))

    ended = swapsync("reconcile", *MARCH)

    asked = {exchange.path for exchange in world.calls("GET", "/transactions")}
    assert (ended.code, len(asked)) == (1, 3)


def test_a_comparison_that_another_worker_is_making_proves_nothing_and_ends_with_1(
    world: World, store: Store, swapsync: Command, clock: FixedClock
) -> None:
    credit_delivered(world, swapsync)

    with another_worker_at(store, clock, "compare"):
        ended = swapsync("reconcile", *MARCH)

    assert ended.code == 1
    assert "compare skipped" in ended.out


def test_an_order_that_is_gone_is_a_difference_of_its_credit(world: World, swapsync: Command) -> None:
    credit_delivered(world, swapsync)
    world.faults.add(Fault(kind="status", side="sparklayer", path_contains="/transactions", status=404))

    [difference] = swapsync("reconcile", *MARCH, "--json").document["differences"]

    assert "SparkLayer no longer has the order" in difference["detail"]


def test_a_credit_that_is_delivered_while_its_order_is_read_is_no_difference(
    world: World, store: Store, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    sold(world)
    approved(world)
    place = desk()
    run(place, "poll_returns", "poll_orders", "reconcile")
    read = place.sparklayer.transactions

    def read_and_then_deliver(order: OrderRef) -> list[dict[str, Any]]:
        standing = read(order)
        assert run(place, "push_credits")["push_credits"].sent == 1
        return standing

    monkeypatch.setattr(place.sparklayer, "transactions", read_and_then_deliver)
    compare(place, Tally(), PERIOD, lambda *_: None)

    assert misaligned(store) == []


def test_a_credit_that_is_decided_and_delivered_before_its_order_is_read_is_no_stray(
    world: World, store: Store, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    sold(world)
    returned(world)
    place = desk()
    run(place)
    read = place.sparklayer.transactions

    def credit_and_then_read(order: OrderRef) -> list[dict[str, Any]]:
        approved(world)
        assert run(place)["push_credits"].sent == 1
        return read(order)

    monkeypatch.setattr(place.sparklayer, "transactions", credit_and_then_read)
    compare(place, Tally(), PERIOD, lambda *_: None)

    assert misaligned(store) == []


def test_one_site_that_is_down_leaves_the_other_alone(
    world: World, store: Store, desk: Desk, clock: FixedClock
) -> None:
    sold(world)
    approved(world)
    sites = [desk("down", sparklayer_base_url="http://127.0.0.1:9").site, desk("up").site]

    down, up = reconcile_sites(sites, store, clock, PERIOD, lambda *_: None)

    assert (down.site, up.site) == ("down", "up")
    assert {record.job for record in down.runs if record.status == "failed"} == {"poll_orders"}
    assert {record.status for record in up.runs} == {"ok"}
    with store.reading() as connection:
        assert read_month_end(connection, "down", PERIOD).credit_notes == []
        assert len(read_month_end(connection, "up", PERIOD).credit_notes) == 1


# -- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--month", "2026-03", "--since", "2026-03-01"), "--month says the whole period"),
        (("--since", "2026-03-01"), "go together"),
        (("--until", "2026-03-01"), "go together"),
        (("--since", "2026-03-02", "--until", "2026-03-02"), "--since must lie before --until"),
        (("--since", "2026-03-01T00:00:00", "--until", "2026-03-02"), "the zone is missing"),
        (("--since", "yesterday", "--until", "2026-03-02"), "--since yesterday"),
        (("--month", "2026-13"), "--month 2026-13"),
        (("--month", "March"), "--month March"),
        (("--month", "9999-12"), "--month 9999-12"),
    ],
)
def test_a_period_that_makes_no_sense_ends_with_2_before_anything_is_read(
    world: World, swapsync: Command, options: tuple[str, ...], says: str
) -> None:
    ended = swapsync("reconcile", *options)

    assert (ended.code, ended.out) == (2, "")
    assert says in ended.err
    assert world.exchanges == []


def test_days_are_midnights_in_utc_and_moments_keep_their_zone(swapsync: Command) -> None:
    ended = swapsync("reconcile", "--since", "2026-03-01", "--until", "2026-03-05T02:00:00+02:00", "--json")

    assert ended.document["period"] == {"since": "2026-03-01T00:00:00Z", "until": "2026-03-05T00:00:00Z"}


def test_without_a_period_it_is_the_current_month_also_in_december(swapsync: Command, clock: FixedClock) -> None:
    clock.forward(days=280)

    period = swapsync("reconcile", "--json").document["period"]

    assert period == {"since": "2026-12-01T00:00:00Z", "until": "2027-01-01T00:00:00Z"}


def test_a_folder_that_can_not_be_written_ends_with_2_before_anything_is_read(
    world: World, swapsync: Command, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")

    ended = swapsync("reconcile", "--out", "file/below")

    assert ended.code == 2
    assert "--out file/below" in ended.err
    assert world.exchanges == []


def test_a_file_that_can_not_be_replaced_ends_with_2(swapsync: Command, tmp_path: Path) -> None:
    (tmp_path / "out" / "returns.csv" / "inside").mkdir(parents=True)

    ended = swapsync("reconcile", "--out", "out")

    assert ended.code == 2
    assert "--out out" in ended.err


def test_the_files_are_named_and_there_and_nothing_else_is(world: World, swapsync: Command, tmp_path: Path) -> None:
    credit_delivered(world, swapsync)

    ended = swapsync("reconcile", *MARCH, "--out", "out/2026-03", "--json")

    assert sorted(str(path.relative_to(tmp_path)) for path in (tmp_path / "out" / "2026-03").iterdir()) == sorted(
        ended.document["files"]
    )
    assert {Path(name).name for name in ended.document["files"]} >= {
        "returns.csv",
        "credit-notes.csv",
        "differences.csv",
    }


def test_people_see_the_figures_the_differences_and_the_files(world: World, swapsync: Command) -> None:
    credit_delivered(world, swapsync)
    deleted_by_hand(world)

    ended = swapsync("reconcile", *MARCH, "--out", "out")

    assert "Site default, GBP" in ended.out
    assert "48.00" in ended.out
    assert "1 difference" in ended.out
    assert "CREDIT_MISALIGNED" in ended.out
    assert str(Path("out") / "differences.csv") in ended.out


def test_the_queue_holds_one_exception_however_often_it_runs(world: World, store: Store, swapsync: Command) -> None:
    credit_delivered(world, swapsync)
    deleted_by_hand(world)
    for _ in range(3):
        swapsync("reconcile", *MARCH)

    with store.reading() as connection:
        [row] = open_of_code(connection, "default", Code.CREDIT_MISALIGNED)
    assert (row._mapping["count"], row.return_id, row.rma_number) == (1, "ret-1", "R1")


# -- transactions as they may come -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("total", "amount", "currency"),
    [
        ({"number": "-48.00", "currency": "gbp"}, Decimal(-48), "GBP"),
        ({"number": Decimal("-48.0")}, Decimal(-48), ""),
        (Decimal("-48.00"), Decimal(-48), ""),
        (-48, Decimal(-48), ""),
        (" -48.00 ", Decimal(-48), ""),
        ({"number": "-48,00", "currency": "GBP"}, None, "GBP"),
        ({"number": "NaN"}, None, ""),
        ("Infinity", None, ""),
        (True, None, ""),
        ({}, None, ""),
        (None, None, ""),
        (["-48.00"], None, ""),
    ],
)
def test_a_total_is_read_as_object_number_or_text_and_else_counts_as_different(
    total: Any, amount: Decimal | None, currency: str
) -> None:
    transaction = read_transaction({"platform_id": CREDIT, "total": total, "apply_to_balance": True})

    assert (transaction.total, transaction.currency, transaction.applied) == (amount, currency, True)


@pytest.mark.parametrize("applied", [False, None, "true", 1, "false"])
def test_only_a_plain_true_counts_towards_the_balance(applied: Any) -> None:
    assert not read_transaction({"platform_id": CREDIT, "total": -48, "apply_to_balance": applied}).applied
