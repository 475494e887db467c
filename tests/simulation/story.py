"""What happens in a simulated stretch of days: a seed decides all of it.

A story is a list of steps. Each has its own sense without the others, so that a failing story can be shrunk by leaving
steps out: a step that is about a return which was never announced does nothing.
"""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from random import Random
from typing import Literal

from swapsync.jobs.cycle import JOBS
from tests.simulation.machine import Fault, Plan

DAYLIGHT_SAVING = (datetime(2026, 3, 28, 21, 0, tzinfo=UTC), datetime(2026, 10, 24, 21, 0, tzinfo=UTC))
STARTS = (*DAYLIGHT_SAVING, datetime(2026, 5, 11, 7, 0, tzinfo=UTC), datetime(2027, 12, 31, 18, 0, tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class Sold:
    """A line of an order; ``net`` and ``tax`` in minor units."""

    variant: int
    quantity: int
    net: int
    tax: int


@dataclass(frozen=True, slots=True)
class Back:
    """A line of a return: of which line of the order, how many units, named how, sent back as what.

    ``by``: ``line`` (line item id), ``variant``, ``sku`` (nothing else), ``typo`` (a SKU that the order doesn't have).
    """

    line: int
    quantity: int
    by: str = "line"
    return_type: str = "Refund"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """``wait``: seconds that pass before it. ``late``: by how many seconds the other side shows it too late."""

    wait: int = 0
    late: int = 0


@dataclass(frozen=True, slots=True)
class Place(Step):
    """An order is placed."""

    order: int
    lines: tuple[Sold, ...]
    method: str
    po: str
    currency: str
    buyer: str = "buyer"


@dataclass(frozen=True, slots=True)
class Revise(Step):
    """An order gets a PO number, or is only touched where ``po`` is blank."""

    order: int
    po: str = ""


@dataclass(frozen=True, slots=True)
class Withdraw(Step):
    """An order is cancelled, before anything of it came back."""

    order: int


@dataclass(frozen=True, slots=True)
class Announce(Step):
    """A buyer announces a return. ``odd``: ``status``, ``currency``, ``total``, ``malformed``."""

    ret: int
    order: int
    lines: tuple[Back, ...]
    buyer: str = "buyer"
    odd: str = ""


@dataclass(frozen=True, slots=True)
class Old(Step):
    """A return that was closed, approved, before the cut-over."""

    ret: int
    order: int
    lines: tuple[Back, ...]


@dataclass(frozen=True, slots=True)
class Shift(Step):
    """The next time that a list is walked over more than one page, it moves meanwhile.

    ``oldest``: its last row moves to the front. ``gone``: a return that was just read vanishes, so that all others move
    up (of ``swap`` only).
    """

    side: Literal["swap", "sparklayer"]
    how: Literal["oldest", "gone"] = "oldest"


@dataclass(frozen=True, slots=True)
class Correct(Step):
    """What was odd about a return is corrected in Swap."""

    ret: int


@dataclass(frozen=True, slots=True)
class Travel(Step):
    """The parcel moves on."""

    ret: int
    to: Literal["In-Transit", "Delivered"]


@dataclass(frozen=True, slots=True)
class Amend(Step):
    """Swap changes the quantity of a line; ``credited``: after it was credited, else before it travels."""

    ret: int
    line: int
    quantity: int
    credited: bool = False


@dataclass(frozen=True, slots=True)
class CallOff(Step):
    """The return is cancelled or expires before it arrives; ``credited``: after it was credited."""

    ret: int
    status: Literal["Cancelled", "Expired"]
    credited: bool = False


@dataclass(frozen=True, slots=True)
class Close(Step):
    """Swap closes the return with a verdict; ``refunded``: Swap shows money given."""

    ret: int
    qc: str | None
    refunded: bool = False


@dataclass(frozen=True, slots=True)
class Find(Step):
    """The warehouse says what it found; ``credited``: only after Swap's word was credited already."""

    ret: int
    line: int
    condition: str
    quantity: int
    credited: bool = False


@dataclass(frozen=True, slots=True)
class Rename(Step):
    """A variant gets another SKU."""

    variant: int
    sku: str


@dataclass(frozen=True, slots=True)
class Sell(Step):
    """Units of a variant are sold: its sellable level falls."""

    variant: int
    quantity: int


@dataclass(frozen=True, slots=True)
class Resell(Step):
    """All that the last run put back for sale is sold: the sellable levels are what they were before it."""


@dataclass(frozen=True, slots=True)
class Skew(Step):
    """A machine's clock is set: so many seconds ahead of the true time, or behind it."""

    worker: str
    seconds: int


@dataclass(frozen=True, slots=True)
class Run(Step):
    """A worker runs."""

    worker: str
    plan: Plan


@dataclass(frozen=True, slots=True)
class Forget(Step):
    """A worker runs; then a backup from before it is restored, and a worker runs that knows nothing of it.

    ``void``: of which return finance takes the last credit back before that run, and does so again afterwards.
    """

    worker: str
    plan: Plan
    void: int = 0


@dataclass(frozen=True, slots=True)
class Pause(Step):
    """Somebody pauses a job until dusk; blank: all of them."""

    job: str


@dataclass(frozen=True, slots=True)
class Void(Step):
    """Finance takes back the last credit of a return that was delivered."""

    ret: int


@dataclass(frozen=True, slots=True)
class Race(Step):
    """Two workers run at the same time, interleaved as ``turns`` (a seed) decides."""

    plans: tuple[Plan, Plan]
    turns: int


@dataclass(frozen=True, slots=True)
class Dusk(Step):
    """The end of a day: the faults are over, a few quiet cycles run, and everything is checked."""


@dataclass(frozen=True, slots=True)
class Story:
    """A whole run. ``site``: settings by environment name; ``pages``, ``batch``: rows on a page, in a transaction."""

    seed: int
    start: datetime
    site: dict[str, str]
    pages: int
    batch: int
    stock: tuple[int | None, ...]
    steps: tuple[Step, ...] = field(default=())


VARIANTS = 4
NOTES = ("push_status",)
POLL = ("poll_returns",)
RESTOCKS = ("push_restocks",)
TYPES = {"Refund": 80, "Shop Later Credit": 5, "Exchange": 8, "Warranty": 4, "Teleport": 3}
CONDITIONS = {"sellable": 60, "damaged": 12, "missing": 12, "wrong_item": 8, "no_value": 8}
FAULTS = (
    *("refused", "lost_before", "lost_after", "lost_after", "timeout", "status", "status", "status", "error_after"),
    *("html", "html_after", "truncated", "cut_off", "slow", "revoked", "repeated"),
    *("locked", "restarted", "full", "unheard", "stall", "stall_answer"),
)
LANDS_LATE = ("lands_late",) * 4
CLOCK = ("clock",) * 2
JUMPS = (-7200, -600, 600, 7200)


def story_of(seed: int) -> Story:
    """The story that a seed tells."""
    return _Teller(seed).tell()


class _Teller:
    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.more = Random(f"more of {seed}")  # what came to be told later leaves the other stories as they are
        self.orders: dict[int, Place] = {}
        self.returns: dict[int, Announce] = {}
        self.unplaced: Place | None = None
        self.renamed: set[int] = set()
        self.left: dict[tuple[int, int], int] = {}
        self.calm = self.random.random() < 0.1  # a story without faults: the rules themselves
        self.right_clocks = self.chance(0.4)
        """Else no request lands late: how long to wait for it is counted by the machines' clocks."""
        self.faults = FAULTS + (LANDS_LATE if self.right_clocks else CLOCK)

    def chance(self, p: float) -> bool:
        return self.random.random() < p

    def tell(self) -> Story:
        pick = self.random.choice
        site = {
            "settle_on": pick(["swap_closed", "swap_closed", "inspected"]),
            "restock_on": pick(["inspected", "inspected", "inspected", "swap_approved"]),
            "uses_swap_qc": pick(["true", "true", "true", "false"]),
            "po_required": pick(["false", "false", "false", "true"]),
            "http_max_attempts": pick(["1", "2", "3"]),
            "http_backoff_seconds": "1",
            "swap_requests_per_minute": pick(["0", "0", "0", "60"]),
            "sparklayer_requests_per_minute": pick(["0", "0", "0", "0", "3"]),
        }
        stock = tuple(pick([None, 0, 3, 40, 40]) for _ in range(VARIANTS))
        steps: list[Step] = []
        for _ in range(self.random.randint(2, 4)):
            steps.append(self._place())
        if self.chance(0.4):
            old = self._announce()
            steps.append(Old(old.ret, old.order, tuple(replace(line, by="line") for line in old.lines)))
        for _ in range(self.random.choice([1, 1, 1, 2])):
            steps += self._day()
            steps.append(Dusk(wait=3600))
        if self.more.random() < 0.3 and not self.calm:
            steps = self._with_more(steps)
        self.random = Random(f"yet more of {self.seed}")
        if self.chance(0.25):
            steps = self._with_yet_more(steps)
        return Story(self.seed, pick(STARTS), site, pick([2, 2, 3, 100]), pick([1, 2, 3, 100]), stock, tuple(steps))

    # -- the remote side ---------------------------------------------------------------------------------------------

    def _place(self) -> Place:
        r = self.random
        variants = r.sample(range(VARIANTS), r.randint(1, 3))
        if self.chance(0.1):
            variants.append(variants[0])  # one SKU on two lines
        lines = []
        for variant in variants:
            quantity = r.randint(1, 12)
            net = r.randint(quantity, 30_000)
            lines.append(Sold(variant, quantity, net, r.choice([0, net // 5, r.randint(0, net)])))
        order = Place(
            len(self.orders) + 1,
            tuple(lines),
            r.choice(["on_account", "on_account", "on_account", "invoice", "platform_upfront", "barter"]),
            r.choice(["", "PO-1", "PO-2", "PO 3/4"]),
            r.choice(["GBP", "GBP", "EUR", "JPY", "KWD"]),
        )
        self.orders[order.order] = order
        for position, line in enumerate(order.lines):
            self.left[order.order, position] = line.quantity
        return order

    def _announce(self) -> Announce:
        r = self.random
        number = len(self.returns) + 1
        order = self.orders[r.choice(sorted(self.orders))] if self.chance(0.93) else None
        if order is None:  # names an order that is placed later, or never
            order = self.unplaced = self._place()
        lines = []
        for position in r.sample(range(len(order.lines)), r.randint(1, min(2, len(order.lines)))):
            sold = order.lines[position]
            left = self.left.get((order.order, position), sold.quantity)
            quantity = r.randint(1, max(1, left)) if self.chance(0.9) else left + 1
            self.left[order.order, position] = max(0, left - quantity)
            kind = r.choices(list(TYPES), list(TYPES.values()))[0]
            by = r.choices(["line", "variant", "sku", "typo"], [55, 20, 20, 5])[0]
            lines.append(Back(position, quantity, by, kind))
        announced = Announce(
            number,
            order.order,
            tuple(lines),
            r.choices(["buyer", "BUYER", "colleague", "stranger", "nobody"], [70, 10, 8, 6, 6])[0],
            r.choices(["", "status", "currency", "total", "malformed"], [80, 5, 4, 6, 5])[0],
            late=r.choice([0, 0, 0, 200, 580]),
        )
        self.returns[number] = announced
        return announced

    def _life(self) -> list[Step]:
        """One return from its announcement on; waits are put in later."""
        r = self.random
        announced = self._announce()
        steps: list[Step] = [announced]
        late = r.choice([0, 0, 0, 200, 580])
        if announced.odd and self.chance(0.7):
            steps.append(Correct(announced.ret))
        if self.chance(0.12):
            line = r.randrange(len(announced.lines))
            steps.append(Amend(announced.ret, line, r.randint(1, max(1, announced.lines[line].quantity))))
        if self.chance(0.12):
            return [*steps, CallOff(announced.ret, r.choice(["Cancelled", "Expired"]), late=late)]
        if self.chance(0.5):
            steps.append(Travel(announced.ret, "In-Transit"))
        fate = r.choices(["approved", "found", "found then approved", "refused", "stays"], [40, 25, 15, 10, 10])[0]
        if fate != "found" or self.chance(0.8):
            steps.append(Travel(announced.ret, "Delivered", late=late))
        if fate.startswith("found"):
            steps += self._findings(announced, credited=False)
            if not self.calm and self.chance(0.8):
                steps += self.random.choice([self._sold_before_it_is_read, self._sold_before_it_is_written])()
        if fate in ("approved", "found then approved"):
            qc = r.choices(["Approved", None], [85, 15])[0]
            closed = Close(announced.ret, qc, refunded=self.chance(0.12), late=late)
            if not self.calm and fate == "approved" and self.chance(0.2):
                return [*steps, *self._served_again_as_it_was(closed)]
            steps.append(closed)
            afterwards = r.random()
            if afterwards < 0.15 and fate == "approved":
                steps += self._findings(announced, credited=True)
            elif afterwards < 0.25:
                steps.append(Amend(announced.ret, 0, r.randint(1, 9), credited=True))
            elif afterwards < 0.3:
                steps.append(CallOff(announced.ret, "Cancelled", credited=True))
        elif fate == "refused":
            steps.append(Close(announced.ret, r.choice(["Not Approved", "Missing", "Pending"])))
        return steps

    def _findings(self, announced: Announce, credited: bool) -> list[Step]:
        r = self.random
        steps: list[Step] = []
        for position, line in enumerate(announced.lines):
            left = line.quantity
            while left > 0 and self.chance(0.85):
                quantity = r.randint(1, left)
                left -= quantity
                condition = r.choices(list(CONDITIONS), list(CONDITIONS.values()))[0]
                steps.append(Find(announced.ret, position, condition, quantity, credited))
        return steps

    # -- a day -------------------------------------------------------------------------------------------------------

    def _day(self) -> list[Step]:
        """Several lives side by side, each in its own order."""
        r = self.random
        lives: list[list[Step]] = [self._life() for _ in range(r.randint(1, 4))]
        if self.unplaced and self.chance(0.6):
            lives.append([self.unplaced])
            self.unplaced = None
        if self.chance(0.5):
            lives.append([self._place()])
        for _ in range(r.randint(0, 3)):
            lives.append([Sell(r.randrange(VARIANTS), r.randint(1, 6))])
        if self.chance(0.35):
            variant = r.randrange(VARIANTS)
            if variant not in self.renamed:
                self.renamed.add(variant)
                lives.append([Rename(variant, f"SKU-{variant}-NEW")])
        lives += [[Revise(order, r.choice(["", "PO-9", "PO-10"]))] for order in self.orders if self.chance(0.3)]
        lives += [[Withdraw(order)] for order in self.orders if self.chance(0.06)]
        if not self.calm:
            shifts = (Shift("swap"), Shift("swap", "gone"), Shift("sparklayer"))
            lives += [[shift] for shift in shifts if self.chance(0.15)]
            if self.chance(0.2) and not self.right_clocks:
                lives.append([Skew(r.choice("AB"), r.choice([-7200, -600, 300, 1200, 7200]))])
        lives.append([self._runs() for _ in range(r.randint(2, 5))])
        if self.chance(0.3):
            lives.append([self._runs() for _ in range(2)])
        if not self.calm and self.chance(0.3):
            lives.append(self._two_at_the_notes())
        if self.chance(0.2):
            lives.append([self._daemons()])
        told: list[Step] = []
        while lives := [life for life in lives if life]:
            life = r.choices(lives, [len(life) for life in lives])[0]
            told.append(replace(life.pop(0), wait=r.choice([0, 1, 30, 120, 600, 1800])))
        return told

    def _with_more(self, steps: list[Step]) -> list[Step]:
        """The same story with some of: an order that shows late, a pause, a restore, a void, a read that fails."""
        r = self.more
        told = [self._late(step) for step in steps]
        for what in r.choices(["pause", "restore", "void", "read"], k=r.choice([1, 1, 2])):
            runs = [n for n, step in enumerate(told) if isinstance(step, Run) and not step.plan.daemon_minutes]
            came = [step.ret for step in told if isinstance(step, Close | Find)]
            if what == "pause":
                told.insert(r.randrange(len(told)), Pause(r.choice(["", *JOBS])))
            elif what == "void" and came:
                told[-1:-1] = [Run("A", Plan(), wait=600), Void(r.choice(came))]
            elif what in ("restore", "read") and runs:
                n = r.choice(runs)
                run = told[n]
                assert isinstance(run, Run)
                unread = Fault(r.randint(1, 10), "unreadable", r.choice([1, 1, 2, 40]))
                told[n] = {
                    "restore": Forget(run.worker, run.plan, wait=run.wait),
                    "read": replace(run, plan=replace(run.plan, faults=(*run.plan.faults, unread))),
                }[what]
        return told

    def _with_yet_more(self, steps: list[Step]) -> list[Step]:
        """The same story with a void that a restore forgets, a list that moves and then fails, or backfills."""
        r = self.random
        came = [step.ret for step in steps if isinstance(step, Close | Find)]
        what = "backfill" if self.calm else r.choice(["void", "moves", "backfill", "backfill", "backfill"])
        told = list(steps)
        if what == "void" and came:
            forgotten = Forget("A", replace(self._plan(), dies_at=0), r.choice(came), wait=600)
            told[-1:-1] = [Run("A", Plan(), wait=600), forgotten]
        elif what == "moves":
            told[-1:-1] = self._moves_and_then_fails()
        else:
            for _ in range(r.choice([1, 2])):
                told.insert(r.randrange(len(told)), self._backfill())
        return told

    def _backfill(self) -> Step:
        """A backfill, alone or beside another run."""
        r = self.random
        plan = replace(Plan() if self.calm else self._plan(), backfill_days=r.choice([1, 3]))
        wait = r.choice([1, 120, 600])
        if not self.calm and self.chance(0.4):
            return Race((plan, self._plan()), r.randrange(1_000_000), wait=wait)
        return Run(r.choice("AB"), plan, wait=wait)

    def _moves_and_then_fails(self) -> list[Step]:
        """A row slips from one page to the one that was read already, and the walk that would meet it is cut off."""
        new = [replace(self._announce(), late=0, wait=1200) for _ in range(3)]
        cut_off = Run("B", Plan(jobs=POLL, faults=(Fault(3, "status", 40),)), wait=60)
        return [Run("A", Plan(), wait=600), *new, Shift("swap", "gone"), cut_off]

    def _late(self, step: Step) -> Step:
        orders = isinstance(step, Place | Revise)
        return replace(step, late=self.more.choice([200, 580])) if orders and self.more.random() < 0.3 else step

    def _two_at_the_notes(self) -> list[Step]:
        """A worker stands still over its notes while another takes over, or one comes by while a note is under way."""
        r = self.random
        before = Run("A", Plan(jobs=tuple(job for job in JOBS if job not in NOTES)))
        if self.right_clocks and self.chance(0.5):
            late = Fault(1, "lands_late", seconds=60)
            return [before, Run("A", Plan(jobs=NOTES, faults=(late,))), Run("B", Plan(jobs=NOTES))]
        still = Fault(r.randint(1, 3), "stall_answer")
        return [before, Race((Plan(jobs=NOTES, faults=(still,)), Plan(jobs=NOTES)), r.randrange(1_000_000))]

    def _sold_before_it_is_read(self) -> list[Step]:
        """A restock arrives, its reply is lost, and before anybody looks all of it is sold again."""
        r = self.random
        before = Run("A", Plan(jobs=tuple(job for job in JOBS if job not in RESTOCKS)))
        lost = Fault(r.randint(3, 6), r.choice(["lost_after", "timeout"]))
        return [before, Run("A", Plan(jobs=RESTOCKS, faults=(lost,))), Resell(), Run("B", Plan(jobs=RESTOCKS))]

    def _sold_before_it_is_written(self) -> list[Step]:
        """A restock clashes with another write; who waits before it is sent again misses what is sold meanwhile."""
        r = self.random
        before = Run("A", Plan(jobs=tuple(job for job in JOBS if job not in RESTOCKS)))
        clash = Fault(r.randint(1, 2), "clash", status=409)
        return [before, Run("A", Plan(jobs=RESTOCKS, faults=(clash,)))]

    def _served_again_as_it_was(self, closed: Close) -> list[Step]:
        """A return is read, closed and read again, with one that came after it; then the list is as it was at first."""
        first, then = Run("A", Plan(jobs=POLL)), Run("B", Plan(jobs=POLL))
        again = Run("A", Plan(jobs=POLL, faults=(Fault(1, "older", 99),)))
        return [first, closed, self._announce(), then, again]

    def _runs(self) -> Step:
        r = self.random
        if self.calm or self.chance(0.2):
            return Run("A", Plan())
        if self.right_clocks and self.chance(0.2):  # the other worker comes by while it is still under way
            late = Fault(1 + int(r.expovariate(1 / 4)), "lands_late", seconds=60)
            return Race((Plan(faults=(late,)), Plan()), r.randrange(1_000_000))
        if self.chance(0.25):
            return Race((self._plan(), self._plan()), r.randrange(1_000_000))
        return Run(r.choice("AAB"), self._plan())

    def _daemons(self) -> Step:
        """A daemon for longer than a token lives, alone or beside another one or a command."""
        r = self.random
        minutes = r.choice([70, 85, 100])
        if self.calm:
            return Run("A", Plan(daemon_minutes=minutes))
        one = replace(self._plan(cycles=3), daemon_minutes=minutes)
        if self.chance(0.3):
            other = self._plan()
            plans = one, replace(other, daemon_minutes=r.choice([0, minutes]))
            return Race(plans, r.randrange(1_000_000))
        return Run(r.choice("AAB"), one)

    def _plan(self, cycles: int = 1) -> Plan:
        r = self.random
        faults = tuple(self._fault(cycles) for _ in range(r.choice([0, 0, 1, 1, 2, 4])))
        dies_at = int(r.expovariate(1 / 40 / cycles)) + 1 if self.chance(0.4) else 0
        return Plan(faults=faults, dies_at=dies_at)

    def _fault(self, cycles: int) -> Fault:
        r = self.random
        at = int(r.expovariate(1 / 10 / cycles)) + 1
        kind = r.choice(self.faults)
        times = r.choice([1, 1, 1, 2, 5, 40])
        if kind == "status":
            status = r.choice([500, 502, 503, 429, 429, 409, 400, 401, 404])
            again = r.choice(["", "0", "5", "61", "date+20", "date+900", "soon"]) if status in (429, 503) else ""
            return Fault(at, kind, times, status, again)
        if kind.startswith("stall"):
            return Fault(at, kind)
        if kind == "slow":
            return Fault(at, kind, 1, seconds=r.choice([0.5, 5, 29]))
        if kind == "lands_late":
            return Fault(1 + at // 4, kind, r.choice([1, 1, 2]), seconds=r.choice([20, 40, 60]))
        if kind == "clock":
            return Fault(at, kind, seconds=r.choice(JUMPS))
        return Fault(at, kind, times, 500)
