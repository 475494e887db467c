"""Which order line a returned line came from (worker.md section 4, rule 8; design.md section 4)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from fractions import Fraction

from swapsync.domain.kits import KitPart, Kits
from swapsync.domain.orders import Order, OrderLine, SkuHistory
from swapsync.domain.returns import ReturnLine


class MatchedBy(StrEnum):
    """What a returned line and its order line have in common."""

    LINE_ITEM = "line item id"
    VARIANT = "variant id"
    SKU = "SKU"
    ALIAS = "taught alias"
    SKU_HISTORY = "SKU history"
    KIT_PART = "part of a kit"
    PERSON = "a person's choice"


@dataclass(frozen=True, slots=True)
class LineMatch:
    """The order line and what it was matched by; or no line and the near matches, each with its reason.

    ``kit``: the parts of which the order line consisted when it was ordered, and ``part`` the one that comes back, if
    the whole doesn't. Without a line, ``part`` is one whose value nobody said.
    """

    order_line: OrderLine | None
    by: MatchedBy | None = None
    suggestions: tuple[str, ...] = ()
    kit: tuple[KitPart, ...] = ()
    part: KitPart | None = None

    @property
    def weight(self) -> Fraction:
        """How many units of the order line one returned unit is: 1, or the part's share of its kit."""
        return (self.part and self.part.weight) or Fraction(0 if self.part else 1)

    @property
    def finest(self) -> Fraction:
        """The least part of a unit of the order line that can come back with a value."""
        return min((part.weight for part in self.kit if part.weight), default=Fraction(1))

    @property
    def per_unit(self) -> int:
        """How many units like the returned ones make one unit of the order line."""
        return self.part.quantity if self.part else 1


def match_line(
    line: ReturnLine,
    order_lines: tuple[OrderLine, ...],
    history: SkuHistory,
    aliases: Mapping[str, str],
    placed_at: datetime | None = None,
) -> LineMatch:
    """The one order line that a returned line names. What fits two order lines fits none.

    A SKU that several variants have carried means the one that carried it when the order was placed.

    ``aliases``: SKU in Swap -> SKU on orders, as taught by a person. Whether SparkLayer's ``platform`` identifier of an
    order line is the line item's or the variant's is not published, so a variant id may fit either.
    """
    for by, names in _attempts(line, history, aliases, placed_at):
        fitting = [order_line for order_line in order_lines if names(order_line)]
        if len(fitting) == 1:
            return LineMatch(fitting[0], by)
    return LineMatch(None, suggestions=near_matches(line.sku, order_lines))


def match_kits(match: LineMatch, line: ReturnLine, order: Order, kits: Kits) -> LineMatch:
    """What a match becomes where kits were sold: a line that fits none may be a part of the one kit that has it."""
    sold = match.order_line
    if sold is None:
        with_part = kits_with(line.sku, order, kits)
        if len(with_part) != 1:
            return match
        sold = with_part[0]
    parts = kits.of(sold.sku, order.placed_at)
    part = next((part for part in parts if part.sku == line.sku), None)
    if part and part.weight is None:
        return LineMatch(None, part=part)
    return LineMatch(sold, MatchedBy.KIT_PART if part else match.by, kit=parts, part=part)


def kits_with(sku: str, order: Order, kits: Kits) -> tuple[OrderLine, ...]:
    """The lines of an order that are kits of which this SKU was a part when it was placed."""
    return tuple(
        line for line in order.lines if sku and any(part.sku == sku for part in kits.of(line.sku, order.placed_at))
    )


def fitting_lines(
    line: ReturnLine,
    order_lines: tuple[OrderLine, ...],
    history: SkuHistory,
    aliases: Mapping[str, str],
    placed_at: datetime | None = None,
) -> tuple[MatchedBy | None, tuple[OrderLine, ...]]:
    """All order lines that a returned line may be of, by the best identifier that any of them shares with it."""
    for by, names in _attempts(line, history, aliases, placed_at):
        if fitting := tuple(order_line for order_line in order_lines if names(order_line)):
            return by, fitting
    return None, ()


def _attempts(
    line: ReturnLine, history: SkuHistory, aliases: Mapping[str, str], placed_at: datetime | None
) -> tuple[tuple[MatchedBy, Callable[[OrderLine], bool]], ...]:
    """What a returned line may have in common with an order line, the surest first (rule 8)."""
    variants = history.variants_at(line.sku, placed_at) if line.sku else frozenset()
    if line.variant_id:
        variants = frozenset({line.variant_id})
    known_as = {sku for variant in variants for sku in history.skus_of(variant)} - {""}
    return (
        (MatchedBy.LINE_ITEM, lambda o: bool(line.line_item_id) and o.line_item_id == line.line_item_id),
        (MatchedBy.VARIANT, lambda o: bool(line.variant_id) and line.variant_id in (o.variant_id, o.line_item_id)),
        (MatchedBy.SKU, lambda o: bool(line.sku) and o.sku == line.sku),
        (MatchedBy.ALIAS, lambda o: line.sku in aliases and o.sku == aliases[line.sku]),
        (
            MatchedBy.SKU_HISTORY,
            lambda o: len(variants) == 1 and (o.variant_id in variants if o.variant_id else o.sku in known_as),
        ),
    )


def near_matches(sku: str, order_lines: tuple[OrderLine, ...]) -> tuple[str, ...]:
    """Order SKUs that differ from ``sku`` only in writing, each with the reason: for a person, never a match."""
    near = {}
    for order_line in order_lines:
        if reason := difference_in_writing(sku, order_line.sku):
            near[order_line.sku] = f"{order_line.sku} ({reason})"
    return tuple(near.values())


def difference_in_writing(left: str, right: str) -> str:
    """In what two SKUs differ that are alike but for writing; blank where they differ in substance."""
    if not left or not right:
        return ""
    if left == right:
        return "stands on the order more than once"
    folds: tuple[tuple[str, Callable[[str], str]], ...] = (
        ("differs in letter case", lambda text: text.casefold()),
        ("differs in spaces or hyphens", lambda text: "".join(c for c in text.casefold() if c.isalnum())),
        ("differs in leading zeros", lambda text: text.casefold().strip().lstrip("0")),
    )
    return next((reason for reason, fold in folds if fold(left) == fold(right)), "")
