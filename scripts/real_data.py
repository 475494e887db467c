"""Runs the main job on a real wholesaler's year of invoices, and compares what it decided with labelled returns.

    python scripts/real_data.py [--orders FILE] [--labels FILE]

A CSV of invoice lines in the Online Retail II shape becomes orders in SparkLayer and returns in Swap (see
swapsync/sandbox/uci.py), served over HTTP from a process of their own. ``swapsync sync`` runs against them with an
empty SQLite store. Then each credit line's fate is compared with the class that a plain rule gives it, each credit in
SparkLayer's ledger with an independent computation, and each customer's balance; a second run must change nothing.
Last, returns whose orders are taken away from them show how good suggestions are (see scripts/orphans.py).

Exit codes: 0 everything agrees or is explained, 1 something doesn't, 2 a file is missing or can't be read.
"""

import argparse
import csv
import gzip
import os
import sys
import tempfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import requests
from local_sandbox import CommandFailed, Finished, LocalSandbox, fresh_store, print_table, swapsync, writes
from orphans import KINDS, Shelf, read_suggestions, take_orders_away, verdict
from sqlalchemy import select

from swapsync.sandbox.uci import ATTRIBUTION, CURRENCY, Booking, Composition, UnreadableCsv, compose
from swapsync.sandbox.world import World
from swapsync.store.cases import credit_note_lines, credit_notes
from swapsync.store.db import Store
from swapsync.store.exceptions import exceptions
from swapsync.store.staging import returns

ORPHANS = ("NON_PRODUCT", "NO_CUSTOMER", "ORPHAN_NEVER", "ORPHAN_LATER")
CLASSES = ("MATCHED", "OVER", "EXHAUSTED", "ORPHAN_NEVER", "ORPHAN_LATER", "NO_CUSTOMER", "NON_PRODUCT")
EXPECTED = {
    "MATCHED": "credited with its PO number, or refunded by the gateway",
    "OVER": "held: QUANTITY_EXCEEDS_ORDER",
    "EXHAUSTED": "held: QUANTITY_EXCEEDS_ORDER",
    **dict.fromkeys(ORPHANS, "held: ORPHANED_RETURN"),
}
INFORMATION = {"PO_NUMBER_MISSING", "AMOUNT_MISMATCH", "SKU_CHANGED"}
"""Exceptions that hold nothing."""
PENNY = Decimal("0.01")
SUGGESTED_RIGHT = Decimal("0.95")
"""What share of orphans must come with the right order first, or be called ambiguous."""
Line = tuple[str, str]
"""A line of a return: return id and line id."""


class BadInput(Exception):
    """A file that can't be used, in one line."""


def main() -> int:
    arguments = _arguments()
    try:
        for file in (arguments.orders, arguments.labels):
            if not file.is_file():
                raise BadInput(
                    f"{file}: no such file; name it with --orders or --labels, or the folder with SWAPSYNC_REAL_DATA"
                )
        labels = read_labels(arguments.labels)
        composition = compose(arguments.orders)
        check_input(labels, composition, arguments)
    except (BadInput, UnreadableCsv) as problem:
        print(f"real_data: {problem}", file=sys.stderr)
        return 2
    print(ATTRIBUTION + "\n")
    try:
        problems = compare(composition, labels, arguments.orders)
        problems += compare_suggestions(composition, arguments.orders)
    except CommandFailed as failure:
        print(f"real_data: {failure}", file=sys.stderr)
        return 1
    print("\n" + ("Everything agrees or is explained." if not problems else f"{problems} disagreements."))
    return 1 if problems else 0


