"""Reading a return: every spelling that Swap may use, and where reading ends."""

import copy
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swapsync.connectors.errors import Malformed
from swapsync.connectors.reading import scrub
from swapsync.connectors.swap_reader import read_return
from swapsync.domain.returns import Delivery, Remedy, Return, ReturnStatus, SwapQc
from swapsync.sandbox.world import return_line, return_row

SUBMITTED = datetime(2026, 3, 1, 9, 2, tzinfo=UTC)
UPDATED = datetime(2026, 3, 5, 10, 20, tzinfo=UTC)


def a_row(*lines: dict[str, Any], **fields: Any) -> dict[str, Any]:
    row = return_row(
        "ret_1",
        "20417",
        "6100000010482",
        "#10482",
        lines or (return_line("TEE-M", 2, line_item_id="149", variant_id="44"),),
        created=SUBMITTED,
        updated=UPDATED,
    )
    return row | fields


def read(row: dict[str, Any] | None = None, naive_timezone: str | None = None, **fields: Any) -> Return:
    return read_return(a_row() | fields if row is None else row, naive_timezone)


def test_a_complete_row_is_read() -> None:
    ret = read(total=Decimal("54.00"), total_refund_value_customer_currency=Decimal("12.5"), return_status="Closed")
    assert (ret.return_id, ret.rma_number, ret.order_ref, ret.order_name) == (
        "ret_1",
        "20417",
        "6100000010482",
        "#10482",
    )
    assert (ret.status, ret.delivery, ret.qc) == (ReturnStatus.CLOSED, Delivery.IN_TRANSIT, SwapQc.PENDING)
    assert (ret.currency, ret.total, ret.refunded) == ("GBP", 5400, 1250)
    assert (ret.submitted_at, ret.updated_at, ret.closed_at) == (SUBMITTED, UPDATED, None)
    [line] = ret.lines
    assert (line.line_id, line.sku, line.variant_id, line.line_item_id) == ("ret_1-1", "TEE-M", "44", "149")
    assert (line.quantity, line.return_type, line.remedy) == (2, "Refund", Remedy.CREDIT)
    assert ret.unknown == ()


# -- words


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("Open", ReturnStatus.OPEN),
        ("NEEDS_REVIEW", ReturnStatus.NEEDS_REVIEW),
        ("needs review", ReturnStatus.NEEDS_REVIEW),
        ("on-hold", ReturnStatus.ON_HOLD),
        ("closed", ReturnStatus.CLOSED),
        ("Cancelled", ReturnStatus.CANCELLED),
        ("canceled", ReturnStatus.CANCELLED),
        ("EXPIRED", ReturnStatus.EXPIRED),
    ],
)
def test_a_return_status_is_known_in_any_spelling(word: str, status: ReturnStatus) -> None:
    assert read(return_status=word).status is status


@pytest.mark.parametrize(
    ("word", "delivery"),
    [
        (None, Delivery.ANNOUNCED),
        ("", Delivery.ANNOUNCED),
        ("Pre-Transit", Delivery.ANNOUNCED),
        ("Own label", Delivery.ANNOUNCED),
        ("return_to_store", Delivery.ANNOUNCED),
        ("Green return", Delivery.ANNOUNCED),
        ("In-Transit", Delivery.IN_TRANSIT),
        ("At consolidation centre", Delivery.IN_TRANSIT),
        ("Consolidation transit", Delivery.IN_TRANSIT),
        ("Consolidation delivered", Delivery.IN_TRANSIT),
        ("DELIVERED", Delivery.DELIVERED),
    ],
)
def test_a_delivery_status_is_known_in_any_spelling(word: str | None, delivery: Delivery) -> None:
    assert read(delivery_status=word).delivery is delivery


def test_only_the_delivery_status_says_that_goods_have_come() -> None:
    assert not read(delivered_date="2026-03-04T16:40:00.000Z", delivery_status="In-Transit").delivered


