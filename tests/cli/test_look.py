"""Commands that look at the store: what they answer to people and to scripts, over a store that a real cycle filled."""

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event, text, update

from swapsync.jobs.cycle import open_workplace
from swapsync.jobs.inspection import Entry, record_findings
from swapsync.sandbox.demo_data import seed_demo
from swapsync.sandbox.faults import Fault
from swapsync.sandbox.server import Sandbox
from swapsync.sandbox.world import World, return_line
from swapsync.settings import load_settings
from swapsync.store.cases import credit_notes
from swapsync.store.db import Store
from swapsync.store.exceptions import exceptions
from swapsync.store.outbox import outbox
from swapsync.store.staging import return_lines, returns
from swapsync.store.views import list_credit_notes, list_exceptions, list_outbox, list_returns, show_return, status
from tests import scenario as s
from tests.conftest import Ask, Desk, FixedClock, run

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
MONEY = re.compile(r"\d+\.\d\d")
MARKUP = "[red]x[/red]"


@pytest.fixture(scope="module", params=("sqlite", "postgresql"))
def demo_url(request: pytest.FixtureRequest, server: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store on which one cycle ran over the demo's data, for two merchants with the same accounts."""
    folder = tmp_path_factory.mktemp("demo")
    if request.param == "sqlite":
        url = f"sqlite:///{folder / 'swapsync.db'}"
    else:
        url = request.getfixturevalue("empty_postgres_database")
    clock = FixedClock(datetime(2026, 3, 10, 12, 0, tzinfo=UTC))
    world = World(now=clock.now)
    seed_demo(world)
    nasty = world.swap.get_return("ret_demo_0024")
    world.swap.change_return("ret_demo_0024", products=[return_line(MARKUP, 1)] + nasty["products"])
    server.world = world
    store = Store(url)
    store.upgrade()
    for slug in ("default", "north"):
        environ = server.environment() | {"SWAPSYNC_SITE": slug, "SWAPSYNC_EFFECTS_FROM": "2026-02-08T00:00:00Z"}
        records = run(open_workplace(load_settings(environ, folder).sites[0], store, clock))
        assert {record.status for record in records.values()} == {"ok"}
    store.close()
    return url


@pytest.fixture(scope="module")
def empty_postgres_database(postgres_server: str) -> str:
    admin = create_engine(postgres_server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE look_{os.getpid()}"))
    admin.dispose()
    return postgres_server.replace("/postgres?", f"/look_{os.getpid()}?")


@pytest.fixture
def ask(ask_store: Ask, demo_url: str) -> Ask:
    """Runs a command on the demo's store."""
    return lambda *arguments: ask_store(demo_url, *arguments)


def fits(value: Any, shape: Any, where: str = "") -> None:
    """Fails unless a value has the promised shape: keys, types exactly, one of a tuple, a pattern, a list of one."""
    if isinstance(shape, dict):
        assert type(value) is dict, where
        for key, inner in shape.items():
            assert key in value, f"{where}.{key}"
            fits(value[key], inner, f"{where}.{key}")
    elif isinstance(shape, list):
        assert type(value) is list, where
        for position, inner in enumerate(value):
            fits(inner, shape[0], f"{where}[{position}]")
    elif isinstance(shape, re.Pattern):
        assert type(value) is str, where
        assert shape.fullmatch(value), f"{where}: {value!r}"
    elif isinstance(shape, tuple):
        assert any(value == one or (isinstance(one, type) and type(value) is one) for one in shape), (
            f"{where}: {value!r}"
        )
    else:
        assert type(value) is shape, f"{where}: {value!r}"


RETURN = {
    "site": str,
    "return_id": str,
    "rma_number": str,
    "order_name": str,
    "po_number": str,
    "state": {
        "logistics": ("announced", "in_transit", "delivered", "cancelled", "expired"),
        "inspection": ("none", "partial", "done"),
        "settlement": (
            *("none", "held", "due", "credited", "refunded_by_gateway", "denied"),
            "settled_outside",
        ),
    },
    "lines": [{"sku": str, "quantity": int, "matched_order_line": (str, None), "accepted_quantity": int}],
    "exceptions": [str],
}
CREDIT_NOTE = {
    **dict.fromkeys(("number", "site", "return_id", "rma_number", "order_name", "customer", "po_number"), str),
    "currency": re.compile("[A-Z]{3}"),
    "net": MONEY,
    "tax": MONEY,
    "gross": MONEY,
    "issued_at": MOMENT,
    "state": ("pending", "delivered", "failed", "void"),
    "lines": [{"sku": str, "quantity": int, "net": MONEY, "tax": MONEY, "gross": MONEY}],
}
EXCEPTION = {
    "id": int,
    **dict.fromkeys(("site", "code", "severity", "rma_number", "return_id", "order_name", "sku", "detail"), str),
    "owner": ("finance", "operations", "customer_service", "integration"),
    "status": ("open", "resolved"),
    "opened_at": MOMENT,
    "due_at": MOMENT,
    "resolved_at": (str, None),
    "resolution": (str, None),
}
EFFECT = {
    "id": int,
    "site": str,
    "kind": ("credit", "note", "stock_level", "restock"),
    "target": str,
    "state": ("pending", "in_doubt", "sent", "failed"),
    "attempts": int,
    "next_attempt_at": (str, None),
    "last_error": (str, None),
}


# -- returns ---------------------------------------------------------------------------------------------------------


def test_returns_list_as_json_has_the_promised_shape_and_every_row(ask: Ask) -> None:
    rows = ask("returns", "list", "--json").json

    assert len(rows) == 60
    fits(rows, [RETURN])


def test_a_return_in_the_list_says_what_it_was_matched_to_and_what_was_accepted(ask: Ask) -> None:
    [row] = ask("returns", "list", "--search", "30004", "--site", "default", "--json").json

    assert (row["order_name"], row["po_number"]) == ("#10403", "PO-98403")
    assert row["state"] == {"logistics": "delivered", "inspection": "none", "settlement": "credited"}
    assert [(line["quantity"], line["accepted_quantity"]) for line in row["lines"]]
    assert all(line["matched_order_line"].startswith("li:") for line in row["lines"])
    assert all(line["quantity"] == line["accepted_quantity"] for line in row["lines"])
    assert row["exceptions"] == []


def test_a_line_that_matches_nothing_names_no_order_line(ask: Ask) -> None:
    [row] = ask("returns", "list", "--search", "30024", "--site", "default", "--json").json

    assert row["exceptions"] == ["SKU_NOT_ON_ORDER"]
    assert {line["matched_order_line"] for line in row["lines"]} == {None}


def test_history_from_before_the_cut_over_has_a_state_and_its_orders_po_number(ask: Ask) -> None:
    rows = ask("returns", "list", "--settlement", "settled_outside", "--site", "default", "--json").json

    assert [(row["state"]["logistics"], row["po_number"]) for row in rows] == [("delivered", "PO-98428")] * 2


@pytest.mark.parametrize(
    ("filters", "rmas"),
    [
        (("--settlement", "held"), {"30014", "30020", "30021", "30022", "30024", "30026", "30027", "30028"}),
        (("--logistics", "in_transit"), {"30015"}),
        (("--search", "po-98424"), {"30025", "30026"}),
        (("--search", "#10402"), {"30002", "30003"}),
        (("--search", "3001", "--settlement", "held"), {"30014"}),
        (("--search", "%"), set()),
    ],
)
def test_returns_are_filtered(ask: Ask, filters: tuple[str, ...], rmas: set[str]) -> None:
    rows = ask("returns", "list", *filters, "--site", "north", "--json").json

    assert {row["rma_number"] for row in rows} == rmas


def test_people_get_fifty_rows_and_are_told_how_many_more_there_are(ask: Ask) -> None:
    answer = ask("returns", "list")

    assert len(re.findall(r"\b300\d\d\b", answer.out)) == 50
    assert "10 more; --limit 60 shows all of them" in answer.out


def test_characters_that_steer_a_terminal_never_reach_it(refused: Ask, store: Store) -> None:
    steering = "PO\x1b[2J\x07\x9b31m\u202e\n1"
    with store.transaction() as connection:
        connection.execute(update(returns).values(po_number=steering, rma_number=steering, customer_email=steering))
        connection.execute(update(return_lines).values(sku=steering, reason=steering))
        connection.execute(update(outbox).values(target=steering, last_error=steering))
        connection.execute(update(credit_notes).values(po_number=steering))
        connection.execute(update(exceptions).values(detail=steering, rma_number=steering))

    shown = [
        refused(*command)
        for command in (
            ("returns", "list"),
            ("returns", "show", "ret-1"),
            ("credit-notes", "list"),
            ("credit-notes", "show", "CN-000001"),
            ("exceptions", "list"),
            ("exceptions", "show", "1"),
            ("outbox", "list"),
            ("outbox", "retry", "--failed"),
        )
    ]

    for answer in shown:
        assert (answer.code, answer.err) == (0, "")
        assert "PO [2J" in answer.out
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", answer.out)
    assert refused("returns", "list", "--json").json[0]["po_number"] == steering


def test_a_limit_holds_for_scripts_too(ask: Ask) -> None:
    newest_first = [row["updated_at"] for row in ask("returns", "list", "--json").json]
    rows = ask("returns", "list", "--limit", "3", "--json").json

    assert newest_first == sorted(newest_first, reverse=True)
    assert [row["updated_at"] for row in rows] == newest_first[:3]


def test_pages_of_a_list_put_together_are_the_list(demo_url: str) -> None:
    store = Store(demo_url)
    with store.reading() as connection:
        everything = list_returns(connection)
        pages = [list_returns(connection, limit=25, offset=offset) for offset in (0, 25, 50)]
    store.close()

    assert [row for page in pages for row in page.rows] == everything.rows
    assert {page.total for page in pages} == {60}


def test_what_looks_like_markup_is_shown_as_it_is(ask: Ask) -> None:
    story = ask("returns", "show", "30024", "--site", "default").out

    assert re.search(r"^\[red\]x\[/red\] +1 +1 ", story, re.MULTILINE)
    assert f"{MARKUP} matches no single line of the order" in story
    assert f"{MARKUP} matches no single line of the order" in ask("exceptions", "list").out
    assert ask("returns", "show", "30024", "--site", "default", "--json").json["lines"][0]["sku"] == MARKUP


def test_a_returns_story_has_the_promised_shape(ask: Ask) -> None:
    entry = {"at": MOMENT, "source": ("swap", "sparklayer", "swapsync", "staff"), "kind": str, "detail": str}

    for rma in ("30001", "30014", "30020", "30028"):
        fits(ask("returns", "show", rma, "--site", "default", "--json").json, RETURN | {"events": [entry]})


def test_a_credited_returns_story_is_told_across_both_systems_in_order_of_time(ask: Ask) -> None:
    story = ask("returns", "show", "30007", "--site", "default", "--json").json

    moments = [event["at"] for event in story["events"]]
    assert moments == sorted(moments)
    assert (story["events"][0]["source"], story["events"][0]["kind"]) == ("swap", "return_announced")
    assert {"credit_delivered", "credit_note_issued", "note_written", "stock_moved"} <= {
        event["kind"] for event in story["events"]
    }
    fits(story["credit_notes"], [CREDIT_NOTE])
    assert [(note["gross"], note["currency"]) for note in story["credit_notes"]] == [("19.20", "EUR")]
    assert [(m["quantity"], m["from"], m["to"]) for m in story["movements"]] == [(2, "outside", "inspection")]
    assert story["order"]["name"] == "#10406"
    assert story["lines"][0]["order_line"] == {
        "sku": "VASE-RCY-GRN",
        "quantity": 9,
        "net": "86.40",
        "tax": "0.00",
        "gross": "86.40",
    }


def test_people_read_in_a_held_returns_story_what_to_do(ask: Ask) -> None:
    shown = ask("returns", "show", "30014", "--site", "default").out

    assert "Return 30014" in shown
    assert "GATEWAY_REFUND_ON_ACCOUNT" in shown
    assert "Check the payment." in shown
    assert re.search(r"swapsync exceptions resolve \d+ --action credit --seen \d+\n", shown)


def test_a_return_whose_order_is_unknown_can_be_shown(ask: Ask) -> None:
    assert "#99999, not found in SparkLayer" in ask("returns", "show", "30020", "--site", "default").out


def test_an_rma_that_exists_at_several_sites_asks_which(ask: Ask) -> None:
    answer = ask("returns", "show", "30001")

    assert (answer.code, answer.out) == (2, "")
    assert answer.err == "swapsync: RMA 30001 exists at several sites; say which with --site: default, north\n"


def test_an_unknown_rma_is_a_users_error(ask: Ask) -> None:
    answer = ask("returns", "show", "99", "--json")

    assert (answer.code, answer.out, answer.err) == (2, "", "swapsync: there is no return with RMA number 99\n")


def test_a_return_can_be_shown_by_swaps_own_id(ask: Ask) -> None:
    assert ask("returns", "show", "ret_demo_0001", "--site", "north", "--json").json["rma_number"] == "30001"


# -- credit notes ----------------------------------------------------------------------------------------------------


def test_credit_notes_list_as_json_has_the_promised_shape(ask: Ask) -> None:
    notes = ask("credit-notes", "list", "--json").json

    assert len(notes) == 20
    fits(notes, [CREDIT_NOTE])


def test_a_credit_notes_lines_add_up_to_it(ask: Ask) -> None:
    for note in ask("credit-notes", "list", "--json").json:
        for amount in ("net", "tax", "gross"):
            assert sum(Decimal(line[amount]) for line in note["lines"]) == Decimal(note[amount])
        assert Decimal(note["net"]) + Decimal(note["tax"]) == Decimal(note["gross"])


@pytest.mark.parametrize(
    ("filters", "orders"),
    [
        (("--search", "30007"), ["#10406"]),
        (("--search", "PO-98402"), ["#10402", "#10402"]),
        (("--state", "failed"), []),
    ],
)
def test_credit_notes_are_filtered(ask: Ask, filters: tuple[str, ...], orders: list[str]) -> None:
    notes = ask("credit-notes", "list", *filters, "--site", "default", "--json").json

    assert [note["order_name"] for note in notes] == orders


def test_one_credit_note_is_shown_with_its_lines_and_its_delivery(ask: Ask) -> None:
    note = ask("credit-notes", "show", "CN-000001", "--site", "north", "--json").json
    shown = ask("credit-notes", "show", "CN-000001", "--site", "north").out

    fits(note, CREDIT_NOTE | {"deliveries": [EFFECT]})
    assert [delivery["state"] for delivery in note["deliveries"]] == ["sent"]
    assert f"transaction swap:{note['return_id']}:credit:1" in shown
    assert f"{note['gross']} {note['currency']}" in shown


def test_a_credit_note_number_of_two_sites_asks_which_and_an_unknown_one_is_named(ask: Ask) -> None:
    both, unknown = ask("credit-notes", "show", "CN-000001"), ask("credit-notes", "show", "CN-9")

    assert (both.code, unknown.code) == (2, 2)
    assert "exists at several sites; say which with --site: default, north" in both.err
    assert unknown.err == "swapsync: there is no credit note CN-9\n"


# -- exceptions ------------------------------------------------------------------------------------------------------


def test_exceptions_list_as_json_has_the_promised_shape_and_only_open_ones(ask: Ask) -> None:
    rows = ask("exceptions", "list", "--json").json

    assert len(rows) == 28
    fits(rows, [EXCEPTION])
    assert {(row["status"], row["resolved_at"]) for row in rows} == {("open", None)}
    assert [row["due_at"] for row in rows] == sorted(row["due_at"] for row in rows)


@pytest.mark.parametrize("owner", ["finance", "customer_service", "integration"])
def test_a_team_sees_its_own_exceptions(ask: Ask, owner: str) -> None:
    everything = ask("exceptions", "list", "--json").json
    mine = ask("exceptions", "list", "--owner", owner, "--json").json

    assert mine == [row for row in everything if row["owner"] == owner] != []


def test_exceptions_are_filtered_by_code_and_status(ask: Ask) -> None:
    missing = ask("exceptions", "list", "--code", "po_number_missing", "--site", "default", "--json").json

    assert [row["rma_number"] for row in missing] == ["30008"]
    assert ask("exceptions", "list", "--status", "resolved", "--json").json == []
    assert len(ask("exceptions", "list", "--status", "all", "--json").json) == 28


def test_an_unknown_team_is_answered_with_the_four_there_are(ask: Ask) -> None:
    answer = ask("exceptions", "list", "--owner", "boss")

    assert answer.code == 2
    for team in ("boss", "finance", "operations", "customer_service", "integration"):
        assert f"'{team}'" in answer.err


def test_an_exception_is_explained_with_the_commands_that_decide_it(ask: Ask) -> None:
    [row] = ask("exceptions", "list", "--code", "PO_NUMBER_MISSING", "--site", "default", "--json").json
    item = ask("exceptions", "show", str(row["id"]), "--json").json
    shown = ask("exceptions", "show", str(row["id"])).out

    fits(item, EXCEPTION | {"meaning": str, "remedy": str, "closes_when": str, "actions": [str], "count": int})
    assert item["actions"] == ["type-po"]
    assert item["meaning"] in shown
    assert item["remedy"] in shown
    assert f'swapsync exceptions resolve {row["id"]} --action type-po --value "the PO number"' in shown


@pytest.mark.parametrize("number", ["0", "999999", str(2**31 - 1)])
def test_an_unknown_exception_is_a_users_error(ask: Ask, number: str) -> None:
    answer = ask("exceptions", "show", number)

    assert (answer.code, answer.err) == (2, f"swapsync: there is no exception {number}\n")


def test_another_sites_exception_is_not_shown(ask: Ask) -> None:
    row = ask("exceptions", "list", "--site", "north", "--json").json[0]

    answer = ask("exceptions", "show", str(row["id"]), "--site", "default")
    assert (answer.code, answer.err) == (2, f"swapsync: there is no exception {row['id']} at site default\n")


# -- status ----------------------------------------------------------------------------------------------------------


def test_status_as_json_has_the_promised_shape(ask: Ask) -> None:
    document = ask("status", "--json").json

    fits(
        document,
        {
            "sites": [
                {
                    "site": str,
                    "effects_from": MOMENT,
                    "settled_outside": int,
                    "watermarks": {"swap.returns": MOMENT, "sparklayer.orders": MOMENT},
                    "outbox": {"pending": int, "in_doubt": int, "failed": int},
                    "exceptions": {
                        "open": int,
                        "by_owner": dict.fromkeys(("finance", "operations", "customer_service", "integration"), int),
                    },
                    "liability": [{"currency": re.compile("[A-Z]{3}"), "gross": MONEY}],
                    "jobs": [
                        {
                            "job": str,
                            "status": ("ok", "failed"),
                            "finished_at": MOMENT,
                            "error": (str, None),
                            **dict.fromkeys(("read", "changed", "sent", "failed"), int),
                        }
                    ],
                }
            ]
        },
    )
    assert [site["site"] for site in document["sites"]] == ["default", "north"]


def test_status_tells_how_a_site_stands(ask: Ask) -> None:
    [site] = ask("status", "--site", "default", "--json").json["sites"]

    assert site["effects_from"] == "2026-02-08T00:00:00Z"
    assert site["settled_outside"] == 2
    assert site["outbox"] == {"pending": 0, "in_doubt": 0, "failed": 0}
    assert site["exceptions"]["open"] == sum(site["exceptions"]["by_owner"].values()) == 14
    assert [job["job"] for job in site["jobs"]] == [
        *("poll_returns", "poll_orders", "poll_skus", "reconcile"),
        *("push_credits", "push_restocks", "push_status"),
    ]
    assert {job["status"] for job in site["jobs"]} == {"ok"}


def test_liability_is_the_gross_value_under_way_or_held_on_pay_later_orders(ask: Ask) -> None:
    under_way = Decimal("49.80") + Decimal("23.04")  # a lamp, two vases
    arrived = Decimal("59.76") + Decimal("41.40") + Decimal("18.24") + Decimal("33.48")  # mugs, towels, basket, boards
    held = Decimal("86.40") + Decimal("15.30")  # two throws that Swap refunded, an apron in another currency
    two_of_four_baskets = Decimal("36.48")  # the other two were credited to an earlier return of the same line

    [site] = ask("status", "--site", "default", "--json").json["sites"]

    gross = under_way + arrived + held + two_of_four_baskets
    assert site["liability"] == [{"currency": "GBP", "gross": str(gross)}]
    assert site["unvalued_lines"] == 5  # no order, another buyer, two unmatched SKUs, an unknown status


def test_people_read_how_a_site_stands(ask: Ask) -> None:
    shown = ask("status", "--site", "north").out

    assert "Site north" in shown
    assert re.search(r"owed to buyers +363\.90 GBP; 5 lines without a known price", shown)
    assert re.search(r"push_credits +ok", shown)


@pytest.mark.parametrize("command", [("status",), ("returns", "list"), ("outbox", "list"), ("exceptions", "list")])
def test_a_site_that_neither_settings_nor_store_know_is_refused(ask: Ask, command: tuple[str, ...]) -> None:
    answer = ask(*command, "--site", "nowhere", "--json")

    assert (answer.code, answer.out) == (2, "")
    assert answer.err == "swapsync: site 'nowhere' is unknown; known: default; in the store: default, north\n"


def test_routes_of_the_settings_say_what_is_paid_later(
    ask: Ask, tmp_path: Path, server: Sandbox, monkeypatch: Any
) -> None:
    (tmp_path / "swapsync.toml").write_text(
        '[sites.north]\n[defaults.payment_routes]\nbank_guarantee = "credit_note"\n'
    )
    monkeypatch.setenv("SWAPSYNC_CONFIG", "swapsync.toml")
    monkeypatch.setenv("SWAPSYNC_SITE", "north")
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)

    [site] = ask("status", "--site", "north", "--json").json["sites"]

    assert site["liability"] == [{"currency": "GBP", "gross": str(Decimal("363.90") + Decimal("11.52"))}]


def test_an_empty_store_has_nothing_to_show_and_that_is_no_error(ask_store: Ask, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}"

    for listing in ("returns", "credit-notes", "exceptions", "outbox"):
        assert ask_store(url, listing, "list", "--json").json == []
        assert "none" in ask_store(url, listing, "list").out
    assert ask_store(url, "status", "--json").json == {"sites": []}
    [site] = ask_store(url, "status", "--site", "default", "--json").json["sites"]
    assert (site["jobs"], site["watermarks"], site["liability"]) == ([], {}, [])


def test_a_list_takes_as_many_statements_for_many_rows_as_for_one(demo_url: str) -> None:
    store = Store(demo_url)
    statements: list[str] = []
    event.listen(
        store.engine,
        "before_cursor_execute",
        lambda *call: statements.append(call[2]) if call[2].startswith("SELECT") else None,
    )

    def cost(look: Callable[[Any], object]) -> int:
        statements.clear()
        with store.reading() as connection:
            look(connection)
        return len(statements)

    with store.reading() as connection:
        assert list_returns(connection).total == 60
    for listing in (list_returns, list_credit_notes, list_exceptions, list_outbox):
        few, many = cost(lambda c, f=listing: f(c, limit=1)), cost(lambda c, f=listing: f(c))
        assert few == many <= 4
    assert cost(lambda c: status(c, {"default": {}, "north": {}})) == cost(lambda c: status(c, {"north": {}})) <= 12
    assert cost(lambda c: show_return(c, "default", "ret_demo_0001")) <= 14
    store.close()


# -- outbox ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def refused(desk: Desk, world: World, database_url: str, ask_store: Ask) -> Ask:
    """A store whose one credit SparkLayer refused; everything else was delivered. Runs commands on it."""
    s.sold(world)
    s.approved(world)
    world.faults.add(Fault(kind="status", side="sparklayer", method="PUT", path_contains="transactions", status=422))
    records = run(desk())
    assert (records["push_credits"].sent, records["push_credits"].failed) == (0, 1)
    return lambda *arguments: ask_store(database_url, *arguments)


def test_the_outbox_shows_what_gave_up_and_not_what_was_sent(refused: Ask) -> None:
    rows = refused("outbox", "list", "--json").json

    fits(rows, [EFFECT])
    assert [(row["kind"], row["target"], row["state"], row["next_attempt_at"]) for row in rows] == [
        ("credit", "order #5001", "failed", None)
    ]
    assert "422" in rows[0]["last_error"]


def test_the_outbox_shows_one_state_or_all_when_asked(refused: Ask) -> None:
    failed, sent, everything = (
        refused("outbox", "list", "--state", state, "--json").json for state in ("failed", "sent", "all")
    )

    fits(everything, [EFFECT])
    assert {row["state"] for row in sent} == {"sent"}
    assert sorted(row["id"] for row in failed + sent) == [row["id"] for row in everything]


def test_a_retried_credit_is_pending_again_and_the_next_cycle_delivers_it(
    refused: Ask, desk: Desk, world: World, clock: FixedClock
) -> None:
    [failed] = refused("outbox", "list", "--json").json
    assert refused("credit-notes", "list", "--json").json[0]["state"] == "failed"

    answer = refused("outbox", "retry", str(failed["id"]))

    assert (answer.code, answer.out) == (
        0,
        f"{failed['id']}: credit for order #5001 will be tried with the next sync\n",
    )
    assert refused("credit-notes", "list", "--json").json[0]["state"] == "pending"
    [owed] = refused("status", "--json").json["sites"][0]["liability"]
    assert owed == {"currency": "GBP", "gross": "48.00"}
    clock.moment = datetime.now(UTC)
    run(desk(), "push_credits")
    assert s.credited(world) == ["-48.00"]
    assert refused("credit-notes", "list", "--json").json[0]["state"] == "delivered"
    assert refused("status", "--json").json["sites"][0]["liability"] == []


def test_a_retry_is_in_the_returns_story(refused: Ask) -> None:
    refused("outbox", "retry", "--failed")

    [told] = [e for e in refused("returns", "show", "R1", "--json").json["events"] if e["source"] == "staff"]
    assert told["kind"] == "delivery_retried"
    assert told["detail"].startswith("credit for order #5001, asked for by ")
    assert (told["before"], told["after"]) == ({"state": "failed"}, {"state": "pending"})


def test_all_that_gave_up_is_retried_at_once(refused: Ask) -> None:
    document = refused("outbox", "retry", "--failed", "--json").json

    fits(document, {"retried": [EFFECT], "already_sent": [int]})
    assert [(row["kind"], row["state"]) for row in document["retried"]] == [("credit", "pending")]
    assert refused("outbox", "retry", "--failed").out == "nothing has given up\n"


def test_of_all_that_gave_up_one_kind_can_be_retried(refused: Ask) -> None:
    assert refused("outbox", "retry", "--all-failed", "--kind", "note", "--json").json["retried"] == []
    [row] = refused("outbox", "retry", "--all-failed", "--kind", "credit", "--json").json["retried"]
    assert (row["kind"], row["state"], row["attempts"]) == ("credit", "pending", 0)


def test_what_was_delivered_already_is_named_and_stays_delivered(refused: Ask) -> None:
    sent = refused("outbox", "list", "--state", "sent", "--json").json[0]

    document = refused("outbox", "retry", str(sent["id"]), "--json").json
    answer = refused("outbox", "retry", str(sent["id"]))

    assert document == {"retried": [], "already_sent": [sent["id"]], "withdrawn": [], "written_off": []}
    assert "was delivered already" in answer.out
    assert sent in refused("outbox", "list", "--state", "sent", "--json").json


def test_an_unknown_id_is_named_and_nothing_is_retried(refused: Ask) -> None:
    [failed] = refused("outbox", "list", "--json").json

    answer = refused("outbox", "retry", str(failed["id"]), "777", "778")

    assert (answer.code, answer.err) == (2, "swapsync: the outbox has no delivery 777, 778; nothing was changed\n")
    assert refused("outbox", "list", "--json").json == [failed]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "by their ids"),
        (("1", "--failed"), "by their ids"),
        (("1", "--kind", "note"), "--kind narrows --all-failed"),
        (("--failed", "--kind", "money"), "--kind money: there is no such kind"),
    ],
)
def test_a_retry_says_what_to_retry_in_one_way(refused: Ask, arguments: tuple[str, ...], why: str) -> None:
    answer = refused("outbox", "retry", *arguments)

    assert answer.code == 2
    assert why in answer.err


