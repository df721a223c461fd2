"""Examine an installation for `mnist doctor`; start nothing and write nothing.

Each part is examined separately, and within a time limit if it may not answer, so that one fault hides no other.
"""

import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from flows.processes.bounded import within
from flows.root_option import choose_root, resolve_root
from flows.server.prefect_state import prefect_state
from tasks.engine.machine import (
    DISTRIBUTION,
    disk_at,
    installed_version,
    library_versions,
    this_machine,
    version_faults,
)
from tasks.errors import MnistError, describe_system_error, first_line
from tasks.safety.environment import NUMBERS, REMOVED, SET_ASIDE
from tasks.schemas.diagnosis import Diagnosis, Disk, HealthCheck, PrefectState, RootUsage
from tasks.storage.backend import Root
from tasks.storage.root_usage import usage_of
from tasks.storage.roots import check_root
from tasks.storage.storage import storage_of

_SECONDS = 30.0  # limit for each part that may wait for a server, a store or a network file system
_ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
_GB = 1_000_000_000
# A first run of MNIST leaves 40 MB under the root and less in Prefect's home; the largest built-in dataset needs 1 GB.
_ROOT, _HOME, _TEMPORARY = "root", "Prefect's home", "temporary files"
_NEEDED = {_ROOT: _GB, _HOME: _GB // 5, _TEMPORARY: _GB // 5}

_Found = TypeVar("_Found")


def diagnose(given_root: str | None) -> Diagnosis:
    """Examine everything, and return the facts and the checks."""
    root, no_root = _attempt(lambda: resolve_root(given_root))
    chosen, _ = _attempt(lambda: choose_root(given_root).source)
    usage, unread = _attempt(lambda: usage_of(root)) if root else (None, no_root)
    _, unwritable = _attempt(lambda: check_root(root)) if root and usage else (None, "")
    states = [PrefectState(home="")]  # what was found out before a fault, last
    _, fault_of_prefect = _attempt(lambda: prefect_state(states.append))
    state = states[-1]
    disks, unreadable = _attempt(lambda: tuple(_disks(root, state.home)))
    checks = (
        health_check("versions", versions_fault(version_faults()), "all libraries are as required"),
        health_check("environment", environment_fault(os.environ.get(SET_ASIDE, "")), "no unusable variables"),
        health_check("root", unread or unwritable, root_note(usage or RootUsage())),
        health_check("free space", unreadable or space_fault(disks or ()), "enough for a run"),
        health_check("Prefect", fault_of_prefect, "the server answers" if state.server else "its home can be used"),
    )
    return Diagnosis(
        mnist=installed_version(DISTRIBUTION),
        python=platform.python_version(),
        executable=sys.executable,
        libraries=library_versions(),
        machine=this_machine(),
        settings={name: os.environ[name] for name in NUMBERS if os.environ.get(name)},
        onednn="off" if os.environ.get(_ONEDNN, "").lower() in {"0", "false"} else "on",
        ignored=tuple(sorted(REMOVED)),
        disks=disks or (),
        root=str(root or given_root or ""),
        root_source=chosen or "",
        usage=usage or RootUsage(),
        prefect=state,
        checks=checks,
    )


def _attempt(call: Callable[[], _Found]) -> tuple[_Found | None, str]:
    """Return the result of a call that may fail or never return, and why there is none; empty if there is one."""
    try:
        return within(_SECONDS, call), ""
    except MnistError as error:
        return None, str(error)
    except TimeoutError as error:
        return None, f"{error}; check the network, the file system and the server"
    except OSError as error:
        return None, describe_system_error(error)
    except Exception as error:  # noqa: BLE001  # whatever is broken is what this command is for
        return None, f"{type(error).__name__}: {first_line(error)}"


def health_check(name: str, fault: str, fine: str) -> HealthCheck:
    """Return a check, which passed if there is no fault."""
    return HealthCheck(name=name, passed=not fault, found=fault or fine)


def versions_fault(faults: Iterable[str]) -> str:
    """Return which libraries are not as required; empty if all are."""
    found = "; ".join(faults)
    return f"{found}; install the versions of requirements.lock, as `make setup` does" if found else ""


def environment_fault(set_aside: str) -> str:
    """Return which variables are unusable; empty if none is."""
    lines = [line for line in set_aside.splitlines() if line]
    return f"{'; '.join(lines)}; correct the variable, or unset it" if lines else ""


def space_fault(disks: Iterable[Disk]) -> str:
    """Return where the free space is too small for a run; empty if there is enough."""
    low = [
        f"{disk.free / 1e9:.1f} GB are free for {disk.use} at {disk.folder}, less than {_NEEDED[disk.use] / 1e9:.1f} GB"
        for disk in disks
        if disk.free < _NEEDED[disk.use]
    ]
    remedies = "make room, or set --root, PREFECT_HOME or TMPDIR to another disk"
    return f"{'; '.join(low)}; {remedies}" if low else ""


def root_note(usage: RootUsage) -> str:
    """Return the state of a root that can be used."""
    active = "a run is active" if usage.in_use else "no run is active"
    if not usage.unfinished or usage.in_use:
        return f"can be used; {active}"
    return f"can be used; {active}; an interrupted run has left unfinished work, which the next run continues"


def _disks(root: Root | None, home: str) -> Iterator[Disk]:
    """Yield the free space for the files of a root, for Prefect's home, and for temporary files."""
    if root:
        yield disk_at(_ROOT, storage_of(root).cache_dir)
    if home:
        yield disk_at(_HOME, Path(home))
    yield disk_at(_TEMPORARY, _temporary_files())


def _temporary_files() -> Path:
    """Return the folder of temporary files; `tempfile.gettempdir` would write to the folder to find it."""
    named = [os.environ[name] for name in ("TMPDIR", "TEMP", "TMP") if os.environ.get(name)]
    usable = (one for one in (*named, "/tmp", "/var/tmp") if Path(one).is_dir() and os.access(one, os.W_OK))  # noqa: S108
    return Path(tempfile.tempdir or next(usable, "/tmp"))  # noqa: S108
