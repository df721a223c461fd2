"""Define the shared fixtures: tiny real data, a workspace, and a Prefect server for modules that need it."""

import atexit
import gc
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Set these variables before Prefect is imported, so that the history of the tests is written to a temporary folder.
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="prefect-home-")
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "0"
os.environ.pop("PREFECT_API_URL", None)
os.environ.pop("MNIST_ROOT", None)
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import pytest
from hypothesis import HealthCheck, settings
from prefect.testing.utilities import prefect_test_harness

from flows.server.database import template_file
from tasks.config.dataset import Dataset, load_dataset
from tasks.engine.workspace import Workspace
from tasks.schemas.records import SplitRecord
from tasks.steps.decode import decode
from tasks.steps.download import download
from tests.support import data
from tests.support.command import Mnist

# With several processes of pytest, each uses one core, and so do the runs that it starts: a run with one process for all
# its trainings takes a fifth less processor time than one with a process for each. `all_cores` is for the tests of the
# latter.
_CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
if _CORES and "PYTEST_XDIST_WORKER" in os.environ:
    os.sched_setaffinity(0, {_CORES[int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw")) % len(_CORES)]})

# The longest files, longest first. They are started first, so that no process has one of them left at the end.
LONGEST = (
    "integration/server/test_serve.py",
    "integration/cluster/test_cluster.py",
    "integration/server/test_worker.py",
    "integration/flow/test_cli.py",
    "integration/server/test_production.py",
    "integration/s3/test_store.py",
    "integration/cluster/test_kubernetes.py",
)

# While other tests keep the cores busy, any generator of examples can be slow.
settings.register_profile("busy", suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

atexit.register(shutil.rmtree, os.environ["PREFECT_HOME"], ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        kind, *below = item.path.relative_to(Path(__file__).parent).parts
        item.add_marker(below[0] if kind == "integration" else kind)
    files = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: files.get(item.path, len(files)))


def pytest_runtest_setup() -> None:
    """Exclude all objects from garbage collection, as runs do after their imports.

    Otherwise, each of Keras's explicit collections, at the start of a training, takes half a second.
    """
    gc.freeze()


@contextmanager
def on_all_cores() -> Iterator[None]:
    """Let the runs that start while the block runs use all cores, and so a process for each training."""
    if not _CORES:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, _CORES)
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture
def all_cores() -> Iterator[None]:
    with on_all_cores():
        yield


@pytest.fixture
def work(tmp_path: Path) -> Workspace:
    return Workspace(root=tmp_path / "root", run="this-run")


@pytest.fixture
def files(tmp_path: Path) -> data.Files:
    return data.make(tmp_path / "mirror")


@pytest.fixture
def tiny(files: data.Files) -> Dataset:
    return load_dataset(str(files.toml()))


@pytest.fixture
def splits(tiny: Dataset, work: Workspace) -> dict[str, SplitRecord]:
    return decoded(tiny, work)


def decoded(dataset: Dataset, work: Workspace) -> dict[str, SplitRecord]:
    archives = {archive.name: download.fn(archive, dataset.mirrors, work) for archive in dataset.archives()}
    return {
        name: decode.fn(dataset, name, archives[split.images.name], archives[split.labels.name], work)
        for name, split in (("train", dataset.train), ("test", dataset.test))
    }


@pytest.fixture(scope="module")
def shared_work(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(root=tmp_path_factory.mktemp("shared") / "root", run="this-run")


@pytest.fixture(scope="module")
def shared_splits(shared_work: Workspace, tmp_path_factory: pytest.TempPathFactory) -> dict[str, SplitRecord]:
    files = data.make(tmp_path_factory.mktemp("mirror"), {"train": 600, "test": 120})
    return decoded(load_dataset(str(files.toml())), shared_work)


@contextmanager
def single_threaded() -> Iterator[None]:
    """Run TensorFlow in the tests' own process with one thread, as a worker does, while the block runs."""
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore", DeprecationWarning)  # TensorFlow's warnings on import and on tracing
        patch.setenv("TF_NUM_INTRAOP_THREADS", "1")
        yield


@pytest.fixture
def one_thread() -> Iterator[None]:
    with single_threaded():
        yield


@pytest.fixture(scope="module")  # its settings override those of the environment, which other modules test
def prefect() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("prefect.testing.utilities.mkdtemp", folder_with_database)
        with prefect_test_harness(server_startup_timeout=180):
            yield


@pytest.fixture(scope="module")
def mnist(prefect: None) -> Mnist:
    """Return the command, which runs in this process."""
    return Mnist()


def folder_with_database() -> str:
    """Make a folder with the test harness's database, so that its server has no migrations to run."""
    folder = tempfile.mkdtemp()
    if template_file().exists():
        shutil.copyfile(template_file(), Path(folder) / "prefect-test.db")
    return folder
