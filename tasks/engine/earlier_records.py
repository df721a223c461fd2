"""Compare the key of a step with the keys of its earlier records.

The comparison gives the reason why the step is computed, and an estimate of the time that it takes.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import PurePosixPath
from statistics import median
from typing import Any, NamedTuple

from tasks.engine.cache import Pending
from tasks.errors import ChecksumError
from tasks.schemas.records import Origin
from tasks.storage.backend import Root
from tasks.storage.checksummed_json import load_with_checksum
from tasks.storage.folders import Folder
from tasks.storage.storage import storage_of

FIRST_TIME = "for the first time"
_MAX_DIFFERENCES = 3  # differences that an explanation lists
_LATEST = 50  # recent records of the same step to compare with
_MAX_TIMES = 5  # recent records from which a time is estimated


class EarlierRecord(NamedTuple):
    """The origin and the parts of the key of a record in the cache."""

    origin: Origin
    key: dict[str, Any]


def earlier_records(kind: str, root: Root, most: int = _LATEST) -> list[EarlierRecord]:
    """Return up to `most` records of a kind of step, the latest file first; a record that can't be read is skipped."""
    found = []
    for path in storage_of(root / Folder.RECORDS).newest(f"{kind}-*.json", most):
        try:
            envelope = load_with_checksum(storage_of(path).read_whole())
            found.append(EarlierRecord(Origin.model_validate(envelope["record"]["origin"]), envelope["key"]))
        except (OSError, ChecksumError, KeyError, TypeError, ValueError):
            continue
    return found


def explain_miss(parts: Mapping[str, Any], step: str, records: Iterable[EarlierRecord]) -> str:
    """Return the differences from the most similar recent key of the same step; of equally similar keys, the latest.

    `step` is the name of the step's run, as the origin of a record holds it.
    """
    recent = itertools.islice((record for record in records if record.origin.step == step), _LATEST)
    candidates = [(-origin.at.timestamp(), list(_key_differences(key, parts))) for origin, key in recent]
    if not candidates:
        return FIRST_TIME
    _, found = min(candidates, key=lambda candidate: (len(candidate[1]), candidate[0]))
    return "; ".join(found[:_MAX_DIFFERENCES]) + (
        f"; and {len(found) - _MAX_DIFFERENCES} more" if len(found) > _MAX_DIFFERENCES else ""
    )


def may_be_cached(parts: Mapping[str, Any], records: Iterable[EarlierRecord]) -> bool:
    """Return whether the pending inputs of a step alone decide if its record is cached."""
    kinds = ("code", "libraries", "environment")
    return any(
        all(key.get(kind) == parts.get(kind) for kind in kinds) and not _changed(key.get("inputs", {}), parts["inputs"])
        for _, key in records
    )


def typical_seconds(
    parts: Mapping[str, Any], step: str, records: Iterable[EarlierRecord], grows_with: str
) -> tuple[float | None, int]:
    """Return the median time of the latest runs of a step with the most similar inputs.

    If the input `grows_with` differs, as the number of epochs may, the times are scaled.

    Returns:
        The time in seconds, or None without an earlier run, and the number of earlier runs.
    """
    now = _flatten_key(parts["inputs"]).get(grows_with)
    alike: dict[int, list[tuple[datetime, float]]] = {}
    for origin, key in records:
        if origin.step == step:
            inputs = key.get("inputs", {})
            before = _flatten_key(inputs).get(grows_with)
            scale = now / before if now and before else 1
            alike.setdefault(len(_changed(inputs, parts["inputs"])), []).append((origin.at, origin.seconds * scale))
    latest = sorted(alike[min(alike)])[-_MAX_TIMES:] if alike else []
    return (median(seconds for _, seconds in latest), len(latest)) if latest else (None, 0)


def pending_inputs(parts: Mapping[str, Any]) -> list[Pending]:
    """Return the inputs of a key that are not known yet."""
    return [value for value in _flatten_key(parts["inputs"]).values() if isinstance(value, Pending)]


def _key_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield a description of each difference between two keys."""
    kinds = (("inputs", "input"), ("code", "code"), ("libraries", "library"), ("environment", "variable"))
    for kind, one in kinds:
        old, new = _flatten_key(before.get(kind, {})), _flatten_key(now.get(kind, {}))
        changed = _changed(before.get(kind, {}), now.get(kind, {}))
        files = [name for name in changed if isinstance(new.get(name, old.get(name)), PurePosixPath)]
        if files:
            yield f"changed files: {', '.join(dict.fromkeys(name.split('.')[0] for name in files))}"
        if kind == "code" and changed:
            yield f"code: {', '.join(changed)}"
        else:
            others = [name for name in changed if name not in files]
            yield from (f"{one} {name}: {old.get(name, 'none')} -> {new.get(name, 'none')}" for name in others)


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> Sequence[str]:
    """Return the dotted names of the leaves that differ between two trees, except those that are pending."""
    old, new = _flatten_key(before), _flatten_key(now)
    pending = [name for name, value in new.items() if isinstance(value, Pending)]
    changed = [name for name in {**new, **old} if old.get(name) != new.get(name)]
    return [name for name in changed if not any(f"{name}.".startswith(f"{one}.") for one in pending)]


def _flatten_key(value: Any, name: str = "") -> dict[str, Any]:
    """Return the leaves of a tree by their dotted names; a file is represented by its path, which contains its hash."""
    if isinstance(value, Mapping) and {"path", "sha256"} <= value.keys():
        return {name: PurePosixPath(value["path"])}
    if isinstance(value, Mapping):
        items: Iterator[tuple[Any, Any]] = iter(value.items())
    elif isinstance(value, list):
        items = iter(enumerate(value)) if len(value) > 1 else iter([("", item) for item in value])
    else:
        return {name: value}
    leaves: dict[str, Any] = {}
    for key, item in items:
        leaves |= _flatten_key(item, ".".join(part for part in (name, str(key)) if part))
    return leaves
