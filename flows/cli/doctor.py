"""The `mnist doctor` command: describe an installation for a bug report, and say what is wrong with it."""
# ruff: noqa: PLC0415  # the command imports what it needs, so that `--help` answers immediately

import sys
from contextlib import redirect_stdout

import click

from flows.cli.options import JSON, ROOT
from flows.processes.console import echo_json
from tasks.errors import DiagnosisError


@click.command()
@ROOT
@JSON
def doctor(root: str | None, as_json: bool) -> None:
    """Check the installation, and describe it for a bug report.

    The command shows versions, processor, memory, free space, the files under the root, and the Prefect server in use,
    without secrets. It starts nothing and changes nothing. If a check fails, the exit code is 1, and the line of the
    check says what to do.
    """
    from artifacts.diagnosis import show_diagnosis
    from flows.cli.diagnosis import diagnose
    from tasks.safety.redaction import redacted_values
    from tasks.schemas.diagnosis import Diagnosis

    with redirect_stdout(sys.stderr):  # libraries may print; standard output is for the result alone
        found = Diagnosis.model_validate(redacted_values(diagnose(root).model_dump()))
    if as_json:
        echo_json({"healthy": not found.failed, **found.model_dump(mode="json")})
    else:
        show_diagnosis(found)
    if found.failed:
        raise DiagnosisError(f"failed checks: {', '.join(check.name for check in found.failed)}; what to do is above")
