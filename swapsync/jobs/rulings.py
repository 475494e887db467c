"""What people decide about exceptions. A ruling is a fact like any other: the next reconcile draws the conclusions."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, Row, and_, delete, exists, insert, or_, select, update

from swapsync.connectors.reading import folded
from swapsync.connectors.swap_reader import MEANINGS
from swapsync.domain import money
from swapsync.domain.catalogue import CATALOGUE, Action, Code
from swapsync.domain.facts import Route, method_key
from swapsync.domain.notes import CREDIT_MARK
from swapsync.domain.settlement import NO_SHARE, UNANNOUNCED
from swapsync.domain.stock import Location, Proof
from swapsync.jobs import restored, stock_drift
from swapsync.jobs.compare import SUBJECT as CREDIT_SUBJECT
from swapsync.jobs.push_restocks import stock_writes
from swapsync.jobs.reread import raw_records
from swapsync.jobs.stock_levels import level_effect
from swapsync.jobs.typed import VALUE, WORDS, one_line
from swapsync.store import exceptions, outbox, runs
from swapsync.store.cases import credit_notes, rulings
from swapsync.store.changes import changes_since, decided_entries
from swapsync.store.db import Store
from swapsync.store.events import Event, record_events
from swapsync.store.mappings import PAYMENT_METHOD, teach, unteach
from swapsync.store.staging import link, mark_dirty, order_lines, orders, return_lines, returns
from swapsync.store.views import ALIAS, list_mappings

NEEDS_VALUE = {
    Action.TYPE_PO: "the PO number",
    Action.TEACH_ALIAS: "the SKU as it stands on the order",
    Action.CHOOSE_LINE: "the key of the order's line, as it is suggested",
    Action.LINK_ORDER: "the order's name or id",
    Action.MAP: "what the word means",
}

WAITS_FOR_ITS_EFFECT = (Action.RETRY, Action.MAP)
"""What leaves an exception open until its cause is gone."""


class RulingRefused(ValueError):
    """The action can't be taken; the message says why."""


def rule(
    store: Store,
    exception_id: int,
    action: str,
    *,
    value: str = "",
    note: str = "",
    seen: int | None = None,
    actor: str,
    now: datetime,
) -> tuple[Row[Any], str]:
    """Does what a person decided about an open exception, and closes it unless its cause has to go first.

    An action that the catalogue names as ``later`` is also taken on an exception that was accepted. ``seen``: how far
    the audit trail went when they looked (``as_of`` of ``views.show_exception``); None: when the return was last
    decided on, and for what a ruling on the exception rests on, when it was opened. Returns the exception as it stood,
    and what else the person should know (blank: nothing). Raises RulingRefused, also when return, order or exception
    changed since, with what changed.
    """
    value, note = _typed("value", value, VALUE), _typed("note", note, WORDS)
    actor = _typed("actor", actor, VALUE)
    with store.transaction() as connection:
        row = _locked(connection, exception_id, later=action)
        chosen = _action(row, action)
        if chosen in NEEDS_VALUE and not value:
            raise RulingRefused(f"--action {chosen} needs --value: {NEEDS_VALUE[chosen]}")
        _refuse_what_changed(connection, row, seen)
        remark = _issued_without(connection, row) if chosen is Action.TYPE_PO else ""
        said = f"{chosen}{f' {value}' if value else ''} by {actor}{f': {note}' if note else ''}"
        said += f"; {remark}" if remark else ""
        ruled = Event(
            *("staff", "ruling", f"{row.code}: {said}", row.return_id),
            actor=actor,
            exception_id=row.id,
            before={"status": row.status},
            after={
                "status": "open" if chosen in WAITS_FOR_ITS_EFFECT else "resolved",
                "action": chosen,
                "value": value,
                "note": note,
            },
        )
        record_events(connection, row.site, [ruled], now)
        if chosen is Action.RETRY:
            _send_again(connection, row, now)
        elif chosen is Action.MAP:
            _map(connection, row, value, actor, now)
        else:
            _take(connection, row, chosen, value, note, actor, now)
            exceptions.close(connection, row.site, [(row, said)], now, actor=actor)
        return row, remark


