"""The rate limit of a remote account, kept by all workers of a store together."""

from collections.abc import Callable
from datetime import datetime
from functools import partial

from loguru import logger
from sqlalchemy import Connection, select, update
from sqlalchemy.exc import SQLAlchemyError

from swapsync.clock import Clock
from swapsync.store.db import Store, insert_new, table
from swapsync.store.tables import RequestBudget

budgets = table(RequestBudget)
SPAN = 60


class SharedBudget:
    """At most so many requests to one account of a site within any minute, whichever worker sends them."""

    def __init__(self, store: Store, clock: Clock, site: str, account: str, requests_per_minute: int) -> None:
        self._store, self._clock = store, clock
        self._site, self._account = site, account
        self._limit = requests_per_minute

    def wait_for_turn(self) -> float:
        """Returns when the next request may go out, and counts it; the answer is the seconds that it had to wait.

        A store that is away holds nothing up here: the other side has a limit of its own.
        """
        waited = 0.0
        try:
            while wait := self._take():
                self._clock.sleep(wait)
                waited += wait
        except SQLAlchemyError as problem:
            logger.warning("{}/{}: a request was not counted: {}", self._site, self._account, type(problem).__name__)
        return waited

    def _take(self) -> float:
        with self._store.transaction() as connection:
            clock = partial(self._store.now, connection, self._clock)
            return take_turn(connection, self._site, self._account, self._limit, clock)


def take_turn(connection: Connection, site: str, account: str, limit: int, clock: Callable[[], datetime]) -> float:
    """Counts one request, if fewer than ``limit`` left within the last minute; else the seconds until that may change.

    Counted by the second, so a minute can come out as up to 61 seconds. What lies more than that ahead of the moment
    (`Store.now`, once it is this request's turn to be counted) is forgotten: the clock was set back.
    """
    same = (budgets.c.site == site, budgets.c.account == account)
    find = select(budgets.c.recent).where(*same).with_for_update()
    stored = connection.execute(find).scalar_one_or_none()
    if stored is None:
        insert_new(connection, RequestBudget, [{"site": site, "account": account, "recent": []}])
        stored = connection.execute(find).scalar_one()
    now = clock()
    second = int(now.timestamp())
    recent: dict[int, int] = {at: sent for at, sent in stored if abs(second - at) <= SPAN}
    if sum(recent.values()) >= limit:
        return min(recent) + SPAN + 1 - now.timestamp()
    recent[second] = recent.get(second, 0) + 1
    connection.execute(update(budgets).where(*same).values(recent=list(recent.items())))
    return 0