@pytest.mark.parametrize(
    ("word", "qc"),
    [
        (None, SwapQc.NONE),
        (" ", SwapQc.NONE),
        ("Pending", SwapQc.PENDING),
        ("approved", SwapQc.APPROVED),
        ("Not Approved", SwapQc.NOT_APPROVED),
        ("not_approved", SwapQc.NOT_APPROVED),
        ("Missing", SwapQc.MISSING),
    ],
)
def test_a_quality_control_status_is_known_in_any_spelling(word: str | None, qc: SwapQc) -> None:
    assert read(quality_control_status=word).qc is qc


@pytest.mark.parametrize(
    ("word", "remedy"),
    [
        ("Refund", Remedy.CREDIT),
        ("shop_later_credit", Remedy.CREDIT),
        ("Exchange", Remedy.STOCK_ONLY),
        ("Shop Now Credit", Remedy.STOCK_ONLY),
        ("Additional Payment", Remedy.ASK),
        ("Recycle", Remedy.ASK),
        ("warranty", Remedy.ASK),
        ("Repair", Remedy.ASK),
        ("Reglaze", Remedy.ASK),
        ("FAULTY", Remedy.ASK),
        ("Gift", Remedy.UNKNOWN),
    ],
)
def test_a_return_type_asks_for_its_remedy(word: str, remedy: Remedy) -> None:
    [line] = read(a_row(return_line("A", 1, return_type=word))).lines
    assert (line.remedy, line.return_type) == (remedy, word)


def test_words_without_a_meaning_are_named_for_a_person() -> None:
    ret = read(return_status="Paused", delivery_status="Lost", quality_control_status={"a": 1})
    assert (ret.status, ret.delivery, ret.qc) == (ReturnStatus.UNKNOWN, Delivery.UNKNOWN, SwapQc.UNKNOWN)
    assert ret.unknown == ('return_status "Paused"', 'delivery_status "Lost"', 'quality_control_status "dict"')


def test_an_unknown_return_type_is_left_to_its_line() -> None:
    assert read(a_row(return_line("A", 1, return_type="Gift"))).unknown == ()


# -- identifiers


@pytest.mark.parametrize(
    "order_id", ["gid://shopify/Order/6100", "gid://shopify/Order/6100?x=1", 6100, "6100", " 6100 "]
)
def test_a_shop_id_is_the_same_in_every_form(order_id: Any) -> None:
    line = return_line("A", 1, line_item_id="gid://shopify/LineItem/31", variant_id="gid://shopify/ProductVariant/44")
    ret = read(a_row(line, order_id=order_id))
    assert ret.order_ref == "6100"
    assert (ret.lines[0].line_item_id, ret.lines[0].variant_id) == ("31", "44")


@pytest.mark.parametrize("sku", ["00123", "1E5", "NA", "null", " A", "a b"])
def test_a_sku_stays_exactly_the_text_it_is(sku: str) -> None:
    assert read(a_row(return_line(sku, 1))).lines[0].sku == sku


def test_an_rma_number_may_be_a_number_or_missing() -> None:
    assert read(rma_number=20417).rma_number == "20417"
    assert read(rma_number=None).rma_number == "ret_1"


def test_a_return_may_name_its_order_by_id_or_by_name_alone() -> None:
    assert read(order_id=None).order_name == "#10482"
    assert read(shopify_order_name=None).order_ref == "6100000010482"
    assert read(shopify_order_name=None, order_name="#7").order_name == "#7"


def test_lines_with_the_same_product_id_stay_apart() -> None:
    lines = [return_line(sku, 1, product_id="p") for sku in ("A", "B", "C")] + [return_line("D", 1, product_id="p#2")]
    assert [line.line_id for line in read(a_row(*lines)).lines] == ["p", "p#2", "p#3", "p#2#2"]


