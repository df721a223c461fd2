"""Steps of `prefect deploy`: what `prefect.yaml` needs to know and can't hold itself.

In: nothing. Out: the version of the code that is deployed, and the folder that the runs work in.
"""

import subprocess
from importlib import metadata
from pathlib import Path
from typing import TypedDict

CODE = Path(__file__).parents[1]


class Project(TypedDict):
    """What the deployments are made with: `version` of the code, `folder` of the runs."""

    version: str
    folder: str


def project() -> Project:
    """The version and the folder; `prefect.yaml` takes them as `{{ project.version }}` and `{{ project.folder }}`."""
    return {"version": version(), "folder": str(Path.cwd())}


def version() -> str:
    """What git says of the checkout that the code lies in; of an installed package, its version."""
    try:
        # Else a package that is installed somewhere below a foreign checkout would take that one's version.
        tracked = git("ls-files", "--error-unmatch", Path(__file__).name, folder=Path(__file__).parent)
        found = tracked and git("describe", "--always", "--dirty", "--tags", folder=CODE)
    except (OSError, subprocess.CalledProcessError):
        found = ""
    return found or metadata.version("mnist-error-analysis")


def git(*arguments: str, folder: Path) -> str:
    """What a git command prints.

    Raises:
        OSError: there is no git.
        CalledProcessError: git refuses.
    """
    return subprocess.run(  # noqa: S603  # arguments of our own
        ["git", *arguments],  # noqa: S607  # the user's own
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
