"""push_credits: writes each credit note as one transaction on its SparkLayer order.

The write is an upsert by our own id, so it may be repeated: no lost reply can make a second credit of it.
"""

from typing import Any

from sqlalchemy import Connection, Row, update

from swapsync.connectors.errors import NotFound
from swapsync.connectors.sparklayer import OrderRef
from swapsync.domain import money
from swapsync.jobs.delivery import Outcome, attempt, deliver, note_outcome, noting
from swapsync.jobs.reconcile import reconcile
from swapsync.jobs.restored import look_for_credits, note_look
from swapsync.jobs.workplace import Tally, Workplace
from swapsync.store import controls, outbox
from swapsync.store.cases import credit_notes
from swapsync.store.events import Event, record_events
from swapsync.store.outbox import Kind
from swapsync.store.staging import doubt_order, mark_dirty, returns


def push_credits(place: Workplace, tally: Tally) -> None:
    """Delivers the credits that are due, then lets what follows from them be decided, unless reconcile is paused."""
    if not place.site.push_credits:
        tally.remarks.append("credits are switched off for this site (push_credits)")
        return
    try:
        deliver(place, tally, Kind.CREDIT, lambda rows: _batch(place, rows))
    finally:
        if tally.sent:
            _decide_what_follows(place, tally)


def _decide_what_follows(place: Workplace, tally: Tally) -> None:
    with place.store.reading() as connection:
        pause = controls.why_paused(connection, place.slug, "reconcile")
    if pause:
        tally.remarks.append(f"what follows from these credits is not decided yet; reconcile: {pause}")
    else:
        reconcile(place, Tally())


def _batch(place: Workplace, rows: list[Row[Any]]) -> Outcome:
    look = look_for_credits(place, rows)
    outcome = attempt(place, look.to_send, lambda row: _send(place, row))
    outcome.sent += look.standing
    with noting(place, rows) as connection:
        gave_up = note_outcome(connection, place, outcome)
        note_look(connection, place, look)
        outbox.hand_back(connection, [row for row in outcome.untried if row not in outcome.broke_off])
        outbox.hand_back(connection, outcome.not_done)
        _set_state(connection, place.slug, outcome.sent, "delivered")
        _void(connection, place.slug, [row.payload["voids"] for row in outcome.sent if "voids" in row.payload])
        _set_state(connection, place.slug, gave_up, "failed")
        mark_dirty(connection, place.slug, returns.c.return_id.in_([row.return_id for row in outcome.sent]))
        record_events(
            connection,
            place.slug,
            [
                Event(
                    "sparklayer",
                    "void_delivered" if "voids" in row.payload else "credit_delivered",
                    f"{row.effect_key} on {row.target}",
                    row.return_id,
                    before={"state": "pending"},
                    after={"state": "delivered", "total": _amount(row.payload)},
                )
                for row in outcome.sent
            ],
            place.clock.now(),
        )
    return outcome


def _amount(payload: dict[str, Any]) -> str:
    return f"{money.to_text(payload['total'], payload['currency'])} {payload['currency']}"


def _send(place: Workplace, row: Row[Any]) -> None:
    """A credit is one transaction that counts. A void takes it out of the balance and stands beside it, not counting:

    a transaction above zero that counts would be a payment, and lower what the customer owes once more. An order that
    is not found is read again: its list row does not change when it goes.
    """
    voided = row.payload.get("voids")
    try:
        for payload in (voided, row.payload) if voided else (row.payload,):
            place.sparklayer.put_transaction(
                OrderRef(**row.payload["order"]),
                platform_id=payload["platform_id"],
                total_minor=payload["total"],
                currency=row.payload["currency"],
                details=payload["details"],
                counts=voided is None,
            )
    except NotFound:
        with place.writing() as connection:
            doubt_order(connection, place.slug, row.order_id)
        raise


def _set_state(connection: Connection, site: str, rows: list[Row[Any]], state: str) -> None:
    connection.execute(
        update(credit_notes)
        .where(credit_notes.c.site == site, credit_notes.c.platform_id.in_([row.effect_key for row in rows]))
        .values(state=state)
    )


def _void(connection: Connection, site: str, voided: list[dict[str, Any]]) -> None:
    connection.execute(
        update(credit_notes)
        .where(credit_notes.c.site == site, credit_notes.c.platform_id.in_([each["platform_id"] for each in voided]))
        .values(state="void")
    )