def test_what_is_in_doubt_is_looked_for_first(desk: Desk, world: World, database_url: str, ask_store: Ask) -> None:
    s.sold(world)
    s.returned(world)
    world.faults.add(Fault(kind="lost_reply_after", side="sparklayer", method="POST", path_contains="history"))
    run(desk())
    [doubtful] = ask_store(database_url, "outbox", "list", "--state", "in_doubt", "--json").json

    answer = ask_store(database_url, "outbox", "retry", str(doubtful["id"]))

    assert answer.out == f"{doubtful['id']}: note for order #5001 will be looked for first with the next sync\n"
    assert ask_store(database_url, "outbox", "list", "--state", "in_doubt", "--json").json[0]["id"] == doubtful["id"]


# -- liability, case by case -----------------------------------------------------------------------------------------


def owed(ask_store: Ask, url: str) -> list[tuple[str, str]]:
    [site] = ask_store(url, "status", "--json").json["sites"]
    return [(part["gross"], part["currency"]) for part in site["liability"]]


@pytest.mark.parametrize(
    ("order", "change", "gross"),
    [
        ({}, {}, [("48.00", "GBP")]),
        ({"payment_method": "platform_upfront"}, {}, []),
        ({}, {"return_status": "Cancelled", "delivery_status": None}, []),
        ({}, {"return_status": "Closed", "quality_control_status": "Not Approved"}, []),
        ({}, {"return_status": "Closed", "quality_control_status": "Approved"}, []),
        ({}, {"return_status": "Closed", "quality_control_status": "Approved", "customer_currency": "EUR"}, "48.00"),
        ({}, {"lines": [return_line("MUG", 4, line_item_id="71", return_type="Exchange")]}, []),
    ],
    ids=["delivered", "paid by card", "cancelled", "turned down", "credited", "held", "exchange"],
)
def test_liability_of_one_return(
    desk: Desk,
    world: World,
    database_url: str,
    ask_store: Ask,
    order: dict[str, Any],
    change: dict[str, Any],
    gross: Any,
) -> None:
    s.sold(world, **order)
    s.returned(world, **change)
    run(desk())

    assert owed(ask_store, database_url) == ([(gross, "GBP")] if isinstance(gross, str) else gross)


def test_liability_of_a_return_inspected_in_part_is_what_is_still_to_be_inspected(
    desk: Desk, world: World, store: Store, database_url: str, clock: FixedClock, ask_store: Ask
) -> None:
    s.sold(world)
    s.returned(world)
    run(desk())
    found = [Entry("R1", "MUG", "sellable", "1", key="a"), Entry("R1", "MUG", "missing", "1", key="b")]
    assert record_findings(store, "default", found, actor="ann", now=clock.now()).refused == []
    run(desk())

    assert s.credited(world) == ["-12.00"]
    assert owed(ask_store, database_url) == [("24.00", "GBP")]
