"""The log: what each line carries, and what none may hold."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from loguru import logger

from swapsync.log import set_up_log
from swapsync.sandbox.faults import Fault
from swapsync.sandbox.server import API_KEY, Sandbox
from swapsync.sandbox.world import World
from swapsync.settings import load_settings
from tests.conftest import Desk, run
from tests.rules.scenario import one_store_is_enough

Read = Callable[[], list[str]]


@pytest.fixture
def logging_as(server: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Read]]:
    """Sets the log up as a command does; returns what reads its lines so far."""

    def set_up(layout: str, **settings: str) -> Read:
        environ = server.environment() | {"SWAPSYNC_LOG_FORMAT": layout, "SWAPSYNC_LOG_LEVEL": "DEBUG"}
        set_up_log(load_settings(environ | settings, tmp_path))
        return lambda: capsys.readouterr().err.splitlines()

    yield set_up
    logger.remove()
    logger.configure(patcher=lambda _: None)


@one_store_is_enough
def test_every_line_of_a_job_carries_site_job_run_and_trace_and_a_cycle_shares_its_trace(
    desk: Desk, world: World, logging_as: Callable[..., Read]
) -> None:
    place = desk()
    read = logging_as("json")

    run(place)
    first = [json.loads(line) for line in read()]
    run(place)
    second = [json.loads(line) for line in read()]

    assert first
    assert all(line.keys() == {"time", "level", "message", "site", "job", "run", "trace"} for line in first)
    assert {line["job"] for line in first} >= {"poll_returns", "poll_orders"}
    assert len({line["run"] for line in first}) == len({line["job"] for line in first})
    assert len({line["trace"] for line in first}) == 1
    assert {line["trace"] for line in first}.isdisjoint(line["trace"] for line in second)


@one_store_is_enough
def test_the_text_carries_them_too(desk: Desk, world: World, logging_as: Callable[..., Read]) -> None:
    read = logging_as("text")
    world.faults.add(Fault(kind="status", status=503, side="swap", times=None))

    record = run(desk(), "poll_returns")["poll_returns"]

    (line,) = [line for line in read() if "failed" in line]
    assert f" ERROR   default/poll_returns [{record.run} " in line


NASTY = "one\n12:00:00 ERROR   forged\r\u2028two\x1b[31m\x85three"


@pytest.mark.parametrize("layout", ["text", "json"])
def test_text_from_outside_makes_no_line_of_its_own(logging_as: Callable[..., Read], layout: str) -> None:
    read = logging_as(layout)

    logger.warning("it said {}", NASTY)

    (line,) = read()
    said = json.loads(line)["message"] if layout == "json" else line
    assert said.endswith(r"it said one\n12:00:00 ERROR   forged\r\u2028two\x1b[31m\x85three")


@pytest.mark.parametrize("layout", ["text", "json"])
def test_nor_does_it_in_a_traceback(logging_as: Callable[..., Read], layout: str) -> None:
    read = logging_as(layout)
    try:
        raise ValueError(NASTY)
    except ValueError:
        logger.exception("a bug")

    first, *rest = read()
    assert "a bug" in first
    if layout == "json":
        assert rest == []
        assert "ValueError: one" in json.loads(first)["traceback"]
    else:
        assert all(line.startswith("    | ") for line in rest)
        assert any("ValueError: one" in line for line in rest)


@pytest.mark.parametrize("layout", ["text", "json"])
def test_no_secret_is_logged_in_message_or_traceback(logging_as: Callable[..., Read], layout: str) -> None:
    database, address = "postgresql+psycopg://u:pa55word@db/x", "json://kim:tell-nobody@hooks.example/"
    read = logging_as(layout, SWAPSYNC_DATABASE_URL=database, SWAPSYNC_ALERT_URLS=address)
    try:
        raise ValueError(f"{API_KEY} {database} {address}")
    except ValueError as error:
        logger.exception("failed: {}", error)

    page = "\n".join(read())
    assert "***" in page
    assert not [secret for secret in (API_KEY, "pa55word", "tell-nobody") if secret in page]
