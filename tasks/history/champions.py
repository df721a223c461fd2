"""Store the history of champions as numbered files that are never changed.

The last file names the current champion. Two runs can't overwrite each other's entries.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from tasks.errors import NothingFoundError, RunError, StorageError
from tasks.schemas.names import LINE_FOLDER, line_names, names_of_line
from tasks.schemas.runs import Champion, rolled_back_models
from tasks.storage.backend import Root, matching
from tasks.storage.checksummed_json import may_be_checksummed, read_checksummed, write_checksummed
from tasks.storage.folders import Folder

ENTRY = "[0-9]" * 6 + ".json"  # files with other names are not entries


def champion_history(root: Root, line: str) -> list[Champion]:
    """Return all entries of a line, with the current champion last.

    Raises:
        StorageError: If an entry can't be read.
    """
    try:
        return [read_checksummed(path, Champion) for path in matching(root / Folder.CHAMPIONS / line, ENTRY)]
    except OSError as error:
        raise StorageError(f"can't read the champions: {error}; restore the file, or move its folder away") from error


def entry_of(champions: Sequence[Champion], number: int) -> Champion:
    """Return the entry with a number from a line's history.

    Raises:
        StorageError: If the entry is missing, because the run that it names is then unknown.
    """
    found = next((entry for entry in champions if entry.number == number), None)
    if found is None:
        raise StorageError(
            f"can't read the champions: entry {number:06}.json is missing; restore the file, or move its folder away"
        )
    return found


def _may_be_entry(path: Root) -> bool:
    """Return whether a file may be an entry, valid or damaged.

    Other programs can keep folders with numbered files in the same place.
    """
    return bool(LINE_FOLDER.fullmatch(path.parent.name)) or may_be_checksummed(path)


def champion_lines(root: Root) -> list[str]:
    """Return the names of the folders of all lines under the root, in ascending order."""
    return sorted({path.parent.name for path in matching(root, f"{Folder.CHAMPIONS}/*/{ENTRY}") if _may_be_entry(path)})


def line_name(folder: str, root: Root) -> str:
    """Return the shortest name that tells the line in a folder from the other lines under the root."""
    return line_names(sorted({folder, *champion_lines(root)}))[folder]


def find_line(root: Root, name: str) -> str:
    """Return the folder of the line with a name that `line_names` returns, or with the name of a folder.

    Raises:
        NothingFoundError: If no line has the name.
        RunError: If several lines have the name.
    """
    folders = champion_lines(root)
    if name in folders:
        return name
    fitting = [folder for folder in folders if name in names_of_line(folder)]
    if len(fitting) == 1:
        return fitting[0]
    names = line_names(folders)
    if fitting:
        several = " or ".join(names[folder] for folder in fitting)
        raise RunError(f"{len(fitting)} champion lines are named {name!r}; give {several}")
    raise NothingFoundError(
        f"there is no champion line {name!r} under {root}; "
        + (f"give one of {', '.join(names.values())}" if names else "a run that passes the gate makes one")
    )


def append_entry(entry: Champion, line: str, root: Root) -> Champion:
    """Write and return the next entry of a line.

    Raises:
        FileExistsError: If another process wrote an entry with this number first.
        StorageError: If the entry can't be written.
    """
    write_checksummed(root, f"{Folder.CHAMPIONS}/{line}/{entry.number:06}.json", entry, new=True)
    return entry


def roll_back(root: Root, line: str) -> Champion:
    """Make the previous champion the champion again, and return the new entry.

    Each further rollback goes back one more champion. No run promotes the replaced champion again until
    `lift_rollback`.

    Raises:
        RunError: If the name of the line is not that of a single line, or if there is no previous champion.
        StorageError: If the history can't be read or lacks an entry, or the new entry can't be written.
    """
    folder = find_line(root, line)
    champions = champion_history(root, folder)
    rollback_to = champions[-1].rollback_to
    if rollback_to is None:
        raise RunError(f"there is no earlier champion of {line} to roll back to")
    return _append_as("rolled back", entry_of(champions, rollback_to), champions, folder, root)


def lift_rollback(root: Root, line: str) -> list[Champion]:
    """Allow the models that were rolled back to become the champion again, and return their entries.

    A later run promotes such a model again if the model is that run's best.

    Raises:
        RunError: If the name of the line is not that of a single line, or if no rollback of the line is in effect.
        StorageError: If the history can't be read, or the new entry can't be written.
    """
    folder = find_line(root, line)
    champions = champion_history(root, folder)
    down = rolled_back_models(champions)
    if not down:
        raise RunError(f"no rollback of {line} is in effect")
    _append_as("lifted", champions[-1], champions, folder, root)
    return down


def _append_as(action: str, entry: Champion, champions: Sequence[Champion], folder: str, root: Root) -> Champion:
    """Write a copy of an entry as the next entry of a line."""
    now = {"number": champions[-1].number + 1, "at": datetime.now(UTC), "action": action}
    try:
        return append_entry(entry.model_copy(update=now), folder, root)
    except FileExistsError as error:
        raise RunError(
            f"another process has just changed the champion of {line_name(folder, root)}; check `mnist champion list`, and "
            "try again"
        ) from error
