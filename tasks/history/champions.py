"""Store the history of champions as numbered files that are never changed.

The last file names the current champion. Two runs can't overwrite each other's entries.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from tasks.errors import RunError, StorageError
from tasks.schemas.runs import Champion, rolled_back_models
from tasks.storage.backend import Root, matching
from tasks.storage.checksummed_json import may_be_checksummed, read_checksummed, write_checksummed
from tasks.storage.folders import Folder

_LINE = re.compile(r"[a-z][a-z0-9_]*-[0-9a-f]{12}(-[a-z0-9_]+)?")  # the names that `champion_line` returns
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
    return bool(_LINE.fullmatch(path.parent.name)) or may_be_checksummed(path)


def champion_lines(root: Root) -> list[str]:
    """Return the names of all lines under the root, in ascending order."""
    return sorted({path.parent.name for path in matching(root, f"{Folder.CHAMPIONS}/*/{ENTRY}") if _may_be_entry(path)})


def append_entry(entry: Champion, line: str, root: Root) -> Champion:
    """Write and return the next entry of a line.

    Raises:
        FileExistsError: If another process wrote an entry with this number first.
        StorageError: If the entry can't be written.
    """
    write_checksummed(root, f"{Folder.CHAMPIONS}/{line}/{entry.number:06}.json", entry, new=True)
    return entry


def _history_of_named(root: Root, line: str) -> list[Champion]:
    """Return all entries of a line that a user named, with the current champion last.

    Raises:
        RunError: If there is no such line.
        StorageError: If an entry can't be read.
    """
    lines = champion_lines(root)
    if line not in lines:
        raise RunError(
            f"there is no champion line {line!r} under {root}; "
            + (f"give one of {', '.join(lines)}" if lines else "a run that passes the gate makes one")
        )
    return champion_history(root, line)


def roll_back(root: Root, line: str) -> Champion:
    """Make the previous champion the champion again, and return the new entry.

    Each further rollback goes back one more champion. No run promotes the replaced champion again until
    `lift_rollback`.

    Raises:
        RunError: If there is no such line, or no previous champion.
        StorageError: If the history can't be read or lacks an entry, or the new entry can't be written.
    """
    champions = _history_of_named(root, line)
    rollback_to = champions[-1].rollback_to
    if rollback_to is None:
        raise RunError(f"there is no earlier champion of {line} to roll back to")
    return _append_as("rolled back", entry_of(champions, rollback_to), champions, line, root)


def lift_rollback(root: Root, line: str) -> list[Champion]:
    """Allow the models that were rolled back to become the champion again, and return their entries.

    A later run promotes such a model again if the model is that run's best.

    Raises:
        RunError: If there is no such line, or no rollback of the line is in effect.
        StorageError: If the history can't be read, or the new entry can't be written.
    """
    champions = _history_of_named(root, line)
    down = rolled_back_models(champions)
    if not down:
        raise RunError(f"no rollback of {line} is in effect")
    _append_as("lifted", champions[-1], champions, line, root)
    return down


def _append_as(action: str, entry: Champion, champions: Sequence[Champion], line: str, root: Root) -> Champion:
    """Write a copy of an entry as the next entry of a line."""
    now = {"number": champions[-1].number + 1, "at": datetime.now(UTC), "action": action}
    try:
        return append_entry(entry.model_copy(update=now), line, root)
    except FileExistsError as error:
        raise RunError(
            f"another process has just changed the champion of {line}; check `mnist champion list`, and try again"
        ) from error
