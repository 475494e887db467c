"""Reading orders, customers and variants: package by package, identifier by identifier."""

import copy
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swapsync.connectors.errors import Malformed
from swapsync.connectors.sparklayer_reader import order_updated_at, read_customer, read_order, read_variant
from swapsync.domain.orders import Customer, OrderLine
from swapsync.sandbox.world import customer_row, line_item, purchase_row, stable_uuid

PLACED = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
UPDATED = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def a_line(sku: str, quantity: int, net: str = "10.00", line_item_id: str = "", variant_id: str = "") -> dict[str, Any]:
    return line_item(sku, quantity, net=net, tax="2.00", line_item_id=line_item_id, variant_id=variant_id)


def a_row(*lines: dict[str, Any], **fields: Any) -> dict[str, Any]:
    row = purchase_row(
        "551", "#B2B-2071", lines, customer_id="c-1", customer_reference="PO-88117", placed=PLACED, updated=UPDATED
    )
    return row | fields


def package(kind: str | None, *lines: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "line_items": list(lines)}


def lines_of(*packages: dict[str, Any]) -> tuple[OrderLine, ...]:
    return read_order(a_row(packages=list(packages))).lines


def counted(*packages: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Quantity and net by line key."""
    return {line.key: (line.quantity, line.net) for line in lines_of(*packages)}


def test_a_complete_order_is_read() -> None:
    order = read_order(a_row(a_line("MUG", 24, "240.00", "149", "44")))
    assert order.order_id == stable_uuid("purchase:551")
    assert (order.platform_id, order.visible, order.type) == ("551", "#B2B-2071", "order")
    assert (order.payment_method, order.po_number, order.currency) == ("on_account", "PO-88117", "GBP")
    assert (order.customer_ids, order.placed_at) == (("c-1",), PLACED)
    assert order.lines == (OrderLine("li:149", "MUG", "44", "149", 24, 24000, 200),)


def test_a_row_of_the_list_has_no_lines() -> None:
    row = a_row(a_line("MUG", 1))
    del row["packages"]
    assert read_order(row).lines == ()


# -- who and which


def test_identifiers_may_stand_under_the_older_name() -> None:
    row = a_row()
    row["order_identifiers"] = row.pop("purchase_identifiers")
    assert read_order(row).platform_id == "551"


@pytest.mark.parametrize(
    ("identifiers", "order_id"),
    [
        ({"sparklayer": "u-1", "platform": "551"}, "u-1"),
        ({"platform": "gid://shopify/Order/551", "visible": "#7"}, "platform:551"),
        ({"platform": 551}, "platform:551"),
        ({"sparklayer": "", "visible": "#7"}, "visible:#7"),
    ],
)
def test_an_order_goes_by_the_surest_identifier_it_has(identifiers: dict[str, Any], order_id: str) -> None:
    assert read_order(a_row(purchase_identifiers=identifiers)).order_id == order_id


def test_buyers_are_the_company_and_its_user_but_never_staff() -> None:
    customers = {
        "sparklayer": "company",
        "sparklayer_child": "user",
        "sparklayer_impersonator": "agent",
        "sparklayer_sales_rep": "rep",
        "platform": "77",
    }
    assert read_order(a_row(customer_identifiers=customers)).customer_ids == ("company", "user")


def test_the_currency_may_stand_beside_the_total_only() -> None:
    row = a_row(a_line("MUG", 1), calculated_total={"number": "1.00", "currency": "gbp"})
    del row["currency_code"]
    assert read_order(row).currency == "GBP"


# -- lines


@pytest.mark.parametrize("name", ["platform", "platform_line_item_id", "line_item_id"])
def test_a_line_item_id_is_found_under_each_of_its_names(name: str) -> None:
    [line] = lines_of(package("shipped", a_line("A", 1) | {"identifiers": {name: "gid://shopify/LineItem/149"}}))
    assert (line.line_item_id, line.key) == ("149", "li:149")


@pytest.mark.parametrize(
    "name", ["variant", "platform_variant", "platform_variant_id", "variant_id", "variant_external_id"]
)
def test_a_variant_id_is_found_under_each_of_its_names(name: str) -> None:
    [line] = lines_of(package("shipped", a_line("A", 1) | {"identifiers": {name: 44}}))
    assert (line.variant_id, line.key) == ("44", "v:44")


def test_sku_and_ids_may_stand_beside_the_identifiers() -> None:
    row = a_line("", 1) | {"identifiers": None, "sku": "00123", "line_item_id": 149, "variant_id": 44}
    [line] = lines_of(package("shipped", row))
    assert (line.sku, line.line_item_id, line.variant_id) == ("00123", "149", "44")


def test_parts_of_one_line_in_several_packages_add_up() -> None:
    assert counted(
        package("shipped", a_line("A", 4, "40.00", "149")), package("incoming", a_line("A", 6, "60.00", "149"))
    ) == {"li:149": (10, 10000)}


def test_cancelled_units_do_not_count() -> None:
    assert counted(
        package("shipped", a_line("A", 4, "40.00", "149")), package("Cancelled", a_line("A", 6, "60.00", "149"))
    ) == {"li:149": (4, 4000)}


def test_an_order_of_which_nothing_stands_is_cancelled_and_has_the_lines_that_it_had() -> None:
    packages = [package("Cancelled", a_line("A", 4, "40.00", "149")), package("canceled", a_line("B", 1))]
    whole = read_order(a_row(packages=packages))
    assert (whole.cancelled, [(line.sku, line.quantity) for line in whole.lines]) == (True, [("A", 4), ("B", 1)])
    part = read_order(a_row(packages=[packages[0], package("shipped", a_line("B", 1))]))
    assert (part.cancelled, [(line.sku, line.quantity) for line in part.lines]) == (False, [("B", 1)])


def test_returned_units_that_are_repeated_beside_the_shipped_ones_count_once() -> None:
    assert counted(
        package("shipped", a_line("A", 10, "100.00", "149")), package("returned", a_line("A", 3, "30.00", "149"))
    ) == {"li:149": (10, 10000)}


def test_a_line_that_was_moved_to_a_returned_package_as_a_whole_keeps_its_units() -> None:
    assert counted(package("returned", a_line("A", 10, "100.00", "149"))) == {"li:149": (10, 10000)}


def test_rows_of_one_package_without_line_item_id_are_lines_of_their_own() -> None:
    assert counted(package("shipped", a_line("A", 4, "40.00"), a_line("A", 1, "8.00"))) == {
        "s:A": (4, 4000),
        "s:A#2": (1, 800),
    }


def test_rows_without_line_item_id_add_up_across_packages_by_their_turn() -> None:
    assert counted(
        package("shipped", a_line("A", 4, "40.00"), a_line("A", 1, "8.00")),
        package("incoming", a_line("A", 2, "20.00"), a_line("A", 5, "40.00")),
    ) == {"s:A": (6, 6000), "s:A#2": (6, 4800)}


def test_a_variant_that_got_another_sku_between_two_packages_is_one_line() -> None:
    [line] = lines_of(
        package("shipped", a_line("OLD", 1, variant_id="44")), package("incoming", a_line("NEW", 1, variant_id="44"))
    )
    assert (line.key, line.sku, line.quantity) == ("v:44", "OLD", 2)


def test_keys_stay_apart_even_when_a_sku_looks_like_one() -> None:
    keys = [line.key for line in lines_of(package("shipped", a_line("A#2", 1), a_line("A", 1), a_line("A", 1)))]
    assert keys == ["s:A#2", "s:A", "s:A#3"]


def test_packages_may_come_as_one_object_or_as_a_mapping_by_type() -> None:
    line = a_line("A", 4, line_item_id="149")
    one = read_order(a_row(packages=package("shipped", line)))
    named = read_order(a_row(packages={"shipped": {"line_items": [line]}, "cancelled": {"line_items": [line]}}))
    assert [line.quantity for line in one.lines] == [line.quantity for line in named.lines] == [4]


# -- money


def with_total(**total: Any) -> tuple[int, int]:
    money = {name: {"number": number, "currency": "GBP"} for name, number in total.items()}
    [line] = lines_of(package("shipped", a_line("A", 1) | {"line_total": money}))
    return line.net, line.tax


def test_a_missing_tax_or_net_follows_from_the_gross() -> None:
    assert with_total(total_net="10.00", total_gross="12.00") == (1000, 200)
    assert with_total(total_tax="2.00", total_gross="12.00") == (1000, 200)


def test_net_and_tax_win_over_the_gross() -> None:
    assert with_total(total_net="10.00", total_tax="2.00", total_gross="99.00") == (1000, 200)


def test_an_amount_may_be_a_plain_number() -> None:
    total = {"total_net": Decimal("10.005"), "total_tax": 2}
    [line] = lines_of(package("shipped", a_line("A", 1) | {"line_total": total}))
    assert (line.net, line.tax) == (1001, 200)


@pytest.mark.parametrize(
    ("line_total", "reason"),
    [
        ({}, "two of total_net"),
        (None, "two of total_net"),
        ({"total_net": "10.00"}, "two of total_net"),
        ({"total_gross": "12.00"}, "two of total_net"),
        ({"total_net": "ten", "total_tax": "2"}, 'total_net: "ten" is not an amount'),
        ({"total_net": {"number": "1", "currency": "EUR"}, "total_tax": "2"}, "total_net is in EUR, the order in GBP"),
    ],
)
def test_a_line_without_readable_money_makes_the_order_malformed(line_total: Any, reason: str) -> None:
    with pytest.raises(Malformed, match=reason) as raised:
        lines_of(package("shipped", a_line("A", 1) | {"line_total": line_total}))
    assert raised.value.remote_id == stable_uuid("purchase:551")


# -- where reading ends


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"purchase_identifiers": {}}, "purchase_identifiers: none"),
        ({"purchase_identifiers": None}, "purchase_identifiers: none"),
        ({"packages": "shipped"}, "packages is not a list"),
        ({"packages": [7]}, "packages is not a list"),
        ({"packages": [{"line_items": "A"}]}, "line_items is not a list"),
        ({"packages": [package("shipped", a_line("A", -1))]}, "line A: quantity"),
        ({"packages": [package("shipped", a_line("A", 1) | {"quantity": None})]}, "line A: quantity is missing"),
    ],
)
def test_an_order_that_cannot_be_read_is_malformed(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        read_order(a_row(**fields))


@pytest.mark.parametrize("read", [read_order, order_updated_at, read_customer, read_variant])
@pytest.mark.parametrize("row", [None, [], "row"])
def test_a_row_that_is_no_object_is_malformed(read: Any, row: Any) -> None:
    with pytest.raises(Malformed, match="not an object"):
        read(row)


anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["number", "sku", "line_items"]), inner)
    ),
)


@given(st.data())
def test_any_single_wrong_value_is_read_or_malformed_and_never_crashes(data: st.DataObject) -> None:
    row = copy.deepcopy(a_row(a_line("A", 1, line_item_id="149")))
    item = row["packages"][0]["line_items"][0]
    part = data.draw(st.sampled_from([row, row["packages"][0], item, item["line_total"], item["identifiers"]]))
    part[data.draw(st.sampled_from(sorted(part)))] = data.draw(anything)
    try:
        order = read_order(row)
    except Malformed:
        return
    assert order.order_id
    assert len({line.key for line in order.lines}) == len(order.lines)


kinds = st.sampled_from(["shipped", "incoming", "returned", "cancelled"])
items = st.tuples(st.sampled_from("AB"), st.integers(0, 9), st.sampled_from(["", "1", "2"]))


@given(st.lists(st.tuples(kinds, st.lists(items, max_size=4)), max_size=4))
def test_no_unit_is_counted_twice_whatever_the_packages(shape: list[tuple[str, list[tuple[str, int, str]]]]) -> None:
    packages = [package(kind, *(a_line(sku, n, "1.00", li) for sku, n, li in rows)) for kind, rows in shape]
    total = sum(line.quantity for line in lines_of(*packages))
    standing = [(kind, rows) for kind, rows in shape if kind != "cancelled"] or shape
    by_kind = {
        kind: sum(n for k, rows in standing if (k == "returned") == kind for _, n, _ in rows) for kind in (True, False)
    }
    assert max(by_kind.values()) <= total <= sum(by_kind.values())


# -- dates, customers, variants


def test_the_revision_is_the_change_else_the_revision_date_else_the_creation() -> None:
    row = a_row(revision_date="2026-03-01T12:00:00+01:00")
    assert order_updated_at(row) == UPDATED
    row["dates"].pop("updated_at")
    assert order_updated_at(row) == datetime(2026, 3, 1, 11, tzinfo=UTC)
    row["revision_date"] = ""
    assert order_updated_at(row) == PLACED


@pytest.mark.parametrize("dates", [None, {}, {"updated_at": "soon", "created_at": "2026-03-01T09:00:00Z"}])
def test_an_order_without_a_readable_revision_is_malformed(dates: Any) -> None:
    with pytest.raises(Malformed) as raised:
        order_updated_at(a_row(dates=dates, revision_date=None))
    assert raised.value.remote_id == stable_uuid("purchase:551")


def test_a_naive_date_needs_the_sites_zone() -> None:
    row = a_row(dates={"updated_at": "2026-03-02T10:00:00"})
    with pytest.raises(Malformed, match="naive_timezone"):
        order_updated_at(row)
    assert order_updated_at(row, "Europe/Berlin") == UPDATED


def test_a_customer_is_read_with_their_company() -> None:
    user = customer_row("user@example.test", parent_customer_id="company", id="u-1")
    assert read_customer(user) == Customer("u-1", "user@example.test", "company")
    assert read_customer({"id": 7}) == Customer("7", "")
    with pytest.raises(Malformed, match="id is missing"):
        read_customer({"email": "a@b.test"})


def test_a_variant_is_its_platform_id_and_its_sku_of_today() -> None:
    assert read_variant({"id": "pv_1", "external_id": "gid://shopify/ProductVariant/44", "sku": "A"}) == ("44", "A")
    assert read_variant({"external_id": 44, "sku": None}) == ("44", "")
    with pytest.raises(Malformed, match="external_id is missing"):
        read_variant({"id": "pv_1", "sku": "A"})
