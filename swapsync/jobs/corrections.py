"""Corrections: a credit note is never edited. A wrong one is voided by its opposite, a document of its own."""

from datetime import datetime

from sqlalchemy import Connection, Row, insert, select

from swapsync.domain import money, notes
from swapsync.jobs.restored import taken_for_ours
from swapsync.jobs.typed import VALUE, WORDS, one_line
from swapsync.settings import SiteSettings
from swapsync.store import runs
from swapsync.store.cases import credit_note_lines, credit_notes
from swapsync.store.db import Store
from swapsync.store.events import Event, record_events
from swapsync.store.outbox import Effect, Kind, enqueue, outbox
from swapsync.store.staging import mark_dirty, returns


class VoidRefused(ValueError):
    """The credit note can't be voided; the message says why, and what to do instead."""


def void_credit_note(store: Store, site: SiteSettings, number: str, *, reason: str, actor: str, now: datetime) -> str:
    """Issues the opposite of a delivered credit note; returns its number. It goes out with the next push_credits.

    From then on the return is held for a person: nothing is credited again by itself. Raises VoidRefused.
    """
    try:
        reason, actor = one_line("reason", reason, WORDS), one_line("actor", actor, VALUE)
    except ValueError as error:
        raise VoidRefused(str(error)) from None
    if not reason:
        raise VoidRefused("say why: the reason stands on the void for good")
    with store.transaction() as connection:
        last_number = runs.lock_site(connection, site.slug)
        note = _voidable(connection, site.slug, number)
        void = site.credit_note_number(last_number + 1)
        platform_id = notes.void_platform_id(note.return_id, note.n)
        same = ("site", "return_id", "n", "order_id", "customer", "po_number", "currency", "net", "tax")
        connection.execute(
            insert(credit_notes).values(
                number=void,
                platform_id=platform_id,
                issued_at=now,
                state="pending",
                kind="void",
                voids=number,
                reason=reason,
                actor=actor,
                **{name: note._mapping[name] for name in same},
            )
        )
        lines = connection.execute(
            select(credit_note_lines).where(credit_note_lines.c.site == site.slug, credit_note_lines.c.number == number)
        ).mappings()
        connection.execute(insert(credit_note_lines), [dict(line) | {"number": void} for line in lines])
        runs.set_last_credit_number(connection, site.slug, last_number + 1)
        enqueue(connection, site.slug, [_effect(connection, note, void, platform_id, reason)], now)
        mark_dirty(connection, site.slug, returns.c.return_id == note.return_id)
        amount = f"{money.to_text(note.net + note.tax, note.currency)} {note.currency}"
        record_events(
            connection,
            site.slug,
            [
                Event(
                    *("staff", "credit_note_voided", f"{number} of {amount} by {void}: {reason}", note.return_id),
                    actor=actor,
                    before={"credit_note": number},
                    after={"void": void, "reason": reason},
                )
            ],
            now,
        )
    return void


def _voidable(connection: Connection, site: str, number: str) -> Row[tuple[object, ...]]:
    c = credit_notes.c
    note = connection.execute(select(credit_notes).where(c.site == site, c.number == number)).one_or_none()
    if note is None:
        raise VoidRefused(f"there is no credit note {number}")
    if note.kind == "void":
        raise VoidRefused(
            f"{number} is itself the void of {note.voids}; to credit the return again, "
            "accept its exception RETURN_CHANGED_AFTER_CREDIT"
        )
    void = connection.execute(select(c.number).where(c.site == site, c.voids == number)).scalar_one_or_none()
    if void is not None:
        raise VoidRefused(f"{number} is voided already, by {void}")
    if note.state == "void":
        raise VoidRefused(f"{number} was withdrawn before it went out, so there is nothing to undo")
    if note.state == "failed":
        raise VoidRefused(
            f"{number} was not delivered; retry it (swapsync outbox list), and void it then, or withdraw it: deny its "
            "exception DELIVERY_FAILED"
        )
    if note.state != "delivered":
        raise VoidRefused(f"{number} has not gone out yet; void it when swapsync sync has delivered it")
    if taken_for_ours(connection, note):
        raise VoidRefused(
            f"what stands in SparkLayer since before the store was restored was accepted in place of {number}, and may "
            "be of other amounts under other numbers: correct it there"
        )
    return note


def _effect(connection: Connection, note: Row[tuple[object, ...]], void: str, platform_id: str, reason: str) -> Effect:
    """The transaction of the void, with the one that it takes out of the balance, as it was sent."""
    sent = connection.execute(
        select(outbox.c.payload, outbox.c.target).where(
            outbox.c.site == note.site, outbox.c.kind == Kind.CREDIT, outbox.c.effect_key == note.platform_id
        )
    ).one()
    was = sent.payload
    details = was["details"] | {"credit_note": void, "voids": note.number, "reason": reason}
    return Effect(
        Kind.CREDIT,
        platform_id,
        sent.target,
        {
            "order": was["order"],
            "platform_id": platform_id,
            "total": -was["total"],
            "currency": was["currency"],
            "details": details,
            "voids": {
                "platform_id": was["platform_id"],
                "total": was["total"],
                "details": was["details"] | {"voided_by": void, "reason": reason},
            },
        },
        note.order_id,
        note.return_id,
    )
