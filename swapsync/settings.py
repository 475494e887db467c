"""Everything configurable, validated at start.

Each setting is a described field of `Settings`, `SiteSettings` or `HttpSettings`; `SETTINGS` lists them all, and both
the loading and docs/settings.md follow that list. Precedence: command line > environment > `.env` > TOML > default.
"""

import difflib
import ipaddress
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from swapsync.domain.kits import Kits, read_kits

Secret = SecretStr
PaymentRoute = Literal["credit_note", "gateway"]

DEFAULT_SITE = "default"
DEFAULT_CONFIG = Path("config/swapsync.toml")
DEFAULT_PAYMENT_ROUTES: dict[str, PaymentRoute] = {
    "onaccount": "credit_note",
    "invoice": "credit_note",
    "platformupfront": "gateway",
}
DEFAULT_SCHEDULE: dict[str, int | str] = {
    "poll_returns": 300,
    "poll_orders": 300,
    "poll_skus": 3600,
    "reconcile": 300,
    "push_credits": 300,
    "push_restocks": 600,
    "push_status": 600,
}
JOBS: tuple[str, ...] = tuple(DEFAULT_SCHEDULE)
"""The jobs of a cycle, in the order in which they run."""

_PREFIX = "SWAPSYNC_"
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_CRON_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of month", 1, 31), ("month", 1, 12), ("day of week", 0, 7))


