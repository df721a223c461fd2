"""Names of all folders and files that the project creates under a root."""

import hashlib
import json
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from tasks.filesystem.trusted_files import ROOT_MARK


class Folder(StrEnum):
    """The folders under a root."""

    ARCHIVES = "archives"
    SPLITS = "splits"
    MEASURES = "measures"
    MODELS = "models"
    PREDICTIONS = "predictions"
    ATTRIBUTIONS = "attributions"
    SELECTIONS = "selections"
    EXPLANATIONS = "explanations"
    ROBUSTNESS = "robustness"
    ANALYSES = "analyses"
    ARCHITECTURES = "architectures"
    FIGURES = "figures"
    CHANGES = "changes"
    RECORDS = "records"  # of steps
    MADE = "made"  # records of files that no step made: see tasks/storage/page_records.py
    HISTORY = "history"  # notes of flow runs to delete in Prefect: see tasks/history/flow_runs.py
    RUNS = "runs"
    CHAMPIONS = "champions"
    COMPARISONS = "comparisons"
    PICTURES = "pictures"
    LOCKS = "locks"
    SCRATCH = "scratch"
    UNFINISHED = "unfinished"


# Folders of content-addressed files, which steps recreate if they are missing.
BY_CONTENT = (
    Folder.ARCHIVES,
    Folder.SPLITS,
    Folder.MEASURES,
    Folder.MODELS,
    Folder.PREDICTIONS,
    Folder.ATTRIBUTIONS,
    Folder.SELECTIONS,
    Folder.EXPLANATIONS,
    Folder.ROBUSTNESS,
    Folder.ANALYSES,
    Folder.ARCHITECTURES,
    Folder.FIGURES,
    Folder.CHANGES,
)
MARK = ROOT_MARK  # the file that makes a folder a root (tasks/storage/root_marker.py)
PART = ".part"  # suffix of temporary files beside the files that they will replace
CONTENT_NAME = re.compile(r".+-[0-9a-f]{12}\.[\w.]+")
RUN_NAME = re.compile(r"\d{8}-\d{6}-[\w-]+")  # as tasks/schemas/names.py creates them
KEY = re.compile(r"[a-z_]+-[0-9a-f]{16}")  # of a step and its inputs, as tasks/engine/cache.py creates it


def key_name(parts: Mapping[str, Any]) -> str:
    """Return the name of a cache key: the name of the step and a hash of the key's parts."""
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True, allow_nan=False).encode()).hexdigest()
    return f"{parts['step']}-{digest[:16]}"


def is_own_key(name: str, envelope: Any) -> bool:
    """Return whether the record of a step has the name that its own key determines, and so is in its original place."""
    try:
        return "record" in envelope and name == key_name(envelope["key"])
    except (KeyError, TypeError, ValueError):
        return False
