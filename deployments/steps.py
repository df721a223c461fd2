"""Build steps of `prefect deploy` that supply what `prefect.yaml` can't contain.

They return the version of the deployed code and the working folder of the runs, and update the server's automations.
"""

import os
import subprocess
from importlib import metadata
from pathlib import Path
from typing import TypedDict

import yaml
from prefect.client.orchestration import get_client
from prefect.events.schemas.automations import AutomationCore

from flows.server.vetting import DEPLOY_FOLDER

AUTOMATIONS = Path(__file__).with_name("automations.yaml")
CODE = Path(__file__).parents[1]


class Project(TypedDict):
    """Values for the deployments: `version` of the code, and working `folder` of the runs."""

    version: str
    folder: str


def project() -> Project:
    """Return the values that `prefect.yaml` uses as `{{ project.version }}` and `{{ project.folder }}`."""
    return {"version": version(), "folder": os.environ.get(DEPLOY_FOLDER) or str(Path.cwd())}


def version() -> str:
    """Return git's description of the checkout that holds the code, or the version of the installed package."""
    try:
        # Without this check, a package installed inside another project's checkout would take that project's version.
        tracked = git("ls-files", "--error-unmatch", Path(__file__).name, folder=Path(__file__).parent)
        found = tracked and git("describe", "--always", "--dirty", "--tags", folder=CODE)
    except (OSError, subprocess.CalledProcessError):
        found = ""
    return found or metadata.version("mnist-error-analysis")


def git(*arguments: str, folder: Path) -> str:
    """Return the output of a git command.

    Raises:
        OSError: If git is not installed.
        CalledProcessError: If the command fails.
    """
    return subprocess.run(  # noqa: S603  # the arguments are constants of this module
        ["git", *arguments],  # noqa: S607  # the user's git
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


async def automations() -> dict[str, list[str]]:
    """Create or update the automations of `automations.yaml` on the server, and return their names."""
    wanted = [AutomationCore.model_validate(one) for one in yaml.safe_load(AUTOMATIONS.read_text("utf-8"))]
    async with get_client() as client:
        for one in wanted:
            found = await client.read_automations_by_name(one.name)
            if found:
                await client.update_automation(found[0].id, one)
            else:
                await client.create_automation(one)
    return {"automations": [one.name for one in wanted]}
