"""The month-end files: what a spreadsheet makes of them, and the figures in them."""

import csv
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas
import pytest

from swapsync.domain.returns import Settlement
from swapsync.jobs.compare import Period, compare
from swapsync.jobs.rulings import rule
from swapsync.jobs.workplace import Tally, Workplace
from swapsync.reports.month_end import MonthEnd, read_month_end, totals, write_files
from swapsync.reports.spreadsheet import harmless, write_csv
from swapsync.sandbox.demo_data import seed_demo
from swapsync.sandbox.faults import Fault
from swapsync.sandbox.world import World, return_line
from tests.conftest import Desk, run
from tests.rules import scenario as s
from tests.scenario import approved, mugs, returned, sold

MARCH = Period(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC))
APRIL = Period(MARCH.until, datetime(2026, 5, 1, tzinfo=UTC))
TWO_MONTHS = Period(MARCH.since, APRIL.until)


def month_end(place: Workplace, period: Period = MARCH) -> MonthEnd:
    with place.store.reading() as connection:
        return read_month_end(connection, place.slug, period)


def cells(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


# -- cells -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        '=HYPERLINK("http://evil.example")',
        "+44 20 7946 0000",
        "-2+3+cmd|' /C calc'!A0",
        "@SUM(1+1)",
        "  =1+1",
        "\t=1+1",
        "\r=1+1",
        "\n=1+1",
        "\u00a0=1+1",
        "\u200b=1+1",
        "\ufeff=1+1",
        "\u202e=1+1",
        "\x00=1+1",
        "＝1+1",
        "＋1",
        "－1",
        "＠SUM(1)",
        "﹦1+1",
        "−1",
    ],
)
def test_text_that_a_spreadsheet_would_run_gets_an_apostrophe(text: str) -> None:
    assert harmless(text).startswith("'")
    assert harmless(text).isprintable() or "\u200b" in text or "\ufeff" in text or "\u202e" in text or "\xa0" in text


@pytest.mark.parametrize("text", ["", "00123", "1E5", "NA", "a=b", "PO-88117", "O'Hara & Söhne", "été; 3 - 4", "3 -1"])
def test_ordinary_text_and_identifiers_stay_as_they_are(text: str) -> None:
    assert harmless(text) == text


def test_a_formula_behind_a_semicolon_is_harmless_where_semicolons_part_the_cells() -> None:
    assert harmless("Smith; =1+1") == "Smith;' =1+1"


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "a\x1bb", "a\u2028b", "a\ud800b"])
def test_text_stays_on_one_line_without_control_characters(text: str) -> None:
    assert harmless(text).split() == ["a", "b"]
    assert harmless(text).isprintable()


def test_numbers_of_ours_stay_numbers_also_below_zero(tmp_path: Path) -> None:
    write_csv(tmp_path / "f.csv", ("a", "b", "c", "d"), [[Decimal("-48.00"), -3, None, "-48.00"]])

    assert (tmp_path / "f.csv").read_bytes() == "\ufeffa,b,c,d\r\n-48.00,-3,,'-48.00\r\n".encode()


def test_a_file_that_could_not_be_finished_leaves_the_old_one_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    write_csv(path, ("a",), [["old"]])

    def broken() -> Any:
        yield ["new"]
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_csv(path, ("a",), broken())

    assert cells(path) == [{"a": "old"}]
    assert list(tmp_path.iterdir()) == [path]


# -- figures ---------------------------------------------------------------------------------------------------------


