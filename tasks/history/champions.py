"""The champions' history: numbered files that are made and never changed.

The last is the champion, and two runs can't overwrite each other.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from tasks.errors import RunError, StorageError
from tasks.schemas.runs import Champion, held_down
from tasks.storage.backend import Root, matching
from tasks.storage.checksummed_json import may_be_checksummed, read_checksummed, write_checksummed
from tasks.storage.folders import Folder

CHAMPIONS_FOLDER = Folder.CHAMPIONS
_LINE = re.compile(r"[a-z][a-z0-9_]*-[0-9a-f]{12}(-[a-z0-9_]+)?")  # as `line_of` names it
ENTRY = "[0-9]" * 6 + ".json"  # other files are not ours


def champion_history(root: Root, line: str) -> list[Champion]:
    """All entries of a line, the champion last.

    Raises:
        StorageError: an entry can't be read.
    """
    try:
        return [read_checksummed(path, Champion) for path in matching(root, f"{CHAMPIONS_FOLDER}/{line}/{ENTRY}")]
    except OSError as error:
        raise StorageError(f"can't read the champions: {error}; put the file back, or move its folder away") from error


def entry_of(champions: Sequence[Champion], number: int) -> Champion:
    """The entry of a number in a line's history.

    Raises:
        StorageError: it is gone, so that nobody knows which run it names.
    """
    found = next((entry for entry in champions if entry.number == number), None)
    if found is None:
        raise StorageError(
            f"can't read the champions: entry {number:06}.json is gone; put the file back, or move its folder away"
        )
    return found


def _may_be_entry(path: Root) -> bool:
    """Whether a file may be an entry, be it broken: others may have folders among ours, with numbered files."""
    return bool(_LINE.fullmatch(path.parent.name)) or may_be_checksummed(path)


def champion_lines(root: Root) -> list[str]:
    """All lines under the root."""
    return sorted({path.parent.name for path in matching(root, f"{CHAMPIONS_FOLDER}/*/{ENTRY}") if _may_be_entry(path)})


def append_entry(entry: Champion, line: str, root: Root) -> Champion:
    """Write the next entry of a line.

    Raises:
        FileExistsError: another process was first.
        StorageError: it can't be written.
    """
    write_checksummed(root / CHAMPIONS_FOLDER / line / f"{entry.number:06}.json", entry, new=True)
    return entry


def roll_back(root: Root, line: str) -> Champion:
    """Make the champion before the present one the champion again; done again, it goes back further.

    The present one stays down: no run promotes it again, until `lift_rollback`.

    Raises:
        RunError: there is none before.
        StorageError: the history can't be read, or lacks an entry, or the new entry can't be written.
    """
    champions = champion_history(root, line)
    below = champions[-1].below if champions else None
    if below is None:
        raise RunError(f"there is no champion of {line} to go back to")
    return _append_as("rolled back", entry_of(champions, below), champions, line, root)


def lift_rollback(root: Root, line: str) -> list[Champion]:
    """Let the models that were rolled back become the champion again, as soon as a run finds one best; return these.

    Raises:
        RunError: none stays down.
        StorageError: the history can't be read, or the new entry can't be written.
    """
    champions = champion_history(root, line)
    down = held_down(champions)
    if not down:
        raise RunError(f"no model of {line} stays down after a rollback")
    _append_as("lifted", champions[-1], champions, line, root)
    return down


def _append_as(action: str, entry: Champion, champions: Sequence[Champion], line: str, root: Root) -> Champion:
    """Write an entry once more, as the next one of a line.

    Raises:
        RunError: another process was first.
        StorageError: it can't be written.
    """
    now = {"number": champions[-1].number + 1, "at": datetime.now(UTC), "action": action}
    try:
        return append_entry(entry.model_copy(update=now), line, root)
    except FileExistsError as error:
        raise RunError(
            f"another run has just changed the champion of {line}; look at the list, and try again"
        ) from error
