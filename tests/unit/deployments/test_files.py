"""Test the files of the deployments: their linters find no fault, and they contain no secret."""

import os
import re
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

FOLDER = Path(__file__).parents[3] / "deployments"
BIN = Path(sys.executable).parent


def test_the_dockerfile_passes_its_linter() -> None:
    done = subprocess.run([BIN / "hadolint", FOLDER / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_compose_file_fits_its_schema() -> None:
    command = [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", FOLDER / "compose.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_kubernetes_manifests_fit_their_schema() -> None:
    found = list(yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text()))
    assert [(one["kind"], one["metadata"]["name"]) for one in found] == [
        ("Service", "dask-scheduler"), ("NetworkPolicy", "mnist"), ("Deployment", "dask-scheduler"),
        ("Deployment", "dask-worker"),
    ]  # fmt: skip
    for one in found:
        kubernetes_validate.validate(one, "1.33", strict=True)


@pytest.mark.parametrize("component", ["dask-scheduler", "dask-worker"])
def test_a_pod_runs_a_command_of_this_environment_without_privileges(component: str) -> None:
    manifests = list(yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text()))
    (found,) = [one for one in manifests if one["kind"] == "Deployment" and one["metadata"]["name"] == component]
    pod = found["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    command, subcommand, *options = container["args"]
    help_ = subprocess.run([BIN / command, subcommand, "--help"], capture_output=True, text=True, check=True).stdout
    for option in options:
        if option.startswith("--"):
            name = option.partition("=")[0]
            assert re.search(rf"{name}\b", help_), name
    assert pod["securityContext"]["runAsNonRoot"]
    assert not container["securityContext"]["allowPrivilegeEscalation"]
    assert container["image"] == "mnist"


def test_every_secret_of_the_compose_file_comes_from_the_environment_and_has_no_default() -> None:
    text = (FOLDER / "compose.yaml").read_text()
    named = re.findall(r"\$\{(\w+)(:\?|:-)?", text)
    assert {name for name, how in named if how == ":?"} == {"POSTGRES_PASSWORD", "PREFECT_AUTH"}
    assert {name for name, how in named if how != ":?"} == {"MNIST_WEBHOOK"}  # may be empty: no notifications
    for service in yaml.safe_load(text)["services"].values():
        secrets = [
            str(value) for name, value in service.get("environment", {}).items() if re.search("PASS|AUTH|URL$", name)
        ]
        assert all("${" in value or value == "http://server:4200/api" for value in secrets)


@pytest.mark.parametrize("service", ["postgres", "server", "worker"])
def test_a_service_is_restarted_and_asked_for_its_health(service: str) -> None:
    found = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"][service]
    assert found["restart"] == "unless-stopped"
    assert found["healthcheck"]["test"][0] == "CMD"


def test_server_and_worker_are_one_image() -> None:
    services = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
    assert {services[name]["image"] for name in ("server", "worker", "deploy")} == {"mnist"}


def test_the_server_is_open_to_this_machine_only() -> None:
    services = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
    assert services["server"]["ports"] == ["127.0.0.1:4200:4200"]
    assert "--host 127.0.0.1 " in (FOLDER / "systemd" / "mnist-server.service").read_text()


def test_every_server_is_behind_the_guard() -> None:
    compose = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]["server"]["command"]
    unit = (FOLDER / "systemd" / "mnist-server.service").read_text()
    assert compose[:4] == ["python", "-P", "-m", "flows.server.serving"]
    assert compose[-2:] == ["--allowed-host", "server"]  # its name for the other services
    assert "/python -P -m flows.server.serving " in unit
    project = FOLDER.parent
    for file in (
        *FOLDER.rglob("*"),
        *(project / "flows").rglob("*.py"),
        project / "README.md",
        project / "docs" / "production.md",
    ):
        if file.is_file() and file.suffix in {".yaml", ".service", ".py", ".md", ""}:
            assert "server start --" not in file.read_text(encoding="utf-8"), file


def test_nothing_is_imported_from_the_folder_in_which_a_service_starts() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file() and path.suffix in {".yaml", ".service", ""}]
    found = [line for path in files for line in path.read_text(encoding="utf-8").splitlines()]
    started = [line for line in found if re.search(r"\bpython\S*,? -\w", line)]
    assert started
    assert [line for line in started if not re.search(r"\bpython\S*,? -P,? -[mc]\b", line)] == []


