"""Test disk faults: full, read-only and separate file systems, files that disappear or change, and unusual roots.

After each fault, the run ends with exit code 2 and one line, or it succeeds. The next run on a working disk must
produce the same result as an undisturbed run. Mounting needs root privileges.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.storage.folders import BY_CONTENT
from tests.reliability.table import Row, say
from tests.reliability.world import World, incomplete, left_over, made, result, world

NOBODY = 65534
KIB = 1024
# Sizes in KiB, from the first archive to the report of a run of about 5 MB.
FULL = (16, 48, 150, 400, 800, 1600, 3200, 3600, 4000, 4400)
# Folders of a first run, which compares no runs and does not evaluate corrupted images.
FOLDERS = (*(name for name in BY_CONTENT if name not in {"changes", "robustness"}), "records")


@contextmanager
def mounted(size: int) -> Iterator[Path]:
    """Mount a separate file system of `size` KiB, and yield its folder."""
    place = Path(tempfile.mkdtemp(prefix="mnist-disk-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)
        place.rmdir()


def remount(place: Path, option: str) -> None:
    """Change an option of a mounted file system."""
    subprocess.run(["mount", "-o", f"remount,{option}", place], check=True)


class Tried:
    """Checks of the runs after one fault."""

    def __init__(self, place: World, expected: object) -> None:
        self.place, self.expected = place, expected

    def refused(self, root: Path, says: str, *through: str) -> str:
        """Start a run `through` another command, check that it ends with one line, and return the fault, if any.

        An empty `says` also allows a run that succeeds.
        """
        command = [*through, *self.place.command(root)]
        done = subprocess.run(command, env=self.place.env("disk"), capture_output=True, text=True, check=False)
        last = (done.stderr.splitlines() or [""])[-1]
        say(f"    exit {done.returncode}: {last[:230]}")
        if done.returncode == 0:
            return "" if says == "" else "it did not fail"
        good = done.returncode == 2 and last.startswith("mnist: ") and says in last and "Traceback" not in done.stderr
        return "" if good else f"exit code {done.returncode}: {done.stderr[-2000:]}"

    def goes_on(self, root: Path, *, harmed: bool = False) -> str:
        """Start a run that must produce the result of an undisturbed run, and return the fault, if any.

        With `harmed`, the root may contain files that the fault has damaged, and the run computes them again. Only a
        record may stay damaged: if the durations of the steps before it differ, so does its key, and no step reads the
        damaged record again.
        """
        before = incomplete(root) if root.exists() else []
        if before and not harmed:
            return f"incomplete files: {before}"
        if made(result(self.place.run(root))) != self.expected:
            return "another result"
        if broken := [name for name in incomplete(root) if name not in before or not name.startswith("records/")]:
            return f"incomplete files after the last run: {broken}"
        return f"files left over: {left_over(root)}" if left_over(root) else ""


def full(tried: Tried, size: int) -> str:
    with mounted(size) as place:
        wrong = tried.refused(place / "root", "")
        remount(place, "size=100m")
        return wrong or tried.goes_on(place / "root")


def read_only(tried: Tried) -> str:
    with mounted(100 * KIB) as place:
        remount(place, "ro")
        wrong = tried.refused(place / "root", "Read-only file system")
        remount(place, "rw")
        return wrong or tried.goes_on(place / "root")


def turned_read_only(tried: Tried) -> str:
    """Use a root that has become read-only since its last run."""
    with mounted(100 * KIB) as place:
        wrong = tried.goes_on(place / "root")
        remount(place, "ro")
        wrong = wrong or tried.refused(place / "root", "Read-only file system")
        remount(place, "rw")
        return wrong or tried.goes_on(place / "root")


def elsewhere(tried: Tried) -> str:
    with mounted(100 * KIB) as place:
        return tried.goes_on(place / "root")


def strange_name(name: str) -> Callable[[Tried], str]:
    return lambda tried: tried.goes_on(tried.place.folder / "names" / name)


def another_user(tried: Tried) -> str:
    """Use a root of another user, in a process without root privileges."""
    root = tried.place.folder / "of nobody"
    root.mkdir(mode=0o755)
    os.chown(root, NOBODY, NOBODY)
    wrong = tried.refused(root, "Permission denied", "setpriv", "--bounding-set=-all", "--inh-caps=-all")
    return wrong or tried.goes_on(root)


def occupied(make: Callable[[Path], object], says: str) -> Callable[[Tried], str]:
    """Return a fault in which the root, or one of its folders, is not a folder."""

    def fault(tried: Tried) -> str:
        root = Path(tempfile.mkdtemp(dir=tried.place.folder)) / "root"
        make(root)
        return tried.refused(root, says)

    return fault


def below_a_file(root: Path) -> None:
    root.parent.rmdir()
    root.parent.write_bytes(b"")


def dangling(root: Path) -> None:
    root.symlink_to("/nowhere/at/all")


def folder_is_a_file(name: str) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        root.mkdir()
        (root / name).write_bytes(b"")

    return make


def linked(tried: Tried) -> str:
    """Use a root that is a link to a folder."""
    target = Path(tempfile.mkdtemp(dir=tried.place.folder))
    root = tried.place.folder / "link"
    root.symlink_to(target)
    return tried.goes_on(root)


def harmed(folder: str, harm: Callable[[Path], object]) -> Callable[[Tried], str]:
    """Return a fault that removes or alters every file of one folder after a run; the next run creates them again."""

    def fault(tried: Tried) -> str:
        root = Path(tempfile.mkdtemp(dir=tried.place.folder))
        shutil.copytree(tried.place.folder / "undisturbed", root, dirs_exist_ok=True)
        for path in (root / folder).iterdir():
            harm(path)
        return tried.goes_on(root, harmed=True)

    return fault


def altered(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def between_steps(folder: str, after: str, harm: Callable[[Path], object]) -> Callable[[Tried], str]:
    """Return a fault that removes or alters files during a run, after the line of the log that contains `after`."""

    def fault(tried: Tried) -> str:
        root = Path(tempfile.mkdtemp(dir=tried.place.folder))
        with subprocess.Popen(
            tried.place.command(root), env=tried.place.env("disk"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True,
        ) as run:  # fmt: skip
            assert run.stderr
            said = []
            for line in run.stderr:
                said.append(line)
                if after in line:
                    break
            for path in (root / folder).iterdir():
                harm(path)
            said += run.stderr.readlines()
            code = run.wait()
        say(f"    exit {code}: {said[-1].strip()[:230]}")
        if code not in {0, 2} or "Traceback" in "".join(said) or (code and not said[-1].startswith("mnist: ")):
            return f"exit code {code}: {said[-30:]}"
        return tried.goes_on(root, harmed=True)

    return fault


def full_temporary_folder(tried: Tried) -> str:
    with mounted(4) as place:
        os.environ["TMPDIR"] = str(place)
        (place / "ballast").write_bytes(b"x" * 2 * KIB)
        try:
            wrong = tried.refused(tried.place.folder / "no-temporary", "")
        finally:
            del os.environ["TMPDIR"]
    return wrong or tried.goes_on(tried.place.folder / "no-temporary")


FAULTS: dict[str, Callable[[Tried], str]] = {
    **{f"disk full after {size} KiB": lambda tried, size=size: full(tried, size) for size in FULL},
    "temporary folder full": full_temporary_folder,
    "root read-only": read_only,
    "root turned read-only after a run": turned_read_only,
    "root on another file system": elsewhere,
    "root is a link to a folder": linked,
    "root of another user": another_user,
    "root with a space and other letters": strange_name("a b é ✓ 漢字"),
    "root with quotes, a dollar, a line break": strange_name('it\'s "$HOME"\n{x}'),
    "root with a leading dash": strange_name("-root"),
    "root is a file": occupied(lambda root: root.write_bytes(b""), "can't write under the root"),
    "root is below a file": occupied(below_a_file, "can't write under the root"),
    "root is a dangling link": occupied(dangling, "can't write under the root"),
    **{
        f"{name} is a file": occupied(folder_is_a_file(name), name)
        for name in ("records", "locks", "archives", "scratch")
    },
    **{f"every file in {name} gone": harmed(name, Path.unlink) for name in FOLDERS},
    **{f"every file in {name} altered": harmed(name, altered) for name in FOLDERS},
    "archives gone between steps": between_steps("archives", "SHA-256 matches the pinned one", Path.unlink),
    "splits gone between steps": between_steps("splits", "epoch 1/3", Path.unlink),
    "splits altered between steps": between_steps("splits", "epoch 1/3", altered),
    "models gone between steps": between_steps("models", "'train plain' - Finished", Path.unlink),
    "predictions altered between steps": between_steps("predictions", "'select' - Finished", altered),
}


def main(names: str) -> Iterator[Row]:
    """Try every fault whose name matches the pattern `names`."""
    with world() as place:
        tried = Tried(place, made(result(place.run(place.folder / "undisturbed"))))
        for name, fault in FAULTS.items():
            if re.search(names, name):
                say(name)
                wrong = fault(tried)
                say(f"    {'LOST ' + wrong if wrong else 'survived'}")
                yield Row(name, 1, int(not wrong))
