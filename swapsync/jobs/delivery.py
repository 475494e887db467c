"""What all deliveries share: taking effects from the outbox one after the other, and noting what became of them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, select

from swapsync.connectors.errors import CredentialsRejected, InDoubt, Refused, RemoteError, TryLater, Unreachable
from swapsync.domain.catalogue import Code
from swapsync.jobs.workplace import JobError, Tally, Workplace
from swapsync.store import exceptions, leases, outbox
from swapsync.store.exceptions import Sighting
from swapsync.store.outbox import Kind
from swapsync.store.staging import returns

BATCH = 100
STOP_AFTER = 3
"""So many effects in a row that the other side could not take mean that it is down: the job stops and fails."""


@dataclass
class Outcome:
    """What became of a batch of effects.

    ``not_done``: those of the refused that provably had no effect. ``broke_off``: of the ``untried``, the one that was
    begun when the other side was found down.
    """

    sent: list[Row[Any]] = field(default_factory=list)
    refused: list[tuple[Row[Any], str]] = field(default_factory=list)
    not_done: list[Row[Any]] = field(default_factory=list)
    later: list[tuple[Row[Any], TryLater]] = field(default_factory=list)
    doubtful: list[tuple[Row[Any], str]] = field(default_factory=list)
    untried: list[Row[Any]] = field(default_factory=list)
    down: Exception | None = None
    broke_off: list[Row[Any]] = field(default_factory=list)


def attempt(
    place: Workplace,
    rows: Iterable[Row[Any]],
    send: Callable[[Row[Any]], None],
    begin: Callable[[Row[Any]], bool] = lambda row: True,
) -> Outcome:
    """Sends effects in order, each while this worker's lease still stands.

    When the other side is down or refuses our credentials, the rest is left untried. ``begin`` is what is to be done
    before an effect is sent; false: it is not to be sent any more. Raises LostLease.
    """
    outcome = Outcome()
    in_a_row = 0
    for row in rows:
        if outcome.down is not None:
            outcome.untried.append(row)
            continue
        try:
            if not begin(row):
                continue
        except RemoteError as error:
            outcome.down = error
            outcome.untried.append(row)
            continue
        place.require_lease()
        try:
            send(row)
        except (Unreachable, CredentialsRejected) as error:
            outcome.down = error
            outcome.untried.append(row)
            outcome.broke_off.append(row)
        except Refused as error:
            outcome.refused.append((row, str(error)))
            if error.had_no_effect:
                outcome.not_done.append(row)
            in_a_row = 0
        except InDoubt as error:
            outcome.doubtful.append((row, str(error)))
        except TryLater as error:
            outcome.later.append((row, error))
            in_a_row += 1
            if in_a_row == STOP_AFTER:
                outcome.down = error
        else:
            outcome.sent.append(row)
            in_a_row = 0
    return outcome


def deliver(
    place: Workplace,
    tally: Tally,
    kind: Kind,
    one_batch: Callable[[list[Row[Any]]], Outcome],
    size: int = BATCH,
) -> None:
    """Delivers what is due, batch by batch. Raises JobError when the other side is down."""
    while rows := _claim(place, kind, size):
        outcome = one_batch(rows)
        tally.sent += len(outcome.sent)
        tally.failed += len(outcome.refused)
        if outcome.down is not None:
            raise JobError(str(outcome.down))


def _claim(place: Workplace, kind: Kind, size: int) -> list[Row[Any]]:
    with place.store.transaction() as connection:
        shared_now = place.store.now(connection, place.clock)
        leases.renew(connection, place.held, shared_now)
        return outbox.claim(connection, place.slug, kind, place.held, place.clock.now(), shared_now, size)


@contextmanager
def noting(place: Workplace, rows: Sequence[Row[Any]]) -> Iterator[Connection]:
    """A unit of work about effects that this worker claimed. Raises LostLease when another has claimed them since."""
    with place.writing() as connection:
        outbox.verify_claims(connection, [row.id for row in rows], place.held)
        yield connection


def mark(place: Workplace, row: Row[Any]) -> bool:
    """Records that an effect is about to be sent, which must not be repeated; false: it was withdrawn meanwhile."""
    with noting(place, [row]) as connection:
        return bool(outbox.mark_in_doubt(connection, [row.id], place.clock.now()))


def note_outcome(connection: Connection, place: Workplace, outcome: Outcome) -> list[Row[Any]]:
    """Records what became of a batch; returns the effects that gave up."""
    now = place.clock.now()
    outbox.mark_sent(connection, [row.id for row in outcome.sent], now)
    outbox.mark_failed(connection, [(row.id, error) for row, error in outcome.refused])
    gave_up = [row for row, _ in outcome.refused]
    for row, error in outcome.later:
        if not outbox.postpone(connection, row, str(error), now, until=error.retry_at, state="pending"):
            gave_up.append(row)
    for row, reason in outcome.doubtful:
        outbox.note_doubt(connection, row.id, reason, now)
    errors = {row.id: error for row, error in outcome.refused} | {row.id: str(e) for row, e in outcome.later}
    note_failures(connection, place, [(row, errors[row.id]) for row in gave_up])
    clear_failures(connection, place, outcome.sent)
    return gave_up


def note_failures(connection: Connection, place: Workplace, failures: Iterable[tuple[Row[Any], str]]) -> None:
    """Opens an exception for each effect that gave up."""
    failures = list(failures)
    if failures:
        sightings = [
            Sighting(
                Code.DELIVERY_FAILED,
                f"{row.kind} for {row.target} was not delivered: {error}",
                f"outbox:{row.id}",
                row.return_id,
                **_of_return(connection, place.slug, row.return_id),
            )
            for row, error in failures
        ]
        subjects = {sighting.subject for sighting in sightings}
        standing = exceptions.open_of_code(connection, place.slug, Code.DELIVERY_FAILED)
        exceptions.settle(
            connection,
            place.slug,
            [row for row in standing if row.subject in subjects],
            sightings,
            place.clock.now(),
        )


def clear_failures(connection: Connection, place: Workplace, delivered: Iterable[Row[Any]]) -> None:
    """Closes the exceptions of effects that were delivered after all."""
    standing = exceptions.open_of_code(connection, place.slug, Code.DELIVERY_FAILED)
    if standing:
        subjects = {f"outbox:{row.id}" for row in delivered}
        exceptions.close(
            connection,
            place.slug,
            [(row, "closed by itself: delivered") for row in standing if row.subject in subjects],
            place.clock.now(),
        )


def _of_return(connection: Connection, site: str, return_id: str) -> dict[str, Any]:
    row = connection.execute(
        select(returns.c.rma_number, returns.c.order_name).where(
            returns.c.site == site, returns.c.return_id == return_id
        )
    ).one_or_none()
    return {"rma_number": row.rma_number, "order_name": row.order_name} if row else {}
