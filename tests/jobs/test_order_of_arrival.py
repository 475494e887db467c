"""The same news in another order, and with other runs of the jobs in between, come to the same in both systems.

What of the final state that is, and what it isn't, stands in tests/domain/test_histories.py.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swapsync.jobs.cycle import open_workplace
from swapsync.jobs.workplace import Workplace
from swapsync.sandbox.server import Sandbox
from swapsync.sandbox.world import World
from swapsync.settings import load_settings
from swapsync.store.db import Store
from tests.conftest import FixedClock, copy_template, run
from tests.rules import scenario as s

START = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
SOLD = {"MUG": 10, "CUP": 3}
CANCELLED = {"return_status": "Cancelled"}
REFUSED = s.APPROVED | {"quality_control_status": "Not Approved", "closed": START}
APPROVED = s.APPROVED | {"closed": START}
COURSES: tuple[tuple[dict[str, Any], ...], ...] = (
    (s.ANNOUNCED, s.DELIVERED, APPROVED),
    (s.ANNOUNCED, s.DELIVERED),
    (s.ANNOUNCED, s.DELIVERED, REFUSED),
    (s.ANNOUNCED, s.ANNOUNCED | CANCELLED),
)


@dataclass(frozen=True)
class Told:
    """A return: what it brings back, what Swap says of it in turn, and (SKU, condition, units) that are found."""

    name: str
    units: dict[str, int]
    course: tuple[dict[str, Any], ...]
    findings: tuple[tuple[str, str, int], ...]


@st.composite
def returns_of_the_order(draw: st.DrawFn) -> tuple[Told, ...]:
    """Returns that claim no more than was sold. Where Swap approves, the warehouse finds the same or says nothing."""
    left, told = dict(SOLD), []
    for n in range(1, draw(st.integers(1, 3)) + 1):
        units = {sku: draw(st.integers(0, min(4, left[sku]))) for sku in SOLD}
        units = {sku: quantity for sku, quantity in units.items() if quantity}
        if not units:
            continue
        left = {sku: left[sku] - units.get(sku, 0) for sku in SOLD}
        course = draw(st.sampled_from(COURSES))
        conditions = ("sellable",) if course[-1] is APPROVED else ("sellable", "damaged", "missing", "no_value")
        findings = [
            (sku, draw(st.sampled_from(conditions)), quantity) for sku, quantity in units.items() if draw(st.booleans())
        ]
        told.append(Told(f"R{n}", units, course, tuple(findings)))
    return tuple(told)


class Example:
    """A fresh pair of remote systems, a fresh store, and a worker between them."""

    def __init__(self, server: Sandbox, store: Store) -> None:
        self.clock = FixedClock(START)
        self.world = server.world = World(now=self.clock.now)
        environ = server.environment() | {
            "SWAPSYNC_HTTP_BACKOFF_SECONDS": "0",
            "SWAPSYNC_EFFECTS_FROM": "2026-03-01T00:00:00Z",
        }
        self.place: Workplace = open_workplace(load_settings(environ, Path()).sites[0], store, self.clock)
        s.buyer(self.world)

    def tell(self, told: Told, words: dict[str, Any]) -> None:
        """Swap has a newer version of the return."""
        lines = [s.back(sku, units) for sku, units in told.units.items()]
        day = s.SUBMITTED + timedelta(days=int(told.name[1:]))
        s.returned(
            self.world,
            *lines,
            **words,
            return_id=told.name,
            rma_number=f"RMA-{told.name[1:]}",
            total=Decimal(0),
            created=day,
            updated=self.clock.now(),
        )

    def sell(self) -> None:
        """SparkLayer shows the order."""
        lines = (s.sold("MUG", SOLD["MUG"], "100.00", "20.00"), s.sold("CUP", SOLD["CUP"], "10.00", "0.50"))
        s.order(self.world, *lines, updated=self.clock.now())

    def find(self, told: Told, finding: tuple[str, str, int]) -> None:
        """The warehouse finds units of a return that has been heard of."""
        run(self.place, "poll_returns")
        sku, condition, units = finding
        s.found(self.place, condition, units, sku=sku, rma=f"RMA-{told.name[1:]}")

    def play(self, draw: st.DrawFn, returns: tuple[Told, ...], runs: st.SearchStrategy[bool]) -> None:
        """Tells all news in some legal order, and has the jobs run in between as ``runs`` says and at the end."""
        waiting: dict[str, list[Callable[[], None]]] = {"order": [self.sell]}
        for told in returns:
            *early, last = told.course
            seen = [words for words in early if draw(st.booleans())]
            waiting[told.name] = [partial(self.tell, told, words) for words in (*seen, last)]
            waiting[f"{told.name} found"] = [
                partial(self.find, told, each) for each in draw(st.permutations(told.findings))
            ]
        heard: set[str] = set()
        while any(waiting.values()):
            possible = [
                name for name, news in waiting.items() if news and (" " not in name or name.split(" ")[0] in heard)
            ]
            name = draw(st.sampled_from(possible))
            waiting[name].pop(0)()
            heard.add(name)
            self.clock.forward(minutes=1)
            if draw(runs):
                run(self.place)
        for _ in range(3):
            records = run(self.place)
            assert not [record for record in records.values() if record.error]
            self.clock.forward(hours=1)

    def outcome(self) -> dict[str, Any]:
        """What no order of arrival changes."""
        credited: Counter[tuple[str, str]] = Counter()
        for sku, units, net, tax in s.document_lines(self.place):
            credited.update({(sku, "units"): units, (sku, "net"): net, (sku, "tax"): tax})
        return {
            "credited": credited,
            "transactions": sum(Decimal(total) for total in s.credits(self.world).values()),
            "stock": {sku: {name: level or 0 for name, level in s.levels(self.world, sku).items()} for sku in SOLD},
            "settlement": {name: s.state(self.place, name) for name in self.world.swap.returns},
            "exceptions": sorted((row.return_id, row.code, row.detail) for row in s.open_exceptions(self.place)),
        }


@pytest.fixture(scope="module")
def emptied(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Callable[[], Store]:
    """Empties the store: the same one each time, because its statements are compiled then."""
    file = tmp_path_factory.mktemp("store") / "swapsync.db"
    store = Store(f"sqlite:///{file}")

    def empty() -> Store:
        store.close()
        copy_template(sqlite_template, file)
        return store

    return empty


@settings(max_examples=20)
@given(returns_of_the_order(), st.data())
def test_news_in_any_order_come_to_the_same_money_and_stock(
    server: Sandbox, emptied: Callable[[], Store], returns: tuple[Told, ...], data: st.DataObject
) -> None:
    outcomes = []
    for runs in (st.booleans(), st.just(False)):
        example = Example(server, emptied())
        example.play(data.draw, returns, runs)
        issued = sum(note.net + note.tax for note in s.documents(example.place))
        assert issued == -100 * sum(Decimal(total) for total in s.credits(example.world).values())
        assert s.undelivered(example.place) == []
        tokens = s.tokens(example.world)
        assert len(set(tokens)) == len(tokens)
        outcomes.append(example.outcome())
    assert outcomes[0] == outcomes[1]
