from datetime import timedelta
from decimal import Decimal
from urllib.parse import quote

import pytest
import requests

from swapsync.sandbox.server import SITE_ID
from swapsync.sandbox.world import customer_row, line_item, purchase_row, spark_time, variant_row
from tests.contract_check import contract_checker
from tests.sandbox.conftest import NOW, TOKEN_REQUEST

BUYER = customer_row("buyer@example.com", company_name="Harbour Gifts Ltd", external_id="7801", balance="288.00")


def an_order(number, **fields):
    fields.setdefault("customer_id", BUYER["id"])
    fields.setdefault("placed", NOW - timedelta(days=number))
    lines = [line_item("MUG", 24, net="240.00", tax="48.00", line_item_id=f"149{number}", variant_id="441")]
    return purchase_row(f"{5500 + number}", f"#B2B-{2000 + number}", lines, **fields)


@pytest.fixture
def world(world):
    world.sparklayer.put_customer(BUYER)
    return world


def names(answer):
    assert answer.status_code == 200, answer.text
    return [row["purchase_identifiers"]["visible"] for row in answer.json()]


def credit(number="-48.00", n=1, apply=True, **fields):
    platform_id = f"swap:ret_1:credit:{n}"
    total = {"number": number, "currency": "GBP"}
    return {"platform_id": platform_id, "total": total, "apply_to_balance": apply, **fields}


ORDER = "/api/v1/purchases/platform/5501"


class TestTokens:
    def test_a_token_is_given_for_the_right_credentials(self, sandbox, world, get_token):
        assert len(get_token()) > 20
        assert world.exchanges[-1].request_body["client_secret"] == "***"
        contract_checker().check_all(world)

    def test_its_life_is_3600_seconds_unless_set(self, sandbox, world):
        def expires_in():
            url = f"{sandbox.sparklayer_url}/api/auth/token"
            return requests.post(url, json=TOKEN_REQUEST, headers={"Site-Id": SITE_ID}, timeout=10).json()["expires_in"]

        assert expires_in() == 3600
        world.sparklayer.token_seconds = 60
        assert expires_in() == 60

    @pytest.mark.parametrize(
        ("change", "site", "status"),
        [
            ({"client_secret": "wrong"}, SITE_ID, 401),
            ({"client_id": "wrong"}, SITE_ID, 401),
            ({}, "another-site", 401),
            ({"grant_type": "password"}, SITE_ID, 400),
        ],
    )
    def test_wrong_credentials_get_none(self, sandbox, change, site, status):
        url = f"{sandbox.sparklayer_url}/api/auth/token"
        answer = requests.post(url, json=TOKEN_REQUEST | change, headers={"Site-Id": site}, timeout=10)
        assert (answer.status_code, answer.json()["status"]) == (status, status)

    def test_a_form_is_refused(self, sandbox):
        url = f"{sandbox.sparklayer_url}/api/auth/token"
        assert requests.post(url, data=TOKEN_REQUEST, headers={"Site-Id": SITE_ID}, timeout=10).status_code == 415

    def test_a_request_without_a_token_is_a_401(self, sparklayer):
        assert sparklayer("GET", "/api/v1/purchases", headers={"Authorization": None}).status_code == 401

    def test_an_unknown_token_is_a_401(self, sparklayer, world):
        answer = sparklayer("GET", "/api/v1/purchases", headers={"Authorization": "Bearer made-up"})
        assert (answer.status_code, answer.json()["title"]) == (401, "Unauthorized")
        contract_checker().check_all(world)

    def test_a_token_runs_out(self, sparklayer, world):
        world.now = lambda: NOW + timedelta(seconds=3599)
        assert sparklayer("GET", "/api/v1/purchases").status_code == 200
        world.now = lambda: NOW + timedelta(seconds=3600)
        assert sparklayer("GET", "/api/v1/purchases").status_code == 401

    def test_a_revoked_token_is_no_longer_good(self, sparklayer, world):
        world.sparklayer.revoke_tokens()
        assert sparklayer("GET", "/api/v1/purchases").status_code == 401

    def test_a_token_is_good_for_its_own_site_only(self, sparklayer):
        assert sparklayer("GET", "/api/v1/purchases", headers={"Site-Id": "another-site"}).status_code == 401

    def test_a_request_without_a_site_is_a_400(self, sparklayer):
        assert sparklayer("GET", "/api/v1/purchases", headers={"Site-Id": None}).status_code == 400