def assign(store: Store, exception_id: int, assignee: str, *, actor: str, now: datetime) -> Row[Any]:
    """Gives an open exception to a person; blank takes it from whoever has it. Raises RulingRefused."""
    assignee, actor = _typed("name", assignee, VALUE), _typed("actor", actor, VALUE)
    with store.transaction() as connection:
        row = _locked(connection, exception_id)
        c = exceptions.exceptions.c
        connection.execute(update(exceptions.exceptions).where(c.id == row.id).values(assignee=assignee))
        event = Event(
            *("staff", "assigned", f"{row.code}: to {assignee or 'nobody'}", row.return_id),
            actor=actor,
            exception_id=row.id,
            before={"assignee": row.assignee},
            after={"assignee": assignee},
        )
        record_events(connection, row.site, [event], now)
        return row


def comment(store: Store, exception_id: int, words: str, *, actor: str, now: datetime) -> Row[Any]:
    """Adds a comment to an exception, also to a resolved one. Raises RulingRefused."""
    words, actor = _typed("comment", words, WORDS), _typed("actor", actor, VALUE)
    if not words:
        raise RulingRefused("a comment needs words")
    with store.transaction() as connection:
        row = _locked(connection, exception_id, also_resolved=True)
        event = Event("staff", "comment", words, row.return_id, actor=actor, exception_id=row.id)
        record_events(connection, row.site, [event], now)
        return row


def forget(store: Store, kind: str, word: str, *, site: str | None = None, actor: str, now: datetime) -> dict[str, Any]:
    """Takes back what people taught a word to mean; what waited for it is decided again in the next reconcile.

    ``kind`` and ``word`` as ``views.list_mappings`` shows them, the word in any spelling that means the same. Returns
    what was taught. Raises RulingRefused.
    """
    kinds = (ALIAS, PAYMENT_METHOD, *MEANINGS)
    if kind not in kinds:
        raise RulingRefused(f"there are no mappings of kind {kind!r}; the kinds are {', '.join(kinds)}")
    actor = _typed("actor", actor, VALUE)
    compared = word if kind == ALIAS else method_key(word) if kind == PAYMENT_METHOD else folded(word)
    with store.transaction() as connection:
        known = [each for each in list_mappings(connection, site) if (each["kind"], each["word"]) == (kind, compared)]
        if not known:
            raise RulingRefused(f"nobody taught what {kind} {word} means; swapsync mappings list shows what was")
        if len(known) > 1:
            raise RulingRefused(f"{kind} {word} was taught at {', '.join(each['site'] for each in known)}: say --site")
        [mapping] = known
        of = mapping["site"]
        runs.lock_site(connection, of)
        if kind == ALIAS:
            _forget_alias(connection, of, compared)
        else:
            unteach(connection, of, kind, compared)
        gone = Event(
            *("staff", "mapping_forgotten", f"{kind} {mapping['word']} no longer means {mapping['meaning']}"),
            actor=actor,
            before={mapping["word"]: mapping["meaning"]},
            after={mapping["word"]: None},
        )
        record_events(connection, of, [gone], now)
        return mapping


def _forget_alias(connection: Connection, site: str, sku: str) -> None:
    c = rulings.c
    connection.execute(delete(rulings).where(c.site == site, c.action == Action.TEACH_ALIAS, c.subject == sku))
    of_sku = select(return_lines.c.return_id).where(return_lines.c.site == site, return_lines.c.sku == sku)
    mark_dirty(connection, site, returns.c.return_id.in_(of_sku) & ~returns.c.settled_outside)


def _typed(what: str, text: str, longest: int) -> str:
    try:
        return one_line(what, text, longest)
    except ValueError as error:
        raise RulingRefused(str(error)) from None


def _locked(
    connection: Connection, exception_id: int, *, also_resolved: bool = False, later: str | None = None
) -> Row[Any]:
    """An exception that nobody else changes until the end of the transaction. Raises RulingRefused.

    ``later``: an action for which it need not be open, if it is one that can follow the decision that stands.
    """
    this = select(exceptions.exceptions).where(exceptions.exceptions.c.id == exception_id)
    row = connection.execute(this).one_or_none()
    if row is None:
        raise RulingRefused(f"there is no exception {exception_id}")
    runs.lock_site(connection, row.site)
    row = connection.execute(this).one()
    if row.status == "open" or also_resolved:
        return row
    if later not in CATALOGUE[Code(row.code)].later or not _accepted(connection, row):
        raise RulingRefused(f"exception {exception_id} is resolved already: {row.resolution}")
    return row