def test_credits_issued_are_the_sum_of_delivered_pending_failed_and_void(desk: Desk, world: World) -> None:
    seed_demo(world)
    to_ledger: dict[str, Any] = {"kind": "status", "side": "sparklayer", "method": "PUT"}
    world.faults.add(Fault(**to_ledger, status=422), Fault(**to_ledger, status=503, times=2))
    place = desk(effects_from="2026-02-08T00:00:00Z")
    run(place)

    found = month_end(place)

    assert {note.state for note in found.credit_notes} == {"delivered", "pending", "failed"}
    for figures in found.totals.values():
        notes = figures["credit_notes"]
        states = [notes[state] for state in ("delivered", "pending", "failed", "void")]
        assert notes["issued"]["count"] == sum(state["count"] for state in states)
        for part in ("net", "tax", "gross"):
            assert Decimal(notes["issued"][part]) == sum(Decimal(state[part]) for state in states)
        assert Decimal(notes["issued"]["gross"]) == Decimal(notes["issued"]["net"]) + Decimal(notes["issued"]["tax"])
    assert sum(figures["credit_notes"]["issued"]["count"] for figures in found.totals.values()) == 10


def test_a_credit_note_that_was_withdrawn_is_listed_and_counts_nothing(
    desk: Desk, world: World, clock: Any, tmp_path: Path
) -> None:
    sold(world)
    approved(world)
    place = desk(push_credits="false")
    run(place)
    clock.forward(hours=1)
    world.swap.change_return("ret-1", return_status="Cancelled")
    run(place)
    [problem] = s.open_exceptions(place)
    rule(place.store, problem.id, "deny", actor="fay", now=clock.now())
    run(desk())

    found = month_end(place)
    notes = found.totals["GBP"]["credit_notes"]
    write_files(tmp_path, [found])

    assert {name: notes[name]["gross"] for name in ("issued", "void", "withdrawn", "voids", "credited")} == {
        "issued": "48.00",
        "void": "48.00",
        "withdrawn": "48.00",
        "voids": "0.00",
        "credited": "0.00",
    }
    assert (notes["credited"]["count"], notes["credited"]["net"], notes["credited"]["tax"]) == (0, "0.00", "0.00")
    [note] = cells(tmp_path / "credit-notes.csv")
    assert (note["state"], note["gross"], note["credited"]) == ("void", "48.00", "0.00")
    assert note["reason"] == "withdrawn before it went out"
    [line] = cells(tmp_path / "credit-note-lines.csv")
    assert (line["gross"], line["credited"]) == ("48.00", "0.00")
    [ret] = cells(tmp_path / "returns.csv")
    assert (ret["credit_notes"], ret["credited_gross"]) == (note["number"], "0.00")


def test_every_return_of_the_period_has_exactly_one_settlement(desk: Desk, world: World) -> None:
    seed_demo(world)
    place = desk(effects_from="2026-02-08T00:00:00Z")
    run(place)

    found = month_end(place)

    for figures in found.totals.values():
        parts = figures["returns"]["by_settlement"]
        assert set(parts) == set(Settlement) - {Settlement.SETTLED_OUTSIDE}
        assert figures["returns"]["count"] == sum(part["count"] for part in parts.values())
        assert Decimal(figures["returns"]["value"]) == sum(Decimal(part["value"]) for part in parts.values())
    assert sum(figures["returns"]["count"] for figures in found.totals.values()) == len(found.returns)


def test_the_figures_of_two_months_add_up_to_those_of_both(desk: Desk, world: World, clock: Any) -> None:
    sold(world)
    approved(world)
    sold(world, platform_id="5002", visible="#5002", payment_method="platform_upfront")
    returned(world, return_id="ret-2", rma_number="R2", order_id="5002", order_name="#5002", total=Decimal(12))
    place = desk()
    run(place)
    clock.forward(days=30)
    world.swap.change_return(
        "ret-2",
        return_status="Closed",
        date_closed="2026-04-02T09:00:00.000Z",
        total_refund_value_customer_currency=Decimal("11.50"),
    )
    run(place)

    def flat(period: Period) -> dict[str, Decimal]:
        figures = month_end(place, period).totals["GBP"]
        return {
            "announced": Decimal(figures["announced"]["value"]),
            "credited": Decimal(figures["credit_notes"]["issued"]["gross"]),
            "refunded": Decimal(figures["gateway_refunds"]["amount"]),
        }

    march, april = flat(MARCH), flat(APRIL)
    assert march == {"announced": Decimal("60.00"), "credited": Decimal("48.00"), "refunded": Decimal(0)}
    assert april == {"announced": Decimal(0), "credited": Decimal(0), "refunded": Decimal("11.50")}
    assert flat(TWO_MONTHS) == {name: march[name] + april[name] for name in march}


