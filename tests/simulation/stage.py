"""Plays a story: makes the other side do what the story says, lets the workers run, and has everything checked."""

import random
import shutil
import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import singledispatchmethod
from pathlib import Path
from typing import Any
from unittest.mock import patch

from apscheduler.schedulers import base as apscheduler  # type: ignore[import-untyped]
from sqlalchemy import select

from swapsync import daemon
from swapsync.connectors import swap
from swapsync.domain.catalogue import Code
from swapsync.jobs import backfill, delivery, poll_orders, poll_returns, push_restocks, reconcile
from swapsync.jobs.corrections import VoidRefused, void_credit_note
from swapsync.jobs.cycle import JOBS
from swapsync.jobs.inspection import Entry, record_findings
from swapsync.jobs.restored import mark_restored
from swapsync.jobs.rulings import RulingRefused, rule
from swapsync.sandbox.server import API_KEY, CLIENT_ID, CLIENT_SECRET, SITE_ID, STORE_ID
from swapsync.sandbox.world import (
    World,
    customer_row,
    line_item,
    parse_moment,
    purchase_row,
    return_line,
    return_row,
    spark_time,
    stable_uuid,
    swap_time,
    variant_row,
)
from swapsync.settings import SiteSettings, load_settings
from swapsync.store import controls, leases
from swapsync.store.backup import back_up, restore
from swapsync.store.db import Store
from swapsync.store.exceptions import exceptions
from swapsync.store.outbox import GRACE
from tests.simulation.checker import Checker, Wrong
from tests.simulation.machine import (
    Answer,
    Baton,
    Disk,
    Heart,
    MachineClock,
    Now,
    Plan,
    Process,
    Scheduler,
    Threads,
    Time,
)
from tests.simulation.reference import Ordered, Rma, Rules, amount, part
from tests.simulation.story import (
    VARIANTS,
    Amend,
    Announce,
    Back,
    CallOff,
    Close,
    Correct,
    Dusk,
    Find,
    Forget,
    Old,
    Pause,
    Place,
    Race,
    Rename,
    Resell,
    Revise,
    Run,
    Sell,
    Shift,
    Skew,
    Step,
    Story,
    Travel,
    Void,
    Withdraw,
)

SITE = "default"
BUYERS = {
    "buyer": "buyer@acme.example",
    "BUYER": "BUYER@ACME.example",
    "colleague": "colleague@acme.example",
    "stranger": "someone@else.example",
    "nobody": "nobody@nowhere.example",
}
QUIET_CYCLES = 8
DAEMON_EVERY = 1800
TOKEN_SECONDS = 1500  # less, so that a daemon's token has run out by its next cycle


class Machines:
    """Two workers' machines and one database, kept from story to story, because to build them is slow."""

    def __init__(self) -> None:
        ram = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(prefix="swapsync-sim-", dir=ram if ram.is_dir() else None))
        self.database = self.folder / "swapsync.db"
        url = f"sqlite:///{self.database}"
        template = Store(f"sqlite:///{self.folder / 'template.db'}")
        template.upgrade()
        template.close()
        self.disks = {"A": Disk(url), "B": Disk(url)}
        self.office = Store(url)
        """Where the staff works, and the checker looks; nothing of it fails."""
        self._sites: dict[tuple[tuple[str, str], ...], SiteSettings] = {}

    def fresh(self) -> None:
        """An empty database with the schema."""
        self.let_go()
        for name in ("swapsync.db-wal", "swapsync.db-shm"):
            (self.folder / name).unlink(missing_ok=True)
        shutil.copyfile(self.folder / "template.db", self.database)

    def let_go(self) -> None:
        """Nobody has the database open any more."""
        for store in (self.office, *(disk.store for disk in self.disks.values())):
            store.engine.dispose()

    def site(self, options: dict[str, str], start: datetime) -> SiteSettings:
        """The site with these settings, each job due every half hour; what closed before ``start`` is settled."""
        environment = {
            "SWAPSYNC_SWAP_BASE_URL": "http://127.0.0.1:1/swap",
            "SWAPSYNC_SWAP_API_KEY": API_KEY,
            "SWAPSYNC_SWAP_STORE_ID": STORE_ID,
            "SWAPSYNC_SPARKLAYER_BASE_URL": "http://127.0.0.1:1/sparklayer",
            "SWAPSYNC_SPARKLAYER_SITE_ID": SITE_ID,
            "SWAPSYNC_SPARKLAYER_CLIENT_ID": CLIENT_ID,
            "SWAPSYNC_SPARKLAYER_CLIENT_SECRET": CLIENT_SECRET,
            "SWAPSYNC_SPARKLAYER_REQUESTS_PER_MINUTE": "0",
            "SWAPSYNC_EFFECTS_FROM": start.isoformat(),
        } | {f"SWAPSYNC_{name.upper()}": value for name, value in options.items()}
        key = tuple(sorted(environment.items()))
        if key not in self._sites:
            site = load_settings(environment, self.folder).sites[0]
            self._sites[key] = site.model_copy(update={"schedule": dict.fromkeys(JOBS, DAEMON_EVERY)})
        return self._sites[key]

    def close(self) -> None:
        for store in (self.office, *(disk.store for disk in self.disks.values())):
            store.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> "Machines":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass
