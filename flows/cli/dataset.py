"""Commands that list the built-in datasets and pin the archives of a new one."""
# ruff: noqa: PLC0415  # each command imports what it needs, so that `--help` answers immediately

import codecs
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flows.cli.options import JSON, WIDE_TABLES, CommandGroup
from flows.processes.console import echo, echo_json
from tasks.errors import DatasetError

if TYPE_CHECKING:
    from tasks.config.dataset import Dataset
    from tasks.data.pin_dataset import Pin


@click.group(name="dataset", cls=CommandGroup)
def dataset() -> None:
    """List the built-in datasets, or pin the archives of your own."""


@dataset.command(name="list")
@WIDE_TABLES
@JSON
def list_(wide: bool, as_json: bool) -> None:
    """List the built-in datasets."""
    from artifacts.screen import Screen
    from tasks.config.dataset import built_in_datasets

    found = built_in_datasets()
    if as_json:
        echo_json({"datasets": [one.model_dump(mode="json") for one in found]})
    else:
        rows = [_describe_dataset(one) for one in found]
        Screen(wide=wide).table(rows, drop=("license", "shape", "test images"))


@dataset.command()
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE.toml")
@JSON
def pin(file: Path, as_json: bool) -> None:
    """Pin the archives of FILE.toml.

    The command downloads each archive once, checks its content, and adds the sizes and SHA-256 hashes that the file
    lacks. After that, mnist accepts no other bytes for these archives.
    """
    from artifacts.screen import Screen
    from flows.cli.progress import BYTES, show_progress
    from tasks.config.toml_loader import text_of
    from tasks.data.pin_dataset import lacks_pins
    from tasks.data.pin_dataset import pin_archives as pinned
    from tasks.filesystem.regular_files import MAX_TEXT, expand_user, read_regular
    from tasks.storage.output_files import check_rewritable, rewrite_file, temporary_folder

    path = expand_user(file, "dataset", DatasetError).absolute()
    try:
        content = read_regular(path, MAX_TEXT)
        text = text_of(content)
    except (OSError, ValueError) as error:
        raise DatasetError(f"can't read the dataset {path}: {getattr(error, 'strerror', None) or error}") from error
    if lacks_pins(text, str(file)):
        check_rewritable(path)
    with temporary_folder("mnist-pin-") as scratch, show_progress(BYTES, ends=True) as shown:
        text, pins = pinned(text, str(file), path.parent, scratch, shown.report, shown.tell)
    if pins:
        with rewrite_file(path) as stream:
            stream.write(_written_as(content, text))
    if as_json:
        found = [{"place": pin.place, "mirror": pin.mirror, **pin.archive.model_dump(mode="json")} for pin in pins]
        echo_json({"file": str(path), "pins": found})
    elif pins:
        Screen().table([_describe_pins(one) for one in pins])
        echo(f"sizes and hashes written to {path}")
    else:
        echo(f"all archives of {path} are already pinned, and match the file; nothing was changed")


def _written_as(before: bytes, text: str) -> bytes:
    """Return a text encoded like the earlier content: with the same byte order mark and line endings."""
    if before.count(b"\r\n") * 2 > before.count(b"\n"):
        text = re.sub(r"(?<!\r)\n", "\r\n", text)
    return (codecs.BOM_UTF8 if before.startswith(codecs.BOM_UTF8) else b"") + text.encode()


def _describe_dataset(one: "Dataset") -> dict[str, str | int | float]:
    return {
        "name": one.name,
        "title": one.title,
        "classes": len(one.classes),
        "shape": " x ".join(map(str, one.shape)),
        "training images": f"{one.train.count:,}",
        "test images": f"{one.test.count:,}",
        "license": one.license,
    }


def _describe_pins(one: "Pin") -> dict[str, str | int | float]:
    """Return the pinned name, size, hash and mirror of an archive as a table row."""
    return {
        "archive": one.place,
        "name": one.archive.name,
        "bytes": f"{one.archive.bytes:,}",
        "SHA-256": one.archive.sha256,
        "mirror": one.mirror,
    }