class TestPurchaseList:
    def test_it_holds_base_fields_latest_change_first(self, sparklayer, world):
        for number in (2, 1, 3):
            world.sparklayer.put_purchase(an_order(number, customer_reference=f"PO-{number}"))
        answer = sparklayer("GET", "/api/v1/purchases")
        assert names(answer) == ["#B2B-2001", "#B2B-2002", "#B2B-2003"]
        assert answer.json()[0]["customer_reference"] == "PO-1"
        assert all("packages" not in row for row in answer.json())
        contract_checker().check_all(world)

    def test_it_is_walked_by_limit_and_offset(self, sparklayer, world):
        for number in range(5):
            world.sparklayer.put_purchase(an_order(number))
        pages = [names(sparklayer("GET", "/api/v1/purchases", params={"limit": 2, "offset": o})) for o in (0, 2, 4, 6)]
        assert pages == [["#B2B-2000", "#B2B-2001"], ["#B2B-2002", "#B2B-2003"], ["#B2B-2004"], []]

    def test_a_filtered_list_is_walked_by_limit_and_offset_too(self, sparklayer, world):
        for number in range(6):
            world.sparklayer.put_purchase(an_order(number, type="order" if number % 2 else "quote"))
        query = {"type": "order", "limit": 2}
        pages = [names(sparklayer("GET", "/api/v1/purchases", params={**query, "offset": o})) for o in (0, 2)]
        assert pages == [["#B2B-2001", "#B2B-2003"], ["#B2B-2005"]]

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ({"dates[last_updated][gte]": spark_time(NOW - timedelta(days=2))}, ["#B2B-2001", "#B2B-2002"]),
            ({"dates[last_updated][lte]": spark_time(NOW - timedelta(days=2))}, ["#B2B-2002", "#B2B-2003"]),
            ({"dates[placed][gte]": spark_time(NOW - timedelta(days=1))}, ["#B2B-2001"]),
            ({"dates[placed][lte]": spark_time(NOW - timedelta(days=3))}, ["#B2B-2003"]),
            ({"type": "quote"}, ["#B2B-2003"]),
            ({"customer_identifiers[sparklayer]": "someone"}, ["#B2B-2002"]),
            ({"customer_identifiers[sparklayer_sales_rep]": "nobody"}, []),
        ],
    )
    def test_each_documented_filter_narrows_it_and_bounds_are_inclusive(self, sparklayer, world, query, expected):
        world.sparklayer.put_purchase(an_order(1))
        world.sparklayer.put_purchase(an_order(2, customer_id="someone"))
        world.sparklayer.put_purchase(an_order(3, type="quote"))
        assert names(sparklayer("GET", "/api/v1/purchases", params=query)) == expected
        contract_checker().check_all(world)

    @pytest.mark.parametrize("query", [{"limit": 501}, {"limit": 0}, {"offset": -1}, {"dates[placed][gte]": "May"}])
    def test_a_wrong_parameter_is_a_400(self, sparklayer, query):
        answer = sparklayer("GET", "/api/v1/purchases", params=query)
        assert (answer.status_code, answer.json()["title"]) == (400, "Bad Request")

    def test_a_changed_purchase_moves_to_the_front(self, sparklayer, world):
        world.sparklayer.put_purchase(an_order(1, customer_reference="PO-1"))
        world.sparklayer.put_purchase(an_order(2))
        world.sparklayer.change_purchase("5502", customer_reference="PO-2")
        first, second = sparklayer("GET", "/api/v1/purchases").json()
        assert (first["customer_reference"], second["customer_reference"]) == ("PO-2", "PO-1")
        assert first["dates"]["updated_at"] == first["revision_date"] == spark_time(NOW)
        assert first["dates"]["placed_at"] == spark_time(NOW - timedelta(days=2))

    def test_it_can_change_between_two_of_its_pages(self, sparklayer, world):
        for number in (1, 2, 3):
            world.sparklayer.put_purchase(an_order(number))
        world.sparklayer.between_pages.append(lambda: world.sparklayer.change_purchase("5503"))
        assert names(sparklayer("GET", "/api/v1/purchases", params={"limit": 2})) == ["#B2B-2001", "#B2B-2002"]
        second = sparklayer("GET", "/api/v1/purchases", params={"limit": 2, "offset": 2})
        assert names(second) == ["#B2B-2002"]


