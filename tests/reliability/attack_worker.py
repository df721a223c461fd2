"""Attack a worker through Prefect's API, on the worker's machine.

    PREFECT_API_AUTH_STRING=$(cat ~/.prefect/mnist-serve/secret) python -m tests.reliability.attack_worker API_URL

Each attack asks the worker to run code that is not part of the project and would create a file, the canary. The input
is the API of a running `mnist serve`, with its credential in PREFECT_API_AUTH_STRING. The output is one line for each
attack. The exit code is 1 if an attack was not rejected.

Everything that the attacks create on the server has a name that starts with `attack` and is removed at the end, except
for the flow runs.
"""

import copy
import os
import pickle
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click
import httpx

from tests.support.serving import Api, answered, until

POOL = "mnist"
SECONDS = 400.0  # a worker with a concurrency limit of one starts a run every 10 seconds
REFUSED = "rejected by the worker, which runs only the project's flows: "
QUICK = {"dataset": "no_such_data"}  # a run that is not rejected fails at once


class Trap:
    """A folder of an attacker; any package, module, script or pickle in it creates the canary when it is run."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder, self.canary = folder, folder / "canary"
        self.command = f"touch {self.canary}"
        code = f"import pathlib; pathlib.Path({str(self.canary)!r}).touch()\ndef evil(): pass\n"
        (folder / "flows" / "server").mkdir(parents=True)
        for name in (
            "evil.py",
            "sitecustomize.py",
            "flows/__init__.py",
            "flows/mnist.py",
            "flows/server/__init__.py",
            "flows/server/execute.py",
            "prefect.py",
        ):
            (folder / name).write_text(code)
        (folder / "requirements.txt").write_text("-e .\n")
        (folder / "setup.py").write_text(code)
        (folder / "logging.yml").write_text(
            f'version: 1\nformatters:\n  evil:\n    "()": os.mkdir\n    path: {self.canary}\nhandlers: {{}}\nloggers: {{}}\n'
        )
        (folder / "evil.pickle").write_bytes(pickle.dumps(Evil(str(self.canary))))


class Evil:
    """Object that creates a folder when it is unpickled."""

    def __init__(self, canary: str) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (self.canary,)


class Attacker:
    """A user of the API who attacks the worker."""

    def __init__(self, api: Api, pool: str = POOL) -> None:
        self.api, self.pool = api, pool
        self.model = api.deployment("on-demand")
        self.made: list[str] = []

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        """Call the API, and repeat the call while its database is busy."""
        call = partial(self.api.client.request, method, path, json=body)
        (response,) = until(lambda: answered(call()), f"{method} {path}", 60)
        return response

    def deployment(self, name: str, **changes: Any) -> str:
        """Create a copy of the project's deployment with some changes, and return its ID."""
        kept = {key: self.model[key] for key in ("flow_id", "entrypoint", "pull_steps", "job_variables", "path")}
        body = {"name": f"attack-{name}", "work_pool_name": self.pool, **kept, **changes}
        identity: str = self.api.post("deployments/", body).raise_for_status().json()["id"]
        self.made.append(identity)
        return identity

    def run_of(self, deployment: str, **options: Any) -> str:
        """Start a run of a deployment, and return its ID."""
        body = {"parameters": QUICK, **options}
        response = self.api.post(f"deployments/{deployment}/create_flow_run", body).raise_for_status()
        return str(response.json()["id"])

    def variables(self, name: str, **variables: Any) -> str:
        """Start a run of a valid deployment with the given job variables."""
        return self.run_of(self.deployment(name), job_variables=variables)

    def named(self, name: str, value: str) -> str:
        """Start a run of a valid deployment with the job variable `name`, which Prefect expands twice."""
        return self.run_of(self.deployment(name), job_variables={"name": value})

    def deployed(self, name: str, **changes: Any) -> str:
        """Start a run of a deployment with invalid fields."""
        return self.run_of(self.deployment(name, **changes))

    def alone(self, **options: Any) -> str:
        """Start a run in the pool without a deployment."""
        state = {"type": "SCHEDULED", "state_details": {}}
        body = {"flow_id": self.model["flow_id"], "work_pool_name": self.pool, "parameters": QUICK, "state": state}
        return str(self.api.post("flow_runs/", body | options).raise_for_status().json()["id"])

    def stepped(self, name: str, step: str, **options: Any) -> str:
        """Start a run of a deployment with a pull step."""
        return self.deployed(name, pull_steps=[{f"prefect.deployments.steps.{step}": options}])

    def clean_up(self) -> None:
        """Remove the deployments and the blocks."""
        for block in self.api.ask("block_documents/filter", block_documents={"name": {"like_": "attack"}}):
            self.call("DELETE", f"block_documents/{block['id']}")
        for identity in self.made:
            self.call("DELETE", f"deployments/{identity}")


