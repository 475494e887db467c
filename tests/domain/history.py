"""What the jobs make of one order over time, in memory: facts are kept, decided on, and the outcome is carried out.

``Desk`` does what ``store.cases``, ``jobs.reconcile`` and the delivery of credits do with a store, and nothing else.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from swapsync.domain.catalogue import Action, Code
from swapsync.domain.facts import Case, Credited, DeliveredCredit, Extra, LineKind, Policy, ReturnFacts, Ruling, Voided
from swapsync.domain.notes import credit_platform_id, void_platform_id
from swapsync.domain.order_ledger import CreditLine
from swapsync.domain.orders import Order
from swapsync.domain.settlement import Decision, Problem, decide
from swapsync.domain.stock import ROUTE, Location, Movement, Step


@dataclass
class Note:
    """A credit note that was issued; ``state`` is pending, delivered or void, ``undone`` blank, pending or delivered:
    what became of the note that voids it."""

    return_id: str
    n: int
    currency: str
    lines: tuple[CreditLine, ...]
    state: str = "pending"
    undone: str = ""

    @property
    def platform_id(self) -> str:
        return credit_platform_id(self.return_id, self.n)

    @property
    def gross(self) -> int:
        return sum(line.net + line.tax for line in self.lines)


@dataclass
class Desk:
    """One order (None while SparkLayer doesn't tell of it), its returns, and what was done about them.

    ``aliases``: SKUs that were taught. ``known``: what others say of each return. ``issued``: all that decisions ever
    asked to be credited, by currency. ``move_names``: the key of each movement in the store. ``sparklayer``: the
    transactions that stand on the order, by platform id.
    """

    policy: Policy
    order: Order | None = None
    known: dict[str, ReturnFacts] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    movements: list[tuple[str, Movement]] = field(default_factory=list)
    move_names: list[tuple[str, str, Step, str, int]] = field(default_factory=list)
    issued: Counter[str] = field(default_factory=Counter)
    sparklayer: dict[str, int] = field(default_factory=dict)
    decisions: dict[str, Decision] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)

    # -- what is known

    def facts(self, return_id: str) -> ReturnFacts:
        """A return with what was done about it so far."""
        notes = [note for note in self.notes if note.return_id == return_id]
        standing = [(note, line) for note in notes if note.state != "void" for line in note.lines]
        moved: dict[tuple[str, str], Counter[Step]] = defaultdict(Counter)
        counts: dict[tuple[str, str], Counter[Step]] = defaultdict(Counter)
        stock_skus: dict[str, str] = {}
        for _, movement in (entry for entry in self.movements if entry[0] == return_id):
            moved[movement.line_id, movement.sku][movement.step] += movement.quantity
            counts[movement.line_id, movement.sku][movement.step] += 1
            stock_skus.setdefault(movement.line_id, movement.sku)
        known = self.known[return_id]
        return replace(
            known,
            credited_basis="" if notes and all(note.undone == "delivered" for note in notes) else known.credited_basis,
            credited=tuple(_credited(note, line) for note, line in standing if line.kind is LineKind.GOODS),
            extras=tuple(
                Extra(line.kind, line.net, line.tax) for _, line in standing if line.kind is not LineKind.GOODS
            ),
            credit_count=len(notes),
            delivered_credits=tuple(
                DeliveredCredit(note.platform_id, note.n, note.gross, "") for note in notes if note.state == "delivered"
            ),
            voids=tuple(
                Voided(note.platform_id, void_platform_id(return_id, note.n), note.gross, "wrong", note.state == "void")
                for note in notes
                if note.undone
            ),
            moved=moved,
            move_counts=counts,
            stock_skus=stock_skus,
        )

    def cases(self) -> Iterator[Case]:
        """The order with its returns; while there is no order, each return by itself."""
        everything = tuple(self.facts(return_id) for return_id in self.known)
        if self.order is None:
            yield from (Case(None, (facts,)) for facts in everything)
        elif everything:
            yield Case(self.order, everything, aliases=self.aliases)

    # -- what the jobs do

    def decide(self) -> list[tuple[Case, tuple[Decision, ...]]]:
        """Each case with what is decided on it; nothing is done about it yet."""
        return [(case, decide(case, self.policy)) for case in self.cases()]

    def reconcile(self) -> list[tuple[Case, tuple[Decision, ...]]]:
        """Decides, and records what was decided."""
        decided = self.decide()
        for case, decisions in decided:
            for decision in decisions:
                self._record(case, decision)
        return decided

    def _record(self, case: Case, decision: Decision) -> None:
        known = self.known[decision.return_id]
        self.decisions[decision.return_id] = decision
        [facts] = (facts for facts in case.returns if facts.ret.return_id == decision.return_id)
        for movement in decision.movements:
            line_id, step, sku = movement.line_id, movement.step, movement.sku
            n = facts.moves(line_id, sku, step) + 1
            self.move_names.append((decision.return_id, line_id, step, sku, n))
            self.movements.append((decision.return_id, movement))
        if decision.credit and case.order:
            n = 1 + sum(note.return_id == decision.return_id for note in self.notes)
            note = Note(decision.return_id, n, case.order.currency, decision.credit)
            self.notes.append(note)
            self.issued[note.currency] += note.gross
            self.known[decision.return_id] = replace(known, credited_basis=facts.credited_basis or known.ret.basis())

    def deliver(self, note: Note) -> None:
        """The note's transaction arrives: the same again changes nothing, another amount under its id is a fault."""
        assert self.sparklayer.setdefault(note.platform_id, note.gross) == note.gross
        note.state = "delivered"

    def deliver_void(self, note: Note) -> None:
        """The transaction arrives that takes a note's own back."""
        assert note.undone == "pending"
        self.sparklayer[void_platform_id(note.return_id, note.n)] = -note.gross
        note.state, note.undone = "void", "delivered"

    def deliver_all(self) -> None:
        for note in self.notes:
            if note.state == "pending":
                self.deliver(note)

    def rule(self, return_id: str, problem: Problem, action: Action) -> None:
        """A person decides about a problem; to deny it takes back the credits that have not gone out yet."""
        value = "PO-78" if action is Action.TYPE_PO else ""
        ruling = Ruling(action, value, problem.about or problem.detail)
        known = self.known[return_id]
        rulings: Mapping[tuple[Code, str], Ruling] = {**known.rulings, (problem.code, problem.subject): ruling}
        self.known[return_id] = replace(known, rulings=rulings)
        if action is Action.DENY:
            for note in self.notes:
                if note.return_id == return_id and note.state == "pending":
                    note.state = "void"

    # -- what it came to

    def standing(self) -> list[tuple[Note, CreditLine]]:
        """Every line of every note that is not void."""
        return [(note, line) for note in self.notes if note.state != "void" for line in note.lines]

    def credited(self) -> dict[str, tuple[int, int, int]]:
        """Units, net and tax credited by order line; carriage and fees under a blank key."""
        sums: dict[str, tuple[int, int, int]] = {}
        for _, line in self.standing():
            units, net, tax = sums.get(line.order_line_key, (0, 0, 0))
            goods = line.quantity if line.kind is LineKind.GOODS else 0
            sums[line.order_line_key] = units + goods, net + line.net, tax + line.tax
        return sums

    def stock(self) -> Counter[tuple[str, Location]]:
        """Units by SKU and location, the outside included."""
        levels: Counter[tuple[str, Location]] = Counter()
        for _, movement in self.movements:
            origin, destination = ROUTE[movement.step]
            levels[movement.sku, origin] -= movement.quantity
            levels[movement.sku, destination] += movement.quantity
        return levels


def _credited(note: Note, line: CreditLine) -> Credited:
    sold = line.sold and (line.sold.quantity, line.sold.net, line.sold.tax)
    delivered = note.state == "delivered"
    return Credited(line.line_id, line.order_line_key, line.quantity, line.net, line.tax, delivered, sold, line.sku)
