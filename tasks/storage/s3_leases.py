"""Lease-based locks for object stores, which have no locks of their own.

A lease is an object that its holder renews as long as it lives. If a lease has not changed for a while, by the clock
of the process that waits for it, its holder has ended, and the lease is taken over. Files under a root are written
whole and named by their content. So a holder that was only suspended does no damage except that a result is computed
twice.

Objects are created and replaced with conditional writes (If-None-Match and If-Match), which S3 and compatible stores
support.
"""

import json
import re
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from tasks.base import LogLine
from tasks.errors import StorageError
from tasks.safety.stopping import pause
from tasks.storage.backend import io_errors, objects_matching, read_object, storage_errors, version_of
from tasks.storage.locks import WaitNotice

if TYPE_CHECKING:
    from upath import UPath

LEASE_SECONDS = 60.0  # a lease that has not changed for this long has expired
RENEW_SECONDS = 15.0
_POLL_SECONDS = 0.5
_NAME = re.compile(r"[0-9a-f]{32}")  # the name of a shared lease


class Lease:
    """One object that this process holds and renews in a thread."""

    def __init__(self, path: "UPath", who: str) -> None:
        self.path, self.who, self.mark, self.renewals = path, who, uuid.uuid4().hex, 0
        self.version, self.over = "", threading.Event()
        self.thread = threading.Thread(target=self.renew, daemon=True)

    @property
    def content(self) -> bytes:
        """The content of the object; it differs between leases, and between renewals of the same lease."""
        return json.dumps({"who": self.who, "mark": self.mark, "renewals": self.renewals}).encode()

    def take(self, instead_of: str | None = None) -> bool:
        """Take the lease and start its renewal; return whether it was taken.

        Args:
            instead_of: The version of the object to replace; if None, the object must not exist.

        Raises:
            StorageError: If the store cannot be reached.
        """
        condition: dict[str, Any] = {"IfMatch": instead_of} if instead_of else {"mode": "create"}
        with _check_reachable(self.path):
            try:
                self.write(condition)
            except FileNotFoundError:  # the version to replace is gone
                return False
            except OSError as error:
                if _is_refused(error):
                    return False
                raise
        self.thread.start()
        return True

    def write(self, condition: dict[str, Any]) -> None:
        """Write the object on a condition, and remember the version that the store reports."""
        self.version = self.path.fs.pipe_file(self.path.path, self.content, **condition)["ETag"]

    def renew(self) -> None:
        """Renew the lease at intervals, as long as this process holds it."""
        while not self.over.wait(RENEW_SECONDS):
            self.renewals += 1
            with suppress(*io_errors()):  # retried at the next interval, until the lease expires
                self.write({"IfMatch": self.version})

    def release(self) -> None:
        """Stop the renewal, and remove the object if this process still holds it."""
        self.over.set()
        self.thread.join()
        with suppress(*io_errors()):
            if version_of(self.path)[1] == self.version:
                self.path.fs.rm_file(self.path.path)


class LeaseObserver:
    """Observation of a lease of another process: whether it still changes."""

    def __init__(self) -> None:
        self.version, self.since = "", time.monotonic()

    def expired_version(self, path: "UPath") -> str | None:
        """Return the version of an expired lease, or None if the lease still changes or does not exist.

        Raises:
            StorageError: If the object is not a lease.
        """
        try:
            version = version_of(path)[1]
        except FileNotFoundError:
            version = ""
        if version != self.version:
            self.version, self.since = version, time.monotonic()
        if not version or time.monotonic() - self.since <= LEASE_SECONDS:
            return None
        if not _is_lease(path):
            raise StorageError(f"{path} is not a lock, but another object: move it away")
        return version


@contextmanager
def exclusive_lease(path: "UPath", who: str, say: LogLine) -> Iterator[None]:
    """Hold an object exclusively; wait for it, and report the holder.

    Raises:
        StorageError: If the store cannot be reached.
    """
    lease, observer, told = Lease(path, who), LeaseObserver(), WaitNotice(say)
    with _check_reachable(path):
        while not lease.take() and not ((expired := observer.expired_version(path)) and lease.take(expired)):
            told.of(lambda: f"waiting for {_lease_holder(path)}: {path} is held")
            pause(_POLL_SECONDS)
    try:
        yield
    finally:
        lease.release()


@contextmanager
def shared_lease(folder: "UPath", exclusive_object: "UPath", who: str, say: LogLine) -> Iterator[None]:
    """Hold a lease in a folder, together with other processes, while nobody holds the object `exclusive_object`.

    Raises:
        StorageError: If the store cannot be reached.
    """
    observer, told = LeaseObserver(), WaitNotice(say)
    while True:
        lease = Lease(folder / uuid.uuid4().hex, who)
        if lease.take():  # take this before checking the other; exclusive holders use the reverse order
            try:
                with _check_reachable(exclusive_object):
                    held = exclusive_object.exists()
                if not held:
                    yield
                    return
            finally:
                lease.release()
            with _check_reachable(exclusive_object):
                if expired := observer.expired_version(exclusive_object):
                    taken_over = Lease(exclusive_object, who)
                    if taken_over.take(expired):
                        taken_over.release()
        told.of(lambda: f"waiting for {_lease_holder(exclusive_object)}: {exclusive_object} is held")
        pause(_POLL_SECONDS)


@contextmanager
def exclusive_when_idle(folder: "UPath", exclusive_object: "UPath", who: str, say: LogLine) -> Iterator[None]:
    """Hold the object `exclusive_object` while nobody has a lease in the folder.

    The object is released between the checks: a process that holds a lease in the folder may need a second lease
    before it can end.

    Raises:
        StorageError: If the store cannot be reached.
    """
    observers: dict[str, LeaseObserver] = {}
    told = WaitNotice(say)
    while True:
        with exclusive_lease(exclusive_object, who, say):
            if not has_live_lease(folder, observers):
                yield
                return
        told.of(lambda: f"waiting for the active runs: {folder} holds their leases")
        pause(_POLL_SECONDS)


def has_live_lease(folder: "UPath", observers: dict[str, LeaseObserver]) -> bool:
    """Return whether a folder holds any lease, and remove expired leases."""
    with _check_reachable(folder):
        try:
            found = [path for path in objects_matching(folder, "*") if _NAME.fullmatch(path.name)]
        except FileNotFoundError:  # the last lease, and with it the folder, was removed between two requests
            return False
        for path in found:
            if observers.setdefault(path.name, LeaseObserver()).expired_version(path):
                path.fs.rm_file(path.path)  # `unlink` would interpret wildcards in the path
        return bool(found)


def _is_lease(path: "UPath") -> bool:
    """Return whether an object has the content of a lease."""
    try:
        return bool(json.loads(read_object(path)).keys() == {"who", "mark", "renewals"})
    except (ValueError, AttributeError):
        return False


def _lease_holder(path: "UPath") -> str:
    """Return the name of a lease's holder, or a general term if the name cannot be read."""
    with suppress(ValueError, KeyError, TypeError, *io_errors()):
        return str(json.loads(read_object(path))["who"])
    return "another run"


def _is_refused(error: OSError) -> bool:
    """Return whether an error means that a condition failed or that a concurrent request conflicted."""
    cause: Any = error.__cause__
    code = getattr(cause, "response", {}).get("Error", {}).get("Code")
    return isinstance(error, FileExistsError) or code in {"PreconditionFailed", "ConditionalRequestConflict"}


def _check_reachable(path: "UPath") -> AbstractContextManager[None]:
    """Convert errors of a store into a StorageError with a message of one line."""
    return storage_errors(path, verb="lock", remedy="check the network and the credentials")
