"""A client-side rate limit that waits on our own clock."""

import threading
from typing import Protocol

from pyrate_limiter import Duration, InMemoryBucket, Rate, RateItem

from swapsync.clock import Clock


class Budget(Protocol):
    """Says when the next request to one remote account may go out."""

    def wait_for_turn(self) -> float:
        """Returns when the next request may go out, and counts it; the answer is the seconds that it had to wait."""


class RateBudget:
    """At most so many requests within any minute, whichever thread of this process sends them."""

    def __init__(self, requests_per_minute: int, clock: Clock) -> None:
        self._clock = clock
        self._bucket = InMemoryBucket([Rate(requests_per_minute, Duration.MINUTE)])
        self._lock = threading.Lock()

    def wait_for_turn(self) -> float:
        """See `Budget`."""
        waited = 0
        while wait := self._milliseconds_to_wait():
            self._clock.sleep(wait / 1000)
            waited += wait
        return waited / 1000

    def _milliseconds_to_wait(self) -> int:
        with self._lock:
            now = int(self._clock.now().timestamp() * 1000)
            newest = self._bucket.peek(0)
            if newest and newest.timestamp > now:  # the clock was set back
                self._bucket.flush()
            self._bucket.leak(now)
            request = RateItem("request", now)
            if self._bucket.put(request):
                return 0
            wait = self._bucket.waiting(request)
            assert isinstance(wait, int)  # of an in-memory bucket
            return wait


def own_budget(requests_per_minute: int, clock: Clock) -> Budget | None:
    """A budget that this process keeps by itself; None where there is no limit (0)."""
    return RateBudget(requests_per_minute, clock) if requests_per_minute else None
