"""Ways out of an exception, put before a person: which order an orphaned return may be of, and why.

Nothing here is ever applied by itself (design.md section 4: a near match is a suggestion, never a silent match).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from swapsync.domain import money
from swapsync.domain.catalogue import Action
from swapsync.domain.kits import Kits
from swapsync.domain.matching import MatchedBy, difference_in_writing, fitting_lines, kits_with, near_matches
from swapsync.domain.orders import Order, OrderLine, SkuHistory
from swapsync.domain.returns import Return, ReturnLine

AT_MOST = 5
"""How many single orders are suggested for one return."""
SISTER_PREFIX = 5
"""How many characters two SKUs must begin with alike to be hinted at as sisters."""
_IN_WORDS = 6
"""How many lines are named in a sentence of evidence."""


@dataclass(frozen=True, slots=True)
class Part:
    """Units of a returned line that one order of a split covers."""

    order: str
    order_id: str
    line_id: str
    sku: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A way out with its evidence in words. ``action`` and ``value``: what takes it; blank where no action does.

    ``ambiguous``: something else fits just as well. ``parts``: a split over several orders.
    """

    evidence: tuple[str, ...]
    action: str = ""
    value: str = ""
    order: str = ""
    order_id: str = ""
    sku: str = ""
    covers: str = ""
    ambiguous: bool = False
    parts: tuple[Part, ...] = ()

    def as_row(self) -> dict[str, Any]:
        """As it is stored and shown, without what it doesn't say; ``ambiguous`` is always said of an order."""
        row: dict[str, Any] = {"order": self.order, "order_id": self.order_id, "sku": self.sku, "covers": self.covers}
        if self.covers:
            row["ambiguous"] = self.ambiguous
        row |= {"evidence": list(self.evidence), "action": self.action, "value": self.value}
        row["parts"] = [{name: getattr(part, name) for name in Part.__slots__} for part in self.parts]
        return {name: value for name, value in row.items() if value not in ("", [])}


@dataclass(frozen=True, slots=True)
class Candidate:
    """An order that an orphan may be of. ``claimed``: units of its lines, by key, that other returns have claimed.

    ``same_buyer``: the return's own customer bought it, not a colleague of the same company.
    """

    order: Order
    claimed: Mapping[str, int] = field(default_factory=dict)
    same_buyer: bool = True


def suggest_orders(
    ret: Return,
    candidates: Sequence[Candidate],
    history: SkuHistory,
    aliases: Mapping[str, str],
    *,
    left_out: int = 0,
) -> tuple[Suggestion, ...]:
    """The orders that an orphaned return may be of, best first; a split comes first where no single order covers it.

    An order counts if it was placed before the return and has something in common with it. What ranks it: line item
    ids, whole lines covered by units that no other return claims, units, lines alike but for writing, the price, the
    name, the buyer. The date only orders what is equal, and what is equal is called ambiguous. ``left_out``: how many
    older orders of the customer were not looked at, which the evidence says.
    """
    fits = [_Fit(ret, candidate, history, aliases) for candidate in candidates if _before(candidate.order, ret)]
    fits = sorted((fit for fit in fits if fit.in_common), key=_Fit.rank, reverse=True)
    if not fits:
        return ()
    remark = (f"{left_out} older orders of the customer were not looked at",) if left_out else ()
    singles = tuple(fit.suggestion(_equals(fit, fits), remark) for fit in fits[:AT_MOST])
    split = _split(ret, fits, remark)
    return (split, *singles) if split else singles


def suggest_lines(
    line: ReturnLine, order: Order, history: SkuHistory, kits: Kits | None = None
) -> tuple[Suggestion, ...]:
    """The order lines that a returned line which fits none may be, best first, each with the reason.

    Differences in writing and SKUs that stand twice come first, then other SKUs of the same variant; SKUs that only
    begin alike come last and are called hints, since a sister product is another product.
    """
    variants = frozenset({line.variant_id} - {""}) or history.variants_of(line.sku)
    kits_of_it = kits_with(line.sku, order, kits) if kits else ()
    ranked = []
    for sold in order.lines:
        if len(kits_of_it) > 1 and sold in kits_of_it:
            ranked.append((0, sold, f"a kit that {line.sku} was a part of when it was ordered"))
        elif reason := difference_in_writing(line.sku, sold.sku):
            ranked.append((0, sold, reason))
        elif line.variant_id and line.variant_id == sold.variant_id:
            ranked.append((0, sold, "its variant stands on the order more than once"))
        elif sold.variant_id in variants:
            ranked.append(
                (1, sold, f"its variant {sold.variant_id} carries or carried {line.sku}, as others do or did")
            )
        elif _begin_alike(line.sku, sold.sku):
            ranked.append((2, sold, f"only a hint: {line.sku} and {sold.sku} begin alike, perhaps sister products"))
    ranked.sort(key=lambda each: each[0])
    return tuple(_line_suggestion(line, sold, reason, order, kits_of_it) for _, sold, reason in ranked[:AT_MOST])


