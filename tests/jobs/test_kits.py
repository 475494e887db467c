"""Kits over the wire: a CSV of parts in the settings, parts that come back, credits and stock that follow."""

from pathlib import Path
from typing import Any

import pytest

from swapsync.jobs.rulings import RulingRefused, rule
from swapsync.sandbox.server import Sandbox
from swapsync.sandbox.world import World
from swapsync.settings import SettingsError, load_settings
from tests.conftest import Desk, run
from tests.rules import scenario as s

NO_IDS: dict[str, Any] = {"line_item_id": None, "variant_id": None}
PARTS = "kit_sku,part_sku,quantity,valid_from,valid_to,share\nMUG,CUP,2,2026-01-01,,0.75\nMUG,LID,1,2026-01-01,,0.25\n"


@pytest.fixture
def kits_file(tmp_path: Path) -> Path:
    file = tmp_path / "kits.csv"
    file.write_text(PARTS)
    return file


def test_parts_and_kits_of_one_line_are_credited_and_restocked_exactly(
    desk: Desk, world: World, kits_file: Path
) -> None:
    s.order(world)
    s.returned(world, s.back("CUP", 20, **NO_IDS), **s.APPROVED, total=90)
    s.second(world, s.back("LID", 9, **NO_IDS), **s.APPROVED, total=27)
    s.returned(world, s.back("LID", 1, **NO_IDS), **s.APPROVED, total=3, return_id="R3", rma_number="RMA-3")
    place = desk(kits_file=str(kits_file), restock_on="swap_approved")

    run(place)
    run(place)

    assert s.open_codes(place) == []
    assert s.credits(world) == {
        "swap:R1:credit:1": "-90.00",
        "swap:R2:credit:1": "-27.00",
        "swap:R3:credit:1": "-3.00",
    }
    assert (s.levels(world, "CUP")["default"], s.levels(world, "LID")["default"]) == (20, 10)


def test_a_whole_kit_puts_its_parts_back_into_stock(desk: Desk, world: World, kits_file: Path) -> None:
    s.order(world)
    s.returned(world, s.back(), **s.APPROVED)
    place = desk(kits_file=str(kits_file), restock_on="swap_approved")

    run(place)
    run(place)

    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}
    assert (s.levels(world, "CUP")["default"], s.levels(world, "LID")["default"]) == (8, 4)
    assert s.levels(world, "MUG") == s.NOWHERE


@pytest.mark.parametrize(("action", "value"), [("choose-line", "li-1"), ("teach-alias", "MUG")])
def test_what_a_part_is_worth_is_not_to_be_had_by_another_name(
    desk: Desk, world: World, kits_file: Path, action: str, value: str
) -> None:
    kits_file.write_text("kit_sku,part_sku,quantity,valid_from,valid_to,share\nMUG,CUP,2,2026-01-01,,\n")
    s.order(world)
    s.returned(world, s.back("CUP", 4, **NO_IDS), **s.APPROVED, total=18)
    place = desk(kits_file=str(kits_file))
    run(place)
    [held] = s.open_exceptions(place)

    with pytest.raises(RulingRefused, match="add it there, or deny the line"):
        rule(place.store, held.id, action, value=value, actor="fiona", now=place.clock.now())


def test_a_part_that_was_held_is_credited_once_the_list_gives_its_share(
    desk: Desk, world: World, kits_file: Path
) -> None:
    s.order(world)
    s.returned(world, s.back("CUP", 4, **NO_IDS), **s.APPROVED, total=18)
    run(desk())
    assert s.credits(world) == {}

    place = desk(kits_file=str(kits_file))
    run(place)

    assert (s.credits(world), s.open_codes(place)) == ({"swap:R1:credit:1": "-18.00"}, [])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"kit_sku,part_sku,quantity,valid_from\nK,A,0,2026-01-01\n", "line 2: quantity '0'"),
        ("kit_sku,part_sku,quantity,valid_from\nK,\xc4,1,2026-01-01\n".encode("latin-1"), "not UTF-8 text"),
        (None, "No such file"),
    ],
)
def test_a_wrong_list_of_kits_is_a_settings_error(
    server: Sandbox, tmp_path: Path, content: bytes | None, problem: str
) -> None:
    file = tmp_path / "kits.csv"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(SettingsError) as refused:
        load_settings(server.environment() | {"SWAPSYNC_KITS_FILE": str(file)}, tmp_path)

    assert str(refused.value).startswith("SWAPSYNC_KITS_FILE")
    assert problem in str(refused.value)
