"""Print the folder of the deployment files, for commands that need its path in an installed package."""

from pathlib import Path

print(Path(__file__).parent)  # noqa: T201
