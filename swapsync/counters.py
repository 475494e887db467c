"""What this process has counted since it began; the daemon's ``/metrics`` shows it. Any thread may count."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from threading import Lock

Labels = tuple[str, ...]

_lock = Lock()
_counted: dict[str, Counter[Labels]] = defaultdict(Counter)


def count(name: str, *labels: str, amount: float = 1) -> None:
    """Adds to what is counted under a name; the labels are few and fixed words, never text from outside."""
    with _lock:
        _counted[name][labels] += amount  # type: ignore[assignment]  # a Counter holds seconds as well


def counted(name: str) -> Mapping[Labels, float]:
    """What was counted under a name so far, by labels."""
    with _lock:
        return dict(_counted[name])
