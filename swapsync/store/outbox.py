"""The outbox: effects that were decided and are to be delivered once (design.md section 5).

``pending`` is to be sent; ``in_doubt`` was, or may have been, and must be looked for before it is sent again;
``sent`` and ``failed`` are final until a person retries; ``withdrawn`` had no effect, and is not to have one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    FromClause,
    Row,
    Select,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
    update,
)

from swapsync.domain import notes
from swapsync.domain.catalogue import Code
from swapsync.store.db import chunks, insert_new, table
from swapsync.store.exceptions import exceptions
from swapsync.store.leases import LEASE, Lease, LostLease
from swapsync.store.tables import CreditNoteLineRow, CreditNoteRow, OutboxRow, ReturnRow, UtcDateTime

outbox, returns = table(OutboxRow), table(ReturnRow)
credit_notes, credit_note_lines = table(CreditNoteRow), table(CreditNoteLineRow)
GIVE_UP_AFTER = 10
GRACE = timedelta(minutes=2)
"""How long what was sent may take to arrive: before that, not to find it proves nothing."""


class Kind(StrEnum):
    """What an effect does outside."""

    CREDIT = "credit"
    NOTE = "note"
    STOCK_LEVEL = "stock_level"
    RESTOCK = "restock"
    QUALITY_CONTROL = "quality_control"


@dataclass(frozen=True, slots=True)
class Effect:
    """Something to be done outside. ``key`` is its natural key: the same effect is never recorded twice."""

    kind: Kind
    key: str
    target: str
    payload: dict[str, Any]
    order_id: str = ""
    return_id: str = ""


def is_open(effects: FromClause) -> ColumnElement[bool]:
    """Still to be delivered; spelled out as in the partial index, so that SQLite can use it."""
    return effects.c.state.in_([literal_column("'pending'"), literal_column("'in_doubt'")])


def enqueue(connection: Connection, site: str, effects: Iterable[Effect], now: datetime) -> int:
    """Records effects, in the transaction of the decision that asks for them; returns how many were new."""
    return insert_new(
        connection,
        OutboxRow,
        [
            {
                "site": site,
                "kind": effect.kind,
                "effect_key": effect.key,
                "order_id": effect.order_id,
                "return_id": effect.return_id,
                "target": effect.target,
                "payload": effect.payload,
                "state": "pending",
                "attempts": 0,
                "next_attempt_at": now,
                "last_error": None,
                "write_id": None,
                "created_at": now,
                "sent_at": None,
            }
            for effect in effects
        ],
    )


def due(connection: Connection, site: str, kind: Kind, now: datetime) -> list[Row[Any]]:
    """Effects to deliver now, in the order in which they were decided."""
    return list(connection.execute(select(outbox).where(*_due(site, kind, now)).order_by(outbox.c.id)))


def doubtful(connection: Connection, site: str, kind: Kind) -> list[Row[Any]]:
    """Effects that may have been done, whenever they are to be looked for, in the order in which they were decided."""
    in_doubt = (outbox.c.site == site, outbox.c.kind == kind, is_open(outbox), outbox.c.state == "in_doubt")
    return list(connection.execute(select(outbox).where(*in_doubt).order_by(outbox.c.id)))


def claim(
    connection: Connection, site: str, kind: Kind, lease: Lease, now: datetime, shared_now: datetime, limit: int
) -> list[Row[Any]]:
    """Takes effects to deliver now for this lease's holder alone, the longest decided first; it gets each of them once.

    Of an order, only the first open effect of its kind is given out, and a note not before the order's earlier credits:
    so an order's effects go out in the order in which they were decided, whoever sends them, and trouble with a note
    never holds up money. A credit that waits for a person or for a new decision is passed over: others don't wait for
    it (docs/decisions/0019). What another worker has claimed is left to it while its lease is kept alive; on PostgreSQL
    rows that are just being claimed are skipped, on SQLite one transaction claims at a time. ``shared_now`` is the
    database's moment (`Store.now`).

    A credit waits while what it was decided on has changed: its return is not decided on again yet, or a person has
    to look at it first. One that a worker was given before is given out all the same, as ``overtaken``: it may stand
    outside by now, so it is to be looked for, and not to be sent.
    """
    found = {"of_site": site, "now": now, "worker": lease.worker, "shared_now": shared_now, "most": limit}
    rows = list(connection.execute(_claimable(kind), found))
    _set(connection, [{"of_id": row.id} for row in rows], claimed_by=lease.worker, claimed_until=shared_now + LEASE)
    return rows


@cache  # it takes longer to build than to execute
def _claimable(kind: Kind) -> Select[Any]:
    earlier = outbox.alias()
    waits = exists().where(
        earlier.c.site == outbox.c.site,
        outbox.c.order_id != "",
        earlier.c.order_id == outbox.c.order_id,
        earlier.c.id < outbox.c.id,
        is_open(earlier),
        earlier.c.kind.in_((kind, Kind.CREDIT)),
        ~_overtaken(earlier),
    )
    return (
        select(outbox, _overtaken(outbox).label("overtaken"))
        .where(
            *_due(bindparam("of_site"), kind, bindparam("now")),
            outbox.c.claimed_by != bindparam("worker"),
            or_(outbox.c.claimed_until.is_(None), outbox.c.claimed_until <= bindparam("shared_now")),
            ~waits,
            or_(~_overtaken(outbox), outbox.c.claimed_by != ""),
        )
        .order_by(outbox.c.id)
        .limit(bindparam("most"))
        .with_for_update(skip_locked=True, of=outbox)
    )


def verify_claims(connection: Connection, ids: Sequence[int], lease: Lease) -> None:
    """Makes sure, until this transaction ends, that nobody else claimed any of these. Raises LostLease."""
    for part in chunks(ids):
        mine = connection.execute(
            select(outbox.c.id).where(outbox.c.id.in_(part), outbox.c.claimed_by == lease.worker).with_for_update()
        ).all()
        if len(mine) < len(part):
            raise LostLease("another worker took over these deliveries; what was not noted yet is left to it")


def _due(
    site: str | BindParameter[str], kind: Kind, now: datetime | BindParameter[datetime]
) -> tuple[ColumnElement[bool], ...]:
    return (outbox.c.site == site, outbox.c.kind == kind, is_open(outbox), outbox.c.next_attempt_at <= now)


CONTESTED = (
    Code.RETURN_CHANGED_AFTER_CREDIT,
    Code.ORDER_CHANGED,
    Code.RETURN_VANISHED,
    Code.CUSTOMER_MISMATCH,
    Code.ORPHANED_RETURN,
    Code.CURRENCY_MISMATCH,
    Code.PAYMENT_METHOD_UNKNOWN,
    Code.GATEWAY_REFUND_ON_ACCOUNT,
)
"""While one of these is open, a credit that was decided before it stays here."""


def _overtaken(effects: FromClause) -> ColumnElement[bool]:
    undecided = exists().where(
        returns.c.site == effects.c.site, returns.c.return_id == effects.c.return_id, returns.c.dirty
    )
    contested = exists().where(
        exceptions.c.site == effects.c.site,
        exceptions.c.return_id == effects.c.return_id,
        exceptions.c.status == "open",
        exceptions.c.code.in_(CONTESTED),
    )
    return and_(
        effects.c.kind == Kind.CREDIT, effects.c.effect_key.contains(notes.CREDIT_MARK), or_(undecided, contested)
    )


def withdraw_credits(
    connection: Connection, site: str, return_id: str, line_id: str | None = None, *, effect_id: int | None = None
) -> list[int]:
    """Takes back the credits of a return that provably have no effect: no worker was given them, or all were refused.

    Their notes are void then. ``line_id``: only what this line stands on; ``effect_id``: only this one. Returns the
    effects' ids. What else a worker was given may have been sent, even if the worker died before it could say so.
    """
    lines = credit_note_lines
    stands_on = exists().where(
        credit_notes.c.site == outbox.c.site,
        credit_notes.c.platform_id == outbox.c.effect_key,
        lines.c.site == credit_notes.c.site,
        lines.c.number == credit_notes.c.number,
        lines.c.line_id == line_id,
    )
    withdrawn = connection.execute(
        update(outbox)
        .where(
            outbox.c.site == site,
            outbox.c.return_id == return_id,
            outbox.c.kind == Kind.CREDIT,
            outbox.c.effect_key.contains(notes.CREDIT_MARK),
            outbox.c.state.in_(("pending", "failed")),
            outbox.c.attempts == 0,
            outbox.c.claimed_by == "",
            *([] if line_id is None else [stands_on]),
            *([] if effect_id is None else [outbox.c.id == effect_id]),
        )
        .values(state="withdrawn")
        .returning(outbox.c.id, outbox.c.effect_key)
    ).all()
    connection.execute(
        update(credit_notes)
        .where(credit_notes.c.site == site, credit_notes.c.platform_id.in_([row.effect_key for row in withdrawn]))
        .values(state="void")
    )
    return [row.id for row in withdrawn]


def withdraw_notes(connection: Connection, site: str, return_ids: Sequence[str]) -> None:
    """Takes back what is still to be told of these returns; a worker that was given it finds it gone."""
    _turn_notes(connection, site, return_ids, "pending", "withdrawn")


def restore_notes(connection: Connection, site: str, return_ids: Sequence[str]) -> None:
    """Has told after all what was withdrawn of these returns."""
    _turn_notes(connection, site, return_ids, "withdrawn", "pending")


def _turn_notes(connection: Connection, site: str, return_ids: Sequence[str], before: str, after: str) -> None:
    for part in chunks(return_ids):
        connection.execute(
            update(outbox)
            .where(outbox.c.site == site, outbox.c.return_id.in_(part), outbox.c.state == before)
            .where(outbox.c.kind.in_((Kind.NOTE, Kind.QUALITY_CONTROL)))
            .values(state=after)
        )


def mark_in_doubt(connection: Connection, ids: Sequence[int], now: datetime, write_id: int | None = None) -> set[int]:
    """Takes pending effects for sending: from here on they may have been done. Returns those that were still pending.

    The condition on the state lets only one worker have each of them. ``write_id``: the stock write that carries them.
    Whoever finds them so looks for them no earlier than ``GRACE`` from now.
    """
    taken: set[int] = set()
    for part in chunks(ids):
        statement = (
            update(outbox)
            .where(outbox.c.id.in_(part), outbox.c.state == "pending")
            .values(state="in_doubt", attempts=outbox.c.attempts + 1, write_id=write_id, next_attempt_at=now + GRACE)
            .returning(outbox.c.id)
        )
        taken.update(connection.execute(statement).scalars())
    return taken


def mark_sent(connection: Connection, ids: Iterable[int], now: datetime) -> None:
    """Delivered, with the other side's word for it."""
    _set(connection, [{"of_id": i} for i in ids], state="sent", sent_at=now, last_error=None)


