"""Credential: what a Prefect server of this project asks for, and where it is kept.

The user's own `PREFECT_SERVER_API_AUTH_STRING` wins. Else a secret is made at the first start, in a folder of its own under
Prefect's home. Beside it lies a file of Prefect profiles, so that Prefect's commands find the server and the secret, too.
"""
# ruff: noqa: PLC0415  # a run asks for none of these settings

import base64
import json
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from tasks.errors import ServerError
from tasks.filesystem.exclusive_name import claim_name

_USER = "mnist"
_FOLDER = "mnist-serve"
_SECRET = "secret"  # noqa: S105  # the name of a file
_PROFILES = "profiles"
_PROFILE, _URL, _AUTH, _HEADERS, _KEY, _CERTIFICATE = (
    "PREFECT_PROFILE",
    "PREFECT_API_URL",
    "PREFECT_API_AUTH_STRING",
    "PREFECT_CLIENT_CUSTOM_HEADERS",
    "PREFECT_API_KEY",
    "PREFECT_API_SSL_CERT_FILE",
)
_BYTES = 32
_MADE = re.compile(rf"{_USER}:[\w-]{{43}}", re.ASCII)  # what `new_credential` makes
_OTHERS = 0o077  # with an access control list, the group's bits are the most that it grants to anyone: acl(5)


class Credential(NamedTuple):
    """A credential, as `user:password`; `file` is where it lies, unless it is the user's own."""

    value: str
    file: Path | None


def new_credential() -> str:
    """Make a credential of 256 random bits."""
    return f"{_USER}:{secrets.token_urlsafe(_BYTES)}"


def authorization(credential: str | None) -> dict[str, str]:
    """Write the header that carries a credential, if there is one."""
    return {"Authorization": f"Basic {base64.b64encode(credential.encode()).decode()}"} if credential else {}


def client_settings(credential: str) -> dict[str, str]:
    """Return the environment with which Prefect's clients use a credential, whatever the user has set for other servers.

    Headers are merged with those of the user's profile, where an `Authorization` would take the credential's place.
    """
    return {
        _AUTH: credential,
        _KEY: "",
        _CERTIFICATE: "",  # one that can't be read would end a client of http, too
        _HEADERS: json.dumps(authorization(credential)),
    }


def server_credential() -> Credential:
    """Find the credential of a server that is to be started: the user's own, else the secret of this machine's account.

    Raises:
        ServerError: The secret can't be kept, or is not kept from others.
    """
    from prefect.settings import get_current_settings

    own = get_current_settings().server.api.auth_string
    if own and own.get_secret_value():
        return Credential(own.get_secret_value(), None)
    with _private_folder() as folder:
        file = folder / _SECRET
        with suppress(FileExistsError):
            if not file.is_symlink() and not file.exists():
                _write_new(file, new_credential())
        return Credential(_read_secret(file), file)


def write_profiles(api: str, credential: Credential) -> Path:
    """Write the profile of a server, and return its file; a credential of the user's own is not copied.

    Each address has a file of its own, so that servers of one Prefect home leave each other's alone.

    Raises:
        ServerError: It can't be written.
    """
    import tomlkit

    settings = {_URL: api} | ({_AUTH: credential.value} if credential.file else {})
    name = f"{_PROFILES}-{re.sub('[^0-9A-Za-z.]+', '-', urlsplit(api).netloc).strip('-')}.toml"
    with _private_folder() as folder:
        new, file = folder / f"{name}.{os.getpid()}", folder / name
        new.unlink(missing_ok=True)
        _write_new(new, tomlkit.dumps({"active": _FOLDER, "profiles": {_FOLDER: settings}}))
        new.replace(file)
        return file


def in_the_way(environ: Mapping[str, str], api: str, credential: Credential) -> list[str]:
    """List the variables of an environment that win over the profile of a server, and name another server or credential."""
    right = {_PROFILE: _FOLDER, _URL: api, _AUTH: credential.value}
    found = [name for name, value in right.items() if environ.get(name, value) != value]
    given = _authorization_of(environ)
    return found if given in {None, *authorization(credential.value).values()} else [*found, _HEADERS]


