"""Which order line a returned line came from (worker.md section 4, rule 8; design.md section 4)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from swapsync.domain.orders import OrderLine, SkuHistory
from swapsync.domain.returns import ReturnLine


class MatchedBy(StrEnum):
    """What a returned line and its order line have in common."""

    LINE_ITEM = "line item id"
    VARIANT = "variant id"
    SKU = "SKU"
    ALIAS = "taught alias"
    SKU_HISTORY = "SKU history"
    PERSON = "a person's choice"


@dataclass(frozen=True, slots=True)
class LineMatch:
    """The order line and what it was matched by; or no line and the near matches, each with its reason."""

    order_line: OrderLine | None
    by: MatchedBy | None = None
    suggestions: tuple[str, ...] = ()


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