def _accepted(connection: Connection, row: Row[Any]) -> bool:
    """Whether what stands of the cause of an exception is that a person accepted exactly it."""
    c, same = rulings.c, exceptions.exceptions.c
    ruled = connection.execute(
        select(c.action, c.about)
        .where(c.site == row.site, c.code == row.code, c.return_id == row.return_id, c.subject == row.subject)
        .order_by(c.id.desc())
        .limit(1)
    ).one_or_none()
    asked_since = connection.execute(
        select(same.id).where(
            *(same.site == row.site, same.code == row.code, same.return_id == row.return_id),
            *(same.subject == row.subject, same.id > row.id),
        )
    ).first()
    return asked_since is None and ruled is not None and tuple(ruled) == (Action.ACCEPT, row.about or row.detail)


def _refuse_what_changed(connection: Connection, row: Row[Any], seen: int | None) -> None:
    """Who doesn't say what they saw may have read what an exception rested on when it was opened."""
    own = exceptions.changes_since(connection, row, seen)
    since = seen
    if since is None and own:
        since = exceptions.opening_entry(connection, row)
    elif since is None:
        since = decided_entries(connection, row.site, [row.return_id]).get(row.return_id, 0)
    news = changes_since(connection, row.site, {row.return_id: since})[row.return_id] if row.return_id else []
    if news := [*news, *own]:
        what = f"RMA {row.rma_number}" if row.rma_number else f"exception {row.id}"
        again = f"look again (swapsync exceptions show {row.id}), then decide with the --seen that it prints"
        raise RulingRefused(f"{what} changed since: {'; '.join(news)}. Run swapsync sync, {again}")


def _action(row: Row[Any], action: str) -> Action:
    allowed = CATALOGUE[Code(row.code)].actions
    for candidate in allowed:
        if candidate == action:
            return candidate
    choice = f"choose from {', '.join(allowed)}" if allowed else "it closes by itself when the data agree"
    raise RulingRefused(f"{row.code} has no action {action!r}; {choice}")


def _take(
    connection: Connection, row: Row[Any], action: Action, value: str, note: str, actor: str, now: datetime
) -> None:
    subject = row.subject
    if action in (Action.WRITTEN, Action.NOT_WRITTEN):
        _settle_stock_write(connection, int(subject.removeprefix("write:")), action, now)
    elif action is Action.LINK_ORDER:
        _link_order(connection, row, value, actor, now)
    elif subject.startswith(restored.SUBJECT):
        value = _take_what_stands_for_ours(connection, row, now)
    elif action is Action.WRITE_OFF and row.code == Code.DELIVERY_FAILED:
        _write_off_delivery(connection, row, actor, now)
    elif action is Action.DENY and row.code == Code.DELIVERY_FAILED:
        value = _withdraw_refused(connection, row, note, actor, now)
    elif row.code == Code.RESTOCK_DRIFT:
        _write_off_drift(connection, row, actor, now)
    elif action is Action.WRITE_OFF and subject.startswith(UNANNOUNCED):
        raise RulingRefused(f"nothing of {row.sku} was booked into stock, so there is nothing to write off")
    elif action in (Action.TEACH_ALIAS, Action.CHOOSE_LINE) and NO_SHARE in row.detail:
        raise RulingRefused(f"{NO_SHARE}, and no other SKU or line can: add it there, or deny the line")
    elif action is Action.TYPE_PO:
        subject = _order_of(connection, row)
    elif action is Action.TEACH_ALIAS:
        subject = _teach_alias(connection, row, value)
    elif action is Action.DENY:
        _withdraw(connection, row, note, actor, now)
    elif action is Action.CHOOSE_LINE and not _on_order(connection, row, order_lines.c.line_key == value):
        raise RulingRefused(f"the order has no line {value}")
    connection.execute(
        insert(rulings).values(
            site=row.site,
            code=row.code,
            return_id=row.return_id,
            subject=subject,
            action=action,
            value=value,
            about=row.about or row.detail,
            actor=actor,
            note=note,
            ruled_at=now,
        )
    )
    mark_dirty(connection, row.site, returns.c.return_id == row.return_id)