def test_installed_packages_and_their_location_do_not_depend_on_settings_of_pip_and_uv() -> None:
    kept = {
        "PIP_INDEX_URL": "a", "PIP_EXTRA_INDEX_URL": "b", "PIP_CERT": "c", "PIP_PROXY": "d", "PIP_FIND_LINKS": "e",
        "UV_DEFAULT_INDEX": "f", "UV_INDEX_MINE_PASSWORD": "g", "UV_CACHE_DIR": "h", "UV_PYTHON_INSTALL_DIR": "i",
        "HTTPS_PROXY": "j",
    }  # fmt: skip
    others = (
        "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_NO_DEPS", "PIP_REQUIRE_HASHES", "PIP_REQUIRE_VIRTUALENV",
        "PIP_DRY_RUN", "UV_SYSTEM_PYTHON", "UV_PROJECT_ENVIRONMENT", "UV_NO_BINARY", "UV_RESOLUTION", "VIRTUAL_ENV",
    )  # fmt: skip
    said = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "source deployments/settings.sh; env"],
        cwd=FOLDER.parent,
        env={"PATH": os.defpath, **kept, **dict.fromkeys(others, "1")},
        capture_output=True,
        text=True,
        check=True,
    )
    found = dict(line.split("=", maxsplit=1) for line in said.stdout.splitlines())
    assert found.keys() - {"PATH", "PWD", "SHLVL", "_", "OLDPWD"} == {*kept, "PIP_USER"}
    assert found["PIP_USER"] == "0"


@pytest.mark.parametrize("file", ["Makefile", "deployments/install"])
def test_whatever_installs_starts_with_these_settings(file: str) -> None:
    text = (FOLDER.parent / file).read_text()
    assert text.index("source deployments/settings.sh") < text.index("claim_environment") < text.index("uv venv")


def claimed(folder: Path) -> subprocess.CompletedProcess[str]:
    command = ["bash", "-euo", "pipefail", "-c", 'source deployments/settings.sh; claim_environment "$1"', "-", folder]
    return subprocess.run(command, cwd=FOLDER.parent, capture_output=True, text=True, check=False)


def environment(folder: Path, *packages: str) -> None:
    """Make the files of a virtual environment that count here."""
    site = folder / "lib" / "python3.11" / "site-packages"
    for name in ("pip", "pip-24.0.dist-info", "setuptools", "_distutils_hack", *packages):
        (site / name).mkdir(parents=True)
    (folder / "pyvenv.cfg").write_text("home = /usr/bin\n")


def test_a_new_an_empty_and_an_own_folder_are_used_for_an_environment(tmp_path: Path) -> None:
    environment(tmp_path / "without-packages")
    environment(tmp_path / "of-earlier-version", "numpy")
    (tmp_path / "of-earlier-version" / ".setup").touch()
    (tmp_path / "empty").mkdir()
    for name in ("new folder/in a new one", "empty", "without-packages", "of-earlier-version"):
        assert claimed(tmp_path / name).returncode == 0, name
        environment(tmp_path / name / "again", "numpy")
        assert claimed(tmp_path / name).returncode == 0, name


@pytest.mark.parametrize("kind", ["environment", "folder", "file", "dangling link"])
def test_an_environment_or_a_file_of_somebody_else_is_not_used(kind: str, tmp_path: Path) -> None:
    target = tmp_path / "target"
    if kind == "environment":
        environment(target, "numpy")
    elif kind == "folder":
        target.mkdir()
        (target / "thesis.tex").touch()
    elif kind == "file":
        target.touch()
    else:
        target.symlink_to(tmp_path / "missing")
    before = sorted(tmp_path.rglob("*"))
    refused = claimed(target)
    assert refused.returncode == 2
    assert (
        refused.stderr
        == f"{target} exists, and its content is not of this project: move it away, or use another folder\n"
    )
    assert sorted(tmp_path.rglob("*")) == before