class SettingsError(ValueError):
    """A wrong or missing setting: one line that names the setting and what is wrong, never a secret's value."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


# What values may look like. Each function takes a raw value and returns the clean one, or raises ValueError with the
# rest of a sentence that begins with the setting's name. A value that can hold a credential is never quoted.


def _text(value: str) -> str:
    if not value:
        raise ValueError("must not be blank")
    if not value.isprintable():
        raise ValueError("must be one line of printable text")
    return value


def _token(value: str) -> str:
    if not re.fullmatch(r"[!-~]+", value):
        raise ValueError("must be printable ASCII without spaces or line breaks, and not blank")
    return value


def _secret_token(value: object) -> str:
    raw = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not isinstance(raw, str):
        raise ValueError("must be text")
    return _token(raw.strip())


def _slug(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", value):
        raise ValueError(
            f"has the slug {_quoted(value)}: a slug is lower-case letters, digits, '_' and '-', a letter or digit first"
        )
    return value


def _whole(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"must be a whole number, not {_quoted(value)}")
    return value


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    return value


def _base_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is not a valid URL") from None
    if parts.scheme not in ("http", "https") or not host or not re.fullmatch(r"[!-~]+", value):
        raise ValueError("must be an absolute https:// URL")
    if "@" in parts.netloc:
        raise ValueError("must not carry credentials in the URL")
    if "?" in value or "#" in value:
        raise ValueError("must not have a query or a fragment")
    if parts.scheme == "http" and not _is_loopback(host):
        raise ValueError("must use https: without TLS only a loopback host is accepted")
    return value.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _database_url(value: object) -> str:
    url = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    scheme, separator, rest = url.strip().partition("://")
    if separator and scheme in ("postgresql", "postgresql+psycopg"):
        return f"postgresql+psycopg://{rest}"
    if not separator or scheme != "sqlite":
        raise ValueError("must be a sqlite:/// or a postgresql+psycopg:// URL")
    if rest and not rest.startswith("/"):
        raise ValueError("takes three slashes before a relative file, four before an absolute one: sqlite:///file.db")
    return f"sqlite://{rest}"


def _moment(value: object) -> object:
    if not isinstance(value, str | datetime):
        raise ValueError("must be an ISO 8601 moment with a zone, such as 2026-01-31T00:00:00Z")
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value.strip())
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"must be an ISO 8601 moment, not {_quoted(value)}") from None
    raise ValueError(f"needs a zone, such as Z or +01:00: {_quoted(str(value))}")


def _timezone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"must be an IANA time zone such as Europe/London, not {_quoted(value)}") from None
    return value


def _normalised(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower()


def _normalised_keys(table: object, name: str, means: str) -> dict[str, Any]:
    if not isinstance(table, Mapping):
        raise ValueError(f"must be a table of {name} = {means}")
    normalised = {_normalised(key): value for key, value in table.items()}
    if "" in normalised:
        raise ValueError(f"has a blank {name}")
    if len(normalised) < len(table):
        raise ValueError(f"names one {name} twice (case, spaces, hyphens and underscores don't count)")
    return normalised


def _normalised_routes(routes: object) -> dict[str, Any]:
    return _normalised_keys(routes, "payment method", "'credit_note' or 'gateway'")


def _normalised_reasons(codes: object) -> dict[str, Any]:
    return _normalised_keys(codes, "reason", "code")


def _kits(path: object) -> Kits:
    if isinstance(path, Kits):
        return path
    if not isinstance(path, str) or not path.strip():
        raise ValueError("must be the path of a CSV file")
    try:
        with open(path.strip(), encoding="utf-8-sig", newline="") as file:
            return read_kits(file)
    except OSError as error:
        raise ValueError(f"can't be read from {_quoted(path)}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"is wrong in {_quoted(path)}: it is not UTF-8 text") from None
    except ValueError as error:
        raise ValueError(f"is wrong in {_quoted(path)}, {error}") from None


def _payment_routes(routes: object) -> dict[str, Any]:
    return {**DEFAULT_PAYMENT_ROUTES, **_normalised_routes(routes)}


def _schedule(schedule: object) -> dict[str, int | str]:
    if not isinstance(schedule, Mapping):
        raise ValueError("must be a table of job = seconds or cron string")
    for job in schedule:
        if job not in JOBS:
            raise ValueError(
                f"names an unknown job {_quoted(job)}{_did_you_mean(job, JOBS)}; jobs are {', '.join(JOBS)}"
            )
    return {job: _interval_or_cron(job, value) for job, value in {**DEFAULT_SCHEDULE, **schedule}.items()}


def _interval_or_cron(job: str, value: object) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    if isinstance(value, str):
        try:
            return _cron(value)
        except ValueError as error:
            raise ValueError(f"has a wrong cron string for {job}: {error}") from None
    raise ValueError(f"must give {job} a positive whole number of seconds or a cron string, not {_quoted(value)}")


def _cron(expression: str) -> str:
    """The expression with its weekdays by name, since 0 is Sunday to cron and Monday to APScheduler."""
    fields = expression.lower().split()
    if len(fields) != len(_CRON_FIELDS):
        raise ValueError(f"{_quoted(expression)} needs five fields (minute hour day month weekday)")
    days = [_cron_values(text, *bounds) for text, bounds in zip(fields, _CRON_FIELDS, strict=True)][-1]
    weekdays = "*" if fields[-1] == "*" else ",".join(_WEEKDAYS[day] for day in sorted({day % 7 for day in days}))
    return " ".join([*fields[:-1], weekdays])


def _cron_values(text: str, field: str, low: int, high: int) -> set[int]:
    words = {word: number for number in range(low, high + 1) for word in (str(number), f"{number:02}")}
    if field == "day of week":
        words |= {name: number for number, name in enumerate((*_WEEKDAYS[1:], "sun"), start=1)}
    values: set[int] = set()
    for item in text.split(","):
        span, slash, step_text = item.partition("/")
        first, dash, last = span.partition("-")
        start = low if span == "*" else words.get(first)
        everything = span == "*" or (slash and not dash)
        end = (6 if field == "day of week" else high) if everything else words.get(last if dash else first)
        step = int(step_text) if re.fullmatch(r"[0-9]{1,2}", step_text) else 0 if slash else 1
        if start is None or end is None or step == 0:
            raise ValueError(f"{field} {_quoted(item)} is not a value, range or step within {low}-{high}")
        if start > end or (slash and step > end - start):
            raise ValueError(f"{field} {_quoted(item)} runs backwards or steps beyond its range")
        values.update(range(start, end + 1, step))
    return values


def _quoted(value: object) -> str:
    shown = repr(str(value) if isinstance(value, Decimal) else value)
    return shown if len(shown) <= 60 else f"{shown[:56]}...'"


def _did_you_mean(name: str, known: tuple[str, ...], *, prefix: str = "") -> str:
    nearest = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {prefix}{nearest[0]}?" if nearest else ""


def _health_address(value: str) -> str:
    host, separator, port = value.rpartition(":")
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65_535 or (separator and not host):
        raise ValueError("must be a port or host:port, such as 9464 or 127.0.0.1:9464")
    return f"{host or '127.0.0.1'}:{port}"


def _alert_urls(value: object) -> str:
    raw = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not isinstance(raw, str):
        raise ValueError("must be text")
    urls = raw.split()
    if not all(re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*://[!-~]+", url) for url in urls):
        raise ValueError("must be Apprise URLs with spaces or line breaks between them, such as mailto://…")
    return " ".join(urls)


Slug = Annotated[str, AfterValidator(_slug)]
Text = Annotated[str, AfterValidator(_text)]
Token = Annotated[str, AfterValidator(_token)]
SecretToken = Annotated[Secret, BeforeValidator(_secret_token)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
DatabaseUrl = Annotated[Secret, BeforeValidator(_database_url)]
HealthAddress = Annotated[str, AfterValidator(_health_address)]
AlertUrls = Annotated[Secret, BeforeValidator(_alert_urls)]
Timezone = Annotated[str, AfterValidator(_timezone)]
Moment = Annotated[datetime, BeforeValidator(_moment)]
Whole = Annotated[int, BeforeValidator(_whole)]
Seconds = Annotated[float, BeforeValidator(_no_bool), Field(allow_inf_nan=False)]
PaymentRoutes = Annotated[dict[str, PaymentRoute], BeforeValidator(_payment_routes)]
Reasons = Annotated[dict[str, Text], BeforeValidator(_normalised_reasons)]
KitsFile = Annotated[Kits, BeforeValidator(_kits)]
Schedule = Annotated[dict[str, int | str], BeforeValidator(_schedule)]


class _Frozen(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, str_strip_whitespace=True, hide_input_in_errors=True
    )


class HttpSettings(_Frozen):
    """How a site's HTTP calls wait and retry."""

    timeout_seconds: Seconds = Field(
        default=30,
        gt=0,
        description="time limit of each wait for the other side, in seconds; a whole call may take twice that",
    )
    max_attempts: Whole = Field(default=5, ge=1, description="how often a call is tried in all")
    backoff_seconds: Seconds = Field(
        default=1, ge=0, description="first wait before a retry, in seconds; it doubles, jittered, to at most 60 s"
    )


