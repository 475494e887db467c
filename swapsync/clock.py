"""The one clock: what time it is, and how to wait. Injected everywhere, so that tests and simulations own time."""

import time
from datetime import UTC, datetime


class Clock:
    """The machine's clock in UTC."""

    def now(self) -> datetime:
        """The present moment, aware, in UTC."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Waits."""
        time.sleep(seconds)
