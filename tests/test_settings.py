import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from apscheduler.triggers.cron import CronTrigger
from pydantic import SecretStr

from swapsync.settings import (
    DEFAULT_PAYMENT_ROUTES,
    DEFAULT_SCHEDULE,
    JOBS,
    SETTINGS,
    Settings,
    SettingsError,
    SiteSettings,
    load_settings,
    settings_reference,
)

ROOT = Path(__file__).parents[1]

CREDENTIALS = {
    "SWAPSYNC_SWAP_API_KEY": "swap-key-7f3a",
    "SWAPSYNC_SWAP_STORE_ID": "store-1",
    "SWAPSYNC_SPARKLAYER_SITE_ID": "site-1",
    "SWAPSYNC_SPARKLAYER_CLIENT_ID": "client-1",
    "SWAPSYNC_SPARKLAYER_CLIENT_SECRET": "spark-secret-9c1e",
}
ACME = """
[sites.acme]
swap_store_id = "00123"
swap_api_key_env = "ACME_SWAP_KEY"
sparklayer_site_id = "acme-trade"
sparklayer_client_id = "acme-client"
sparklayer_client_secret_env = "ACME_SPARKLAYER_SECRET"
"""
ACME_SECRETS = {"ACME_SWAP_KEY": "acme-key-55d0", "ACME_SPARKLAYER_SECRET": "acme-secret-e2b8"}
BOLT = ACME.replace("acme", "bolt").replace("ACME", "BOLT").replace("00123", "00456")
BOLT_SECRETS = {"BOLT_SWAP_KEY": "bolt-key", "BOLT_SPARKLAYER_SECRET": "bolt-secret"}
SECRETS = [
    *(value for name, value in CREDENTIALS.items() if name.endswith(("_KEY", "_SECRET"))),
    *ACME_SECRETS.values(),
]

