"""Measures swapsync against a local server in a process of its own that adds no delay, and compares with the targets.

    python scripts/speed.py [--rounds N]

Each figure is the median of N rounds (3 unless told otherwise) of a whole command, interpreter start included. Exit
codes: 0 every target is met, 1 one is missed.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import requests
from local_sandbox import CommandFailed, LocalSandbox, fresh_store, print_table, swapsync

from swapsync.sandbox.world import (
    Row,
    World,
    customer_row,
    line_item,
    purchase_row,
    return_line,
    return_row,
    variant_row,
)

MANY, FEW = 10_000, 1_000
POLL_SECONDS, TIMES_BARE, IDLE_SECONDS, PEAK_MEGABYTES, HELP_SECONDS = 4.0, 1.5, 1.0, 200, 0.5
CATALOGUE = 400
SETTLING_CYCLES = 10
HOURS_BACK = 2
EFFECTS_FROM = {"SWAPSYNC_EFFECTS_FROM": "2000-01-01T00:00:00Z"}
Sync = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Measure:
    """One line of the result."""

    what: str
    target: str
    measured: str
    met: bool


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="how often each is measured (default 3)")
    rounds = parser.parse_args().rounds
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            measures = [
                *poll_from_empty(rounds, folder),
                *first_sync_and_bare_loop(rounds, folder),
                *idle(rounds, folder),
                help_text(rounds, folder),
            ]
    except CommandFailed as failure:
        print(f"speed: {failure}", file=sys.stderr)
        return 1
    print_table(
        ("what", "target", "measured", ""),
        [(each.what, each.target, each.measured, "met" if each.met else "MISSED") for each in measures],
    )
    return 0 if all(each.met for each in measures) else 1


# -- the measures ------------------------------------------------------------------------------------------------------


def poll_from_empty(rounds: int, folder: Path) -> list[Measure]:
    """``poll_returns`` over 10,000 returns of three lines into an empty store."""
    seconds = []
    with LocalSandbox(partial(fill, count=MANY)) as sandbox:
        for _ in range(rounds):
            environment = sandbox.environment | EFFECTS_FROM | fresh_store(folder)
            run = swapsync(["sync", "--job", "poll_returns"], environment, folder)
            seconds.append(run.seconds)
            print(f"poll_returns, {MANY:,} returns: {run.seconds:.2f} s", file=sys.stderr)
    taken = median(seconds)
    return [
        Measure(
            f"poll_returns, {MANY:,} returns of 3 lines from empty",
            f"≤ {POLL_SECONDS:.0f} s",
            f"{taken:.2f} s",
            taken <= POLL_SECONDS,
        )
    ]


def first_sync_and_bare_loop(rounds: int, folder: Path) -> list[Measure]:
    """A whole first sync, and the same calls made by nothing but ``requests``; by turns, each against a fresh world."""
    ours, bare = [], []
    calls = 0
    with LocalSandbox(partial(fill, count=FEW)) as sandbox:
        for _ in range(rounds):
            environment = sandbox.environment | EFFECTS_FROM | fresh_store(folder)
            run = swapsync(["sync"], environment, folder)
            exchanges = sandbox.exchanges()
            calls = len(exchanges)
            sandbox.reset()
            ours.append(run.seconds)
            bare.append(replay(sandbox, exchanges))
            sandbox.reset()
            print(f"first sync: {run.seconds:.2f} s, {calls:,} calls; bare loop: {bare[-1]:.2f} s", file=sys.stderr)
    times = median(mine / theirs for mine, theirs in zip(ours, bare, strict=True))
    return [
        Measure(
            f"first sync of {FEW:,} returns, {calls:,} calls, against a bare requests loop of the same calls",
            f"≤ {TIMES_BARE} ×",
            f"{times:.2f} × ({median(ours):.2f} s : {median(bare):.2f} s)",
            times <= TIMES_BARE,
        )
    ]


def idle(rounds: int, folder: Path) -> list[Measure]:
    """A sync when nothing has changed, after 1,000 and after 10,000 returns were worked off; and peak memory."""
    seconds, requests_made, peak = {}, {}, 0
    for count in (FEW, MANY):
        with LocalSandbox(partial(fill, count=count), hours_back=HOURS_BACK) as sandbox:
            environment = sandbox.environment | EFFECTS_FROM | fresh_store(folder)
            first = swapsync(["sync"], environment, folder)
            peak = max(peak, first.peak_memory)
            print(f"first sync of {count:,} returns: {first.seconds:.1f} s", file=sys.stderr)
            # What changed last is always read again (the overlap). Without this, that would be every credited order.
            sandbox.put(purchases=[order_row(0, datetime.now(UTC))])
            settle(sandbox, environment, folder)
            before = len(sandbox.exchanges())
            runs = [swapsync(["sync"], environment, folder) for _ in range(rounds)]
            made = len(sandbox.exchanges()) - before
            requests_made[count] = made / rounds
            seconds[count] = median(run.seconds for run in runs)
            print(f"idle sync: {seconds[count]:.2f} s, {requests_made[count]:g} requests", file=sys.stderr)
    return [
        *(
            Measure(
                f"idle sync, {count:,} returns in the past",
                f"≤ {IDLE_SECONDS:.0f} s",
                f"{taken:.2f} s",
                taken <= IDLE_SECONDS,
            )
            for count, taken in seconds.items()
        ),
        Measure(
            f"requests of an idle sync, {FEW:,} and {MANY:,} returns in the past",
            "the same",
            " and ".join(f"{made:g}" for made in requests_made.values()),
            len(set(requests_made.values())) == 1,
        ),
        Measure(
            f"peak memory of the first sync, {MANY:,} returns",
            f"< {PEAK_MEGABYTES} MB",
            f"{peak / 1e6:.0f} MB",
            peak < PEAK_MEGABYTES * 1e6,
        ),
    ]


def help_text(rounds: int, folder: Path) -> Measure:
    """``swapsync --help``."""
    taken = median(swapsync(["--help"], {}, folder).seconds for _ in range(rounds))
    return Measure("swapsync --help", f"< {HELP_SECONDS} s", f"{taken:.2f} s", taken < HELP_SECONDS)


def settle(sandbox: LocalSandbox, environment: Mapping[str, str], folder: Path) -> None:
    """Runs cycles until two in a row make the same number of requests. Raises CommandFailed when they don't."""
    made, seen = -1, len(sandbox.exchanges())
    for _ in range(SETTLING_CYCLES):
        swapsync(["sync"], environment, folder)
        before, made, seen = made, len(sandbox.exchanges()) - seen, len(sandbox.exchanges())
        if made == before:
            return
    raise CommandFailed(f"swapsync sync still makes {made} requests after {SETTLING_CYCLES} cycles without a change")


