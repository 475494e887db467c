"""When jobs are due: an interval in seconds, or a cron string in UTC."""

from datetime import UTC, datetime, timedelta

from apscheduler.triggers.cron import CronTrigger  # type: ignore[import-untyped]
from apscheduler.triggers.interval import IntervalTrigger  # type: ignore[import-untyped]


def trigger(every: int | str, position: int = 0) -> CronTrigger | IntervalTrigger:
    """In UTC. Cron knows no milliseconds: jobs with the same expression fire a second apart, in the cycle's order."""
    if isinstance(every, int):
        return IntervalTrigger(seconds=every, timezone=UTC)
    minute, hour, day, month, weekday = every.split()
    return CronTrigger(
        second=position, minute=minute, hour=hour, day=day, month=month, day_of_week=weekday, timezone=UTC
    )


def due_after(every: int | str, moment: datetime) -> datetime | None:
    """When a job that ran at ``moment`` is due again; None for a cron string that never comes round."""
    if isinstance(every, int):
        return moment + timedelta(seconds=every)
    due: datetime | None = trigger(every).get_next_fire_time(None, moment + timedelta(seconds=1))
    return due
