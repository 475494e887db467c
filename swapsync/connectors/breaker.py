"""A circuit breaker: spares a remote system that is down, and the jobs the waiting for it.

Our own, as it goes by the injected clock, which the libraries for it (pybreaker, aiobreaker) don't know.
"""

import threading
from datetime import datetime, timedelta

from swapsync.clock import Clock
from swapsync.moments import to_text

OPENS_AFTER = 10
PAUSE = timedelta(seconds=60)


class Breaker:
    """Opens after so many attempts in a row without a proper answer; a minute later one attempt may probe.

    ``stopped``: why there is to be no attempt any more; blank while there may be one.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._closed_from: datetime | None = None
        self._last_error = ""
        self.stopped = ""

    def refusal(self) -> str | None:
        """Why no attempt may be made now; None if one may. Of several that ask after a pause, one is the probe."""
        with self._lock:
            if self.stopped or self._closed_from is None:
                return self.stopped or None
            now = self._clock.now()
            if not self._closed_from - PAUSE <= now < self._closed_from:  # before it: the clock was set back
                self._closed_from = now + PAUSE
                return None
            return (
                f"not called before {to_text(self._closed_from)}, after {self._failures} attempts in a row failed; "
                f"the last one: {self._last_error}"
            )

    def note(self, error: str | None) -> None:
        """What came of an attempt: no proper answer, and why, or one (None), be it a refusal."""
        with self._lock:
            if error is None:
                self._failures, self._closed_from = 0, None
                return
            self._failures += 1
            self._last_error = error
            if self._failures >= OPENS_AFTER:
                self._closed_from = self._clock.now() + PAUSE

    def stop(self, reason: str) -> None:
        """From now on no attempt may be made, for this reason."""
        with self._lock:
            self.stopped = reason
