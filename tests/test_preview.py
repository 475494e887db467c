"""returns preview: what would follow for one return, and why, through the code that does it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from swapsync.jobs.reconcile import preview
from swapsync.jobs.workplace import Workplace
from swapsync.reports.preview import preview_as_json
from swapsync.sandbox.server import Sandbox
from swapsync.sandbox.world import World
from tests.conftest import Desk, run
from tests.rules import scenario as s
from tests.test_dry_run import everything


def previewed(place: Workplace, return_id: str = "R1") -> dict[str, Any]:
    found = preview(place, return_id)
    assert found is not None
    return preview_as_json(place, found)


def said(item: dict[str, Any]) -> list[tuple[int, str, str]]:
    return [(rule["rule"], rule["verdict"], rule["text"]) for rule in item["rules"]]


def polled(desk: Desk, **settings: str) -> Workplace:
    place = desk(**settings)
    run(place, "poll_returns", "poll_orders", "poll_skus")
    return place


def test_it_shows_the_credit_its_computation_the_movements_and_every_write(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = polled(desk)

    item = previewed(place)

    assert item["route"] == "credit_note"
    assert item["state"]["settlement"] == "due"
    assert item["credit_note"] == {
        "net": "40.00",
        "tax": "8.00",
        "gross": "48.00",
        "currency": "GBP",
        "po_number": "PO-77",
    }
    [line] = item["lines"]
    assert (line["announced"], line["accepted"], line["credited"], line["matched_by"]) == (4, 4, 0, "line item id")
    assert line["order_line"] == {"sku": "MUG", "quantity": 10, "net": "100.00", "tax": "20.00", "gross": "120.00"}
    computation = "4 of 10 sold, 0 credited before: net 40.00 of 100.00, tax 8.00 of 20.00 GBP"
    assert line["credit"] == {
        "quantity": 4,
        "net": "40.00",
        "tax": "8.00",
        "gross": "48.00",
        "computation": computation,
    }
    assert [(m["quantity"], m["from"], m["to"]) for m in item["movements"]] == [(4, "outside", "inspection")]
    assert [(write["kind"], write["target"]) for write in item["writes"]] == [
        ("credit", "order #1001"),
        ("note", "order #1001"),
        ("note", "order #1001"),
        ("stock_level", "MUG at inspection"),
        ("note", "order #1001"),
    ]
    assert said(item) == [
        (7, "releases", f"{s.BUYER} belongs to the buyer of order #1001"),
        (2, "releases", "on_account: a credit note of ours and one transaction"),
        (5, "notes", "PO number PO-77 goes on the credit note and the notes"),
        (8, "releases", "MUG of the order, by line item id"),
        (1, "releases", "4 of 4 accepted: Swap says closed, delivered, QC approved"),
        (4, "releases", computation),
    ]


def test_nothing_is_written_and_nothing_is_sent_and_the_next_cycle_does_what_was_shown(
    desk: Desk, world: World
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = polled(desk)
    before, asked = everything(place.store), len(world.exchanges)

    item = previewed(place)

    assert everything(place.store) == before
    assert len(world.exchanges) == asked

    run(place)

    shown = [write["body"] for write in item["writes"] if write["kind"] == "note"]
    assert sorted(s.notes(world)) == sorted(shown)
    [credit] = [write for write in item["writes"] if write["kind"] == "credit"]
    assert s.credits(world) == {credit["platform_id"]: credit["total"]}


@pytest.mark.parametrize(
    ("order", "ret", "settings", "code", "holds"),
    [
        ({"payment_method": "barter"}, {}, {}, "PAYMENT_METHOD_UNKNOWN", "credit"),
        ({}, {"customer_currency": "EUR"}, {}, "CURRENCY_MISMATCH", "credit"),
        ({}, {"refund_value": 48}, {}, "GATEWAY_REFUND_ON_ACCOUNT", "credit"),
        ({"customer_reference": ""}, {}, {"po_required": "true"}, "PO_NUMBER_MISSING", "credit"),
        ({}, {"customer_email": "other@else.example"}, {}, "CUSTOMER_MISMATCH", "everything"),
        ({}, {"order_id": "9", "order_name": "#9"}, {}, "ORPHANED_RETURN", "everything"),
        ({}, {"lines": [s.back("CUP", line_item_id="?", variant_id="?")]}, {}, "SKU_NOT_ON_ORDER", "line"),
        ({}, {"lines": [s.back(quantity=11)]}, {}, "QUANTITY_EXCEEDS_ORDER", "line"),
        ({}, {"lines": [s.back(return_type="Warranty")]}, {}, "INSPECTION_REVIEW", "line credit"),
    ],
)
@s.one_store_is_enough
def test_what_holds_it_is_named_with_owner_and_way_out(
    desk: Desk,
    world: World,
    order: dict[str, Any],
    ret: dict[str, Any],
    settings: dict[str, str],
    code: str,
    holds: str,
) -> None:
    s.buyer(world, "other@else.example")
    s.order(world, **order)
    fields = dict(ret)
    lines = fields.pop("lines", [])
    refund = fields.pop("refund_value", None)
    s.returned(world, *lines, **(s.APPROVED | fields))
    if refund is not None:
        world.swap.change_return("R1", total_refund_value_customer_currency=refund)

    item = previewed(polled(desk, **settings))

    assert (code, holds) in [(each["code"], each["holds"]) for each in item["holds"]]
    assert all(each["owner"] and each["remedy"] for each in item["holds"])
    assert code in [rule["code"] for rule in item["rules"] if rule["verdict"] == "holds"]
    assert item["credit_note"] is None
    assert item["state"]["settlement"] == "held"


def test_what_waits_for_the_warehouse_says_so(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, **s.DELIVERED)
    item = previewed(polled(desk, settle_on="inspected"))
    text = "0 of 4 accepted: Swap says open, delivered, QC pending; it waits for the warehouse's finding"
    assert (1, "holds", text) in said(item)


def test_a_partial_finding_says_what_was_found_and_what_is_credited_already(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, **s.DELIVERED)
    place = desk()
    run(place)
    s.found(place, "sellable", 1)
    run(place)
    s.found(place, "sellable", 2)

    item = previewed(place)

    [line] = item["lines"]
    assert (line["found"], line["accepted"], line["credited"]) == ({"sellable": 3}, 3, 1)
    assert line["credit"]["quantity"] == 2
    assert (3, "holds", "1 of 4 credited already") in said(item)
    assert [write["platform_id"] for write in item["writes"] if write["kind"] == "credit"] == ["swap:R1:credit:2"]


def test_a_return_settled_before_the_cut_over_says_so(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    item = previewed(polled(desk, effects_from="2026-03-10T00:00:00Z"))
    assert [(rule["rule"], rule["verdict"]) for rule in item["rules"]] == [(12, "holds")]
    assert item["writes"] == []


def test_a_return_whose_order_was_not_read_yet_has_no_preview(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    run(place, "poll_returns")
    assert preview(place, "R1") is None


def test_a_credited_return_is_shown_although_our_own_credit_touched_its_order(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    run(place)
    run(place)

    item = previewed(place)

    assert (item["state"]["settlement"], item["credit_note"]) == ("credited", None)
    assert (1, "releases", "4 of 4 accepted: Swap says closed, delivered, QC approved") in said(item)


def test_the_command_tells_people_and_scripts(server: Sandbox, desk: Desk, world: World, tmp_path: Path) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = polled(desk, inspection_days="0")  # the command goes by the real clock
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("SWAPSYNC_")},
        **server.environment(),
        "SWAPSYNC_INSPECTION_DAYS": "0",
        "SWAPSYNC_DATABASE_URL": place.store.engine.url.render_as_string(hide_password=False),
    }

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        asked = [sys.executable, "-m", "swapsync", "returns", "preview", *arguments]
        return subprocess.run(asked, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60)

    assert json.loads(call("RMA-1", "--json").stdout) == json.loads(json.dumps(previewed(place)))
    people = call("RMA-1").stdout
    assert "48.00 GBP (40.00 net, 8.00 tax), PO PO-77" in people
    assert "4 of 10 sold, 0 credited before: net 40.00 of 100.00, tax 8.00 of 20.00 GBP" in people
    unknown = call("RMA-9")
    assert (unknown.returncode, unknown.stderr.strip()) == (2, "swapsync: there is no return with RMA number RMA-9")
