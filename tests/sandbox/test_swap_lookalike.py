from datetime import timedelta
from decimal import Decimal

import pytest
import requests

from swapsync.sandbox.server import STORE_ID
from swapsync.sandbox.world import return_line, return_row, swap_time
from tests.contract_check import contract_checker
from tests.sandbox.conftest import NOW


def a_return(number, **fields):
    fields.setdefault("created", NOW - timedelta(days=number))
    order = fields.pop("order", number)
    return return_row(
        f"ret_{number}",
        f"{20000 + number}",
        f"{6100 + order}",
        f"#{10400 + order}",
        [return_line("TEE-M", 2)],
        **fields,
    )


def ids(page):
    return [row["return_id"] for row in page["returns"]]


def test_a_return_built_from_few_facts_keeps_the_contract(world, list_returns):
    world.swap.put_return(a_return(1, total="54.10", delivered=NOW, closed=NOW))
    assert ids(list_returns()) == ["ret_1"]
    contract_checker().check_all(world)


def test_amounts_leave_with_exactly_their_digits(world, swap):
    world.swap.put_return(a_return(1, total=Decimal("54.10")))
    assert b'"total":54.10,' in swap("GET", "/v2/external/returns", params={"swap_store_id": STORE_ID}).content


def test_returns_come_latest_change_first_and_in_pages(world, list_returns):
    for number in (3, 1, 2, 5, 4):
        world.swap.put_return(a_return(number))
    pages = [list_returns(items_per_page=2, page=page) for page in (1, 2, 3, 4)]
    assert [ids(page) for page in pages] == [["ret_1", "ret_2"], ["ret_3", "ret_4"], ["ret_5"], []]
    assert [page["pagination"]["has_next_page"] for page in pages] == [True, True, False, False]
    assert pages[2]["pagination"] == {
        "page": 3,
        "items_per_page": 2,
        "total_pages": 3,
        "total_items": 5,
        "has_next_page": False,
        "has_previous_page": True,
        "current_page_size": 1,
        "items_in_remaining_pages": 0,
    }
    contract_checker().check_all(world)


def test_a_page_holds_100_returns_unless_asked_for_fewer(world, list_returns):
    for number in range(101):
        world.swap.put_return(a_return(number))
    assert len(list_returns()["returns"]) == 100
    assert len(list_returns(page=2)["returns"]) == 1


def test_pages_of_a_filtered_list_count_only_what_passes(world, list_returns):
    for number in range(10):
        world.swap.put_return(a_return(number))
    page = list_returns(last_RMA_updated_date=swap_time(NOW - timedelta(days=4)), items_per_page=3, page=2)
    assert ids(page) == ["ret_3", "ret_4"]
    assert page["pagination"]["total_items"] == 5


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"rma_number": "20002"}, ["ret_2"]),
        ({"shopify_order_name": "#10401"}, ["ret_1", "ret_3"]),
        ({"customer_email": "ANN@example.com"}, ["ret_2"]),
        ({"shopify_order_name": "#10401", "rma_number": "20003"}, ["ret_3"]),
        ({"shopify_order_name": "#10401", "rma_number": "20002"}, []),
        ({"last_RMA_updated_date": swap_time(NOW - timedelta(days=2))}, ["ret_1", "ret_2"]),
        ({"last_RMA_updated_date": swap_time(NOW - timedelta(days=2)), "shopify_order_name": "#10401"}, ["ret_1"]),
        ({"from_return_submission_date": swap_time(NOW - timedelta(days=2))}, ["ret_1", "ret_2"]),
        ({"to_return_submission_date": swap_time(NOW - timedelta(days=2))}, ["ret_2", "ret_3"]),
    ],
)
def test_each_documented_filter_narrows_the_list_and_bounds_are_inclusive(world, list_returns, query, expected):
    world.swap.put_return(a_return(1))
    world.swap.put_return(a_return(2, customer_email="Ann@Example.com"))
    world.swap.put_return(a_return(3, order=1))
    assert ids(list_returns(**query)) == expected
    contract_checker().check_all(world)


def test_a_changed_return_moves_to_the_front_with_a_new_date(world, list_returns):
    world.swap.put_return(a_return(1))
    world.swap.put_return(a_return(2))
    world.swap.change_return("ret_2", return_status="Closed")
    page = list_returns()
    assert ids(page) == ["ret_2", "ret_1"]
    assert (page["returns"][0]["return_status"], page["returns"][0]["date_updated"]) == ("Closed", swap_time(NOW))


