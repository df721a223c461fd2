"""Steps of `prefect deploy`: what `prefect.yaml` needs to know and can't hold itself.

In: nothing. Out: the version of the code that is deployed, and the folder that the runs work in; and the server's automations,
brought up to date.
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
    """What the deployments are made with: `version` of the code, `folder` of the runs."""

    version: str
    folder: str


def project() -> Project:
    """The version and the folder; `prefect.yaml` takes them as `{{ project.version }}` and `{{ project.folder }}`."""
    return {"version": version(), "folder": os.environ.get(DEPLOY_FOLDER) or str(Path.cwd())}


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


async def automations() -> dict[str, list[str]]:
    """Make the automations of `automations.yaml` where they are missing, and as the file has them; the names of all."""
    wanted = [AutomationCore.model_validate(one) for one in yaml.safe_load(AUTOMATIONS.read_text("utf-8"))]
    async with get_client() as client:
        for one in wanted:
            found = await client.read_automations_by_name(one.name)
            if found:
                await client.update_automation(found[0].id, one)
            else:
                await client.create_automation(one)
    return {"automations": [one.name for one in wanted]}
