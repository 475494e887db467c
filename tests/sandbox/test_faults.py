import pytest
import requests

from swapsync.sandbox.faults import Fault
from swapsync.sandbox.server import STORE_ID
from swapsync.sandbox.world import line_item, purchase_row
from tests.contract_check import contract_checker
from tests.sandbox.conftest import NOW

NOTES = "/api/v1/purchases/platform/1/history"
NOTE = {"event_type": "note", "created_by": "swapsync", "body": "Hello"}


@pytest.fixture
def world(world):
    line = line_item("MUG", 1, net="10.00", line_item_id="11", variant_id="12")
    world.sparklayer.put_purchase(purchase_row("1", "#1", [line], customer_id="c", placed=NOW))
    return world


def returns(swap):
    return swap("GET", "/v2/external/returns", params={"swap_store_id": STORE_ID})


def test_a_status_fault_answers_that_status_and_does_nothing(world, sparklayer):
    world.faults.add(Fault(kind="status", status=503, retry_after=7, method="POST"))
    answer = sparklayer("POST", NOTES, json=NOTE)
    assert (answer.status_code, answer.headers["Retry-After"], answer.json()["status"]) == (503, "7", 503)
    assert world.sparklayer.history("1") == []
    assert world.exchanges[-1].faulted


def test_a_status_fault_speaks_the_language_of_its_side_and_may_have_no_body(world, swap):
    world.faults.add(
        Fault(kind="status", status=429, retry_after="Wed, 21 Oct 2026 07:28:00 GMT"),
        Fault(kind="status", status=500, with_body=False),
    )
    first, second = returns(swap), returns(swap)
    assert (first.json()["statusCode"], first.headers["Retry-After"]) == (429, "Wed, 21 Oct 2026 07:28:00 GMT")
    assert (second.status_code, second.content) == (500, b"")


@pytest.mark.parametrize(("kind", "notes"), [("lost_reply_before", 0), ("lost_reply_after", 1)])
def test_a_lost_reply_closes_the_connection_without_an_answer(world, sparklayer, kind, notes):
    world.faults.add(Fault(kind=kind, path_contains="/history"))
    with pytest.raises(requests.ConnectionError):
        sparklayer("POST", NOTES, json=NOTE)
    assert len(world.sparklayer.history("1")) == notes
    assert (world.exchanges[-1].status, world.exchanges[-1].faulted) == (None, True)
    assert sparklayer("POST", NOTES, json=NOTE).status_code == 201, "the next connection works"


def test_an_html_fault_answers_200_with_a_page_and_does_nothing(world, sparklayer):
    world.faults.add(Fault(kind="html", method="POST"))
    answer = sparklayer("POST", NOTES, json=NOTE)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert world.sparklayer.history("1") == []


def test_a_truncated_answer_is_complete_http_and_broken_json(world, swap):
    world.faults.add(Fault(kind="truncated", side="swap"))
    answer = returns(swap)
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    with pytest.raises(requests.JSONDecodeError):
        answer.json()


def test_an_answer_that_is_cut_off_ends_before_its_announced_length(world, swap):
    world.faults.add(Fault(kind="cut_off", side="swap"))
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        returns(swap)


def test_a_slow_answer_makes_an_impatient_client_give_up_on_what_took_effect(world, sparklayer, sandbox):
    world.faults.add(Fault(kind="slow", method="POST", seconds=1))
    headers = {"Site-Id": "northgate-trade", "Authorization": sparklayer("GET", NOTES).request.headers["Authorization"]}
    with pytest.raises(requests.ReadTimeout):
        requests.post(sandbox.sparklayer_url + NOTES, json=NOTE, headers=headers, timeout=0.5)
    assert len(world.sparklayer.history("1")) == 1


def test_a_slow_answer_is_otherwise_as_usual(world, sparklayer):
    world.faults.add(Fault(kind="slow", seconds=0.01))
    assert sparklayer("POST", NOTES, json=NOTE).status_code == 201
    assert not world.exchanges[-1].faulted
    contract_checker().check_all(world)


def test_an_expired_token_is_a_401_until_a_new_one_is_asked_for(world, sparklayer, get_token):
    world.faults.add(Fault(kind="token_expired"))
    token = get_token()
    assert sparklayer("GET", NOTES, headers={"Authorization": f"Bearer {token}"}).status_code == 401
    assert sparklayer("GET", NOTES, headers={"Authorization": f"Bearer {get_token()}"}).status_code == 200


def test_a_fault_strikes_as_often_as_it_says_after_as_many_requests_as_it_says(world, swap):
    world.faults.add(Fault(kind="status", status=500, after=1, times=2))
    assert [returns(swap).status_code for _ in range(5)] == [200, 500, 500, 200, 200]


def test_a_fault_without_times_strikes_until_it_is_cleared(world, swap):
    world.faults.add(Fault(kind="status", status=500, times=None))
    assert [returns(swap).status_code for _ in range(3)] == [500, 500, 500]
    world.faults.clear()
    assert returns(swap).status_code == 200


@pytest.mark.parametrize(
    ("where", "struck"),
    [
        ({"side": "swap"}, False),
        ({"side": "sparklayer"}, True),
        ({"method": "get"}, True),
        ({"method": "POST"}, False),
        ({"path_contains": "/history"}, True),
        ({"path_contains": "/transactions"}, False),
    ],
)
def test_a_fault_strikes_only_where_side_method_and_path_agree(world, sparklayer, where, struck):
    world.faults.add(Fault(kind="status", status=500, **where))
    assert sparklayer("GET", NOTES).status_code == (500 if struck else 200)


def test_faults_can_be_set_and_cleared_from_another_process(world, swap, sandbox):
    faults = [{"kind": "status", "status": 418, "side": "swap", "times": None}]
    assert requests.post(f"{sandbox.url}/sandbox/faults", json=faults, timeout=10).status_code == 204
    assert returns(swap).status_code == 418
    assert requests.delete(f"{sandbox.url}/sandbox/faults", timeout=10).status_code == 204
    assert returns(swap).status_code == 200


def test_a_fault_of_an_unknown_kind_is_refused_with_the_reason(sandbox):
    answer = requests.post(f"{sandbox.url}/sandbox/faults", json=[{"kind": "flood"}], timeout=10)
    assert answer.status_code == 400
    assert "kind" in answer.text
