"""Tables and words for people."""

import pytest

from swapsync.cli.output import counted, print_table


def test_a_table_without_rows_is_its_title_alone(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("Nothing would be written outside", ("kind", "target", "what"), [])

    assert capsys.readouterr().out == "Nothing would be written outside\n\n"


def test_a_column_in_which_no_row_says_anything_is_left_out_and_a_nought_says_something(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table("Runs", ("job", " sent", "error", "note"), [("poll", 0, None, ""), ("push", 0, "", "")])

    [title, header, _, *rows] = capsys.readouterr().out.split("\n")
    assert (title, header.split()) == ("Runs", ["job", "sent"])
    assert [row.split() for row in rows if row] == [["poll", "0"], ["push", "0"]]


def test_what_is_counted_agrees_with_its_number() -> None:
    assert [counted(number, "effect") for number in (0, 1, 2)] == ["0 effects", "1 effect", "2 effects"]
    assert counted(2, "entry", "entries") == "2 entries"
