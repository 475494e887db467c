"""After a restore: what a store does not know of, because it was done after the store's backup was made.

A return that was submitted before ``restored_at`` may have been credited, noted or restocked in the time that was lost,
and findings of that time may be entered again days later, in another partition. So for as long as such returns live,
what is to be written for them is looked for first, and what can't be looked for goes to a person. Nothing has to be
cleared: it ends with these returns (docs/decisions/0017).
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Row, and_, func, or_, select, update

from swapsync.connectors.errors import CredentialsRejected, NotFound, Refused, TryLater, Unreachable
from swapsync.connectors.reading import shown
from swapsync.connectors.sparklayer import OrderRef
from swapsync.domain import money
from swapsync.domain.catalogue import Code
from swapsync.jobs.transactions import Transaction, read_transaction
from swapsync.jobs.workplace import Workplace
from swapsync.moments import to_text
from swapsync.store import exceptions
from swapsync.store.backup import LastKnown
from swapsync.store.cases import credit_note_lines, credit_notes, rulings
from swapsync.store.db import Store, chunks
from swapsync.store.events import Event, record_events
from swapsync.store.exceptions import Sighting
from swapsync.store.outbox import Kind, outbox, postpone_look
from swapsync.store.runs import first_run, lock_site, runs, set_last_credit_number, sites
from swapsync.store.staging import returns

SUBJECT = "restored:"
CLOCKS_APART = timedelta(minutes=5)
"""So far Swap's clock, by which a return was submitted, may be ahead of ours, by which the store was restored."""
OVERTAKEN = "it waits until its return is decided on again"
FORGOTTEN = "restored"
"""Who may have sent a credit that was not sent in the backup: it is never withdrawn as one that nobody was given."""


def mark_restored(
    store: Store, now: datetime, actor: str, *, known: Mapping[str, LastKnown], site: str | None = None
) -> dict[str, datetime]:
    """Notes that the store was restored, for every site or one; for every site, lets it be used from then on.

    ``known``: by site, of all that may have run since the backup. Numbering goes on after the last credit note; a site
    that the backup doesn't know is noted with its cut-over moment, ``now`` where that is lost. What can't be looked for
    outside (restocks, reports to Swap) counts as never tried, so that it is held before it is sent.
    Returns the cut-over moments of the sites that the backup didn't know.
    """
    of_site = sites.c.slug == site if site else sites.c.slug.is_not(None)
    with store.transaction() as connection:
        if site is None:
            store.put_in_place(connection)
        stored = set(connection.execute(select(sites.c.slug)).scalars())
        new = {
            slug: first_run(connection, slug, last.effects_from, now)
            for slug, last in known.items()
            if site in (None, slug) and slug not in stored
        }
        for row in connection.execute(select(sites).where(of_site)).all():
            last_number = max(row.last_credit_number, known[row.slug].last_credit_number if row.slug in known else 0)
            connection.execute(
                update(sites).where(sites.c.slug == row.slug).values(restored_at=now, last_credit_number=last_number)
            )
            connection.execute(
                update(outbox)
                .where(outbox.c.site == row.slug, outbox.c.kind.in_([Kind.RESTOCK, Kind.QUALITY_CONTROL]))
                .where(outbox.c.state != "sent")
                .values(attempts=0)
            )
            connection.execute(
                update(outbox)
                .where(outbox.c.site == row.slug, outbox.c.kind == Kind.CREDIT, outbox.c.state != "sent")
                .values(claimed_by=FORGOTTEN, claimed_until=None)
            )
            detail = f"restored from a backup; credit notes go on after number {last_number}"
            if row.slug in new:
                detail += f"; the backup did not know this site, whose cut-over is {to_text(new[row.slug])}"
            record_events(connection, row.slug, [Event("staff", "store_restored", detail, actor=actor)], now)
    return new


def touched(connection: Connection, site: str, return_ids: Iterable[str]) -> set[str]:
    """Which of these returns may have had effects that this store knows nothing of."""
    return {
        row.return_id
        for part in chunks(sorted(set(return_ids)))
        for row in connection.execute(
            select(returns.c.return_id, returns.c.submitted_at, sites.c.restored_at)
            .join(sites, sites.c.slug == returns.c.site)
            .where(returns.c.site == site, returns.c.return_id.in_(part), sites.c.restored_at.is_not(None))
        )
        if row.submitted_at < row.restored_at + CLOCKS_APART
    }


