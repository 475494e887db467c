"""Leases: which worker does a job of a site right now, on any number of hosts (docs/decisions/0014).

A lease is counted by the database's clock. Its token grows with every new holder, and each write of a job is made in a
transaction that has verified it: what a slow or cut-off worker completes after another took over is refused.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Event as Signal
from threading import Thread

from loguru import logger
from sqlalchemy import Connection, and_, bindparam, literal_column, or_, select, update
from sqlalchemy.exc import SQLAlchemyError

from swapsync.clock import Clock
from swapsync.store.db import Store, insert_new, table
from swapsync.store.tables import LeaseRow, OutboxRow

leases, outbox = table(LeaseRow), table(OutboxRow)

_SAME = and_(
    leases.c.site == bindparam("of_site"),
    leases.c.name == bindparam("of_name"),
    leases.c.token == bindparam("of_token"),
)
# Every transaction of a job says some of these; they are built once, because that takes longer than to execute them.
_VERIFY = select(leases.c.token).where(_SAME).with_for_update()
_RENEW = update(leases).where(_SAME).values(expires_at=bindparam("until"))
_TAKE = (
    update(leases)
    .where(
        leases.c.site == bindparam("of_site"),
        leases.c.name == bindparam("of_name"),
        or_(leases.c.expires_at <= bindparam("now"), leases.c.expires_at > bindparam("at_most")),
    )
    .values(holder=bindparam("by"), expires_at=bindparam("until"), token=leases.c.token + 1)
    .returning(leases.c.token)
)
_RENEW_CLAIMS = (
    update(outbox)
    .where(
        outbox.c.site == bindparam("of_site"),
        outbox.c.claimed_by == bindparam("of_worker"),
        outbox.c.state.in_([literal_column("'pending'"), literal_column("'in_doubt'")]),  # as the index says
    )
    .values(claimed_until=bindparam("until"))
)

LEASE = timedelta(seconds=90)
"""A worker that died frees its jobs after this time."""


class LostLease(Exception):
    """Another worker took over this worker's job, so nothing more is written; the message says since when."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to do a job of a site, held until it is given back or runs out."""

    site: str
    name: str
    holder: str
    token: int

    @property
    def worker(self) -> str:
        """By what a claim on an effect is known to be this holder's; no other lease ever has the same."""
        return f"{self.holder} {self.name}#{self.token}"


def take(connection: Connection, site: str, name: str, holder: str, now: datetime) -> Lease | None:
    """The lease, if nobody has it; ``now`` is the database's (`Store.now`). It is to be kept alive by `kept`.

    One that runs out later than any can was taken before the clock was set back: it counts for nothing.
    """
    of = {"of_site": site, "of_name": name}
    until = {"now": now, "at_most": now + 2 * LEASE, "until": now + LEASE}
    token = connection.execute(_TAKE, {**of, **until, "by": holder}).scalar()
    if token is None:
        row = {"site": site, "name": name, "holder": holder, "expires_at": now + LEASE, "token": 1}
        token = insert_new(connection, LeaseRow, [row])
    return Lease(site, name, holder, token) if token else None


def last_holder(connection: Connection, site: str, name: str) -> str | None:
    """Who holds the lease, or had it last."""
    return connection.execute(
        select(leases.c.holder).where(leases.c.site == site, leases.c.name == name)
    ).scalar_one_or_none()


def verify(connection: Connection, lease: Lease) -> None:
    """Makes sure, until this transaction ends, that nobody took the lease over. Raises LostLease.

    A lease that ran out and that nobody wanted is still its holder's.
    """
    if connection.execute(_VERIFY, _of(lease)).scalar() is None:
        raise _lost(lease)


def renew(connection: Connection, lease: Lease, now: datetime) -> None:
    """Has the lease run out as late as what is claimed under it in this transaction. Raises LostLease."""
    if not connection.execute(_RENEW, {**_of(lease), "until": now + LEASE}).rowcount:
        raise _lost(lease)


@contextmanager
def kept(store: Store, clock: Clock, lease: Lease) -> Iterator[None]:
    """Keeps a lease, and what was claimed under it, alive with a heartbeat, and gives it all back at the end."""
    done = Signal()
    heart = Thread(target=_beat, args=(store, clock, lease, done), daemon=True)
    heart.start()
    try:
        yield
    finally:
        done.set()
        heart.join()
        _extend(store, clock, lease, -LEASE)


def _beat(store: Store, clock: Clock, lease: Lease, done: Signal) -> None:
    while not done.wait(LEASE.total_seconds() / 3):
        _extend(store, clock, lease, LEASE)


def _extend(store: Store, clock: Clock, lease: Lease, span: timedelta) -> None:
    """Has the lease and its claims run out so long from now, if they are still its holder's.

    A store that is away changes nothing: the lease runs out by itself.
    """
    try:
        with store.transaction() as connection:
            until = store.now(connection, clock) + span
            connection.execute(_RENEW, {**_of(lease), "until": until})
            connection.execute(_RENEW_CLAIMS, {"of_site": lease.site, "of_worker": lease.worker, "until": until})
    except SQLAlchemyError as problem:
        logger.warning("the lease of {}/{} was not renewed: {}", lease.site, lease.name, type(problem).__name__)


def _lost(lease: Lease) -> LostLease:
    return LostLease(
        f"another worker took over {lease.name}, after this one was not heard of for {LEASE.seconds} s; "
        "what was not written yet is left to it"
    )


def _of(lease: Lease) -> dict[str, str | int]:
    return {"of_site": lease.site, "of_name": lease.name, "of_token": lease.token}
