"""Why a decision is what it is: the rules that spoke, in the order in which they were asked (worker.md section 4)."""

from dataclasses import dataclass
from enum import StrEnum

from swapsync.domain.catalogue import Code


class Verdict(StrEnum):
    """What a rule said: it lets something happen, holds it back, or takes note of a fact."""

    RELEASES = "releases"
    HOLDS = "holds"
    NOTES = "notes"


class Holds(StrEnum):
    """What a problem keeps from happening until it is solved; ``NOTHING``: it only informs."""

    NOTHING = "nothing"
    EVERYTHING = "everything"
    CREDIT = "credit"
    LINE = "line"
    LINE_CREDIT = "line credit"


@dataclass(frozen=True, slots=True)
class Reason:
    """What one rule said, about one line or (``line_id`` blank) the whole return. ``code``: the problem it raised."""

    rule: int
    verdict: Verdict
    text: str
    line_id: str = ""
    code: Code | None = None
