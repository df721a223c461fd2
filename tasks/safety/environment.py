"""Surroundings: which environment variables and files of settings count, in every process of this project.

Libraries take values from the environment and from files that they look for unasked, when they are imported or first used. Some
of these values change what a network learns, and the cache would keep it. So this package decides when it is imported, and so
before any library is, in each process: the flow's, its workers', its server's. What is decided is written to the environment,
where child processes and libraries find it.

Imported with the package, before anything else: little of the standard library.
"""

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

# pathlib is slow to import
PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120
_PACKAGES = frozenset({"artifacts", "deployments", "flows", "tasks"})

# The user's value wins. It may change what a step makes that uses the library: so it is a part of the keys of such steps, and
# recorded with what they make.
NUMBERS = {
    "TF_ENABLE_ONEDNN_OPTS": "tensorflow",  # other kernels, which round differently
    "ONEDNN_MAX_CPU_ISA": "tensorflow",  # so do those of other instruction sets
    "NPY_DISABLE_CPU_FEATURES": "numpy",
    "NPY_ENABLE_CPU_FEATURES": "numpy",
    "OPENBLAS_CORETYPE": "numpy",  # named where the library mistakes a virtual machine's processor
}
# How fast, on how many cores, in how much memory, and with how many messages: no result depends on it.
_HARMLESS = frozenset(
    {
        "TF_CPP_MIN_LOG_LEVEL",
        "TF_FORCE_GPU_ALLOW_GROWTH",
        "TF_GPU_ALLOCATOR",
        "TF_NUM_INTEROP_THREADS",
        "TF_NUM_INTRAOP_THREADS",
    }
)
# Cleared, unless named above: each library reads dozens of these, and a list of those that matter would never be whole.
_CLEARED_PREFIXES = (
    "KERAS_",  # another back end, limits of epochs and steps
    "TF_",  # TF_XLA_FLAGS, TF_DETERMINISTIC_OPS, TF_USE_LEGACY_KERAS, rewriting graphs to 16 bits
    "TF2_",
    "XLA_",
    "AUTOGRAPH_",
    "ONEDNN_",  # ONEDNN_DEFAULT_FPMATH_MODE; ONEDNN_VERBOSE writes to standard output
    "DNNL_",  # oneDNN's earlier name
    "NPY_",
    "NUMPY_",
    "SCIPY_",  # SCIPY_ARRAY_API
    "SKLEARN_",  # SKLEARN_ASSUME_FINITE
    "PANDAS_",
    "ARROW_PRE_",  # formats of earlier versions
    "OTEL_",  # propagators and contexts of OpenTelemetry that others have installed, without which Prefect can't be imported
    "WEBSOCKETS_",  # sizes, of which one that is no number ends the import
    # Of Prefect's, in both spellings: each step says itself how often it is tried, and keeps its result.
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
        "MPLBACKEND",  # figures are drawn without a screen
        "PREFECT_CLIENT_ENABLE_METRICS",  # at a port that only one process can have
        "PREFECT_CLIENT_METRICS_ENABLED",
        "PREFECT_DEFAULT_RESULT_STORAGE_BLOCK",
        "PREFECT_TEST_MODE",
        "SSLKEYLOGFILE",  # secrets of connections; where it can't be written, httpx makes no client
        "SOURCE_DATE_EPOCH",  # numpy's f2py, which SciPy imports, fails where it is no number
        # What would have child processes warn, trace, wait for a person, or drop assertions.
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
_CURRENT_FOLDER = frozenset({"", "."})  # as libraries write it into Python's path
_KERAS_HOME = "KERAS_HOME"
_SETTINGS_OF_KERAS = os.path.join(PROJECT, "tasks", "config", "builtin", "keras")  # noqa: PTH118
KERAS_CACHE = "MNIST_KERAS_CACHE"  # where Keras keeps downloads: what KERAS_HOME said
PINNED = {
    _KERAS_HOME: _SETTINGS_OF_KERAS,  # and not the `keras.json` of ~/.keras; nothing is written there either
    "PYTHONSAFEPATH": "1",  # the current folder holds no module of ours, however a child process is started
}

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_NO_PROXY = ("no_proxy", "NO_PROXY")  # the lower case wins where both are set
_PROXIES = tuple(name for kind in ("http", "https", "all") for name in (f"{kind}_proxy", f"{kind}_proxy".upper()))
_PROXY = re.compile(r"(https?://)?([^/@\s]*@)?([^/@\s:\[\]]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?(/\S*)?", re.IGNORECASE)
_CERTIFICATES, _CERTIFICATE_FOLDER = "SSL_CERT_FILE", "SSL_CERT_DIR"
_NOWHERE = os.path.join(os.devnull, "none")  # noqa: PTH118  # a folder of no certificates
_MOST_CERTIFICATES = 16 << 20  # bytes; bundles of all authorities have 200 KB
SET_ASIDE = (
    "MNIST_SET_ASIDE"  # a line for each variable that can't be used, and why; what needs the variable is refused
)

# Child processes run in other folders.
_PATHS = frozenset(
    {
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

# Of Prefect's settings, those that concern a server of our own, too: the rest is of the user's server.
_OWN_SERVER = frozenset({"PREFECT_HOME", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH"})


def apply_environment() -> None:
    """Decide for this process and its children; to decide twice changes nothing."""
    warned = os.environ.get("PYTHONWARNINGS")
    try:
        here = os.getcwd()  # noqa: PTH109
    except OSError:  # it was removed
        here = ""
    _adopt_settings(settled_values(os.environ, here))
    named = _paths_of(os.environ.get("PYTHONPATH", ""))
    last = {*_CURRENT_FOLDER, here} - {PROJECT, *named}  # not removed, as Prefect removes itself what it has added
    sys.path[:] = sorted(sys.path, key=last.__contains__)
    if warned:
        _forget_warnings(warned.split(","))
    if OwnFinder not in sys.meta_path:
        sys.meta_path.insert(0, OwnFinder)


def _adopt_settings(after: Mapping[str, str]) -> None:
    """Make an environment this process's."""
    for name in os.environ.keys() - after.keys():
        del os.environ[name]
    os.environ.update({name: value for name, value in after.items() if os.environ.get(name) != value})


def settled_values(given: Mapping[str, str], here: str) -> dict[str, str]:
    """Return the environment that counts, of one that was given in the folder `here`."""
    after = {name: value for name, value in given.items() if _counts(name, value)}
    if given.get(_KERAS_HOME, _SETTINGS_OF_KERAS) != _SETTINGS_OF_KERAS:
        after[KERAS_CACHE] = given[_KERAS_HOME]
    after |= PINNED
    for name in _PATHS & after.keys():
        after[name] = _absolute(after[name], here)
    for name in _DATABASES & after.keys():
        if found := _RELATIVE_SQLITE.fullmatch(after[name]):
            after[name] = f"{found[1]}{_absolute(found[2], here)}{found[3]}"
    if "PYTHONPATH" in after:  # an empty element is the current folder
        after["PYTHONPATH"] = os.pathsep.join(_absolute(path, here) for path in _paths_of(after["PYTHONPATH"]))
    after |= _never_proxied(after)
    return _without_unusable(after)


def _counts(name: str, value: str) -> bool:
    """Whether a variable stays."""
    if name in NUMBERS:
        return bool(value)
    return name in _HARMLESS or not (name in _CLEARED or name.startswith(_CLEARED_PREFIXES))


def _absolute(path: str, here: str) -> str:
    """Make a path absolute, unless it begins with a variable of Prefect's or the home of an unknown account."""
    path = os.path.expanduser(path)  # noqa: PTH111
    return path if not path or not here or path[0] in "~$" else os.path.join(here, path)  # noqa: PTH118


def _paths_of(value: str) -> list[str]:
    """The paths that PYTHONPATH names."""
    return [path for path in value.split(os.pathsep) if path]


def _never_proxied(given: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Both spellings of NO_PROXY, with this machine's own addresses after what the user has there."""
    own = next((given[name] for name in _NO_PROXY if given.get(name)), "")
    for name in _NO_PROXY:
        hosts = [host.strip() for host in (given.get(name) or own).split(",") if host.strip()]
        missing = [host for host in _LOOPBACK if host not in hosts]
        yield name, ",".join(hosts if "*" in hosts else [*hosts, *missing])


def _without_unusable(given: dict[str, str]) -> dict[str, str]:
    """Set aside what httpx would refuse at each start, even of a client that talks to this machine only.

    Of certificates none is trusted then: which ones others would, is not what the user has asked for.
    """
    after, lines = dict(given), [line for line in given.get(SET_ASIDE, "").splitlines() if line]
    for name in _PROXIES:
        if given.get(name) and not _PROXY.fullmatch(given[name]):  # the value may hold a password
            lines.append(f"{name} names no proxy of the kind http://HOST:PORT")
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
    """Why a file of certificates can't be used; empty if it can."""
    try:
        with open(file, "rb") as stream:  # noqa: PTH123
            return "" if b"-----BEGIN " in stream.read(_MOST_CERTIFICATES) else "it holds no certificate"
    except OSError as error:
        return error.strerror or str(error)


def fault_on_the_way_to(url: str) -> str:
    """Say which variable keeps this process from a URL, as it names a proxy or certificates that can't be used; else empty."""
    from urllib.parse import urlsplit  # noqa: PLC0415
    from urllib.request import proxy_bypass  # noqa: PLC0415

    lines, parts = os.environ.get(SET_ASIDE, "").splitlines(), urlsplit(url)
    names = {_CERTIFICATES, _CERTIFICATE_FOLDER} if parts.scheme == "https" else set()
    if lines and not proxy_bypass(parts.hostname or ""):
        names |= {f"{parts.scheme}_proxy", "all_proxy", f"{parts.scheme}_proxy".upper(), "ALL_PROXY"}
    faults = [line for line in lines if re.split("[ =]", line, maxsplit=1)[0] in names]
    return f"{'; '.join(faults)}; correct the variable, or unset it" if faults else ""


def number_settings(libraries: Iterable[str]) -> dict[str, str]:
    """The variables of this process that may change what a step makes which uses some libraries."""
    used = set(libraries)
    return {name: os.environ[name] for name, library in NUMBERS.items() if library in used and os.environ.get(name)}


def apply_number_settings(wanted: Mapping[str, str]) -> None:
    """Let this process compute as the one does whose variables these are, as far as the libraries are not imported yet."""
    for name, library in NUMBERS.items():
        if library not in sys.modules:
            os.environ.pop(name, None)
            if name in wanted:
                os.environ[name] = wanted[name]


def for_own_server(given: Mapping[str, str]) -> dict[str, str]:
    """The environment of a server of our own: of the settings of Prefect's, its home, profile and database count."""
    return {
        name: value
        for name, value in given.items()
        if not name.startswith("PREFECT_") or name in _OWN_SERVER or "_DATABASE_" in name
    }


def _forget_warnings(given: Iterable[str]) -> None:
    """Undo what PYTHONWARNINGS has set: with `error`, what a library calls deprecated would end a run."""
    import warnings  # noqa: PLC0415

    sys.warnoptions[:] = [one for one in sys.warnoptions if one not in set(given)]  # child processes would get them
    warnings.resetwarnings()
    for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", category)


class OwnFinder:
    """A finder of this project's packages, which no other path's stand in for, and of Matplotlib."""

    @staticmethod
    def find_spec(name: str, path: Any = None, _target: Any = None) -> ModuleSpec | None:
        """Find a package where this module lies, or Matplotlib, to be imported with its own settings."""
        for entry in _CURRENT_FOLDER & set(sys.path[:-1]):  # Prefect's migrations of its database put it first
            sys.path.append(entry)
            sys.path.remove(entry)  # the first
        if name in _PACKAGES and path is None:
            return PathFinder.find_spec(name, [PROJECT])
        if (
            name == "matplotlib"
            and path is None
            and (spec := PathFinder.find_spec(name))
            and spec.origin
            and spec.loader
        ):
            folder = os.path.join(os.path.dirname(spec.origin), "mpl-data")  # noqa: PTH118, PTH120
            spec.loader.exec_module = _with_own_settings(spec.loader.exec_module, folder)  # type: ignore[method-assign, assignment]
            return spec
        return None


def _with_own_settings(execute: Callable[[ModuleType], None], folder: str) -> Callable[[ModuleType], None]:
    """Execute Matplotlib's module so that it reads the settings that it brings, in a folder, and no `matplotlibrc` else."""

    def executed(module: ModuleType) -> None:
        import logging  # noqa: PLC0415

        logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it says where its cache is, if not in ~
        with _unseen("matplotlibrc"):
            before = os.environ.get("MATPLOTLIBRC")
            os.environ["MATPLOTLIBRC"] = folder
            try:
                execute(module)
            finally:
                del os.environ["MATPLOTLIBRC"]
                if before is not None:
                    os.environ["MATPLOTLIBRC"] = before

    return executed


@contextmanager
def _unseen(name: str) -> Iterator[None]:
    """Let no file of the current folder be seen by a name: Matplotlib looks there before it asks the environment."""
    exists = os.path.exists
    os.path.exists = lambda path: path != name and exists(path)
    try:
        yield
    finally:
        os.path.exists = exists
