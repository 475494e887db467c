"""Makes a failing story short: leaves out steps and faults as long as it still fails in the same way."""

import re
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tests.simulation.checker import Wrong
from tests.simulation.machine import Plan
from tests.simulation.stage import Machines, Stage
from tests.simulation.story import Race, Run, Step, Story

AT_MOST = 600


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
    tried = 0
    better = True
    while better and tried < AT_MOST:
        better = False
        for shorter in _shorter(story):
            tried += 1
            found = try_out(machines, shorter)
            if found and found.kind == failure.kind:
                story, failure, better = shorter, found, True
                break
            if tried >= AT_MOST:
                break
    return failure


def _shorter(story: Story) -> Iterator[Story]:
    steps = story.steps
    size = len(steps) // 2
    while size:
        for at in range(0, len(steps), size):
            yield replace(story, steps=steps[:at] + steps[at + size :])
        size //= 2
    for at, step in enumerate(steps):
        for simpler in _simpler(step):
            yield replace(story, steps=(*steps[:at], simpler, *steps[at + 1 :]))


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
    for at in range(len(plan.faults)):
        yield replace(plan, faults=plan.faults[:at] + plan.faults[at + 1 :])
