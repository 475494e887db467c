"""The demo and the sandbox, as a newcomer meets them: in a process of their own, or in this one."""

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from dotenv import dotenv_values
from typer.testing import CliRunner, Result

from swapsync.cli import app
from swapsync.cli.context import UserError
from swapsync.sandbox.uci import ATTRIBUTION, COLUMNS

SWAPSYNC = [sys.executable, "-c", "from swapsync.cli import main; main()"]


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A demo that ended, started where a real site is configured."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        _stranger_here(patch, folder)
        result = CliRunner(env={"COLUMNS": "80"}).invoke(app, ["demo", "--no-serve"], catch_exceptions=False)
        assert sorted(path.name for path in folder.iterdir()) == [".env", "config", "temp"]
    return result


def _stranger_here(patch: pytest.MonkeyPatch, folder: Path) -> None:
    (folder / "temp").mkdir()
    (folder / "config").mkdir()
    (folder / "config" / "swapsync.toml").write_text("this is no TOML")
    (folder / ".env").write_text("SWAPSYNC_DATABASE_URL=sqlite:///real.db\nSWAPSYNC_EFFECTS_FROM=nonsense\n")
    patch.chdir(folder)
    patch.setenv("SWAPSYNC_SWAP_BASE_URL", "https://swap.invalid")
    patch.setenv("COLUMNS", "80")
    patch.setattr(tempfile, "tempdir", str(folder / "temp"))


def section(result: Result, title: str) -> list[str]:
    """The lines below a title, down to the next blank line, without the header."""
    lines = result.stdout.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(title))
    end = next(number for number in range(start, len(lines)) if not lines[number].strip())
    return [line.rstrip() for line in lines[start + 3 : end]]


def test_the_demo_ends_well_and_touches_neither_settings_nor_files_of_a_real_site(ended: Result) -> None:
    assert ended.exit_code == 0


def test_the_summary_follows_the_goods_then_the_money_then_the_open_questions(ended: Result) -> None:
    titles = (
        "What came in: 30 returns",
        "What was credited: 10 credit notes",
        "What went to inspection stock: 72 units",
        "What was refunded to cards",
        "What was history",
        "Who has to look at what: 13 open exceptions",
        "For customer service",
        "For finance",
        "For integration",
        "Try next",
    )
    places = [ended.stdout.index(title) for title in titles]

    assert places == sorted(places)


def test_returns_are_counted_by_where_the_goods_are(ended: Result) -> None:
    counts = {line[:28].strip(): line[28:].split() for line in section(ended, "What came in")}

    assert counts["in transit"] == ["1", "1"]
    assert counts["(closed before the cut-over)"] == ["2", "8"]
    assert sum(int(returns) for returns, _ in counts.values()) == 30


def test_each_credit_note_shows_its_return_order_customer_po_number_and_gross(ended: Result) -> None:
    credits = [line.split() for line in section(ended, "What was credited")]

    assert [number for number, *_ in credits] == [f"CN-{n:06}" for n in range(1, 11)]
    teapots = next(credit for credit in credits if credit[1] == "30001")
    assert teapots[2:] == ["#10401", "orders@harbourgifts.example", "PO-98401", "132.48", "GBP"]
    assert [credit[4] for credit in credits if credit[1] == "30008"] == ["(none)"]


def test_what_came_back_stands_in_inspection_stock_by_sku(ended: Result) -> None:
    stock = dict(line.split() for line in section(ended, "What went to inspection stock"))

    assert stock["TOWEL-WAF-3"] == "13"
    assert sum(map(int, stock.values())) == 72


def test_card_refunds_and_history_stand_apart(ended: Result) -> None:
    assert [line.split() for line in section(ended, "What was refunded")] == [["30009", "#10408", "43.20", "GBP"]]
    assert [line.split()[:2] for line in section(ended, "What was history")] == [
        ["30031", "#10428"],
        ["30032", "#10428"],
    ]


def test_open_questions_stand_with_the_team_that_owns_them(ended: Result) -> None:
    finance = " ".join(" ".join(section(ended, "For finance")).split())

    assert "GATEWAY_REFUND_ON_ACCOUNT 30014 Swap shows 86.40 GBP given back on invoice" in finance
    assert "SKU_NOT_ON_ORDER" not in finance


