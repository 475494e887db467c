"""The SparkLayer client against the look-alike, which checks every call against the contract."""

import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import responses

from swapsync.connectors.errors import BadAnswer, CredentialsRejected, InDoubt, NotFound, Refused, TryLater
from swapsync.connectors.sparklayer import OrderRef, SparkLayerClient, StockLevel, StockLevelWrite
from swapsync.sandbox.faults import Fault
from swapsync.sandbox.server import CLIENT_ID, CLIENT_SECRET, SITE_ID, Sandbox
from swapsync.sandbox.world import World, customer_row, line_item, purchase_row, stable_uuid
from tests.connectors.conftest import URL, RecordingClock

START = datetime(2026, 3, 1, tzinfo=UTC)
ORDER = OrderRef("platform", "551")
TOKEN = "/api/auth/token"


def client(base_url: str, clock: RecordingClock, **options: Any) -> SparkLayerClient:
    defaults: dict[str, Any] = {
        "base_url": base_url,
        "site_id": SITE_ID,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "created_by": "swapsync",
        "clock": clock,
        "timeout": 5,
        "max_attempts": 2,
        "backoff": 1,
        "budget": None,
    }
    return SparkLayerClient(**(defaults | options))


@pytest.fixture
def spark(server: Sandbox, world: World, clock: RecordingClock) -> SparkLayerClient:
    return client(server.sparklayer_url, clock)


@pytest.fixture
def order(world: World) -> None:
    lines = [line_item("MUG", 1, net="10.00", line_item_id="149", variant_id="44")]
    world.sparklayer.put_purchase(purchase_row("551", "#B2B/20 71", lines, customer_id="c-1", placed=START))


# -- tokens


def test_one_token_serves_many_calls(spark: SparkLayerClient, world: World) -> None:
    spark.check()
    for _ in range(3):
        spark.stock_locations()
    assert len(world.calls("POST", TOKEN)) == 1


def test_a_token_is_renewed_a_minute_before_it_expires(
    spark: SparkLayerClient, world: World, clock: RecordingClock
) -> None:
    spark.check()
    clock.forward(seconds=3539)
    spark.check()
    assert len(world.calls("POST", TOKEN)) == 1
    clock.forward(seconds=1)
    spark.check()
    assert len(world.calls("POST", TOKEN)) == 2


def test_a_short_lived_token_is_used_for_half_its_life(
    spark: SparkLayerClient, world: World, clock: RecordingClock
) -> None:
    world.sparklayer.token_seconds = 10
    for seconds in (0, 4, 1):
        clock.forward(seconds=seconds)
        spark.check()
    assert len(world.calls("POST", TOKEN)) == 2


def test_a_token_that_was_revoked_is_replaced_within_the_call(spark: SparkLayerClient, world: World) -> None:
    spark.check()
    world.sparklayer.revoke_tokens()
    assert spark.stock_locations()
    assert len(world.calls("POST", TOKEN)) == 2


