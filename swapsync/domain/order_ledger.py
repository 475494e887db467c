"""What is left of each order line, in units and in value, while the returns of an order are gone through."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from swapsync.domain import money
from swapsync.domain.facts import Case, Credited, Extra, LineKind, Shipping
from swapsync.domain.kits import KitPart, Kits
from swapsync.domain.matching import LineMatch
from swapsync.domain.orders import Order, OrderLine
from swapsync.domain.returns import (
    Return,
    ReturnLine,
)


@dataclass(frozen=True, slots=True)
class CreditLine:
    """Units of one returned line to be credited, carriage, or a fee that is kept (negative).

    ``net`` and ``tax`` in minor units of the order's currency. ``sold``: the order line it is a share of.
    """

    line_id: str
    order_line_key: str
    sku: str
    quantity: int
    net: int
    tax: int
    kind: LineKind = LineKind.GOODS
    sold: OrderLine | None = None


def key_now(credited: Credited, match: LineMatch | None, order: Order | None) -> str:
    """The key of the order line that something was credited on. ``match``: of the returned line, if it is still there.

    Where the order names its lines anew, that is the line which the returned one fits now, or the only one that
    carries its SKU.
    """
    if order and order.line(credited.order_line_key) is None:
        if match and match.order_line:
            return match.order_line.key
        alike = [line.key for line in order.lines if credited.sku and line.sku == credited.sku]
        if len(alike) == 1:
            return alike[0]
    return credited.order_line_key


class OrderLedger:
    """What is left of each order line while its returns are gone through: units to claim, and value to credit.

    ``units`` that were credited may be fractions, where parts of a kit came back.
    """

    def __init__(self, case: Case, matches: Mapping[str, Mapping[str, LineMatch]], kits: Kits) -> None:
        self.kits = kits
        self.granted: Counter[tuple[str, str]] = Counter()
        self.claimed: Counter[str] = Counter()
        self.parts: dict[str, Counter[KitPart]] = defaultdict(Counter)
        self.claimants: dict[str, dict[str, str]] = {}
        self.standing: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
        """Credited units of lines that have claimed nothing yet."""
        self.units: defaultdict[str, Fraction] = defaultdict(Fraction)
        self.net: Counter[str] = Counter()
        self.tax: Counter[str] = Counter()
        self.shipping = [0, 0]
        self.credited: dict[str, list[Credited]] = defaultdict(list)
        self.worth = sum(line.gross for line in case.order.lines) if case.order else 0
        for left in case.left_behind:
            if isinstance(left, Extra):
                self._count_extra(left)
            else:
                self.claimed[self._count(left, None, case.order)] += left.quantity
        for facts in case.returns:
            for credited in facts.credited:
                match = matches[facts.ret.return_id].get(credited.line_id)
                key = self._count(credited, match, case.order)
                if match and match.order_line and not match.part:
                    self.standing[key][facts.ret.return_id, credited.line_id] += credited.quantity
            for extra in facts.extras:
                self._count_extra(extra)

    def _count_extra(self, extra: Extra) -> None:
        if extra.kind is LineKind.SHIPPING:
            self.shipping[0] += extra.net
            self.shipping[1] += extra.tax

    def _count(self, credited: Credited, match: LineMatch | None, order: Order | None) -> str:
        """Counts what was credited on its order line; returns the line's key."""
        key = key_now(credited, match, order)
        self.units[key] += credited.quantity * (match.weight if match else self._weight(credited.sku, order, key))
        self.net[key] += credited.net
        self.tax[key] += credited.tax
        self.credited[key].append(credited)
        return key

    def _weight(self, sku: str, order: Order | None, key: str) -> Fraction:
        """How many units of an order line one unit was that was credited on it under a SKU."""
        sold = order.line(key) if order else None
        parts = self.kits.of(sold.sku, order.placed_at) if order and sold else ()
        return next((part.weight for part in parts if part.sku == sku and part.weight is not None), Fraction(1))

    def claim(self, ret: Return, line: ReturnLine, sold: OrderLine, part: KitPart | None) -> int:
        """Takes up to a returned line's units that no earlier claim took; returns how many. A line claims once.

        What was credited of other lines is left to them.
        A whole kit takes its units of every part; of a part, those are left that no kit and no such part took.
        """
        name = ret.return_id, line.line_id
        if name not in self.granted:
            self.standing[sold.key].pop(name, None)
            left = sold.quantity - self.claimed[sold.key] - self.standing[sold.key].total()
            taken = self.parts[sold.key]
            if part:
                left = left * part.quantity - taken[part]
            else:
                left -= max((-(-units // of.quantity) for of, units in taken.items()), default=0)
            self.granted[name] = max(0, min(line.quantity, left))
            if part:
                taken[part] += self.granted[name]
            else:
                self.claimed[sold.key] += self.granted[name]
            self.claimants.setdefault(sold.key, {})[ret.return_id] = ret.rma_number
        return self.granted[name]

    def release(self, ret: Return, line: ReturnLine, sold: OrderLine, part: KitPart | None) -> None:
        """Leaves the units that a returned line took to later claims."""
        units = self.granted.pop((ret.return_id, line.line_id))
        if part:
            self.parts[sold.key][part] -= units
        else:
            self.claimed[sold.key] -= units

    def credit(
        self, line_id: str, line: OrderLine, sku: str, quantity: int, weight: Fraction, finest: Fraction
    ) -> CreditLine | None:
        """The next ``quantity`` units of an order line at their share of its value; None if that can't be right.

        ``weight``: how much of a unit each of them is, less than 1 for parts of a kit; ``finest``: the least there is.

        Cumulative rounding (rule 4): what was credited so far plus this is the rounded share of all units so far.
        Where a unit is worth less than a minor unit, the credits so far can be ahead of their share, because units
        worth nothing by themselves got no note; then nothing is due until the share has caught up.
        """
        before = self.net[line.key], self.tax[line.key]
        units = self.units[line.key] + quantity * weight
        if units > line.quantity:
            return None
        net = money.share(line.net, units, line.quantity) - before[0]
        tax = money.share(line.tax, units, line.quantity) - before[1]
        tiny = all(
            done <= total and total * finest < line.quantity
            for done, total in zip(before, (line.net, line.tax), strict=True)
        )
        if min(net, tax) < 0 and not tiny:
            return None
        net, tax = max(net, 0), max(tax, 0)
        if net + tax > self.worth - self.net.total() - self.tax.total():
            return None
        self.units[line.key] = units
        self.net[line.key] += net
        self.tax[line.key] += tax
        return CreditLine(line_id, line.key, sku, quantity, net, tax, sold=line)

    def credit_shipping(self, order: Order, policy: Shipping) -> CreditLine | None:
        """The carriage that is due by now and was not credited yet; None if there is none.

        Cumulative like the goods: pro rata by the gross value of all goods credited so far.
        """
        value = sum(line.gross for line in order.lines)
        done = value
        if policy is Shipping.PRO_RATA:
            done = max(0, min(value, self.net.total() + self.tax.total()))
        elif policy is Shipping.NEVER or any(self.units[line.key] < line.quantity for line in order.lines):
            return None
        if value <= 0:
            return None
        net = max(0, money.share(order.shipping_net, done, value) - self.shipping[0])
        tax = max(0, money.share(order.shipping_tax, done, value) - self.shipping[1])
        self.shipping = [self.shipping[0] + net, self.shipping[1] + tax]
        return CreditLine(":shipping", "", "", 1, net, tax, LineKind.SHIPPING) if net or tax else None

    def snapshot(self) -> tuple[defaultdict[str, Fraction], Counter[str], Counter[str], list[int]]:
        """What is credited so far, to ``rewind`` to."""
        return self.units.copy(), self.net.copy(), self.tax.copy(), list(self.shipping)

    def rewind(self, snapshot: tuple[defaultdict[str, Fraction], Counter[str], Counter[str], list[int]]) -> None:
        """Takes back the credits since: they wait for a person, so they don't count yet."""
        self.units, self.net, self.tax, self.shipping = snapshot
