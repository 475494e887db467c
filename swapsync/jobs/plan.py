"""The plan: what would be written outside, write by write, and that nothing was.

A dry run works on a copy of the store (``Store.copied``) through connections that refuse every write.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from swapsync.clock import Clock
from swapsync.domain import money
from swapsync.domain.stock import Location
from swapsync.jobs.cycle import JOBS, RunRecord, SiteReport, at_each_site, run_job
from swapsync.jobs.reconcile import planned_effects
from swapsync.jobs.stock_levels import read_levels
from swapsync.jobs.workplace import Tally, Workplace
from swapsync.settings import SiteSettings
from swapsync.store import controls
from swapsync.store.db import Store
from swapsync.store.outbox import Effect, Kind

DELIVERED_BY: Mapping[Kind, str] = {
    Kind.CREDIT: "push_credits",
    Kind.STOCK_LEVEL: "push_restocks",
    Kind.RESTOCK: "push_restocks",
    Kind.NOTE: "push_status",
    Kind.QUALITY_CONTROL: "push_status",
}
"""The job that would make each kind of write."""

Levels = Mapping[tuple[str, Location], int | None]
"""Units by (SKU, location) as they stand outside, None where no level was ever set."""


@dataclass(frozen=True, slots=True)
class Write:
    """One write that would be made outside. ``what`` is for people; ``facts`` are its parts, plain values for JSON."""

    site: str
    kind: Kind
    target: str
    return_id: str
    what: str
    facts: Mapping[str, Any]


@dataclass
class Plan(SiteReport):
    """What the jobs of one site would write outside, after those that only read were run on a copy of the store.

    ``sent``: the requests that really left, by system and by "read" and "write", as the connections counted them.
    """

    writes: list[Write] = field(default_factory=list)
    sent: dict[str, dict[str, int]] = field(default_factory=dict)


def plan_sites(sites: Sequence[SiteSettings], copy: Store, clock: Clock, jobs: Sequence[str]) -> list[Plan]:
    """Runs, on a copy of the store, what these jobs of a cycle read and decide; plans what they would write."""

    def one(place: Workplace) -> Plan:
        plan = Plan(place.slug, [])
        for job in jobs:
            if job not in DELIVERED_BY.values() and not place.stopping.is_set():
                plan.runs.append(run_job(place, job, JOBS[job]))
        paused = {run.job for run in plan.runs if run.status == "skipped"}
        add_plan(place, plan, [job for job in jobs if job not in paused])
        return plan

    return at_each_site(sites, copy, clock, one)


def add_plan(place: Workplace, plan: Plan, jobs: Sequence[str] = tuple(JOBS)) -> None:
    """Plans what these jobs would write outside. Raises ValueError unless the desk stands on a copy of the store."""
    if not place.store.is_copy:
        raise ValueError("a plan is made on a copy of the store")
    with place.store.reading() as connection:
        paused = {job: controls.why_paused(connection, place.slug, job) for job in jobs if job in DELIVERED_BY.values()}
    plan.runs += [RunRecord(job, "skipped", remarks=[reason]) for job, reason in paused.items() if reason]
    wanted = [kind for kind, job in DELIVERED_BY.items() if job in jobs and not paused[job]]

    def make(place: Workplace, tally: Tally) -> None:
        effects = [e for e in planned_effects(place, deciding="reconcile" in jobs) if e.kind in wanted]
        plan.writes = list(writes(place, effects, levels_outside(place, effects, tally)))
        tally.read = len(plan.writes)

    plan.runs.append(run_job(place, "plan", make))
    plan.sent = {"swap": dict(place.swap.sent), "sparklayer": dict(place.sparklayer.sent)}


def levels_outside(place: Workplace, effects: Iterable[Effect], tally: Tally) -> Levels:
    """Reads the levels that the effects would change. A location that SparkLayer doesn't have is remarked on."""
    wanted = {pair for effect in effects for pair in _pairs(effect)}
    if not wanted:
        return {}
    ids = place.sparklayer.stock_locations()
    known = {location: ids[name] for location, name in place.locations.items() if name in ids}
    for name in sorted({place.locations[location] for _, location in wanted if location not in known}):
        tally.remarks.append(f"SparkLayer has no stock location {name!r}: push_restocks would need it")
    asked = sorted({sku for sku, _ in wanted})
    read, unread = read_levels(place, asked, sorted(set(known.values())))
    tally.remarks += [str(why) for why in unread.values()]
    return {
        (sku, location): level.quantity
        if location in known and (level := read.get((sku, known[location]))) is not None
        else None
        for sku, location in wanted
    }


