"""Schemathesis sends what the contracts allow, and much that they don't, to both look-alikes."""

from datetime import UTC, datetime

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import checks
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from swapsync.sandbox.demo_data import seed_demo
from swapsync.sandbox.server import API_KEY, SITE_ID, STORE_ID, Sandbox
from swapsync.sandbox.world import World
from tests.contract_check import load_contract

NOW = datetime(2026, 3, 10, 9, 0, tzinfo=UTC)

NOT_FOR_THE_WORKER = (
    "createUpdatePurchase",
    "deletePurchase",
    "deleteBatchStock",
    "upsertCustomer",
    "createCustomerCreditAdjustment",
)
NOT_SERVED = ("listReturnsV1",)

CHECKS = [
    checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]

BOUNDED = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)

# Values that reach something in the demo data; the operations are fuzzed with and without them.
REACHING = {
    "swap_store_id": STORE_ID,
    "lookupBy": "platform",
    "identifier": "6100000010401",
    "StockLocationID": "default",
    "id": "44000000001",
}


def contract(side: str, parameters: dict[str, str]) -> schemathesis.BaseSchema:
    config = SchemathesisConfig.from_dict({"parameters": parameters})
    loaded = schemathesis.openapi.from_dict(load_contract(side), config=config)
    return loaded.exclude(operation_id=[*NOT_FOR_THE_WORKER, *NOT_SERVED])


swap = contract("swap", {"swap_store_id": STORE_ID})
sparklayer = contract("sparklayer", {})
sparklayer_reaching = contract("sparklayer", REACHING)


@pytest.fixture(scope="module")
def sandbox():
    world = World(now=lambda: NOW)
    seed_demo(world)
    for key in world.swap.malformed:
        world.swap.delete_return(key)
    with Sandbox(world) as running:
        yield running


@pytest.fixture(scope="module")
def sparklayer_headers(sandbox):
    return {"Site-Id": SITE_ID, "Authorization": f"Bearer {sandbox.world.sparklayer.issue_token(SITE_ID)}"}


@swap.parametrize()
@BOUNDED
def test_swap_keeps_its_contract(case, sandbox):
    case.call_and_validate(base_url=sandbox.swap_url, headers={"X-API-Key": API_KEY}, checks=CHECKS)


@sparklayer.parametrize()
@BOUNDED
def test_sparklayer_keeps_its_contract(case, sandbox, sparklayer_headers):
    case.call_and_validate(base_url=sandbox.sparklayer_url, headers=sparklayer_headers, checks=CHECKS)


@sparklayer_reaching.parametrize()
@BOUNDED
def test_sparklayer_keeps_its_contract_on_rows_it_has(case, sandbox, sparklayer_headers):
    case.call_and_validate(base_url=sandbox.sparklayer_url, headers=sparklayer_headers, checks=CHECKS)


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/purchases/{lookupBy}/{identifier}",
        "/api/v1/purchases/{lookupBy}/{identifier}/transactions",
        "/api/v1/purchases/{lookupBy}/{identifier}/history",
        "/api/v1/stock-locations/{StockLocationID}",
        "/api/v1/variants/{id}",
    ],
)
def test_the_values_that_are_to_reach_a_row_do_reach_one(path, sandbox, sparklayer_headers):
    url = sandbox.sparklayer_url + path.format(**REACHING)
    assert requests.get(url, headers=sparklayer_headers, timeout=10).status_code == 200
