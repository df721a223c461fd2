import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client

from flows.mnist import mnist
from tasks.errors import InputError
from tests.reliability.__main__ import finish
from tests.reliability.canaries import Canaries, Leak, Trial, leaks_in, quick_trials, tried
from tests.reliability.signals import silent
from tests.reliability.table import Row
from tests.support import data, mirrors

KEPT = (
    "a run whose mirrors all fail",
    "a runner",
    "a root",
    "an API that does not answer",
    "a pin",
    "a pin that fails",
)


@pytest.fixture(scope="module")
def canary() -> Canaries:
    return Canaries()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of all trials, so that Prefect's database is created only once."""
    return tmp_path_factory.mktemp("secrets")


@pytest.fixture(scope="module")
def trials(canary: Canaries, folder: Path) -> Iterator[dict[str, Trial]]:
    served = data.make(folder / "served", data.FEW)
    with mirrors.Server(mirrors.whole, served.folder) as server:
        yield {trial.name: trial for trial in quick_trials(canary, folder, f"127.0.0.1:{server.server_port}")}
        server.shutdown()


@pytest.mark.parametrize("name", KEPT)
def test_no_secret_of_the_user_is_left_anywhere(
    name: str, trials: dict[str, Trial], canary: Canaries, folder: Path
) -> None:
    code, leaks = tried(trials[name], canary, folder)
    assert leaks == []
    assert (code == 0) == trials[name].succeeds


@pytest.mark.usefixtures("prefect")
def test_secrets_in_the_parameters_of_a_run_are_masked_at_the_server(tmp_path: Path) -> None:
    root = str(tmp_path / "root")
    with pytest.raises(InputError, match=r"mirror 'ftp://\*\*\*@host/'"):
        mnist(root=root, mirrors=["http://host/", "ftp://me:canary-password@host/"])
    with get_client(sync_client=True) as client:
        (run,) = (run for run in client.read_flow_runs() if run.parameters.get("root") == root)
    assert run.parameters["mirrors"] == ["http://host/", "ftp://***@host/"]
    assert "canary" not in str(run)


def test_a_command_that_does_not_end_is_stopped_and_searched(tmp_path: Path) -> None:
    with silent() as nobody:
        waits = Trial("waits", ("run", "--root", str(tmp_path / "root")), {"PREFECT_API_URL": f"{nobody}/api"})
        code, leaks = tried(waits, Canaries(), tmp_path, seconds=0.5)
    assert code in {143, -15}  # 143 after the command has set its handlers, -15 before
    assert leaks == []


def test_rows_before_an_error_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    def rows() -> Iterator[Row]:
        yield Row("a fault", 2, 2)
        raise TimeoutError

    with pytest.raises(TimeoutError):
        finish(rows())
    assert "| a fault | 2 | 2 | nothing |" in capsys.readouterr().out


def test_the_search_for_secrets_finds_a_planted_secret(tmp_path: Path) -> None:
    canary = Canaries()
    (tmp_path / "plain").write_text(f"http://me:{canary('plain')}@host")
    (tmp_path / "packed.gz").write_bytes(gzip.compress(canary("packed").encode()))
    (tmp_path / canary("name")).touch()
    found = {leak.secret for leak in leaks_in(canary, [tmp_path])}
    assert found == {canary("plain"), canary("packed"), canary("name")}
    assert Leak(canary("plain"), str(tmp_path / "plain")) in leaks_in(canary, [tmp_path])
