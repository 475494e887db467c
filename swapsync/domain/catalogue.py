"""The exception catalogue: everything that a person must see, with its owner and its way out.

Console, handbook, alerts and ``exceptions show`` all read from here (design.md section 6).
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class Owner(StrEnum):
    """The team that has to solve an exception."""

    FINANCE = "finance"
    OPERATIONS = "operations"
    CUSTOMER_SERVICE = "customer_service"
    INTEGRATION = "integration"


class Severity(StrEnum):
    """How urgent an exception is; ``DUE`` says how long its owner has."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class Action(StrEnum):
    """What a person can do about an exception; the value is what ``exceptions resolve --action`` takes."""

    ACKNOWLEDGE = "acknowledge"
    ACCEPT = "accept"
    TYPE_PO = "type-po"
    TEACH_ALIAS = "teach-alias"
    CHOOSE_LINE = "choose-line"
    LINK_ORDER = "link-order"
    CONFIRM_BUYER = "confirm-buyer"
    CREDIT = "credit"
    DENY = "deny"
    RETRY = "retry"
    WRITE_OFF = "write-off"
    MAP = "map"
    WRITTEN = "written"
    NOT_WRITTEN = "not-written"


DUE = {
    Severity.CRITICAL: timedelta(hours=8),
    Severity.WARNING: timedelta(days=2),
    Severity.INFO: timedelta(days=14),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One kind of exception: who owns it, how urgent it is, what it means, what to do, when it closes by itself.

    ``later``: actions that can still be taken on one that was accepted.
    """

    owner: Owner
    severity: Severity
    meaning: str
    remedy: str
    closes: str
    actions: tuple[Action, ...] = ()
    later: tuple[Action, ...] = ()

    @property
    def due_after(self) -> timedelta:
        """How long the owner has."""
        return DUE[self.severity]


class Code(StrEnum):
    """The kinds of exceptions; each has its entry in ``CATALOGUE``."""

    ORPHANED_RETURN = "ORPHANED_RETURN"
    CUSTOMER_MISMATCH = "CUSTOMER_MISMATCH"
    SKU_NOT_ON_ORDER = "SKU_NOT_ON_ORDER"
    SKU_CHANGED = "SKU_CHANGED"
    SKU_DUPLICATE = "SKU_DUPLICATE"
    QUANTITY_EXCEEDS_ORDER = "QUANTITY_EXCEEDS_ORDER"
    PO_NUMBER_MISSING = "PO_NUMBER_MISSING"
    PAYMENT_METHOD_UNKNOWN = "PAYMENT_METHOD_UNKNOWN"
    CURRENCY_MISMATCH = "CURRENCY_MISMATCH"
    AMOUNT_MISMATCH = "AMOUNT_MISMATCH"
    GATEWAY_REFUND_ON_ACCOUNT = "GATEWAY_REFUND_ON_ACCOUNT"
    REFUND_STUCK_IN_SWAP = "REFUND_STUCK_IN_SWAP"
    CREDIT_MISALIGNED = "CREDIT_MISALIGNED"
    INSPECTION_OVERDUE = "INSPECTION_OVERDUE"
    INSPECTION_SHORT = "INSPECTION_SHORT"
    INSPECTION_REVIEW = "INSPECTION_REVIEW"
    UNEXPECTED_ITEM = "UNEXPECTED_ITEM"
    RESTOCK_DRIFT = "RESTOCK_DRIFT"
    RESTOCK_UNCERTAIN = "RESTOCK_UNCERTAIN"
    RETURN_CHANGED_AFTER_CREDIT = "RETURN_CHANGED_AFTER_CREDIT"
    RETURN_VANISHED = "RETURN_VANISHED"
    ORDER_CHANGED = "ORDER_CHANGED"
    UNKNOWN_VALUE = "UNKNOWN_VALUE"
    MALFORMED_RECORD = "MALFORMED_RECORD"
    DELIVERY_FAILED = "DELIVERY_FAILED"
    APPROVAL_NEEDED = "APPROVAL_NEEDED"


_F, _O, _C, _I = Owner.FINANCE, Owner.OPERATIONS, Owner.CUSTOMER_SERVICE, Owner.INTEGRATION
_LOW, _MID, _HIGH = Severity.INFO, Severity.WARNING, Severity.CRITICAL

CATALOGUE: dict[Code, Entry] = {
    Code.ORPHANED_RETURN: Entry(
        _C,
        _MID,
        "Swap has a return, and SparkLayer knows no order for it, neither by its id nor by its name.",
        "Find the original order and link it with --action link-order --value ORDER; exceptions show lists the likely "
        "ones. If there is none: --action deny, and nothing will be credited.",
        "the order turns up in SparkLayer",
        (Action.LINK_ORDER, Action.DENY),
    ),
    Code.CUSTOMER_MISMATCH: Entry(
        _C,
        _HIGH,
        "The return was asked for by somebody who is neither the order's buyer nor of the buyer's company.",
        "Ask the buyer. Correct the e-mail address in Swap or SparkLayer, or confirm with --action confirm-buyer. If "
        "the return is not theirs to make: --action deny, and nothing will be credited; goods that came move by what "
        "the warehouse finds all the same.",
        "both systems name the same buyer",
        (Action.CONFIRM_BUYER, Action.DENY),
    ),
    Code.SKU_NOT_ON_ORDER: Entry(
        _C,
        _MID,
        "A line of the return fits no line of its order.",
        "Compare with the order and what is suggested. Teach the right SKU with --action teach-alias --value SKU (a "
        "wrong one is taken back with swapsync mappings forget), say which line it is with --action choose-line "
        "--value LINE, or correct the return. If it was never on the order: --action deny, and the line will not be "
        "credited.",
        "an alias is taught, a line is chosen, or the data agree",
        (Action.TEACH_ALIAS, Action.CHOOSE_LINE, Action.DENY),
    ),
    Code.SKU_CHANGED: Entry(
        _I,
        _LOW,
        "The line was matched although its SKU is no longer the one on the order. Nothing is held.",
        "Nothing, if the product was renamed on purpose: --action acknowledge.",
        "the two SKUs agree again",
        (Action.ACKNOWLEDGE,),
    ),
    Code.SKU_DUPLICATE: Entry(
        _I,
        _MID,
        "Two variants carry the same SKU, so stock and returns of one may be booked on the other.",
        "Give each variant a SKU of its own in the shop.",
        "each variant has a SKU of its own",
    ),
    Code.QUANTITY_EXCEEDS_ORDER: Entry(
        _C,
        _MID,
        "All returns of this order line together ask for more units than were ordered.",
        "Compare the returns named in the detail. Correct or cancel the one that is wrong in Swap; or let only the "
        "units that are left be credited with --action accept, or none of the line with --action deny.",
        "the quantities agree",
        (Action.ACCEPT, Action.DENY),
    ),
    Code.PO_NUMBER_MISSING: Entry(
        _F,
        _MID,
        "A pay-later order carries no purchase order number; the buyer's accounts department may refuse the credit.",
        "Ask the buyer. Enter it on the order, or here with --action type-po --value NUMBER, for all returns of the "
        "order. A credit note that was issued without it is named and stays as it is: void it and have it credited "
        "again if the buyer needs the number on the document.",
        "the order has a PO number, or one is typed in",
        (Action.TYPE_PO,),
    ),
    Code.PAYMENT_METHOD_UNKNOWN: Entry(
        _F,
        _HIGH,
        "The order was paid in a way that has no route, so nobody knows how to make the return good.",
        "Decide how such orders are made good: --action map --value credit_note or --action map --value gateway, for "
        "this and all further orders; of an order that names none, for all that name none. The configuration's "
        "payment_routes do the same, and win over what was mapped. "
        "A wrong one is taken back with swapsync mappings forget.",
        "the payment method has a route",
        (Action.MAP,),
    ),
    Code.CURRENCY_MISMATCH: Entry(
        _F,
        _HIGH,
        "The return and its order are in different currencies.",
        "Find out which is right and have it corrected in Swap or SparkLayer. If the buyer was made good by other "
        "means: --action deny, and nothing will be credited.",
        "both are in the same currency",
        (Action.DENY,),
    ),
    Code.AMOUNT_MISMATCH: Entry(
        _F,
        _LOW,
        "Swap's value of the return differs from the order's price for the same goods; or the gateway refunded more "
        "than what came is worth by the order. Nothing is held.",
        "Check for a fee, a changed price or a refund that is missing or too high, and correct it in Swap; or accept "
        "with --action accept.",
        "the figures agree within the tolerance",
        (Action.ACCEPT,),
    ),
    Code.GATEWAY_REFUND_ON_ACCOUNT: Entry(
        _F,
        _HIGH,
        "Swap shows money given back on a pay-later order, or on a return that was credited when its order was one, so "
        "the goods would be made good twice.",
        "Check the payment. --action credit if no money really went out, --action deny if it did.",
        "Swap no longer shows money given",
        (Action.CREDIT, Action.DENY),
    ),
    Code.REFUND_STUCK_IN_SWAP: Entry(
        _C,
        _MID,
        "Swap has parked the return (Needs Review or On Hold).",
        "Open the return in Swap, read its note, and process it. Nothing that is done here could release it there.",
        "the return moves on in Swap",
    ),
    Code.CREDIT_MISALIGNED: Entry(
        _F,
        _HIGH,
        "A credit note and its transaction on the SparkLayer order do not agree, or one of them is missing.",
        "Compare both. --action retry writes the transaction again as the credit note says, a voided one as not "
        "counting; --action accept if it is to stay as it is. Or correct it in SparkLayer.",
        "both agree",
        (Action.RETRY, Action.ACCEPT),
    ),
    Code.INSPECTION_OVERDUE: Entry(
        _O,
        _MID,
        "The goods were delivered, and nobody has inspected them within the site's limit.",
        "Find the parcel and record what is in it with swapsync inspect; what can't be found is missing. Nothing else "
        "tells where the goods are.",
        "the goods are inspected",
    ),
    Code.INSPECTION_SHORT: Entry(
        _O,
        _MID,
        "Fewer units came than were announced; or units were released for sale on Swap's word, and the warehouse then "
        "did not find them sellable.",
        "Search the parcel and the inbound area, and record what turns up with swapsync inspect; when they are really "
        "missing: --action accept. Take what is on sale and can't be sold off sale, in the shop and on the shelf, as "
        "swapsync takes nothing off sale by itself; then --action accept.",
        "it is decided, or all of them turn up",
        (Action.ACCEPT,),
    ),
    Code.INSPECTION_REVIEW: Entry(
        _F,
        _MID,
        "Goods came back damaged, without value, or under a type that is not simply credited: credit or not?",
        "Decide with --action credit or --action deny.",
        "it is decided, or the type is corrected in Swap to one that is simply credited",
        (Action.CREDIT, Action.DENY),
    ),
    Code.UNEXPECTED_ITEM: Entry(
        _O,
        _MID,
        "Something came that no line of the return announces.",
        "Keep it and ask the buyer. --action accept if it stays where it is; --action write-off if units booked in "
        "for the return were another item and are gone from inspection. One that was accepted takes the write-off, "
        "too, on the day they go.",
        "it is decided",
        (Action.ACCEPT, Action.WRITE_OFF),
        later=(Action.WRITE_OFF,),
    ),
    Code.RESTOCK_DRIFT: Entry(
        _O,
        _MID,
        "A location that only swapsync may write holds another level than the stock ledger says.",
        "Find out who changed it, and count. --action retry sets our level again; --action write-off books the "
        "difference, so that our ledger says what stands there.",
        "the levels agree",
        (Action.RETRY, Action.WRITE_OFF),
    ),
    Code.RESTOCK_UNCERTAIN: Entry(
        _O,
        _HIGH,
        "A write to sellable stock got no answer, and the level read afterwards proves neither that it arrived "
        "nor that it didn't.",
        "Count the SKU. --action written if the level is right, --action not-written to have it added again.",
        "it is decided",
        (Action.WRITTEN, Action.NOT_WRITTEN),
    ),
    Code.RETURN_CHANGED_AFTER_CREDIT: Entry(
        _F,
        _HIGH,
        "The return was changed in Swap after a credit note was issued for it, or after goods were counted for lines "
        "that it no longer has or that announce fewer units now; or its credit note was voided. Nothing more happens "
        "by itself.",
        "Compare the credit note with the return as it is now. --action accept lets the credit stand and goes on with "
        "the return as it is, which credits again what was voided. --action deny credits nothing more, and withdraws a "
        "credit that has not gone out yet or was refused. Either way goods move on: what was credited and counted for "
        "a line that is gone counts for the one that took its place; goods for which there is none, and units that "
        "are not announced any more, leave inspection; the others wait for the warehouse.",
        "the return is as it was when it was credited",
        (Action.ACCEPT, Action.DENY),
    ),
    Code.RETURN_VANISHED: Entry(
        _C,
        _MID,
        "The return is no longer in Swap.",
        "Ask who deleted it and whether goods are on their way. --action accept goes on with what is known of it, "
        "--action deny credits nothing; goods that came move by what the warehouse finds all the same.",
        "the return is back",
        (Action.ACCEPT, Action.DENY),
    ),
    Code.ORDER_CHANGED: Entry(
        _F,
        _MID,
        "The order was changed or cancelled after a return was matched to it.",
        "Compare the order with the credits already given for it. --action accept goes on with the order as it is now, "
        "a cancelled one by what it was sold for; --action deny credits nothing more, and withdraws a credit that has "
        "not gone out yet or was refused. Either way goods that came move by what the warehouse finds.",
        "the order and its credits agree again",
        (Action.ACCEPT, Action.DENY),
    ),
    Code.UNKNOWN_VALUE: Entry(
        _I,
        _MID,
        "A status, type or condition came that swapsync has no meaning for; the return waits.",
        "Say what the word means with --action map --value MEANING, for this and all further returns, or correct it in "
        "Swap. A wrong meaning is taken back with swapsync mappings forget. A figure that can't be read can only be "
        "corrected in Swap.",
        "the value is one that is known",
        (Action.MAP,),
    ),
    Code.MALFORMED_RECORD: Entry(
        _I,
        _MID,
        "A record could not be read. It is kept, and its neighbours were processed.",
        "Look at the record and have its source corrected. If it is of no account: --action acknowledge, until another "
        "version of it comes.",
        "a readable version arrives",
        (Action.ACKNOWLEDGE,),
    ),
    Code.DELIVERY_FAILED: Entry(
        _I,
        _HIGH,
        "Something that was decided could not be delivered: the other side refused it.",
        "Read the answer, mend the cause, then retry with --action retry or swapsync outbox retry. If it is not to be "
        "delivered any more: --action write-off. The units of a restock leave our books with it, and inspection in "
        "SparkLayer: whoever wants them sold counts them in there. A credit note can't be written off; if the buyer "
        "was made good by other means, --action deny --note WHY withdraws one that was refused and surely had no "
        "effect, and it is not credited again by itself. So does who denies what its return is held by.",
        "it is delivered",
        (Action.RETRY, Action.WRITE_OFF, Action.DENY),
    ),
    Code.APPROVAL_NEEDED: Entry(
        _F,
        _MID,
        "With a credit, the credits of its return come to more than the site lets out without somebody looking at it; "
        "or it was denied for a reason that is gone by now. Goods move on.",
        "Check the return and its order, and whether the buyer was made good by other means. Let it out with "
        "--action credit, refuse it with --action deny.",
        "it is approved or refused, is worth less by now, or is held for another reason",
        (Action.CREDIT, Action.DENY),
    ),
}

RULE: dict[Code, int] = {
    Code.ORPHANED_RETURN: 8,
    Code.CUSTOMER_MISMATCH: 7,
    Code.SKU_NOT_ON_ORDER: 8,
    Code.SKU_CHANGED: 8,
    Code.SKU_DUPLICATE: 8,
    Code.QUANTITY_EXCEEDS_ORDER: 9,
    Code.PO_NUMBER_MISSING: 5,
    Code.PAYMENT_METHOD_UNKNOWN: 2,
    Code.CURRENCY_MISMATCH: 4,
    Code.AMOUNT_MISMATCH: 4,
    Code.GATEWAY_REFUND_ON_ACCOUNT: 2,
    Code.REFUND_STUCK_IN_SWAP: 1,
    Code.CREDIT_MISALIGNED: 3,
    Code.INSPECTION_OVERDUE: 1,
    Code.INSPECTION_SHORT: 1,
    Code.INSPECTION_REVIEW: 1,
    Code.UNEXPECTED_ITEM: 1,
    Code.RESTOCK_DRIFT: 6,
    Code.RESTOCK_UNCERTAIN: 6,
    Code.RETURN_CHANGED_AFTER_CREDIT: 3,
    Code.RETURN_VANISHED: 9,
    Code.ORDER_CHANGED: 3,
    Code.UNKNOWN_VALUE: 9,
    Code.MALFORMED_RECORD: 9,
    Code.DELIVERY_FAILED: 3,
    Code.APPROVAL_NEEDED: 2,
}
"""The rule of worker.md, section 4, that each kind of problem comes from."""
