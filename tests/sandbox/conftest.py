from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from swapsync.sandbox.server import API_KEY, CLIENT_ID, CLIENT_SECRET, SITE_ID, STORE_ID, Sandbox
from swapsync.sandbox.world import World

NOW = datetime(2026, 3, 10, 9, 0, tzinfo=UTC)


@pytest.fixture(scope="session")
def running() -> Iterator[Sandbox]:
    with Sandbox(World()) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Sandbox:
    """The running sandbox around a fresh world whose clock stands at NOW."""
    running.world = World(now=lambda: NOW)
    running.world.record_bodies = True
    return running


@pytest.fixture
def world(sandbox: Sandbox) -> World:
    return sandbox.world


Call = Callable[..., requests.Response]


@pytest.fixture
def swap(sandbox: Sandbox) -> Iterator[Call]:
    with requests.Session() as session:
        session.headers["X-API-Key"] = API_KEY

        def call(method: str, path: str, **options: Any) -> requests.Response:
            return session.request(method, sandbox.swap_url + path, timeout=10, **options)

        yield call


@pytest.fixture
def list_returns(swap: Call) -> Callable[..., Any]:
    def call(**query: Any) -> Any:
        answer = swap("GET", "/v2/external/returns", params={"swap_store_id": STORE_ID, **query})
        assert answer.status_code == 200, answer.text
        return answer.json()

    return call


TOKEN_REQUEST = {"grant_type": "client_credentials", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}


@pytest.fixture
def get_token(sandbox: Sandbox) -> Callable[[], str]:
    def call() -> str:
        answer = requests.post(
            f"{sandbox.sparklayer_url}/api/auth/token", json=TOKEN_REQUEST, headers={"Site-Id": SITE_ID}, timeout=10
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    return call


@pytest.fixture
def sparklayer(sandbox: Sandbox, get_token: Callable[[], str]) -> Iterator[Call]:
    with requests.Session() as session:
        session.headers.update({"Site-Id": SITE_ID, "Authorization": f"Bearer {get_token()}"})

        def call(method: str, path: str, **options: Any) -> requests.Response:
            return session.request(method, sandbox.sparklayer_url + path, timeout=10, **options)

        yield call