def mark_failed(connection: Connection, failures: Iterable[tuple[int, str]]) -> None:
    """Refused: never again unchanged. (id, what the other side said)."""
    _set(
        connection,
        [{"of_id": i, "error": error} for i, error in failures],
        state="failed",
        last_error=bindparam("error"),
    )


def withdraw(connection: Connection, ids: Iterable[int]) -> None:
    """Pending effects that are not wanted any more."""
    _set(connection, [{"of_id": i} for i in ids], state="withdrawn")


def postpone(
    connection: Connection, row: Row[Any], error: str, now: datetime, *, until: datetime | None = None, state: str
) -> bool:
    """Puts an attempt off: 1, 2, 4 … minutes, an hour at most, or ``until``. Returns False when it gives up instead.

    It gives up after ten attempts over a day or more, so that an outage of some hours costs nothing.
    """
    attempts = row.attempts + 1
    if is_hopeless(row, attempts, now):
        mark_failed(connection, [(row.id, error)])
        return False
    _set(
        connection,
        [{"of_id": row.id}],
        state=state,
        attempts=attempts,
        next_attempt_at=until or now + _wait(attempts),
        last_error=error,
    )
    return True


def is_hopeless(row: Row[Any], attempts: int, now: datetime) -> bool:
    """Whether an effect has been tried so often, for so long, that a person should know."""
    return attempts >= GIVE_UP_AFTER and now - row.created_at > timedelta(days=1)


