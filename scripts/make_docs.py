"""Writes the pages that are generated: docs/commands.md, docs/exceptions.md and docs/settings.md.

    python scripts/make_docs.py

Each says what the code says: the commands' own help, the exception catalogue, the descriptions of the settings.
"""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from enum import Enum
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, get_args, get_type_hints

from typer import Typer
from typer.models import ArgumentInfo, OptionInfo

import swapsync.domain.catalogue
from swapsync.cli import app
from swapsync.domain.catalogue import CATALOGUE, Code, Entry, Owner
from swapsync.settings import settings_reference

ROOT = Path(__file__).parents[1]


def pages() -> dict[str, str]:
    """Every generated page: its path from the root of the repository, and what belongs in it."""
    return {
        "docs/commands.md": commands_page(),
        "docs/exceptions.md": exceptions_page(),
        "docs/settings.md": settings_reference(),
    }


# -- commands --------------------------------------------------------------------------------------------------------


def commands_page() -> str:
    """Every command with its arguments and options."""
    described = list(_commands(app, "swapsync"))
    contents = [f"- [`{path}`](#{path.replace(' ', '-')}): {_paragraphs(command)[0]}" for path, command in described]
    sections = [_section(path, command) for path, command in described]
    return "\n".join([_COMMANDS_HEAD, *contents, *sections, ""])


_COMMANDS_HEAD = """\
# Commands

Generated from the commands themselves (`make docs`).

`--json` prints one JSON document on stdout and nothing else there; the log and progress go to stderr. Money is a
decimal string, a moment is ISO 8601 in UTC. Settings come from the environment, `.env` and the TOML file
([settings.md](settings.md)).

| exit code | means |
| --- | --- |
| 0 | done, also when returns are held, exceptions are open or a single delivery gave up |
| 1 | a job or the store failed, or the doctor found a problem |
| 2 | wrong usage or settings; one line says what |
| 3 | differences were found under `reconcile --fail-on-difference`, or `audit-trail verify` found the trail touched |
| 130 | interrupted |
"""


def _commands(group: Typer, path: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    """(what to type, the function behind it) of every command of a group and of the groups in it."""
    for command in group.registered_commands:
        if command.callback:
            yield f"{path} {command.name or command.callback.__name__.replace('_', '-')}", command.callback
    for within in group.registered_groups:
        if within.typer_instance:
            yield from _commands(within.typer_instance, f"{path} {within.name}")


def _section(path: str, command: Callable[..., Any]) -> str:
    hints = get_type_hints(command, include_extras=True)
    parameters = [_Parameter(each, *get_args(hints[each.name])) for each in signature(command).parameters.values()]
    usage = " ".join([path, *(each.spelled for each in parameters if each.required or each.positional)])
    listed = "\n".join(f"- `{each.spelled}`: {each.meaning}" for each in parameters)
    paragraphs = [f"\n## {path}", *([f"`{usage}`"] if usage != path else []), *_paragraphs(command)]
    return "\n\n".join([*paragraphs, *([listed] if listed else [])])


class _Parameter:
    """An argument or option, as it is typed and what it means, from its annotation."""

    def __init__(self, parameter: Parameter, kind: Any, info: ArgumentInfo | OptionInfo) -> None:
        kinds = get_args(kind) or (kind,)
        is_flag = bool in kinds
        self.positional = isinstance(info, ArgumentInfo)
        self.required = parameter.default is Parameter.empty
        declared = [text for text in (info.default, *(info.param_decls or ())) if isinstance(text, str)]
        names = " / ".join(declared).replace("/--", " / --") or f"--{parameter.name.replace('_', '-')}"
        enums = [each for each in kinds if isinstance(each, type) and issubclass(each, Enum)]
        choices = "|".join(str(choice.value) for enum in enums for choice in enum)
        value = info.metavar or choices or parameter.name.upper()
        self.spelled = value if self.positional else names if is_flag else f"{names} {value}"
        self.meaning = str(info.help)
        if self.required and not self.positional:
            self.meaning += " Required."
        elif not is_flag and parameter.default not in (Parameter.empty, None, ""):
            self.meaning += f" Default: `{parameter.default}`."


def _paragraphs(command: Callable[..., Any]) -> list[str]:
    """The paragraphs of a command's help, each on one line."""
    return [" ".join(paragraph.split()) for paragraph in (command.__doc__ or "").split("\n\n")]


# -- exceptions ------------------------------------------------------------------------------------------------------


def exceptions_page() -> str:
    """Every exception code, by owner."""
    idle = _codes_that_nothing_raises()
    parts = [_EXCEPTIONS_HEAD]
    for owner in Owner:
        parts.append(f"## For {_plain(owner)}\n\n")
        parts += [_exception(code, entry, code in idle) for code, entry in CATALOGUE.items() if entry.owner is owner]
    return "".join(parts).rstrip() + "\n"


_EXCEPTIONS_HEAD = """\
# Exceptions

Generated from the catalogue in `swapsync/domain/catalogue.py` (`make docs`).

An exception is something that a person must see. `swapsync exceptions list --owner TEAM` shows a team's open ones,
`exceptions show ID` what to do, and `exceptions resolve ID --action ACTION` does it. One cause is one exception,
however often it is met, and it closes by itself when its cause is gone. A decision holds as long as the exception says
what you read: when the facts change, you are asked again. `--seen N`, which every printed command carries, says how far
the audit trail went when you looked: what changed since is refused, with what changed. To decide all open ones of a
kind, `exceptions resolve --code CODE --action ACTION` says how many there are, and the `--yes --seen N` that does it.

"""


def _exception(code: Code, entry: Entry, idle: bool) -> str:
    actions = ", ".join(f"`{action}`" for action in entry.actions) or "none; it closes when the facts are right"
    note = "\n**Reserved:** this version does not look for it yet.\n" if idle else ""
    return (
        f"### {code}\n\n{entry.meaning}\n{note}\n"
        f"- What to do: {entry.remedy}\n"
        f"- Actions: {actions}\n"
        f"- Severity: {entry.severity}; due within {_duration(entry.due_after)}\n"
        f"- Closes when {entry.closes}.\n\n"
    )


def _codes_that_nothing_raises() -> set[Code]:
    """Codes that no module but the catalogue names."""
    package = ROOT / "swapsync"
    catalogue = Path(swapsync.domain.catalogue.__file__).resolve()
    sources = [file.read_text("utf-8") for file in package.rglob("*.py") if file.resolve() != catalogue]
    named = set(re.findall(r"\bCode\.([A-Z_]+)\b", "\n".join(sources)))
    return {code for code in Code if code.name not in named}


def _plain(word: str) -> str:
    return word.replace("_", " ")


def _duration(span: timedelta) -> str:
    hours = span // timedelta(hours=1)
    return f"{hours // 24} days" if hours % 24 == 0 else f"{hours} hours"


def main() -> None:
    """Writes each page that is stale, and says which."""
    for path, text in pages().items():
        file = ROOT / path
        if not file.exists() or file.read_text("utf-8") != text:
            file.write_text(text, "utf-8")
            print(f"wrote {path}")


if __name__ == "__main__":
    main()
