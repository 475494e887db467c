import re
from datetime import timedelta

import pytest

from swapsync.domain.catalogue import CATALOGUE, RULE, Action, Code, Owner, Severity


def test_every_code_has_an_entry_in_the_order_of_the_list() -> None:
    assert list(CATALOGUE) == list(Code)


@pytest.mark.parametrize("code", Code)
def test_a_codes_name_is_what_people_and_scripts_read(code: Code) -> None:
    assert code.value == code.name
    assert re.fullmatch(r"[A-Z]+(_[A-Z]+)+", code)


@pytest.mark.parametrize("code", Code)
def test_an_entry_says_in_whole_sentences_what_it_means_and_what_to_do(code: Code) -> None:
    entry = CATALOGUE[code]
    for sentence in (entry.meaning, entry.remedy):
        assert sentence[0].isupper()
        assert sentence[-1] in ".?"
        assert len(sentence.split()) >= 5
    assert entry.closes
    assert not entry.closes.endswith(".")


@pytest.mark.parametrize("code", Code)
def test_an_entry_names_no_action_twice(code: Code) -> None:
    actions = CATALOGUE[code].actions
    assert len(set(actions)) == len(actions)


@pytest.mark.parametrize("code", Code)
def test_the_actions_that_the_words_speak_of_are_the_actions_there_are(code: Code) -> None:
    entry = CATALOGUE[code]
    spoken_of = set(re.findall(r"--action ([a-z-]+)", entry.remedy))
    assert spoken_of == {action.value for action in entry.actions}


def test_every_action_belongs_to_some_code() -> None:
    assert {action for entry in CATALOGUE.values() for action in entry.actions} == set(Action)


@pytest.mark.parametrize("code", [code for code in Code if CATALOGUE[code].closes == "it is decided"])
def test_what_closes_by_a_decision_only_offers_one(code: Code) -> None:
    assert CATALOGUE[code].actions


@pytest.mark.parametrize(
    ("code", "owner"),
    [
        *[
            (code, Owner.FINANCE)
            for code in (
                Code.PO_NUMBER_MISSING,
                Code.PAYMENT_METHOD_UNKNOWN,
                Code.CURRENCY_MISMATCH,
                Code.AMOUNT_MISMATCH,
                Code.GATEWAY_REFUND_ON_ACCOUNT,
                Code.CREDIT_MISALIGNED,
                Code.INSPECTION_REVIEW,
                Code.RETURN_CHANGED_AFTER_CREDIT,
                Code.ORDER_CHANGED,
            )
        ],
        *[
            (code, Owner.OPERATIONS)
            for code in (
                Code.INSPECTION_OVERDUE,
                Code.INSPECTION_SHORT,
                Code.UNEXPECTED_ITEM,
                Code.RESTOCK_DRIFT,
                Code.RESTOCK_UNCERTAIN,
            )
        ],
        *[
            (code, Owner.CUSTOMER_SERVICE)
            for code in (
                Code.ORPHANED_RETURN,
                Code.CUSTOMER_MISMATCH,
                Code.SKU_NOT_ON_ORDER,
                Code.QUANTITY_EXCEEDS_ORDER,
                Code.REFUND_STUCK_IN_SWAP,
                Code.RETURN_VANISHED,
            )
        ],
        *[
            (code, Owner.INTEGRATION)
            for code in (
                Code.SKU_CHANGED,
                Code.SKU_DUPLICATE,
                Code.UNKNOWN_VALUE,
                Code.MALFORMED_RECORD,
                Code.DELIVERY_FAILED,
            )
        ],
    ],
)
def test_each_code_belongs_to_the_team_that_can_act(code: Code, owner: Owner) -> None:
    assert CATALOGUE[code].owner is owner


def test_the_more_urgent_the_sooner_it_is_due() -> None:
    due = {entry.severity: entry.due_after for entry in CATALOGUE.values()}
    assert due == {
        Severity.CRITICAL: timedelta(hours=8),
        Severity.WARNING: timedelta(days=2),
        Severity.INFO: timedelta(days=14),
    }


@pytest.mark.parametrize("code", [Code.SKU_CHANGED, Code.AMOUNT_MISMATCH])
def test_what_only_informs_is_no_more_than_information(code: Code) -> None:
    assert CATALOGUE[code].severity is Severity.INFO


@pytest.mark.parametrize("code", Code)
def test_every_code_belongs_to_one_of_the_twelve_rules(code: Code) -> None:
    assert 1 <= RULE[code] <= 12
