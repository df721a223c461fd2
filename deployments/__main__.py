"""Prints the folder of the deployment files, for commands that need the path of an installed package's."""

from pathlib import Path

print(Path(__file__).parent)  # noqa: T201