class Stage:
    """One story being played. ``told`` is what happened, in words."""

    machines: Machines
    story: Story
    told: list[str] = field(default_factory=list)

    def play(self) -> None:
        """Plays the story. Raises Wrong with what should not be."""
        random.seed(self.story.seed)  # the retries' jitter
        self.machines.fresh()
        self.set_up(Time(self.story.start))
        with ExitStack() as small:
            self._small(small)
            for step in self.story.steps:
                self.time.pass_(step.wait)
                self.do(step)

    def set_up(self, time: Time) -> None:
        """The world as it is before the first step."""
        story, self.time = self.story, time
        self.world = World(now=lambda: self.time.moment)
        self.world.sparklayer.token_seconds = TOKEN_SECONDS
        self.clocks = {name: MachineClock(self.time, self._buy_something) for name in "AB"}
        self.buyers = random.Random(story.seed)
        self.site = self.machines.site(story.site, story.start - timedelta(days=2))
        self.rules = Rules(self.site.settle_on, self.site.restock_on, self.site.uses_swap_qc, self.site.po_required)
        self.rmas: dict[int, Rma] = {}
        self.orders: dict[int, Ordered] = {}
        self.skus = {variant: f"SKU-{variant}" for variant in range(VARIANTS)}
        self.all_skus = {variant: [sku] for variant, sku in self.skus.items()}
        self.sold: Counter[int] = Counter()
        self.levels_before: dict[int, int] = {}
        self.waiting: list[Find | Close] = []
        self.paused: set[str] = set()
        self.restored = False
        self.processes = 0
        self.heard: dict[str, dict[int, Answer]] = {"A": {}, "B": {}}
        self.checker = Checker(self)
        for email in ("buyer", "stranger"):
            self.world.sparklayer.put_customer(customer_row(BUYERS[email]))
        head = stable_uuid(f"customer:{BUYERS['buyer']}")
        self.world.sparklayer.put_customer(customer_row(BUYERS["colleague"], parent_customer_id=head))
        for variant, level in enumerate(story.stock):
            self.world.sparklayer.put_variant(variant_row(f"v{variant}", self.skus[variant]))
            if level is not None:
                self.world.sparklayer.set_level(self.skus[variant], "default", level)

    def _small(self, stack: ExitStack) -> None:
        """Small pages and batches, so that a handful of rows is a long list."""
        pages, batch = self.story.pages, self.story.batch
        for module, name, size in (
            (swap, "PAGE_SIZE", pages),
            (poll_orders, "PAGE", max(2, pages)),
            (poll_returns, "PAGES_AT_ONCE", min(2, pages)),
            (poll_orders, "BATCH", batch),
            (backfill, "WINDOW", timedelta(hours=12)),
            (reconcile, "BATCH", batch),
            (push_restocks, "PAIRS", max(2, batch)),
        ):
            stack.enter_context(patch.object(module, name, size))
        defaults = (batch,)
        stack.enter_context(patch.object(delivery.deliver, "__defaults__", defaults))
        stack.enter_context(patch.object(leases, "Thread", Heart))
        stack.enter_context(patch.object(daemon, "BackgroundScheduler", Scheduler))
        stack.enter_context(patch.object(daemon, "ThreadPoolExecutor", Threads))
        stack.enter_context(patch.object(apscheduler, "datetime", Now))
        stack.enter_context(patch.object(Heart, "office", self.machines.office, create=True))
        # Machines whose clocks differ share a store with its own clock, as PostgreSQL has; a SQLite is on one host.
        stack.enter_context(patch.object(Store, "now", lambda *_: self.time.moment))

    def tell(self, words: str) -> None:
        self.told.append(f"{self.time.moment:%a %d %H:%M:%S}  {words}")

    # -- the other side ----------------------------------------------------------------------------------------------

    @singledispatchmethod
    def do(self, step: Step) -> None:
        raise NotImplementedError(type(step))

    @do.register
    def _(self, step: Place) -> None:
        if step.order in self.orders:
            return
        skus = tuple(self.skus[line.variant] for line in step.lines)
        lines = [
            line_item(
                sku,
                line.quantity,
                net=amount(line.net, step.currency),
                tax=amount(line.tax, step.currency),
                line_item_id=f"li-{step.order}-{position}",
                variant_id=f"v{line.variant}",
                currency=step.currency,
            )
            for position, (line, sku) in enumerate(zip(step.lines, skus, strict=True))
        ]
        self.orders[step.order] = Ordered(step, step.po, skus)
        self.world.sparklayer.put_purchase(
            purchase_row(
                f"50{step.order}",
                f"#{step.order}",
                lines,
                customer_id=stable_uuid(f"customer:{BUYERS[step.buyer]}"),
                payment_method=step.method,
                customer_reference=step.po or None,
                currency=step.currency,
                placed=self.time.moment - timedelta(seconds=step.late),
            )
        )
        goods = ", ".join(
            f"{line.quantity} {sku} for {amount(line.net, step.currency)} + {amount(line.tax, step.currency)}"
            for line, sku in zip(step.lines, skus, strict=True)
        )
        po = f"PO {step.po or '(none)'}{self._late(step)}"
        self.tell(f"order #{step.order} placed: {goods} {step.currency}, {step.method}, {po}")

    @do.register
    def _(self, step: Revise) -> None:
        ordered = self.orders.get(step.order)
        if ordered is None:
            return
        changes: dict[str, Any] = {"customer_reference": step.po} if step.po else {}
        before = parse_moment(self.world.sparklayer.purchases[f"50{step.order}"]["dates"]["updated_at"])
        assert before is not None
        at = max(self.time.moment - timedelta(seconds=step.late), before + timedelta(seconds=1))
        changes["dates"] = {"updated_at": spark_time(min(at, self.time.moment))}
        self.world.sparklayer.change_purchase(f"50{step.order}", **changes)
        self.orders[step.order] = replace(ordered, po=step.po or ordered.po)
        self.tell(f"order #{step.order} touched{f', PO {step.po}' if step.po else ''}{self._late(step)}")

    @staticmethod
    def _late(step: Step) -> str:
        return f", shown {step.late} s late" if step.late else ""

    @do.register
    def _(self, step: Withdraw) -> None:
        ordered = self.orders.get(step.order)
        theirs = [rma for rma in self.rmas.values() if rma.order == step.order]
        rows = [self.world.swap.get_return(rma.id) for rma in theirs]
        if (
            ordered is None
            or any(rma.found for rma in theirs)
            or any(r["delivery_status"] == "Delivered" for r in rows)
        ):
            return
        package = dict(self.world.sparklayer.purchases[f"50{step.order}"]["packages"][0], type="cancelled")
        self.world.sparklayer.change_purchase(
            f"50{step.order}", packages=[package], calculated_fulfilment_status="cancelled"
        )
        self.orders[step.order] = replace(ordered, cancelled=True)
        self.tell(f"order #{step.order} cancelled")

    @do.register
    def _(self, step: Announce) -> None:
        if step.ret in self.rmas:
            return
        sold = self._place_of(step.order)
        if sold is None:
            return
        self._put(step, sold, step.lines, odd=step.odd, buyer=step.buyer, created=self.time.moment, late=step.late)
        goods = ", ".join(f"{b.quantity} of line {b.line} by {b.by} as {b.return_type}" for b in step.lines)
        odd = f", odd {step.odd}" if step.odd else ""
        self.tell(f"return r{step.ret} of #{step.order} announced by {step.buyer}: {goods}{odd}{self._late(step)}")

    @do.register
    def _(self, step: Old) -> None:
        sold = self._place_of(step.order)
        if sold is None or step.ret in self.rmas:
            return
        closed = self.story.start - timedelta(days=5)
        self._put(step, sold, step.lines, created=closed - timedelta(days=3))
        self.world.swap.change_return(
            f"r{step.ret}",
            return_status="Closed",
            delivery_status="Delivered",
            quality_control_status="Approved",
            date_closed=swap_time(closed),
            date_updated=swap_time(closed),
        )
        self.rmas[step.ret].outside = True
        self.tell(f"return r{step.ret} of #{step.order} was closed before the cut-over")

    def _place_of(self, order: int) -> Place | None:
        if order in self.orders:
            return self.orders[order].place
        return next((s for s in self.story.steps if isinstance(s, Place) and s.order == order), None)

    def _put(
        self,
        step: Announce | Old,
        sold: Place,
        backs: tuple[Back, ...],
        *,
        created: datetime,
        odd: str = "",
        buyer: str = "buyer",
        late: int = 0,
    ) -> None:
        lines, means = [], []
        for back in backs:
            target = sold.lines[back.line]
            once = [line.variant for line in sold.lines].count(target.variant) == 1
            sku = self.skus[target.variant]
            names: dict[str, Any] = {
                "line": {"line_item_id": f"li-{sold.order}-{back.line}", "variant_id": f"v{target.variant}"},
                "variant": {"variant_id": f"v{target.variant}"},
            }.get(back.by, {})
            means.append(back.line if back.by == "line" or (back.by != "typo" and once) else None)
            sku = sku.lower() if back.by == "typo" else sku
            lines.append(return_line(sku, back.quantity, return_type=back.return_type, **names))
        rma = self.rmas[step.ret] = Rma(step.ret, sold.order, means)
        rma.friend = buyer in ("buyer", "BUYER", "colleague")
        row = return_row(
            rma.id,
            f"RMA-{step.ret}",
            f"50{sold.order}",
            f"#{sold.order}",
            lines,
            customer_email=BUYERS[buyer],
            customer_currency="USD" if odd == "currency" else sold.currency,
            return_status="Pondering" if odd == "status" else "Open",
            delivery_status="Pre-Transit",
            total=0,
            created=created - timedelta(seconds=late),
        )
        row["total"] = self._worth(row, sold, means) * (3 if odd == "total" else 1)
        if odd == "malformed":
            rma.malformed = True
            row |= {"products": None, "return_shipments": [], "kept": row["products"]}
        self.world.swap.put_return(row, malformed=rma.malformed)

    @staticmethod
    def _worth(row: dict[str, Any], sold: Place, means: list[int | None]) -> Decimal:
        minor = 0
        for product, target in zip(row["products"], means, strict=True):
            line = sold.lines[target if target is not None else 0]
            units = min(product["item_count"], line.quantity)
            minor += part(line.net, units, line.quantity) + part(line.tax, units, line.quantity)
        return amount(minor, sold.currency)

    def _change(self, ret: int, late: int = 0, **fields: Any) -> None:
        """A new version of a return; a later version is never dated before an earlier one."""
        row = self.world.swap.get_return(f"r{ret}")
        before = parse_moment(row["date_updated"])
        assert before is not None
        at = max(self.time.moment - timedelta(seconds=late), before + timedelta(milliseconds=1))
        self.world.swap.change_return(f"r{ret}", date_updated=swap_time(at), **fields)

    def _row(self, ret: int) -> dict[str, Any] | None:
        """The row of a return that can still change."""
        rma = self.rmas.get(ret)
        return None if rma is None or rma.outside or rma.malformed else self.world.swap.get_return(rma.id)

    @do.register
    def _(self, step: Correct) -> None:
        rma = self.rmas.get(step.ret)
        if rma is None or rma.outside or rma.changed is not None:
            return
        row = self.world.swap.get_return(rma.id)
        sold = self._place_of(rma.order)
        assert sold is not None
        if rma.malformed:
            rma.malformed = False
            row["products"] = row.pop("kept")
            self.world.swap.put_return(row)
        fields: dict[str, Any] = {"customer_currency": sold.currency, "total": self._worth(row, sold, rma.lines)}
        if row["return_status"] == "Pondering":
            fields["return_status"] = "Open"
        self._change(step.ret, **fields)
        self.tell(f"return r{step.ret} corrected")

    @do.register
    def _(self, step: Travel) -> None:
        row = self._row(step.ret)
        if row is None or row["return_status"] in ("Closed", "Cancelled", "Expired"):
            return
        if row["delivery_status"] != "Delivered":
            delivered = {"delivered_date": swap_time(self.time.moment)} if step.to == "Delivered" else {}
            rma = self.rmas[step.ret]
            rma.came_unaware = rma.came_unaware or (bool(delivered) and self.checker.is_unaware(rma.order))
            self._change(step.ret, step.late, delivery_status=step.to, **delivered)
            self.tell(f"return r{step.ret} {step.to}")

    @do.register
    def _(self, step: Amend) -> None:
        row, rma = self._row(step.ret), self.rmas.get(step.ret)
        if row is None or rma is None or row["products"][step.line]["item_count"] == step.quantity or rma.found:
            return
        if step.credited:
            if not self._freeze(rma, row):
                return
        elif row["delivery_status"] == "Delivered" or step.quantity > row["products"][step.line]["item_count"]:
            return
        products = [dict(product) for product in row["products"]]
        products[step.line]["item_count"] = step.quantity
        sold = self._place_of(rma.order)
        assert sold is not None
        self._change(step.ret, products=products, total=self._worth({"products": products}, sold, rma.lines))
        self.tell(f"return r{step.ret}: line {step.line} is now {step.quantity} units")

    @do.register
    def _(self, step: CallOff) -> None:
        row, rma = self._row(step.ret), self.rmas.get(step.ret)
        if row is None or rma is None or rma.found:
            return
        if step.credited:
            if not self._freeze(rma, row):
                return
        elif row["delivery_status"] == "Delivered" or row["return_status"] != "Open":
            return
        self._change(step.ret, step.late, return_status=step.status)
        self.tell(f"return r{step.ret} {step.status}")

    def _freeze(self, rma: Rma, row: dict[str, Any]) -> bool:
        """Whether a return is credited, so that a change comes after it; notes what stood at that moment."""
        if rma.changed is not None or not self.checker.is_credited(rma):
            return False
        paid = self.checker.paid()
        rma.changed = {line: units for (return_id, line), units in paid.items() if return_id == rma.id}
        rma.standing = row
        return True

    @do.register
    def _(self, step: Close) -> None:
        row, rma = self._row(step.ret), self.rmas.get(step.ret)
        if row is None or rma is None or row["return_status"] in ("Closed", "Cancelled", "Expired"):
            return
        if rma.changed is not None:  # after a void a person looks at it first
            return
        if any(other.ret == step.ret for other in self.waiting):
            self.waiting.append(step)  # the warehouse has said something that isn't typed in yet
            return
        refunded = row["total"] if step.refunded and not rma.found else 0
        self._change(
            step.ret,
            step.late,
            return_status="Closed",
            quality_control_status=step.qc,
            date_closed=swap_time(self.time.moment),
            total_refund_value_customer_currency=refunded,
        )
        money = f", {refunded} refunded" if refunded else ""
        self.tell(f"return r{step.ret} closed, {row['delivery_status']}, QC {step.qc}{money}")

    @do.register
    def _(self, step: Find) -> None:
        if not self._find(step):
            self.waiting.append(step)

    def _find(self, step: Find) -> bool:
        """The warehouse types in what it found; false while the return, or what it announces now, is not known here."""
        row, rma = self._row(step.ret), self.rmas.get(step.ret)
        if rma is None or rma.outside or rma.changed is not None:
            return True
        if row is None or not self.checker.began() or not self.checker.has_read_units(rma):
            return False
        if row["return_status"] in ("Cancelled", "Expired") or (row["return_status"] == "Closed") != step.credited:
            return not step.credited or row["return_status"] != "Open"
        paid = self.checker.paid()
        if step.credited and not (paid.get((rma.id, step.line)) and self.checker.is_credited(rma)):
            return not paid  # credited on Swap's word first, or never
        if step.credited and self.rules.settle_on != "swap_closed":
            return True
        sku = row["products"][step.line]["sku"]
        if rma.units(step.line) + step.quantity > row["products"][step.line]["item_count"]:
            return True
        if [product["sku"] for product in row["products"]].count(sku) > 1:
            return True
        key = f"finding-{step.ret}-{step.line}-{len(rma.found)}"
        entry = Entry(f"RMA-{step.ret}", sku, step.condition, str(step.quantity), key)
        intake = record_findings(self.machines.office, SITE, [entry], actor="warehouse", now=self.time.moment)
        if intake.taken:
            rma.found.append((step.line, step.condition, step.quantity))
            rma.came_unaware = rma.came_unaware or self.checker.is_unaware(rma.order)
            if step.credited:
                rma.paid_before_found.add(step.line)
            self.tell(f"warehouse: {step.quantity} of r{step.ret} line {step.line} are {step.condition}")
            return True
        return "more than" in intake.refused[0][1]

    @do.register
    def _(self, step: Rename) -> None:
        if step.sku in self.all_skus[step.variant] or not self.checker.has_read(step.variant):
            return
        self.levels_before.pop(step.variant, None)
        self.world.sparklayer.change_variant(f"v{step.variant}", sku=step.sku)
        self.skus[step.variant] = step.sku
        self.all_skus[step.variant].append(step.sku)
        self.tell(f"variant v{step.variant} is now {step.sku}")

    @do.register
    def _(self, step: Sell) -> None:
        self._sell(step.variant, min(self._level(step.variant), step.quantity))

    @do.register
    def _(self, step: Resell) -> None:
        for variant, before in self.levels_before.items():
            self._sell(variant, self._level(variant) - before)

    def _buy_something(self, waiting: MachineClock) -> None:
        """Somebody buys while a worker waits; not between the other one's look and the arrival of its write."""
        if any(clock.has_looked for clock in self.clocks.values() if clock is not waiting):
            return
        for variant in self.skus:
            if self.buyers.random() < 0.5:
                self._sell(variant, min(1, self._level(variant)))

    def _level(self, variant: int) -> int:
        return self.world.sparklayer.level(self.skus[variant], "default") or 0

    def _sell(self, variant: int, units: int) -> None:
        if units > 0 and not self.time.has_to_come:  # a level that arrives late is what it was before the sale
            sku, left = self.skus[variant], self._level(variant) - units
            self.world.sparklayer.set_level(sku, "default", left)
            self.sold[variant] += units
            self.tell(f"{units} {sku} sold, {left} left")

    @do.register
    def _(self, step: Shift) -> None:
        side = self.world.swap if step.side == "swap" else self.world.sparklayer
        if step.how == "gone":
            gone = f"decoy-{len(self.world.swap.returns)}"
            row = return_row(gone, gone, "0", "#0", [], return_status="Cancelled", created=self.time.moment)
            self.world.swap.put_return(row)
            side.between_pages.append(lambda: self.world.swap.delete_return(gone))
        else:
            side.between_pages.append(lambda: self._touch_oldest(step.side))
        self.tell(f"the next long list of {step.side} will move while it is read ({step.how})")

    def _touch_oldest(self, side: str) -> None:
        if side == "swap":
            rows = [(row["date_updated"], key) for key, row in self.world.swap.returns.items()]
            live = [key for _, key in sorted(rows) if key[1:].isdigit() and not self.rmas[int(key[1:])].outside]
            if live:
                self._change(int(live[0][1:]))
        else:
            orders = [(row["dates"]["updated_at"], key) for key, row in self.world.sparklayer.purchases.items()]
            self.world.sparklayer.change_purchase(min(orders)[1])

    # -- our side ----------------------------------------------------------------------------------------------------

    @do.register
    def _(self, step: Skew) -> None:
        self.clocks[step.worker].offset = timedelta(seconds=step.seconds)
        self.tell(f"clock of {step.worker} is set {step.seconds:+} s off")

    @do.register
    def _(self, step: Run) -> None:
        self.levels_before = {variant: self._level(variant) for variant in self.skus}
        process = self._process(step.worker, step.plan)
        process.run(self.site, self.world)
        self._ran(process)
        self.checker.safety()

    @do.register
    def _(self, step: Forget) -> None:
        backup = self.machines.folder / "backup.db"
        back_up(self.machines.office, backup)
        voided = self._void(step.void)
        self.do(Run(step.worker, step.plan))
        self.time.pass_(GRACE.total_seconds())  # what was under way has arrived, or never will
        self.machines.let_go()
        now = self.time.moment
        kept = restore(
            self.machines.database,
            backup,
            now,
            lambda copy, known: mark_restored(copy, now, "staff", known=known),
        )
        assert kept is not None
        kept.unlink()
        backup.unlink()
        self.restored = True
        self.tell("the store is restored from a backup of before that run")
        if voided:
            self._void(step.void, voided)
        self.do(Run("A", Plan()))

    @do.register
    def _(self, step: Pause) -> None:
        if self.checker.began():
            with self.machines.office.transaction() as connection:
                controls.pause(connection, SITE, step.job, actor="staff", reason="stocktake", now=self.time.moment)
            self.paused |= {step.job} if step.job else set(JOBS)
            self.tell(f"paused: {step.job or 'all jobs'}")

    def _resume(self) -> None:
        with self.machines.office.transaction() as connection:
            controls.resume(connection, SITE, ["", *JOBS], actor="staff", now=self.time.moment)
        self.paused.clear()

    @do.register
    def _(self, step: Void) -> None:
        self._void(step.ret)

    def _void(self, ret: int, again: str = "") -> str:
        """Finance takes a last credit back, or one ``again`` that a restore forgot; returns its number, if it could."""
        rma, row = self.rmas.get(ret), self._row(ret)
        number = again or (self.checker.last_credit(rma) if rma and rma.changed is None else "")
        if rma is None or row is None or not number:
            return ""
        try:
            void = void_credit_note(
                self.machines.office, self.site, number, reason="wrong", actor="finance", now=self.time.moment
            )
        except VoidRefused as refusal:
            self.tell(f"finance: {number} is not voided: {refusal}")
            return ""
        if not again:
            self._freeze(rma, row)
        self.tell(f"finance: {number} of r{ret} voided by {void}")
        return number

    @do.register
    def _(self, step: Race) -> None:
        processes = [self._process(worker, plan) for worker, plan in zip("AB", step.plans, strict=True)]
        Baton(step.turns).run(processes, self.site, self.world)
        for process in processes:
            self._ran(process)
        self.checker.safety()

    def _process(self, worker: str, plan: Plan) -> Process:
        self.processes += 1
        name = f"{worker}:{self.processes}"
        return Process(name, self.clocks[worker], self.machines.disks[worker], plan, self.heard[worker])

    def _ran(self, process: Process) -> None:
        jobs = [f"{r.job} {r.status}{f' ({r.error})' if r.error else ''}" for r in process.records if r.status != "ok"]
        end = "killed" if process.dead else f"broke down: {process.broke}" if process.broke else "done"
        self.tell(f"worker {process.name} ran {process.plan}: {'; '.join([*jobs, end])}")
        if process.wrong:
            raise Wrong(process.wrong)
        if ran := [r.job for r in process.records if r.job in self.paused and r.status != "skipped"]:
            raise Wrong(f"paused, and ran all the same: {ran}")
        if process.broke and not process.plan.faults:
            raise Wrong(f"a worker broke down without a fault: {process.broke}")
        if any("unexpectedly" in job or "Error:" in job for job in jobs) and not process.plan.faults:
            raise Wrong(f"a job broke without a fault: {jobs}")

    @do.register
    def _(self, step: Dusk) -> None:
        self.tell("dusk: no more faults")
        if self.paused:
            self._resume()
        self.world.swap.between_pages.clear()
        self.world.sparklayer.between_pages.clear()
        for left in reversed(range(QUIET_CYCLES)):
            self.time.pass_(65 * 60)
            process = self._process("A", Plan())
            process.run(self.site, self.world)
            self._ran(process)
            self.checker.safety()
            busy = self.staff() or any(r.changed or r.sent or r.status != "ok" for r in process.records)
            if left and (busy or self.checker.backlog()):
                continue
            try:
                self.checker.whole()
            except Wrong:
                if not left:
                    raise
            else:
                break

    def staff(self) -> bool:
        """What people do: type in what they found, retry what failed, count the stock that is in doubt."""
        busy = False
        waiting, self.waiting = self.waiting, []
        for step in waiting:
            before = len(self.told)
            self.do(step)
            busy = busy or len(self.told) > before
        with self.machines.office.reading() as connection:
            rows = list(connection.execute(select(exceptions).where(exceptions.c.status == "open")))
        for row in rows:
            if row.code == Code.DELIVERY_FAILED:
                action = "retry"
            elif row.code == Code.RESTOCK_UNCERTAIN:
                action = "written" if self.checker.was_written(row) else "not-written"
            else:
                continue
            busy = True
            try:
                rule(self.machines.office, row.id, action, actor="staff", now=self.time.moment)
            except RulingRefused as refusal:  # something came in since: they look again after the next cycle
                self.tell(f"staff: {row.code} {row.subject}: refused, {refusal}")
            else:
                self.tell(f"staff: {row.code} {row.subject}: {action}")
        return busy
