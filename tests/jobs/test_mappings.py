"""What people taught about words of the other side: listed, taken back, and weaker than what is configured."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Row

from swapsync.jobs.reconcile import preview
from swapsync.jobs.rulings import RulingRefused, forget, rule
from swapsync.jobs.workplace import Workplace
from swapsync.sandbox.world import World
from swapsync.store import views
from tests.conftest import Ask, Desk, FixedClock, run
from tests.rules import scenario as s
from tests.test_dry_run import everything

GHOST = s.back("GHOST", line_item_id=None, variant_id=None)


def only(place: Workplace, code: str) -> Row[Any]:
    [row] = s.open_exceptions(place)
    assert row.code == code
    return row


def decide(place: Workplace, code: str, action: str, value: str) -> None:
    rule(place.store, only(place, code).id, action, value=value, actor="fiona", now=place.clock.now())


def take_back(place: Workplace, kind: str, word: str) -> dict[str, Any]:
    return forget(place.store, kind, word, actor="fay", now=place.clock.now())


def listed(place: Workplace) -> list[tuple[str, str, str]]:
    with place.store.reading() as connection:
        return [(m["kind"], m["word"], m["meaning"]) for m in views.list_mappings(connection, place.slug)]


def test_a_wrong_route_is_taken_back_and_what_it_left_uncredited_is_asked_about_again(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world, payment_method="Bank Transfer")
    s.returned(world, **s.APPROVED)
    place = desk()
    run(place)
    decide(place, "PAYMENT_METHOD_UNKNOWN", "map", "gateway")
    run(place)
    assert (s.open_codes(place), s.credits(world)) == ([], {})
    assert listed(place) == [("payment_method", "banktransfer", "gateway")]

    gone = take_back(place, "payment_method", "bank-transfer")
    run(place)

    assert (gone["word"], gone["meaning"]) == ("banktransfer", "gateway")
    assert listed(place) == []
    decide(place, "PAYMENT_METHOD_UNKNOWN", "map", "credit_note")
    run(place)
    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}


def test_taking_back_stands_in_the_trail_with_who_did_it(desk: Desk, world: World) -> None:
    s.order(world, payment_method="barter")
    s.returned(world, **s.APPROVED)
    place = desk()
    run(place)
    decide(place, "PAYMENT_METHOD_UNKNOWN", "map", "gateway")
    take_back(place, "payment_method", "barter")

    last = s.trail(place)[-1]
    assert (last.source, last.kind, last.actor) == ("staff", "mapping_forgotten", "fay")
    assert last.detail == "payment_method barter no longer means gateway"
    assert (last.before, last.after) == ('{"barter":"gateway"}', '{"barter":null}')


def test_a_wrong_alias_is_taken_back_and_its_lines_match_nothing_again(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world, s.sold(), s.sold("CUP"))
    s.returned(world, GHOST, **s.DELIVERED)
    place = desk()
    run(place)
    decide(place, "SKU_NOT_ON_ORDER", "teach-alias", "CUP")
    run(place)
    assert s.matched(place) == [("li:li-CUP", "taught alias")]

    take_back(place, "alias", "GHOST")
    run(place)

    assert s.matched(place) == [("", "")]
    decide(place, "SKU_NOT_ON_ORDER", "teach-alias", "MUG")
    run(place)
    assert s.matched(place) == [("li:li-MUG", "taught alias")]
    assert listed(place) == [("alias", "GHOST", "MUG")]


@pytest.mark.parametrize(
    ("field", "fields", "meaning"),
    [
        ("return_type", {"lines": [s.back(return_type="Bar-ter")]}, "stock_only"),
        ("quality_control_status", {"quality_control_status": "Bar ter"}, "pending"),
    ],
)
def test_a_wrong_meaning_is_taken_back_and_the_return_waits_for_another(
    desk: Desk, world: World, clock: FixedClock, field: str, fields: dict[str, Any], meaning: str
) -> None:
    s.order(world)
    fields = dict(fields)
    lines = fields.pop("lines", [])
    s.returned(world, *lines, **s.APPROVED | fields)
    place = desk()
    run(place)
    decide(place, "UNKNOWN_VALUE", "map", meaning)
    run(place)
    assert (s.open_codes(place), s.credits(world)) == ([], {})

    take_back(place, field, "BAR_TER")
    run(place)
    run(place)

    decide(place, "UNKNOWN_VALUE", "map", "credit" if field == "return_type" else "approved")
    run(place)
    assert (s.open_codes(place), s.credits(world)) == ([], {"swap:R1:credit:1": "-48.00"})


def test_without_a_new_word_nothing_is_read_again(desk: Desk, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    s.order(world)
    s.returned(world, s.back(return_type="Barter"), **s.DELIVERED)
    place = desk()
    run(place)
    decide(place, "UNKNOWN_VALUE", "map", "credit")
    run(place)

    def read_again(*_: object) -> None:
        raise AssertionError("a return was read again")

    monkeypatch.setattr("swapsync.jobs.reread.read_return", read_again)
    assert run(place)["reconcile"].status == "ok"


def test_a_configured_route_wins_over_a_taught_one(desk: Desk, world: World, tmp_path: Path) -> None:
    s.order(world, payment_method="barter")
    s.returned(world, **s.APPROVED)
    place = desk()
    run(place)
    decide(place, "PAYMENT_METHOD_UNKNOWN", "map", "gateway")
    run(place)
    assert s.credits(world) == {}

    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "swapsync.toml").write_text('[defaults.payment_routes]\nBarter = "credit_note"\n')
    place = desk()
    run(place)

    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}


def test_the_preview_knows_a_word_that_was_taught_just_now(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, s.back(return_type="Barter"), **s.APPROVED)
    place = desk()
    run(place)
    run(place)
    decide_on = only(place, "UNKNOWN_VALUE").id
    rule(place.store, decide_on, "map", value="credit", actor="fiona", now=place.clock.now())
    before = everything(place.store)

    found = preview(place, "R1")

    assert found
    assert [problem.code for problem in found.decision.problems] == []
    [credit] = found.decision.credit
    assert credit.net + credit.tax == 4800
    assert everything(place.store) == before
    run(place)
    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}


def test_what_nobody_taught_can_not_be_taken_back(desk: Desk, world: World) -> None:
    place = desk()
    run(place)
    with pytest.raises(RulingRefused, match="nobody taught what alias GHOST means"):
        take_back(place, "alias", "GHOST")
    with pytest.raises(RulingRefused, match="the kinds are alias, payment_method, return_status, delivery_status"):
        take_back(place, "colour", "red")


def test_what_two_sites_were_taught_is_taken_back_at_the_one_that_is_named(
    desk: Desk, world: World, ask_store: Ask, database_url: str
) -> None:
    s.order(world, payment_method="barter")
    s.returned(world, **s.APPROVED)
    places = [desk("acme"), desk("bolt")]
    for place in places:
        run(place)
        decide(place, "PAYMENT_METHOD_UNKNOWN", "map", "gateway")

    assert [m["site"] for m in ask_store(database_url, "mappings", "list", "--json").json] == ["acme", "bolt"]
    unsaid = ask_store(database_url, "mappings", "forget", "payment_method", "barter")
    assert (unsaid.code, unsaid.err) == (
        2,
        "swapsync: payment_method barter was taught at acme, bolt: say --site\n",
    )
    done = ask_store(database_url, "mappings", "forget", "payment_method", "barter", "--site", "bolt")
    assert (done.code, done.out) == (
        0,
        "payment_method barter no longer means gateway; swapsync sync decides again what waits\n",
    )
    shown = ask_store(database_url, "mappings", "list").out
    assert "acme  payment_method  barter  gateway  fiona" in " ".join(shown.split()).replace(" ", "  ")
    assert "bolt" not in shown
    assert ask_store(database_url, "mappings", "list", "--site", "bolt").out.strip() == "Mappings: none"
