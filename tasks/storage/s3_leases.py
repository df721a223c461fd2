"""Leases: locks in an object store, which has none of its own: an object that its holder renews as long as it lives.

A lease that does not change for a while, by the clock of who waits for it, is of a process that has ended, however it did,
and is taken over. What is written under a root is whole and named by its content, so that even a holder that was only asleep
can do no harm but to compute something twice.

Objects are created and replaced on condition that nobody else did so in the meantime (If-None-Match and If-Match), which S3
and the stores that speak its language have.
"""

import json
import re
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from tasks.errors import StorageError
from tasks.safety.stopping import pause
from tasks.storage.backend import io_errors, read_whole, version_of
from tasks.storage.waiting import Say, WaitNotice

if TYPE_CHECKING:
    from upath import UPath

LEASE_SECONDS = 60.0  # after which what has not changed is of nobody
RENEW_SECONDS = 15.0
_POLL_SECONDS = 0.5
_NAME = re.compile(r"[0-9a-f]{32}")  # of a lease among others


class Lease:
    """One object, held by this process and renewed by a thread of its own."""

    def __init__(self, path: "UPath", who: str) -> None:
        self.path, self.who, self.mark, self.renewals = path, who, uuid.uuid4().hex, 0
        self.version, self.over = "", threading.Event()
        self.thread = threading.Thread(target=self.renew, daemon=True)

    @property
    def content(self) -> bytes:
        """Who holds it; no two leases, and no two renewals of one, have the same."""
        return json.dumps({"who": self.who, "mark": self.mark, "renewals": self.renewals}).encode()

    def take(self, instead_of: str | None = None) -> bool:
        """Take it, if nobody has it, or only the version given; whether that went well."""
        condition: dict[str, Any] = {"IfMatch": instead_of} if instead_of else {"mode": "create"}
        with _check_reachable(self.path):
            try:
                self.write(condition)
            except FileNotFoundError:  # what it should follow has gone
                return False
            except OSError as error:
                if _is_refused(error):
                    return False
                raise
        self.thread.start()
        return True

    def write(self, condition: dict[str, Any]) -> None:
        """Write it on a condition; the answer says which version that made."""
        self.version = self.path.fs.pipe_file(self.path.path, self.content, **condition)["ETag"]

    def renew(self) -> None:
        """Show now and then that this process lives, as long as the lease is its own."""
        while not self.over.wait(RENEW_SECONDS):
            self.renewals += 1
            with suppress(*io_errors()):  # the next time, then; until it is too late
                self.write({"IfMatch": self.version})

    def give_back(self) -> None:
        """Remove it, if it still is this one's."""
        self.over.set()
        self.thread.join()
        with suppress(*io_errors()):
            if version_of(self.path)[1] == self.version:
                self.path.fs.rm_file(self.path.path)


class Watch:
    """What somebody else holds, looked at again and again: whether it still changes."""

    def __init__(self) -> None:
        self.version, self.since = "", time.monotonic()

    def dead(self, path: "UPath") -> str | None:
        """The version that has not changed for too long; None if it has, or there is nothing.

        Raises:
            StorageError: it is no lease, but an object of somebody's.
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
            raise StorageError(f"{path} is no lock, but an object of somebody's: move it away")
        return version


@contextmanager
def exclusive_lease(path: "UPath", who: str, say: Say) -> Iterator[None]:
    """Have an object alone; wait for it, and say for whom.

    Raises:
        StorageError: the store can't be reached.
    """
    lease, watch, told = Lease(path, who), Watch(), WaitNotice(say)
    with _check_reachable(path):
        while not lease.take() and not ((dead := watch.dead(path)) and lease.take(dead)):
            told.of(lambda: f"waiting for {_lease_holder(path)}: {path} is held")
            pause(_POLL_SECONDS)
    try:
        yield
    finally:
        lease.give_back()


@contextmanager
def shared_lease(folder: "UPath", alone: "UPath", who: str, say: Say) -> Iterator[None]:
    """Have a lease of one's own in a folder, along with others, while nobody holds the object `alone`.

    Raises:
        StorageError: the store can't be reached.
    """
    watch, told = Watch(), WaitNotice(say)
    while True:
        lease = Lease(folder / uuid.uuid4().hex, who)
        lease.take()  # first this, then the look at the other: whoever wants to be alone does it the other way round
        with _check_reachable(alone):
            if not alone.exists():
                break
            lease.give_back()
            if dead := watch.dead(alone):
                taken_over = Lease(alone, who)
                if taken_over.take(dead):
                    taken_over.give_back()
        told.of(lambda: f"waiting for {_lease_holder(alone)}: {alone} is held")
        pause(_POLL_SECONDS)
    try:
        yield
    finally:
        lease.give_back()


@contextmanager
def exclusive_when_idle(folder: "UPath", alone: "UPath", who: str, say: Say) -> Iterator[None]:
    """Hold the object `alone` while nobody has a lease in the folder.

    It is given back between the looks: who has a lease there already may need another one to come to an end.

    Raises:
        StorageError: the store can't be reached.
    """
    watches: dict[str, Watch] = {}
    told = WaitNotice(say)
    while True:
        with exclusive_lease(alone, who, say):
            if not living(folder, watches):
                yield
                return
        told.of(lambda: f"waiting for the runs under way: {folder} holds their leases")
        pause(_POLL_SECONDS)


def living(folder: "UPath", watches: dict[str, Watch]) -> bool:
    """Whether anybody has a lease in a folder; those of the dead are removed."""
    with _check_reachable(folder):
        try:
            found = [path for path in folder.glob("*") if _NAME.fullmatch(path.name)]
        except FileNotFoundError:  # the last was given back, and the folder with it, between two of the store's answers
            return False
        for path in found:
            if watches.setdefault(path.name, Watch()).dead(path):
                path.unlink(missing_ok=True)
        return bool(found)


def _is_lease(path: "UPath") -> bool:
    """Whether an object holds what a lease does."""
    try:
        return bool(json.loads(read_whole(path)).keys() == {"who", "mark", "renewals"})
    except (ValueError, AttributeError):
        return False


def _lease_holder(path: "UPath") -> str:
    """Who has a lease, as far as it is known."""
    with suppress(ValueError, KeyError, TypeError, *io_errors()):
        return str(json.loads(read_whole(path))["who"])
    return "another run"


def _is_refused(error: OSError) -> bool:
    """Whether a condition did not hold, or another request was under way, rather than that something is wrong."""
    cause: Any = error.__cause__
    code = getattr(cause, "response", {}).get("Error", {}).get("Code")
    return isinstance(error, FileExistsError) or code in {"PreconditionFailed", "ConditionalRequestConflict"}


@contextmanager
def _check_reachable(path: "UPath") -> Iterator[None]:
    """Turn what a store says into one line.

    Raises:
        StorageError: it can't be reached.
    """
    try:
        yield
    except StorageError:
        raise
    except io_errors() as error:
        raise StorageError(f"can't lock {path}: {error}; check the network and the credentials") from error
