"""Print what `mnist doctor` has found, as one screen."""

from collections.abc import Iterator

from artifacts.screen import Screen
from tasks.schemas.diagnosis import Diagnosis

# The largest folders of a root, and the libraries that shape the results; `--json` has all.
_SHOWN_FOLDERS = 5
_SHOWN_LIBRARIES = (
    "tensorflow", "tensorflow-cpu", "keras", "numpy", "pandas", "pyarrow", "scipy", "statsmodels", "scikit-learn",
    "cleanlab", "prefect", "distributed", "ray", "s3fs",
)  # fmt: skip
_INDENT, _MIN_WIDTH = 11, 20


def show_diagnosis(found: Diagnosis) -> None:
    """Print the facts, then the checks."""
    screen = Screen()
    for name, text in facts(found):
        _print(screen, name, text)
    screen.print()
    for check in found.checks:
        _print(screen, "ok" if check.passed else "FAILED", f"{check.name}: {check.found}")


def _print(screen: Screen, label: str, text: str) -> None:
    """Print a text after a label; on a terminal, break the text between words and indent the following lines."""
    for number, line in enumerate(screen.lines(text, max(_MIN_WIDTH, screen.width - _INDENT))):
        screen.print(f"{'' if number else label:{_INDENT}}{line}".rstrip(), soft_wrap=True)


def facts(found: Diagnosis) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each fact."""
    machine, usage, prefect = found.machine, found.usage, found.prefect
    yield "mnist", f"{found.mnist or 'not installed'}, Python {found.python} at {found.executable}"
    yield (
        "libraries",
        ", ".join(f"{name} {found.libraries[name]}" for name in _SHOWN_LIBRARIES if name in found.libraries),
    )
    yield "system", machine.system
    yield "processor", machine.processor
    yield "cores", f"{machine.cores}, of which {machine.usable_cores} can be used"
    yield "memory", f"{_gb(machine.memory)}, of which {_gb(machine.available_memory)} are available"
    yield "oneDNN", ", ".join((found.onednn, *(f"{name}={value}" for name, value in found.settings.items())))
    if found.ignored:
        yield "ignored", f"{', '.join(found.ignored)}: could change results, or stop a library"
    yield "root", ", ".join(filter(None, (found.root, found.root_source)))
    if usage.folders:
        sizes = [f"{name} {_mb(size)}" for name, size in usage.folders.items()]
        more = ["..."] if len(sizes) > _SHOWN_FOLDERS else []
        yield "files", f"{_mb(sum(usage.folders.values()))}: {', '.join(sizes[:_SHOWN_FOLDERS] + more)}"
    for disk in found.disks:
        yield "free", f"{_gb(disk.free)} of {_gb(disk.size)} for {disk.use}: {disk.folder}"
    if prefect.server:
        version = f", version {prefect.version}" if prefect.version else ""
        yield "Prefect", f"{prefect.server}{version}, {'reachable' if prefect.reachable else 'not reachable'}"
    else:
        yield "Prefect", "a temporary server for each run"
    if prefect.database:
        yield "history", f"{_mb(prefect.history) if prefect.history else 'none yet'}: {prefect.database}"


def _gb(size: int) -> str:
    return f"{size / 1e9:,.1f} GB"


def _mb(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