@pytest.mark.parametrize(
    ("line", "line_id"),
    [
        (return_line("A", 1, line_item_id="31", product_id=""), "31"),
        (return_line("A", 1, product_id=None), "A"),
        (return_line(None, 1, product_id=" "), "1"),
    ],
)
def test_a_line_without_product_id_goes_by_the_next_best_name(line: dict[str, Any], line_id: str) -> None:
    assert read(a_row(line)).lines[0].line_id == line_id


# -- lines


def test_lines_come_from_the_shipments_only_when_there_are_no_products() -> None:
    row = a_row(return_line("A", 1), return_line("B", 2))
    both = read(row).lines
    assert [line.sku for line in both] == ["A", "B"]
    for products in ([], None):
        assert read(row | {"products": products}).lines == both


def test_a_return_without_any_line_is_read() -> None:
    assert read(products=[], return_shipments=[]).lines == ()


@pytest.mark.parametrize(("count", "quantity"), [(3, 3), ("3", 3), (Decimal("3.0"), 3), (0, 0)])
def test_a_quantity_may_be_written_as_number_or_text(count: Any, quantity: int) -> None:
    assert read(a_row(return_line("A", count))).lines[0].quantity == quantity


@pytest.mark.parametrize("count", [-1, Decimal("1.5"), "two", "", None, True, [], "1e99", "NaN", 10**30])
def test_a_quantity_that_cannot_be_counted_is_malformed(count: Any) -> None:
    with pytest.raises(Malformed, match="line 1: item_count") as raised:
        read(a_row(return_line("A", count)))
    assert raised.value.remote_id == "ret_1"


def test_the_reason_joins_main_and_sub_text() -> None:
    both = return_line("A", 1, main_reason_text="Fit", sub_reason_text="Too small")
    assert read(a_row(both)).lines[0].reason == "Fit / Too small"
    assert read(a_row(both | {"main_reason_text": None})).lines[0].reason == "Too small"


def test_text_from_outside_holds_no_control_characters() -> None:
    line = return_line("A\x00B", 1, main_reason_text="torn\r\n2026 ERROR forged")
    [read_line] = read(a_row(line)).lines
    assert (read_line.sku, read_line.reason) == ("A B", "torn  2026 ERROR forged")


# -- money and time


@pytest.mark.parametrize(
    ("currency", "total", "minor"),
    [("GBP", Decimal("54.1"), 5410), ("gbp", "54.10", 5410), ("JPY", 540, 540), ("KWD", Decimal("1.2345"), 1235)],
)
def test_figures_are_read_in_the_customers_currency(currency: str, total: Any, minor: int) -> None:
    ret = read(customer_currency=currency, total=total, total_refund_value_customer_currency=total)
    assert (ret.currency, ret.total, ret.refunded) == (currency.upper(), minor, minor)


def test_absent_figures_are_unknown_and_nothing_refunded() -> None:
    row = a_row(total=None)
    del row["total_refund_value_customer_currency"]
    assert (read(row).total, read(row).refunded) == (None, 0)


@pytest.mark.parametrize("figure", ["many", True, [1], "Infinity", "1E999999"])
def test_a_figure_that_cannot_be_read_is_named_for_a_person(figure: Any) -> None:
    ret = read(total_refund_value_customer_currency=figure)
    assert ret.refunded == 0
    assert len(ret.unknown) == 1
    assert ret.unknown[0].startswith("total_refund_value_customer_currency ")


@pytest.mark.parametrize(
    "written",
    [
        "2026-03-05T10:20:00.000Z",
        "2026-03-05T10:20:00Z",
        "2026-03-05T11:20:00+01:00",
        "2026-03-05T05:20:00-0500",
        "2026-03-05 10:20:00+00:00",
        "2026-03-05 11:20:00 +0100",
    ],
)
def test_a_moment_may_have_any_offset(written: str) -> None:
    assert read(date_updated=written).updated_at == UPDATED