def postpone_look(connection: Connection, row: Row[Any], reason: str, now: datetime) -> None:
    """The place to look could not be read: the effect stays in doubt, and the next look waits like an attempt."""
    attempts = row.attempts + 1
    _set(
        connection,
        [{"of_id": row.id}],
        attempts=attempts,
        next_attempt_at=now + _wait(attempts),
        last_error=reason,
    )


def note_doubt(connection: Connection, id_: int, reason: str, now: datetime) -> None:
    """A lost reply: the effect stays in doubt, and after ``GRACE`` it is looked for before anything is sent again."""
    _set(connection, [{"of_id": id_}], last_error=reason, next_attempt_at=now + GRACE)


def hand_back(connection: Connection, rows: Iterable[Row[Any]]) -> None:
    """Claimed effects, as ``claim`` gave them out, that this worker provably did not send, or to no effect.

    They are as if it had never been given them: what a worker before it was given may still have been sent by that one.
    """
    for row in rows:
        _set(connection, [{"of_id": row.id}], claimed_by=row.claimed_by, claimed_until=None)


def release(connection: Connection, ids: Iterable[int], now: datetime) -> None:
    """Effects that provably were not done are pending again."""
    _set(connection, [{"of_id": i} for i in ids], state="pending", write_id=None, next_attempt_at=now)