# -- the bare loop -----------------------------------------------------------------------------------------------------


def replay(sandbox: LocalSandbox, exchanges: Sequence[Mapping[str, Any]]) -> float:
    """Makes recorded calls anew, one after the other over one session a host; returns the seconds it took.

    Answers are received whole and not looked into, but for the token. Raises CommandFailed when one has another status
    than before, because then it did not do the same work.
    """
    settings = sandbox.environment
    sessions = {"swap": requests.Session(), "sparklayer": requests.Session()}
    sessions["swap"].headers["X-API-Key"] = settings["SWAPSYNC_SWAP_API_KEY"]
    sessions["sparklayer"].headers["Site-Id"] = settings["SWAPSYNC_SPARKLAYER_SITE_ID"]
    calls = []
    for each in exchanges:
        body = each["request_body"]
        if each["path"] == "/api/auth/token":
            body = {**body, "client_secret": settings["SWAPSYNC_SPARKLAYER_CLIENT_SECRET"]}
        url = settings[f"SWAPSYNC_{each['side'].upper()}_BASE_URL"] + each["path"]
        calls.append((sessions[each["side"]], each["method"], url, each["query"], body))
    statuses = []
    started = time.perf_counter()
    for session, method, url, query, body in calls:
        answer = session.request(method, url, params=query, json=body, timeout=60)
        statuses.append(answer.status_code)
        if url.endswith("/api/auth/token"):
            session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
    seconds = time.perf_counter() - started
    for session in sessions.values():
        session.close()
    if statuses != [each["status"] for each in exchanges]:
        raise CommandFailed("the bare loop got other answers than the sync whose calls it repeats")
    return seconds


