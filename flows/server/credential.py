"""The credential that a Prefect server of this project requires, and the files that hold it.

The user's own `PREFECT_SERVER_API_AUTH_STRING` takes precedence. Otherwise, the first start creates a secret in a
private folder under Prefect's home. A file of Prefect profiles in the same folder gives Prefect's commands the server's
URL and the secret.
"""
# ruff: noqa: PLC0415  # late imports: a run needs none of these settings

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
_SECRET = "secret"  # noqa: S105  # a file name, not a secret
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
_MADE = re.compile(rf"{_USER}:[\w-]{{43}}", re.ASCII)  # the form of `new_credential`
_OTHERS = 0o077  # with an access control list, the group bits are the upper limit of what it grants: acl(5)


class Credential(NamedTuple):
    """A credential in the form `user:password`.

    `file` is the path of the file that holds it, or None for a credential that the user has set.
    """

    value: str
    file: Path | None


def new_credential() -> str:
    """Return a new credential with 256 random bits."""
    return f"{_USER}:{secrets.token_urlsafe(_BYTES)}"


def authorization(credential: str | None) -> dict[str, str]:
    """Return the header that carries a credential, or no header if there is no credential."""
    return {"Authorization": f"Basic {base64.b64encode(credential.encode()).decode()}"} if credential else {}


def client_settings(credential: str) -> dict[str, str]:
    """Return environment variables that make Prefect's clients use a credential, regardless of the user's settings.

    Prefect merges the custom headers with those of the user's profile, where an `Authorization` header would override
    the credential.
    """
    return {
        _AUTH: credential,
        _KEY: "",
        _CERTIFICATE: "",  # an unreadable file would end even a client that uses plain HTTP
        _HEADERS: json.dumps(authorization(credential)),
    }


def server_credential() -> Credential:
    """Return the credential for a server that is about to start: the user's own, otherwise the secret of this account.

    Raises:
        ServerError: If the secret can't be stored, or other accounts can read or replace it.
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
    """Write a Prefect profile for a server and return the path of its file.

    The profile does not contain a credential that the user has set. Each server address has a separate file, so that
    servers that share one Prefect home do not overwrite each other's profile.

    Raises:
        ServerError: If the profile can't be written.
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


def overriding_variables(environ: Mapping[str, str], api: str, credential: Credential) -> list[str]:
    """Return the environment variables that override a server's profile with another server or credential."""
    right = {_PROFILE: _FOLDER, _URL: api, _AUTH: credential.value}
    found = [name for name, value in right.items() if environ.get(name, value) != value]
    given = _authorization_of(environ)
    return found if given in {None, *authorization(credential.value).values()} else [*found, _HEADERS]


def _authorization_of(environ: Mapping[str, str]) -> str | None:
    """Return the `Authorization` header that an environment adds to the requests of Prefect's clients.

    Prefect's clients send this header instead of any credential. None if the environment sets no such header.
    """
    try:
        headers = json.loads(environ.get(_HEADERS, "{}"))
    except ValueError:
        return None  # Prefect rejects it
    found = headers.items() if isinstance(headers, dict) else ()
    return next((str(value) for name, value in found if name.lower() == "authorization"), None)


def setting_in_use(environ: Mapping[str, str]) -> tuple[str, bool] | None:
    """Return the setting whose credential Prefect's clients send, and whether the environment sets it.

    Returns:
        The name of the setting, and True if an environment variable rather than a profile sets it; None without a
        credential.
    """
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
    """Yield the private folder of the credential, which is created if needed.

    An OSError in the block becomes a ServerError.
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
            f"can't store the server's secret: {error.filename or folder}: {error.strerror or error}; "
            "set PREFECT_SERVER_API_AUTH_STRING=user:password, or another PREFECT_HOME"
        ) from error


def _write_new(file: Path, text: str) -> None:
    """Write a new file atomically; only this account can read it from the first byte on."""
    part = file.with_name(f".{file.name}.{secrets.token_hex(8)}.part")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:  # noqa: PTH123
        stream.write(f"{text.rstrip()}\n")
    try:
        claim_name(part, file, file.with_name(f".{file.name}.lock"))
    finally:
        part.unlink(missing_ok=True)


def _read_secret(file: Path) -> str:
    _check_private(file, os.lstat(file), stat.S_ISREG, "file")
    with open(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), encoding="utf-8") as stream:  # noqa: PTH123
        _check_private(file, os.fstat(stream.fileno()), stat.S_ISREG, "file")
        text = stream.read(1000).strip()
    if not _MADE.fullmatch(text):
        raise _unsafe(file, "its content was altered", f"rm {file}")
    return text


def _check_private(path: Path, found: os.stat_result, is_kind: Callable[[int], bool], kind: str) -> None:
    """Check that other accounts can't read or replace a file or folder."""
    if not is_kind(found.st_mode):
        raise _unsafe(path, f"it is a link, or not a {kind}", f"rm {path}")
    if found.st_uid != os.geteuid():
        raise _unsafe(path, "it belongs to another account", "set another PREFECT_HOME")
    if found.st_mode & _OTHERS:
        remedy = f"rm {path}, and the next start makes a new one" if kind == "file" else f"rm -r {path}"
        raise _unsafe(path, "other accounts can use it", remedy)


def _unsafe(path: Path, fault: str, remedy: str) -> ServerError:
    """Return an error that says why a secret is rejected and what to do."""
    return ServerError(f"the server's secret is not safe in {path}: {fault}; {remedy}")
