from pathlib import Path

import pytest

from tests import data, mirrors
from tests.reliability.canaries import Canaries, Leak, leaks_in, quick_trials, tried

KEPT = (
    "a run whose mirrors all fail",
    "a runner",
    "a root",
    "an API that does not answer",
    "a pin",
    "a pin that fails",
)


@pytest.mark.parametrize("name", KEPT)
def test_no_secret_of_the_user_is_left_anywhere(name: str, tmp_path: Path) -> None:
    canary = Canaries()
    served = data.make(tmp_path / "served", data.FEW)
    with mirrors.Server(mirrors.whole, served.folder) as server:
        trials = {trial.name: trial for trial in quick_trials(canary, tmp_path, f"127.0.0.1:{server.server_port}")}
        code, leaks = tried(trials[name], canary, tmp_path)
        server.shutdown()
    assert leaks == []
    assert (code == 0) == trials[name].succeeds


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    import gzip

    canary = Canaries()
    (tmp_path / "plain").write_text(f"http://me:{canary('plain')}@host")
    (tmp_path / "packed.gz").write_bytes(gzip.compress(canary("packed").encode()))
    (tmp_path / canary("name")).touch()
    found = {leak.secret for leak in leaks_in(canary, [tmp_path])}
    assert found == {canary("plain"), canary("packed"), canary("name")}
    assert Leak(canary("plain"), str(tmp_path / "plain")) in leaks_in(canary, [tmp_path])
