"""Why goods come back: Swap's two levels of reasons, in the merchant's own codes, on documents and reports."""

import csv
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from swapsync.jobs.compare import Period
from swapsync.jobs.workplace import Workplace
from swapsync.reports.month_end import read_month_end, write_files
from swapsync.sandbox.world import World
from swapsync.settings import SettingsError, load_settings
from swapsync.store import views
from tests.conftest import Desk, run
from tests.rules import scenario as s

TOO_LARGE = {"sub_reason_id": "r1.2", "sub_reason_text": "Box too large"}


def with_reason(text: str = "Ordered too many", **more: str) -> dict[str, Any]:
    return s.back() | {"main_reason_id": "r1", "main_reason_text": text} | more


@pytest.fixture
def mapped_desk(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "swapsync.toml").write_text("[defaults.reasons]\nr-1 = 'OVERSTOCK'\n")
    return desk


def test_the_code_goes_on_the_return_the_credit_note_and_the_transaction(mapped_desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, with_reason(**TOO_LARGE), **s.APPROVED)
    place = mapped_desk()

    run(place)

    with place.store.reading() as connection:
        (returned,) = views.show_return(connection, place.slug, "R1")["lines"]
        (note,) = views.list_credit_notes(connection).rows
    assert (returned["reason_code"], returned["reason"]) == ("OVERSTOCK", "Ordered too many / Box too large")
    assert note["lines"][0]["reason_code"] == "OVERSTOCK"
    (transaction,) = world.sparklayer.transactions("5001")
    assert transaction["full_transaction"]["reasons"] == [
        {"sku": "MUG", "quantity": 4, "code": "OVERSTOCK", "text": "Ordered too many / Box too large"}
    ]


def test_a_reason_that_is_not_mapped_has_no_code_and_keeps_its_text(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, with_reason(), **s.APPROVED)
    place = desk()

    run(place)

    (transaction,) = world.sparklayer.transactions("5001")
    (reason,) = transaction["full_transaction"]["reasons"]
    assert (reason["code"], reason["text"]) == ("", "Ordered too many")


def test_a_reason_that_is_mapped_later_counts_for_what_is_still_open(desk: Desk, world: World, tmp_path: Path) -> None:
    s.order(world)
    s.returned(world, with_reason())
    run(desk())
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "swapsync.toml").write_text("[defaults.reasons]\nr1 = 'OVERSTOCK'\n")
    place = desk()

    run(place)

    with place.store.reading() as connection:
        (returned,) = views.show_return(connection, place.slug, "R1")["lines"]
    assert returned["reason_code"] == "OVERSTOCK"


def test_an_orphan_has_its_code_too(mapped_desk: Desk, world: World) -> None:
    s.returned(world, with_reason())
    place = mapped_desk()

    run(place)

    with place.store.reading() as connection:
        (returned,) = views.show_return(connection, place.slug, "R1")["lines"]
    assert returned["reason_code"] == "OVERSTOCK"


def month_end_files(place: Workplace, folder: Path) -> None:
    period = Period(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC))
    with place.store.reading() as connection:
        write_files(folder, [read_month_end(connection, place.slug, period)])


def cells(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8-sig", newline="") as text:
        return list(csv.DictReader(text))


def test_the_code_stands_in_the_month_end_files_and_swaps_words_where_there_is_none(
    mapped_desk: Desk, world: World, tmp_path: Path
) -> None:
    s.order(world, s.sold(), s.sold("CUP"))
    other = s.back("CUP", 1) | {"main_reason_id": "r9", "main_reason_text": "Changed my mind"}
    s.returned(world, with_reason(**TOO_LARGE), other, **s.APPROVED)
    before = {"return_id": "R0", "rma_number": "RMA-0", "closed": datetime(2026, 2, 28, tzinfo=UTC)}
    s.returned(world, with_reason(), **s.APPROVED | before)
    place = mapped_desk()
    run(place)

    month_end_files(place, tmp_path)

    assert [
        (line["sku"], line["reason_code"], line["reason"]) for line in cells(tmp_path / "credit-note-lines.csv")
    ] == [
        ("MUG", "OVERSTOCK", "Ordered too many / Box too large"),
        ("CUP", "", "Changed my mind"),
    ]
    assert [row["reasons"] for row in cells(tmp_path / "returns.csv")] == ["OVERSTOCK; Changed my mind"]
    assert [row["reasons"] for row in cells(tmp_path / "settled-outside.csv")] == ["OVERSTOCK"]


def test_a_reason_in_the_month_end_files_runs_no_formula(desk: Desk, world: World, tmp_path: Path) -> None:
    s.order(world)
    s.returned(world, with_reason("=HYPERLINK(1)"), **s.APPROVED)
    place = desk()
    run(place)

    month_end_files(place, tmp_path)

    assert [line["reason"] for line in cells(tmp_path / "credit-note-lines.csv")] == ["'=HYPERLINK(1)"]
    assert [row["reasons"] for row in cells(tmp_path / "returns.csv")] == ["'=HYPERLINK(1)"]


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ('"" = "R1"', "has a blank reason"),
        ('"Too many" = "R1"\n"too-many" = "R2"', "names one reason twice"),
        ('r1 = ""', "must not be blank"),
        ("r1 = 5", "r1 must be text"),
    ],
)
def test_a_wrong_table_of_reasons_is_named(server: Any, tmp_path: Path, table: str, problem: str) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "swapsync.toml").write_text(f"[defaults.reasons]\n{table}\n")
    with pytest.raises(SettingsError, match=problem):
        load_settings(server.environment(), tmp_path)
