"""Decide which environment variables and settings files apply in every process of this project.

Libraries read values from the environment and from settings files when they are imported or first used. Some of these
values change what a network learns, and the cache would store the changed result. Therefore `tasks` applies these
decisions when it is imported, before any library is, in each process: the flow's, its workers' and its server's. The
decisions are written to the environment, where libraries and child processes find them.

This module is imported before anything else, so it uses only a small part of the standard library.
"""

import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping

from tasks.safety.imports import CURRENT_FOLDER, PROJECT, OwnFinder

# The user's value wins. It may change the results of steps that use the library, so it is part of the cache keys of
# these steps, and it is recorded with their results.
NUMBERS = {
    "TF_ENABLE_ONEDNN_OPTS": "tensorflow",  # selects other kernels, which round differently
    "ONEDNN_MAX_CPU_ISA": "tensorflow",  # kernels of other instruction sets round differently, too
    "NPY_DISABLE_CPU_FEATURES": "numpy",
    "NPY_ENABLE_CPU_FEATURES": "numpy",
    "OPENBLAS_CORETYPE": "numpy",  # set where the library misdetects the processor of a virtual machine
}
# Set where the user has not set them, so that the processor does not decide. By default, TensorFlow uses its oneDNN
# kernels only on processors with AVX-512 VNNI or newer. With AVX2 alone, a training step without them takes three to
# four times as long.
_DEFAULT_NUMBERS = {"TF_ENABLE_ONEDNN_OPTS": "1"}
# Speed, cores, memory and messages: no result depends on these variables.
_HARMLESS = frozenset(
    {
        "TF_CPP_MIN_LOG_LEVEL",
        "TF_FORCE_GPU_ALLOW_GROWTH",
        "TF_GPU_ALLOCATOR",
        "TF_NUM_INTEROP_THREADS",
        "TF_NUM_INTRAOP_THREADS",
    }
)
# Cleared, unless named above: each library reads dozens of variables, and a list of relevant ones would be incomplete.
_CLEARED_PREFIXES = (
    "KERAS_",  # another backend, limits on epochs and steps
    "TF_",  # TF_XLA_FLAGS, TF_DETERMINISTIC_OPS, TF_USE_LEGACY_KERAS, graph rewriting to 16 bits
    "TF2_",
    "XLA_",
    "AUTOGRAPH_",
    "ONEDNN_",  # ONEDNN_DEFAULT_FPMATH_MODE; ONEDNN_VERBOSE writes to standard output
    "DNNL_",  # the former name of oneDNN
    "NPY_",
    "NUMPY_",
    "SCIPY_",  # SCIPY_ARRAY_API
    "SKLEARN_",  # SKLEARN_ASSUME_FINITE
    "PANDAS_",
    "ARROW_PRE_",  # file formats of earlier versions
    "OTEL_",  # name propagators and contexts by entry point; Prefect can't be imported if they are not installed
    "WEBSOCKETS_",  # sizes; a value that is not a number makes the import fail
    # Libraries that other libraries use: their variables may stop an import, or choose another implementation.
    "AIOHTTP_",
    "ALEMBIC_",
    "COOLNAME_",
    "DOCKET_",
    "FASTMCP_",
    "FSSPEC_",
    "HDF5_",
    "JOBLIB_",
    "LOGFIRE_",
    "LOKY_",
    "MSGPACK_",
    "PATSY_",
    "PENDULUM_",
    "PROMETHEUS_",
    "PROTOCOL_BUFFERS_",
    "PYDANTIC_",
    "PYTZ_",
    "PY_KEY_VALUE_",
    "SM_",  # statsmodels
    "TQDM_",
    "TYPER_",
    "UVICORN_",
    "WRAPT_",
    # Prefect settings, in both spellings: each step sets its own retries and stores its own result.
    "PREFECT_FLOW_DEFAULT_",
    "PREFECT_FLOWS_DEFAULT_",
    "PREFECT_RESULTS_",
    "PREFECT_TASK_",
    "PREFECT_TASKS_",
    "PREFECT_TESTING_",
)
_CLEARED = frozenset(
    {
        "NVIDIA_TF32_OVERRIDE",
        "MPLBACKEND",  # figures are drawn without a display
        "PREFECT_CLIENT_ENABLE_METRICS",  # the metrics server uses a port that only one process can bind
        "PREFECT_CLIENT_METRICS_ENABLED",
        "PREFECT_DEFAULT_RESULT_STORAGE_BLOCK",
        "PREFECT_TEST_MODE",
        "SSLKEYLOGFILE",  # logs secrets of connections; if the file can't be written, httpx can't create a client
        "UNICODE_VERSION",  # another width of characters in tables
        "WEB_CONCURRENCY",  # uvicorn's number of processes; ours have one
        "prometheus_multiproc_dir",
        "SOURCE_DATE_EPOCH",  # NumPy's f2py, which SciPy imports, fails if the value is not a number
        # Would make child processes warn, trace, wait for input, or skip assertions.
        "PYTHONDEBUG",
        "PYTHONDEVMODE",
        "PYTHONINSPECT",
        "PYTHONOPTIMIZE",
        "PYTHONPROFILEIMPORTTIME",
        "PYTHONSTARTUP",
        "PYTHONVERBOSE",
        "PYTHONWARNINGS",
    }
)
# Minimum size of a terminal in characters. With other values, rich raises an error or prints nothing.
_SIZES = {"COLUMNS": 20, "LINES": 2}
_SIZE = re.compile("[0-9]{1,4}")
_NOWHERE = os.path.join(os.devnull, "none")  # noqa: PTH118  # a folder that cannot exist
_KERAS_HOME = "KERAS_HOME"
_SETTINGS_OF_KERAS = os.path.join(PROJECT, "tasks", "config", "builtin", "keras")  # noqa: PTH118
KERAS_CACHE = "MNIST_KERAS_CACHE"  # the folder for Keras downloads: the user's KERAS_HOME
PINNED = {
    "FSSPEC_CONFIG_DIR": _NOWHERE,  # instead of ~/.config/fsspec, which holds settings of stores for all projects
    _KERAS_HOME: _SETTINGS_OF_KERAS,  # instead of ~/.keras, whose `keras.json` is not read and where nothing is written
    "PYTHONSAFEPATH": "1",  # keeps the current folder, which holds none of our modules, off sys.path of child processes
}

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_NO_PROXY = ("no_proxy", "NO_PROXY")  # the lower case wins if both are set
_PROXIES = tuple(name for kind in ("http", "https", "all") for name in (f"{kind}_proxy", f"{kind}_proxy".upper()))
# A user info with `/`, `?` or `#`, or a second `@`, is not valid: parsers would take a part of it for the host or port.
_PROXY = re.compile(
    r"(https?://)?([^/?#@\s]*@)?([^/?#@\s:\[\]]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?(/[^@\s]*)?", re.IGNORECASE
)
_CERTIFICATES, _CERTIFICATE_FOLDER = "SSL_CERT_FILE", "SSL_CERT_DIR"
_MAX_CERTIFICATES = 16 << 20  # bytes; a bundle of all authorities has about 200 KB
SET_ASIDE = (
    "MNIST_SET_ASIDE"  # one line for each unusable variable, with the reason; requests that need the variable fail
)