def take_back(connection: Connection, rows: Iterable[Row[Any]]) -> None:
    """Effects, as they were before they were marked in doubt, that provably were not sent: it was no attempt."""
    for row in rows:
        _set(
            connection,
            [{"of_id": row.id}],
            state="pending",
            attempts=row.attempts,
            next_attempt_at=row.next_attempt_at,
            write_id=None,
        )


def retry(connection: Connection, site: str, ids: Sequence[int], now: datetime) -> list[int]:
    """Has failed or postponed effects tried again now; returns the ids of those that will be.

    By none it is put off: who asks for it may have a clock ahead of the worker's.
    What is in doubt stays in doubt: it is looked for first, ``GRACE`` from now at the latest, since it may have been
    sent just now. What had failed is given up no earlier than a new effect;
    a credit note whose delivery had failed is pending again. What was sent or withdrawn stays so.
    """
    retried: list[int] = []
    at = case((outbox.c.state == "in_doubt", literal(now + GRACE, UtcDateTime)), else_=literal(now, UtcDateTime))
    soonest = case((outbox.c.next_attempt_at < at, outbox.c.next_attempt_at), else_=at)
    for part in chunks(ids):
        rows = connection.execute(
            update(outbox)
            .where(outbox.c.site == site, outbox.c.id.in_(part), outbox.c.state.in_(["pending", "in_doubt", "failed"]))
            .values(
                state=case((outbox.c.state == "in_doubt", "in_doubt"), else_="pending"),
                attempts=case((outbox.c.state == "failed", 0), else_=outbox.c.attempts),
                next_attempt_at=soonest,
            )
            .returning(outbox.c.id, outbox.c.kind, outbox.c.effect_key)
        ).all()
        credits = [row.effect_key for row in rows if row.kind == Kind.CREDIT]
        connection.execute(
            update(credit_notes)
            .where(credit_notes.c.site == site, credit_notes.c.platform_id.in_(credits))
            .where(credit_notes.c.state == "failed")
            .values(state="pending")
        )
        retried += [row.id for row in rows]
    return retried


def send_credit_again(connection: Connection, site: str, platform_id: str, now: datetime) -> bool:
    """Has the transaction of a credit or a void written again, delivered or not: of a voided credit, with its void's.

    False: there is nothing to be written by this id, since no credit note has it, or that was withdrawn.
    """
    c, void = credit_notes.c, credit_notes.alias()
    written_by = (
        select(func.coalesce(void.c.platform_id, c.platform_id))
        .select_from(credit_notes.outerjoin(void, and_(void.c.site == c.site, void.c.voids == c.number)))
        .where(c.site == site, c.platform_id == platform_id)
    )
    again = connection.execute(
        update(outbox)
        .where(outbox.c.site == site, outbox.c.kind == Kind.CREDIT, outbox.c.state != "withdrawn")
        .where(outbox.c.effect_key == written_by.scalar_subquery())
        .values(state="pending", next_attempt_at=now)
        .returning(outbox.c.effect_key)
    ).scalar()
    connection.execute(update(credit_notes).where(c.site == site, c.platform_id == again).values(state="pending"))
    return again is not None


def write_off(connection: Connection, site: str, id_: int) -> bool:
    """Gives up an effect that failed for good; False for a credit, which can't be."""
    done = connection.execute(
        update(outbox)
        .where(outbox.c.site == site, outbox.c.id == id_, outbox.c.state == "failed", outbox.c.kind != Kind.CREDIT)
        .values(state="written_off")
    )
    return done.rowcount > 0


def _wait(attempts: int) -> timedelta:
    return timedelta(minutes=min(60, 2 ** min(attempts - 1, 6)))


def _set(connection: Connection, parameters: list[dict[str, Any]], **values: Any) -> None:
    if parameters:
        connection.execute(update(outbox).where(outbox.c.id == bindparam("of_id")).values(**values), parameters)
