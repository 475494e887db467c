"""What was done about a return's lines, once Swap names its lines anew: it counts for the lines that took their place.

A line of a return has no name that lasts: an edit in Swap can give it another id, split it, or join it with another.
Credits, goods and findings are stored under the line that they were made for. Before anything is decided, those of a
line that is gone, that is another thing now, or that announces fewer units, go over to lines that mean the same thing
and have room for them. What fits nowhere stays where it is. Nothing of this is stored: the same facts always come out
the same, and what is recorded for a successor afterwards is found there first.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from swapsync.domain.facts import Credited, ReturnFacts
from swapsync.domain.matching import LineMatch
from swapsync.domain.order_ledger import key_now
from swapsync.domain.orders import Order, SkuHistory
from swapsync.domain.returns import Condition, Finding, ReturnLine, found
from swapsync.domain.stock import Step, on_hand

Kind = TypeVar("Kind", bound=Hashable)

_FATES: tuple[Step | None, ...] = (
    *(Step.RESTOCKED, Step.DAMAGED, Step.DISPOSED, Step.MISSING),
    None,  # still in inspection
    Step.WRITTEN_OFF,
)
_CONDITIONS = (
    *(Condition.SELLABLE, Condition.DAMAGED, Condition.NO_VALUE, Condition.MISSING),
    Condition.WRONG_ITEM,
)
_FATE_OF = {
    Condition.SELLABLE: Step.RESTOCKED,
    Condition.DAMAGED: Step.DAMAGED,
    Condition.NO_VALUE: Step.DISPOSED,
    Condition.MISSING: Step.MISSING,
    Condition.WRONG_ITEM: Step.WRITTEN_OFF,
}


def carry_over(facts: ReturnFacts, matches: Mapping[str, LineMatch], order: Order, history: SkuHistory) -> ReturnFacts:
    """The facts of a return by the lines that it has now. ``matches``: of its lines, by line id.

    ``move_counts`` stays as it is stored, since it numbers the movements of a line by their names in the store.
    """
    if not facts.credited and not facts.moved and not facts.findings:
        return facts
    heirs = _Heirs(facts, matches, order, history)
    moved = heirs.moved()
    findings = heirs.findings(moved)
    return replace(
        facts,
        credited=heirs.credited(findings),
        moved=moved,
        stock_skus=heirs.stock_skus(moved),
        findings=findings,
    )


class _Heirs:
    """Which lines of a return may take over what is stored under another."""

    def __init__(self, facts: ReturnFacts, matches: Mapping[str, LineMatch], order: Order, history: SkuHistory) -> None:
        self.facts, self.matches, self.order, self.history = facts, matches, order, history
        self.quantity = {line.line_id: line.quantity for line in facts.ret.lines}
        self.names = {line.line_id: self._names(line) for line in facts.ret.lines}

    def _names(self, line: ReturnLine) -> dict[str, int]:
        """The SKUs under which goods of a line may have moved, each with how many of them are in a returned unit."""
        match = self.matches[line.line_id]
        sold = None if match.part else match.order_line
        parts = {} if match.part else {part.sku: part.quantity for part in match.kit}
        labels = self.history.skus_of(line.variant_id or (sold.variant_id if sold else ""))
        own = (line.sku, sold.sku if sold else "", *labels)
        return {sku: 1 for sku in own if sku} | parts

    def _is_of(self, credited: Credited, line_id: str) -> bool:
        """Whether what was credited is what a line brings back: of its order line, whole or the same part of a kit."""
        match = self.matches[line_id]
        if match.order_line is None:
            return False
        if key_now(credited, self.matches.get(credited.line_id), self.order) != match.order_line.key:
            return False
        if match.part:
            return credited.sku in ("", match.part.sku)
        return all(credited.sku != part.sku for part in match.kit)

    def _that_bring(self, skus: Collection[str], home: str, *_: object) -> Collection[str]:
        """The lines that may bring goods of these SKUs back; where none does, those of what was credited for them.

        ``home``: the line under which the goods are stored.
        """
        credits = [credited for credited in self.facts.credited if credited.line_id == home]
        return {line_id for line_id, names in self.names.items() if names.keys() & set(skus)} or {
            line_id for line_id in self.names if any(self._is_of(credited, line_id) for credited in credits)
        }

    def credited(self, findings: Iterable[Finding]) -> tuple[Credited, ...]:
        """What was credited: first of what is sellable, then of what nobody looked at. ``findings``: by today's lines.

        Where a line of a note is shared out among several, its amount stays in one piece.
        """
        rows = self.facts.credited
        stored: dict[str, Counter[int]] = defaultdict(Counter)
        for n, row in enumerate(rows):
            stored[row.line_id][n] += row.quantity
        seen = {line_id: found(findings, line_id) for line_id in self.quantity}

        def lines_for(_: str, n: int) -> Collection[str]:
            return {line_id for line_id in self.quantity if self._is_of(rows[n], line_id)}

        def wish(_: int, line_id: str, has: Counter[int]) -> Sequence[int]:
            sellable, unseen = seen[line_id][Condition.SELLABLE], self.quantity[line_id] - seen[line_id].total()
            return sellable - has.total(), sellable + unseen - has.total()

        shared = _share_out(stored, self.quantity, lines_for, range(len(rows)), wish)
        if shared == stored:
            return rows
        pieces = []
        for n, row in enumerate(rows):
            net, tax = row.net, row.tax
            for line_id, units in shared.items():
                if units[n]:
                    pieces.append(replace(row, line_id=line_id, quantity=units[n], net=net, tax=tax))
                    net = tax = 0
        return tuple(pieces)

    def moved(self) -> Mapping[tuple[str, str], Mapping[Step, int]]:
        """Units that moved, by line and SKU."""
        moved = dict(self.facts.moved)
        for sku in dict.fromkeys(sku for _, sku in self.facts.moved):
            stored = {line_id: _fates(steps) for (line_id, of), steps in self.facts.moved.items() if of == sku}
            room = {line_id: units * self.names[line_id].get(sku, 1) for line_id, units in self.quantity.items()}
            shared = _share_out(stored, room, partial(self._that_bring, (sku,)), _FATES)
            if shared != stored:
                moved = {name: steps for name, steps in moved.items() if name[1] != sku}
                moved |= {(line_id, sku): _steps(units) for line_id, units in shared.items() if any(units.values())}
        return moved

    def stock_skus(self, moved: Mapping[tuple[str, str], Mapping[Step, int]]) -> Mapping[str, str]:
        """Under which SKU each line's goods move on."""
        if moved == self.facts.moved:
            return self.facts.stock_skus
        skus = {line_id: sku for line_id, sku in self.facts.stock_skus.items() if (line_id, sku) in moved}
        return dict(reversed(list(moved))) | skus

    def findings(self, moved: Mapping[tuple[str, str], Mapping[Step, int]]) -> tuple[Finding, ...]:
        """What the warehouse found: first of units for which that was done already. ``moved``: by today's lines."""
        stored: dict[str, Counter[tuple[Condition, str]]] = defaultdict(Counter)
        for finding in self.facts.findings:
            if finding.line_id:
                stored[finding.line_id][finding.condition, finding.sku] += finding.quantity

        def lines_for(home: str, kind: tuple[Condition, str]) -> Collection[str]:
            _, sku = kind
            skus = [sku for line_id, sku in self.facts.moved if line_id == home]
            return self._that_bring([sku] if sku else skus or self.names.get(home, {}), home)

        def wish(kind: tuple[Condition, str], line_id: str, has: Counter[tuple[Condition, str]]) -> Sequence[int]:
            condition, _ = kind
            done = [
                _fates(steps)[_FATE_OF[condition]] // self.names[line_id].get(sku, 1)
                for (of, sku), steps in moved.items()
                if of == line_id
            ]
            return (max(done, default=0) - sum(n for (seen, _), n in has.items() if seen is condition),)

        kinds = sorted({kind for units in stored.values() for kind in units}, key=_by_condition)
        shared = _share_out(stored, self.quantity, lines_for, kinds, wish)
        if shared == stored:
            return self.facts.findings
        by_line = (
            Finding(line_id, condition, quantity, sku=sku)
            for line_id, units in shared.items()
            for (condition, sku), quantity in units.items()
            if quantity
        )
        return (*by_line, *(finding for finding in self.facts.findings if not finding.line_id))


