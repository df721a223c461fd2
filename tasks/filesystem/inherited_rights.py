"""Give a file the owner, group, mode and access control list of the file that it will replace, never more rights."""

import contextlib
import errno
import os
import stat
from pathlib import Path

_ACL = "system.posix_acl_access"  # the extended attribute in which Linux keeps an access control list


def has_acl(file: Path | int) -> bool:
    """Return whether a file, given by its path or its descriptor, has an access control list.

    If it has one, the group bits of the mode are the upper limit of what the list grants.
    """
    try:
        os.getxattr(file, _ACL)
    except OSError as error:
        return error.errno not in {errno.ENODATA, errno.ENOTSUP}
    except AttributeError:  # not on Linux
        return False
    return True


def inherit_rights(path: Path, descriptor: int) -> None:
    """Give a new file the rights of the file that it will replace, as far as this account may.

    If only the owner cannot be set, the group is still kept. If the group cannot be set, the former group members
    count as others, and others may be members of the new group: both get only the rights that both had. If an access
    control list cannot be kept, only the owner keeps rights: without the list, the bits of the group and of others
    would grant more than the list did.

    Raises:
        OSError: If the rights cannot be read or set.
    """
    if os.name != "posix":
        return
    found = path.stat()
    mode = stat.S_IMODE(found.st_mode)
    for owner, group in ((found.st_uid, found.st_gid), (-1, found.st_gid)):
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, owner, group)
            break
    own = os.fstat(descriptor)
    if own.st_uid != found.st_uid:
        mode &= ~stat.S_ISUID  # which would be another account's
    if own.st_gid != found.st_gid:
        both = mode >> 3 & mode & 0o7
        mode = mode & ~(stat.S_ISGID | 0o77) | both << 3 | both
    if not _has_same_acl(path, descriptor) or (has_acl(path) and own.st_gid != found.st_gid):
        mode &= ~(stat.S_ISGID | 0o77)
    os.fchmod(descriptor, mode)


def _has_same_acl(path: Path, descriptor: int) -> bool:
    """Give a new file the access control list of another, or none; return whether that succeeded.

    A folder can have a default list, which a new file gets and the file to replace may not have.
    """
    try:
        if has_acl(path):
            os.setxattr(descriptor, _ACL, os.getxattr(path, _ACL))
        elif has_acl(descriptor):
            os.removexattr(descriptor, _ACL)
    except OSError:
        return False
    return True
