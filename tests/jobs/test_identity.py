"""What a returned line is where names have changed: moved SKUs, duplicate SKUs, lines that only a person can tell."""

import shlex
from typing import Any

import pytest

from swapsync.jobs.rulings import RulingRefused, rule
from swapsync.jobs.workplace import Workplace
from swapsync.sandbox.world import World, variant_row
from tests.conftest import Ask, Desk, FixedClock, run
from tests.rules import scenario as s

NO_IDS: dict[str, Any] = {"line_item_id": None, "variant_id": None}


def decide(place: Workplace, clock: FixedClock, action: str, value: str) -> None:
    (exception,) = s.open_exceptions(place)
    rule(place.store, exception.id, action, value=value, actor="maria", now=clock.now())


# -- a SKU that moved to another variant


def test_a_sku_that_moved_means_the_variant_that_carried_it_when_the_order_was_placed(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world, s.sold("X", variant_id="v-A", line_item_id="a"))
    s.order(world, s.sold("Z", variant_id="v-B", line_item_id="b"), platform_id="5002", visible="#1002")
    s.returned(world, s.back("X", 1, **NO_IDS), total=12)
    s.second(world, s.back("Z", 1, **NO_IDS), order_id="5002", order_name="#1002", total=12)
    place = desk()
    run(place)
    clock.forward(days=2)
    world.sparklayer.put_variant(variant_row("v-A", "Y"))
    world.sparklayer.put_variant(variant_row("v-B", "X"))
    s.order(world, s.sold("Y", variant_id="v-A", line_item_id="a"), updated=world.now())
    s.returned(world, s.back("X", 2, **NO_IDS), return_id="R3", rma_number="RMA-3", total=24, created=world.now())

    run(place)
    run(place)

    assert s.matched(place, "R3") == [("li:a", "SKU history")]


# -- two variants with one SKU


@pytest.fixture
def twins(world: World) -> None:
    """Orders #1001 and #1002 of two variants that were given the same SKU, each with a return."""
    s.order(world, s.sold("OLD-A", variant_id="v-A"))
    s.order(world, s.sold("OLD-B", variant_id="v-B"), platform_id="5002", visible="#1002")
    for variant in ("v-A", "v-B"):
        world.sparklayer.put_variant(variant_row(variant, "SAME"))
    s.returned(world, s.back("OLD-A"))
    s.second(world, s.back("OLD-B"), order_id="5002", order_name="#1002")


def duplicates(place: Workplace, status: str = "open") -> list[str]:
    return [row.detail for row in s.all_exceptions(place, "SKU_DUPLICATE") if row.status == status]


@pytest.mark.usefixtures("twins")
def test_two_variants_with_one_sku_are_shown_once_to_the_integration_owner(desk: Desk, clock: FixedClock) -> None:
    place = desk()
    for _ in range(3):
        run(place)
        clock.forward(hours=1)

    (exception,) = s.all_exceptions(place, "SKU_DUPLICATE")
    assert (exception.detail, exception.sku, exception.owner, exception.count) == (
        "variants v-A, v-B all carry SKU SAME",
        "SAME",
        "integration",
        1,
    )


@pytest.mark.usefixtures("twins")
def test_a_duplicate_closes_when_one_of_the_variants_is_renamed(desk: Desk, world: World, clock: FixedClock) -> None:
    place = desk()
    run(place)
    clock.forward(hours=1)
    world.sparklayer.put_variant(variant_row("v-B", "OTHER"))

    run(place)

    assert (duplicates(place), len(duplicates(place, "resolved"))) == ([], 1)


@pytest.mark.usefixtures("twins")
def test_a_sku_that_was_handed_on_is_no_duplicate(desk: Desk, world: World, clock: FixedClock) -> None:
    world.sparklayer.put_variant(variant_row("v-B", "OTHER"))
    place = desk()
    run(place)
    clock.forward(days=2)
    world.sparklayer.put_variant(variant_row("v-A", "NEW"))
    world.sparklayer.put_variant(variant_row("v-B", "SAME"))

    run(place)

    assert s.all_exceptions(place, "SKU_DUPLICATE") == []