Load = Callable[..., Settings]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads from a fresh directory with the given TOML and `.env`; credentials of one site stand in the environment."""

    def run(
        environ: Mapping[str, str] | None = None,
        *,
        toml: str = "",
        dotenv: str = "",
        credentials: Mapping[str, str] = CREDENTIALS,
        **options: Any,
    ) -> Settings:
        if toml:
            (tmp_path / "config").mkdir(exist_ok=True)
            (tmp_path / "config/swapsync.toml").write_text(toml, encoding="utf-8")
        if dotenv:
            (tmp_path / ".env").write_text(dotenv, encoding="utf-8")
        return load_settings({**credentials, **(environ or {})}, tmp_path, **options)

    return run


@pytest.fixture
def load_acme(load: Load) -> Load:
    """Loads the site acme, which the TOML describes, with the given lines added to its section."""

    def run(lines: str = "", environ: Mapping[str, str] | None = None, **options: Any) -> Settings:
        return load(environ, toml=ACME + lines, credentials=ACME_SECRETS, **options)

    return run


def refusal(call: Callable[..., object], *args: Any, **kwargs: Any) -> str:
    """The message of the SettingsError that the call must raise: one line, and no secret in it."""
    with pytest.raises(SettingsError) as raised:
        call(*args, **kwargs)
    message = str(raised.value)
    assert len(message.splitlines()) == 1
    assert not [secret for secret in SECRETS if secret in message]
    return message


# ---- Defaults


def test_credentials_alone_describe_the_site_default_with_the_promised_defaults(load: Load) -> None:
    settings = load()
    assert [site.slug for site in settings.sites] == ["default"]
    assert settings.database_url.get_secret_value() == "sqlite:///swapsync.db"
    assert (settings.log_level, settings.log_format, settings.warnings) == ("INFO", "text", ())
    site = settings.site("default")
    assert site.swap_base_url == "https://api-gateway.swap-os.com/returns-api"
    assert site.sparklayer_base_url == "https://app.sparklayer.io"
    assert (site.swap_requests_per_minute, site.sparklayer_requests_per_minute) == (60, 300)
    assert (site.http.timeout_seconds, site.http.max_attempts, site.http.backoff_seconds) == (30, 5, 1)
    assert site.sparklayer_created_by == "swapsync"
    assert (site.history_days, site.overlap_seconds) == (365, 600)
    assert (site.inspection_location, site.sellable_location, site.damaged_location) == (
        "inspection",
        "default",
        "damaged",
    )
    assert (site.stock_path, site.settle_on, site.restock_on) == ("sparklayer", "swap_closed", "inspected")
    assert (site.uses_swap_qc, site.effects_from, site.po_required) == (True, None, False)


def test_policies_of_the_toml_have_defaults_too(load: Load) -> None:
    site = load().site("default")
    assert site.payment_routes == {"onaccount": "credit_note", "invoice": "credit_note", "platformupfront": "gateway"}
    assert (site.amount_tolerance, site.amount_tolerance_percent) == (Decimal("0.05"), Decimal(1))
    assert (site.credit_note_prefix, site.swap_qc_updates, site.naive_timezone) == ("CN-", False, None)
    assert (site.push_credits, site.push_restocks, site.push_status) == (True, True, True)
    assert site.schedule == {
        "poll_returns": 300,
        "poll_orders": 300,
        "poll_skus": 3600,
        "reconcile": 300,
        "push_credits": 300,
        "push_restocks": 600,
        "push_status": 600,
    }


def test_jobs_stand_in_the_order_of_a_cycle() -> None:
    assert JOBS == (
        "poll_returns",
        "poll_orders",
        "poll_skus",
        "reconcile",
        "push_credits",
        "push_restocks",
        "push_status",
    )


@pytest.mark.parametrize(
    ("key", "contract"), [("swap_base_url", "swap"), ("sparklayer_base_url", "sparklayer")], ids=["swap", "sparklayer"]
)
def test_default_hosts_are_those_of_the_contracts(load: Load, key: str, contract: str) -> None:
    servers = yaml.safe_load((ROOT / f"swapsync/contracts/{contract}.openapi.yaml").read_text("utf-8"))["servers"]
    assert getattr(load().site("default"), key) == servers[0]["url"]


def test_settings_are_frozen(load: Load) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().site("default").po_required = True


# ---- Precedence


def test_command_line_beats_environment_beats_dotenv_beats_toml_beats_default(load: Load) -> None:
    variable, toml = "SWAPSYNC_HISTORY_DAYS", "[defaults]\nhistory_days = 1\n"
    dotenv = f"{variable}=2\n"
    assert load(toml=toml).sites[0].history_days == 1
    assert load(toml=toml, dotenv=dotenv).sites[0].history_days == 2
    assert load({variable: "3"}).sites[0].history_days == 3
    assert load({variable: "3"}, overrides={variable: "4"}).sites[0].history_days == 4


def test_a_sites_own_key_beats_the_defaults_of_the_toml(load: Load) -> None:
    toml = "[defaults]\nhistory_days = 1\noverlap_seconds = 7\n" + ACME + "history_days = 2\n"
    site = load(toml=toml, credentials=ACME_SECRETS).site("acme")
    assert (site.history_days, site.overlap_seconds) == (2, 7)


def test_an_empty_variable_counts_as_not_set(load: Load) -> None:
    variables = {"SWAPSYNC_HISTORY_DAYS": "", "SWAPSYNC_CONFIG": "", "SWAPSYNC_SITE": ""}
    settings = load(variables, dotenv="SWAPSYNC_HISTORY_DAYS=2\n", overrides={"SWAPSYNC_HISTORY_DAYS": ""})
    assert (settings.sites[0].slug, settings.sites[0].history_days) == ("default", 2)


def test_an_empty_credential_is_missing(load: Load) -> None:
    assert "SWAPSYNC_SWAP_STORE_ID is not set" in refusal(load, {"SWAPSYNC_SWAP_STORE_ID": ""})


def test_dotenv_is_read_literally_and_leaves_the_environment_alone(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME_OF_TEST", "expanded")
    monkeypatch.delenv("SWAPSYNC_SPARKLAYER_CREATED_BY", raising=False)
    settings = load(dotenv="SWAPSYNC_SPARKLAYER_CREATED_BY='a${HOME_OF_TEST}$b'\n")
    assert settings.sites[0].sparklayer_created_by == "a${HOME_OF_TEST}$b"
    assert "SWAPSYNC_SPARKLAYER_CREATED_BY" not in os.environ


def test_files_saved_with_a_byte_order_mark_are_read(load: Load) -> None:
    settings = load(dotenv="\ufeffSWAPSYNC_HISTORY_DAYS=2\n", toml="\ufeff[defaults]\noverlap_seconds = 5\n")
    assert (settings.sites[0].history_days, settings.sites[0].overlap_seconds) == (2, 5)


# ---- Sites


def test_several_sites_come_from_the_toml_in_its_order(load: Load) -> None:
    settings = load(toml=BOLT + ACME, credentials={**ACME_SECRETS, **BOLT_SECRETS})
    assert [(site.slug, site.swap_store_id) for site in settings.sites] == [("bolt", "00456"), ("acme", "00123")]
    assert settings.site("bolt").swap_api_key.get_secret_value() == "bolt-key"
    assert settings.site("acme").sparklayer_client_secret.get_secret_value() == "acme-secret-e2b8"


def test_the_environment_describes_the_site_that_swapsync_site_names(load: Load) -> None:
    assert [site.slug for site in load({"SWAPSYNC_SITE": "acme"}).sites] == ["acme"]


def test_with_swapsync_site_the_environment_merges_over_that_section_alone(load: Load) -> None:
    settings = load(
        {"SWAPSYNC_SITE": "acme", "SWAPSYNC_SWAP_STORE_ID": "changed", "SWAPSYNC_SETTLE_ON": "inspected"},
        toml=ACME + BOLT,
        credentials={**ACME_SECRETS, **BOLT_SECRETS},
    )
    assert [(s.slug, s.swap_store_id, s.settle_on) for s in settings.sites] == [
        ("acme", "changed", "inspected"),
        ("bolt", "00456", "swap_closed"),
    ]


def test_with_swapsync_site_the_environment_may_add_a_site_to_those_of_the_toml(load: Load) -> None:
    settings = load({**ACME_SECRETS, "SWAPSYNC_SITE": "new"}, toml=ACME)
    assert [site.slug for site in settings.sites] == ["acme", "new"]


def test_connection_variables_beside_a_toml_with_sites_describe_the_additional_site_default(load: Load) -> None:
    settings = load({**ACME_SECRETS, "SWAPSYNC_SWAP_BASE_URL": "https://swap.example"}, toml=ACME)
    assert [(site.slug, site.swap_store_id) for site in settings.sites] == [("acme", "00123"), ("default", "store-1")]
    assert settings.site("default").swap_base_url == "https://swap.example"
    assert settings.site("acme").swap_base_url == "https://api-gateway.swap-os.com/returns-api"


def test_connection_variables_merge_over_a_section_called_default(load: Load) -> None:
    toml = ACME + '[sites.default]\nswap_store_id = "from-file"\nhistory_days = 9\n'
    settings = load(ACME_SECRETS, toml=toml)
    assert [site.slug for site in settings.sites] == ["acme", "default"]
    assert (settings.site("default").swap_store_id, settings.site("default").history_days) == ("store-1", 9)


def test_a_connection_variable_that_the_toml_points_to_describes_no_further_site(load: Load) -> None:
    toml = ACME.replace("ACME_SWAP_KEY", "SWAPSYNC_SWAP_API_KEY")
    settings = load(toml=toml, credentials={**ACME_SECRETS, "SWAPSYNC_SWAP_API_KEY": "shared"})
    assert [(s.slug, s.swap_api_key.get_secret_value()) for s in settings.sites] == [("acme", "shared")]


def test_policy_variables_beat_the_toml_for_every_site(load: Load) -> None:
    policies = {
        "SWAPSYNC_SETTLE_ON": "inspected",
        "SWAPSYNC_HTTP_MAX_ATTEMPTS": "2",
        "SWAPSYNC_SWAP_REQUESTS_PER_MINUTE": "0",
    }
    toml = ACME + 'settle_on = "swap_closed"\nhttp_timeout_seconds = 7\n' + BOLT
    settings = load(policies, toml=toml, credentials={**ACME_SECRETS, **BOLT_SECRETS})
    assert [(s.slug, s.settle_on, s.http.max_attempts, s.swap_requests_per_minute) for s in settings.sites] == [
        ("acme", "inspected", 2, 0),
        ("bolt", "inspected", 2, 0),
    ]
    assert settings.site("acme").http.timeout_seconds == 7


def test_shared_values_of_the_toml_hold_for_the_site_of_the_environment(load: Load) -> None:
    assert load(toml='[defaults]\ncredit_note_prefix = "R"\n').site("default").credit_note_prefix == "R"


def test_naming_a_site_narrows_to_it_and_asks_for_no_other_sites_credentials(load: Load) -> None:
    assert [s.slug for s in load(toml=ACME + BOLT, credentials=ACME_SECRETS, site="acme").sites] == ["acme"]


def test_an_unknown_site_is_refused_with_the_known_ones(load_acme: Load) -> None:
    assert refusal(load_acme, site="acne") == "site 'acne' is unknown; known: acme"
    assert refusal(load_acme().site, "acne") == "site 'acne' is unknown; known: acme"


@pytest.mark.parametrize("slug", ["Acme", "-acme", "a cme", "ac/me", "acmé"])
def test_a_slug_is_lower_case_letters_digits_underscore_and_hyphen(load: Load, slug: str) -> None:
    assert refusal(load, {"SWAPSYNC_SITE": slug}).startswith(f"SWAPSYNC_SITE has the slug {slug!r}: a slug is")


# ---- Credentials


@pytest.mark.parametrize("variable", CREDENTIALS)
def test_each_missing_credential_is_named_with_its_site_and_meaning(load: Load, variable: str) -> None:
    others = {name: value for name, value in CREDENTIALS.items() if name != variable}
    meaning = next(doc.meaning for doc in SETTINGS if doc.variable == variable)
    assert refusal(load, credentials=others) == f'{variable} is not set (site "default"): {meaning}'


def test_a_missing_api_key_says_where_to_find_one(load: Load) -> None:
    assert refusal(load, credentials={}) == (
        'SWAPSYNC_SWAP_API_KEY is not set (site "default"): the API key of the Swap dashboard, Returns > Integrations'
    )


def test_a_secret_that_the_toml_points_to_is_missing_by_the_name_it_points_to(load: Load) -> None:
    message = refusal(load, toml=ACME, credentials={"ACME_SWAP_KEY": "k"})
    assert message.startswith('ACME_SPARKLAYER_SECRET is not set (site "acme"): the Client Secret')


def test_what_a_section_of_the_toml_lacks_is_named_by_its_key(load: Load) -> None:
    toml = '[sites.acme]\nswap_api_key_env = "ACME_SWAP_KEY"\n'
    message = refusal(load, toml=toml, credentials=ACME_SECRETS)
    assert message == 'sites.acme.swap_store_id is not set (site "acme"): the store id issued by Swap'


@pytest.mark.parametrize("name", ["SWAPSYNC_SWAP_API_KEY", "SWAPSYNC_SPARKLAYER_CLIENT_SECRET"])
def test_a_secret_may_stand_in_a_file(load: Load, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("from-file\n")
    others = {key: value for key, value in CREDENTIALS.items() if key != name}
    settings = load({f"{name}_FILE": "secret"}, credentials=others)
    secret: SecretStr = getattr(settings.sites[0], name.removeprefix("SWAPSYNC_").lower())
    assert secret.get_secret_value() == "from-file"
    assert settings.warnings == ()


def test_a_database_url_may_stand_in_a_file(load: Load, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://u:p@db/x\n")
    settings = load({"SWAPSYNC_DATABASE_URL_FILE": str(tmp_path / "url")})
    assert settings.database_url.get_secret_value() == "postgresql+psycopg://u:p@db/x"


def test_a_secret_that_the_toml_points_to_may_stand_in_a_file(load: Load, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("acme-key-55d0")
    variables = {"ACME_SWAP_KEY_FILE": "key", "ACME_SPARKLAYER_SECRET": "s"}
    site = load(toml=ACME, credentials=variables).site("acme")
    assert site.swap_api_key.get_secret_value() == "acme-key-55d0"


def test_a_secret_in_the_environment_beats_a_secret_file_named_in_dotenv(load: Load) -> None:
    site = load(dotenv="SWAPSYNC_SWAP_API_KEY_FILE=absent\n").site("default")
    assert site.swap_api_key.get_secret_value() == "swap-key-7f3a"


def test_a_secret_given_twice_in_one_place_is_refused(load: Load) -> None:
    message = refusal(load, {"SWAPSYNC_SWAP_API_KEY_FILE": "x"})
    assert message == "SWAPSYNC_SWAP_API_KEY and SWAPSYNC_SWAP_API_KEY_FILE are both set: keep one of them"


def test_an_unreadable_secret_file_is_named_by_its_variable_never_by_its_path(load: Load, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    variable, others = "SWAPSYNC_SWAP_API_KEY_FILE", {k: v for k, v in CREDENTIALS.items() if "API_KEY" not in k}
    mistaken = refusal(load, {variable: "swap-key-7f3a"}, credentials=others)
    assert mistaken == f"{variable} names a file that can't be read: No such file or directory"
    assert refusal(load, {variable: "empty"}, credentials=others) == f"{variable} names an empty file"
    assert refusal(load, {variable: "binary"}, credentials=others) == f"{variable} names a file that is not UTF-8 text"


@pytest.mark.parametrize("key", ["swap_api_key", "sparklayer_client_secret"])
@pytest.mark.parametrize("section", ["defaults", "sites.acme"])
def test_a_secret_in_the_toml_is_refused_with_the_key_to_use(load: Load, section: str, key: str) -> None:
    message = refusal(load, toml=f'[{section}]\n{key} = "swap-key-7f3a"\n')
    assert message.startswith(f"{section}.{key} in config/swapsync.toml: a secret does not belong in this file")
    assert message.endswith(f"{key}_env")


def test_a_secret_put_where_a_variables_name_belongs_is_not_repeated(load: Load) -> None:
    message = refusal(load, toml='[sites.acme]\nswap_api_key_env = "swap-key-7f3a"\n')
    assert "sites.acme.swap_api_key_env" in message
    assert "the name of an environment variable" in message


@pytest.mark.parametrize("secret", ["with space-swap-key-7f3a", "swap-key-7f3a\nsecond", "swap-key-7f3aé", " "])
def test_a_secret_that_no_header_can_carry_is_refused_and_not_repeated(load: Load, secret: str) -> None:
    message = refusal(load, {"SWAPSYNC_SWAP_API_KEY": secret})
    assert message.startswith("SWAPSYNC_SWAP_API_KEY must be printable ASCII")


def test_no_secret_shows_in_the_printed_settings(load: Load) -> None:
    settings = load({"SWAPSYNC_DATABASE_URL": "postgresql://u:db-password-1@h/x"})
    shown = f"{settings!r} {settings} {settings.model_dump_json()}"
    assert not [secret for secret in (*SECRETS, "db-password-1") if secret in shown]


def test_no_secret_shows_when_a_site_is_built_directly_from_wrong_values() -> None:
    with pytest.raises(ValueError, match="2 validation errors") as raised:
        SiteSettings(
            slug="a",
            swap_api_key=SecretStr("swap-key-7f3a\n-"),
            swap_store_id="s",
            sparklayer_site_id="s",
            sparklayer_client_id="c",
            sparklayer_client_secret=SecretStr("spark secret-9c1e"),
        )
    assert "7f3a" not in str(raised.value)
    assert "9c1e" not in str(raised.value)


# ---- Commands that need only the store


def test_without_required_sites_nothing_needs_to_be_set(load: Load) -> None:
    settings = load(credentials={}, require_sites=False)
    assert settings.sites == ()
    assert settings.database_url.get_secret_value() == "sqlite:///swapsync.db"


def test_without_required_sites_an_incomplete_site_is_left_out_and_still_a_known_slug(load: Load) -> None:
    settings = load(toml=ACME + BOLT, credentials=ACME_SECRETS, require_sites=False)
    assert [site.slug for site in settings.sites] == ["acme"]
    assert load(toml=ACME + BOLT, credentials=ACME_SECRETS, require_sites=False, site="bolt").sites == ()


def test_without_required_sites_a_malformed_value_is_still_refused(load: Load) -> None:
    for wrong in (
        {"SWAPSYNC_SETTLE_ON": "x"},
        {"SWAPSYNC_DAMAGED_LOCATION": "default"},
        {"SWAPSYNC_SWAP_API_KEY": "é"},
    ):
        assert next(iter(wrong)) in refusal(load, wrong, credentials={}, require_sites=False)


# ---- Validation


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("SETTLE_ON", "closed", "must be 'swap_closed' or 'inspected', not 'closed'"),
        ("RESTOCK_ON", "swap_closed", "must be 'inspected' or 'swap_approved', not 'swap_closed'"),
        ("STOCK_PATH", "shopify", "must be 'sparklayer' or 'none', not 'shopify'"),
        ("USES_SWAP_QC", "maybe", "must be true or false, not 'maybe'"),
        ("PO_REQUIRED", "2", "must be true or false, not '2'"),
        ("HISTORY_DAYS", "a year", "must be a whole number, not 'a year'"),
        ("HISTORY_DAYS", "1.5", "must be a whole number, not '1.5'"),
        ("HISTORY_DAYS", "-1", "must be greater than or equal to 0, not '-1'"),
        ("HISTORY_DAYS", "40000", "must be less than or equal to 36500, not '40000'"),
        ("OVERLAP_SECONDS", "-1", "must be greater than or equal to 0, not '-1'"),
        ("SWAP_REQUESTS_PER_MINUTE", "-1", "must be greater than or equal to 0, not '-1'"),
        ("SPARKLAYER_REQUESTS_PER_MINUTE", "fast", "must be a whole number, not 'fast'"),
        ("HTTP_MAX_ATTEMPTS", "0", "must be greater than or equal to 1, not '0'"),
        ("HTTP_TIMEOUT_SECONDS", "0", "must be greater than 0, not '0'"),
        ("HTTP_TIMEOUT_SECONDS", "inf", "must be a finite number, not 'inf'"),
        ("HTTP_BACKOFF_SECONDS", "soon", "must be a number, not 'soon'"),
        ("HTTP_BACKOFF_SECONDS", "-0.1", "must be greater than or equal to 0, not '-0.1'"),
        ("SWAP_STORE_ID", "  ", "must not be blank"),
        ("SPARKLAYER_SITE_ID", "two words", "must be printable ASCII without spaces or line breaks, and not blank"),
        ("SPARKLAYER_CREATED_BY", "a\x1b[31m", "must be one line of printable text"),
        ("SELLABLE_LOCATION", " ", "must not be blank"),
        ("EFFECTS_FROM", "2026-01-01T00:00:00", "needs a zone, such as Z or +01:00: '2026-01-01T00:00:00'"),
        ("EFFECTS_FROM", "2026-01-01", "needs a zone, such as Z or +01:00: '2026-01-01'"),
        ("EFFECTS_FROM", "January", "must be an ISO 8601 moment, not 'January'"),
        ("EFFECTS_FROM", "0001-01-01T00:00:00+14:00", "must be an ISO 8601 moment, not '0001-01-01T00:00:00+14:00'"),
    ],
)
def test_a_malformed_variable_is_named_with_what_is_wrong(load: Load, variable: str, value: str, problem: str) -> None:
    assert refusal(load, {f"SWAPSYNC_{variable}": value}) == f'SWAPSYNC_{variable} {problem} (site "default")'


def test_a_malformed_log_setting_lists_the_values_there_are(load: Load) -> None:
    assert refusal(load, {"SWAPSYNC_LOG_FORMAT": "xml"}) == "SWAPSYNC_LOG_FORMAT must be 'text' or 'json', not 'xml'"
    assert "'DEBUG', 'INFO'" in refusal(load, {"SWAPSYNC_LOG_LEVEL": "loud"})
    assert load({"SWAPSYNC_LOG_LEVEL": "debug", "SWAPSYNC_LOG_FORMAT": "json"}).log_level == "DEBUG"


def test_a_malformed_key_of_the_toml_is_named_with_its_section_and_file(load_acme: Load, load: Load) -> None:
    assert refusal(load_acme, 'settle_on = "x"\n') == (
        "sites.acme.settle_on in config/swapsync.toml must be 'swap_closed' or 'inspected', not 'x' (site \"acme\")"
    )
    assert refusal(load, toml='[defaults]\nhistory_days = "x"\n').startswith(
        "defaults.history_days in config/swapsync.toml must be a whole number"
    )


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("history_days = 1.5", "history_days in config/swapsync.toml must be a whole number, not '1.5'"),
        ("history_days = true", "history_days in config/swapsync.toml must be a whole number, not True"),
        ("history_days = 1e999999999999999", "history_days in config/swapsync.toml must be a whole number, not '1E+9"),
        ("http_timeout_seconds = true", "http_timeout_seconds in config/swapsync.toml must be a number, not true or"),
        ("http_timeout_seconds = inf", "http_timeout_seconds in config/swapsync.toml must be a finite number"),
        ("amount_tolerance = -1", "amount_tolerance in config/swapsync.toml must be greater than or equal to 0"),
        ("amount_tolerance = inf", "amount_tolerance in config/swapsync.toml must be a finite number"),
        ("sparklayer_created_by = 5", "sparklayer_created_by in config/swapsync.toml must be text, in quotes, not 5"),
        ("effects_from = 2026-01-01", "effects_from in config/swapsync.toml must be an ISO 8601 moment with a zone"),
        ("effects_from = 2026-01-01T00:00:00", "effects_from in config/swapsync.toml needs a zone"),
        ('naive_timezone = "Mars/Base"', "naive_timezone in config/swapsync.toml must be an IANA time zone"),
        ('naive_timezone = "../etc"', "naive_timezone in config/swapsync.toml must be an IANA time zone"),
        ('credit_note_prefix = ""', "credit_note_prefix in config/swapsync.toml must not be blank"),
        ("schedule = 5", "schedule in config/swapsync.toml must be a table"),
        ("payment_routes = 5", "payment_routes in config/swapsync.toml must be a table"),
    ],
)
def test_a_value_of_the_wrong_type_in_the_toml_is_refused(load_acme: Load, line: str, problem: str) -> None:
    assert refusal(load_acme, line).startswith(f"sites.acme.{problem}")


@pytest.mark.parametrize("text", ["true", "1", "yes", "TRUE", "Yes"])
def test_booleans_are_true_one_or_yes(load: Load, text: str) -> None:
    assert load({"SWAPSYNC_PO_REQUIRED": text}).sites[0].po_required is True


@pytest.mark.parametrize("text", ["false", "0", "no", "False", "NO"])
def test_booleans_are_false_zero_or_no(load: Load, text: str) -> None:
    assert load({"SWAPSYNC_USES_SWAP_QC": text}).sites[0].uses_swap_qc is False


def test_a_backoff_may_be_a_fraction_of_a_second(load: Load) -> None:
    assert load({"SWAPSYNC_HTTP_BACKOFF_SECONDS": "0.25"}).sites[0].http.backoff_seconds == 0.25


def test_the_cut_over_is_held_in_utc(load: Load, load_acme: Load) -> None:
    expected = datetime(2026, 1, 31, 23, 0, tzinfo=UTC)
    from_environment = load({"SWAPSYNC_EFFECTS_FROM": "2026-02-01T00:00:00+01:00"}).sites[0].effects_from
    from_toml = load_acme("effects_from = 2026-01-31T23:00:00Z\n", site="acme").sites[0].effects_from
    assert from_environment == from_toml == expected
    assert from_environment.utcoffset() == expected.utcoffset()


@pytest.mark.parametrize(
    ("variable", "other"),
    [("SELLABLE", "inspection"), ("DAMAGED", "inspection"), ("DAMAGED", "default")],
)
def test_no_two_stock_locations_are_the_same(load: Load, variable: str, other: str) -> None:
    message = refusal(load, {f"SWAPSYNC_{variable}_LOCATION": other})
    assert message.startswith(f"SWAPSYNC_{variable}_LOCATION is {other!r}, and so is ")


def test_a_location_that_meets_anothers_default_is_refused_too(load: Load) -> None:
    message = refusal(load, {"SWAPSYNC_INSPECTION_LOCATION": "default"})
    assert message == (
        "SWAPSYNC_SELLABLE_LOCATION is 'default', and so is inspection_location: the three locations must differ"
        ' (site "default")'
    )


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("https://swap.example/api/", "https://swap.example/api"),
        ("https://swap.example:8443", "https://swap.example:8443"),
        ("http://127.0.0.1:8001/", "http://127.0.0.1:8001"),
        ("http://localhost:8001", "http://localhost:8001"),
        ("http://[::1]:8001", "http://[::1]:8001"),
    ],
)
def test_base_urls_lose_their_trailing_slash_and_may_be_plain_http_on_loopback(
    load: Load, url: str, clean: str
) -> None:
    site = load({"SWAPSYNC_SWAP_BASE_URL": url, "SWAPSYNC_SPARKLAYER_BASE_URL": url}).sites[0]
    assert (site.swap_base_url, site.sparklayer_base_url) == (clean, clean)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://swap.example", "must use https: without TLS only a loopback host is accepted"),
        ("http://127.0.0.1.swap.example", "must use https: without TLS only a loopback host is accepted"),
        ("ftp://swap.example", "must be an absolute https:// URL"),
        ("swap.example/api", "must be an absolute https:// URL"),
        ("https://", "must be an absolute https:// URL"),
        ("https://swap.example/a b", "must be an absolute https:// URL"),
        ("https://user:swap-key-7f3a@swap.example", "must not carry credentials in the URL"),
        ("https://swap.example/?key=swap-key-7f3a", "must not have a query or a fragment"),
        ("https://swap.example:port", "is not a valid URL"),
        ("https://[::1", "is not a valid URL"),
    ],
)
def test_a_base_url_that_is_unsafe_or_no_url_is_refused_and_not_repeated(load: Load, url: str, problem: str) -> None:
    assert refusal(load, {"SWAPSYNC_SWAP_BASE_URL": url}) == f'SWAPSYNC_SWAP_BASE_URL {problem} (site "default")'


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("sqlite:///swapsync.db", "sqlite:///swapsync.db"),
        ("sqlite:////var/lib/swapsync.db", "sqlite:////var/lib/swapsync.db"),
        ("sqlite://", "sqlite://"),
        ("postgresql+psycopg://u:p%40@db:5432/x", "postgresql+psycopg://u:p%40@db:5432/x"),
        ("postgresql://u:p@db/x", "postgresql+psycopg://u:p@db/x"),
    ],
)
def test_database_urls_are_sqlite_or_postgresql_by_psycopg(load: Load, url: str, clean: str) -> None:
    assert load({"SWAPSYNC_DATABASE_URL": url}).database_url.get_secret_value() == clean


@pytest.mark.parametrize(
    "url", ["mysql://u:swap-key-7f3a@h/x", "swapsync.db", "postgresql+asyncpg://u:swap-key-7f3a@h/x", "postgres:x"]
)
def test_another_database_is_refused_without_repeating_the_url(load: Load, url: str) -> None:
    message = refusal(load, {"SWAPSYNC_DATABASE_URL": url})
    assert message == "SWAPSYNC_DATABASE_URL must be a sqlite:/// or a postgresql+psycopg:// URL"


def test_a_sqlite_url_with_too_few_slashes_is_explained(load: Load) -> None:
    assert "takes three slashes" in refusal(load, {"SWAPSYNC_DATABASE_URL": "sqlite://swapsync.db"})


# ---- Richer policies of the TOML


def test_payment_routes_merge_over_the_default_and_ignore_spelling(load: Load) -> None:
    toml = (
        '[defaults.payment_routes]\n"Bank Transfer" = "credit_note"\nInvoice = "gateway"\n'
        + ACME
        + '[sites.acme.payment_routes]\n"bank-transfer" = "gateway"\n'
        + BOLT
    )
    settings = load(toml=toml, credentials={**ACME_SECRETS, **BOLT_SECRETS})
    common = {**DEFAULT_PAYMENT_ROUTES, "invoice": "gateway"}
    assert settings.site("acme").payment_routes == {**common, "banktransfer": "gateway"}
    assert settings.site("bolt").payment_routes == {**common, "banktransfer": "credit_note"}


@pytest.mark.parametrize(
    ("routes", "problem"),
    [
        ('cheque = "cash"', ": cheque must be 'credit_note' or 'gateway', not 'cash'"),
        ('"On Account" = "gateway"\non_account = "credit_note"', " names one payment method twice"),
        ('" - " = "gateway"', " has a blank payment method"),
    ],
)
def test_a_payment_route_that_is_unknown_doubtful_or_blank_is_refused(
    load_acme: Load, routes: str, problem: str
) -> None:
    message = refusal(load_acme, f"[sites.acme.payment_routes]\n{routes}\n")
    assert message.startswith(f"sites.acme.payment_routes in config/swapsync.toml{problem}")


def test_amounts_of_the_toml_are_exact_decimals(load_acme: Load) -> None:
    site = load_acme("amount_tolerance = 0.1\namount_tolerance_percent = 2.5\n").site("acme")
    assert (site.amount_tolerance, site.amount_tolerance_percent) == (Decimal("0.1"), Decimal("2.5"))


def test_each_automatic_write_has_a_switch_per_site(load_acme: Load) -> None:
    lines = "push_credits = false\npush_restocks = false\npush_status = false\nswap_qc_updates = true\n"
    site = load_acme(lines).site("acme")
    assert (site.push_credits, site.push_restocks, site.push_status, site.swap_qc_updates) == (
        False,
        False,
        False,
        True,
    )


def test_a_zone_for_timestamps_without_an_offset_may_be_named(load_acme: Load) -> None:
    assert load_acme('naive_timezone = "Europe/London"\n').site("acme").naive_timezone == "Europe/London"


def test_a_schedule_merges_over_the_default_job_by_job(load: Load) -> None:
    toml = (
        "[defaults.schedule]\npoll_skus = 60\npush_status = 61\n"
        + ACME
        + '[sites.acme.schedule]\npush_status = 62\nreconcile = "0 6 * * *"\n'
    )
    schedule = load(toml=toml, credentials=ACME_SECRETS).site("acme").schedule
    assert schedule == {**DEFAULT_SCHEDULE, "poll_skus": 60, "push_status": 62, "reconcile": "0 6 * * *"}
    assert tuple(schedule) == JOBS


@pytest.mark.parametrize(
    ("cron", "weekdays"),
    [
        ("0 6 * * 0", {6}),
        ("0 6 * * 7", {6}),
        ("0 6 * * 1-5", {0, 1, 2, 3, 4}),
        ("0 6 * * mon,Wed", {0, 2}),
        ("0 6 * * fri-sun", {4, 5, 6}),
        ("0 6 * * */2", {6, 1, 3, 5}),
        ("0 6 * * *", {0, 1, 2, 3, 4, 5, 6}),
    ],
)
def test_a_cron_string_means_to_the_scheduler_the_weekdays_that_cron_means(
    load_acme: Load, cron: str, weekdays: set[int]
) -> None:
    schedule = load_acme(f'[sites.acme.schedule]\nreconcile = "{cron}"\n').site("acme").schedule
    trigger = CronTrigger.from_crontab(str(schedule["reconcile"]), timezone=UTC)
    fires, moment = set(), datetime(2026, 1, 1, tzinfo=UTC)
    for _ in range(14):
        fired = trigger.get_next_fire_time(moment, moment)
        assert fired is not None
        fires.add(fired.weekday())
        moment = fired.replace(hour=7)
    assert fires == weekdays


@pytest.mark.parametrize("cron", ["*/5 * * * *", "05 00,12 1-15/2 1,6-8 *", "7/10 * * * mon", "0-59 23 31 12 6"])
def test_every_cron_string_accepted_is_one_the_scheduler_takes(load_acme: Load, cron: str) -> None:
    schedule = load_acme(f'[sites.acme.schedule]\nreconcile = "{cron}"\n').site("acme").schedule
    assert CronTrigger.from_crontab(str(schedule["reconcile"]), timezone=UTC).get_next_fire_time(
        None, datetime.now(UTC)
    )


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("0", "must give reconcile a positive whole number of seconds or a cron string, not 0"),
        ("-5", "must give reconcile a positive whole number of seconds or a cron string, not -5"),
        ("1.5", "must give reconcile a positive whole number of seconds or a cron string, not '1.5'"),
        ("true", "must give reconcile a positive whole number of seconds or a cron string, not True"),
        ('"300"', "has a wrong cron string for reconcile: '300' needs five fields"),
        ('"60 * * * *"', "has a wrong cron string for reconcile: minute '60' is not a value"),
        ('"* * 0 * *"', "has a wrong cron string for reconcile: day of month '0' is not a value"),
        ('"* * * * 8"', "has a wrong cron string for reconcile: day of week '8' is not a value"),
        ('"* * * * someday"', "has a wrong cron string for reconcile: day of week 'someday' is not a value"),
        ('"5-1 * * * *"', "has a wrong cron string for reconcile: minute '5-1' runs backwards"),
        ('"*/0 * * * *"', "has a wrong cron string for reconcile: minute '*/0' is not a value"),
        ('"*/60 * * * *"', "has a wrong cron string for reconcile: minute '*/60' runs backwards or steps beyond"),
        ('"5- * * * *"', "has a wrong cron string for reconcile: minute '5-' is not a value"),
        ('", * * * *"', "has a wrong cron string for reconcile: minute '' is not a value"),
    ],
)
def test_a_schedule_that_can_never_run_is_refused(load_acme: Load, value: str, problem: str) -> None:
    message = refusal(load_acme, f"[sites.acme.schedule]\nreconcile = {value}\n")
    assert message.startswith(f"sites.acme.schedule in config/swapsync.toml {problem}")


def test_a_schedule_for_an_unknown_job_names_the_nearest_one(load_acme: Load) -> None:
    message = refusal(load_acme, "[sites.acme.schedule]\npoll_return = 5\n")
    assert "names an unknown job 'poll_return'; did you mean poll_returns?" in message


# ---- The TOML file


def test_a_configuration_file_may_be_named_by_variable_or_command_line(load: Load, tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text("[defaults]\nhistory_days = 1\n")
    (tmp_path / "two.toml").write_text("[defaults]\nhistory_days = 2\n")
    assert load({"SWAPSYNC_CONFIG": "one.toml"}).sites[0].history_days == 1
    assert load(dotenv="SWAPSYNC_CONFIG=one.toml\n").sites[0].history_days == 1
    assert load({"SWAPSYNC_CONFIG": "one.toml"}, config=tmp_path / "two.toml").sites[0].history_days == 2


def test_a_named_configuration_file_must_exist(load: Load) -> None:
    missing = refusal(load, {"SWAPSYNC_CONFIG": "config/swapsync.toml"})
    assert missing == "SWAPSYNC_CONFIG: the file config/swapsync.toml does not exist"
    assert refusal(load, config=Path("x.toml")) == "the configuration file x.toml does not exist"


def test_a_broken_configuration_file_is_named_with_the_place(load: Load, tmp_path: Path) -> None:
    assert refusal(load, toml="[defaults\n").startswith(
        "the configuration file config/swapsync.toml is not valid TOML: "
    )
    assert "line 2" in refusal(load, toml="[defaults]\nhistory_days = = 1\n")
    (tmp_path / "config/swapsync.toml").write_bytes(b"\xff")
    assert refusal(load) == "the configuration file config/swapsync.toml is not UTF-8 text"


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ("[defaults]\nsetle_on = 'x'", "defaults.setle_on in config/swapsync.toml is unknown; did you mean settle_on?"),
        ("[sites.a]\nswap_api_key_envv = 'X'", "sites.a.swap_api_key_envv in config/swapsync.toml is unknown; did you"),
        ("[sites.a]\nqqq = 1", "sites.a.qqq in config/swapsync.toml is unknown"),
        ("[sites.a]\nslug = 'b'", "sites.a.slug in config/swapsync.toml is unknown"),
        ("[sites.a]\n'two\\nlines' = 1", "sites.a.'two\\\\nlines' in config/swapsync.toml is unknown"),
        ("[default]\nx = 1", "default in config/swapsync.toml is unknown; did you mean defaults?"),
        ("settle_on = 'x'", "settle_on in config/swapsync.toml stands outside of [defaults] and [sites.<slug>]"),
        (
            "[defaults]\ndatabase_url = 'sqlite:///x'",
            "defaults.database_url in config/swapsync.toml is not set in this file but by the environment variable "
            "SWAPSYNC_DATABASE_URL",
        ),
        ("sites = 1", "sites in config/swapsync.toml must be a table"),
        ("[sites]\nacme = 1", "sites.acme in config/swapsync.toml must be a table"),
    ],
)
def test_an_unknown_or_misplaced_key_of_the_toml_is_refused(load: Load, toml: str, problem: str) -> None:
    assert refusal(load, toml=toml).startswith(problem)


# ---- Warnings


def test_an_unknown_variable_is_a_warning_with_the_nearest_name_and_without_its_value(load: Load) -> None:
    settings = load({"SWAPSYNC_SETLE_ON": "swap-key-7f3a", "OTHER_SETLE_ON": "x"}, dotenv="SWAPSYNC_QQQ=1\n")
    assert settings.warnings == (
        "SWAPSYNC_QQQ is not a setting of swapsync",
        "SWAPSYNC_SETLE_ON is not a setting of swapsync; did you mean SWAPSYNC_SETTLE_ON?",
    )


def test_a_variable_for_a_setting_that_only_the_toml_takes_says_so(load: Load) -> None:
    settings = load({"SWAPSYNC_SCHEDULE": "X"})
    assert settings.warnings == ("SWAPSYNC_SCHEDULE is not read from the environment: set schedule in the TOML file",)
    assert settings.sites[0].credit_note_prefix == "CN-"


def test_a_variable_that_the_toml_points_to_is_no_unknown_one(load: Load) -> None:
    toml, variables = ACME.replace("ACME_", "SWAPSYNC_ACME_"), {f"SWAPSYNC_{k}": v for k, v in ACME_SECRETS.items()}
    assert load(toml=toml, credentials=variables).warnings == ()


# ---- What the project ships


def uncommented(path: Path) -> str:
    return re.sub(r"^#(?=[\[A-Za-z])", "", path.read_text("utf-8"), flags=re.MULTILINE)


def test_the_shipped_toml_describes_no_site_and_changes_nothing(load: Load) -> None:
    shipped = (ROOT / "config/swapsync.toml").read_text("utf-8")
    assert tomllib.loads(shipped) == {}
    assert load(toml=shipped) == load(toml="# nothing")
    assert load(toml=shipped, credentials={}, require_sites=False).sites == ()


def test_the_examples_of_the_shipped_toml_load_once_uncommented(load: Load) -> None:
    site = load(toml=uncommented(ROOT / "config/swapsync.toml"), credentials=ACME_SECRETS).site("acme")
    examples = {
        "effects_from": datetime(2026, 1, 1, tzinfo=UTC),
        "naive_timezone": "Europe/London",
        "approve_above": Decimal(1000),
        "kits_file": "config/kits.csv",
    }
    credentials = {
        "slug": "acme",
        "swap_api_key": SecretStr("acme-key-55d0"),
        "swap_store_id": "acme-store",
        "sparklayer_site_id": "acme-trade",
        "sparklayer_client_id": "11111111-2222-3333-4444-555555555555",
        "sparklayer_client_secret": SecretStr("acme-secret-e2b8"),
    }
    assert site == SiteSettings.model_validate({**credentials, **examples})


def test_the_shipped_toml_shows_every_key_of_a_site() -> None:
    document = tomllib.loads(uncommented(ROOT / "config/swapsync.toml"))
    shown = {*document["defaults"], *document["sites"]["acme"]}
    assert shown == {f"{doc.key}_env" if doc.secret else doc.key for doc in SETTINGS if doc.scope != "process"}


def test_the_shipped_env_example_shows_every_variable_with_its_default(load: Load) -> None:
    lines = uncommented(ROOT / "config/.env.example").splitlines()
    shown = dict(line.split("=", 1) for line in lines if re.match(r"[A-Z]", line) and "=" in line)
    defaults = {doc.variable: doc.default or "" for doc in SETTINGS if doc.variable}
    assert shown == {**defaults, "SWAPSYNC_CONFIG": "config/swapsync.toml"}
    assert load(dotenv=(ROOT / "config/.env.example").read_text("utf-8")) == load(dotenv="# nothing")


def test_every_setting_says_what_it_means_and_secrets_have_no_file_key_of_their_own() -> None:
    assert all(doc.meaning for doc in SETTINGS)
    assert len({doc.key for doc in SETTINGS}) == len(SETTINGS)
    assert {doc.key for doc in SETTINGS if doc.secret} == {
        "database_url",
        "swap_api_key",
        "sparklayer_client_secret",
        "alert_urls",
    }


def test_every_field_of_a_site_is_a_described_setting() -> None:
    described = {doc.key for doc in SETTINGS}
    fields = {name for name in SiteSettings.model_fields if name not in ("slug", "http")}
    assert fields <= described
    assert {"http_timeout_seconds", "http_max_attempts", "http_backoff_seconds"} <= described


def test_the_settings_page_is_up_to_date() -> None:
    shipped = (ROOT / "docs/settings.md").read_text("utf-8")
    command = "python -c 'from swapsync.settings import *; print(settings_reference(), end=\"\")' > docs/settings.md"
    assert shipped == settings_reference(), f"docs/settings.md is stale; write it again with: {command}"


def test_loading_settings_imports_no_heavy_library() -> None:
    heavy = ("pandas", "sqlalchemy", "sqlmodel", "requests", "apscheduler")
    code = f"import sys, swapsync.settings; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_two_sites_on_one_swap_store_or_one_sparklayer_site_are_refused(load: Load) -> None:
    for shared in (("00456", "00123"), ("bolt-trade", "acme-trade")):
        message = refusal(load, toml=ACME + BOLT.replace(*shared), environ=ACME_SECRETS | BOLT_SECRETS)
        assert 'is the same for the sites "acme" and "bolt"' in message


# -- being told ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "address"),
    [("9464", "127.0.0.1:9464"), ("0.0.0.0:9464", "0.0.0.0:9464"), ("[::1]:9464", "[::1]:9464")],
)
def test_a_port_alone_is_on_loopback(load: Load, written: str, address: str) -> None:
    assert load({"SWAPSYNC_HEALTH_ADDRESS": written}).health_address == address
    assert load({}).health_address is None


@pytest.mark.parametrize("wrong", [":9464", "localhost", "localhost:http", "127.0.0.1:70000"])
def test_another_address_is_refused(load: Load, wrong: str) -> None:
    assert refusal(load, {"SWAPSYNC_HEALTH_ADDRESS": wrong}).startswith("SWAPSYNC_HEALTH_ADDRESS must be a port or ")


def test_alert_addresses_are_a_secret_of_each_site(load: Load) -> None:
    site = load({"SWAPSYNC_ALERT_URLS": " json://u:p4ss@one/\n mailto://two.example "}).sites[0]
    assert site.alert_urls.get_secret_value() == "json://u:p4ss@one/ mailto://two.example"
    assert "p4ss" not in repr(site)

    message = refusal(load, {"SWAPSYNC_ALERT_URLS": "https://hooks.example/p4ss, two"})
    assert message.startswith("SWAPSYNC_ALERT_URLS must be Apprise URLs")
    assert "p4ss" not in message
