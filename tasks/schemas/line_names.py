"""Names of champion lines: the folder of a line, and the shorter names that the user gives and sees.

The completion of the command line uses this module, so it imports only a small part of the standard library.
"""

import re
from collections import Counter
from collections.abc import Sequence

MAIN = "main"  # the default line of champions
# The names of folders that `champion_line` of tasks/schemas/runs.py returns.
LINE_FOLDER = re.compile(r"(?P<dataset>[a-z][a-z0-9_]*)-(?P<images>[0-9a-f]{12})(-(?P<name>[a-z0-9_]+))?")


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