class Called:
    """A port that counts its connections."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port, self.callers = self.listener.getsockname()[1], 0
        threading.Thread(target=self.count, daemon=True).start()

    def count(self) -> None:
        """Accept connections and close them at once."""
        while True:
            caller, _ = self.listener.accept()
            self.callers += 1
            caller.close()


CALLED = Called()  # the address of an attacker's cluster


def stored(one: Attacker, name: str, trap: Trap) -> str:
    """Start a run of a deployment whose code is in a storage block."""
    kind = one.call("GET", "block_types/slug/local-file-system").raise_for_status().json()["id"]
    schema = one.api.ask("block_schemas/filter", block_schemas={"block_type_id": {"any_": [kind]}})[0]["id"]
    block = {"name": "attack", "block_type_id": kind, "block_schema_id": schema, "data": {"basepath": str(trap.folder)}}
    for old in one.api.ask("block_documents/filter", block_documents={"name": {"like_": "attack"}}):
        one.call("DELETE", f"block_documents/{old['id']}")
    identity = one.api.ask("block_documents/", **block)["id"]
    return one.deployed(name, storage_document_id=identity, pull_steps=[])


def changed(one: Attacker, name: str, trap: Trap) -> str:
    """Start a run of a valid deployment, and change the deployment before the worker starts the run."""
    deployment = one.deployment(name)
    run = one.run_of(deployment)
    steps = [{"prefect.deployments.steps.run_shell_script": {"script": trap.command}}]
    change = {"entrypoint": f"{trap.folder}/evil.py:evil", "pull_steps": steps, "work_pool_name": one.pool}
    one.call("PATCH", f"deployments/{deployment}", change).raise_for_status()
    return run


Attack = Callable[[Attacker, str, Trap], str]

ATTACKS: dict[str, Attack] = {
    "command": lambda one, name, trap: one.variables(name, command=trap.command),
    "command-of-deployment": lambda one, name, trap: one.deployed(name, job_variables={"command": trap.command}),
    "working-dir": lambda one, name, trap: one.variables(name, working_dir=str(trap.folder)),
    "env-pythonpath": lambda one, name, trap: one.variables(name, env={"PYTHONPATH": str(trap.folder)}),
    "env-with-a-dot": lambda one, name, trap: one.variables(name, **{"env.PYTHONPATH": str(trap.folder)}),
    "env-of-deployment": lambda one, name, trap: one.deployed(name, job_variables={"env": {"PYTHONPATH": str(trap.folder)}}),
    "env-ld-preload": lambda one, name, trap: one.variables(name, env={"LD_PRELOAD": str(trap.folder / "evil.so")}),
    "env-path": lambda one, name, trap: one.variables(name, env={"PATH": str(trap.folder)}),
    "env-unset": lambda one, name, _: one.variables(name, env={"MNIST_RUNNERS": None}),
    "env-logging": lambda one, name, trap: one.variables(
        name, env={"PREFECT_LOGGING_SETTINGS_PATH": str(trap.folder / "logging.yml")}
    ),
    "env-entry-point": lambda one, name, trap: one.variables(
        name, env={"PREFECT__FLOW_ENTRYPOINT": f"{trap.folder}/evil.py:evil"}
    ),
    "env-heartbeat": lambda one, name, _: one.variables(name, env={"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "999999"}),
    "unknown-variable": lambda one, name, trap: one.variables(name, launcher=trap.command),
    "name-of-environment": lambda one, name, _: one.named(name, "{{ $PATH }}"),
    "name-of-block": lambda one, name, _: one.named(name, "{{ prefect.blocks.secret.attack }}"),
    "no-deployment": lambda one, _name, _trap: one.alone(),
    "no-deployment-command": lambda one, _, trap: one.alone(job_variables={"command": trap.command}),
    "entry-point-file": lambda one, name, trap: one.deployed(name, entrypoint=f"{trap.folder}/evil.py:evil", pull_steps=[]),
    "entry-point-module": lambda one, name, trap: one.deployed(
        name, entrypoint="evil.evil", job_variables={"env": {"PYTHONPATH": str(trap.folder)}}
    ),
    "entry-point-of-ours": lambda one, name, _: one.deployed(name, entrypoint="flows/mnist.py:mnist"),
    "no-entry-point": lambda one, name, _: one.deployed(name, entrypoint=None),
    "path": lambda one, name, trap: one.deployed(name, path=str(trap.folder), pull_steps=[]),
    "step-shell": lambda one, name, trap: one.stepped(name, "run_shell_script", script=trap.command),
    "step-pip": lambda one, name, trap: one.stepped(
        name, "pip_install_requirements", directory=str(trap.folder), requirements_file="requirements.txt"
    ),
    "step-git": lambda one, name, trap: one.stepped(
        name, "git_clone", repository=f"ext::sh -c 'touch {trap.canary}'", branch="main"
    ),
    "step-elsewhere": lambda one, name, trap: one.stepped(name, "set_working_directory", directory=str(trap.folder)),
    "step-requires": lambda one, name, trap: one.stepped(
        name, "set_working_directory", directory=str(Path.cwd()), requires=str(trap.folder)
    ),
    "step-second": lambda one, name, trap: one.deployed(
        name, pull_steps=[*one.model["pull_steps"], {"prefect.deployments.steps.run_shell_script": {"script": trap.command}}]
    ),
    "runner": lambda one, name, _: one.run_of(
        one.deployment(name), parameters=QUICK | {"runner": f"dask://127.0.0.1:{CALLED.port}"}
    ),
    "runner-of-deployment": lambda one, name, _: one.deployed(name, parameters={"runner": f"ray://127.0.0.1:{CALLED.port}"}),
    "storage": stored,
    "changed-after-it-was-scheduled": changed,
}  # fmt: skip


def attacked(one: Attacker, folder: Path) -> Iterator[tuple[str, str, bool]]:
    """Try all attacks; yield the name of each, how its run ended, and whether it was rejected without a canary."""
    traps = {name: Trap(folder / name) for name in ATTACKS}
    runs = {name: attack(one, name, traps[name]) for name, attack in ATTACKS.items()}
    for name, identity in runs.items():
        yield verdict(one, name, identity, traps[name])
    for name in TEMPLATES:
        trap = Trap(folder / name)
        yield verdict(one, name, templated(one, name, trap), trap)
    for name, attack in RACES.items():
        trap = Trap(folder / name)
        state = attack(one, name, trap)
        yield name, f"{state['type']}: {state['message']}", not trap.canary.exists()
    yield "no cluster was called", f"{CALLED.callers} callers", not CALLED.callers


def verdict(one: Attacker, name: str, identity: str, trap: Trap) -> tuple[str, str, bool]:
    """Wait for the end of an attack's run; return the attack's name, how the run ended, and whether it was rejected."""
    state = one.api.ended(identity, SECONDS)["state"]
    message = str(state["message"])
    refused = state["type"] == "CRASHED" and message.startswith(REFUSED) and "\n" not in message
    told = os.environ["PATH"] in message  # also the worker's: both run in the same environment
    return name, f"{state['type']}: {message}", refused and not told and not trap.canary.exists()


def environment_read(template: dict[str, Any], _trap: Trap) -> None:
    """Read a variable of the worker; the API requires a job variable with the same name."""
    template["job_configuration"]["stream_output"] = "x{{ $PATH }}"
    template["variables"]["properties"]["$PATH"] = {"type": "string"}


TEMPLATES: dict[str, Callable[[dict[str, Any], Trap], None]] = {
    "template-command": lambda template, trap: template["job_configuration"].update(command=trap.command),
    "template-env": lambda template, trap: template["job_configuration"].update(env={"PYTHONPATH": str(trap.folder)}),
    "template-default": lambda template, trap: template["variables"]["properties"]["env"].update(
        default={"PYTHONPATH": str(trap.folder)}
    ),
    "template-unknown": lambda template, trap: template["job_configuration"].update(setup_script=trap.command),
    "template-environment": environment_read,
    "template-invalid": lambda template, _: template["job_configuration"].update(stream_output=os.environ["PATH"]),
    "template-variable": lambda template, _: template["variables"]["properties"]["command"].update(
        default="{{ prefect.variables.attack_command }}"
    ),
}  # fmt: skip


@contextmanager
def template_of(one: Attacker, change: Callable[[dict[str, Any], Trap], None], trap: Trap) -> Iterator[None]:
    """Replace the pool's job template while the block runs."""
    path = f"work_pools/{one.pool}"
    template = one.call("GET", path).raise_for_status().json()["base_job_template"]
    other = copy.deepcopy(template)
    change(other, trap)
    one.call("PATCH", path, {"base_job_template": other}).raise_for_status()
    try:
        yield
    finally:
        one.call("PATCH", path, {"base_job_template": template}).raise_for_status()