class TestOnePurchase:
    @pytest.mark.parametrize(
        ("lookup_by", "identifier"),
        [("platform", "5501"), ("visible", "#B2B-2001"), ("internal", "ERP/1 a"), ("sparklayer", None)],
    )
    def test_it_is_found_by_each_of_its_identifiers(self, sparklayer, world, lookup_by, identifier):
        order = an_order(1)
        order["purchase_identifiers"]["internal"] = "ERP/1 a"
        world.sparklayer.put_purchase(order)
        identifier = identifier or order["purchase_identifiers"]["sparklayer"]
        answer = sparklayer("GET", f"/api/v1/purchases/{lookup_by}/{quote(identifier, safe='')}")
        assert answer.status_code == 200
        (line,) = answer.json()["packages"][0]["line_items"]
        assert line["identifiers"] == {"sku": "MUG", "platform": "1491", "variant": "441"}
        assert line["line_total"]["total_gross"] == {"number": "288.00", "currency": "GBP"}
        contract_checker().check_all(world)

    def test_an_unknown_one_is_a_404(self, sparklayer):
        answer = sparklayer("GET", ORDER)
        assert (answer.status_code, answer.json()["title"]) == (404, "Not Found")

    def test_an_unknown_kind_of_identifier_is_a_400(self, sparklayer):
        assert sparklayer("GET", "/api/v1/purchases/colour/red").status_code == 400

    def test_an_identifier_that_was_replaced_no_longer_finds_it(self, sparklayer, world):
        order = an_order(1)
        world.sparklayer.put_purchase(order)
        order["purchase_identifiers"] = {**order["purchase_identifiers"], "visible": "#NEW"}
        world.sparklayer.put_purchase(order)
        assert sparklayer("GET", "/api/v1/purchases/visible/%23B2B-2001").status_code == 404
        assert sparklayer("GET", "/api/v1/purchases/visible/%23NEW").status_code == 200