def _withdraw(connection: Connection, row: Row[Any], note: str, actor: str, now: datetime) -> None:
    """Takes back what provably has no effect yet of the credits that a denial is about, and closes its trouble.

    It is about all of the return's, or those that the denied line stands on; a refused approval is about none yet.
    """
    if row.code == Code.APPROVAL_NEEDED:
        return
    c = return_lines.c
    line_id = connection.execute(
        select(c.line_id).where(c.site == row.site, c.return_id == row.return_id, c.line_id == row.subject)
    ).scalar()
    ids = outbox.withdraw_credits(connection, row.site, row.return_id, line_id)
    _note_withdrawn(connection, row, ids, note, actor, now)
    withdrawn = {f"outbox:{id_}" for id_ in ids}
    failed = [
        each
        for each in exceptions.open_of_returns(connection, row.site, [row.return_id])
        if each.code == Code.DELIVERY_FAILED and each.subject in withdrawn
    ]
    why = f"withdrawn: {row.code} was denied by {actor}"
    exceptions.close(connection, row.site, [(each, why) for each in failed], now, actor=actor)


def _withdraw_refused(connection: Connection, row: Row[Any], note: str, actor: str, now: datetime) -> str:
    """Takes back a credit that was refused and provably had no effect; returns what it was worth."""
    effect = _effect_of(connection, row)
    if effect.kind != outbox.Kind.CREDIT:
        raise RulingRefused("only a credit note is denied; what else is not to be delivered: --action write-off")
    if not note:
        raise RulingRefused("say why with --note: the reason stands on the credit note for good")
    ids = outbox.withdraw_credits(connection, row.site, row.return_id, effect_id=effect.id)
    if not ids:
        raise RulingRefused(
            "it can't be withdrawn: a credit may have arrived before it was refused, and a void undoes one that did; "
            "mend the cause and retry it"
        )
    return _note_withdrawn(connection, row, ids, note, actor, now)[0]


def _note_withdrawn(
    connection: Connection, row: Row[Any], ids: Sequence[int], note: str, actor: str, now: datetime
) -> list[str]:
    """Enters who withdrew these credits, and why, on their notes and in the trail; returns what each was worth."""
    reason = f"{row.code} was denied{f': {note}' if note else ''}"
    keys = connection.execute(select(outbox.outbox.c.effect_key).where(outbox.outbox.c.id.in_(ids))).scalars()
    withdrawn = connection.execute(
        update(credit_notes)
        .where(credit_notes.c.site == row.site, credit_notes.c.platform_id.in_(list(keys)))
        .values(reason=reason, actor=actor)
        .returning(*credit_notes.c)
    ).all()
    worth = [f"{money.to_text(each.net + each.tax, each.currency)} {each.currency}" for each in withdrawn]
    told = [
        Event(
            *("staff", "credit_note_withdrawn", f"{each.number} of {amount}: {reason}", row.return_id),
            actor=actor,
            before={"credit_note": each.number},
            after={"credit_note": None, "reason": reason},
        )
        for each, amount in zip(withdrawn, worth, strict=True)
    ]
    record_events(connection, row.site, told, now)
    return worth


def _order_of(connection: Connection, row: Row[Any]) -> str:
    """The id of the order that an exception's return is of."""
    of_return = (returns.c.site == row.site) & (returns.c.return_id == row.return_id)
    return str(connection.execute(select(returns.c.order_id).where(of_return)).scalar_one())


def _issued_without(connection: Connection, row: Row[Any]) -> str:
    """In words, which credit notes of the order stand without a PO number; blank if none does."""
    note, void = credit_notes.c, credit_notes.alias().c
    numbers = connection.execute(
        select(note.number)
        .where(note.site == row.site, note.order_id == _order_of(connection, row), note.po_number == "")
        .where(note.kind == "credit", note.state != "void")
        .where(~exists().where(void.site == note.site, void.voids == note.number))
        .order_by(note.number)
    ).scalars()
    issued = ", ".join(numbers)
    return issued and f"{issued} issued without it: void and credit again if the buyer needs it on the document"