# -- two lines of one SKU


def two_prices(world: World) -> None:
    s.order(
        world,
        s.sold(line_item_id="a", variant_id="v-1"),
        s.sold(line_item_id="b", variant_id="v-2", net="50.00", tax="10.00"),
    )


@s.one_store_is_enough
@pytest.mark.parametrize("sku", ["00417-BRS", "MUG; rm -rf ~", "it's `$HOME`"])
def test_a_suggestion_is_shown_with_the_command_that_takes_it_quoted_for_a_shell(
    desk: Desk, world: World, ask_store: Ask, database_url: str, sku: str
) -> None:
    s.order(world, s.sold(sku))
    s.returned(world, s.back(sku.lower().replace("00417", "417"), **NO_IDS), **s.APPROVED)
    place = desk()
    run(place)
    (exception,) = s.open_exceptions(place)

    shown = ask_store(database_url, "exceptions", "show", str(exception.id)).out

    (command,) = [shlex.split(line) for line in shown.splitlines() if line.startswith("    swapsync ")]
    assert command[:8] == [
        *("swapsync", "exceptions", "resolve", str(exception.id)),
        *("--action", "teach-alias", "--value", sku),
    ]
    answer = ask_store(database_url, *command[1:])
    assert answer.code == 0, answer.err
    run(place)
    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}


def test_two_lines_of_one_sku_are_both_suggested_and_a_person_says_which(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    two_prices(world)
    s.returned(world, s.back(**NO_IDS), **s.APPROVED)
    place = desk()
    run(place)

    (exception,) = s.open_exceptions(place)
    assert [(each["action"], each["value"], each["evidence"][1]) for each in exception.suggestions] == [
        ("choose-line", "li:a", "10 sold for 120.00 GBP"),
        ("choose-line", "li:b", "10 sold for 60.00 GBP"),
    ]
    assert s.credits(world) == {}
    decide(place, clock, "choose-line", "li:b")
    run(place)

    assert s.matched(place) == [("li:b", "a person's choice")]
    assert s.credits(world) == {"swap:R1:credit:1": "-24.00"}


@pytest.mark.parametrize(("ids", "key"), [({"line_item_id": "b"}, "li:b"), ({"variant_id": "v-1"}, "li:a")])
def test_two_lines_of_one_sku_are_told_apart_by_line_item_or_variant(
    desk: Desk, world: World, ids: dict[str, Any], key: str
) -> None:
    two_prices(world)
    s.returned(world, s.back(**(NO_IDS | ids)))
    place = desk()

    run(place)

    assert s.matched(place)[0][0] == key


def test_a_line_that_the_order_does_not_have_cannot_be_chosen(desk: Desk, world: World, clock: FixedClock) -> None:
    two_prices(world)
    s.returned(world, s.back(**NO_IDS))
    place = desk()
    run(place)

    with pytest.raises(RulingRefused, match="the order has no line li:z"):
        decide(place, clock, "choose-line", "li:z")


def test_a_choice_does_not_hold_for_what_the_line_became_afterwards(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    two_prices(world)
    s.returned(world, s.back(**NO_IDS))
    place = desk()
    run(place)
    decide(place, clock, "choose-line", "li:b")
    (line,) = world.swap.get_return("R1")["products"]
    world.swap.change_return("R1", products=[line | {"sku": "mug"}])

    run(place)

    assert s.open_codes(place) == ["SKU_NOT_ON_ORDER"]


# -- near


def test_a_near_sku_is_suggested_with_its_reason_and_can_be_taught_as_it_is(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world, s.sold("MUG-BLUE"), s.sold("MUGBLACK"))
    s.returned(world, s.back("mug blue", **NO_IDS), **s.APPROVED)
    place = desk()
    run(place)

    (exception,) = s.open_exceptions(place)
    first, hint = exception.suggestions
    assert (first["sku"], first["evidence"][0]) == ("MUG-BLUE", "differs in spaces or hyphens")
    assert (hint["sku"], hint["evidence"][0].partition(":")[0]) == ("MUGBLACK", "only a hint")
    decide(place, clock, first["action"], first["value"])
    run(place)

    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}