# Relative paths are made absolute, because child processes run in other folders.
_PATHS = frozenset(
    {
        "MPLCONFIGDIR",
        "PREFECT_API_SSL_CERT_FILE",
        "PREFECT_HOME",
        "PREFECT_LOGGING_CONFIG_PATH",
        "PREFECT_LOGGING_SETTINGS_PATH",
        "PREFECT_MEMO_STORE_PATH",
        "PREFECT_PROFILES_PATH",
        "PREFECT_SERVER_MEMO_STORE_PATH",
        "AWS_CA_BUNDLE",
        "REQUESTS_CA_BUNDLE",
        _CERTIFICATES,
        _CERTIFICATE_FOLDER,
    }
)
_DATABASES = frozenset({"PREFECT_API_DATABASE_CONNECTION_URL", "PREFECT_SERVER_DATABASE_CONNECTION_URL"})
_RELATIVE_SQLITE = re.compile(r"(sqlite(?:\+\w+)?:///)(?!/|:memory:|file:|\?|[A-Za-z]:)([^?]+)(.*)", re.DOTALL)

# The Prefect settings that also apply to our own server; all others are for the user's server.
_OWN_SERVER = frozenset({"PREFECT_HOME", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH"})


def apply_environment() -> None:
    """Apply the decisions to this process and its children; repeated calls change nothing."""
    warned = os.environ.get("PYTHONWARNINGS")
    try:
        here = os.getcwd()  # noqa: PTH109
    except OSError:  # the folder was removed
        here = ""
    _adopt_settings(effective_environment(os.environ, here))
    named = _paths_of(os.environ.get("PYTHONPATH", ""))
    last = {*CURRENT_FOLDER, here} - {PROJECT, *named}  # not removed: Prefect removes the entries that it has added
    sys.path[:] = sorted(sys.path, key=last.__contains__)
    if warned:
        _forget_warnings(warned.split(","))
    if OwnFinder not in sys.meta_path:
        sys.meta_path.insert(0, OwnFinder)


def _adopt_settings(after: Mapping[str, str]) -> None:
    """Make the environment of this process equal to `after`."""
    for name in os.environ.keys() - after.keys():
        del os.environ[name]
    os.environ.update({name: value for name, value in after.items() if os.environ.get(name) != value})


def effective_environment(given: Mapping[str, str], here: str) -> dict[str, str]:
    """Return the environment that applies, given an environment and the current folder.

    Args:
        given: The environment variables as the process received them.
        here: The current folder, which relative paths refer to; empty if the folder was removed.
    """
    after = _DEFAULT_NUMBERS | {name: value for name, value in given.items() if _counts(name, value)}
    if given.get(_KERAS_HOME, _SETTINGS_OF_KERAS) != _SETTINGS_OF_KERAS:
        after[KERAS_CACHE] = given[_KERAS_HOME]
    after |= PINNED
    for name in _PATHS & after.keys():
        after[name] = _absolute(after[name], here)
    for name in _DATABASES & after.keys():
        if found := _RELATIVE_SQLITE.fullmatch(after[name]):
            after[name] = f"{found[1]}{_absolute(found[2], here)}{found[3]}"
    if "PYTHONPATH" in after:  # an empty element means the current folder
        after["PYTHONPATH"] = os.pathsep.join(_absolute(path, here) for path in _paths_of(after["PYTHONPATH"]))
    after |= _never_proxied(after)
    return _without_unusable(after)


def _counts(name: str, value: str) -> bool:
    """Return whether a variable stays in the environment."""
    if name in NUMBERS:
        return bool(value)
    if name in _SIZES:
        return bool(_SIZE.fullmatch(value)) and int(value) >= _SIZES[name]
    return name in _HARMLESS or not (name in _CLEARED or name.startswith(_CLEARED_PREFIXES))


def _absolute(path: str, here: str) -> str:
    """Make a path absolute, unless it starts with a Prefect variable or the home of an unknown account."""
    path = os.path.expanduser(path)  # noqa: PTH111
    return path if not path or not here or path[0] in "~$" else os.path.join(here, path)  # noqa: PTH118


def _paths_of(value: str) -> list[str]:
    """Return the paths in the value of PYTHONPATH."""
    return [path for path in value.split(os.pathsep) if path]


def _never_proxied(given: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield both spellings of NO_PROXY, with the loopback addresses after the user's hosts."""
    own = next((given[name] for name in _NO_PROXY if given.get(name)), "")
    for name in _NO_PROXY:
        hosts = [host.strip() for host in (given.get(name) or own).split(",") if host.strip()]
        missing = [host for host in _LOOPBACK if host not in hosts]
        yield name, ",".join(hosts if "*" in hosts else [*hosts, *missing])


def _without_unusable(given: dict[str, str]) -> dict[str, str]:
    """Remove the proxies and certificates that would stop httpx from creating any client, even for local connections.

    The reasons are added to the variable MNIST_SET_ASIDE. If the certificate file is unusable, no certificate is
    trusted: the default certificates are not what the user asked for. A missing certificate folder is only reported.
    """
    after, lines = dict(given), [line for line in given.get(SET_ASIDE, "").splitlines() if line]
    for name in _PROXIES:
        if given.get(name) and not _PROXY.fullmatch(given[name]):  # the value may hold a password
            lines.append(f"{name} is not a proxy URL such as http://HOST:PORT")
            del after[name]
    file, folder = given.get(_CERTIFICATES), given.get(_CERTIFICATE_FOLDER)
    if file and (fault := _fault_of_certificates(file)):
        lines.append(f"{_CERTIFICATES}={file}: {fault}")
        del after[_CERTIFICATES]
        after[_CERTIFICATE_FOLDER] = _NOWHERE
    elif not file and folder and folder != _NOWHERE and not os.path.isdir(folder):  # noqa: PTH112
        lines.append(f"{_CERTIFICATE_FOLDER}={folder}: there is no such folder")
    if lines:
        after[SET_ASIDE] = "\n".join(dict.fromkeys(lines))
    return after


def _fault_of_certificates(file: str) -> str:
    """Return the reason why a certificate file is unusable, or an empty string if it is usable."""
    try:
        with open(file, "rb", opener=_open_at_once) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                return "it is not a regular file"
            return "" if b"-----BEGIN " in stream.read(_MAX_CERTIFICATES) else "it holds no certificate"
    except OSError as error:
        return error.strerror or str(error)


def _open_at_once(path: str, flags: int) -> int:
    """Open a file without waiting for the writer of a FIFO."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def fault_on_the_way_to(url: str) -> str:
    """Return the reason why an unusable proxy or certificate setting prevents requests to a URL.

    The text names the variable. It is empty if no variable that applies to the URL was removed.
    """
    from urllib.parse import urlsplit  # noqa: PLC0415
    from urllib.request import proxy_bypass  # noqa: PLC0415

    lines = os.environ.get(SET_ASIDE, "").splitlines()
    try:
        parts = urlsplit(url)
    except ValueError:  # the request reports the invalid URL
        return ""
    names = {_CERTIFICATES, _CERTIFICATE_FOLDER} if parts.scheme == "https" else set()
    if lines and not proxy_bypass(parts.hostname or ""):
        names |= {f"{parts.scheme}_proxy", "all_proxy", f"{parts.scheme}_proxy".upper(), "ALL_PROXY"}
    faults = [line for line in lines if re.split("[ =]", line, maxsplit=1)[0] in names]
    return f"{'; '.join(faults)}; correct the variable, or unset it" if faults else ""


def number_settings(libraries: Iterable[str]) -> dict[str, str]:
    """Return the variables of this process that may change the results of steps that use the given libraries."""
    used = set(libraries)
    return {name: os.environ[name] for name, library in NUMBERS.items() if library in used and os.environ.get(name)}


def apply_number_settings(wanted: Mapping[str, str]) -> None:
    """Set the variables that may change results as in another process.

    Libraries that are already imported keep their settings.

    Args:
        wanted: The variables of the other process, as `number_settings` returns them.
    """
    for name, library in NUMBERS.items():
        if library not in sys.modules:
            os.environ.pop(name, None)
            if name in wanted:
                os.environ[name] = wanted[name]


def for_own_server(given: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a Prefect server that this project starts.

    Of the Prefect settings, only the home, the profile and the database are kept.
    """
    return {
        name: value
        for name, value in given.items()
        if not name.startswith("PREFECT_") or name in _OWN_SERVER or "_DATABASE_" in name
    }


def _forget_warnings(given: Iterable[str]) -> None:
    """Undo the effect of PYTHONWARNINGS.

    With the value `error`, a deprecation warning in a library would end a run.
    """
    import warnings  # noqa: PLC0415

    sys.warnoptions[:] = [one for one in sys.warnoptions if one not in set(given)]  # child processes would inherit them
    warnings.resetwarnings()
    for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", category)