def test_a_changed_return_leaves_the_filters_it_no_longer_passes(world, list_returns):
    world.swap.put_return(a_return(1))
    world.swap.change_return("ret_1", customer_email="new@example.com")
    assert ids(list_returns(customer_email="buyer@example.com")) == []
    assert ids(list_returns(customer_email="new@example.com")) == ["ret_1"]


def test_putting_a_return_again_replaces_it_and_deleting_removes_it(world, list_returns):
    world.swap.put_return(a_return(1))
    world.swap.put_return(a_return(1, return_status="Cancelled"))
    assert [row["return_status"] for row in list_returns()["returns"]] == ["Cancelled"]
    world.swap.delete_return("ret_1")
    assert list_returns()["pagination"]["total_items"] == 0


def test_a_list_can_change_between_two_of_its_pages(world, list_returns):
    for number in (1, 2, 3):
        world.swap.put_return(a_return(number))
    world.swap.between_pages.append(lambda: world.swap.change_return("ret_3"))
    assert ids(list_returns(items_per_page=2)) == ["ret_1", "ret_2"]
    assert ids(list_returns(items_per_page=2, page=2)) == ["ret_2"]
    assert ids(list_returns(items_per_page=2, page=2)) == ["ret_2"], "a callable runs once"


def test_pagination_can_be_left_out(world, list_returns):
    world.swap.pagination = False
    assert "pagination" not in list_returns()
    assert world.exchanges[-1].faulted


def test_a_wrong_key_is_a_401(swap, world):
    answer = swap("GET", "/v2/external/returns", params={"swap_store_id": STORE_ID}, headers={"X-API-Key": "other"})
    assert (answer.status_code, answer.json()["statusCode"]) == (401, 401)
    contract_checker().check_all(world)


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"swap_store_id": "another"},
        {"swap_store_id": STORE_ID, "page": 0},
        {"swap_store_id": STORE_ID, "page": "two"},
        {"swap_store_id": STORE_ID, "items_per_page": 101},
        {"swap_store_id": STORE_ID, "items_per_page": -1},
        {"swap_store_id": STORE_ID, "last_RMA_updated_date": "yesterday"},
        {"swap_store_id": STORE_ID, "last_RMA_updated_date": "2026-03-02T08:00:00"},
    ],
)
def test_a_missing_or_wrong_parameter_is_a_400(swap, query):
    answer = swap("GET", "/v2/external/returns", params=query)
    assert (answer.status_code, answer.json()["error"]) == (400, "Bad Request")


QC = {"store_id": STORE_ID, "shopify_order_id": "6101", "sku": "TEE-M", "condition": "Sellable", "return_qty": 2}
QC_PATH = "/v1/external/quality-control/update"


def test_a_quality_control_report_is_taken_and_kept(swap, world):
    world.swap.put_return(a_return(1))
    answer = swap("POST", QC_PATH, json=QC)
    assert (answer.status_code, answer.json()) == (200, {"message": "accepted"})
    assert world.swap.quality_control == [QC]
    contract_checker().check_all(world)


def test_a_quality_control_report_may_name_the_order_by_its_display_name(swap, world):
    world.swap.put_return(a_return(1))
    by_name = {key: value for key, value in QC.items() if key != "shopify_order_id"} | {"shopify_order_name": "#10401"}
    assert swap("POST", QC_PATH, json=by_name).status_code == 200


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"shopify_order_id": "404"}, 404),
        ({"return_qty": -1}, 400),
        ({"return_qty": "2"}, 400),
        ({"store_id": "another"}, 400),
        ({"sku": None}, 400),
        ({"receipt_date": "today"}, 400),
    ],
)
def test_a_wrong_quality_control_report_is_refused_and_not_kept(swap, world, change, status):
    world.swap.put_return(a_return(1))
    assert swap("POST", QC_PATH, json=QC | change).status_code == status
    assert world.swap.quality_control == []