def _by_condition(kind: tuple[Condition, str]) -> tuple[int, str]:
    condition, sku = kind
    return _CONDITIONS.index(condition), sku


def _fates(steps: Mapping[Step, int]) -> Counter[Step | None]:
    """What became of each unit that came: the step by which it left inspection, or None."""
    fates: Counter[Step | None] = Counter({step: steps.get(step, 0) for step in _FATES if step})
    fates[None] = on_hand(steps)
    return fates


def _steps(fates: Mapping[Step | None, int]) -> dict[Step, int]:
    return {Step.RECEIVED: sum(fates.values())} | {step: units for step, units in fates.items() if step and units}


def _share_out(
    stored: Mapping[str, Counter[Kind]],
    room: Mapping[str, int],
    lines_for: Callable[[str, Kind], Collection[str]],
    order: Sequence[Kind],
    wish: Callable[[Kind, str, Counter[Kind]], Sequence[int]] = lambda *_: (),
) -> dict[str, Counter[Kind]]:
    """Units by line and kind, shared out among the lines that have room; all of them, and none twice.

    ``stored``: under which lines they are. ``room``: units that each line of the return can have. ``lines_for``: which
    ones may have units of a kind that are stored under a line. ``order``: of the kinds, those first that stay.
    ``wish``: how many of a kind a line is given before others, with what it has; several numbers for several rounds.
    """
    owned = {line_id: Counter(units) for line_id, units in sorted(stored.items())}
    _settle_debts(owned, room)
    shared: defaultdict[str, Counter[Kind]] = defaultdict(Counter)
    free = dict(room)
    waiting = []
    for home, units in owned.items():
        for kind in order:
            lines = lines_for(home, kind) if units[kind] > 0 else ()
            stay = min(units[kind], free[home]) if home in room and home in lines else min(units[kind], 0)
            shared[home][kind] += stay
            waiting.append((home, kind, units[kind] - stay, [line_id for line_id in room if line_id in lines]))
            if stay > 0:
                free[home] -= stay
    for home, kind, leaving, lines in waiting:
        rounds = max((len(wish(kind, line_id, shared[line_id])) for line_id in lines), default=0)
        for n in range(rounds + 1):
            for line_id in lines:
                wished = wish(kind, line_id, shared[line_id])[n] if n < rounds else leaving
                taken = min(leaving, free[line_id], wished)
                if taken > 0:
                    shared[line_id][kind] += taken
                    free[line_id] -= taken
                    leaving -= taken
        shared[home][kind] += leaving
    return {line_id: units for line_id, units in shared.items() if line_id in stored or any(units.values())}


def _settle_debts(kept: Mapping[str, Counter[Kind]], room: Mapping[str, int]) -> None:
    """Where more units left a line than are stored under it, they are some that it took over: it has those first."""
    for units in kept.values():
        for kind in [kind for kind, number in units.items() if number < 0]:
            for lender in sorted(kept, key=lambda line_id: line_id in room):
                taken = min(kept[lender][kind], -units[kind])
                if taken > 0:
                    kept[lender][kind] -= taken
                    units[kind] += taken
