from collections import Counter
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from swapsync.sandbox.demo_data import COMPANIES, RENAMED_SKU, seed_demo
from swapsync.sandbox.world import World
from tests.contract_check import contract_checker
from tests.sandbox.conftest import NOW


@pytest.fixture
def world(world):
    seed_demo(world)
    return world


def test_it_is_the_same_every_time():
    first, second = World(now=lambda: NOW), World(now=lambda: NOW)
    seed_demo(first)
    seed_demo(second)
    assert first.swap.returns == second.swap.returns
    assert first.sparklayer.purchases == second.sparklayer.purchases


def test_everything_but_the_rows_flagged_malformed_keeps_the_contracts(world, list_returns, sparklayer):
    for name in ("#10401", "#10424", "#10428"):
        assert list_returns(shopify_order_name=name)["returns"]
    malformed = list_returns(items_per_page=1, rma_number="30029")
    assert malformed["returns"][0]["products"][0]["item_count"] == "three"
    for row in world.swap.returns.values():
        list_returns(rma_number=row["rma_number"])
    assert sum(exchange.malformed for exchange in world.exchanges) == 3
    sparklayer("GET", "/api/v1/purchases", params={"limit": 500})
    for platform_id in world.sparklayer.purchases:
        assert sparklayer("GET", f"/api/v1/purchases/platform/{platform_id}").status_code == 200
    contract_checker().check_all(world)


def test_live_returns_ended_within_ten_days_and_history_over_sixty_days_ago(world):
    closed = [datetime.fromisoformat(row["date_closed"]) for row in world.swap.returns.values() if row["date_closed"]]
    ages = sorted(NOW - moment for moment in closed)
    assert [age for age in ages if timedelta(days=10) < age < timedelta(days=60)] == []
    assert [age.days for age in ages if age > timedelta(days=60)] == [120, 200]


def test_each_line_names_an_order_line_unless_it_is_a_question(world):
    lines = {
        line["identifiers"]["platform"]: line["identifiers"]["sku"]
        for purchase in world.sparklayer.purchases.values()
        for line in purchase["packages"][0]["line_items"]
    }
    unlinked = set()
    for row in world.swap.returns.values():
        for product in row["products"]:
            if product["shopify_line_item_id"] is None:
                unlinked.add(product["sku"])
            else:
                assert lines[product["shopify_line_item_id"]] == product["sku"]
    assert unlinked == {RENAMED_SKU, "417-brs"}


def test_each_company_owes_what_its_people_ordered_on_account_or_invoice(world):
    owed: Counter[str] = Counter()
    for purchase in world.sparklayer.purchases.values():
        if purchase["payment_method"] in ("on_account", "invoice"):
            customer = world.sparklayer.find_customer("sparklayer", purchase["customer_identifiers"]["sparklayer"])
            account = customer.get("parent_customer_id", customer["id"])
            owed[account] += Decimal(purchase["calculated_total"]["number"])
    assert {company["id"]: world.sparklayer.balance(company["email"]) for company in COMPANIES} == owed
