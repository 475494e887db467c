"""What closed an exception that closed by itself when its return was decided on again, in a few words."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row

from swapsync.domain.catalogue import RULE, Code
from swapsync.domain.reasons import Reason
from swapsync.store.exceptions import Key, key_of

_RULE_SAYS_IT = (
    Code.CUSTOMER_MISMATCH,
    Code.PAYMENT_METHOD_UNKNOWN,
    Code.PO_NUMBER_MISSING,
    Code.SKU_NOT_ON_ORDER,
    Code.SKU_CHANGED,
)
"""What the rule that raised one of these says instead, when it no longer does, is why."""

_NO_FACT = "no fact of it changed; the site's rules, or what people taught, are others by now"


@dataclass(frozen=True, slots=True)
class Decided:
    """A return as it was decided on. ``family``: the ids of all returns of its order, its own included."""

    rma_number: str
    family: Sequence[str]
    reasons: Sequence[Reason]


def evidence(
    gone: Iterable[Row[Any]],
    returns: Mapping[str, Decided],
    news: Mapping[str, Sequence[str]],
    changes: Mapping[str, str],
) -> dict[Key, str]:
    """Why the cause of each of these exceptions is gone.

    It is what changed of its return since it was last decided on (``news``, by return id), or what the rule says now;
    else what changed of another return of the order; else what is decided otherwise than before (``changes``).
    """
    return {key_of(row): _why(row, returns, news, changes) for row in gone}


def _why(
    row: Row[Any], returns: Mapping[str, Decided], news: Mapping[str, Sequence[str]], changes: Mapping[str, str]
) -> str:
    mine = returns[row.return_id]
    others = [return_id for return_id in mine.family if return_id != row.return_id]
    if own := news.get(row.return_id):
        return "; ".join(own)
    if said := _said(row, mine.reasons):
        return said
    told = [f"RMA {returns[i].rma_number}: {'; '.join(news[i])}" for i in others if news.get(i)]
    decided = [f"RMA {returns[i].rma_number}: {changes[i]}" for i in mine.family if i in changes]
    return "; ".join(told or decided) or _NO_FACT


def _said(row: Row[Any], reasons: Iterable[Reason]) -> str:
    code = Code(row.code)
    if code not in _RULE_SAYS_IT:
        return ""
    of_rule = (each for each in reasons if each.rule == RULE[code] and each.code is None)
    return next((each.text for each in of_rule if each.line_id in ("", row.subject)), "")