class TestTransactions:
    @pytest.fixture(autouse=True)
    def _order(self, world):
        world.sparklayer.put_purchase(an_order(1))
        world.now = lambda: NOW + timedelta(minutes=5)

    def test_a_repeat_updates_and_never_adds(self, sparklayer, world):
        put = [sparklayer("PUT", f"{ORDER}/transactions", json=credit(full_transaction={"n": n})) for n in (1, 2)]
        assert [answer.status_code for answer in put] == [201, 200]
        (stored,) = sparklayer("GET", f"{ORDER}/transactions").json()
        assert stored == credit(full_transaction={"n": 2})
        assert world.sparklayer.transactions("5501") == [stored]
        contract_checker().check_all(world)

    def test_one_that_counts_moves_balance_total_paid_history_and_the_moment_of_change_once(self, sparklayer, world):
        for _ in range(3):
            sparklayer("PUT", f"{ORDER}/transactions", json=credit())
        purchase = world.sparklayer.purchases["5501"]
        assert world.sparklayer.balance("buyer@example.com") == Decimal("240.00")
        assert purchase["total_paid"] == {"number": "-48.00", "currency": "GBP"}
        assert purchase["dates"]["updated_at"] == spark_time(NOW + timedelta(minutes=5))
        assert len(world.sparklayer.history("5501")) == 1

    def test_a_new_amount_moves_the_balance_by_the_difference(self, sparklayer, world):
        sparklayer("PUT", f"{ORDER}/transactions", json=credit("-48.00"))
        sparklayer("PUT", f"{ORDER}/transactions", json=credit("-50.00"))
        assert world.sparklayer.balance("buyer@example.com") == Decimal("238.00")

    def test_going_back_to_informational_undoes_it(self, sparklayer, world):
        sparklayer("PUT", f"{ORDER}/transactions", json=credit())
        sparklayer("PUT", f"{ORDER}/transactions", json=credit(apply=False))
        assert world.sparklayer.balance("buyer@example.com") == Decimal("288.00")
        assert world.sparklayer.purchases["5501"]["total_paid"]["number"] == "0.00"

    def test_an_informational_one_moves_nothing(self, sparklayer, world):
        before = world.sparklayer.purchases["5501"]
        sparklayer("PUT", f"{ORDER}/transactions", json=credit(apply=False))
        assert world.sparklayer.purchases["5501"] == before
        assert world.sparklayer.history("5501") == []

    def test_a_company_user_buys_on_the_company_s_account(self, sparklayer, world):
        user = customer_row("user@example.com", parent_customer_id=BUYER["id"])
        world.sparklayer.put_customer(user)
        world.sparklayer.put_purchase(an_order(1, customer_id=user["id"]))
        sparklayer("PUT", f"{ORDER}/transactions", json=credit())
        assert world.sparklayer.balance("buyer@example.com") == Decimal("240.00")

    @pytest.mark.parametrize(
        "body",
        [
            {},
            [],
            credit("48,00"),
            credit("1e5"),
            credit(-48),
            credit() | {"platform_id": ""},
            credit() | {"apply_to_balance": "yes"},
            credit() | {"total": {"number": "-48.00", "currency": "EUR"}},
        ],
    )
    def test_a_wrong_one_is_a_400_and_is_not_kept(self, sparklayer, world, body):
        answer = sparklayer("PUT", f"{ORDER}/transactions", json=body)
        assert (answer.status_code, bool(answer.json()["errors"])) == (400, True)
        assert world.sparklayer.transactions("5501") == []

    def test_one_on_an_unknown_purchase_is_a_404(self, sparklayer):
        assert sparklayer("PUT", "/api/v1/purchases/platform/1/transactions", json=credit()).status_code == 404


NOTE = {"event_type": "note", "created_by": "swapsync", "body": "Received. [swap:ret_1:received:1]"}


class TestHistory:
    @pytest.fixture(autouse=True)
    def _order(self, world):
        world.sparklayer.put_purchase(an_order(1))

    def test_each_post_adds_an_event(self, sparklayer, world):
        assert [sparklayer("POST", f"{ORDER}/history", json=NOTE).status_code for _ in range(2)] == [201, 201]
        events = sparklayer("GET", f"{ORDER}/history").json()
        assert events == [{**NOTE, "created_at": spark_time(NOW)}] * 2
        contract_checker().check_all(world)

    @pytest.mark.parametrize(
        "change",
        [{"event_type": "remark"}, {"body": None}, {"created_by": ""}, {"event_type": "email"}],
    )
    def test_a_wrong_event_is_a_400(self, sparklayer, world, change):
        assert sparklayer("POST", f"{ORDER}/history", json=NOTE | change).status_code == 400
        assert world.sparklayer.history("5501") == []


def fetch(sparklayer, skus, **filter_):
    body = {"skus": skus, "filter": filter_} if filter_ else {"skus": skus}
    answer = sparklayer("POST", "/api/v1/batch-fetch-stock", json=body)
    assert answer.status_code == 200, answer.text
    return {row["sku"]: [level["stock_level"] for level in row["stock_levels"]] for row in answer.json()}


def pair(sku, location, level):
    return {"sku": sku, "stock_location_external_id": location, "stock_level": level}


