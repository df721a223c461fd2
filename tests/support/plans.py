"""Compare the plan of a dry run with what the run then did."""

from collections.abc import Iterable, Mapping
from typing import Any


def require_agreement(plan: Mapping[str, Any], steps: Iterable[Mapping[str, Any]]) -> None:
    """Check that a run did with each step what the plan, as JSON, says, for the same reason.

    Nothing is known before of the comparison with an earlier run, and of a step that depends on the result of another.
    """
    planned = {step["name"]: step for step in plan["steps"]}
    done = {step["name"]: step for step in steps}
    assert planned.keys() - {"compare"} == done.keys() - {"compare"}
    for name, step in done.items():
        expected, origin = planned[name]["plan"], step["origin"]
        found = "always" if step["always_runs"] else "cached" if step["cached"] else "compute"
        assert found == expected or (expected == "depends" and found != "always"), (name, expected, found)
        if expected == "cached":
            assert planned[name]["run"] == origin["run"]
        elif not planned[name]["depends_on"]:
            assert origin["why"].removeprefix("always runs: ") == planned[name]["why"]


def named(plan: Mapping[str, Any], which: str) -> set[str]:
    """Return the names of the steps of a plan that are planned in a way."""
    return {step["name"] for step in plan["steps"] if step["plan"] == which}