def _arguments() -> argparse.Namespace:
    folder = Path(os.environ.get("SWAPSYNC_REAL_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=Path, default=folder / "online_retail_dev.csv.gz", help="CSV of invoice lines")
    parser.add_argument("--labels", type=Path, default=folder / "return_labels_dev.csv.gz", help="CSV of their classes")
    return parser.parse_args()


def read_labels(path: Path) -> dict[int, tuple[str, str]]:
    """Credit note number and class of each credit line, by its data row in the orders file. Raises BadInput."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            rows = {int(row["line"]): (row["InvoiceNo"].strip(), row["class"]) for row in csv.DictReader(file)}
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror or error}") from error
    except (EOFError, zlib.error, UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise BadInput(
            f"{path}: not a CSV with the columns line, InvoiceNo and class: {type(error).__name__} {error}"
        ) from error
    if unknown := {label for _, label in rows.values()} - set(CLASSES):
        raise BadInput(f"{path}: unknown class {sorted(unknown)[0]!r}")
    return rows


def check_input(labels: Mapping[int, tuple[str, str]], composition: Composition, arguments: argparse.Namespace) -> None:
    """Raises BadInput unless there are orders and returns, and one label for each credit line."""
    if not composition.purchases or not composition.returns:
        raise BadInput(f"{arguments.orders}: there are no orders or no returns in it, so there is nothing to compare")
    numbers = {line.line: line.number for line in composition.credit_lines}
    labelled = {line: number for line, (number, _) in labels.items()}
    if odd := sorted(numbers.items() ^ labelled.items()):
        raise BadInput(
            f"{arguments.labels}: the labels are of another file: {len(labels):,} rows for {len(numbers):,} credit "
            f"lines, the first difference at data row {odd[0][0]}"
        )


def compare(composition: Composition, labels: Mapping[int, tuple[str, str]], orders: Path) -> int:
    """Runs the main job and prints what came of it; returns how many things don't agree."""
    with tempfile.TemporaryDirectory() as folder, LocalSandbox(partial(fill, orders=orders)) as sandbox:
        environment = sandbox.environment | fresh_store(Path(folder)) | _history_of(composition)
        first = swapsync(["sync", "--json"], environment, Path(folder))
        requests_made = len(sandbox.exchanges())
        ledger = read_ledger(sandbox, composition)
        before_second = len(sandbox.exchanges())
        second = swapsync(["sync", "--json"], environment, Path(folder))
        second_exchanges = sandbox.exchanges(before_second)
        ledger_after = read_ledger(sandbox, composition)
        decisions = read_decisions(environment["SWAPSYNC_DATABASE_URL"])
    expected = expected_credits(composition)
    print(
        f"{len(composition.purchases):,} orders of {len(composition.customers):,} customers, "
        f"{len(composition.returns):,} returns made of {len(composition.credit_lines):,} credit lines\n"
    )
    problems = print_classes(composition, labels, decisions, expected)
    problems += print_money(composition, expected, ledger, decisions)
    problems += print_second_run(second_exchanges, ledger == ledger_after)
    print_effort(first, requests_made, second)
    return problems


def compare_suggestions(composition: Composition, orders: Path) -> int:
    """Runs the reading and deciding jobs on returns that lost their order; returns how many targets are missed."""
    jobs = [word for job in ("poll_returns", "poll_orders", "reconcile") for word in ("--job", job)]
    with tempfile.TemporaryDirectory() as folder, LocalSandbox(partial(fill_orphans, orders=orders)) as sandbox:
        environment = sandbox.environment | fresh_store(Path(folder)) | _history_of(composition)
        swapsync(["sync", "--json", *jobs], environment, Path(folder))
        suggestions = read_suggestions(environment["SWAPSYNC_DATABASE_URL"])
    sent, orphans = take_orders_away(composition)
    shelf = Shelf(composition, sent)
    outcome: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    for orphan in orphans:
        expected = shelf.expected(orphan)
        outcome[expected.kind][verdict(expected, suggestions[orphan.row["return_id"]])] += 1
    print(f"\n{len(orphans):,} returns, each a whole credit note, whose order was taken away:\n")
    print_table(
        ("returns whose order is", " returns", " as it should be", " share", "else"),
        [
            (
                kind,
                seen.total(),
                seen[""],
                f"{seen[''] / max(1, seen.total()):.1%}",
                ", ".join(f"{count} {words}" for words, count in seen.most_common() if words),
            )
            for kind, seen in outcome.items()
        ],
    )
    return sum(outcome[kind][""] < SUGGESTED_RIGHT * outcome[kind].total() for kind in ("unambiguous", "ambiguous"))


def fill(world: World, orders: Path) -> None:
    """Puts the composed rows into a world."""
    composition = compose(orders)
    fill_with(world, composition, composition.returns)


def fill_with(world: World, composition: Composition, rows: Sequence[Mapping[str, Any]]) -> None:
    """Puts customers and orders into a world, and these returns."""
    for customer in composition.customers:
        world.sparklayer.put_customer(customer)
    for purchase in composition.purchases:
        world.sparklayer.put_purchase(purchase)
    for row in rows:
        world.swap.put_return(dict(row))


def fill_orphans(world: World, orders: Path) -> None:
    """Puts the composed rows into a world, the returns with some orders taken away."""
    composition = compose(orders)
    returns_sent, _ = take_orders_away(composition)
    fill_with(world, composition, returns_sent)


def _history_of(composition: Composition) -> dict[str, str]:
    """Settings by which the whole file is read, and every return of it has effects."""
    first_order = min(purchase["dates"]["updated_at"] for purchase in composition.purchases)
    first_return = min(row["submission_date"] for row in composition.returns)
    age = datetime.now(UTC) - datetime.fromisoformat(min(first_order, first_return))
    effects_from = datetime.fromisoformat(first_return) - timedelta(days=1)
    return {
        "SWAPSYNC_HISTORY_DAYS": str(age.days + 1),
        "SWAPSYNC_EFFECTS_FROM": effects_from.isoformat(),
        "SWAPSYNC_LOG_LEVEL": "WARNING",
    }


# -- what should come out, worked out without swapsync -----------------------------------------------------------------


class Expected(NamedTuple):
    """What a return line should come to. ``gross`` is in pounds, 0 where nothing is credited by a credit note."""

    order: Mapping[str, Any] | None
    fits: bool
    gross: Decimal
    value: Decimal

    @property
    def by_gateway(self) -> bool:
        return self.order is not None and self.order["payment_method"] == "platform_upfront"


def expected_credits(composition: Composition) -> dict[Line, Expected]:
    """Goes through the returns by submission: units left on the order line, value by cumulative rounding."""
    orders = {order["purchase_identifiers"]["platform"]: order for order in composition.purchases}
    left: dict[str, int] = {}
    credited: Counter[str] = Counter()
    expected: dict[Line, Expected] = {}
    for row in sorted(composition.returns, key=lambda row: (row["submission_date"], row["return_id"])):
        order = orders.get(row["order_id"])
        for product in row["products"]:
            key = row["return_id"], product["product_id"]
            if order is None:
                expected[key] = Expected(None, False, Decimal(0), Decimal(0))
                continue
            item = _ordered_item(order, product)
            name, sold, units = item["identifiers"]["platform"], item["quantity"], product["item_count"]
            fits = units <= left.setdefault(name, sold)
            left[name] -= min(units, left[name])
            value = Decimal(0)
            if fits:
                for part in ("total_net", "total_tax"):
                    total = Decimal(item["line_total"][part]["number"])
                    value += _share(total, credited[name] + units, sold) - _share(total, credited[name], sold)
                credited[name] += units
            by_gateway = order["payment_method"] == "platform_upfront"
            expected[key] = Expected(order, fits, Decimal(0) if by_gateway else value, value)
    return expected


def _ordered_item(order: Mapping[str, Any], product: Mapping[str, Any]) -> Mapping[str, Any]:
    items = order["packages"][0]["line_items"]
    for field_, kind in (("shopify_line_item_id", "platform"), ("shopify_variant_id", "variant"), ("sku", "sku")):
        if product[field_]:
            (item,) = (item for item in items if item["identifiers"][kind] == product[field_])
            return item  # type: ignore[no-any-return]
    raise AssertionError(f"{product['product_id']} names nothing")


def _share(total: Decimal, units: int, of_units: int) -> Decimal:
    return (total * units / of_units).quantize(PENNY, ROUND_HALF_UP)


# -- what came out -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Decisions:
    """What swapsync's store says. Money in pounds."""

    settlement: dict[str, str] = field(default_factory=dict)
    codes: dict[Line, set[str]] = field(default_factory=lambda: defaultdict(set))
    codes_of_return: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    credits: dict[Line, tuple[int, str]] = field(default_factory=dict)
    credit_notes: list[tuple[str, Decimal]] = field(default_factory=list)


def read_decisions(database_url: str) -> Decisions:
    """Settlements and open exceptions by return and line; (units, PO number) by credited line; (currency, gross)."""
    found = Decisions()
    store = Store(database_url)
    with store.reading() as connection:
        for row in connection.execute(select(returns.c.return_id, returns.c.settlement)):
            found.settlement[row.return_id] = row.settlement
        for row in connection.execute(select(exceptions).where(exceptions.c.status == "open")):
            if row.subject:
                found.codes[row.return_id, row.subject].add(row.code)
            else:
                found.codes_of_return[row.return_id].add(row.code)
        for credited in connection.execute(
            select(
                credit_notes.c.return_id,
                credit_notes.c.po_number,
                credit_note_lines.c.line_id,
                credit_note_lines.c.quantity,
            )
            .join(credit_note_lines, credit_note_lines.c.number == credit_notes.c.number)
            .where(credit_notes.c.state == "delivered")
        ):
            found.credits[credited.return_id, credited.line_id] = (credited.quantity, credited.po_number)
        for row in connection.execute(select(credit_notes)):
            found.credit_notes.append((row.currency, Decimal(row.net + row.tax) / 100))
    store.close()
    return found


@dataclass(frozen=True, slots=True)
class Ledger:
    """What SparkLayer says: transactions by the order's platform id, balances in pounds by the customer's id."""

    transactions: Mapping[str, tuple[Mapping[str, Any], ...]]
    balances: Mapping[str, Decimal]


def read_ledger(sandbox: LocalSandbox, composition: Composition) -> Ledger:
    """Asks SparkLayer's API for the transactions of every returned order and the balance of every customer."""
    settings = sandbox.environment
    base = settings["SWAPSYNC_SPARKLAYER_BASE_URL"]
    with requests.Session() as session:
        session.headers["Site-Id"] = settings["SWAPSYNC_SPARKLAYER_SITE_ID"]

        def get(path: str) -> Any:
            answer = session.get(base + path, timeout=60)
            answer.raise_for_status()
            return orjson.loads(answer.content)

        credentials = {
            "grant_type": "client_credentials",
            "client_id": settings["SWAPSYNC_SPARKLAYER_CLIENT_ID"],
            "client_secret": settings["SWAPSYNC_SPARKLAYER_CLIENT_SECRET"],
        }
        answer = session.post(f"{base}/api/auth/token", json=credentials, timeout=60)
        answer.raise_for_status()
        session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        known = {order["purchase_identifiers"]["platform"] for order in composition.purchases}
        returned = sorted({row["order_id"] for row in composition.returns} & known)
        return Ledger(
            {order: tuple(get(f"/api/v1/purchases/platform/{order}/transactions")) for order in returned},
            {
                customer["id"]: Decimal(
                    get(f"/api/v2/customers/sparklayer/{customer['id']}")["payment_on_account"]["balance"]
                )
                for customer in composition.customers
            },
        )


# -- comparison --------------------------------------------------------------------------------------------------------


def print_classes(
    composition: Composition,
    labels: Mapping[int, tuple[str, str]],
    decisions: Decisions,
    expected: Mapping[Line, Expected],
) -> int:
    """Prints what became of each class; returns how many lines came out otherwise than they should, unexplained."""
    lines: Counter[str] = Counter()
    agreed: Counter[str] = Counter()
    explained: dict[str, Counter[str]] = defaultdict(Counter)
    otherwise: dict[str, Counter[str]] = defaultdict(Counter)
    fates: dict[str, Counter[str]] = defaultdict(Counter)
    for credit_line in composition.credit_lines:
        label = labels[credit_line.line][1]
        came_out = [fate(booking, decisions, expected) for booking in credit_line.bookings]
        lines[label] += 1
        fates[label].update(set(came_out))
        wrong = unexpected(label, credit_line.bookings, came_out, expected)
        reasons = {why_otherwise(booking, word, expected) for booking, word in wrong}
        if not wrong:
            agreed[label] += 1
        elif "" in reasons:
            otherwise[label][" + ".join(sorted({word for _, word in wrong}))] += 1
        else:
            explained[label][" + ".join(sorted(reasons))] += 1
    print_table(
        ("class", "expected", " lines", " as expected", " explained", " otherwise"),
        [
            (
                label,
                EXPECTED[label],
                lines[label],
                agreed[label],
                explained[label].total(),
                otherwise[label].total(),
            )
            for label in CLASSES
        ],
    )
    print_table(
        ("class", "came out as", " lines"),
        [(label, word, count) for label in CLASSES for word, count in fates[label].most_common()],
    )
    for label in CLASSES:
        for reason, count in explained[label].items():
            print(f"Explained: {count} {label}: {reason}.")
        for words, count in otherwise[label].items():
            print(f"OTHERWISE: {count} {label} came out as: {words}.")
    return sum(counter.total() for counter in otherwise.values())


def fate(booking: Booking, decisions: Decisions, expected: Mapping[Line, Expected]) -> str:
    """What swapsync did with a return line, in words."""
    key = booking.return_id, booking.product_id
    of_return = decisions.codes_of_return.get(booking.return_id, set())
    if holding := sorted((decisions.codes.get(key, set()) | of_return) - INFORMATION):
        return f"held: {', '.join(holding)}"
    if key not in decisions.credits:
        settlement = decisions.settlement[booking.return_id].replace("_", " ")
        return HELD_BESIDE if settlement == "held" else settlement
    units, po_number = decisions.credits[key]
    order = expected[key].order
    wanted = order["customer_reference"] if order else ""
    if units != booking.units:
        return f"credited {units} of {booking.units} units"
    if po_number != wanted:
        return "credited with another PO number"
    if wanted:
        return CREDITED
    return CREDITED_WITHOUT_PO if "PO_NUMBER_MISSING" in of_return else "credited without PO number, unreported"


CREDITED = "credited with its PO number"
CREDITED_WITHOUT_PO = "credited; its order has no PO number, PO_NUMBER_MISSING is open"
HELD_BESIDE = "free itself, its return held for another line"


def unexpected(
    label: str, bookings: Sequence[Booking], came_out: Sequence[str], expected: Mapping[Line, Expected]
) -> list[tuple[Booking, str]]:
    """The return lines of a credit line whose fate its class does not foresee.

    Of units booked on several orders, only what stands on the last one can be more than was sold.
    """
    pairs = list(zip(bookings, came_out, strict=True))
    if label in ORPHANS:
        return [pair for pair in pairs if pair[1] != EXPECTED[label]]
    last_exceeds = label != "MATCHED"
    wrong = [pairs.pop()] if last_exceeds else []
    wrong = [pair for pair in wrong if pair[1] != EXPECTED[label]]
    for booking, word in pairs:
        by_gateway = expected[booking.return_id, booking.product_id].by_gateway
        if word not in (("refunded by gateway",) if by_gateway else (CREDITED, CREDITED_WITHOUT_PO)):
            wrong.append((booking, word))
    return wrong


def why_otherwise(booking: Booking, word: str, expected: Mapping[Line, Expected]) -> str:
    """The reason for which a matched line may come to something else; blank where there is none."""
    line = expected[booking.return_id, booking.product_id]
    if line.fits and line.value == 0 and word in ("none", HELD_BESIDE):
        return "sold at a price of 0.00, so there is nothing to credit"
    if line.fits and line.by_gateway and word == HELD_BESIDE:
        return "paid by card, refunded by the gateway together with a line that exceeds its order: the return is held"
    return ""


def print_money(
    composition: Composition, expected: Mapping[Line, Expected], ledger: Ledger, decisions: Decisions
) -> int:
    """Prints credits and balances beside what they should be; returns how many differ."""
    should: dict[str, Decimal] = defaultdict(Decimal)
    po_numbers: dict[str, str] = {}
    owed = {c["id"]: Decimal(c["payment_on_account"]["balance"]) for c in composition.customers}
    for (return_id, _), line in expected.items():
        if line.gross and line.order:
            should[return_id] += line.gross
            po_numbers[return_id] = line.order["customer_reference"]
            owed[line.order["customer_identifiers"]["sparklayer"]] -= line.gross
    recorded: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for transactions in ledger.transactions.values():
        for transaction in transactions:
            recorded[transaction["full_transaction"]["return_id"]].append(transaction)
    totals: dict[str, Decimal] = defaultdict(Decimal)
    for each in (transaction for transactions in recorded.values() for transaction in transactions):
        totals[each["total"]["currency"]] -= Decimal(each["total"]["number"])
    notes: dict[str, Decimal] = defaultdict(Decimal)
    for currency, gross in decisions.credit_notes:
        notes[currency] += gross
    wanted = {CURRENCY: sum(should.values(), Decimal(0))}
    print()
    print_table(
        ("currency", " credits", " SparkLayer's ledger", " our credit notes", " computed from the CSV", " difference"),
        [
            (
                currency,
                sum(each["total"]["currency"] == currency for group in recorded.values() for each in group),
                f"{totals[currency]:,}",
                f"{notes[currency]:,}",
                f"{wanted.get(currency, Decimal(0)):,}",
                f"{totals[currency] - wanted.get(currency, Decimal(0)):,}",
            )
            for currency in sorted(totals | wanted)
        ],
    )
    right = sum(
        _is_right(return_id, recorded.get(return_id, []), should[return_id], po_numbers) for return_id in should
    )
    surplus = len(recorded.keys() - should.keys())
    balanced = sum(ledger.balances[customer] == balance for customer, balance in owed.items())
    print(
        f"Returns credited once, to the penny, under their own id and PO number: {right:,} of {len(should):,}; "
        f"returns credited that shouldn't be: {surplus}."
    )
    print(f"Customers whose SparkLayer balance is what they owed less their credits: {balanced:,} of {len(owed):,}.")
    return (len(should) - right) + surplus + (len(owed) - balanced) + (notes != totals)


def _is_right(
    return_id: str, transactions: Sequence[Mapping[str, Any]], gross: Decimal, po_numbers: Mapping[str, str]
) -> bool:
    if len(transactions) != 1:
        return False
    (transaction,) = transactions
    return (
        transaction["platform_id"] == f"swap:{return_id}:credit:1"
        and Decimal(transaction["total"]["number"]) == -gross
        and transaction["apply_to_balance"] is True
        and transaction["full_transaction"]["customer_reference"] == po_numbers[return_id]
    )


def print_second_run(exchanges: Sequence[Mapping[str, Any]], same: bool) -> int:
    """Prints what the second cycle did outside; returns how many writes it made, or 1 where the ledger moved."""
    written = len(writes(exchanges))
    ledger = "the same" if same else "NOT the same"
    print(
        f"A second cycle: {len(exchanges):,} requests, {written} of them writes; "
        f"transactions and balances afterwards are {ledger}."
    )
    return max(written, int(not same))


def print_effort(first: Finished, calls: int, second: Finished) -> None:
    """Prints what the two cycles took."""
    print(
        f"First cycle: {calls:,} requests in {first.seconds:.1f} s, peak memory {first.peak_memory / 1e6:.0f} MB. "
        f"Second: {second.seconds:.1f} s, {second.peak_memory / 1e6:.0f} MB."
    )


if __name__ == "__main__":
    sys.exit(main())
