"""The documents say what the code says, and nothing that they point to is missing."""

import ast
import re
import runpy
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from swapsync.cli import app
from swapsync.domain.catalogue import Code, Owner
from swapsync.settings import HttpSettings, Settings, SiteSettings

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = ("docs/commands.md", "docs/exceptions.md", "docs/settings.md")
DECISIONS = sorted((DOCS / "decisions").glob("[0-9]*.md"))
DOCUMENTS = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
MODULES = sorted((ROOT / "swapsync").rglob("*.py"))


def _commands(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


COMMANDS = dict(_commands(get_command(app), "swapsync"))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# -- generated pages -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    pages: Callable[[], dict[str, str]] = runpy.run_path(str(ROOT / "scripts/make_docs.py"))["pages"]
    return pages()


def test_every_generated_page_is_known_here(generated: dict[str, str]) -> None:
    assert sorted(generated) == sorted(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_a_generated_page_is_as_the_code_would_write_it(generated: dict[str, str], page: str) -> None:
    assert (ROOT / page).read_text("utf-8") == generated[page], f"{page} is stale: run make docs"


def test_every_command_and_option_has_its_place_in_the_reference() -> None:
    sections = dict(re.findall(r"^## (swapsync .+?)\n(.*?)(?=^## |\Z)", _read("docs/commands.md"), re.M | re.S))
    assert sections.keys() == COMMANDS.keys()
    for path, command in COMMANDS.items():
        for parameter in command.params:
            assert parameter.help, f"{path}: {parameter.name} says nothing about itself"
            assert parameter.help in sections[path]
            for option in (name for name in (*parameter.opts, *parameter.secondary_opts) if name.startswith("-")):
                assert re.search(rf"`[^`]*{option}\b[^`]*`", sections[path]), f"{path} {option}"


@pytest.mark.parametrize("group", ["swapsync", *sorted({path.rsplit(" ", 1)[0] for path in COMMANDS} - {"swapsync"})])
def test_each_list_of_commands_fits_a_narrow_terminal_and_says_what_a_command_does(group: str) -> None:
    answer = CliRunner().invoke(app, [*group.split()[1:], "--help"], terminal_width=80, prog_name="swapsync")

    listed = re.findall(r"^  ([a-z-]+)  +(.+)$", answer.stdout.split("Commands:")[1], re.M)
    assert listed
    for name, says in listed:
        assert re.fullmatch(r"\S.*[^.]\.", says), f"{group} {name} is cut off: {says}"
        if f"{group} {name}" in COMMANDS:
            assert says.split()[0].endswith("s"), f"{group} {name} begins with {says.split()[0]}: say what it does"


def test_every_setting_has_its_row() -> None:
    keys = {f"http_{name}" for name in HttpSettings.model_fields}
    keys |= SiteSettings.model_fields.keys() - {"slug", "http"}
    keys |= Settings.model_fields.keys() - {"sites", "warnings"}
    page = _read("docs/settings.md")
    for key in keys:
        assert re.search(rf"^\| .*`(SWAPSYNC_{key.upper()}|{key})`", page, re.M), key


def test_every_exception_code_has_its_section() -> None:
    assert sorted(re.findall(r"^### (.+)$", _read("docs/exceptions.md"), re.M)) == sorted(Code)


def test_the_day_of_each_owner_of_exceptions_is_told() -> None:
    assert re.findall(r"^\*\*.+\*\* \(`--owner (\w+)`\)$", _read("docs/operations.md"), re.M) == [
        Owner.FINANCE,
        Owner.OPERATIONS,
        Owner.CUSTOMER_SERVICE,
        Owner.INTEGRATION,
    ]


# -- written pages ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_no_link_of_a_document_is_dead(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text("utf-8")):
        path, _, anchor = target.partition("#")
        if "://" in path:
            continue
        linked = (document.parent / path).resolve() if path else document
        assert linked.exists(), f"{target} leads nowhere"
        if anchor:
            assert anchor in _anchors(linked), f"{linked.name} has no heading {anchor}"


def _anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", document.read_text("utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_document_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    todo = [ROOT / "README.md"]
    while todo:
        document = todo.pop()
        if document in reached or document not in DOCUMENTS:
            continue
        reached.add(document)
        for target in re.findall(r"\]\(([^)\s#]+)[^)]*\)", document.read_text("utf-8")):
            if "://" not in target:
                todo.append((document.parent / target).resolve())
    assert [_name(document) for document in DOCUMENTS if document not in reached] == []


def test_the_commands_that_documents_tell_people_to_type_exist() -> None:
    known = COMMANDS.keys() | {path.rsplit(" ", 1)[0] for path in COMMANDS}
    for document in DOCUMENTS:
        if document.name == "CHANGELOG.md":  # it also names what is still missing
            continue
        typed = re.findall(r"`(?:[\w/.]*/)?(swapsync [a-z-]+(?: [a-z]+)?)\b", document.read_text("utf-8"))
        for words in typed:
            assert words in known or words.rsplit(" ", 1)[0] in known, f"{document.name}: {words}"


def test_the_picture_is_whole_and_needs_nothing_from_elsewhere() -> None:
    picture = ElementTree.parse(DOCS / "overview.svg").getroot()
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    values = [value for element in picture.iter() for value in element.attrib.values()]
    assert not [value for value in values if "://" in value]


def test_a_decision_record_is_short_numbered_and_listed() -> None:
    index = _read("docs/decisions/README.md")
    assert [int(record.name[:4]) for record in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    for record in DECISIONS:
        lines = record.read_text("utf-8").splitlines()
        assert len(lines) <= 14, f"{record.name} has {len(lines)} lines"
        parts = re.findall(r"^\*\*(\w+)\.\*\*", "\n".join(lines), re.M)
        assert parts == ["Context", "Decision", "Consequence"]
        number, title = lines[0].removeprefix("# ").split(" ", 1)
        assert f"| [{number}]({record.name}) | {title} |" in index


def test_the_changelog_tells_of_this_version() -> None:
    version = tomllib.loads(_read("pyproject.toml"))["project"]["version"]
    assert re.search(rf"^## {re.escape(version)}\b", _read("CHANGELOG.md"), re.M)


def test_the_licence_is_the_one_that_the_package_declares() -> None:
    assert tomllib.loads(_read("pyproject.toml"))["project"]["license"] == "Apache-2.0"
    assert re.match(r"\s*Apache License\s+Version 2\.0, January 2004\s", _read("LICENSE"))


# -- the code about itself -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", MODULES, ids=_name)
def test_a_module_and_its_public_functions_and_classes_say_what_they_are(module: Path) -> None:
    tree = ast.parse(module.read_text("utf-8"))
    assert ast.get_docstring(tree), "the module says nothing"
    silent = [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


def test_no_file_names_the_home_of_one_machine() -> None:
    homes = re.compile(rb"/(?:root|home)/")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    files = [ROOT / name.decode() for name in listed.split(b"\0") if name]
    assert [_name(file) for file in files if file.is_file() and homes.search(file.read_bytes())] == []


def _read(path: str) -> str:
    return (ROOT / path).read_text("utf-8")


# -- the table of rules ----------------------------------------------------------------------------------------------


def test_every_rule_of_the_table_lives_where_it_says_and_has_its_test() -> None:
    rows = _rules()
    assert {number.split(".")[0] for number in rows} == {*map(str, range(1, 13)), "T"}
    for number, (places, tests) in rows.items():
        assert places, f"{number} lives nowhere"
        assert tests, f"{number} has no test"
        for place in places:
            assert _has_place(place), f"{number}: there is no {place}"
        for test in tests:
            file, _, name = test.partition("::")
            assert name in _top_level(ROOT / file), f"{number}: there is no {test}"


def test_every_promise_and_every_fault_of_the_reliability_page_has_its_test() -> None:
    rows = re.findall(r"^\| (.+) \| .+ \| (.+) \|$", _read("docs/reliability.md"), re.M)
    told = {what: re.findall("`(.+?)`", tests) for what, tests in rows if "tests of its own" not in tests}
    assert len(told) > 30
    for what, tests in told.items():
        if what in ("---", "what") or what.startswith("`make"):
            continue
        assert tests, f"{what}: no test"
        for test in tests:
            file, _, name = test.partition("::")
            assert (ROOT / file).is_file(), f"{what}: there is no {file}"
            assert not name or name in _top_level(ROOT / file), f"{what}: there is no {test}"


def _rules() -> dict[str, tuple[list[str], list[str]]]:
    """What each row of docs/rules.md names: where the rule lives, and its tests."""
    rows = re.findall(r"^\| ([0-9T]+\.\d+) \| .+ \| (.+) \| (.+) \|$", _read("docs/rules.md"), re.M)
    assert len({number for number, _, _ in rows}) == len(rows), "a number stands twice"
    return {number: (re.findall("`(.+?)`", places), re.findall("`(.+?)`", tests)) for number, places, tests in rows}


def _has_place(place: str) -> bool:
    """Whether ``package.module.name`` or ``package.module.Class.method`` is defined in the source."""
    package, module, *names = place.split(".")
    known = _top_level(ROOT / "swapsync" / package / f"{module}.py")
    return ".".join(names) in known


@cache
def _top_level(file: Path) -> set[str]:
    """Functions, classes, the methods of classes as ``Class.method``, and names that are assigned."""
    known = set()
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            known.add(node.name)
        if isinstance(node, ast.ClassDef):
            known |= {f"{node.name}.{part.name}" for part in node.body if isinstance(part, ast.FunctionDef)}
        if isinstance(node, ast.Assign):
            known |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return known