class TestStock:
    def test_reading_names_the_default_location_only_unless_asked_for_more(self, sparklayer, world):
        world.sparklayer.set_level("MUG", "default", 10)
        world.sparklayer.set_level("MUG", "inspection", 2)
        world.sparklayer.set_level("CUP", "inspection", 3)
        assert fetch(sparklayer, ["MUG", "CUP", "POT"]) == {"MUG": [10]}
        assert fetch(sparklayer, ["MUG", "CUP", "POT"], all_stock_locations=True) == {"MUG": [10, 2], "CUP": [3]}
        inspection = world.sparklayer.find_location("inspection")["id"]
        assert fetch(sparklayer, ["MUG", "CUP"], stock_location_ids=[inspection]) == {"MUG": [2], "CUP": [3]}
        contract_checker().check_all(world)

    def test_writing_sets_absolute_levels_of_the_named_pairs_only(self, sparklayer, world):
        world.sparklayer.set_level("MUG", "default", 10)
        world.sparklayer.set_level("CUP", "default", 5)
        body = [pair("MUG", "default", 12), pair("MUG", "inspection", 0)]
        answer = sparklayer("POST", "/api/v1/batch-update-stock", json=body)
        assert (answer.status_code, answer.content) == (204, b"")
        levels = [
            world.sparklayer.level(*each) for each in (("MUG", "default"), ("MUG", "inspection"), ("CUP", "default"))
        ]
        assert levels == [12, 0, 5]
        assert world.sparklayer.level("CUP", "inspection") is None
        contract_checker().check_all(world)

    def test_a_location_may_be_named_by_its_id(self, sparklayer, world):
        location = world.sparklayer.find_location("damaged")["id"]
        body = [{"sku": "MUG", "stock_location_id": location, "stock_level": 4, "restock_date": "2026-04-01"}]
        assert sparklayer("POST", "/api/v1/batch-update-stock", json=body).status_code == 204
        assert world.sparklayer.level("MUG", "damaged") == 4

    @pytest.mark.parametrize(
        ("bad", "property_"),
        [
            (pair("MUG", "default", 9), "[1]"),
            (pair("CUP", "attic", 9), "[1].stock_location_external_id"),
            (pair("BAD", "default", 9), "[1].sku"),
            (pair("CUP", "default", 9) | {"stock_location_id": "5c2b1b6a-58a5-4e59-9a5e-3f6a0f7a1c22"}, "[1]"),
            (pair("CUP", "default", "9"), "[1].stock_level"),
            (pair("CUP", "default", 2**31), "[1].stock_level"),
            (pair("CUP", "default", 9) | {"colour": "red"}, "[1].colour"),
        ],
    )
    def test_one_bad_pair_costs_the_whole_request_and_is_named(self, sparklayer, world, bad, property_):
        world.sparklayer.refused_skus.add("BAD")
        answer = sparklayer("POST", "/api/v1/batch-update-stock", json=[pair("MUG", "default", 1), bad])
        assert answer.status_code == 400
        assert [error["property"] for error in answer.json()["errors"]] == [property_]
        assert world.sparklayer.level("MUG", "default") is None

    def test_an_empty_update_is_a_400(self, sparklayer):
        assert sparklayer("POST", "/api/v1/batch-update-stock", json=[]).status_code == 400

    def test_three_locations_are_there_from_the_start(self, sparklayer, world):
        rows = sparklayer("GET", "/api/v1/stock-locations").json()
        assert {row["external_id"] for row in rows} == {"default", "inspection", "damaged"}
        assert rows == sorted(rows, key=lambda row: row["id"])
        contract_checker().check_all(world)

    def test_a_location_is_created_once_and_found_by_either_id(self, sparklayer, world):
        body = {"name": "Outlet", "external_id": "outlet"}
        created = sparklayer("POST", "/api/v1/stock-locations", json=body)
        assert created.json()["name"] == "Outlet"
        for name in ("outlet", created.json()["id"]):
            assert sparklayer("GET", f"/api/v1/stock-locations/{name}").json() == created.json()
        assert sparklayer("POST", "/api/v1/stock-locations", json=body).status_code == 409
        assert sparklayer("GET", "/api/v1/stock-locations/attic").status_code == 404
        contract_checker().check_all(world)