def test_a_moment_without_offset_is_read_in_the_sites_zone() -> None:
    assert read(a_row(date_updated="2026-03-05 05:20:00"), "America/New_York").updated_at == UPDATED
    assert read(a_row(date_updated="2026-07-05T11:20:00"), "Europe/London").updated_at.hour == 10


def test_a_moment_without_offset_and_without_zone_is_malformed() -> None:
    with pytest.raises(Malformed, match=r"date_updated: .* has no UTC offset"):
        read(date_updated="2026-03-05T10:20:00")


def test_the_submission_falls_back_from_field_to_field() -> None:
    row = a_row()
    expected = {}
    for hour, name in enumerate(("submission_date", "submitted_at", "intention_date", "date_created"), start=1):
        row[name] = f"2026-03-01T0{hour}:00:00Z"
        expected[name] = datetime(2026, 3, 1, hour, tzinfo=UTC)
    for name, at in expected.items():
        assert read(row).submitted_at == at
        row[name] = None
    assert read(row).submitted_at == UPDATED


def test_a_closing_date_is_read_and_one_that_cannot_be_read_is_named() -> None:
    assert read(date_closed="2026-03-05T10:20:00Z").closed_at == UPDATED
    ret = read(date_closed="last week")
    assert (ret.closed_at, ret.unknown) == (None, ('date_closed "last week"',))


# -- where reading ends


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"return_id": None}, "return_id is missing"),
        ({"return_id": " "}, "return_id: is blank"),
        ({"order_id": "", "shopify_order_name": ""}, "order_id is missing"),
        ({"return_status": None}, "return_status is missing"),
        ({"date_updated": None}, "date_updated is missing"),
        ({"date_updated": "yesterday"}, 'date_updated: "yesterday" is not a moment'),
        ({"products": None, "return_shipments": None}, "products is missing"),
        ({"products": "none"}, "products is not a list"),
        ({"products": [7]}, "line 1: it is not an object"),
        ({"products": [{"product_id": "p", "item_count": 1}]}, "line 1: return_type is missing"),
        ({"products": [{"product_id": "p", "return_type": "Refund"}]}, "line 1: item_count is missing"),
    ],
)
def test_a_core_field_that_cannot_be_read_makes_the_row_malformed(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(Malformed) as raised:
        read(**fields)
    assert raised.value.reason.startswith(reason)
    assert raised.value.remote_id == (None if "return_id" in fields else "ret_1")


@pytest.mark.parametrize("row", [None, [], "row", 7])
def test_a_row_that_is_no_object_is_malformed(row: Any) -> None:
    with pytest.raises(Malformed, match="not an object"):
        read_return(row, None)


anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["items", "product_id", "sku"]), inner),
)


@given(st.data())
def test_any_single_wrong_value_is_read_or_malformed_and_never_crashes(data: st.DataObject) -> None:
    row = copy.deepcopy(a_row())
    part = data.draw(st.sampled_from([row, row["products"][0]]))
    part[data.draw(st.sampled_from(sorted(part)))] = data.draw(anything)
    try:
        ret = read_return(row, None)
    except Malformed:
        return
    assert ret.return_id
    assert all(line.quantity >= 0 for line in ret.lines)


# -- what is not stored


def test_names_addresses_and_national_ids_are_not_stored() -> None:
    row = a_row(
        customer_national_id="X123",
        customer_name="Jo Buyer",
        billing_address={"name": "Jo"},
        shipping_address={"city": "Leeds"},
        customer_phone="0123",
    )
    row["return_shipments"][0]["package"] = {"address_from": {"street": "Mill Lane"}, "weight": 1}
    stored = scrub(row)
    for gone in ("X123", "Jo Buyer", "Mill Lane", "Leeds", "0123"):
        assert gone not in repr(stored)
    assert stored["return_shipments"][0]["package"] == {"weight": 1}
    assert read_return(stored, None) == read_return(row, None)
    assert "billing_address" in row
