"""The files that run it say what the code knows: settings, commands, times and ports."""

import re
import shutil
import subprocess
from configparser import ConfigParser
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import yaml

from swapsync.daemon import FINISH_WITHIN
from swapsync.settings import SETTINGS, HttpSettings
from tests.test_docs import COMMANDS

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "config/deploy"
FILES = sorted(DEPLOY.iterdir())
UNITS = [file for file in FILES if file.suffix in (".service", ".timer")]
STOP_SECONDS = FINISH_WITHIN + HttpSettings().timeout_seconds * 2


def _compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    return document


def _unit(name: str) -> ConfigParser:
    unit = ConfigParser(strict=False, interpolation=None, delimiters="=")
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string((DEPLOY / name).read_text("utf-8"))
    return unit


def _is_command(words: list[str]) -> bool:
    """Whether the words after ``swapsync`` name a command, and its options are known to it."""
    path = " ".join(["swapsync", *takewhile(lambda word: not word.startswith("-"), words)])
    options = {option for parameter in getattr(COMMANDS.get(path), "params", ()) for option in parameter.opts}
    return path in COMMANDS and {word for word in words if word.startswith("--")} <= options


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_each_variable_is_a_setting(file: Path) -> None:
    known = {doc.variable for doc in SETTINGS} | {f"{doc.variable}_FILE" for doc in SETTINGS if doc.secret}
    assert set(re.findall(r"SWAPSYNC_[A-Z_]+", file.read_text("utf-8"))) <= known


def test_each_command_of_a_container_exists() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text("utf-8")
    assert 'ENTRYPOINT ["swapsync"]' in dockerfile
    commands = [service["command"] for service in _compose()["services"].values() if "command" in service]
    assert commands == [["db", "upgrade"], ["daemon"]]
    assert all(_is_command(words) for words in commands)


def test_each_command_of_a_unit_exists() -> None:
    started = [_unit(unit.name)["Service"]["ExecStart"] for unit in UNITS if unit.suffix == ".service"]
    assert len(started) == 2
    for line in started:
        words = re.sub(r'"[^"]*"(?:[^"]*"[^"]*")*', "X", line).strip("'").partition("bin/swapsync ")[2].split()
        assert _is_command(words), line


def test_workers_come_after_one_upgrade_of_the_schema_and_have_the_time_that_they_need_to_stop() -> None:
    services = _compose()["services"]
    worker = services["worker"]
    assert worker["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
    assert services["migrate"]["depends_on"] == {"database": {"condition": "service_healthy"}}
    assert "healthcheck" in services["database"]
    assert int(worker["stop_grace_period"].removesuffix("s")) >= STOP_SECONDS
    assert int(_unit("swapsync@.service")["Service"]["TimeoutStopSec"]) >= STOP_SECONDS


def test_the_health_check_asks_where_the_worker_answers() -> None:
    worker = _compose()["services"]["worker"]
    port = worker["environment"]["SWAPSYNC_HEALTH_ADDRESS"].rpartition(":")[2]
    assert f"http://127.0.0.1:{port}/healthz" in worker["healthcheck"]["test"][-1]


def test_nothing_runs_as_root_and_no_secret_stands_in_a_file_of_ours() -> None:
    compose = _compose()
    assert all(service["user"] != "root" for service in compose["services"].values())
    assert re.search(r"^USER \d+$", (DEPLOY / "Dockerfile").read_text("utf-8"), re.M)
    assert all(_unit(unit.name)["Service"]["User"] == "swapsync" for unit in UNITS if unit.suffix == ".service")
    secrets = {doc.variable for doc in SETTINGS if doc.secret}
    for service in compose["services"].values():
        assert not secrets & service["environment"].keys()
        assert {*service["secrets"]} <= compose["secrets"].keys()


def test_the_image_holds_what_is_built_from() -> None:
    copied = re.findall(r"^COPY (.+) \S+$", (DEPLOY / "Dockerfile").read_text("utf-8"), re.M)
    assert copied
    assert all((ROOT / name).exists() for line in copied for name in line.split())


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed here")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    for unit in UNITS:
        name = unit.name.replace("@", "@1")
        (tmp_path / name).write_text(unit.read_text("utf-8").replace("/opt/swapsync/bin/swapsync", "/bin/true"))
    names = [f"./{unit.name.replace('@', '@1')}" for unit in UNITS]
    verified = subprocess.run(["systemd-analyze", "verify", *names], cwd=tmp_path, capture_output=True, text=True)
    assert (verified.returncode, verified.stderr) == (0, "")