def maybe_done(connection: Connection, site: str, rows: Sequence[Row[Any]]) -> list[Row[Any]]:
    """Effects that leave no mark outside and may have been done in the lost time; once tried since, they are known.

    A return that was not delivered yet, when Swap was first read to the end after the restore, had no such effect.
    """
    first_poll = (
        select(func.min(runs.c.finished_at))
        .where(runs.c.site == sites.c.slug, runs.c.job == "poll_returns", runs.c.status == "ok")
        .where(runs.c.started_at >= sites.c.restored_at)
        .scalar_subquery()
    )
    after = or_(first_poll.is_(None), returns.c.delivered_at.is_(None), returns.c.delivered_at <= first_poll)
    candidates = [row for row in rows if row.attempts == 0]
    suspects = {
        return_id
        for part in chunks(sorted(touched(connection, site, [row.return_id for row in candidates])))
        for return_id in connection.execute(
            select(returns.c.return_id)
            .join(sites, sites.c.slug == returns.c.site)
            .where(returns.c.site == site, returns.c.return_id.in_(part), after)
        ).scalars()
    }
    return [row for row in candidates if row.return_id in suspects]


# -- credits ---------------------------------------------------------------------------------------------------------


@dataclass
class Look:
    """What stands outside of a batch of credits: to be sent, there already, not to be sent, or not readable now."""

    to_send: list[Row[Any]] = field(default_factory=list)
    standing: list[Row[Any]] = field(default_factory=list)
    held: list[Row[Any]] = field(default_factory=list)
    unread: list[tuple[Row[Any], str]] = field(default_factory=list)
    numbers: dict[str, str] = field(default_factory=dict)
    """Of those there already, under which number each stands, where that is not the one that it has here."""
    looked_at: set[str] = field(default_factory=set)
    sightings: list[Sighting] = field(default_factory=list)


def look_for_credits(place: Workplace, rows: Sequence[Row[Any]]) -> Look:
    """Reads the transactions of the orders of such returns, once an order, before any of their credits is sent.

    So it does for credits that were overtaken after a worker was given them: these are never sent, but may stand there.
    Raises Unreachable or CredentialsRejected; then nothing is to be sent.
    """
    with place.store.reading() as connection:
        returns_touched = touched(connection, place.slug, [row.return_id for row in rows])
        known = _known(connection, place.slug, returns_touched)
    look = Look()
    standing: dict[tuple[str, str], list[Transaction] | str] = {}
    for row in rows:
        if row.return_id not in returns_touched and not row.overtaken:
            look.to_send.append(row)
            continue
        address = row.payload["order"]["lookup_by"], row.payload["order"]["identifier"]
        if address not in standing:
            standing[address] = _transactions(place, OrderRef(*address))
        found = standing[address]
        if isinstance(found, str):
            look.unread.append((row, found))
            continue
        if row.return_id not in returns_touched:
            if any(each.platform_id == row.effect_key and _is_written(row, each) for each in found):
                look.standing.append(row)
            else:
                look.unread.append((row, OVERTAKEN))
            continue
        look.looked_at.add(row.return_id)
        ours = [each for each in found if _is_of(each, row.return_id)]
        there = next((each for each in ours if each.platform_id == row.effect_key), None)
        clash = _clash(known[row.return_id], ours) or (there and _foreign_number(place, row, there, look))
        if clash:
            look.held.append(row)
            look.sightings.append(_sighting(row, clash))
        elif there is None and row.overtaken:
            look.unread.append((row, OVERTAKEN))
        elif there is None:
            look.to_send.append(row)
        else:
            look.standing.append(row)
            if there.credit_note not in ("", _number(row)):
                look.numbers[row.effect_key] = there.credit_note
    return look


def taken_for_ours(connection: Connection, note: Row[Any]) -> bool:
    """Whether a person let what stands outside since before a restore count in place of this credit note."""
    of_return = and_(rulings.c.site == note.site, rulings.c.subject == SUBJECT + note.return_id)
    accepted = connection.execute(select(rulings.c.value).where(of_return)).scalars()
    return any(note.platform_id in value.split("\n") for value in accepted)


def note_look(connection: Connection, place: Workplace, look: Look) -> None:
    """Opens and closes the exceptions about what stands there, and puts off what was not to be sent.

    A credit that stands there keeps the number under which its buyer has it.
    """
    for row in look.standing:
        if row.effect_key in look.numbers:
            _renumber(connection, place, row, look.numbers[row.effect_key])
    held = [(row, "held: SparkLayer holds other credits of this return") for row in look.held]
    for row, reason in [*held, *look.unread]:
        postpone_look(connection, row, reason, place.clock.now())
    subjects = {SUBJECT + return_id for return_id in look.looked_at}
    standing = [
        row
        for row in exceptions.open_of_code(connection, place.slug, Code.CREDIT_MISALIGNED)
        if row.subject in subjects
    ]
    agreed = "SparkLayer holds no credit of the return that this store does not know, each of its amount"
    evidence = {exceptions.key_of(row): agreed for row in standing}
    exceptions.settle(connection, place.slug, standing, look.sightings, place.clock.now(), evidence=evidence)