def test_a_period_takes_its_first_moment_and_leaves_out_its_last(desk: Desk, world: World) -> None:
    sold(world)
    returned(world, return_id="first", rma_number="A", created=MARCH.since)
    returned(world, return_id="last", rma_number="B", created=MARCH.until)
    place = desk()
    run(place)

    assert [row.return_id for row in month_end(place).returns] == ["first"]
    assert [row.return_id for row in month_end(place, APRIL).returns] == ["last"]


def test_a_return_of_an_earlier_month_that_is_credited_now_belongs_to_this_one(desk: Desk, world: World) -> None:
    sold(world)
    approved(world, created=datetime(2026, 2, 21, 9, 0, tzinfo=UTC), closed=datetime(2026, 3, 2, tzinfo=UTC))
    place = desk()
    run(place)

    figures = month_end(place).totals["GBP"]

    assert figures["returns"]["by_settlement"]["credited"]["count"] == 1
    assert figures["announced"]["count"] == 0


def test_what_was_settled_before_the_cut_over_stands_apart(desk: Desk, world: World, tmp_path: Path) -> None:
    sold(world)
    approved(world, created=datetime(2026, 3, 1, 8, tzinfo=UTC), closed=datetime(2026, 3, 2, tzinfo=UTC))
    place = desk(effects_from="2026-03-03T00:00:00Z")
    run(place)

    found = month_end(place)
    write_files(tmp_path, [found])

    figures = found.totals["GBP"]
    assert figures["settled_outside"] == {"count": 1, "value": "48.00"}
    assert (
        figures["returns"]["count"] == figures["announced"]["count"] == figures["credit_notes"]["issued"]["count"] == 0
    )
    assert found.differences == []
    assert cells(tmp_path / "returns.csv") == []
    [outside] = cells(tmp_path / "settled-outside.csv")
    assert (outside["rma_number"], outside["po_number"], outside["settlement"]) == ("R1", "PO-1", "settled_outside")


def test_each_currency_is_counted_for_itself(desk: Desk, world: World) -> None:
    sold(world)
    approved(world)
    yen = [mugs(net="1000", tax="100", currency="JPY")]
    sold(world, platform_id="5002", visible="#5002", currency="JPY", lines=yen)
    approved(
        world,
        return_id="ret-2",
        rma_number="R2",
        order_id="5002",
        order_name="#5002",
        customer_currency="JPY",
        total=Decimal(440),
    )
    place = desk()
    run(place)

    found = month_end(place).totals

    assert {c: figures["credit_notes"]["delivered"]["gross"] for c, figures in found.items()} == {
        "GBP": "48.00",
        "JPY": "440",
    }


def test_figures_of_several_sites_are_added_up(desk: Desk, world: World) -> None:
    sold(world)
    approved(world)
    place = desk()
    run(place)
    found = month_end(place)

    assert totals([found, replace(found)])["GBP"]["credit_notes"]["issued"]["gross"] == "96.00"


# -- files -----------------------------------------------------------------------------------------------------------


def test_credit_notes_carry_the_po_number_and_their_lines_add_up_to_them(
    desk: Desk, world: World, tmp_path: Path
) -> None:
    two = [mugs(), mugs(sku="TEAPOT", line_item_id="72", variant_id="82", net="10.01", tax="2.00", quantity=3)]
    sold(world, lines=two)
    approved(
        world,
        lines=[return_line("MUG", 4, line_item_id="71"), return_line("TEAPOT", 1, line_item_id="72")],
        total=Decimal("52.01"),
    )
    place = desk()
    run(place)

    write_files(tmp_path, [month_end(place)])

    [note] = cells(tmp_path / "credit-notes.csv")
    lines = cells(tmp_path / "credit-note-lines.csv")
    assert (note["number"], note["po_number"], note["rma_number"], note["state"]) == (
        "CN-000001",
        "PO-1",
        "R1",
        "delivered",
    )
    assert {line["number"] for line in lines} == {note["number"]}
    assert [line["sku"] for line in lines] == ["MUG", "TEAPOT"]
    for part in ("net", "tax", "gross"):
        assert sum(Decimal(line[part]) for line in lines) == Decimal(note[part])
    [ret] = cells(tmp_path / "returns.csv")
    assert (ret["credit_notes"], ret["credited_gross"], ret["po_number"]) == (note["number"], note["gross"], "PO-1")


