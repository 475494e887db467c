"""How a dry run's plan is shown: a diff for people, plain values for scripts."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from swapsync.jobs.plan import Plan, Write


_NAMES = {"swap": "Swap", "sparklayer": "SparkLayer"}


def write_as_json(write: "Write") -> dict[str, Any]:
    """One write with its parts."""
    return dict(write.facts) | {
        "site": write.site,
        "kind": write.kind,
        "target": write.target,
        "what": write.what,
        "return_id": write.return_id,
    }


def plans_as_json(plans: "Iterable[Plan]") -> dict[str, Any]:
    """What every dry run adds to its document: ``planned`` writes, and the requests that really left, by site."""
    plans = list(plans)
    return {
        "dry_run": True,
        "planned": [write_as_json(write) for plan in plans for write in plan.writes],
        "requests": [{"site": plan.site} | {system: _counted(sent) for system, sent in _sent(plan)} for plan in plans],
    }


def print_writes(title: str, writes: "Sequence[Write]") -> None:
    """The writes as a table, one a line."""
    from swapsync.cli.output import print_table

    print_table(title, ("kind", "target", "what"), [(each.kind, each.target, each.what) for each in writes])


def print_plans(plans: "Iterable[Plan]") -> None:
    """What would be written outside for each site, and the count of what was sent instead."""
    from swapsync.cli.output import counted

    for plan in plans:
        print_writes(f"Site {plan.site}: {counted(len(plan.writes), 'effect')} planned", plan.writes)
        for system, sent in _sent(plan):
            reads, writes = (counted(number, kind) for kind, number in _counted(sent).items())
            typer.echo(f"Site {plan.site}: {reads} and {writes} were sent to {_NAMES.get(system, system)}")
    typer.echo("Nothing was written outside, and the store is as it was: all of this was done on a copy of it.")


def _sent(plan: "Plan") -> Iterable[tuple[str, dict[str, int]]]:
    return plan.sent.items()


def _counted(sent: dict[str, int]) -> dict[str, int]:
    return {"read": sent.get("read", 0), "write": sent.get("write", 0)}