def _known(connection: Connection, site: str, return_ids: Iterable[str]) -> dict[str, dict[str, Row[Any]]]:
    known: dict[str, dict[str, Row[Any]]] = defaultdict(dict)
    for part in chunks(sorted(return_ids)):
        for row in connection.execute(
            select(credit_notes).where(and_(credit_notes.c.site == site, credit_notes.c.return_id.in_(part)))
        ):
            known[row.return_id][row.platform_id] = row
    return known


def _transactions(place: Workplace, order: OrderRef) -> list[Transaction] | str:
    """What stands on the order, or why that can't be told now."""
    try:
        return [read_transaction(row) for row in place.sparklayer.transactions(order)]
    except NotFound:
        return []
    except (Unreachable, CredentialsRejected):
        raise
    except (TryLater, Refused) as error:
        return str(error)


def _is_of(transaction: Transaction, return_id: str) -> bool:
    return bool(re.fullmatch(rf"swap:{re.escape(return_id)}:(credit|void):[^:]+", transaction.platform_id))


def _clash(known: dict[str, Row[Any]], ours: Sequence[Transaction]) -> str:
    """How what stands there contradicts what this store knows, in words; blank if it doesn't."""
    voided = {note.voids for note in known.values()}
    issued = {key: note for key, note in known.items() if note.state != "void" or note.number in voided}
    unknown = [f"{each.platform_id} of {each.written}" for each in ours if each.platform_id not in issued]
    different = []
    for each in ours:
        note = issued.get(each.platform_id)
        if note is not None and not _same(note, each):
            total = money.to_text(-(note.net + note.tax), note.currency)
            different.append(f"{each.platform_id} is {each.written} there and {total} here")
    twice = len({each.platform_id for each in ours}) < len(ours)
    return "; ".join(
        [
            *([f"this store knows nothing of {', '.join(unknown)}"] if unknown else []),
            *different,
            *(["one of them stands there more than once"] if twice else []),
        ]
    )


def _foreign_number(place: Workplace, row: Row[Any], there: Transaction, look: Look) -> str:
    """Why the number under which a credit stands there can't be its number here, in words; blank if it can."""
    if there.credit_note in ("", _number(row)):
        return ""
    c = credit_notes.c
    with place.store.reading() as connection:
        taken = connection.execute(select(c.number).where(c.site == place.slug, c.number == there.credit_note)).first()
    digits = re.fullmatch(rf"{re.escape(place.site.credit_note_prefix)}([0-9]{{6,9}})", there.credit_note)
    ours = digits and there.credit_note == place.site.credit_note_number(int(digits[1]))
    if ours and not taken and there.credit_note not in look.numbers.values():
        return ""
    number = shown(there.credit_note)
    return f"{there.platform_id} is credit note {number} there, which is another one here or none of ours"


def _renumber(connection: Connection, place: Workplace, row: Row[Any], number: str) -> None:
    before = _number(row)
    for document in (credit_notes, credit_note_lines):
        of_number = and_(document.c.site == place.slug, document.c.number == before)
        connection.execute(update(document).where(of_number).values(number=number))
    payload = row.payload | {"details": row.payload["details"] | {"credit_note": number}}
    connection.execute(update(outbox).where(outbox.c.id == row.id).values(payload=payload))
    last = int(number.removeprefix(place.site.credit_note_prefix))
    set_last_credit_number(connection, place.slug, max(last, lock_site(connection, place.slug)))
    event = Event(
        *("sparklayer", "credit_note_renumbered", f"{before} is {number}: so it stands on {row.target}", row.return_id),
        before={"credit_note": before},
        after={"credit_note": number},
    )
    record_events(connection, place.slug, [event], place.clock.now())


def _number(row: Row[Any]) -> str:
    return str(row.payload["details"]["credit_note"])


def _same(note: Row[Any], transaction: Transaction) -> bool:
    total = Decimal(money.to_text(-(note.net + note.tax), note.currency))
    if note.kind == "void":
        total = -total
    return transaction.total == total and transaction.currency in ("", note.currency.upper())


def _is_written(row: Row[Any], transaction: Transaction) -> bool:
    total = Decimal(money.to_text(row.payload["total"], row.payload["currency"]))
    return transaction.total == total and transaction.currency in ("", row.payload["currency"].upper())


def _sighting(row: Row[Any], clash: str) -> Sighting:
    return Sighting(
        Code.CREDIT_MISALIGNED,
        f"{row.target}: the store was restored, and SparkLayer holds what was credited before that: {clash}. Nothing "
        "is credited for this return until both agree: enter the findings again as they were, or correct the "
        "transactions in SparkLayer; accept takes what stands there for our credit",
        SUBJECT + row.return_id,
        row.return_id,
        order_name=row.target.removeprefix("order "),
    )
