"""push_status: writes one note into an order's history for each milestone of a return (worker.md section 4, rule 10).

A note can't be written twice without showing twice, so each is marked in doubt before it is sent; after a crash or a
lost reply the order's history is read, and the note is sent again only if its token isn't there.
"""

from collections import defaultdict
from typing import Any

from sqlalchemy import Connection, Row, and_, select

from swapsync.connectors.errors import CredentialsRejected, NotFound, Refused, TryLater, Unreachable
from swapsync.connectors.sparklayer import OrderRef
from swapsync.domain.facts import Route, method_key
from swapsync.domain.returns import Condition
from swapsync.jobs.delivery import STOP_AFTER, Outcome, attempt, deliver, mark, note_outcome, noting
from swapsync.jobs.restored import maybe_done, touched
from swapsync.jobs.workplace import JobError, Tally, Workplace
from swapsync.store import outbox
from swapsync.store.events import Event, record_events
from swapsync.store.outbox import Kind
from swapsync.store.staging import orders, returns


def push_status(place: Workplace, tally: Tally) -> None:
    """Delivers the notes that are due, and to Swap the warehouse's findings where the site has switched that on."""
    if not place.site.push_status:
        tally.remarks.append("notes are switched off for this site (push_status)")
        return
    deliver(place, tally, Kind.NOTE, lambda rows: _write_notes(place, rows))
    if place.site.swap_qc_updates:
        deliver(place, tally, Kind.QUALITY_CONTROL, lambda rows: _report_findings(place, rows))


def _write_notes(place: Workplace, rows: list[Row[Any]]) -> Outcome:
    with place.store.reading() as connection:
        relived = touched(connection, place.slug, [row.return_id for row in rows])
    found, unseen = _look_for(place, [row for row in rows if row.state == "in_doubt" or row.return_id in relived])
    not_known = {row.id for row, _ in unseen}
    written = [row for row in rows if row.id in found]
    missing = [row for row in rows if row.id not in found | not_known]
    now = place.clock.now()
    given_up = [row for row in missing if row.state == "in_doubt" and outbox.is_hopeless(row, row.attempts, now)]
    to_send = [row for row in missing if row not in given_up]
    if doubtful := [row.id for row in to_send if row.state == "in_doubt"]:
        with noting(place, rows) as connection:
            outbox.release(connection, doubtful, now)
    outcome = attempt(place, to_send, lambda row: _write_note(place, row), lambda row: _begin_note(place, row))
    outcome.sent += written
    outcome.refused += [
        (row, f"it was tried {row.attempts} times and never arrived: {row.last_error}") for row in given_up
    ]
    with noting(place, rows) as connection:
        note_outcome(connection, place, outcome)
        for row, reason in unseen:
            outbox.postpone_look(connection, row, reason, place.clock.now())
        outbox.take_back(connection, outcome.broke_off)
        record_events(
            connection,
            place.slug,
            [
                Event(
                    *("sparklayer", "note_written", f"{row.effect_key} on {row.target}", row.return_id),
                    after={"body": row.payload["body"]},
                )
                for row in outcome.sent
            ],
            place.clock.now(),
        )
    return outcome


def _begin_note(place: Workplace, row: Row[Any]) -> bool:
    place.sparklayer.get_ready()
    return mark(place, row)


def _write_note(place: Workplace, row: Row[Any]) -> None:
    place.sparklayer.add_note(OrderRef(**row.payload["order"]), row.payload["body"])


def _look_for(place: Workplace, doubtful: list[Row[Any]]) -> tuple[set[int], list[tuple[Row[Any], str]]]:
    """Looks for notes in their orders' histories, one read an order.

    Returns the ids of those that stand there already, and those whose history could not be read, with the reason.
    Raises JobError when the other side is down.
    """
    by_order: dict[tuple[str, str], list[Row[Any]]] = defaultdict(list)
    for row in doubtful:
        by_order[row.payload["order"]["lookup_by"], row.payload["order"]["identifier"]].append(row)
    found: set[int] = set()
    unseen: list[tuple[Row[Any], str]] = []
    in_a_row = 0
    for (lookup_by, identifier), rows in by_order.items():
        try:
            history = place.sparklayer.history(OrderRef(lookup_by, identifier))
        except NotFound:
            continue
        except (Unreachable, CredentialsRejected):
            raise
        except (TryLater, Refused) as error:
            unseen += [(row, str(error)) for row in rows]
            in_a_row += 1
            if in_a_row == STOP_AFTER:
                raise JobError(str(error)) from error
            continue
        in_a_row = 0
        bodies = [str(event.get("body") or "") for event in history]
        found |= {row.id for row in rows if any(row.payload["token"] in body for body in bodies)}
    return found, unseen


def _report_findings(place: Workplace, rows: list[Row[Any]]) -> Outcome:
    """Reports findings to Swap. Whether a repeat adds up is not known, and Swap shows nothing line by line that could
    settle a doubt, so a report whose reply was lost goes to a person instead of being sent again."""
    with noting(place, rows) as connection:
        gateway = _paid_by_gateway(connection, place, rows)
        pending = [row for row in rows if row.state == "pending" and row.return_id in gateway]
        outbox.withdraw(connection, [row.id for row in rows if row.state == "pending" and row not in pending])
        unsure = maybe_done(connection, place.slug, pending)
        outbox.mark_in_doubt(connection, [row.id for row in unsure], place.clock.now())
    doubtful = [row for row in rows if row.state == "in_doubt"] + unsure
    to_send = [row for row in pending if row not in unsure]
    outcome = attempt(place, to_send, lambda row: _report_finding(place, row), lambda row: mark(place, row))
    why = "no reply came, so Swap may have taken it: check the return in Swap before you retry"
    outcome.refused += [(row, why) for row in doubtful] + [(row, why) for row, _ in outcome.doubtful]
    outcome.doubtful.clear()
    with noting(place, rows) as connection:
        note_outcome(connection, place, outcome)
        outbox.take_back(connection, outcome.broke_off)
        reported = [
            Event("swap", "finding_reported", row.target, row.return_id, after=row.payload) for row in outcome.sent
        ]
        record_events(connection, place.slug, reported, place.clock.now())
    return outcome


def _paid_by_gateway(connection: Connection, place: Workplace, rows: list[Row[Any]]) -> set[str]:
    """Ids of the returns whose order is paid by a gateway as things are now; of any other, Swap may refund nothing."""
    routes = place.policy(connection).routes
    of_order = and_(orders.c.site == returns.c.site, orders.c.order_id == returns.c.order_id)
    paid = select(returns.c.return_id, orders.c.payment_method).join(orders, of_order)
    return {
        row.return_id
        for row in connection.execute(
            paid.where(returns.c.site == place.slug, returns.c.return_id.in_([row.return_id for row in rows]))
        )
        if routes.get(method_key(row.payment_method)) is Route.GATEWAY
    }


def _report_finding(place: Workplace, row: Row[Any]) -> None:
    payload = row.payload
    place.swap.report_quality_control(**payload | {"condition": Condition(payload["condition"])})
