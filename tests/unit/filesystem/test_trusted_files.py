"""Test that a worker's run accepts recipes with functions only from files that no other account can have written."""

import grp
import hashlib
import os
import pwd
import struct
from pathlib import Path
from types import SimpleNamespace

import pytest

from tasks.config.dataset import Archive
from tasks.config.recipe import load_recipe
from tasks.engine.workspace import Workspace
from tasks.errors import RecipeError
from tasks.filesystem.trusted_files import UNATTENDED, is_open, is_private, require_trusted_file, trust_fault
from tasks.steps.download import download

RECIPE = """
base = "post"
name = "mine"

[[models]]
name = "own"
function = "net.py:build"
"""
OTHER = 12345  # a user's ID


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(UNATTENDED, "1")
    folder = tmp_path / "recipes"
    folder.mkdir(mode=0o755)
    for name, text in (("mine.toml", RECIPE), ("net.py", "def build(x):\n    return x\n")):
        (folder / name).write_text(text)
        (folder / name).chmod(0o644)
    return folder / "mine.toml"


def test_the_users_own_files_are_taken(recipe: Path) -> None:
    assert load_recipe(str(recipe)).models[0].function == "net.py:build"


@pytest.mark.parametrize("what", ["mine.toml", "net.py", "."])
def test_files_and_folders_that_others_can_write_are_rejected(recipe: Path, what: str) -> None:
    (recipe.parent / what).chmod(0o777)
    with pytest.raises(RecipeError, match="can be written by others"):
        load_recipe(str(recipe))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("what", ["mine.toml", "net.py", "."])
def test_files_and_folders_of_another_user_are_rejected(recipe: Path, what: str) -> None:
    os.chown(recipe.parent / what, OTHER, OTHER)
    with pytest.raises(RecipeError, match=f"belongs to user {OTHER}"):
        load_recipe(str(recipe))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_link_that_another_user_can_turn_is_refused(recipe: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.toml"
    link.symlink_to(recipe)
    os.chown(link, OTHER, OTHER, follow_symlinks=False)
    with pytest.raises(RecipeError, match=r"link\.toml belongs to user"):
        load_recipe(str(link))


def test_a_recipe_without_code_is_accepted_from_any_owner(recipe: Path) -> None:
    recipe.write_text('base = "post"\nname = "mine"\n')
    recipe.chmod(0o666)
    assert load_recipe(str(recipe)).name == "mine"


def test_no_package_is_imported_for_a_recipe_that_is_refused(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (recipe.parent / "evil").mkdir()
    (recipe.parent / "evil" / "__init__.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(str(recipe.parent))
    recipe.write_text(RECIPE.replace("net.py", "evil.net"))
    recipe.chmod(0o666)
    with pytest.raises(RecipeError, match="can be written by others"):
        load_recipe(str(recipe))


def test_a_user_at_a_terminal_may_use_any_file(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(UNATTENDED)
    recipe.chmod(0o666)
    assert load_recipe(str(recipe)).name == "mine"


def test_a_file_that_has_gone_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(UNATTENDED, "1")
    with pytest.raises(RecipeError, match=r"gone\.toml can't be checked"):
        require_trusted_file(tmp_path / "gone.toml")


def test_a_downloaded_archive_is_not_accepted_as_a_recipe(recipe: Path, work: Workspace) -> None:
    """Two archives of a foreign dataset, a recipe and its code, would otherwise count as files of the worker's user."""
    mirror = recipe.parent
    (mirror / "net.py").rename(mirror / "net.archive.py")
    made = {}
    for name in ("net.archive.py", "mine.toml"):
        content = (mirror / name).read_bytes()
        archive = Archive(name=name, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        made[name] = work.root / download.fn(archive, (mirror.as_uri(),), work).file.path
        assert made[name].read_bytes() == content
    assert {path.suffix for path in made.values()} == {".archive"}
    for path in (work.root / "archives/mine.toml", work.root / "archives/net.py"):  # as earlier versions name archives
        path.write_bytes((recipe if path.suffix == ".toml" else mirror / "net.archive.py").read_bytes())
        path.chmod(0o644)
    with pytest.raises(
        RecipeError, match=f"a worker runs no functions from files under {work.root}, .* move mine.toml"
    ):
        load_recipe(str(work.root / "archives/mine.toml"))
    recipe.write_text(RECIPE.replace("net.py", str(work.root / "archives/net.py")))
    with pytest.raises(RecipeError, match=r"where mnist keeps data; move net.py to another folder"):
        load_recipe(str(recipe))
    (mirror / "net.py").symlink_to(work.root / "archives/net.py")
    recipe.write_text(RECIPE)
    with pytest.raises(RecipeError, match="where mnist keeps data"):
        load_recipe(str(recipe))


def test_no_recipe_is_in_the_cache_of_a_store(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(recipe.parent))
    place = recipe.parent / "mnist-error-analysis" / "0123456789abcdef" / "archives"
    place.mkdir(parents=True)
    with pytest.raises(RecipeError, match="where mnist keeps data"):
        load_recipe(str(recipe.rename(place / "mine.toml")))


def test_a_clone_of_the_project_is_no_cache(recipe: Path) -> None:
    clone = recipe.parent.rename(recipe.parent.with_name("mnist-error-analysis"))
    assert load_recipe(str(clone / "mine.toml")).name == "mine"


def test_a_sticky_folder_is_no_fault_and_an_open_one_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    assert trust_fault(tmp_path) is None
    tmp_path.chmod(0o777)
    assert trust_fault(tmp_path) == "can be written by others (mode 0777)"
    tmp_path.chmod(0o755)


def test_others_can_add_files_to_a_sticky_folder_and_where_such_a_folder_would_be(tmp_path: Path) -> None:
    assert not is_open(tmp_path)
    assert not is_open(tmp_path / "none")
    tmp_path.chmod(0o1777)
    assert is_open(tmp_path)
    assert is_open(tmp_path / "none" / "none")


@pytest.mark.parametrize(
    ("group", "members", "private"), [("me", [], True), ("me", ["you"], False), ("users", [], False)]
)
def test_a_group_is_private_if_it_has_the_users_name_and_no_other_member(
    group: str, members: list[str], private: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getegid", lambda: OTHER)
    monkeypatch.setattr(grp, "getgrgid", lambda _: SimpleNamespace(gr_name=group, gr_mem=members))
    monkeypatch.setattr(pwd, "getpwuid", lambda _: SimpleNamespace(pw_name="me"))
    assert is_private(OTHER) is private


def acl(mask: int) -> bytes:
    """Return an access control list with the rights of mode 0600, read and write access for another user, and a mask."""
    entries = ((0x01, 6, -1), (0x02, 6, OTHER), (0x04, 0, -1), (0x10, mask, -1), (0x20, 0, -1))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)


def test_a_list_that_lets_another_user_write_is_a_fault_and_one_that_is_masked_is_none(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.touch()
    try:
        os.setxattr(path, "system.posix_acl_access", acl(6))
    except OSError as error:
        pytest.skip(f"no access control lists here: {error}")
    os.chown(path, -1, os.getegid())
    assert trust_fault(path) == "can be written by others (mode 0660)"
    path.chmod(0o600)  # the mask, as with setfacl: the list remains, and grants nothing
    assert trust_fault(path) is None
