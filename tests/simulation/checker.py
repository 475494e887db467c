"""Compares both remote sides and the store with what should be. A checker that can't fail is a defect: see mutants/."""

import re
from collections import Counter, defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row, select

from swapsync.sandbox.world import parse_moment
from swapsync.store.cases import credit_note_lines, credit_notes, movements
from swapsync.store.exceptions import exceptions
from swapsync.store.outbox import outbox
from swapsync.store.runs import sites, watermarks
from swapsync.store.staging import orders, return_lines, returns, variant_skus
from tests.simulation.reference import Expected, Model, Rma, amount, part

if TYPE_CHECKING:
    from tests.simulation.stage import Stage


class Wrong(AssertionError):
    """Something is not as it should be."""


def ensure(right: bool, words: str) -> None:
    """Raises Wrong unless it is right."""
    if not right:
        raise Wrong(words)


class Checker:
    """Looks at one stage. ``safety`` holds at every moment; ``whole`` when everything has come to rest."""

    def __init__(self, stage: "Stage") -> None:
        self.stage = stage
        self._seen_credits: dict[str, Any] = {}

    def _rows(self, source: Any, *order: Any) -> list[Row[Any]]:
        with self.stage.machines.office.reading() as connection:
            return list(connection.execute(select(source).order_by(*order)))

    # -- at every moment ---------------------------------------------------------------------------------------------

    def safety(self) -> None:
        """Nothing twice, nothing early, nothing too much, no row passed over."""
        stage = self.stage
        ensure(not stage.world.forbidden_calls, f"forbidden calls: {stage.world.forbidden_calls}")
        for number in stage.orders:
            self._order(number)
        self._watermarks()
        self._no_phantom_stock()

    def _order(self, number: int) -> None:
        stage, sparklayer = self.stage, self.stage.world.sparklayer
        bodies = [event["body"] for event in sparklayer.history(f"50{number}") if event["event_type"] == "note"]
        tokens = Counter(body.rpartition("[")[2].rstrip("]") for body in bodies)
        twice = [token for token, times in tokens.items() if times > 1]
        ensure(not twice, f"notes stand twice on #{number}: {twice}")
        place = stage.orders[number].place
        given_back = self._given_back()
        for transaction in sparklayer.transactions(f"50{number}"):
            key, total = transaction["platform_id"], transaction["total"]
            ensure(self._seen_credits.setdefault(key, total) == total, f"{key} changed from {self._seen_credits[key]}")
            ensure(place.method in ("on_account", "invoice"), f"{key}: a credit on a {place.method} order")
            void = ":void:" in key
            counts = transaction["apply_to_balance"]
            ensure((Decimal(total["number"]) < 0) is not void, f"{key}: {transaction}")
            ensure(counts or void or key in given_back, f"{key} does not count: {transaction}")
            ensure(not (counts and void), f"{key} counts: {transaction}")
            rma = next((r for r in stage.rmas.values() if re.match(f"swap:{r.id}:(credit|void):", key)), None)
            ensure(rma is not None and rma.order == number, f"{key} on #{number} is no credit of a return of it")
            assert rma is not None
            row = rma.standing or stage.world.swap.get_return(rma.id)
            confirmed = row["return_status"] == "Closed" and row["delivery_status"] == "Delivered"
            ensure(bool(rma.found) or (confirmed and stage.rules.settle_on == "swap_closed"), f"{key} before receipt")
        gross = sum(line.net + line.tax for line in place.lines)
        standing = sparklayer.transactions(f"50{number}")
        credited = -sum(Decimal(t["total"]["number"]) for t in standing if t["apply_to_balance"])
        ensure(credited <= amount(gross, place.currency), f"#{number} is worth {gross} and got {credited} back")

    def _watermarks(self) -> None:
        position = {row.stream: row.position for row in self._rows(watermarks)}
        overlap = self.stage.site.overlap_seconds
        if mark := position.get("swap.returns"):
            staged = {row.return_id: row.updated_at for row in self._rows(returns)}
            for key, row in self.stage.world.swap.returns.items():
                at = parse_moment(row["date_updated"])
                assert at is not None
                decoy = not key[1:].isdigit()
                seen = decoy or self.stage.rmas[int(key[1:])].malformed or (key in staged and staged[key] >= at)
                passed = (mark - at).total_seconds() > overlap
                ensure(seen or not passed, f"the watermark {mark} has passed {key} of {at}, which was not seen")
        if mark := position.get("sparklayer.orders"):
            staged = {row.platform_id: row.updated_at for row in self._rows(orders)}
            for key, row in self.stage.world.sparklayer.purchases.items():
                at = parse_moment(row["dates"]["updated_at"])
                assert at is not None
                seen = key in staged and staged[key] >= at
                passed = (mark - at).total_seconds() > overlap
                ensure(seen or not passed, f"the watermark {mark} has passed order {key} of {at}, which was not seen")

    def _no_phantom_stock(self) -> None:
        """Sellable stock never exceeds what was there, less what was sold, plus what came back fit for sale."""
        stage = self.stage
        fit = Counter[int]()
        for rma in stage.rmas.values():
            ordered = stage.orders.get(rma.order)
            for line, target in enumerate(rma.lines):
                if ordered is None or target is None or rma.outside:
                    continue
                row = stage.world.swap.get_return(rma.id)
                announced = (row["products"] or row["kept"])[line]["item_count"]
                if rma.standing:
                    announced = rma.standing["products"][line]["item_count"]
                closed = (rma.standing or row)["return_status"] == "Closed"
                approved = closed and stage.rules.restock_on == "swap_approved"
                units = announced if approved else rma.units(line, "sellable")
                fit[ordered.place.lines[target].variant] += units
        for variant, start in enumerate(stage.story.stock):
            most = (start or 0) - stage.sold[variant] + fit[variant]
            level = self._level(variant, "default")
            ensure(level <= most, f"v{variant} has {level} to sell, and there can't be more than {most}")

    # -- at rest -----------------------------------------------------------------------------------------------------

    def whole(self) -> None:
        """Every credit once and exact, every level right, every note, every exception and no other, nothing stuck."""
        stage = self.stage
        stuck = self.backlog()
        ensure(not stuck, f"still to be delivered: {stuck}")
        paid = self.paid()
        model = Model(stage.rules, stage.world.swap.returns, stage.orders)
        expected = model.expect(stage.rmas.values(), paid)
        for rma in stage.rmas.values():
            self._units(rma, expected[rma.id], paid)
        self._amounts()
        self._exceptions(expected)
        self._notes(expected)
        self._stock(expected)

    def _units(self, rma: Rma, say: Expected, paid: dict[tuple[str, int], int]) -> None:
        got = {line: paid.get((rma.id, line), 0) for line in range(len(rma.lines))}
        want = {line: say.units[line] for line in range(len(rma.lines))}
        ensure(got == want, f"{rma.id}: units credited by line {got}, should be {want}")

    def _amounts(self) -> None:
        """Each credit note says what it should, and stands on its order as one transaction, and there is no other."""
        stage = self.stage
        lines = defaultdict(list)
        for row in self._rows(credit_note_lines):
            lines[row.number].append(row)
        units: Counter[tuple[int, int]] = Counter()
        value: Counter[tuple[int, int, str]] = Counter()
        counts: Counter[str] = Counter()
        due: dict[int, dict[str, Decimal]] = defaultdict(dict)
        names: dict[str, Any] = {}
        given_back = self._given_back()
        for note in self._rows(credit_notes, credit_notes.c.number):
            rma = stage.rmas[int(note.return_id[1:])]
            place = stage.orders[rma.order].place
            names[note.platform_id] = note
            if note.kind == "void":
                for row in lines[note.number]:
                    target = rma.lines[int(row.line_id.rpartition("-")[2]) - 1]
                    assert target is not None
                    units[rma.order, target] -= row.quantity
                    value[rma.order, target, "net"] -= row.net
                    value[rma.order, target, "tax"] -= row.tax
                ensure(note.state == "delivered", f"{note.number} is {note.state}")
                due[rma.order][note.platform_id] = amount(note.net + note.tax, place.currency)
                continue
            counts[rma.id] += 1
            total = 0
            for row in lines[note.number]:
                target = rma.lines[int(row.line_id.rpartition("-")[2]) - 1]
                assert target is not None
                sold = place.lines[target]
                units[rma.order, target] += row.quantity
                for kind, worth in (("net", sold.net), ("tax", sold.tax)):
                    share = part(worth, units[rma.order, target], sold.quantity) - value[rma.order, target, kind]
                    value[rma.order, target, kind] += share
                    total += share
                    said = getattr(row, kind)
                    ensure(said == share, f"{note.number} says {kind} {said} for line {row.line_id}, not {share}")
            ensure(
                note.platform_id == f"swap:{rma.id}:credit:{counts[rma.id]}",
                f"{note.number} is credit {counts[rma.id]} of {rma.id} and goes by {note.platform_id}",
            )
            state = "void" if note.platform_id in given_back else "delivered"
            ensure(note.state == state, f"{note.number} is {note.state}, should be {state}")
            due[rma.order][note.platform_id] = -amount(total, place.currency)
        numbers = sorted(int(note.number.rpartition("-")[2]) for note in names.values())
        gaps = numbers != list(range(1, len(numbers) + 1))
        ensure(not gaps or stage.restored, f"credit note numbers have gaps: {numbers}")
        for order in stage.orders:
            standing = stage.world.sparklayer.transactions(f"50{order}")
            got = {row["platform_id"]: Decimal(row["total"]["number"]) for row in standing}
            ensure(got == due[order], f"#{order} has transactions {got}, should have {due[order]}")
            for row in standing:
                key = row["platform_id"]
                ensure(row["apply_to_balance"] is not (":void:" in key or key in given_back), f"at rest: {row}")
                self._po_number(order, row, names[key])

    def _po_number(self, order: int, transaction: Any, note: Any) -> None:
        place = self.stage.orders[order].place
        said = transaction["full_transaction"]["customer_reference"]
        ever = {place.po, "PO-9", "PO-10"}
        ensure(said in ever and (said or not place.po), f"{note.number} carries PO {said!r} for one of {ever}")
        ensure(said == note.po_number, f"{note.number} has PO {note.po_number!r}, its transaction {said!r}")
        number = transaction["full_transaction"]["credit_note"]
        ensure(number == note.number, f"{transaction['platform_id']} is {note.number} here and {number} there")

    def _exceptions(self, expected: dict[str, Expected]) -> None:
        got = set()
        for row in self._rows(exceptions):
            if row.status == "open":
                ret = f"r{row.rma_number[4:]}" if not row.return_id and row.rma_number else row.return_id
                got.add((row.code, ret))
        want = {(code, ret) for ret, say in expected.items() for code in say.codes}
        ensure(not got - want, f"open and should not be: {sorted(got - want)}")
        ensure(not want - got, f"should be open: {sorted(want - got)}")

    def _notes(self, expected: dict[str, Expected]) -> None:
        stage = self.stage
        got = {
            event["body"].rpartition("[")[2].rstrip("]")
            for order in stage.orders
            for event in stage.world.sparklayer.history(f"50{order}")
            if event["event_type"] == "note"
        }
        want = {token for say in expected.values() for token in say.notes}
        want |= {
            f"swap:{note.return_id}:credited:{note.n}" for note in self._rows(credit_notes) if note.kind == "credit"
        }
        may = want | {token for say in expected.values() for token in say.maybe_notes}
        ensure(want <= got, f"notes are missing: {sorted(want - got)}")
        ensure(got <= may, f"notes too many: {sorted(got - may)}")

    def _stock(self, expected: dict[str, Expected]) -> None:
        stage = self.stage
        ledger: Counter[tuple[str, str]] = Counter()
        for row in self._rows(movements):
            ledger[row.sku, row.to_location] += row.quantity
            ledger[row.sku, row.from_location] -= row.quantity
        for variant, skus in stage.all_skus.items():
            for sku in skus:
                for location in ("inspection", "damaged"):
                    level = stage.world.sparklayer.level(sku, location) or 0
                    ensure(
                        level == ledger[sku, location],
                        f"{sku} at {location}: {level}, our ledger {ledger[sku, location]}",
                    )
                    ensure(level >= 0, f"{sku} at {location}: {level}")
            start = (stage.story.stock[variant] or 0) - stage.sold[variant]
            ours = sum(ledger[sku, "sellable"] for sku in skus)
            level = self._level(variant, "default")
            ensure(level == start + ours, f"v{variant} has {level} to sell, should have {start} + {ours}")
            if any(variant in say.loose for say in expected.values()):
                continue
            for location, figures in (
                ("inspection", [say.inspection for say in expected.values()]),
                ("damaged", [say.damaged for say in expected.values()]),
                ("sellable", [say.sellable for say in expected.values()]),
            ):
                want = sum(figure[variant] for figure in figures)
                got = sum(ledger[sku, location] for sku in skus)
                ensure(got == want, f"v{variant} {location}: {got}, should be {want}")

    # -- questions ---------------------------------------------------------------------------------------------------

    def paid(self) -> dict[tuple[str, int], int]:
        """Units that credit notes cover, by return and line; 0 where they were voided."""
        of = {row.number: row for row in self._rows(credit_notes)}
        units: Counter[tuple[str, int]] = Counter()
        for row in self._rows(credit_note_lines):
            note = of[row.number]
            line = int(row.line_id.rpartition("-")[2]) - 1
            units[note.return_id, line] += row.quantity if note.kind == "credit" else -row.quantity
        return dict(units)

    def last_credit(self, rma: Rma) -> str:
        """The number of the last credit of a return; blank for none."""
        notes = [row for row in self._rows(credit_notes, credit_notes.c.number) if row.return_id == rma.id]
        return str(notes[-1].number) if notes else ""

    def _given_back(self) -> set[str]:
        """The transaction ids of the credits that were voided."""
        notes = self._rows(credit_notes)
        voided = {note.voids for note in notes}
        return {note.platform_id for note in notes if note.number in voided}

    def began(self) -> bool:
        """Whether a worker has ever started."""
        return bool(self._rows(sites))

    def has_read(self, variant: int) -> bool:
        """Whether the SKU that a variant has now was seen with it; nobody can know of one that went before that."""
        sku = self.stage.skus[variant]
        return any(row.variant_id == f"v{variant}" and row.sku == sku for row in self._rows(variant_skus))

    def has_read_units(self, rma: Rma) -> bool:
        """Whether the store knows how many units a return announces now."""
        known = [row.quantity for row in self._rows(return_lines, return_lines.c.position) if row.return_id == rma.id]
        return known == [product["item_count"] for product in self.stage.world.swap.get_return(rma.id)["products"]]

    def is_unaware(self, number: int) -> bool:
        """Whether an order is cancelled and the store doesn't know."""
        known = any(row.platform_id == f"50{number}" and row.cancelled for row in self._rows(orders))
        return number in self.stage.orders and self.stage.orders[number].cancelled and not known

    def is_credited(self, rma: Rma) -> bool:
        """Whether a credit of the return stands on its order."""
        if rma.order not in self.stage.orders:
            return False
        standing = self.stage.world.sparklayer.transactions(f"50{rma.order}")
        return any(row["platform_id"].startswith(f"swap:{rma.id}:") for row in standing)

    def backlog(self) -> list[str]:
        """What the outbox still has to deliver, or gave up."""
        return [f"{row.effect_key} {row.state}" for row in self._rows(outbox) if row.state != "sent"]

    def was_written(self, exception: Row[Any]) -> bool:
        """What a count in the warehouse says of a doubtful write to sellable stock."""
        write = int(exception.subject.removeprefix("write:"))
        restocks = [row for row in self._rows(outbox) if row.kind == "restock"]
        variant = next(v for v, skus in self.stage.all_skus.items() if exception.sku in skus)
        skus = self.stage.all_skus[variant]
        done = sum(r.payload["quantity"] for r in restocks if r.state == "sent" and r.payload["sku"] in skus)
        mine = sum(r.payload["quantity"] for r in restocks if r.write_id == write)
        unsold = (self.stage.story.stock[variant] or 0) - self.stage.sold[variant]
        over = self._level(variant, "default") - unsold - done
        others = {r.write_id for r in restocks if r.state == "in_doubt" and r.payload["sku"] in skus} - {write}
        ensure(bool(others) or over in (0, mine), f"{exception.sku}: {over} units too many, {mine} were in doubt")
        return over >= mine

    def _level(self, variant: int, location: str) -> int:
        levels = [self.stage.world.sparklayer.level(sku, location) for sku in self.stage.all_skus[variant]]
        return sum(level or 0 for level in levels)
