"""The warehouse's CSV as people really send it, through the command: each wrong row named, each good one taken once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from swapsync.jobs.workplace import Workplace
from swapsync.sandbox.world import World, return_line
from swapsync.store.cases import findings
from tests.conftest import Answer, Ask, Desk, run
from tests.scenario import credited, returned, sold

HEADER = b"rma,sku,condition,quantity\n"
Load = Callable[[bytes], dict[str, Any]]


@pytest.fixture
def place(desk: Desk, world: World) -> Workplace:
    """Return R1 of 4 MUG, delivered and staged."""
    sold(world)
    returned(world)
    opened = desk()
    run(opened)
    return opened


@pytest.fixture
def command(place: Workplace, ask_store: Ask, database_url: str, tmp_path: Path) -> Callable[..., Answer]:
    """``swapsync inspect --file`` on a file of these bytes."""

    def inspect(content: bytes, *options: str) -> Answer:
        (tmp_path / "findings.csv").write_bytes(content)
        return ask_store(database_url, "inspect", "--file", "findings.csv", *options)

    return inspect


@pytest.fixture
def load(command: Callable[..., Answer]) -> Load:
    return lambda content: command(content, "--json").json


def counts(intake: dict[str, Any]) -> tuple[int, int, int]:
    return len(intake["taken"]), len(intake["repeated"]), len(intake["refused"])


def refused(intake: dict[str, Any]) -> dict[int, str]:
    """Reason by line of the file."""
    return {row["row"]: row["reason"] for row in intake["refused"]}


def units(place: Workplace) -> list[tuple[str, int]]:
    with place.store.reading() as connection:
        rows = connection.execute(select(findings.c.condition, findings.c.quantity).order_by(findings.c.id)).all()
    return [(row.condition, row.quantity) for row in rows]


def test_each_wrong_row_is_named_with_line_and_reason_and_the_good_ones_are_taken(load: Load, place: Workplace) -> None:
    intake = load(
        HEADER + b"R1,MUG,sellable,-1\n"
        b"R1,MUG,sellable,1.5\n"
        b"R1,MUG,sellable,\n"
        b"R1,MUG,sellable,0\n"
        b"R1,MUG,sellable," + b"9" * 5000 + b"\n"
        b"R1,MUG,sellable,\xb2\n"
        b"R9,MUG,sellable,1\n"
        b"R1,CUP,sellable,1\n"
        b"R1,MUG,sch\xf6n,1\n"
        b"R1,MUG,sellable,5\n"
        b"R1,MUG\n"
        b"R1,MUG,sellable,1,5\n"
        b'R1,MUG,"sellable,1\n'
        b"R1,M\x00UG,sellable,1\n"
        b"\n"
        b"R1,MUG,sellable,3\n"
        b"R1,MUG,damaged,2\n"
    )

    assert units(place) == [("sellable", 3)]
    assert [row["row"] for row in intake["taken"]] == [17]
    reasons = refused(intake)
    assert list(reasons) == [*range(2, 16), 18]
    for line in (2, 3, 4, 5, 7):
        assert "is not a whole number above zero" in reasons[line]
    assert "'-1'" in reasons[2]
    assert "'1.5'" in reasons[3]
    assert "R9" in reasons[8]
    assert "no line with SKU CUP" in reasons[9]
    assert "'schön'" in reasons[10]
    assert "5 x MUG is more than RMA R1 still expects: 4" in reasons[11]
    assert "condition ''" in reasons[12]
    assert reasons[13] == "5 cells under a header of 4"
    assert "can't be read" in reasons[14]
    assert "zero byte" in reasons[15]
    assert "2 x MUG is more than RMA R1 still expects: 1" in reasons[18]


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (b"", "rma, sku, condition, quantity"),
        (b"rma,sku,quantity\nR1,MUG,1\n", "condition"),
        (b"R1,MUG,sellable,1\n", "rma, sku, condition, quantity"),
        (b"rma,sku,condition,quantity,sku\nR1,MUG,sellable,1,CUP\n", "sku twice"),
        (b'rma,"sku,condition,quantity\nR1,MUG,sellable,1\n', "line 1"),
    ],
)
def test_a_wrong_header_is_named_and_nothing_is_taken(
    command: Callable[..., Answer], place: Workplace, content: bytes, names: str
) -> None:
    answer = command(content)

    assert (answer.code, answer.out) == (2, "")
    assert len(answer.err.splitlines()) == 1
    assert "findings.csv" in answer.err
    assert names in answer.err
    assert units(place) == []


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + HEADER + b"R1,MUG,sellable,4\n",
        b"\xef\xbb\xbfRMA;SKU;Condition;Quantity;Note\r\nR1;MUG;Sellable;4;sch\xc3\xb6n, ganz\r\n",
        b"rma\tsku\tcondition\tquantity\rR1\tMUG\tsellable\t4\r",
        b"note,quantity,condition,sku,rma\nsch\xf6n,4,sellable,MUG,R1\n",
        HEADER + b'"R1","MUG","sellable","4",,,\n,,,,,,\n',
        HEADER.replace(b"\n", b",reference\n") + b" R1 , MUG , SELLABLE , 04 \n",
    ],
    ids=["byte order mark", "Excel in Europe", "tabs", "Latin-1", "trailing commas", "spaces"],
)
def test_a_file_is_read_as_spreadsheets_write_it(load: Load, place: Workplace, content: bytes) -> None:
    assert counts(load(content)) == (1, 0, 0)
    assert units(place) == [("sellable", 4)]


def test_a_fraction_with_a_comma_is_refused_and_not_cut_off(load: Load, place: Workplace) -> None:
    assert list(refused(load(HEADER.replace(b",", b";") + b"R1;MUG;sellable;1,5\n"))) == [2]
    assert units(place) == []


def test_a_file_loaded_again_in_whatever_form_counts_once(load: Load, place: Workplace) -> None:
    monday = b"rma,sku,condition,quantity\nR1,MUG,sellable,1\nR1,MUG,sellable,1\n"
    resaved = (
        b"\xef\xbb\xbfRMA;SKU;Condition;Quantity\r\nR1;MUG;Damaged;1\r\nR1;MUG;Sellable;01\r\nR1;MUG;Sellable;1\r\n"
    )

    assert [counts(load(content)) for content in (monday, monday, resaved, resaved)] == [
        (2, 0, 0),
        (0, 2, 0),
        (1, 2, 0),
        (0, 3, 0),
    ]
    assert units(place) == [("sellable", 1), ("sellable", 1), ("damaged", 1)]


def test_a_row_that_was_refused_is_taken_once_its_cause_is_gone(load: Load, place: Workplace, world: World) -> None:
    content = HEADER + b"R2,MUG,sellable,1\nR1,MUG,sellable,1\n"
    assert counts(load(content)) == (1, 0, 1)

    returned(world, return_id="ret-2", rma_number="R2", lines=[return_line("MUG", 1, line_item_id="71")])
    run(place)

    assert counts(load(content)) == (1, 1, 0)
    assert units(place) == [("sellable", 1), ("sellable", 1)]


def test_a_reference_tells_equal_findings_apart_and_stands_for_one(load: Load, place: Workplace) -> None:
    header = b"rma,sku,condition,quantity,reference\n"
    assert counts(load(header + b"R1,MUG,sellable,1,scan 1\nR1,MUG,sellable,1,scan 1\n")) == (1, 1, 0)
    assert counts(load(header + b"R1,MUG,sellable,1,scan 2\n")) == (1, 0, 0)
    assert units(place) == [("sellable", 1), ("sellable", 1)]


def test_what_was_taken_is_credited_and_restocked_once(load: Load, place: Workplace, world: World) -> None:
    content = HEADER + b"R1,MUG,sellable,3\nR1,MUG,sellable,2\n"
    for _ in range(2):
        load(content)
        run(place)

    assert credited(world) == ["-36.00"]
    assert world.sparklayer.level("MUG", "default") == 3


def test_a_refused_row_is_shown_without_harm_to_the_terminal(command: Callable[..., Answer]) -> None:
    answer = command(HEADER + b"R1,\x1b[2JMUG,sellable,1\nR1,MUG,sellable,1\n")

    assert answer.code == 0
    assert "\x1b" not in answer.out
    assert "refused, line 2: " in answer.out
    assert "taken: RMA R1, 1 x MUG sellable" in answer.out


def test_a_finding_names_its_line_by_the_id_that_returns_show_prints(
    place: Workplace, ask_store: Ask, database_url: str
) -> None:
    [line] = ask_store(database_url, "returns", "show", "R1", "--json").json["lines"]
    assert line["line_id"] in ask_store(database_url, "returns", "show", "R1").out
    typed = ["inspect", "R1", "--sku", "MUG", "--condition", "sellable", "--quantity", "1", "--line"]
    wrong = ask_store(database_url, *typed, "nowhere")
    assert wrong.code == 2
    assert f"RMA R1 has no line nowhere with SKU MUG, but {line['line_id']}" in wrong.err
    [taken] = ask_store(database_url, *typed, line["line_id"], "--json").json["taken"]
    assert (taken["line_id"], units(place)) == (line["line_id"], [("sellable", 1)])


def test_a_file_and_a_line_can_not_go_together(command: Callable[..., Answer]) -> None:
    answer = command(HEADER, "--line", "1")
    assert (answer.code, "--file and --line can't go together" in answer.err) == (2, True)