def _send_again(connection: Connection, row: Row[Any], now: datetime) -> None:
    """Has a delivery tried again that gave up, a credit's transaction written again, or a stock level of ours set."""
    if row.code == Code.DELIVERY_FAILED:
        outbox.retry(connection, row.site, [_outbox_id(row)], now)
        return
    if row.code == Code.RESTOCK_DRIFT:
        stock_drift.set_again(connection, row, now)
        return
    if row.subject.startswith(restored.SUBJECT):
        raise RulingRefused("it is looked at again with every sync; accept what stands there, or correct it")
    platform_id = row.subject.removeprefix(CREDIT_SUBJECT)
    if not outbox.send_credit_again(connection, row.site, platform_id, now):
        what = f"transaction {platform_id.partition('@')[0]}"
        raise RulingRefused(f"no credit note here belongs to {what}, or it was withdrawn: correct it in SparkLayer")
    mark_dirty(connection, row.site, returns.c.return_id == row.return_id)


def _write_off_delivery(connection: Connection, row: Row[Any], actor: str, now: datetime) -> None:
    """Gives up a delivery. Units that were to be sold again leave our books with it, and inspection in SparkLayer."""
    effect = _effect_of(connection, row)
    if effect.kind == outbox.Kind.CREDIT:
        raise RulingRefused(
            "a credit note can't be written off: the buyer is owed it; retry it, or withdraw it with --action deny"
        )
    if not outbox.write_off(connection, row.site, effect.id):
        raise RulingRefused("it is being tried again: see what becomes of it")
    if effect.kind == outbox.Kind.RESTOCK:
        sku, quantity = effect.payload["sku"], effect.payload["quantity"]
        stock_drift.adjust(connection, row, sku, (Location.SELLABLE, Location.OUTSIDE), quantity, actor, now)
        out_of_inspection = level_effect(f"written-off:{effect.id}", sku, Location.INSPECTION, row.return_id)
        outbox.enqueue(connection, row.site, [out_of_inspection], now)


def _effect_of(connection: Connection, row: Row[Any]) -> Row[Any]:
    """The delivery that an exception is about."""
    return connection.execute(select(outbox.outbox).where(outbox.outbox.c.id == _outbox_id(row))).one()


def _outbox_id(row: Row[Any]) -> int:
    return int(row.subject.removeprefix("outbox:"))


def _map(connection: Connection, row: Row[Any], meaning: str, actor: str, now: datetime) -> None:
    """Teaches what a word means; what waits for it is read again in the next reconcile, and closes by itself."""
    field, word, meanings = _word(connection, row)
    if meaning not in meanings:
        raise RulingRefused(f"{word} can't mean {meaning!r}; choose from {', '.join(meanings)}")
    teach(connection, row.site, field, word, meaning, actor, now)


def _word(connection: Connection, row: Row[Any]) -> tuple[str, str, list[str]]:
    """(field, word as it is compared, what it can mean) of what an exception is about. Raises RulingRefused."""
    of_return = and_(returns.c.site == row.site, returns.c.return_id == row.return_id)
    if row.code == Code.PAYMENT_METHOD_UNKNOWN:
        method = connection.execute(
            select(orders.c.payment_method)
            .join(returns, and_(orders.c.site == returns.c.site, orders.c.order_id == returns.c.order_id))
            .where(of_return)
        ).scalar_one()
        return PAYMENT_METHOD, method_key(method or ""), [*Route]
    line = connection.execute(
        select(return_lines.c.return_type).where(
            return_lines.c.site == row.site,
            return_lines.c.return_id == row.return_id,
            return_lines.c.line_id == row.subject,
        )
    ).scalar()
    if line is not None:
        field, value = "return_type", line
    else:
        field = row.subject.partition(" ")[0]
        kept = connection.execute(
            select(raw_records.c.body)
            .join(returns, and_(returns.c.site == raw_records.c.site, returns.c.digest == raw_records.c.digest))
            .where(of_return, raw_records.c.remote_id == row.return_id, raw_records.c.stream == "swap.returns")
        ).scalar()
        value = orjson.loads(kept).get(field) if kept else None
    if field not in MEANINGS or not isinstance(value, str):
        raise RulingRefused(f"{row.subject} is no word that could be mapped: have it corrected in Swap")
    return field, folded(value), [meaning for meaning in MEANINGS[field] if meaning != "unknown"]