def test_threads_that_meet_the_same_dead_token_get_one_new_one(spark: SparkLayerClient, world: World) -> None:
    spark.check()
    world.sparklayer.revoke_tokens()
    met_401 = threading.Barrier(4)
    reject = spark._tokens.reject

    def reject_together(token: str) -> None:
        met_401.wait(timeout=10)
        reject(token)

    spark._tokens.reject = reject_together  # type: ignore[method-assign]
    threads = [threading.Thread(target=spark.stock_locations) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(world.calls("POST", TOKEN)) == 2


def test_wrong_credentials_name_the_settings_and_not_the_secret(
    server: Sandbox, world: World, clock: RecordingClock
) -> None:
    with pytest.raises(CredentialsRejected, match="sparklayer_client_secret") as raised:
        client(server.sparklayer_url, clock, client_secret="wrong-secret").check()
    assert "wrong-secret" not in str(raised.value)
    assert len(world.exchanges) == 1


@pytest.mark.parametrize("status", [400, 401, 403])
def test_any_refusal_of_the_token_call_is_about_the_credentials(status: int, clock: RecordingClock) -> None:
    with responses.RequestsMock() as remote:
        remote.post(URL + TOKEN, status=status, json={"detail": f"{CLIENT_SECRET} is unknown"})
        with pytest.raises(CredentialsRejected, match="sparklayer_site_id") as raised:
            client(URL, clock).check()
    assert CLIENT_SECRET not in str(raised.value) + raised.value.detail


@pytest.mark.parametrize("answer", [[], {}, {"access_token": ""}, {"access_token": "two\nlines"}, {"access_token": 7}])
def test_an_answer_without_a_usable_token_is_a_bad_answer(answer: Any, clock: RecordingClock) -> None:
    with responses.RequestsMock() as remote:
        remote.post(URL + TOKEN, json=answer)
        with pytest.raises(BadAnswer, match="no access token"):
            client(URL, clock).check()


# -- orders


def test_orders_are_listed_page_by_page_and_by_date(spark: SparkLayerClient, world: World) -> None:
    for number in range(5):
        at = START + timedelta(hours=number)
        world.sparklayer.put_purchase(purchase_row(str(number), f"#{number}", [], customer_id="c", placed=at))
    world.sparklayer.put_purchase(purchase_row("9", "#9", [], customer_id="c", placed=START, type="quote"))
    assert [len(spark.purchases_page(offset=offset, limit=2)) for offset in (0, 2, 4)] == [2, 2, 1]
    assert len(spark.purchases_page(offset=0, updated_since=START + timedelta(hours=3))) == 2
    window = spark.purchases_page(offset=0, placed_from=START, placed_to=START + timedelta(hours=1))
    assert len(window) == 2


def test_a_bound_is_sent_in_whole_seconds_never_later_than_it_is(spark: SparkLayerClient, world: World) -> None:
    spark.purchases_page(offset=0, updated_since=datetime(2026, 3, 2, 8, 0, 7, 999_999, tzinfo=UTC))
    assert world.exchanges[-1].query["dates[last_updated][gte]"] == "2026-03-02T08:00:07Z"


@pytest.mark.usefixtures("order")
def test_an_order_is_found_by_a_name_that_needs_encoding(spark: SparkLayerClient) -> None:
    found = spark.purchase("visible", "#B2B/20 71")
    assert found is not None
    assert found["packages"][0]["line_items"][0]["identifiers"]["sku"] == "MUG"


@pytest.mark.usefixtures("order")
def test_an_order_that_is_not_there_is_none(spark: SparkLayerClient) -> None:
    assert spark.purchase("platform", "552") is None


@pytest.mark.parametrize("name", ["", " ", ".", ".."])
def test_a_name_that_would_change_the_path_is_never_sent(name: str, spark: SparkLayerClient, world: World) -> None:
    assert spark.purchase("visible", name) is None
    assert spark.customer("email", name) is None
    with pytest.raises(NotFound):
        spark.add_note(OrderRef("visible", name), "text")
    assert world.exchanges == []


@pytest.mark.usefixtures("order")
def test_a_refund_lowers_what_is_owed_and_a_repeat_changes_nothing(spark: SparkLayerClient, world: World) -> None:
    for _ in range(2):
        spark.put_transaction(
            ORDER, platform_id="swap:r:credit:1", total_minor=-4800, currency="GBP", details={"return_id": "r"}
        )
    stored = {
        "platform_id": "swap:r:credit:1",
        "total": {"number": "-48.00", "currency": "GBP"},
        "apply_to_balance": True,
        "full_transaction": {"return_id": "r"},
    }
    assert world.sparklayer.transactions("551") == [stored]
    assert spark.transactions(ORDER) == [stored]


@pytest.mark.usefixtures("order")
@pytest.mark.parametrize("kind", ["lost_reply_before", "lost_reply_after", "html", "truncated", "cut_off"])
def test_a_refund_whose_reply_is_lost_is_sent_again_and_stands_once(
    kind: Any, spark: SparkLayerClient, world: World
) -> None:
    world.faults.add(Fault(kind=kind, method="PUT"))
    spark.put_transaction(ORDER, platform_id="swap:r:credit:1", total_minor=-1, currency="GBP", details={})
    assert len(world.calls("PUT", "/transactions")) == 2
    assert [row["total"]["number"] for row in world.sparklayer.transactions("551")] == ["-0.01"]


@pytest.mark.parametrize("total_minor", [0, 4800])
def test_a_refund_that_is_not_below_zero_is_not_sent(total_minor: int, spark: SparkLayerClient, world: World) -> None:
    with pytest.raises(ValueError, match="below zero"):
        spark.put_transaction(ORDER, platform_id="x", total_minor=total_minor, currency="GBP", details={})
    assert world.exchanges == []


@pytest.mark.usefixtures("order")
def test_a_note_stands_in_the_history_with_its_author(spark: SparkLayerClient) -> None:
    spark.add_note(ORDER, "Return received [swap:r:received:1]")
    [event] = spark.history(ORDER)
    assert (event["event_type"], event["created_by"]) == ("note", "swapsync")
    assert event["body"] == "Return received [swap:r:received:1]"


@pytest.mark.usefixtures("order")
@pytest.mark.parametrize(("kind", "written"), [("lost_reply_before", 0), ("lost_reply_after", 1), ("html", 0)])
def test_a_note_whose_reply_is_lost_is_in_doubt_and_never_sent_again(
    kind: Any, written: int, spark: SparkLayerClient, world: World
) -> None:
    world.faults.add(Fault(kind=kind, method="POST", path_contains="/history"))
    with pytest.raises(InDoubt):
        spark.add_note(ORDER, "once")
    assert len(world.calls("POST", "/history")) == 1
    assert len(world.sparklayer.history("551")) == written


@pytest.mark.usefixtures("order")
def test_a_note_whose_confirmation_cannot_be_read_was_written(spark: SparkLayerClient, world: World) -> None:
    world.faults.add(Fault(kind="cut_off", method="POST", path_contains="/history"))
    spark.add_note(ORDER, "once")
    assert len(world.sparklayer.history("551")) == 1


@pytest.mark.usefixtures("order")
def test_a_note_refused_for_too_many_requests_is_left_to_a_later_run_and_says_when(
    spark: SparkLayerClient, world: World, clock: RecordingClock
) -> None:
    world.faults.add(Fault(kind="status", status=429, retry_after=5, method="POST", path_contains="/history"))
    with pytest.raises(TryLater) as raised:
        spark.add_note(ORDER, "once")
    assert raised.value.retry_at == clock.now() + timedelta(seconds=5)
    assert clock.waits == []
    spark.add_note(ORDER, "once")
    assert len(world.sparklayer.history("551")) == 1


# -- stock


def location(external_id: str) -> str:
    return stable_uuid(f"location:{external_id}")


def test_locations_are_known_by_external_id(spark: SparkLayerClient) -> None:
    names = ("default", "inspection", "damaged")
    assert spark.stock_locations() == {name: location(name) for name in names}


def test_levels_are_read_by_sku_and_location_and_absent_where_there_are_none(
    spark: SparkLayerClient, world: World
) -> None:
    world.sparklayer.set_level("00123", "default", -2, min_stock_level=-5, restock_date="2026-04-01")
    world.sparklayer.set_level("00123", "inspection", 4)
    levels = spark.stock_levels(["00123", "NA", "00123"], [location("default"), location("inspection")])
    assert levels == {
        ("00123", location("default")): StockLevel(-2, -5, "2026-04-01"),
        ("00123", location("inspection")): StockLevel(4),
    }


def test_many_skus_are_asked_for_in_several_calls(spark: SparkLayerClient, world: World) -> None:
    assert spark.stock_levels((f"S{number}" for number in range(501)), [location("default")]) == {}
    asked = [len(call.request_body["skus"]) for call in world.calls("POST", "batch-fetch-stock")]
    assert asked == [500, 1]


def test_no_sku_or_no_location_asks_for_nothing(spark: SparkLayerClient, world: World) -> None:
    assert spark.stock_levels([], [location("default")]) == {}
    assert spark.stock_levels(["A"], []) == {}
    assert world.exchanges == []


def test_levels_are_set_and_what_is_not_given_is_not_sent(spark: SparkLayerClient, world: World) -> None:
    spark.set_stock([StockLevelWrite("A", "default", 131), StockLevelWrite("A", "inspection", 0, -3, "2026-04-01")])
    assert world.calls("POST", "batch-update-stock")[0].request_body == [
        {"stock_location_external_id": "default", "sku": "A", "stock_level": 131},
        {
            "stock_location_external_id": "inspection",
            "sku": "A",
            "stock_level": 0,
            "min_stock_level": -3,
            "restock_date": "2026-04-01",
        },
    ]
    assert (world.sparklayer.level("A", "default"), world.sparklayer.level("A", "inspection")) == (131, 0)


def test_no_levels_send_nothing(spark: SparkLayerClient, world: World) -> None:
    spark.set_stock([])
    assert world.exchanges == []


def test_a_refused_level_names_the_item(spark: SparkLayerClient, world: World) -> None:
    world.sparklayer.refused_skus.add("BAD")
    with pytest.raises(Refused, match=r"\[1\]\.sku This SKU can not be stocked"):
        spark.set_stock([StockLevelWrite("A", "default", 1), StockLevelWrite("BAD", "default", 1)])


def test_a_stock_write_whose_reply_is_lost_is_not_repeated(spark: SparkLayerClient, world: World) -> None:
    world.faults.add(Fault(kind="lost_reply_after", path_contains="batch-update-stock"))
    with pytest.raises(InDoubt):
        spark.set_stock([StockLevelWrite("A", "default", 1)])
    assert len(world.calls("POST", "batch-update-stock")) == 1


# -- variants and customers


def test_a_variant_is_found_by_its_platform_id(spark: SparkLayerClient, world: World) -> None:
    world.sparklayer.put_variant({"id": "pv_1", "product_id": "pp_1", "external_id": "44", "sku": "A"})
    found = spark.variant("44")
    assert found is not None
    assert found["sku"] == "A"
    assert spark.variant("45") is None


def test_a_customer_is_found_by_e_mail_or_id(spark: SparkLayerClient, world: World) -> None:
    row = customer_row("jo+b2b@example.test", company_name="Harbour Gifts")
    world.sparklayer.put_customer(row)
    for lookup_by, name in (("email", "jo+b2b@example.test"), ("sparklayer", row["id"])):
        found = spark.customer(lookup_by, name)
        assert found is not None
        assert found["company_name"] == "Harbour Gifts"
    assert spark.customer("email", "nobody@example.test") is None


# -- answers of another shape


Ask = Callable[[SparkLayerClient], Any]


@pytest.mark.parametrize("unreadable", [[{"stock_location_id": "l", "stock_level": "12 pcs"}], ["many"], 7])
def test_a_sku_whose_levels_can_not_be_read_costs_only_itself(unreadable: Any, clock: RecordingClock) -> None:
    good = {"sku": "B", "stock_levels": [{"stock_location_id": "l", "stock_level": 3}]}
    with responses.RequestsMock() as remote:
        remote.post(URL + TOKEN, json={"access_token": "t", "expires_in": "3600"})
        remote.post(f"{URL}/api/v1/batch-fetch-stock", json=[{"sku": "A", "stock_levels": unreadable}, good])
        levels = client(URL, clock).stock_levels(["A", "B"], ["l", "m"])
    assert levels == {("A", "l"): None, ("A", "m"): None, ("B", "l"): StockLevel(3)}


@pytest.mark.parametrize(
    ("ask", "body"),
    [
        (lambda spark: spark.purchases_page(offset=0), {"data": []}),
        (lambda spark: spark.purchase("platform", "551"), []),
        (lambda spark: spark.transactions(ORDER), {"transactions": []}),
        (lambda spark: spark.history(ORDER), ["text"]),
        (lambda spark: spark.stock_locations(), None),
        (lambda spark: spark.stock_levels(["A"], ["l"]), ["many"]),
    ],
)
def test_an_answer_of_another_shape_is_tried_again_later(ask: Ask, body: Any, clock: RecordingClock) -> None:
    with responses.RequestsMock() as remote:
        remote.post(URL + TOKEN, json={"access_token": "t", "expires_in": "3600"})
        for method in ("GET", "POST"):
            remote.add(method, re.compile(f"{URL}/api/v1/.*"), json=body)
        remote.assert_all_requests_are_fired = False
        with pytest.raises(TryLater) as raised:
            ask(client(URL, clock))
    assert type(raised.value) is BadAnswer
