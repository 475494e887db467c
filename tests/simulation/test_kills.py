"""A few real kills in every test run; ``make kills KILLS=500`` does it often."""

import os
from pathlib import Path

import pytest

from swapsync.sandbox.server import Sandbox
from tests.simulation.kills import create_database, kill_story


def test_nothing_is_lost_or_doubled_when_a_lone_worker_is_killed(server: Sandbox, tmp_path: Path) -> None:
    assert kill_story(server, f"sqlite:///{tmp_path / 'swapsync.db'}", tmp_path, seed=1, workers=1, kills=3) == 3


def test_nothing_is_lost_or_doubled_when_three_workers_on_one_postgresql_are_killed(
    server: Sandbox, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    uri: str = request.getfixturevalue("postgres_server")
    url = create_database(uri, f"kills_{os.getpid()}")
    assert kill_story(server, url, tmp_path, seed=2, workers=3, kills=3) == 3
