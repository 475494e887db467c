"""Makes a failing story short: leaves out steps and faults as long as it still fails in the same way."""

import re
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tests.simulation.checker import Wrong
from tests.simulation.machine import Plan
from tests.simulation.stage import Machines, Stage
from tests.simulation.story import Race, Run, Step, Story

AT_MOST = 250


@dataclass(frozen=True)
class Failure:
    """A story that went wrong: why, and the stage as it stood then."""

    stage: Stage
    why: str
    trace: str = ""

    @property
    def kind(self) -> str:
        """The sort of trouble, without figures and names."""
        return re.sub(r"[\d'{}()\[\],]+", "", self.why.splitlines()[0])[:25]


def try_out(machines: Machines, story: Story) -> Failure | None:
    """Plays a story; returns what went wrong, None if nothing did."""
    stage = Stage(machines, story)
    try:
        stage.play()
    except Wrong as wrong:
        return Failure(stage, str(wrong))
    except Exception as error:  # noqa: BLE001 - whatever breaks is a finding
        return Failure(stage, f"{type(error).__name__}: {error}", traceback.format_exc())
    return None


def shrunk(machines: Machines, story: Story, failure: Failure) -> Failure:
    """The shortest story found that fails in the same way."""
    tries = AT_MOST

    def still(shorter: Story) -> bool:
        nonlocal story, failure, tries
        if tries == 0:
            return False
        tries -= 1
        found = try_out(machines, shorter)
        if found and found.kind == failure.kind:
            story, failure = shorter, found
            return True
        return False

    size = len(story.steps) // 2
    while size:
        at = 0
        while at < len(story.steps):
            without = story.steps[:at] + story.steps[at + size :]
            if not still(replace(story, steps=without)):
                at += size
        size //= 2
    for at in range(len(story.steps)):
        while any(
            still(replace(story, steps=(*story.steps[:at], simpler, *story.steps[at + 1 :])))
            for simpler in _simpler(story.steps[at])
        ):
            pass
    return failure


def _simpler(step: Step) -> Iterator[Step]:
    if isinstance(step, Run):
        for plan in _plans(step.plan):
            yield replace(step, plan=plan)
    if isinstance(step, Race):
        for worker, plan in zip("AB", step.plans, strict=True):
            yield Run(worker, plan, wait=step.wait)
        for plan in _plans(step.plans[0]):
            yield replace(step, plans=(plan, step.plans[1]))
        for plan in _plans(step.plans[1]):
            yield replace(step, plans=(step.plans[0], plan))


def _plans(plan: Plan) -> Iterator[Plan]:
    if plan.dies_at:
        yield replace(plan, dies_at=0)
    if plan.daemon_minutes:
        yield replace(plan, daemon_minutes=0)
    for at in range(len(plan.faults)):
        yield replace(plan, faults=plan.faults[:at] + plan.faults[at + 1 :])
