"""Complete the names of recipes, datasets, runs and champion lines for the shell.

A shell calls these functions at each press of the Tab key. They therefore read names of files, and import nothing that
is not in the standard library except Click. A completion never fails: it then offers nothing.
"""
# ruff: noqa: PLC0415  # late imports: a completion of something else needs none of them

import tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from tasks.safety.imports import PROJECT

_BUILTIN = Path(PROJECT, "tasks", "config", "builtin")
_RECORDS = ("run.json", "study.json")  # a folder with one of these files is a finished run or study
_LAST = "last"

_Item = CompletionItem[str]
Complete = Callable[[click.Context, click.Parameter, str], list[_Item]]


def _completing(names: Callable[[click.Context], Iterable[_Item]], *, files: bool = False) -> Complete:
    """Return a completion of the given names, and of paths if no name fits and `files` is set."""

    def complete(context: click.Context, _parameter: click.Parameter, word: str) -> list[_Item]:
        found: list[_Item] = []
        with suppress(Exception):  # an unreadable folder, or a root that can't be used
            found = [item for item in names(context) if item.value.startswith(word)]
        return found or ([CompletionItem(word, type="file")] if files else [])

    return complete


def _built_in(folder: str, about: str) -> Iterator[_Item]:
    """Yield the built-in files of a folder, each with the value of a key as its description."""
    for file in sorted((_BUILTIN / folder).glob("*.toml")):
        yield CompletionItem(file.stem, help=str(tomllib.loads(file.read_text(encoding="utf-8")).get(about, "")))


def _folder_of(context: click.Context, name: str) -> Path | None:
    """Return a folder under the local root that the command line selects; None for a root in a store."""
    from flows.root_option import resolve_root

    given: click.Context | None = context
    while given and not given.params.get("root"):
        given = given.parent
    root = resolve_root(given.params["root"] if given else None)
    return root / name if isinstance(root, Path) else None


def _runs(context: click.Context, records: Iterable[str]) -> Iterator[_Item]:
    """Yield `last`, and the runs that have one of the given records, latest first."""
    from tasks.storage.folders import Folder

    folder = _folder_of(context, Folder.RUNS)
    names = {path.parent.name for one in records for path in folder.glob(f"*/{one}")} if folder else set()
    yield CompletionItem(_LAST, help="the latest run")
    yield from (CompletionItem(name) for name in sorted(names, reverse=True))


def _line_folders(context: click.Context) -> list[str]:
    """Return the names of the folders of all champion lines, in ascending order."""
    from tasks.schemas.names import LINE_FOLDER
    from tasks.storage.folders import Folder

    folder = _folder_of(context, Folder.CHAMPIONS)
    return sorted(path.name for path in folder.iterdir() if LINE_FOLDER.fullmatch(path.name)) if folder else []


def _existing_lines(context: click.Context) -> list[_Item]:
    """Return the names of all champion lines, as `mnist champion list` shows them."""
    from tasks.schemas.names import line_names

    return [CompletionItem(name) for name in line_names(_line_folders(context)).values()]


def _given_lines(context: click.Context) -> list[_Item]:
    """Return the names that users have given to champion lines, and the default name."""
    from tasks.schemas.names import MAIN, names_of_line

    names = {names_of_line(folder)[0] for folder in _line_folders(context)}
    return [CompletionItem(name) for name in sorted(names | {MAIN})]


complete_recipe = _completing(lambda _context: _built_in("recipes", "description"), files=True)
complete_dataset = _completing(lambda _context: _built_in("datasets", "title"), files=True)
complete_run = _completing(lambda context: _runs(context, _RECORDS[:1]))
complete_run_or_study = _completing(lambda context: _runs(context, _RECORDS))
complete_champion_line = _completing(_given_lines)
complete_existing_line = _completing(_existing_lines)