def test_a_second_run_is_shown_to_write_nothing(ended: Result) -> None:
    proof = re.search(r"A second run of the main job: (\d+) writes \(the first: (\d+)\)", ended.stdout)

    assert proof is not None
    assert proof[1] == "0"
    assert int(proof[2]) > 10
    assert "nothing is done twice" in ended.stdout


def test_everything_fits_80_columns_and_needs_no_colour(ended: Result) -> None:
    tables = ended.stdout[: ended.stdout.index("Try next")]

    assert [line for line in tables.splitlines() if len(line) > 80] == []
    assert "\x1b" not in ended.stdout


def suggested(result: Result) -> tuple[Path, list[list[str]]]:
    """The file of settings that the demo names, and the commands that it suggests."""
    file = re.search(r"set -a; \. (\S+); set \+a", result.stdout)
    assert file is not None
    return Path(file[1]), [shlex.split(line) for line in re.findall(r"^  swapsync (.+)$", result.stdout, re.M)]


def test_the_demo_leaves_a_store_and_the_settings_to_look_around_in_it(
    ended: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, _ = suggested(ended)
    point_to(file, tmp_path, monkeypatch)

    result = CliRunner().invoke(app, ["db", "upgrade"], catch_exceptions=False)

    assert "already" in result.stdout
    assert (file.parent / "demo.db").stat().st_size > 0


def point_to(file: Path, cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in dotenv_values(file).items():
        monkeypatch.setenv(name, value or "")
    monkeypatch.chdir(cwd)


def test_the_settings_of_the_demo_shut_out_the_sites_of_a_real_configuration(
    ended: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from swapsync.settings import load_settings

    file, _ = suggested(ended)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "swapsync.toml").write_text('[sites.real]\nswap_store_id = "real"\n')
    (tmp_path / ".env").write_text("SWAPSYNC_SITE=real\nSWAPSYNC_DATABASE_URL=sqlite:///real.db\n")
    point_to(file, tmp_path, monkeypatch)

    settings = load_settings(os.environ, tmp_path)

    assert [site.slug for site in settings.sites] == ["demo"]
    assert settings.database_url.get_secret_value() == f"sqlite:///{file.parent / 'demo.db'}"


def test_the_commands_that_the_demo_suggests_work_on_its_store(
    ended: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, commands = suggested(ended)
    point_to(file, tmp_path, monkeypatch)
    local = [command for command in commands if command[0] in ("returns", "exceptions", "inspect")]

    results = [CliRunner().invoke(app, command, catch_exceptions=False) for command in local]

    assert [command[:2] for command in local[:2]] == [["returns", "show"], ["exceptions", "show"]]
    assert local[2][0] == "inspect"
    assert [result.exit_code for result in results] == [0, 0, 0]


# -- serving ---------------------------------------------------------------------------------------------------------


@contextmanager
def serving(folder: Path, *arguments: str, ready: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A process that serves: yields it, with what it printed until it was ready. Its SIGINT is ignored at start."""
    environ = {**os.environ, "TMPDIR": str(folder)}
    process = subprocess.Popen(
        [*SWAPSYNC, *arguments],
        cwd=folder,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    printed: list[str] = []
    assert process.stdout is not None
    try:
        for line in process.stdout:
            printed.append(line)
            if ready in line:
                break
        yield process, printed
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_serves_the_look_alikes_until_it_is_interrupted_and_that_is_no_failure(
    stop: signal.Signals, tmp_path: Path
) -> None:
    with serving(tmp_path, "demo", ready="until Ctrl-C") as (process, printed):
        url = re.search(r"http://127\.0\.0\.1:\d+", printed[-1])
        assert url is not None
        with urllib.request.urlopen(f"{url[0]}/sandbox/exchanges") as answer:
            assert answer.status == 200
        process.send_signal(stop)

        assert process.wait(timeout=30) == 0


def test_another_terminal_can_run_the_main_job_against_a_serving_demo(tmp_path: Path) -> None:
    with serving(tmp_path, "demo", ready="until Ctrl-C") as (_, printed):
        file = re.search(r"set -a; \. (\S+); set \+a", "".join(printed))
        assert file is not None
        in_shell = f"set -a; . {file[1]}; set +a; exec {shlex.join([*SWAPSYNC, 'sync'])}"
        done = subprocess.run(["/bin/sh", "-c", in_shell], cwd=tmp_path, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert "push_credits" in done.stdout


# -- the sandbox alone -----------------------------------------------------------------------------------------------


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Result, "Mapping[str, str | None]"]]:
    """Runs the sandbox in this process without waiting; gives what it printed, and the settings it wrote."""

    def serve(*arguments: str) -> tuple[Result, Mapping[str, str | None]]:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        monkeypatch.setattr("swapsync.cli.demo._wait_for_interrupt", lambda announcement: None)
        result = CliRunner().invoke(app, ["sandbox", *arguments], catch_exceptions=False)
        (file,) = tmp_path.glob("swapsync-sandbox-*/demo.env")
        return result, dotenv_values(file)

    return serve


def test_the_sandbox_prints_settings_that_a_worker_can_take_as_they_are(
    served: Callable[..., tuple[Result, Mapping[str, str | None]]], tmp_path: Path
) -> None:
    result, settings = served()
    (tmp_path / "printed.env").write_text(result.stdout)

    assert dotenv_values(tmp_path / "printed.env") == settings
    assert settings["SWAPSYNC_SWAP_BASE_URL"] in result.stdout.splitlines()[0]
    assert settings["SWAPSYNC_EFFECTS_FROM"]


def write_csv(file: Path, *rows: str) -> Path:
    file.write_text("\n".join([",".join(COLUMNS), *rows]) + "\n")
    return file


SALES = (
    "536365,22727,ALARM CLOCK,12,2010-03-01 08:26:00,3.75,17850,United Kingdom",
    "C536379,22727,ALARM CLOCK,-2,2010-03-09 09:41:00,3.75,17850,United Kingdom",
)


def test_a_sandbox_made_of_a_csv_reads_back_far_enough_and_lets_all_of_it_count(
    served: Callable[..., tuple[Result, Mapping[str, str | None]]], tmp_path: Path
) -> None:
    result, settings = served("--csv", str(write_csv(tmp_path / "sales.csv", *SALES)))

    assert "1 orders, 1 customers, 1 returns" in result.stderr
    assert ATTRIBUTION in result.stderr
    assert settings["SWAPSYNC_EFFECTS_FROM"] == "2010-03-01T08:26:00Z"
    assert int(settings["SWAPSYNC_HISTORY_DAYS"] or 0) > 365 * 10


def test_the_main_job_credits_what_a_csv_says_was_returned(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "sales.csv", *SALES)
    with serving(tmp_path, "sandbox", "--csv", str(file), ready="until Ctrl-C") as (_, printed):
        sourcing = re.search(r"set -a; .*; set \+a", "".join(printed))
        assert sourcing is not None
        in_shell = f"{sourcing[0]}; exec {shlex.join([*SWAPSYNC, 'sync'])}"
        done = subprocess.run(["/bin/sh", "-c", in_shell], cwd=tmp_path, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    polled = next(line.split() for line in done.stdout.splitlines() if line.startswith("poll_returns"))
    assert polled[:4] == ["poll_returns", "ok", "1", "1"]


def test_a_csv_that_cannot_be_read_is_one_line_that_says_where(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "odd.csv", "536365,22727,CLOCK,twelve,2010-03-01 08:26:00,3.75,17850,United Kingdom")

    with pytest.raises(UserError) as error:
        CliRunner().invoke(app, ["sandbox", "--csv", str(file)], catch_exceptions=False)

    assert "odd.csv, line 2: Quantity 'twelve'" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_csv_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--csv .*none\.csv: cannot be read"):
        CliRunner().invoke(app, ["sandbox", "--csv", str(tmp_path / "none.csv")], catch_exceptions=False)


def test_a_port_that_is_taken_is_named(served: Callable[..., object]) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {port}: Address already in use"):
            CliRunner().invoke(app, ["sandbox", "--empty", "--port", str(port)], catch_exceptions=False)


def test_an_empty_world_and_a_csv_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="exclude each other"):
        CliRunner().invoke(app, ["sandbox", "--empty", "--csv", str(tmp_path / "a.csv")], catch_exceptions=False)
