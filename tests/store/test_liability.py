"""What is owed to buyers and not credited yet: mapped payment methods and parts of kits count as well."""

from pathlib import Path
from typing import Any

import pytest

from swapsync.jobs.rulings import rule
from swapsync.sandbox.server import Sandbox
from swapsync.sandbox.world import World
from tests.conftest import Ask, Desk, FixedClock, run
from tests.rules import scenario as s

PARTS = "kit_sku,part_sku,quantity,valid_from,valid_to,share\nMUG,CUP,2,2026-01-01,,0.75\nMUG,LID,1,2026-01-01,,0.25\n"
NO_IDS: dict[str, Any] = {"line_item_id": None, "variant_id": None}


@pytest.fixture
def owed(ask_store: Ask, database_url: str, server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What ``swapsync status`` says is owed (GBP), and how many lines it has no value for."""

    def asked(**settings: str) -> tuple[list[str], int]:
        for name, value in (server.environment() | {f"SWAPSYNC_{k.upper()}": v for k, v in settings.items()}).items():
            monkeypatch.setenv(name, value)
        [site] = ask_store(database_url, "status", "--json").json["sites"]
        return [part["gross"] for part in site["liability"]], site["unvalued_lines"]

    return asked


def test_an_order_whose_payment_method_a_person_mapped_to_credit_notes_is_owed(
    desk: Desk, world: World, clock: FixedClock, owed: Any
) -> None:
    s.order(world, payment_method="barter")
    s.returned(world, **s.DELIVERED)
    place = desk()
    run(place)
    assert owed() == ([], 0)

    [problem] = s.open_exceptions(place)
    rule(place.store, problem.id, "map", value="credit_note", actor="fiona", now=clock.now())

    assert owed() == (["48.00"], 0)


def test_parts_of_kits_are_owed_at_their_share_as_far_as_the_list_gives_one(
    desk: Desk, world: World, tmp_path: Path, owed: Any
) -> None:
    kits = tmp_path / "kits.csv"
    kits.write_text(PARTS)
    s.order(world)
    s.returned(world, s.back("CUP", 4, **NO_IDS), **s.APPROVED, total=18)
    s.second(world, s.back("CUP", 3, **NO_IDS), **s.DELIVERED, total=13.5)
    s.second(world, s.back("LID", 2, **NO_IDS), **s.DELIVERED, total=6, return_id="R3", rma_number="RMA-3")
    place = desk(kits_file=str(kits))
    run(place)
    assert s.credits(world) == {"swap:R1:credit:1": "-18.00"}

    assert owed(kits_file=str(kits)) == (["19.50"], 0)  # 3 x 4.50 and 2 x 3.00

    kits.write_text(PARTS.replace(",0.75", ",").replace(",0.25", ","))
    assert owed(kits_file=str(kits)) == ([], 2)


def test_parts_and_whole_kits_together_are_never_owed_for_more_than_was_sold(
    desk: Desk, world: World, tmp_path: Path, owed: Any
) -> None:
    kits = tmp_path / "kits.csv"
    kits.write_text(PARTS)
    s.order(world)
    s.returned(world, s.back("MUG", 9), **s.APPROVED, total=108)
    s.second(world, s.back("CUP", 4, **NO_IDS), **s.DELIVERED, total=18)
    run(desk(kits_file=str(kits)))
    assert s.credits(world) == {"swap:R1:credit:1": "-108.00"}

    assert owed(kits_file=str(kits)) == (["12.00"], 0)