def templated(one: Attacker, name: str, trap: Trap) -> str:
    """Start runs until the worker knows the changed template of its pool, and return the ID of the last run.

    It is the first run that the worker does not execute, unless the time limit of two minutes has passed.
    """
    one.call("DELETE", "variables/name/attack_command")
    one.api.post("variables/", {"name": "attack_command", "value": trap.command}).raise_for_status()
    limit = time.monotonic() + 120
    try:
        with template_of(one, TEMPLATES[name], trap):
            while True:
                run = one.run_of(one.deployment(name))
                state = one.api.ended(run, SECONDS)["state"]
                if "no_such_data" not in str(state["message"]) or time.monotonic() > limit:
                    return run
    finally:
        one.call("DELETE", "variables/name/attack_command")


def flipped(one: Attacker, name: str, trap: Trap) -> dict[str, Any]:
    """Change a deployment back and forth while its run starts; the worker must run the project's flow or nothing."""
    deployment = one.deployment(name)
    sound = {key: one.model[key] for key in ("entrypoint", "pull_steps")} | {"work_pool_name": one.pool}
    steps = [{"prefect.deployments.steps.run_shell_script": {"script": trap.command}}]
    evil = {"entrypoint": f"{trap.folder}/evil.py:evil", "pull_steps": steps, "work_pool_name": one.pool}
    run = one.run_of(deployment)
    while not (ended := one.api.in_state(run, {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})):
        state = one.api.run(run)["state_name"]
        for change in (evil,) if state == "Submitting" else (sound,):
            one.api.client.patch(f"deployments/{deployment}", json=change)
        time.sleep(0.05)
    return dict(ended["state"])