def _write_off_drift(connection: Connection, row: Row[Any], actor: str, now: datetime) -> None:
    try:
        stock_drift.write_off(connection, row, actor, now)
    except stock_drift.DriftChanged as changed:
        raise RulingRefused(str(changed)) from None


def _settle_stock_write(connection: Connection, write_id: int, action: Action, now: datetime) -> None:
    written = action is Action.WRITTEN
    ids = list(connection.execute(select(outbox.outbox.c.id).where(outbox.outbox.c.write_id == write_id)).scalars())
    if written:
        outbox.mark_sent(connection, ids, now)
    else:
        outbox.release(connection, ids, now)
    settled = connection.execute(
        update(stock_writes)
        .where(stock_writes.c.id == write_id)
        .values(state=Proof.ARRIVED if written else Proof.NEVER_ARRIVED)
        .returning(stock_writes.c.site, stock_writes.c.sku)
    ).one()
    if written:
        out_of_inspection = level_effect(f"write:{write_id}", settled.sku, Location.INSPECTION)
        outbox.enqueue(connection, settled.site, [out_of_inspection], now)


def _take_what_stands_for_ours(connection: Connection, row: Row[Any], now: datetime) -> str:
    """What was credited before the store was restored counts in place of the credits that wait for this return.

    Returns their keys, a line each.
    """
    c = outbox.outbox.c
    held = connection.execute(
        select(c.id, c.effect_key)
        .where(c.site == row.site, c.return_id == row.return_id, c.kind == outbox.Kind.CREDIT)
        .where(c.state.in_(("pending", "in_doubt", "failed")))
    ).all()
    waiting = [effect for effect in held if CREDIT_MARK in effect.effect_key]
    if held and not waiting:
        raise RulingRefused(
            "only a void waits, and no credit can take its place: take off in SparkLayer what this store does not "
            "know; then the void goes out"
        )
    outbox.mark_sent(connection, [effect.id for effect in waiting], now)
    connection.execute(
        update(credit_notes)
        .where(credit_notes.c.site == row.site)
        .where(credit_notes.c.platform_id.in_([effect.effect_key for effect in waiting]))
        .values(state="delivered")
    )
    return "\n".join(effect.effect_key for effect in waiting)


def _link_order(connection: Connection, row: Row[Any], name: str, actor: str, now: datetime) -> None:
    """``name``: the order's name, with or without its ``#``, or one of its ids."""
    found = list(
        connection.execute(
            select(orders.c.order_id).where(
                orders.c.site == row.site,
                or_(orders.c.visible.in_((name, f"#{name}")), orders.c.platform_id == name, orders.c.order_id == name),
            )
        ).scalars()
    )
    if not found:
        raise RulingRefused(f"no order {name} is known here; if it is older than the history read, backfill it first")
    if len(found) > 1:
        raise RulingRefused(f"{name} names {len(found)} orders; use the order's id")
    link(connection, row.site, {row.return_id: found[0]}, now, actor=actor)


def _on_order(connection: Connection, row: Row[Any], condition: ColumnElement[bool]) -> bool:
    """Whether the order of the exception's return has a line that fits."""
    lines = (
        select(order_lines.c.line_key)
        .join(
            returns,
            (returns.c.site == order_lines.c.site)
            & (returns.c.order_id == order_lines.c.order_id)
            & (returns.c.return_id == row.return_id),
        )
        .where(order_lines.c.site == row.site, condition)
    )
    return connection.execute(lines).first() is not None


def _teach_alias(connection: Connection, row: Row[Any], sku: str) -> str:
    """Checks that the order has the SKU; returns the SKU in Swap that stands for it from now on."""
    if not row.sku:
        raise RulingRefused("the returned line has no SKU, so there is nothing to teach an alias for")
    if not _on_order(connection, row, order_lines.c.sku == sku):
        raise RulingRefused(f"the order has no line with SKU {sku}")
    same_sku = select(return_lines.c.return_id).where(
        return_lines.c.site == row.site, return_lines.c.sku == row.sku, return_lines.c.order_line_key == ""
    )
    mark_dirty(connection, row.site, returns.c.return_id.in_(same_sku) & ~returns.c.settled_outside)
    return str(row.sku)
