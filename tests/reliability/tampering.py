"""Change bytes in every file of a real run, remove every file, and check that `mnist verify` finds each change."""

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tasks.history.run_store import read_run, record_path
from tasks.history.verify import verify_run
from tasks.schemas.runs import RunRecord
from tests.reliability.table import Row, say
from tests.reliability.world import result, world

PLACES = 40  # changed bytes in each file, besides the first and the last byte


def main(seed: int) -> Iterator[Row]:
    """Change and remove every file of a run."""
    rng = random.Random(seed)
    tried: Counter[str] = Counter()
    found: Counter[str] = Counter()
    with world() as place:
        root = place.folder / "root"
        name = result(place.run(root))["run"]
        run = read_run(record_path(root, name))
        assert isinstance(run, RunRecord)
        paths = {root / link.path: link.role.split()[0] for link in verify_run(root, run)}
        paths = {path: "a record of a step" if role == "record" else role for path, role in paths.items()}
        for path, role in paths.items():
            content = path.read_bytes()
            for where in {0, len(content) - 1, *(rng.randrange(len(content)) for _ in range(PLACES))}:
                altered = bytearray(content)
                altered[where] ^= rng.randrange(1, 256)
                path.write_bytes(altered)
                tried[role] += 1
                found[role] += broken_at(root, name, path)
            path.unlink()
            if role not in {"a record of a step", "champion"}:  # not part of the run: a missing record is created again
                tried[role] += 1
                found[role] += broken_at(root, name, path)
            path.write_bytes(content)
        say(f"{len(paths)} files of run {name}")
    for role, count in tried.items():
        yield Row(f"byte changed or file removed: {role}", count, found[role])


def broken_at(root: Path, name: str, path: Path) -> bool:
    """Return whether `mnist verify` names this file."""
    run = read_run(record_path(root, name))
    if not isinstance(run, RunRecord):
        return path == record_path(root, name)
    return [root / link.path for link in verify_run(root, run) if link.fault] == [path]
