"""Check the locked versions for known vulnerabilities with pip-audit.

The exit code is 1 if a version has a known vulnerability, and 0 otherwise. If the package index does not answer, the
tool says that nothing was scanned and exits with code 0.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

LOCK = Path(__file__).parents[2] / "requirements.lock"
SECONDS = 300


def main() -> int:
    """Query the package index, print the vulnerabilities, and return the exit code."""
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, "-m", "pip_audit", "--requirement", LOCK, "--require-hashes", "--disable-pip"]
        options = ["--format", "json", "--progress-spinner", "off", "--cache-dir", cache, "--timeout", "15"]
        try:
            asked = subprocess.run([*command, *options], capture_output=True, text=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return unanswered(f"no answer within {SECONDS} s")
    try:
        packages = json.loads(asked.stdout)["dependencies"]
    except (ValueError, KeyError):
        return unanswered((asked.stderr.strip().splitlines() or ["no answer"])[-1])
    known = [package for package in packages if "vulns" in package]
    if not known:
        return unanswered(f"the package index knows none of the {len(packages)} packages")
    found = [(package, vulnerability) for package in known for vulnerability in package["vulns"]]
    for package, vulnerability in found:
        fixed = ", ".join(vulnerability["fix_versions"]) or "no version yet"
        print(f"{package['name']} {package['version']}: {vulnerability['id']}, fixed in {fixed}")  # noqa: T201
    print(f"{len(known)} of {len(packages)} packages checked, {len(found)} known vulnerabilities")  # noqa: T201
    return int(bool(found))


def unanswered(why: str) -> int:
    """Print why the versions were not checked, and return the exit code 0."""
    print(f"NOT SCANNED for known vulnerabilities: {why}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
