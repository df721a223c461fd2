"""Check that a process, possibly on another machine, has the code, libraries, root and API access for a flow."""

import os
import platform
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import httpx
import psutil

from tasks.engine.cache import versions
from tasks.engine.code_digest import code_digests, module_path
from tasks.history.provenance import LIBRARIES
from tasks.safety.environment import number_settings
from tasks.storage.backend import Root, io_errors
from tasks.storage.content_files import write_text
from tasks.storage.folders import Folder
from tasks.storage.storage import storage_of

_ANSWER_SECONDS = 10
# The modules of the steps that run in workers.
_STEPS = (
    "tasks.steps.train",
    "tasks.steps.ensemble",
    "tasks.steps.describe_network",
    "tasks.steps.evaluate",
    "tasks.steps.attribute_errors",
    "tasks.steps.explain_errors",
    "tasks.steps.robustness",
)


class EnvironmentFingerprint(NamedTuple):
    """The properties that a flow and its workers must share.

    `code` has the digests of the code by module, `libraries` the versions of libraries, and `environment` the
    environment variables that may change the results of these libraries.
    """

    code: Mapping[str, str]
    libraries: Mapping[str, str]
    environment: Mapping[str, str]

    @classmethod
    def here(cls) -> "EnvironmentFingerprint":
        """Return the fingerprint of this process."""
        code = {name: digest for step in _STEPS for name, digest in code_digests(step).items()}
        python = ".".join(platform.python_version_tuple()[:2])
        return cls(code, {"python": python, **versions(LIBRARIES)}, number_settings(LIBRARIES))


def incompatibilities(common: EnvironmentFingerprint, mark: Root, api: str, threads: int) -> Iterator[str]:
    """Yield the reasons why this process cannot act as a worker, each with a remedy."""
    here = EnvironmentFingerprint.here()
    if code := _differing_names(common.code, here.code):
        yield f"has different code ({', '.join(code)}): install the same version there, and restart it"
    if stale := [name for name in here.code if is_stale(name)]:
        yield f"runs code that has changed since it was started ({', '.join(stale)}): restart it"
    if libraries := _differing_names(common.libraries, here.libraries):
        differences = ", ".join(
            f"{name} {here.libraries.get(name)}, not {common.libraries.get(name)}" for name in libraries
        )
        yield f"has different libraries ({differences}): install the versions of requirements.lock there, and restart it"
    if other := _differing_names(common.environment, here.environment):
        actual = ", ".join(f"{name}={here.environment.get(name, '')}" for name in other)
        wanted = ", ".join(f"{name}={common.environment.get(name, '')}" for name in other)
        yield f"computes with {actual}, not with {wanted}: restart it with the latter"
    if threads != 1:
        yield f"has {threads} threads, but can run only one training at a time: start it with --nthreads 1"
    root = mark.parent.parent
    try:
        if not mark.exists():
            yield f"does not see the files under the root {root}: give a root that both see, such as s3://BUCKET/PREFIX"
    except io_errors() as error:
        yield f"can't reach the root {root}: {error}"
    try:
        httpx.get(f"{api}/health", timeout=_ANSWER_SECONDS).raise_for_status()
    except httpx.HTTPError as error:
        yield f"can't reach the Prefect server at {api} ({error}): set PREFECT_API_URL to a server that it can reach"


def _differing_names(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """Return the names whose values differ between two mappings."""
    return sorted(name for name in {**one, **other} if one.get(name) != other.get(name))


def is_stale(module: str) -> bool:
    """Return whether this process has imported a module whose file has changed since the process started."""
    path = module_path(module)
    return module in sys.modules and path is not None and path.stat().st_mtime > psutil.Process().create_time()


@contextmanager
def probe_file(root: Root) -> Iterator[Root]:
    """Yield a new file under the root, which only a process with the same root can see."""
    name = storage_of(root).lock_name(f"cluster-{os.getpid()}-{uuid.uuid4().hex}")
    mark = root / write_text(root, f"{Folder.LOCKS}/{name}", "").path
    try:
        yield mark
    finally:
        mark.unlink(missing_ok=True)