@pytest.mark.parametrize("missing", ["store_id", "condition", "return_qty", "shopify_order_id", "sku"])
def test_a_quality_control_report_without_a_needed_field_is_a_400(swap, world, missing):
    world.swap.put_return(a_return(1))
    assert swap("POST", QC_PATH, json={key: value for key, value in QC.items() if key != missing}).status_code == 400


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/external/returns/ret_1"),
        ("GET", "/v2/external/returns/ret_1/products"),
        ("POST", "/v2/external/returns/ret_1/status"),
        ("POST", "/v2/external/returns/ret_1/notes"),
        ("GET", "/products"),
    ],
)
def test_an_operation_that_swap_does_not_publish_is_a_404_and_is_remembered(swap, world, method, path):
    world.swap.put_return(a_return(1))
    assert swap(method, path).status_code == 404
    assert [(call.method, call.path) for call in world.forbidden_calls] == [(method, path)]
    with pytest.raises(AssertionError, match="breaks the contract"):
        contract_checker().check_all(world)


def test_another_method_is_a_405_that_names_the_right_one(swap):
    answer = swap("DELETE", "/v2/external/returns")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET")


def test_every_exchange_is_recorded_with_its_credentials_masked(world, list_returns):
    list_returns(rma_number="1")
    (exchange,) = world.exchanges
    assert (exchange.side, exchange.method, exchange.path, exchange.status) == (
        "swap",
        "GET",
        "/v2/external/returns",
        200,
    )
    assert exchange.query == {"swap_store_id": STORE_ID, "rma_number": "1"}
    assert (exchange.when, exchange.headers) == (NOW, {"x-api-key": "***"})


def test_answers_are_recorded_only_when_asked_for(world, list_returns):
    world.record_bodies = False
    list_returns()
    world.record_bodies = True
    list_returns()
    assert [exchange.response_body is not None for exchange in world.exchanges] == [False, True]


def test_an_answer_with_a_row_flagged_malformed_is_marked_and_not_held_against_the_contract(world, list_returns):
    row = a_return(1)
    row["products"] = [{**row["products"][0], "item_count": "three"}]
    del row["return_id"]
    world.swap.put_return(row, malformed=True)
    assert list_returns()["returns"][0]["products"][0]["item_count"] == "three"
    assert world.exchanges[-1].malformed
    contract_checker().check_all(world)


def test_the_contract_check_finds_a_row_that_breaks_the_contract(world, list_returns):
    row = a_return(1)
    row["products"] = [{**row["products"][0], "item_count": "three"}]
    world.swap.put_return(row)
    list_returns()
    with pytest.raises(AssertionError, match=r"its answer breaks the contract.*three"):
        contract_checker().check_all(world)


def test_the_contract_check_finds_a_request_that_breaks_the_contract(world, swap):
    swap("GET", "/v2/external/returns", params={"swap_store_id": STORE_ID, "items_per_page": 101})
    with pytest.raises(AssertionError, match="its request breaks the contract"):
        contract_checker().check_all(world)


def test_another_process_can_put_rows_and_read_exchanges(sandbox, world, list_returns):
    row = {key: value for key, value in a_return(1).items() if not isinstance(value, (Decimal, list))}
    body = {
        "returns": [{**row, "products": []}],
        "levels": [{"sku": "TEE-M", "stock_location_external_id": "default", "stock_level": 7}],
    }
    assert requests.post(f"{sandbox.url}/sandbox/world", json=body, timeout=10).status_code == 204
    assert ids(list_returns()) == ["ret_1"]
    assert world.sparklayer.level("TEE-M", "default") == 7
    list_returns(page=2)
    (exchange,) = requests.get(f"{sandbox.url}/sandbox/exchanges", params={"since": 1}, timeout=10).json()
    assert (exchange["number"], exchange["query"]["page"], exchange["status"]) == (1, "2", 200)


def test_rows_that_can_not_be_put_are_refused_with_the_reason(sandbox):
    levels = {"levels": [{"sku": "TEE-M", "stock_location_external_id": "attic", "stock_level": 7}]}
    answer = requests.post(f"{sandbox.url}/sandbox/world", json=levels, timeout=10)
    assert (answer.status_code, answer.text) == (400, "KeyError: 'attic'")


def test_the_environment_points_a_worker_at_the_sandbox(sandbox):
    environment = sandbox.environment()
    assert environment["SWAPSYNC_SWAP_BASE_URL"] == f"{sandbox.url}/swap"
    assert environment["SWAPSYNC_SPARKLAYER_BASE_URL"] == f"{sandbox.url}/sparklayer"
    assert environment["SWAPSYNC_SWAP_REQUESTS_PER_MINUTE"] == "0"