def test_identifiers_come_out_as_the_text_they_are(desk: Desk, world: World, tmp_path: Path) -> None:
    sold(world, lines=[mugs(sku="00417")], customer_reference="1E5")
    approved(world, rma_number="00123", lines=[return_line("00417", 4, line_item_id="71")])
    place = desk()
    run(place)

    write_files(tmp_path, [month_end(place)])

    notes = pandas.read_csv(tmp_path / "credit-notes.csv", dtype=str, keep_default_na=False)
    lines = pandas.read_csv(tmp_path / "credit-note-lines.csv", dtype=str, keep_default_na=False)
    assert notes.loc[0, ["rma_number", "po_number"]].tolist() == ["00123", "1E5"]
    assert lines.loc[0, "sku"] == "00417"


def test_money_that_swap_only_expects_to_give_back_is_not_shown_as_refunded(
    desk: Desk, world: World, tmp_path: Path
) -> None:
    sold(world, payment_method="platform_upfront")
    returned(world, total_refunded=Decimal(20))
    approved(world, return_id="ret-2", rma_number="R2", total_refunded=Decimal(20))
    place = desk()
    run(place)

    write_files(tmp_path, [month_end(place)])

    assert {row["rma_number"]: row["refunded_by_gateway"] for row in cells(tmp_path / "returns.csv")} == {
        "R1": "",
        "R2": "20.00",
    }


def test_the_order_goes_by_the_name_that_sparklayer_gives_it(desk: Desk, world: World, tmp_path: Path) -> None:
    sold(world)
    approved(world, order_name="")
    place = desk()
    run(place)

    for path in write_files(tmp_path, [month_end(place)])[:3:2]:
        assert [row["order_name"] for row in cells(path)] == ["#5001"]


def test_no_cell_of_any_file_begins_like_a_formula(desk: Desk, world: World, tmp_path: Path) -> None:
    evil = "=cmd|' /C calc'!A0"
    sold(world, visible=evil, customer_reference="@SUM(1)", lines=[mugs(sku="+MUG")])
    approved(world, rma_number="-1+1", order_name=evil, lines=[return_line("+MUG", 4, line_item_id="71")])
    returned(world, return_id="\u200b=2", rma_number="  =2", order_id="none", order_name="＝3", customer_email="@x\t=y")
    place = desk()
    run(place)

    files = write_files(tmp_path, [month_end(place)])

    written = [(path.name, cell) for path in files for row in cells(path) for cell in row.values()]
    assert any(cell == f"'{evil}" for _, cell in written)
    assert [(name, cell) for name, cell in written if cell.lstrip("\u200b ").startswith(tuple("=+-@＝"))] == []


def test_the_same_facts_give_the_same_files_byte_by_byte(desk: Desk, world: World, clock: Any, tmp_path: Path) -> None:
    seed_demo(world)
    place = desk(effects_from="2026-02-08T00:00:00Z")
    run(place)

    def written(name: str) -> dict[str, bytes]:
        (tmp_path / name).mkdir()
        compare(place, Tally(), MARCH, lambda *_: None)
        return {path.name: path.read_bytes() for path in write_files(tmp_path / name, [month_end(place)])}

    first = written("first")
    clock.forward(hours=7)
    assert written("second") == first
    assert set(first) >= {"returns.csv", "credit-notes.csv", "differences.csv"}
    assert len(first["differences.csv"].splitlines()) > 5
