"""Decide whether only this user, root and the owner of this code can have written a file.

Runs of a worker are requested from elsewhere, and their recipes are paths on the worker's machine. A recipe that
names a function is code. If others can write that file or its folder, they can run code as the worker's user.
"""

import grp
import os
import pwd
import stat
from pathlib import Path

from tasks.errors import InputError, RecipeError
from tasks.filesystem.inherited_rights import has_acl
from tasks.filesystem.regular_files import expand_user

UNATTENDED = "MNIST_UNATTENDED"  # set in the environment of a worker's runs
ROOT_MARK = ".mnist-root"  # the file that makes a folder a root of the project
_ROOT = 0


def require_trusted_file(path: Path) -> None:
    """Reject, in a run of a worker, a file that other users can write, or that the project made from data.

    Runs that a user starts on the command line are not restricted, because that user chose the file.

    Raises:
        RecipeError: If the file, a link on the way to it, or a parent folder belongs to another user or is writable
            by others, or if the file is under a root or in the cache folder of the project. Files there belong to
            this user, but were made from data, such as downloaded archives, that can come from anybody.
    """
    if not os.environ.get(UNATTENDED):
        return
    given, real = path.absolute(), path.resolve()
    for folder in (*given.parents, *real.parents):
        if _holds_data(folder):
            raise RecipeError(
                f"a worker runs no functions from files under {folder}, where mnist keeps data; "
                f"move {path.name} to another folder"
            )
    for one in dict.fromkeys((given, *given.parents, real, *real.parents)):
        if fault := trust_fault(one):
            raise RecipeError(
                f"a worker runs functions only from files that no other user can write, but {one} {fault}; "
                "change its owner or mode, or run `mnist run` yourself"
            )


def cache_folder() -> Path:
    """Return the folder of the local files of all roots in object stores.

    Raises:
        InputError: If the account has no home directory.
    """
    caches = os.environ.get("XDG_CACHE_HOME") or expand_user(
        "~/.cache", "cache folder (or the one that XDG_CACHE_HOME names)"
    )
    return Path(caches, "mnist-error-analysis")


def _holds_data(folder: Path) -> bool:
    """Return whether a folder is a root, or the folder of the caches of roots in object stores."""
    if os.path.lexists(folder / ROOT_MARK):
        return True
    try:
        caches = cache_folder().absolute()
    except InputError:  # an account without a home directory has no caches
        return False
    return folder in {caches, caches.resolve()}


def trust_fault(path: Path) -> str | None:
    """Return the reason why another user can have written a file, link or folder, or None if nobody else can."""
    try:
        found = path.lstat()
    except OSError as error:
        return f"can't be checked: {error.strerror or error}"
    if not _is_trusted(found.st_uid):
        return f"belongs to user {found.st_uid}"
    if stat.S_ISLNK(found.st_mode) or (stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX):
        return None  # links have no mode; in a sticky folder such as /tmp, users cannot replace others' files
    if _others_write(path, found):
        return f"can be written by others (mode {stat.S_IMODE(found.st_mode):04o})"
    return None


def is_open(folder: Path) -> bool:
    """Return whether other users can add files to a folder, sticky or not, or can create a missing folder."""
    try:
        found = folder.stat()
    except FileNotFoundError:
        return is_open(folder.parent)
    except OSError:
        return False  # nothing can be read from such a folder
    return not _is_trusted(found.st_uid) or _others_write(folder, found)


def _is_trusted(user: int) -> bool:
    """Return whether a user ID is that of root, of this user, or of the owner of this code."""
    return user in {_ROOT, os.geteuid(), _code_owner()}


def _code_owner() -> int:
    """Return the user ID of the account that owns this code.

    The owner is trusted, because the owner can change this code anyway. The owner differs from the user if, for
    example, a container mounts a clone.
    """
    return Path(__file__).stat().st_uid


def _others_write(path: Path, found: os.stat_result) -> bool:
    """Return whether a file's mode or its access control list lets other users write it."""
    by_group = found.st_mode & stat.S_IWGRP and (not is_private(found.st_gid) or has_acl(path))
    return bool(found.st_mode & stat.S_IWOTH or by_group)


def is_private(group: int) -> bool:
    """Return whether a group is this user's own (or root's) group without other members.

    Linux distributions create such a group, with the user's name, for each user. The name matters: users whose
    primary group is a shared group such as `users` are not listed as its members.
    """
    if group != os.getegid():
        return False
    try:
        found, name = grp.getgrgid(group), pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # users of a container may have no names
        return True
    return (group == _ROOT or found.gr_name == name) and set(found.gr_mem) <= {name}
