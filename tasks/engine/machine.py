"""Describe this machine and the installed libraries, without importing any of the libraries."""

import os
import platform
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import psutil
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tasks.engine.processor import processor
from tasks.filesystem.regular_files import nearest_existing
from tasks.schemas.diagnosis import Disk, Machine

DISTRIBUTION = "mnist-error-analysis"
_DEVELOPMENT = "dev"  # the extra whose libraries no run uses
# Two builds of one library: each meets a requirement of the other (docs/commands.md, "GPU").
_TENSORFLOW = ("tensorflow", "tensorflow-cpu")


def this_machine() -> Machine:
    """Return the description of this machine."""
    memory, cores = psutil.virtual_memory(), os.cpu_count() or 1
    return Machine(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        processor=processor(),
        cores=cores,
        usable_cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores,
        memory=memory.total,
        available_memory=memory.available,
    )


def disk_at(use: str, folder: Path) -> Disk:
    """Return the free space at a folder that may be missing.

    Raises:
        OSError: If the file system does not answer.
    """
    found = shutil.disk_usage(nearest_existing(folder))
    return Disk(use=use, folder=str(folder), free=found.free, size=found.total)


def installed_version(name: str) -> str:
    """Return the version of a distribution; empty if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def library_versions() -> dict[str, str]:
    """Return the versions of the installed libraries that this project requires, also for its optional parts."""
    names = {name for one, _ in _requirements() for name in _builds_of(one.name)}
    return {name: version for name in sorted(names) if (version := installed_version(name))}


def version_faults() -> Iterator[str]:
    """Yield a line for each library, or Python, whose version differs from the requirements of this project."""
    if not installed_version(DISTRIBUTION):
        yield f"{DISTRIBUTION} itself is not installed, only its source is on the path"
        return
    python = metadata.metadata(DISTRIBUTION)["Requires-Python"]
    if not SpecifierSet(python).contains(platform.python_version(), prereleases=True):
        yield f"Python {platform.python_version()} is not {python}"
    for requirement, optional in _requirements():
        if fault := requirement_fault(requirement, optional=optional):
            yield fault


def requirement_fault(requirement: Requirement, *, optional: bool) -> str:
    """Return why the installed libraries do not meet a requirement; empty if they do.

    A missing library is a fault unless it is optional.
    """
    found = [(name, version) for name in _builds_of(requirement.name) if (version := installed_version(name))]
    if not found:
        return "" if optional else f"{requirement.name} is not installed"
    name, version = found[0]
    return (
        ""
        if requirement.specifier.contains(version, prereleases=True)
        else f"{name} {version} is not {requirement.specifier}"
    )


def _builds_of(name: str) -> tuple[str, ...]:
    """Return the names of the distributions of a library, the given one first."""
    return (name, *(other for other in _TENSORFLOW if name in _TENSORFLOW and other != name))


def _requirements() -> Iterator[tuple[Requirement, bool]]:
    """Yield the requirements that apply to this platform, and whether each is that of an optional part."""
    try:
        given = [Requirement(text) for text in metadata.requires(DISTRIBUTION) or ()]
        extras = metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        return
    for one in given:
        if one.marker is None or one.marker.evaluate({"extra": ""}):
            yield one, False
        elif any(one.marker.evaluate({"extra": extra}) for extra in extras if extra != _DEVELOPMENT):
            yield one, True