class SiteSettings(_Frozen):
    """One merchant's pair of accounts and policies. Complete: a site without its credentials can't be built."""

    slug: Slug

    swap_base_url: BaseUrl = Field(
        default="https://api-gateway.swap-os.com/returns-api", description="base URL of Swap's Returns API"
    )
    swap_api_key: SecretToken = Field(description="the API key of the Swap dashboard, Returns > Integrations")
    swap_store_id: Text = Field(description="the store id issued by Swap")
    swap_requests_per_minute: Whole = Field(
        default=60, ge=0, description="client-side limit of requests to Swap per minute; 0 = none"
    )

    sparklayer_base_url: BaseUrl = Field(
        default="https://app.sparklayer.io", description="base URL of SparkLayer's API (live or test host)"
    )
    sparklayer_site_id: Token = Field(description="the Site ID of the SparkLayer dashboard, Settings > API")
    sparklayer_client_id: Text = Field(description="the Client ID of the SparkLayer dashboard, Settings > API")
    sparklayer_client_secret: SecretToken = Field(
        description="the Client Secret of the SparkLayer dashboard, Settings > API"
    )
    sparklayer_requests_per_minute: Whole = Field(
        default=300, ge=0, description="client-side limit of requests to SparkLayer per minute; 0 = none"
    )
    sparklayer_created_by: Text = Field(default="swapsync", description="what history notes carry as `created_by`")

    http: HttpSettings = HttpSettings()

    history_days: Whole = Field(
        default=365,
        ge=0,
        le=36_500,
        description="how many days back the first poll of a site reads; what is older takes a backfill",
    )
    overlap_seconds: Whole = Field(
        default=600,
        ge=0,
        le=31_536_000,
        description="how many seconds each incremental poll reads behind its watermark",
    )

    inspection_location: Text = Field(
        default="inspection", description="external id of the SparkLayer stock location for goods under inspection"
    )
    sellable_location: Text = Field(
        default="default", description="external id of the SparkLayer stock location for sellable goods"
    )
    damaged_location: Text = Field(
        default="damaged", description="external id of the SparkLayer stock location for damaged goods"
    )
    create_stock_locations: bool = Field(
        default=False,
        description="whether a missing inspection or damaged location is created in SparkLayer; the sellable one "
        "never is",
    )
    stock_path: Literal["sparklayer", "none"] = Field(
        default="sparklayer",
        description="where stock is written: `sparklayer`, or `none` for a merchant whose platform owns stock",
    )

    settle_on: Literal["swap_closed", "inspected"] = Field(
        default="swap_closed",
        description="what releases a credit: `swap_closed` (the warehouse's finding, else a Swap return that is "
        "Closed, Delivered and QC Approved) or `inspected` (the warehouse's finding only)",
    )
    restock_on: Literal["inspected", "swap_approved"] = Field(
        default="inspected",
        description="what releases sellable stock: `inspected` (the warehouse's finding only) or `swap_approved` (also "
        "Closed, Delivered and QC Approved)",
    )
    uses_swap_qc: bool = Field(default=True, description="whether the merchant works with Swap's quality control")
    effects_from: Moment | None = Field(
        default=None,
        description="the cut-over moment, ISO 8601 with a zone: a return that ended before it has no effects; without "
        "the setting it is the first run's start",
    )
    po_required: bool = Field(default=False, description="whether a pay-later credit waits for a PO number")

    payment_routes: PaymentRoutes = Field(
        default=DEFAULT_PAYMENT_ROUTES,
        description="how each payment method is made good: `credit_note` (ours) or `gateway` (Swap's); merged over the "
        "default, names compared without case, spaces, hyphens and underscores",
    )
    reasons: Reasons = Field(
        default={},
        description="the merchant's own code for each of Swap's reasons, by the id or the text of main or sub-reason; "
        "names compared without case, spaces, hyphens and underscores. Unmapped reasons keep their text",
    )
    kits_file: KitsFile | None = Field(
        default=None,
        description="a CSV of the parts of kits (`kit_sku, part_sku, quantity, valid_from`, optional `valid_to` and "
        "`share`), by which a kit comes back as a whole or in parts",
    )
    amount_tolerance: Decimal = Field(
        default=Decimal("0.05"),
        ge=0,
        description="by how much Swap's total may differ from ours, in the return's currency; the greater of this and "
        "`amount_tolerance_percent` counts",
    )
    amount_tolerance_percent: Decimal = Field(
        default=Decimal(1), ge=0, description="by how much Swap's total may differ from ours, in percent of ours"
    )
    credit_shipping: Literal["never", "pro_rata", "whole_order"] = Field(
        default="never",
        description="whether a credit gives back the order's carriage: `never`, `pro_rata` (the share of the goods "
        "credited so far) or `whole_order` (once every unit of the order is credited)",
    )
    deduct_handling_fee: bool = Field(
        default=False, description="whether Swap's handling fee is kept back from the first credits of its return"
    )
    approve_above: Decimal | None = Field(
        default=None,
        ge=0,
        description="the gross value of all credits of a return, in their currency, above which the one that passes it "
        "waits until a person approves it; "
        "without the setting none does",
    )
    inspection_days: Whole = Field(
        default=7,
        ge=0,
        description="how many days goods may wait for the warehouse, from when they were first seen as delivered, "
        "before it is reminded; 0 = never",
    )
    credit_note_prefix: Text = Field(default="CN-", description="what every credit note number begins with")
    push_credits: bool = Field(default=True, description="whether credits are written to SparkLayer")
    push_restocks: bool = Field(default=True, description="whether stock levels are written to SparkLayer")
    push_status: bool = Field(default=True, description="whether notes are written to the history of SparkLayer orders")
    swap_qc_updates: bool = Field(
        default=False, description="whether the warehouse's findings are reported to Swap's quality control"
    )
    naive_timezone: Timezone | None = Field(
        default=None,
        description="the IANA zone by which Swap's timestamps without an offset are read; without it they are rejected",
    )
    schedule: Schedule = Field(
        default=DEFAULT_SCHEDULE,
        description="when the daemon runs each job: seconds between runs, or a five-field cron string in UTC (with a "
        "day and a weekday given, both must match); merged over the default",
    )
    alert_urls: AlertUrls = Field(
        default=SecretStr(""),
        description="where people are told of trouble that lasts: Apprise URLs with spaces between them (mail, Slack, "
        "Teams, a webhook …); without it nobody is told",
    )
    alert_after_seconds: Whole = Field(
        default=3600,
        ge=0,
        description="how many seconds after a job was due it must have succeeded, before it counts as late",
    )
    alert_after_failures: Whole = Field(
        default=5, ge=1, description="how many runs of a job must fail in a row before people are told"
    )

    def credit_note_number(self, n: int) -> str:
        """The number of the site's n-th credit note."""
        return f"{self.credit_note_prefix}{n:06d}"

    @field_validator("sellable_location", "damaged_location")
    @classmethod
    def _locations_differ(cls, value: str, info: ValidationInfo) -> str:
        for other in ("inspection_location", "sellable_location"):
            if other != info.field_name and info.data.get(other) == value:
                raise ValueError(f"is {_quoted(value)}, and so is {other}: the three locations must differ")
        return value


