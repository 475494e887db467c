"""The Swap client against the look-alike, which checks every call against the contract."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import responses

from swapsync.connectors.errors import BadAnswer, CredentialsRejected, InDoubt, NotFound
from swapsync.connectors.swap import SwapClient
from swapsync.domain.returns import Condition
from swapsync.sandbox.faults import Fault
from swapsync.sandbox.server import API_KEY, STORE_ID, Sandbox
from swapsync.sandbox.world import World, return_line, return_row
from tests.connectors.conftest import URL, RecordingClock

START = datetime(2026, 3, 1, tzinfo=UTC)


def client(base_url: str, clock: RecordingClock, api_key: str = API_KEY) -> SwapClient:
    return SwapClient(
        base_url=base_url,
        api_key=api_key,
        store_id=STORE_ID,
        clock=clock,
        timeout=5,
        max_attempts=2,
        backoff=1,
        budget=None,
    )


@pytest.fixture
def swap(server: Sandbox, world: World, clock: RecordingClock) -> SwapClient:
    return client(server.swap_url, clock)


def put_returns(world: World, count: int) -> None:
    for number in range(count):
        at = START + timedelta(minutes=number)
        lines = [return_line("A", 1, line_item_id="149")]
        world.swap.put_return(return_row(f"ret_{number}", str(number), "551", "#7", lines, created=at))


def test_a_list_is_walked_to_its_last_page(swap: SwapClient, world: World) -> None:
    put_returns(world, 201)
    pages = [swap.returns_page(page=number) for number in (1, 2, 3)]
    assert [(len(page.rows), page.total, page.last) for page in pages] == [
        (100, 201, False),
        (100, 201, False),
        (1, 201, True),
    ]


def test_without_pagination_the_first_short_page_is_the_last(swap: SwapClient, world: World) -> None:
    put_returns(world, 101)
    world.swap.pagination = False
    pages = [swap.returns_page(page=number) for number in (1, 2)]
    assert [(page.total, page.last) for page in pages] == [(None, False), (None, True)]


def test_filters_narrow_the_list(swap: SwapClient, world: World) -> None:
    put_returns(world, 10)
    since = swap.returns_page(page=1, updated_since=START + timedelta(minutes=7))
    window = swap.returns_page(
        page=1, submitted_from=START + timedelta(minutes=2), submitted_to=START + timedelta(minutes=4)
    )
    one = swap.returns_page(page=1, rma_number="5")
    assert [len(page.rows) for page in (since, window, one)] == [3, 3, 1]


def test_moments_are_sent_in_utc_cut_off_after_milliseconds(swap: SwapClient, world: World) -> None:
    at = datetime(2026, 3, 2, 9, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=1)))
    swap.returns_page(page=1, updated_since=at)
    assert world.exchanges[-1].query["last_RMA_updated_date"] == "2026-03-02T08:00:00.999Z"


def test_a_moment_without_zone_is_not_sent(swap: SwapClient, world: World) -> None:
    with pytest.raises(ValueError, match="no UTC offset"):
        swap.returns_page(page=1, updated_since=datetime(2026, 3, 2))
    assert world.exchanges == []


def page_of(body: Any) -> Any:
    with responses.RequestsMock() as remote:
        remote.get(f"{URL}/v2/external/returns", json=body)
        return client(URL, RecordingClock()).returns_page(page=1)


@pytest.mark.parametrize(
    ("pagination", "last"),
    [
        ({"has_next_page": True, "total_pages": 1}, False),
        ({"has_next_page": False, "total_pages": 9}, True),
        ({"total_pages": 2}, False),
        ({"total_pages": 1}, True),
        ({"has_next_page": "perhaps"}, True),
        ("none", True),
        (None, True),
    ],
)
def test_the_last_page_is_known_by_the_best_sign_there_is(pagination: Any, last: bool) -> None:
    assert page_of({"returns": [{}], "pagination": pagination}).last is last


def test_an_empty_page_ends_every_walk() -> None:
    assert page_of({"returns": [], "pagination": {"has_next_page": True}}).last


def test_the_list_may_have_its_older_name() -> None:
    assert page_of({"orders": [{"rma": "7"}]}).rows == [{"rma": "7"}]


@pytest.mark.parametrize("body", [[], None, {}, {"returns": None}, {"returns": {"1": {}}}, "returns"])
def test_an_answer_without_a_list_of_returns_is_a_bad_answer(body: Any) -> None:
    with pytest.raises(BadAnswer, match="no list of returns"):
        page_of(body)


def test_a_wrong_key_is_rejected_with_the_setting_and_without_its_value(
    server: Sandbox, world: World, clock: RecordingClock
) -> None:
    with pytest.raises(CredentialsRejected, match="SWAPSYNC_SWAP_API_KEY") as raised:
        client(server.swap_url, clock, api_key="not-the-key").returns_page(page=1)
    assert "not-the-key" not in str(raised.value)
    assert len(world.exchanges) == 1


def test_a_quality_control_report_names_order_and_line(swap: SwapClient, world: World) -> None:
    put_returns(world, 1)
    swap.report_quality_control(
        order_id="551", line_item_id="149", sku="A", condition=Condition.SELLABLE, quantity=2, received_at=START
    )
    assert world.swap.quality_control == [
        {
            "store_id": STORE_ID,
            "shopify_order_id": "551",
            "shopify_line_item_id": "149",
            "sku": "A",
            "condition": "Sellable",
            "return_qty": 2,
            "receipt_date": "2026-03-01T00:00:00.000Z",
        }
    ]


@pytest.mark.parametrize(
    ("condition", "word"),
    [
        (Condition.SELLABLE, "Sellable"),
        (Condition.DAMAGED, "Damaged"),
        (Condition.MISSING, "Missing"),
        (Condition.WRONG_ITEM, "Wrong-Item"),
        (Condition.NO_VALUE, "No-Value"),
    ],
)
def test_a_condition_is_reported_in_swaps_words(
    condition: Condition, word: str, swap: SwapClient, world: World
) -> None:
    put_returns(world, 1)
    swap.report_quality_control(order_id="551", sku="A", condition=condition, quantity=1)
    assert world.swap.quality_control[0]["condition"] == word


def test_a_quality_control_report_is_never_repeated_after_a_lost_reply(swap: SwapClient, world: World) -> None:
    put_returns(world, 1)
    world.faults.add(Fault(kind="lost_reply_after", method="POST"))
    with pytest.raises(InDoubt):
        swap.report_quality_control(order_name="#7", sku="A", condition=Condition.DAMAGED, quantity=1)
    assert len(world.swap.quality_control) == 1


def test_a_quality_control_report_for_an_order_without_return_is_not_found(swap: SwapClient) -> None:
    with pytest.raises(NotFound):
        swap.report_quality_control(order_id="9", sku="A", condition=Condition.DAMAGED, quantity=1)


@pytest.mark.parametrize("names", [{"order_id": "551"}, {"sku": "A"}, {}])
def test_a_quality_control_report_without_order_or_line_is_not_sent(
    names: dict[str, str], swap: SwapClient, world: World
) -> None:
    with pytest.raises(ValueError, match="needs an order"):
        swap.report_quality_control(condition=Condition.SELLABLE, quantity=1, **names)
    assert world.exchanges == []
