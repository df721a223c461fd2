"""Names and tags of runs and studies, and names of champion lines.

They are the same under a root, in reports, in the terminal and in Prefect's UI. The command line uses this module, so it
imports only a small part of the standard library.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

LOCAL_UI = "http://127.0.0.1:4200"  # where `mnist serve` shows the runs of servers that ended with their run
_STAMP = re.compile("^[0-9]{8}-[0-9]{6}-")
_LONGEST = 30  # characters: with its date and a number, a name is never broken in a table (artifacts/screen.py)
_UNNAMED = "run"
_AUTOMATIC = ("dataset", "recipe", "line")
MAIN = "main"  # the default line of champions
# The names of folders that `champion_line` of tasks/schemas/runs.py returns.
LINE_FOLDER = re.compile(r"(?P<dataset>[a-z][a-z0-9_]*)-(?P<images>[0-9a-f]{12})(-(?P<name>[a-z0-9_]+))?")


def run_name(given: str, due: datetime) -> str:
    """Return the name of a run: the time (UTC) for which it was scheduled, and the name that it was given.

    A name that this function has returned for the same time is returned unchanged, so that a retried run keeps its name.
    The date of another run at the beginning of a given name is replaced.

    Examples:
        >>> run_name("My night ä/1", datetime(2026, 11, 27, 2, tzinfo=UTC))
        '20261127-020000-my-night-a-1'
        >>> run_name("20261126-020000-my-night-a-1", datetime(2026, 11, 27, 2, tzinfo=UTC))
        '20261127-020000-my-night-a-1'
    """
    return f"{due.astimezone(UTC):%Y%m%d-%H%M%S}-{slug_without_date(given) or _UNNAMED}"


def slug_without_date(given: str) -> str:
    """Return the slug of a name without the date of a run at its beginning."""
    return slug_of(_STAMP.sub("", given, count=1))


def slug_of(text: str) -> str:
    r"""Return the letters and digits of a text as a part of a path: in lower case, without accents, joined by hyphens.

    The slug is in ASCII, which every file system, store, shell and terminal accepts. It has at most 30 characters, and is
    empty if the text has no Latin letter and no digit.

    Examples:
        >>> slug_of("../Été  2026\n")
        'ete-2026'
        >>> slug_of("...")
        ''
    """
    letters = unicodedata.normalize("NFKD", text).casefold()
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return "-".join(re.findall("[a-z0-9]+", plain))[:_LONGEST].rstrip("-")


def automatic_tags(dataset: str, recipes: Iterable[str], line: str | None = None) -> tuple[str, ...]:
    """Return the tags that a run gets from its parameters; a study belongs to no champion line.

    Examples:
        >>> automatic_tags("mnist", ["post"], "nightly")
        ('dataset:mnist', 'recipe:post', 'line:nightly')
    """
    lines = [line] if line else []
    named = zip(_AUTOMATIC, ([dataset], recipes, lines), strict=True)
    return tuple(f"{kind}:{name}" for kind, names in named for name in names)


def is_automatic(tag: str) -> bool:
    """Return whether a tag looks like a tag that runs get from their parameters."""
    return tag.partition(":")[0] in _AUTOMATIC and ":" in tag


def line_names(folders: Sequence[str], *, with_dataset: bool = False) -> dict[str, str]:
    """Return for the folder of each line the shortest name that tells the line from the others.

    With `with_dataset`, no name lacks the dataset, so that another line of another dataset does not change any name.

    Examples:
        >>> line_names(["kmnist-d9fd983f7dde", "mnist-f29801d16e52", "mnist-f29801d16e52-nightly"])
        {'kmnist-d9fd983f7dde': 'kmnist:main', 'mnist-f29801d16e52': 'mnist:main', 'mnist-f29801d16e52-nightly': 'nightly'}
    """
    names = {folder: names_of_line(folder)[int(with_dataset) :] for folder in folders}
    used = Counter(name for all_names in names.values() for name in all_names)
    return {
        folder: next((name for name in all_names if used[name] == 1), folder) for folder, all_names in names.items()
    }


def names_of_line(folder: str) -> list[str]:
    """Return all names of the line in a folder, the shortest first.

    The name that the user gave may be preceded by the dataset, and that by the hash of the test images. The last name is
    that of the folder, which earlier versions showed.
    """
    found = LINE_FOLDER.fullmatch(folder)
    if not found:
        return [folder]
    name, dataset = found["name"] or MAIN, found["dataset"]
    return [name, f"{dataset}:{name}", f"{dataset}-{found['images']}:{name}", folder]
