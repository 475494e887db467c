"""Other workers on the same store."""

from collections.abc import Iterator
from contextlib import contextmanager

from swapsync.clock import Clock
from swapsync.store import leases
from swapsync.store.db import Store
from swapsync.store.leases import Lease


def take(store: Store, clock: Clock, job: str, holder: str, site: str = "default") -> Lease | None:
    """Asks for a lease without keeping it alive, as a worker does that dies right after it."""
    with store.transaction() as connection:
        return leases.take(connection, site, job, holder, store.now(connection, clock))


@contextmanager
def another_worker_at(store: Store, clock: Clock, job: str, site: str = "default") -> Iterator[None]:
    """Another worker is doing this job meanwhile."""
    lease = take(store, clock, job, "another worker", site)
    assert lease
    with leases.kept(store, clock, lease):
        yield