def _authorization_of(environ: Mapping[str, str]) -> str | None:
    """Return the header that an environment adds to the requests of Prefect's clients in the place of any credential."""
    try:
        headers = json.loads(environ.get(_HEADERS, "{}"))
    except ValueError:
        return None  # which Prefect refuses
    found = headers.items() if isinstance(headers, dict) else ()
    return next((str(value) for name, value in found if name.lower() == "authorization"), None)


def setting_in_use(environ: Mapping[str, str]) -> tuple[str, bool] | None:
    """Name the setting whose credential Prefect's clients send, if any, and say whether the environment has it."""
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if any(name.lower() == "authorization" for name in settings.client.custom_headers):
        return _HEADERS, _authorization_of(environ) is not None
    for name, value in ((_AUTH, settings.api.auth_string), (_KEY, settings.api.key)):
        if value and value.get_secret_value():
            return name, name in environ
    return None


@contextmanager
def _private_folder() -> Iterator[Path]:
    """Make the folder that others can't enter, or see that it is one, and name what goes wrong in it.

    Raises:
        ServerError: It is not, or something in it can't be read or written.
    """
    from prefect.settings import PREFECT_HOME

    folder = Path(PREFECT_HOME.value()) / _FOLDER
    try:
        folder.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if folder.parent.stat().st_mode & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH:
            raise _unsafe(folder.parent, "anyone can write to it", f"chmod o-w {folder.parent}")
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        _check_private(folder, os.lstat(folder), stat.S_ISDIR, "folder")
        yield folder
    except OSError as error:
        if isinstance(error, ServerError):
            raise
        raise ServerError(
            f"can't keep the server's secret: {error.filename or folder}: {error.strerror or error}; "
            "set PREFECT_SERVER_API_AUTH_STRING=user:password, or another PREFECT_HOME"
        ) from error


def _write_new(file: Path, text: str) -> None:
    """Write a file that was not there, whole, readable by this account alone from its first byte on.

    Raises:
        FileExistsError: It is there already.
    """
    part = file.with_name(f".{file.name}.{secrets.token_hex(8)}.part")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:  # noqa: PTH123
        stream.write(f"{text.rstrip()}\n")
    try:
        claim_name(part, file, file.with_name(f".{file.name}.lock"))
    finally:
        part.unlink(missing_ok=True)


def _read_secret(file: Path) -> str:
    """Read the secret.

    Raises:
        ServerError: Others can read it, it is no plain file of this account, or was altered.
    """
    _check_private(file, os.lstat(file), stat.S_ISREG, "file")
    with open(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), encoding="utf-8") as stream:  # noqa: PTH123
        _check_private(file, os.fstat(stream.fileno()), stat.S_ISREG, "file")
        text = stream.read(1000).strip()
    if not _MADE.fullmatch(text):
        raise _unsafe(file, "it does not hold what was written there", f"rm {file}")
    return text


def _check_private(path: Path, found: os.stat_result, is_kind: Callable[[int], bool], kind: str) -> None:
    """Refuse what others can read or replace.

    Raises:
        ServerError: It is a link or of another kind, belongs to another account, or is open to others.
    """
    if not is_kind(found.st_mode):
        raise _unsafe(path, f"it is no plain {kind}", f"rm {path}")
    if found.st_uid != os.geteuid():
        raise _unsafe(path, "it belongs to another account", "set another PREFECT_HOME")
    if found.st_mode & _OTHERS:
        remedy = f"rm {path}, which makes a new one" if kind == "file" else f"rm -r {path}"
        raise _unsafe(path, "other accounts can use it", remedy)


def _unsafe(path: Path, fault: str, remedy: str) -> ServerError:
    """Say why a secret is not taken, and what to do."""
    return ServerError(f"the server's secret is not safe in {path}: {fault}; {remedy}")
