"""Test the names by which users see and give champion lines."""

import pytest

from tasks.engine.workspace import Workspace
from tasks.errors import RunError
from tasks.history.champions import champion_lines, find_line, line_name
from tasks.schemas.names import line_names

TINY, RELABELED, NIGHTLY = "tiny-24b58f3b7e74", "tiny-000000000000", "tiny-24b58f3b7e74-nightly"
RENAMED = "tiny-24b58f3b7e74 [old]"


def make_lines(work: Workspace, *folders: str) -> None:
    for folder in folders:
        path = work.root / "champions" / folder / "000001.json"
        path.parent.mkdir(parents=True)
        path.write_text('{"checksum": "", "body": {}}')


def test_a_name_is_as_long_as_needed_to_tell_the_line_from_the_others() -> None:
    assert line_names([TINY, NIGHTLY]) == {TINY: "main", NIGHTLY: "nightly"}
    assert line_names([TINY, "other-24b58f3b7e74"]) == {TINY: "tiny:main", "other-24b58f3b7e74": "other:main"}
    assert line_names([TINY, RELABELED]) == {TINY: "tiny-24b58f3b7e74:main", RELABELED: "tiny-000000000000:main"}
    assert line_names([TINY, RENAMED]) == {TINY: "main", RENAMED: RENAMED}
    assert line_names([TINY, NIGHTLY], with_dataset=True) == {TINY: "tiny:main", NIGHTLY: "tiny:nightly"}


@pytest.mark.parametrize("name", ["nightly", "tiny:nightly", "tiny-24b58f3b7e74:nightly", NIGHTLY])
def test_a_line_is_found_by_each_of_its_names(work: Workspace, name: str) -> None:
    make_lines(work, TINY, RELABELED, NIGHTLY)
    assert champion_lines(work.root) == [RELABELED, TINY, NIGHTLY]
    assert find_line(work.root, name) == NIGHTLY
    assert line_name(NIGHTLY, work.root) == "nightly"


def test_a_name_of_several_lines_is_refused_with_their_longer_names(work: Workspace) -> None:
    make_lines(work, TINY, RELABELED)
    for name in ("main", "tiny:main"):
        with pytest.raises(
            RunError, match=f"2 champion lines are named '{name}'; give tiny-0+:main or tiny-24b58f3b7e74:main"
        ):
            find_line(work.root, name)
    assert find_line(work.root, TINY) == TINY
