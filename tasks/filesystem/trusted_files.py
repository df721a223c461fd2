"""Trusted: whether anybody but this user, root and who owns this code can have written a file.

A worker's runs are asked for from elsewhere, and their recipes are paths on its machine. A recipe that names a function is
code. Where somebody else can write it, or the folder that it stands in, that somebody could run code as the worker's user.
"""

import errno
import grp
import os
import pwd
import stat
from pathlib import Path

from tasks.errors import RecipeError

UNATTENDED = "MNIST_UNATTENDED"  # set in the environment of a worker's runs
_ROOT = 0


def refuse_foreign(path: Path) -> None:
    """Refuse, in a worker's run, a file that others can have written; who names a file on the command line has chosen it.

    Raises:
        RecipeError: the file, a link on the way to it, or a folder above is another user's, or open to others.
    """
    if not os.environ.get(UNATTENDED):
        return
    given, real = path.absolute(), path.resolve()
    for one in dict.fromkeys((given, *given.parents, real, *real.parents)):
        if fault := trust_fault(one):
            raise RecipeError(
                f"a worker runs functions only from files that nobody else can write, and {one} {fault}: "
                "change its owner or mode, or run `mnist run` yourself"
            )


def trust_fault(path: Path) -> str | None:
    """Say why a file, link or folder can be another's work, if it can."""
    try:
        found = path.lstat()
    except OSError as error:
        return f"can't be looked at: {error.strerror or error}"
    if not _is_trusted(found.st_uid):
        return f"belongs to the user {found.st_uid}"
    if stat.S_ISLNK(found.st_mode) or (stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX):
        return None  # a link has no mode of its own; in a sticky folder such as /tmp, nobody replaces what is another's
    if _others_write(path, found):
        return f"can be written by others (mode {stat.S_IMODE(found.st_mode):04o})"
    return None


def is_open(folder: Path) -> bool:
    """Whether others can add files to a folder, sticky or not, or make it where there is none."""
    try:
        found = folder.stat()
    except FileNotFoundError:
        return is_open(folder.parent)
    except OSError:
        return False  # nothing is read from it
    return not _is_trusted(found.st_uid) or _others_write(folder, found)


def _is_trusted(user: int) -> bool:
    """Whether a user is root, this one, or the owner of this code."""
    return user in {_ROOT, os.geteuid(), _code_owner()}


def _code_owner() -> int:
    """The account that this code belongs to, which needs no other way to run its own, as where a container mounts a clone."""
    return Path(__file__).stat().st_uid


def _others_write(path: Path, found: os.stat_result) -> bool:
    """Whether a file's mode, or its access control list, lets others write it."""
    by_group = found.st_mode & stat.S_IWGRP and (not is_private(found.st_gid) or _has_acl(path))
    return bool(found.st_mode & stat.S_IWOTH or by_group)


def is_private(group: int) -> bool:
    """Whether a group is this user's own, as Linux distributions make one for each user, or root's, and nobody else is in it.

    It has the user's name: those who have a group as their first, such as `users`, are not listed as its members.
    """
    if group != os.getegid():
        return False
    try:
        found, name = grp.getgrgid(group), pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container has users without names
        return True
    return (group == _ROOT or found.gr_name == name) and set(found.gr_mem) <= {name}


def _has_acl(path: Path) -> bool:
    """Whether a file has an access control list: then the group's bits of its mode are the most that it grants to anyone."""
    try:
        os.getxattr(path, "system.posix_acl_access")
    except OSError as error:
        return error.errno not in {errno.ENODATA, errno.ENOTSUP}
    except AttributeError:  # not on Linux
        return False
    return True