class Settings(_Frozen):
    """The validated settings of one process; `warnings` are lines to log, none of them a reason to stop."""

    database_url: DatabaseUrl = Field(
        default=SecretStr("sqlite:///swapsync.db"),
        description="the staging store: `sqlite:///file.db` or `postgresql+psycopg://user:password@host/name`",
    )
    log_level: Literal["TRACE", "DEBUG", "INFO", "SUCCESS", "WARNING", "ERROR", "CRITICAL"] = Field(
        default="INFO", description="the least severe level that is logged"
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="`text`, or `json` = one JSON object a line on stderr"
    )
    health_address: HealthAddress | None = Field(
        default=None,
        description="where the daemon answers /healthz, /readyz and /metrics: `host:port`, or a port alone for "
        "loopback; without it nowhere",
    )
    sites: tuple[SiteSettings, ...]
    warnings: tuple[str, ...] = ()

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper_case(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    def site(self, slug: str) -> SiteSettings:
        """The settings of the site with that slug; raises SettingsError, listing the known slugs, if there is none."""
        for site in self.sites:
            if site.slug == slug:
                return site
        raise _unknown_site(slug, [site.slug for site in self.sites])


Scope = Literal["process", "connection", "policy", "file"]


@dataclass(frozen=True)
class SettingDoc:
    """What a setting is: its key, where it may be set, its default as one would write it (None = none), its meaning.

    `scope` is "process" (environment only), "connection" or "policy" (a site's; environment or TOML), or "file" (a
    site's; TOML only).
    """

    key: str
    scope: Scope
    default: str | None
    meaning: str
    required: bool = False
    secret: bool = False

    @property
    def variable(self) -> str | None:
        """The environment variable, or None for a setting that only the TOML takes."""
        return None if self.scope == "file" else _PREFIX + self.key.upper()


_CONNECTION = frozenset(
    {
        "swap_base_url",
        "swap_api_key",
        "swap_store_id",
        "sparklayer_base_url",
        "sparklayer_site_id",
        "sparklayer_client_id",
        "sparklayer_client_secret",
    }
)
_FILE_ONLY = frozenset({"payment_routes", "reasons", "schedule"})


def _site_scope(key: str) -> Scope:
    return "connection" if key in _CONNECTION else "file" if key in _FILE_ONLY else "policy"


def _docs(model: type[BaseModel], *, prefix: str = "") -> Iterator[SettingDoc]:
    for name, field in model.model_fields.items():
        key = prefix + name
        if field.annotation is HttpSettings:
            yield from _docs(HttpSettings, prefix=f"{name}_")
        elif field.description:
            yield SettingDoc(
                key,
                "process" if model is Settings else _site_scope(key),
                None if field.is_required() else _as_written(field.default),
                field.description,
                required=field.is_required(),
                secret=field.annotation is SecretStr,
            )


def _as_written(value: object) -> str | None:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {item}" for key, item in value.items())
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None else str(value)


_SITE_SETTINGS: tuple[SettingDoc, ...] = tuple(_docs(SiteSettings))
_PROCESS_SETTINGS: tuple[SettingDoc, ...] = tuple(_docs(Settings))

SETTINGS: tuple[SettingDoc, ...] = (
    SettingDoc("config", "process", f"{DEFAULT_CONFIG.as_posix()} if present", "the TOML file that describes sites"),
    *_PROCESS_SETTINGS,
    SettingDoc("site", "process", DEFAULT_SITE, "slug of the one site that the environment describes"),
    *_SITE_SETTINGS,
)
"""Every setting there is."""

_SECRET_KEYS = frozenset(doc.key for doc in SETTINGS if doc.secret)
_VARIABLES = {doc.variable: doc for doc in SETTINGS if doc.variable}
_TABLE_KEYS = ("payment_routes", "reasons", "schedule")
_FILE_KEYS = tuple(f"{doc.key}_env" if doc.secret else doc.key for doc in _SITE_SETTINGS)


class _Environment:
    """The variables of command line, environment and `.env`, in that order; an empty one counts as not set."""

    def __init__(self, layers: tuple[Mapping[str, str | None], ...], cwd: Path) -> None:
        self._layers = [{name: value for name, value in layer.items() if value} for layer in layers]
        self._cwd = cwd

    def names(self) -> set[str]:
        return {name for layer in self._layers for name in layer}

    def value(self, name: str) -> str | None:
        return next((layer[name] for layer in self._layers if name in layer), None)

    def secret(self, name: str) -> str | None:
        """The secret in the variable `name`, or in the file that `<name>_FILE` names."""
        file_variable = f"{name}_FILE"
        for layer in self._layers:
            if name in layer and file_variable in layer:
                raise SettingsError(f"{name} and {file_variable} are both set: keep one of them")
            if name in layer:
                return layer[name]
            if file_variable in layer:
                return self._secret_from_file(file_variable, layer[file_variable])
        return None

    def _secret_from_file(self, file_variable: str, path: str) -> str:
        # The path stays out of the messages: whoever mistakes the variable puts the secret itself there.
        try:
            secret = (self._cwd / path).read_text(encoding="utf-8-sig").strip()
        except OSError as error:
            raise SettingsError(f"{file_variable} names a file that can't be read: {error.strerror}") from None
        except ValueError:
            raise SettingsError(f"{file_variable} names a file that is not UTF-8 text") from None
        if not secret:
            raise SettingsError(f"{file_variable} names an empty file")
        return secret

    def read(self, doc: SettingDoc) -> str | None:
        if doc.variable is None:
            return None
        return self.secret(doc.variable) if doc.secret else self.value(doc.variable)


@dataclass(frozen=True)
class _Config:
    """A TOML file whose keys are all known; its values are not looked at yet."""

    label: str
    defaults: Mapping[str, Any]
    sites: Mapping[str, Mapping[str, Any]]

    def secret_variables(self) -> set[str]:
        return {
            value
            for section in (self.defaults, *self.sites.values())
            for key, value in section.items()
            if key.endswith("_env")
        }


def load_settings(
    environ: Mapping[str, str],
    cwd: Path,
    *,
    config: Path | None = None,
    site: str | None = None,
    overrides: Mapping[str, str] = MappingProxyType({}),
    require_sites: bool = True,
) -> Settings:
    """Read and validate all settings; touches neither `os.environ` nor the process's directory.

    Takes the environment, the directory that holds `.env` and by which relative paths are read, the TOML file of the
    command line (else SWAPSYNC_CONFIG, else config/swapsync.toml if present), the slug of the one site wanted, and
    command-line values by the name of their variable. With `require_sites=False`, for commands that need only the
    store, a site that lacks connection settings is left out, so `sites` may be empty.

    Raises SettingsError for the first setting that is malformed, missing, unknown to the TOML or unreadable.
    """
    environment = _Environment((overrides, environ, _dotenv(cwd)), cwd)
    file = _config(environment, cwd, config)
    process = {doc.key: value for doc in _PROCESS_SETTINGS if (value := environment.read(doc)) is not None}

    described = environment.value(f"{_PREFIX}SITE")
    slugs = [*file.sites]
    target = described or DEFAULT_SITE
    pointed = file.secret_variables()
    connects = any(
        environment.read(doc) for doc in _SITE_SETTINGS if doc.scope == "connection" and doc.variable not in pointed
    )
    if target not in slugs and (described or connects or not slugs):
        slugs.append(target)
    if site is not None and site not in slugs:
        raise _unknown_site(site, slugs)

    sites = []
    for slug in slugs if site is None else [site]:
        scopes: tuple[Scope, ...] = ()
        if slug == target:
            scopes = ("connection", "policy")
        elif not described:
            scopes = ("policy",)
        complete = _site(slug, file, environment, scopes, require=require_sites)
        if complete is not None:
            sites.append(complete)

    _refuse_twins(sites)
    return _validated(
        Settings,
        {**process, "sites": sites, "warnings": _warnings(environment, file)},
        {doc.key: f"{_PREFIX}{doc.key.upper()}" for doc in _PROCESS_SETTINGS},
    )


def _refuse_twins(sites: list[SiteSettings]) -> None:
    """Two sites on one account would each credit and restock the same returns."""
    owners: dict[tuple[str, str, str], str] = {}
    for site in sites:
        for account in (
            ("SWAP_STORE_ID", site.swap_base_url, site.swap_store_id),
            ("SPARKLAYER_SITE_ID", site.sparklayer_base_url, site.sparklayer_site_id),
        ):
            owner = owners.setdefault(account, site.slug)
            if owner != site.slug:
                raise SettingsError(
                    f'{_PREFIX}{account[0]} is the same for the sites "{owner}" and "{site.slug}": '
                    "one of them would do everything a second time"
                )


def settings_reference() -> str:
    """The Markdown page docs/settings.md: every setting with its variable, key, default and meaning."""
    rows = []
    for doc in SETTINGS:
        variable = f"`{doc.variable}`" if doc.variable else ""
        key = "" if doc.scope == "process" else f"`{doc.key}_env`" if doc.secret else f"`{doc.key}`"
        default = "required" if doc.required else f"`{doc.default}`" if doc.default else ""
        meaning = f"{doc.meaning} (secret: also `{doc.variable}_FILE`)" if doc.secret else doc.meaning
        rows.append(f"| {variable} | {key} | {default} | {meaning} |")
    return _REFERENCE_HEAD + "\n".join(rows) + "\n"


_REFERENCE_HEAD = f"""\
# Settings

Order of precedence: command line, environment, `.env`, `{DEFAULT_CONFIG.as_posix()}`, default. An empty variable counts
as not set.

- A secret comes from its variable, or from the file that the variable's name with `_FILE` names. It never stands in
  the TOML: there, `…_env` names the environment variable that holds it.
- The TOML has `[defaults]` and one `[sites.<slug>]` for each site; the keys are the same in both.
- With `SWAPSYNC_SITE`, the variables of a site describe that site alone. Without it they describe the site
  `{DEFAULT_SITE}`. Where the TOML describes sites, URLs, ids and credentials still describe `{DEFAULT_SITE}`, beside
  them or merged over `[sites.{DEFAULT_SITE}]`; every other variable then holds for all sites and beats the TOML.
- An unknown key in the TOML is an error, an unknown `{_PREFIX}…` variable a warning.

| variable | key in the TOML | default | meaning |
| --- | --- | --- | --- |
"""


def _dotenv(cwd: Path) -> dict[str, str | None]:
    try:
        return dotenv_values(cwd / ".env", interpolate=False, encoding="utf-8-sig")
    except OSError as error:
        raise SettingsError(f".env can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(".env is not UTF-8 text") from None


def _config(environment: _Environment, cwd: Path, chosen: Path | None) -> _Config:
    variable = environment.value(f"{_PREFIX}CONFIG")
    path = chosen or (Path(variable) if variable else DEFAULT_CONFIG)
    label = path.as_posix()
    source = f"{_PREFIX}CONFIG: the file {label}" if variable and not chosen else f"the configuration file {label}"
    try:
        text = (cwd / path).read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        if path is DEFAULT_CONFIG:
            return _Config(label, {}, {})
        raise SettingsError(f"{source} does not exist") from None
    except OSError as error:
        raise SettingsError(f"{source} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{source} is not UTF-8 text") from None
    try:
        document = tomllib.loads(text, parse_float=Decimal)
    except (ValueError, ArithmeticError) as error:
        raise SettingsError(f"{source} is not valid TOML: {error}") from None

    for key in document:
        if key not in ("defaults", "sites"):
            raise SettingsError(f"{_key_path(key)} in {label} {_why_unknown(key, ('defaults', 'sites'))}")
    defaults, sites = (_table(document.get(key, {}), key, label) for key in ("defaults", "sites"))
    _check_keys(defaults, "defaults", label)
    for slug, section in sites.items():
        _check_keys(_table(section, _key_path("sites", slug), label), _key_path("sites", slug), label)
    return _Config(label, defaults, sites)


def _table(value: object, where: str, label: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SettingsError(f"{where} in {label} must be a table")
    return value


def _check_keys(section: Mapping[str, Any], where: str, label: str) -> None:
    for key, value in section.items():
        path = f"{where}.{_key_path(key)} in {label}"
        if key in _SECRET_KEYS and f"{key}_env" in _FILE_KEYS:
            raise SettingsError(
                f"{path}: a secret does not belong in this file; name the environment variable that holds it: {key}_env"
            )
        if key not in _FILE_KEYS:
            raise SettingsError(f"{path} {_why_unknown(key, _FILE_KEYS)}")
        if key.endswith("_env") and not (isinstance(value, str) and re.fullmatch(r"[A-Z_][A-Z0-9_]*", value)):
            raise SettingsError(f"{path} must be the name of an environment variable, in capitals")


def _why_unknown(key: str, known: tuple[str, ...]) -> str:
    doc = _VARIABLES.get(_PREFIX + key.upper())
    if doc is not None and doc.scope == "process":
        return f"is not set in this file but by the environment variable {doc.variable}"
    if key in _FILE_KEYS:
        return "stands outside of [defaults] and [sites.<slug>]"
    return f"is unknown{_did_you_mean(key, known)}"


def _key_path(*keys: str) -> str:
    return ".".join(key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _quoted(key) for key in keys)


def _site(
    slug: str, file: _Config, environment: _Environment, scopes: tuple[Scope, ...], *, require: bool
) -> SiteSettings | None:
    """The site from its TOML sections and, of the `scopes` given, the environment; None if incomplete and allowed."""
    section = _key_path("sites", slug)
    layers = (("defaults", file.defaults), (section, file.sites.get(slug, {})))
    in_file = slug in file.sites
    values: dict[str, Any] = {"slug": slug}
    names = {"slug": f"{section} in {file.label}" if in_file else f"{_PREFIX}SITE"}

    for doc in _SITE_SETTINGS:
        from_environment = environment.read(doc) if doc.scope in scopes else None
        found = [(where, layer[doc.key]) for where, layer in layers if doc.key in layer]
        pointer = next((layer[f"{doc.key}_env"] for _, layer in reversed(layers) if f"{doc.key}_env" in layer), None)
        if from_environment is not None:
            values[doc.key] = from_environment
            names[doc.key] = str(doc.variable)
        elif found:
            where, values[doc.key] = found[-1]
            names[doc.key] = f"{where}.{doc.key} in {file.label}"
            if doc.key in _TABLE_KEYS:
                values[doc.key] = _merged(doc.key, found, file.label)
        elif doc.secret and pointer:
            if (secret := environment.secret(pointer)) is not None:
                values[doc.key] = secret
            names[doc.key] = pointer
        elif doc.scope in scopes or not in_file:
            names[doc.key] = str(doc.variable)
        else:
            names[doc.key] = f"{section}.{doc.key}{'_env' if doc.secret else ''}"

    for key in [key for key in values if key.startswith("http_")]:
        values.setdefault("http", {})[key.removeprefix("http_")] = values.pop(key)
    try:
        return _validated(SiteSettings, values, names)
    except _IncompleteError:
        if require:
            raise
        return None


_NORMALISED = {"payment_routes": _normalised_routes, "reasons": _normalised_reasons}


def _merged(key: str, found: list[tuple[str, Any]], label: str) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for where, value in found:
        table = _table(value, f"{where}.{key}", label)
        try:
            merged |= _NORMALISED[key](table) if key in _NORMALISED else table
        except ValueError as error:
            raise SettingsError(f"{where}.{key} in {label} {error}") from None
    return merged


class _IncompleteError(SettingsError):
    """Nothing is malformed, but a required setting is missing."""


_Model = TypeVar("_Model", bound=BaseModel)


def _validated(model: type[_Model], values: Mapping[str, Any], names: Mapping[str, str]) -> _Model:
    """The model from the values, or the first malformed setting, else the first missing one, as a SettingsError.

    `names` says for each key what its setting is called where the user has set it, or would set it.
    """
    try:
        return model.model_validate(values)
    except ValidationError as invalid:
        error = min(invalid.errors(include_url=False), key=lambda error: error["type"] == "missing")
    first, *rest = (str(part) for part in error["loc"])
    key = f"http_{rest.pop()}" if first == "http" else first
    site = f' (site "{values["slug"]}")' if "slug" in values and key != "slug" else ""
    if error["type"] == "missing":
        meaning = next(doc.meaning for doc in SETTINGS if doc.key == key)
        raise _IncompleteError(f"{names[key]} is not set{site}: {meaning}")
    entry = f": {_key_path(rest[0])}" if rest else ""
    quotable = error["type"] != "value_error" and key not in _SECRET_KEYS
    shown = f", not {_quoted(error['input'])}" if quotable else ""
    raise SettingsError(f"{names[key]}{entry} {_problem(error['type'], error['msg'])}{shown}{site}")


def _problem(kind: str, message: str) -> str:
    plain = {
        "bool_parsing": "must be true or false",
        "bool_type": "must be true or false",
        "int_parsing": "must be a whole number",
        "int_parsing_size": "must be a whole number of sensible size",
        "float_parsing": "must be a number",
        "float_type": "must be a number",
        "decimal_parsing": "must be a number",
        "decimal_type": "must be a number",
        "string_type": "must be text, in quotes",
    }
    return plain.get(kind) or message.removeprefix("Value error, ").replace("Input should", "must")


def _warnings(environment: _Environment, file: _Config) -> tuple[str, ...]:
    pointed = file.secret_variables()
    known = {*_VARIABLES, *pointed}
    known |= {f"{name}_FILE" for name in (*pointed, *(doc.variable for doc in SETTINGS if doc.secret))}
    warnings = []
    for name in sorted(environment.names() - known):
        if not name.startswith(_PREFIX):
            continue
        key = name.removeprefix(_PREFIX).lower()
        if key in _FILE_ONLY:
            warnings.append(f"{name} is not read from the environment: set {key} in the TOML file")
        else:
            suffixes = tuple(variable.removeprefix(_PREFIX) for variable in _VARIABLES)
            hint = _did_you_mean(name.removeprefix(_PREFIX), suffixes, prefix=_PREFIX)
            warnings.append(f"{name} is not a setting of swapsync{hint}")
    return tuple(warnings)


def _unknown_site(slug: str, known: list[str]) -> SettingsError:
    return SettingsError(f"site {_quoted(slug)} is unknown; known: {', '.join(known) or 'none'}")