def pickled(one: Attacker, name: str, trap: Trap) -> dict[str, Any]:
    """Set a run to Completed while its process starts, with a pickle of the attacker as its result."""
    run = one.run_of(one.deployment(name))
    until(lambda: one.api.run(run)["state_name"] in {"Pending", "Submitting"}, "a run that starts", SECONDS)
    result = {
        "storage_metadata": None, "expiration": None, "storage_key": str(trap.folder / "evil.pickle"),
        "prefect_version": "3.9.1", "serializer": {"type": "pickle"}, "storage_block_id": None,
    }  # fmt: skip
    completed = {"type": "COMPLETED", "name": "Completed", "message": "attack", "data": result}
    one.api.post(f"flow_runs/{run}/set_state", {"state": completed, "force": True})
    time.sleep(20)  # time for its process to start and to query the run
    return dict(one.api.run(run)["state"])


def recipe(one: Attacker, name: str, trap: Trap) -> dict[str, Any]:
    """Start a valid run with a recipe that names a function in a world-writable file, which must not be imported."""
    file = trap.folder / "evil.toml"
    file.write_text('base = "post"\nname = "evil"\n[[models]]\nname = "evil"\nfunction = "evil.py:evil"\n')
    file.chmod(0o666)
    run = one.run_of(one.deployment(name), parameters={"recipe": str(file), "epochs": 1})
    return dict(one.api.ended(run, SECONDS)["state"])


RACES: dict[str, Callable[[Attacker, str, Trap], dict[str, Any]]] = {
    "recipe-that-others-can-write": recipe,
    "flipped-while-it-starts": flipped,
    "result-of-a-pickle": pickled,
}


@click.command()
@click.argument("api_url")
@click.option("--pool", default=POOL, show_default=True, help="Work pool of the worker.")
@click.option(
    "--credential",
    envvar="PREFECT_API_AUTH_STRING",
    show_envvar=True,
    required=True,
    help="Credential of the server: the content of ~/.prefect/mnist-serve/secret. Set the variable instead of the option: "
    "all accounts can read the arguments of a process.",
)
def main(api_url: str, pool: str, credential: str) -> None:
    """Attack the worker of a running `mnist serve`, on its own machine."""
    api = Api(f"{api_url.rstrip('/')}/", credential)
    failed = 0
    with api.client, tempfile.TemporaryDirectory(prefix="mnist-attack-") as folder:
        try:
            one = Attacker(api, pool)
        except httpx.HTTPError as error:
            raise click.ClickException(f"{api_url}: {error}") from error
        try:
            for name, ended, refused in attacked(one, Path(folder)):
                failed += not refused
                click.echo(f"{'rejected' if refused else 'SUCCEEDED':9}  {name:32}  {' '.join(ended.split())}")
        finally:
            one.clean_up()
    click.echo(f"{failed} attacks succeeded")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
