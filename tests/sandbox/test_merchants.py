import requests

from swapsync.sandbox.faults import Fault
from swapsync.sandbox.server import API_KEY, SITE_ID, STORE_ID, Sandbox
from swapsync.sandbox.world import World, return_row
from tests.sandbox.conftest import TOKEN_REQUEST


def test_each_merchant_has_a_world_of_its_own_beside_the_one_of_the_sandbox():
    acme, beta = World(), World()
    acme.swap.put_return(return_row("r1", "1", "61", "#1", []))
    beta.faults.add(Fault(kind="status", side="sparklayer", status=503))
    with Sandbox(World(), merchants={"acme": acme, "beta": beta}) as sandbox:

        def returns(where):
            address = f"{sandbox.url}{where}/swap/v2/external/returns"
            answer = requests.get(address, {"swap_store_id": STORE_ID}, headers={"X-API-Key": API_KEY}, timeout=10)
            return len(answer.json()["returns"])

        def token(where):
            address = f"{sandbox.url}{where}/sparklayer/api/auth/token"
            return requests.post(address, json=TOKEN_REQUEST, headers={"Site-Id": SITE_ID}, timeout=10).status_code

        assert [returns(where) for where in ("", "/merchants/acme", "/merchants/beta")] == [0, 1, 0]
        assert [token(where) for where in ("", "/merchants/acme", "/merchants/beta")] == [200, 200, 503]
        assert [call.path for call in acme.exchanges] == ["/v2/external/returns", "/api/auth/token"]