def _line_suggestion(
    line: ReturnLine, sold: OrderLine, reason: str, order: Order, kits_of_it: tuple[OrderLine, ...]
) -> Suggestion:
    stands_once = sum(other.sku == sold.sku for other in order.lines) == 1
    by_alias = line.sku and stands_once and sold not in kits_of_it
    action, value = (Action.TEACH_ALIAS, sold.sku) if by_alias else (Action.CHOOSE_LINE, sold.key)
    price = f"{sold.quantity} sold for {money.to_text(sold.gross, order.currency)} {order.currency}"
    return Suggestion((reason, price), action, value, sku=sold.sku)


def _begin_alike(one: str, other: str) -> bool:
    plain = _plain(one), _plain(other)
    return min(map(len, plain)) >= SISTER_PREFIX and plain[0][:SISTER_PREFIX] == plain[1][:SISTER_PREFIX]


def _before(order: Order, ret: Return) -> bool:
    return order.placed_at is None or order.placed_at <= ret.submitted_at


def _equals(fit: "_Fit", fits: Sequence["_Fit"]) -> list[str]:
    return [other.name for other in fits if other is not fit and (other.score, other.units) == (fit.score, fit.units)]


class _Fit:
    """How well one order explains a return: which units of which line it covers, at what value, and the rest."""

    def __init__(self, ret: Return, candidate: Candidate, history: SkuHistory, aliases: Mapping[str, str]) -> None:
        self.ret, self.candidate, self.order = ret, candidate, candidate.order
        self.name = self.order.visible or self.order.order_id
        self.by: dict[str, MatchedBy] = {}
        self.sold: dict[str, tuple[OrderLine, ...]] = {}
        self.near: list[str] = []
        for line in ret.lines:
            by, sold = fitting_lines(line, self.order.lines, history, aliases, self.order.placed_at)
            if by:
                self.by[line.line_id], self.sold[line.line_id] = by, sold
            else:
                self.near += [f"{line.sku} may be {near}" for near in near_matches(line.sku, self.order.lines)]
        self.units, self.value = self.cover({line.line_id: line.quantity for line in ret.lines})
        self.whole = sum(self.units[line.line_id] == line.quantity > 0 for line in ret.lines)
        self.price = self._price_agrees()
        self.named = bool(ret.order_name) and _plain(ret.order_name) == _plain(self.order.visible)
        self.in_common = bool(self.units.total() or self.near or self.named)
        self.score = (
            sum(by is MatchedBy.LINE_ITEM for by in self.by.values()),
            self.whole,
            self.units.total(),
            len(self.near),
            self.price or 0,
            self.named,
            candidate.same_buyer,
        )

    def rank(self) -> tuple[Any, ...]:
        placed = self.order.placed_at
        return (*self.score, placed is not None, placed.timestamp() if placed else 0, self.order.order_id)

    def open_units(self, sold: OrderLine) -> int:
        """Units of an order line that no other return claims."""
        return max(0, sold.quantity - self.candidate.claimed.get(sold.key, 0))

    def cover(self, wanted: Mapping[str, int]) -> tuple[Counter[str], int]:
        """Units of each returned line, at most ``wanted``, that the order has open, and their gross value."""
        left = {sold.key: self.open_units(sold) for sold in self.order.lines}
        covered: Counter[str] = Counter()
        value = 0
        for line in self.ret.lines:
            for sold in self.sold.get(line.line_id, ()):
                units = min(left[sold.key], wanted.get(line.line_id, 0) - covered[line.line_id])
                if units > 0:
                    left[sold.key] -= units
                    covered[line.line_id] += units
                    value += money.share(sold.gross, units, sold.quantity)
        return covered, value

    def _price_agrees(self) -> int:
        """1 where the goods come to what Swap says within a percent, -1 where they don't, 0 where it can't be told."""
        ret = self.ret
        if ret.currency.upper() != self.order.currency.upper():
            return -1
        if ret.total is None or self.whole < len(ret.lines):
            return 0
        return 1 if abs(ret.total - self.value) <= max(1, self.value // 100) else -1

    def suggestion(self, equals: Sequence[str], remark: tuple[str, ...]) -> Suggestion:
        evidence = [*self._evidence(), *remark]
        if equals:
            others = ", ".join(equals[:3]) + (f" and {len(equals) - 3} more" if len(equals) > 3 else "")
            verb = "fits" if len(equals) == 1 else "fit"
            evidence.insert(0, f"AMBIGUOUS: {others} {verb} just as well; nothing but the date tells them apart")
        return Suggestion(
            tuple(evidence),
            Action.LINK_ORDER,
            self.name,
            self.name,
            self.order.order_id,
            covers=f"{self.whole} of {len(self.ret.lines)} lines",
            ambiguous=bool(equals),
        )

    def _evidence(self) -> list[str]:
        ret, order = self.ret, self.order
        said = []
        if self.named:
            said.append(f"the return names {ret.order_name}, the order is {order.visible}")
        if order.customer_ids:
            who = f"by {ret.customer_email}" if self.candidate.same_buyer else "by the same company"
            said.append(f"bought {who}")
        if order.placed_at:
            days = (ret.submitted_at - order.placed_at).days
            said.append(f"placed {order.placed_at:%Y-%m-%d}, {_days(days)} before the return")
        if self.by:
            named = [self._of_line(line) for line in ret.lines if line.line_id in self.by]
            more = f" and {len(named) - _IN_WORDS} more lines" if len(named) > _IN_WORDS else ""
            said.append("sold: " + "; ".join(named[:_IN_WORDS]) + more)
        said += self.near[:_IN_WORDS]
        if self.price and ret.currency.upper() != order.currency.upper():
            said.append(f"in {order.currency or 'no currency'}, the return is in {ret.currency or 'no currency'}")
        elif self.price and ret.total is not None:
            ours, theirs = money.to_text(self.value, order.currency), money.to_text(ret.total, ret.currency)
            said.append(
                f"comes to {ours} {order.currency}, " + ("as Swap says" if self.price > 0 else f"Swap says {theirs}")
            )
        return said

    def _of_line(self, line: ReturnLine) -> str:
        sold = self.sold[line.line_id]
        ordered, left = sum(each.quantity for each in sold), sum(map(self.open_units, sold))
        also = "" if left == ordered else f", {left} of them not claimed by other returns"
        by = self.by[line.line_id]
        how = "" if by is MatchedBy.SKU else f" (by {by})"
        return f"{ordered} {sold[0].sku or line.sku or sold[0].key}{how}{also}, {line.quantity} come back"


def _split(ret: Return, fits: Sequence[_Fit], remark: tuple[str, ...]) -> Suggestion | None:
    """Which lines may be of which order, where no single one covers all that several do; fewest orders first."""
    missing = {line.line_id: line.quantity for line in ret.lines}
    skus = {line.line_id: line.sku or line.variant_id or line.line_id for line in ret.lines}
    parts: list[Part] = []
    used: list[_Fit] = []
    ambiguous = False
    while any(missing.values()):
        rest = [(fit.cover(missing)[0], fit) for fit in fits if fit not in used]
        ranked = [
            (sum(units[i] == n > 0 for i, n in missing.items()), units.total(), -place, units, fit)
            for place, (units, fit) in enumerate(rest)
            if units.total()
        ]
        if not ranked:
            break
        best = max(ranked, key=lambda each: each[:3])
        ambiguous = ambiguous or sum(each[:2] == best[:2] for each in ranked) > 1
        units, fit = best[3:]
        used.append(fit)
        for line_id, quantity in units.items():
            missing[line_id] -= quantity
            parts.append(Part(fit.name, fit.order.order_id, line_id, skus[line_id], quantity))
    whole = sum(not left for left in missing.values())
    if len(used) < 2 or whole <= max(fit.whole for fit in fits):
        return None
    evidence = ["no single order covers the return; together they do" if whole == len(missing) else _short(whole, ret)]
    if ambiguous:
        evidence.insert(0, "AMBIGUOUS: some of these units fit another order just as well")
    evidence += [
        f"{fit.name}: "
        + ", ".join(f"{part.quantity} {part.sku}" for part in parts if part.order_id == fit.order.order_id)
        for fit in used
    ]
    return Suggestion(
        (*evidence, "a return has one order: have Swap part it, and link each part", *remark),
        order=" + ".join(fit.name for fit in used),
        covers=f"{whole} of {len(missing)} lines",
        ambiguous=ambiguous,
        parts=tuple(parts),
    )


def _short(whole: int, ret: Return) -> str:
    return f"no single order covers the return; together they cover {whole} of {len(ret.lines)} lines"


def _plain(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())


def _days(days: int) -> str:
    return "1 day" if days == 1 else f"{days} days"
