"""Check the spelling of all texts, and report phrases that the style of this project excludes.

codespell checks for American spelling; its settings are in pyproject.toml.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).parents[2]
SUFFIXES = {".py", ".md", ".j2", ".toml", ".yaml", ".service", ".sh", ".js", ".css"}
# Excluded phrases and their replacements. Tests are not searched.
PHRASES = {
    r"\banew\b": "again",
    r"\bgoes by\b": "relies on",
    r"\bheld against\b": "compared with",
    r"\bhangs on\b": "depends on",
    r"\bso many\b": "the number",
    r"\bwhoever\b": "a noun",
    r"\bdata sets?\b": "dataset",
    r"\b(is|are) none any more\b": "no longer",
    r"\bsurest\b": "most confident",
    r"\bby heart\b": "overfitting",
    r"\bmends?\b": "correct, fix",
    r"\bmisfits?\b": "incompatible",
    r"\b1 (epochs|errors|images|models|seeds|steps)\b": "the singular",
    r"\ba 8\b": "an 8",
}
SEARCHED = ("flows/", "tasks/", "artifacts/", "deployments/", "benchmarks/", "docs/", "README.md", "CONTRIBUTING.md")


def tracked() -> list[str]:
    """Return the names of all text files under version control."""
    listed = subprocess.run(["git", "ls-files"], cwd=PROJECT, check=True, capture_output=True, text=True).stdout.split()
    texts = [name for name in listed if Path(name).suffix in SUFFIXES or Path(name).name == "Makefile"]
    return [name for name in texts if "fixtures/" not in name]


def phrases_in(text: str) -> Iterator[str]:
    """Yield each excluded phrase of a text, with its line number and its replacement."""
    for number, line in enumerate(text.splitlines(), 1):
        for pattern, better in PHRASES.items():
            if found := re.search(pattern, line, re.IGNORECASE):
                yield f"{number}: {found[0]!r}: write {better}"


def main() -> None:
    """Print all faults, and exit with a code other than 0 if there are any."""
    names = tracked()
    command = [Path(sys.executable).with_name("codespell"), *names]
    spelled = subprocess.run(command, cwd=PROJECT, check=False).returncode
    found = [
        f"{name}:{fault}"
        for name in names
        if name.startswith(SEARCHED)
        for fault in phrases_in((PROJECT / name).read_text("utf-8"))
    ]
    sys.exit("\n".join(found) if found else spelled)


if __name__ == "__main__":
    main()
