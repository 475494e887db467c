"""What the doctor finds, and the schema's upgrade. The doctor is run as a person runs it, by environment variables."""

import json
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect, select
from typer.testing import CliRunner, Result

from swapsync.cli import app
from swapsync.cli.context import UserError
from swapsync.sandbox.server import Sandbox
from swapsync.sandbox.world import World, purchase_row, return_line, return_row
from swapsync.store.db import HEAD, Store
from swapsync.store.runs import first_run, sites

Doctor = Callable[..., tuple[dict[tuple[str | None, str], dict[str, Any]], int]]

WRITING = {"PUT", "PATCH", "DELETE"}


@pytest.fixture
def world(world: World) -> World:
    """One readable return and order, changed an hour ago by this machine's clock."""
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    world.now = lambda: datetime.now(UTC)
    world.sparklayer.put_purchase(purchase_row("61001", "#1001", [], customer_id="c1", placed=hour_ago))
    world.swap.put_return(return_row("ret_1", "9001", "61001", "#1001", [return_line("MUG", 1)], created=hour_ago))
    return world


@pytest.fixture
def configured(
    server: Sandbox, world: World, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Sets the environment: the sandbox, an empty database, and whatever is given by its variable's name."""

    def configure(**settings: str) -> None:
        monkeypatch.chdir(tmp_path)
        environ = server.environment() | {"SWAPSYNC_DATABASE_URL": database_url, "SWAPSYNC_HTTP_TIMEOUT_SECONDS": "5"}
        for name, value in (environ | settings).items():
            monkeypatch.setenv(name, value)

    configure()
    return configure


@pytest.fixture
def doctor(configured: Callable[..., None]) -> Doctor:
    """Runs the doctor; gives its checks by (site, name), and its exit code."""

    def examine(*arguments: str, **settings: str) -> tuple[dict[tuple[str | None, str], dict[str, Any]], int]:
        configured(**settings)
        result = CliRunner().invoke(app, ["doctor", "--json", *arguments], catch_exceptions=False)
        checks = json.loads(result.stdout)["checks"]
        assert all(set(check) == {"site", "check", "status", "detail", "remedy"} for check in checks)
        assert all(check["remedy"] for check in checks if check["status"] == "problem")
        return {(check["site"], check["check"]): check for check in checks}, result.exit_code

    return examine


def statuses(checks: dict[tuple[str | None, str], dict[str, Any]]) -> dict[str, str]:
    return {name: check["status"] for (_, name), check in checks.items()}


def test_all_is_well_on_a_current_store_and_two_systems_that_answer(doctor: Doctor, store: Store) -> None:
    checks, exit_code = doctor()

    assert exit_code == 0
    assert set(statuses(checks).values()) == {"ok"}
    assert [name for _, name in checks] == [
        "settings",
        "database",
        "Swap",
        "SparkLayer",
        "orders",
        "stock locations",
        "clock",
        "cut-over",
    ]


def test_for_people_each_finding_has_its_remedy_below(configured: Callable[..., None], store: Store) -> None:
    configured(SWAPSYNC_DAMAGED_LOCATION="scrap")

    result = CliRunner().invoke(app, ["doctor"], catch_exceptions=False)

    assert result.exit_code == 1
    assert "PROBLEM" in result.stdout
    assert "SWAPSYNC_DAMAGED_LOCATION" in result.stdout
    assert "1 problem." in result.stdout


def test_the_doctor_writes_nothing_outside_and_nothing_in_the_store(
    doctor: Doctor, world: World, database_url: str
) -> None:
    doctor()

    assert [e for e in world.exchanges if e.method in WRITING] == []
    assert {e.path for e in world.exchanges if e.method == "POST"} <= {"/api/auth/token"}
    if database_url.startswith("sqlite"):
        assert not Path(database_url.removeprefix("sqlite:///")).exists()
    else:
        untouched = Store(database_url)
        assert inspect(untouched.engine).get_table_names() == []
        untouched.close()


def test_an_empty_database_says_who_will_create_the_schema(doctor: Doctor, database_url: str) -> None:
    checks, exit_code = doctor()

    database = checks[None, "database"]
    if database_url.startswith("sqlite"):
        assert (database["status"], exit_code) == ("ok", 0)
        assert "the first sync creates the schema" in database["detail"]
    else:
        assert (database["status"], exit_code) == ("problem", 1)
        assert database["remedy"] == "Run swapsync db upgrade."


def test_a_store_of_a_newer_version_is_a_problem(doctor: Doctor, store: Store) -> None:
    with store.transaction() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")

    checks, exit_code = doctor()

    assert exit_code == 1
    assert "9999" in checks[None, "database"]["detail"]
    assert checks["default", "cut-over"]["status"] == "warning"


def test_a_rejected_swap_key_is_named_by_its_setting_and_never_shown(doctor: Doctor, store: Store) -> None:
    checks, exit_code = doctor(SWAPSYNC_SWAP_API_KEY="wr0ng-key")

    assert exit_code == 1
    assert "SWAPSYNC_SWAP_API_KEY" in checks["default", "Swap"]["detail"]
    assert "wr0ng-key" not in json.dumps(list(checks.values()))
    assert statuses(checks)["SparkLayer"] == "ok"


def test_a_rejected_sparklayer_secret_leaves_what_needs_a_token_unchecked(doctor: Doctor, store: Store) -> None:
    checks, exit_code = doctor(SWAPSYNC_SPARKLAYER_CLIENT_SECRET="wr0ng-secret")

    assert exit_code == 1
    assert checks["default", "SparkLayer"]["status"] == "problem"
    assert [statuses(checks)[name] for name in ("orders", "stock locations")] == ["warning", "warning"]
    assert "wr0ng-secret" not in json.dumps(list(checks.values()))


def test_systems_that_cannot_be_reached_are_problems_and_are_tried_once(doctor: Doctor, store: Store) -> None:
    nobody = "http://127.0.0.1:1"
    checks, exit_code = doctor(SWAPSYNC_SWAP_BASE_URL=nobody, SWAPSYNC_SPARKLAYER_BASE_URL=nobody)

    assert exit_code == 1
    assert [statuses(checks)[name] for name in ("Swap", "SparkLayer")] == ["problem", "problem"]
    assert "not compared" in checks["default", "clock"]["detail"]


def test_a_store_without_returns_may_be_the_wrong_one(doctor: Doctor, world: World, store: Store) -> None:
    world.swap.delete_return("ret_1")

    checks, exit_code = doctor()

    assert exit_code == 0
    assert checks["default", "Swap"]["status"] == "warning"
    assert "swap_store_id" in checks["default", "Swap"]["remedy"]


def test_a_row_that_cannot_be_read_is_a_warning_not_a_problem(doctor: Doctor, world: World, store: Store) -> None:
    odd = return_row("ret_2", "9002", "61001", "#1001", [return_line("MUG", 1, item_count="three")])
    world.swap.put_return(odd, malformed=True)

    checks, exit_code = doctor()

    assert exit_code == 0
    assert "1 of the 2 looked at can't be read" in checks["default", "Swap"]["detail"]


def test_a_stock_location_that_is_not_there_is_a_problem(doctor: Doctor, store: Store) -> None:
    checks, exit_code = doctor(SWAPSYNC_INSPECTION_LOCATION="quarantine")

    locations = checks["default", "stock locations"]
    assert (locations["status"], exit_code) == ("problem", 1)
    assert "'quarantine' (inspection_location)" in locations["detail"]
    assert "'inspection'" in locations["detail"]
    assert "SWAPSYNC_INSPECTION_LOCATION" in locations["remedy"]


def test_where_the_platform_owns_stock_no_location_is_asked_for(doctor: Doctor, world: World, store: Store) -> None:
    checks, exit_code = doctor(SWAPSYNC_STOCK_PATH="none", SWAPSYNC_INSPECTION_LOCATION="quarantine")

    assert (statuses(checks)["stock locations"], exit_code) == ("ok", 0)
    assert world.calls("GET", "stock-locations") == []


def test_a_remote_change_in_the_future_says_that_this_clock_is_slow(doctor: Doctor, world: World, store: Store) -> None:
    world.swap.change_return("ret_1", date_updated=(datetime.now(UTC) + timedelta(hours=2)).isoformat())

    checks, exit_code = doctor()

    assert (statuses(checks)["clock"], exit_code) == ("warning", 0)


def test_a_cut_over_that_differs_from_the_fixed_one_is_a_warning_that_the_fixed_one_counts(
    doctor: Doctor, store: Store
) -> None:
    fixed = datetime(2026, 3, 1, tzinfo=UTC)
    with store.transaction() as connection:
        first_run(connection, "default", fixed, fixed)

    same, _ = doctor(SWAPSYNC_EFFECTS_FROM="2026-03-01T01:00:00+01:00")
    moved, exit_code = doctor(SWAPSYNC_EFFECTS_FROM="2026-02-01T00:00:00Z")

    assert same["default", "cut-over"]["status"] == "ok"
    assert (moved["default", "cut-over"]["status"], exit_code) == ("warning", 0)
    assert "2026-03-01T00:00:00Z in the store, which counts" in moved["default", "cut-over"]["detail"]
    with store.reading() as connection:
        assert connection.execute(select(sites.c.effects_from)).scalar_one() == fixed


def test_a_setting_that_does_not_exist_is_a_warning(doctor: Doctor, store: Store) -> None:
    checks, exit_code = doctor(SWAPSYNC_SETTLE_ONN="inspected")

    assert exit_code == 0
    assert checks[None, "settings"]["status"] == "warning"
    assert "SWAPSYNC_SETTLE_ONN" in checks[None, "settings"]["detail"]


@pytest.fixture
def second_site(tmp_path: Path, server: Sandbox) -> Callable[..., None]:
    """Describes a further site, `other`, in the TOML, by default on the same accounts."""

    def describe(swap_store: str = "store_demo_01", sparklayer_site: str = "northgate-trade") -> None:
        (tmp_path / "config").mkdir(exist_ok=True)
        (tmp_path / "config" / "swapsync.toml").write_text(
            f"""
            [sites.other]
            swap_base_url = "{server.swap_url}"
            swap_store_id = "{swap_store}"
            swap_api_key_env = "OTHER_SWAP_KEY"
            sparklayer_base_url = "{server.sparklayer_url}/"
            sparklayer_site_id = "{sparklayer_site}"
            sparklayer_client_id = "other"
            sparklayer_client_secret_env = "OTHER_SPARKLAYER_SECRET"
            """
        )

    return describe


OTHER = {"OTHER_SWAP_KEY": "other-key", "OTHER_SPARKLAYER_SECRET": "other-secret"}


def test_two_sites_on_one_account_are_a_problem_also_when_only_one_is_asked_for(
    doctor: Doctor, store: Store, second_site: Callable[..., None]
) -> None:
    second_site(swap_store="another")

    checks, exit_code = doctor("--site", "default", **OTHER)

    assert exit_code == 1
    assert checks[None, "settings"]["status"] == "problem"
    assert 'SPARKLAYER_SITE_ID is the same for the sites "other" and "default"' in checks[None, "settings"]["detail"]
    with pytest.raises(UserError, match="is the same for the sites"):
        doctor(**OTHER)


def test_one_sites_trouble_is_that_sites_alone(doctor: Doctor, store: Store, second_site: Callable[..., None]) -> None:
    second_site(swap_store="another", sparklayer_site="another")

    checks, exit_code = doctor(**OTHER)

    assert exit_code == 1
    assert checks["other", "Swap"]["status"] == "problem"
    assert checks["default", "Swap"]["status"] == "ok"


def test_a_missing_setting_ends_the_doctor_before_any_call(
    configured: Callable[..., None], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SWAPSYNC_SWAP_API_KEY")

    with pytest.raises(UserError, match="SWAPSYNC_SWAP_API_KEY is not set"):
        CliRunner().invoke(app, ["doctor"], catch_exceptions=False)

    assert world.exchanges == []


# -- the schema ------------------------------------------------------------------------------------------------------


def upgraded() -> Result:
    return CliRunner().invoke(app, ["db", "upgrade"], catch_exceptions=False)


def test_db_upgrade_says_from_where_to_where_and_the_second_time_that_there_is_nothing_to_do(
    configured: Callable[..., None], database_url: str
) -> None:
    first, second = upgraded(), upgraded()

    assert first.stdout == f"The schema went from empty to revision {HEAD}.\n"
    assert second.stdout == f"The schema is at revision {HEAD} already.\n"
    current = Store(database_url)
    assert current.revision() == HEAD
    current.close()


def test_db_upgrade_needs_no_site(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SWAPSYNC_DATABASE_URL", database_url)

    assert upgraded().exit_code == 0


def test_a_newer_store_is_left_alone(configured: Callable[..., None], store: Store) -> None:
    with store.transaction() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(UserError, match="install a newer swapsync"):
        upgraded()


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("postgresql+psycopg://clerk:s3cret@127.0.0.1:1/books", "Connection refused"),
        ("postgresql+psycopg://clerk:s3@cret@127.0.0.1:1/books", "write @ as %40"),
        ("postgresql+psycopg://clerk:s3cret@db.example:5432x/books", "not a database URL"),
        ("postgresql+psycopg://clerk:s3cret@127.0.0.1:1/books?bogus=1", "bogus"),
        ("sqlite:///no/such/folder/books.db", "unable to open database file"),
        ("sqlite:///garbage.db", "file is not a database"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_line_that_names_the_setting_and_no_password(
    url: str, complaint: str, configured: Callable[..., None], tmp_path: Path
) -> None:
    (tmp_path / "garbage.db").write_bytes(b"these are not the tables you are looking for" * 100)
    configured(SWAPSYNC_DATABASE_URL=url)

    with pytest.raises(UserError) as error:
        upgraded()
    examined = CliRunner().invoke(app, ["doctor", "--json"], catch_exceptions=False)

    line = str(error.value)
    assert line.startswith("SWAPSYNC_DATABASE_URL: ")
    assert complaint in line
    assert "\n" not in line
    assert "cret" not in line + examined.stdout
    database = next(check for check in json.loads(examined.stdout)["checks"] if check["check"] == "database")
    assert (database["status"], examined.exit_code) == ("problem", 1)


def test_a_schema_that_may_not_be_changed_is_said_in_one_line(configured: Callable[..., None], tmp_path: Path) -> None:
    file = tmp_path / "half.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE site (slug TEXT)")
    connection.close()
    configured(SWAPSYNC_DATABASE_URL=f"sqlite:///{file}")

    with pytest.raises(UserError, match="the schema can't be upgraded: table site already exists"):
        upgraded()