def writes(place: Workplace, effects: Iterable[Effect], levels: Levels | None = None) -> Iterable[Write]:
    """The effects as writes, restocks of one SKU together. Without ``levels`` nobody looked at what stands outside."""
    restocks: dict[str, list[Effect]] = {}
    for effect in effects:
        if effect.kind is Kind.RESTOCK:
            restocks.setdefault(effect.payload["sku"], []).append(effect)
        else:
            what, facts = _described(place, effect, levels)
            yield Write(place.slug, effect.kind, effect.target, effect.return_id, what, facts)
    for sku, together in restocks.items():
        added = sum(effect.payload["quantity"] for effect in together)
        before = None if levels is None else levels[sku, Location.SELLABLE] or 0
        after = None if before is None else before + added
        facts = _level(place, sku, Location.SELLABLE, before, after) | {"added": added}
        what = f"add {added} to the level" + ("" if before is None else f": {before} → {after}")
        return_ids = {effect.return_id for effect in together}
        return_id = return_ids.pop() if len(return_ids) == 1 else ""
        yield Write(place.slug, Kind.RESTOCK, f"{sku} at {facts['location']}", return_id, what, facts)


def _pairs(effect: Effect) -> list[tuple[str, Location]]:
    if effect.kind is Kind.STOCK_LEVEL:
        return [(effect.payload["sku"], Location(effect.payload["location"]))]
    return [(effect.payload["sku"], Location.SELLABLE)] if effect.kind is Kind.RESTOCK else []


def _described(place: Workplace, effect: Effect, levels: Levels | None) -> tuple[str, dict[str, Any]]:
    """What an effect does, in a few words, and its parts."""
    payload = effect.payload
    if effect.kind is Kind.CREDIT:
        details, currency = payload["details"], payload["currency"]
        amount = money.to_text(abs(payload["total"]), currency)
        po_number = f", PO {details['customer_reference']}" if details["customer_reference"] else ""
        done = f"void {details['voids']} of" if "voids" in details else "credit"
        return f"{done} {amount} {currency} for RMA {details['rma_number']}{po_number}", {
            "order": effect.target.removeprefix("order "),
            "rma_number": details["rma_number"],
            "credit_note": details["credit_note"],
            "platform_id": payload["platform_id"],
            "total": money.to_text(payload["total"], currency),
            "currency": currency,
            "po_number": details["customer_reference"],
        }
    if effect.kind is Kind.NOTE:
        return str(payload["body"]), {"order": effect.target.removeprefix("order "), "body": payload["body"]}
    if effect.kind is Kind.STOCK_LEVEL:
        location, after = Location(payload["location"]), payload["level"]
        before = None if levels is None else levels[payload["sku"], location]
        change = "" if levels is None else f": {'none' if before is None else before} → {after}"
        return f"set the level to {after}{change}", _level(place, payload["sku"], location, before, after)
    return f"report {payload['quantity']} x {payload['condition']} to Swap", dict(payload)


def _level(place: Workplace, sku: str, location: Location, before: int | None, after: int | None) -> dict[str, Any]:
    return {"sku": sku, "location": place.locations[location], "before": before, "after": after}