# -- the data ----------------------------------------------------------------------------------------------------------


def fill(world: World, count: int) -> None:
    """``count`` returns of three lines over as many orders: 80 % closed and approved on account, the rest mixed."""
    now = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=HOURS_BACK)
    for number in range(buyers(count)):
        world.sparklayer.put_customer(buyer(number))
    for number in range(CATALOGUE):
        world.sparklayer.put_variant(variant_row(variant_id(number), sku(number)))
        world.sparklayer.set_level(sku(number), "default", 100)
    for number in range(count):
        placed = now - timedelta(days=60, minutes=number)
        order = order_row(number, placed, count)
        world.sparklayer.put_purchase(order)
        world.swap.put_return(returned(number, order, placed + timedelta(days=5), count))


def buyers(count: int) -> int:
    return max(1, count // 10)


def buyer(number: int) -> Row:
    return customer_row(
        f"buyer{number}@example.com",
        company_name=f"Buyer {number}",
        external_id=str(7_000_000 + number),
        balance=50_000,
    )


def sku(number: int) -> str:
    return f"SKU-{number % CATALOGUE:04}"


def variant_id(number: int) -> str:
    return str(44_000_000_000 + number % CATALOGUE)


def order_row(number: int, placed: datetime, count: int = FEW) -> Row:
    items = [
        line_item(
            sku(number * 7 + position),
            12 + position,
            net=Decimal("41.37") + position,
            tax=Decimal("8.27"),
            line_item_id=f"14{number:09}{position}",
            variant_id=variant_id(number * 7 + position),
            name="Enamel mug",
        )
        for position in range(5)
    ]
    return purchase_row(
        f"61{number:09}",
        f"#{number}",
        items,
        customer_id=buyer(number % buyers(count))["id"],
        payment_method="platform_upfront" if number % 20 == 19 else "invoice" if number % 3 == 0 else "on_account",
        customer_reference=f"PO-{number:06}",
        placed=placed,
    )


def returned(number: int, order: Row, at: datetime, count: int) -> Row:
    names, items = order["purchase_identifiers"], order["packages"][0]["line_items"]
    by_card = order["payment_method"] == "platform_upfront"
    lines = [
        return_line(
            item["identifiers"]["sku"],
            3,
            line_item_id=item["identifiers"]["platform"],
            variant_id=item["identifiers"]["variant"],
            cost="4.14",
            name=item["name_parent"],
        )
        for item in items[:3]
    ]
    delivered = {"delivery_status": "Delivered", "delivered": at + timedelta(days=2)}
    closed = {"return_status": "Closed", "quality_control_status": "Approved", "closed": at + timedelta(days=3)}
    stage: dict[str, Any] = {}
    if number % 20 not in (16, 17):
        stage |= delivered
    if number % 20 not in (16, 17, 18):
        stage |= closed
    return return_row(
        f"ret_{number:06}",
        f"{30_000 + number}",
        names["platform"],
        names["visible"],
        lines,
        customer_email=buyer(number % buyers(count))["email"],
        total="36.00",
        total_refunded="36.00" if by_card else 0,
        created=at,
        **stage,
    )


if __name__ == "__main__":
    sys.exit(main())
