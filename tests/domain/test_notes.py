import pytest

from swapsync.domain import notes
from swapsync.domain.notes import Milestone


@pytest.mark.parametrize("milestone", Milestone)
def test_a_token_names_return_milestone_and_number(milestone: Milestone) -> None:
    assert notes.token("R1", milestone, 2) == f"[swap:R1:{milestone.value}:2]"


def test_a_milestone_that_happens_once_has_number_one() -> None:
    assert notes.token("R1", Milestone.RECEIVED) == "[swap:R1:received:1]"


@pytest.mark.parametrize(
    ("milestone", "body"),
    [
        (Milestone.AUTHORISED, "Return RMA-1 authorised. [swap:R1:authorised:1]"),
        (Milestone.RECEIVED, "Return RMA-1 received at the warehouse. [swap:R1:received:1]"),
        (Milestone.CREDITED, "Return RMA-1 credited. [swap:R1:credited:1]"),
        (Milestone.REFUNDED, "Return RMA-1 refunded through the payment gateway. [swap:R1:refunded:1]"),
        (Milestone.CANCELLED, "Return RMA-1 cancelled. [swap:R1:cancelled:1]"),
        (Milestone.EXPIRED, "Return RMA-1 expired. [swap:R1:expired:1]"),
    ],
)
def test_a_note_says_which_return_reached_what_and_ends_with_its_token(milestone: Milestone, body: str) -> None:
    assert notes.body("RMA-1", "R1", milestone) == body


def test_a_credit_note_says_more_about_itself() -> None:
    body = notes.body("RMA-1", "R1", Milestone.CREDITED, 2, about="credit note CN-000002, 48.00 GBP, PO PO-77")
    assert body == "Return RMA-1 credited: credit note CN-000002, 48.00 GBP, PO PO-77. [swap:R1:credited:2]"


def test_a_note_stays_on_one_line_whatever_it_is_about() -> None:
    body = notes.body("RMA\n1", "R1", Milestone.CREDITED, about="PO\r\n 77\tB")
    assert body == "Return RMA 1 credited: PO 77 B. [swap:R1:credited:1]"


def test_a_credit_is_known_by_its_return_and_its_number_within_it() -> None:
    assert notes.credit_platform_id("R1", 3) == "swap:R1:credit:3"
