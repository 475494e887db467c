"""Moving a site's cut-over: the one way in which it ever changes after the first run (worker.md section 4, rule 12)."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, select, update

from swapsync.clock import Clock
from swapsync.jobs.cycle import JOBS, open_workplace, run_job
from swapsync.jobs.plan import Plan, add_plan
from swapsync.moments import to_text
from swapsync.settings import SiteSettings
from swapsync.store.db import Store
from swapsync.store.events import Event, record_events
from swapsync.store.runs import sites
from swapsync.store.staging import bring_to_life, ended, returns, settle_outside, stays_ours

READING = ("poll_orders", "poll_skus", "reconcile")
"""What a preview runs on the copy: returns that come alive need their orders."""


class MoveRefused(ValueError):
    """The cut-over can't be moved; the message says why."""


@dataclass(frozen=True, slots=True)
class Moved:
    """What a move did: the ids of the returns that came alive, and of those that count as settled outside now."""

    before: datetime
    to: datetime
    alive: tuple[str, ...]
    outside: tuple[str, ...]


def move(store: Store, site: str, to: datetime, *, actor: str, now: datetime) -> Moved:
    """Moves the cut-over of a site that has run. Raises MoveRefused.

    Back: what ended between ``to`` and the cut-over so far, and was settled outside, is live again. Forward: what ended
    in between counts as settled outside, unless it was credited or its goods were moved: that stays ours. What was
    still to be told of such a return is withdrawn, and restored with it.
    """
    with store.transaction() as connection:
        before = connection.execute(
            select(sites.c.effects_from).where(sites.c.slug == site).with_for_update()
        ).scalar_one_or_none()
        if before is None:
            raise MoveRefused(f"site {site} has no cut-over yet: its first run fixes it")
        alive = _ids(connection, site, and_(returns.c.settled_outside, ended(before, since=to)))
        outside = _ids(connection, site, and_(~returns.c.settled_outside, ended(to, since=before), ~stays_ours(to)))
        bring_to_life(connection, site, alive)
        settle_outside(connection, site, outside)
        connection.execute(update(sites).where(sites.c.slug == site).values(effects_from=to))
        detail = (
            f"from {to_text(before)} to {to_text(to)}: {len(alive)} returns live again, {len(outside)} settled outside"
        )
        record_events(
            connection,
            site,
            [
                Event("staff", "cut_over_moved", detail, actor=actor, before=_as_fact(before), after=_as_fact(to)),
                *(Event("staff", "live_again", "the cut-over was moved", id_, actor=actor) for id_ in alive),
                *(Event("staff", "settled_outside", "the cut-over was moved", id_, actor=actor) for id_ in outside),
            ],
            now,
        )
    return Moved(before, to, tuple(alive), tuple(outside))


def preview_move(site: SiteSettings, copy: Store, clock: Clock, to: datetime) -> tuple[Moved, Plan]:
    """Moves it on a copy of the store, reads what the returns that come alive need, and plans what is written for them.

    Raises MoveRefused, and ValueError unless it is a copy.
    """
    if not copy.is_copy:
        raise ValueError("a preview is made on a copy of the store")
    moved = move(copy, site.slug, to, actor="preview", now=clock.now())
    place = open_workplace(site, copy, clock)
    plan = Plan(site.slug, [run_job(place, job, JOBS[job]) for job in READING])
    add_plan(place, plan)
    plan.writes = [write for write in plan.writes if write.return_id in moved.alive]
    return moved, plan


def _ids(connection: Connection, site: str, condition: ColumnElement[bool]) -> list[str]:
    return list(
        connection.execute(
            select(returns.c.return_id).where(returns.c.site == site, condition).order_by(returns.c.return_id)
        ).scalars()
    )


def _as_fact(moment: datetime) -> dict[str, str]:
    return {"effects_from": to_text(moment)}