class TestVariantsAndCustomers:
    def test_a_variant_is_found_by_either_id_and_shows_its_stock(self, sparklayer, world):
        world.sparklayer.put_variant(variant_row("441", "MUG"))
        world.sparklayer.set_level("MUG", "default", 10)
        for name in ("441", "pv_441"):
            variant = sparklayer("GET", f"/api/v1/variants/{name}").json()
            assert (variant["sku"], variant["stock"][0]["stock_level"]) == ("MUG", 10)
        assert sparklayer("GET", "/api/v1/variants/MUG").status_code == 404
        contract_checker().check_all(world)

    def test_a_variant_keeps_its_id_when_its_sku_changes(self, sparklayer, world):
        world.sparklayer.put_variant(variant_row("441", "MUG"))
        world.sparklayer.change_variant("441", sku="MUG-BLUE")
        variant = sparklayer("GET", "/api/v1/variants/441").json()
        assert (variant["sku"], variant["updated_at"]) == ("MUG-BLUE", spark_time(NOW))

    def test_a_product_shows_its_variants(self, sparklayer, world):
        world.sparklayer.put_variant(variant_row("441", "MUG", product_id="pp_1"))
        world.sparklayer.put_variant(variant_row("442", "CUP", product_id="pp_1"))
        product = sparklayer("GET", "/api/v1/products/pp_1").json()
        assert [variant["sku"] for variant in product["variants"]] == ["MUG", "CUP"]
        assert sparklayer("GET", "/api/v1/products/pp_2").status_code == 404
        contract_checker().check_all(world)

    @pytest.mark.parametrize(
        ("lookup_by", "identifier"),
        [("sparklayer", BUYER["id"]), ("platform", "7801"), ("email", "Buyer%40Example.com")],
    )
    def test_a_customer_is_found_by_each_of_its_identifiers(self, sparklayer, world, lookup_by, identifier):
        customer = sparklayer("GET", f"/api/v2/customers/{lookup_by}/{identifier}").json()
        assert (customer["company_name"], customer["payment_on_account"]["balance"]) == ("Harbour Gifts Ltd", "288.00")
        contract_checker().check_all(world)

    def test_a_customer_s_addresses_are_listed(self, sparklayer, world):
        world.sparklayer.put_customer({**BUYER, "addresses": [{"city": "Leeds", "country_code": "GB"}]})
        assert sparklayer("GET", "/api/v2/customers/platform/7801/addresses").json()[0]["city"] == "Leeds"

    def test_an_unknown_customer_is_a_404(self, sparklayer):
        assert sparklayer("GET", "/api/v2/customers/email/nobody%40example.com").status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/api/v1/purchases/platform/5501"),
        ("DELETE", "/api/v1/purchases/platform/5501"),
        ("POST", "/api/v1/batch-delete-stock"),
        ("PUT", "/api/v2/customers/email/buyer%40example.com"),
        ("POST", "/api/v2/customers/email/buyer%40example.com/credit"),
    ],
)
def test_an_operation_the_worker_must_not_call_is_a_403_and_is_remembered(sparklayer, world, method, path):
    world.sparklayer.put_purchase(an_order(1))
    answer = sparklayer(method, path, json={})
    assert (answer.status_code, answer.json()["title"]) == (403, "Forbidden")
    assert [(call.method, call.path) for call in world.forbidden_calls] == [(method, path)]
    assert "5501" in world.sparklayer.purchases


def test_another_method_is_a_405_and_another_path_a_404(sparklayer):
    assert sparklayer("PATCH", "/api/v1/purchases").status_code == 405
    assert sparklayer("GET", "/api/v1/skus").status_code == 404


def test_a_body_that_is_not_json_is_a_400(sparklayer):
    answer = sparklayer(
        "POST", "/api/v1/batch-fetch-stock", data=b'{"skus": [', headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 400
