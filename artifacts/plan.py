"""Terminal output of a dry run."""

from collections.abc import Iterator

from artifacts.common.formatting import counted
from artifacts.common.rows import Row
from artifacts.screen import Screen
from tasks.schemas.plan import Plan, PlannedStep


def show_plan(plan: Plan, *, wide: bool = False) -> None:
    """Print what a run or a study would compute, why, and the time that this took in earlier runs."""
    screen = Screen(wide=wide)
    title = f"{plan.dataset}, dry run under {plan.root}"
    screen.table([_row(step) for step in plan.steps], title, ("since", "made by run", "usual time"))
    for line in _summary(plan):
        screen.say(line)


def _row(step: PlannedStep) -> Row:
    """Return the row of a step."""
    return {
        "step": step.name,
        "plan": step.plan,
        "reason": step.why or (f"on {', '.join(step.depends_on)}" if step.depends_on else ""),
        "made by run": step.run or "",
        "since": f"{step.at:%Y-%m-%d %H:%M}" if step.at else "",
        "usual time": "" if step.seconds is None else f"{step.seconds:.1f} s",
    }


def _summary(plan: Plan) -> Iterator[str]:
    """Yield a sentence that counts the steps, and one that estimates the time."""
    cached, compute, depends, always = (len(plan.named(kind)) for kind in ("cached", "compute", "depends", "always"))
    counts = [f"{cached:,} cached", f"{compute:,} to compute", f"{always:,} that always run"]
    if depends:
        counts.append(f"{depends:,} that depend on results that are not computed yet")
    yield f"{counted(len(plan.steps), 'step')}: {', '.join(counts)}"
    if not plan.most_seconds:
        yield "estimated time: unknown, because no earlier run has timed these steps"
        return
    least, most = (f"{seconds:,.1f} s" for seconds in (plan.seconds, plan.most_seconds))
    untimed = f", without {counted(len(plan.untimed), 'step')} that no earlier run has timed" if plan.untimed else ""
    span = least if least == most else f"{least} to {most}"
    yield f"estimated time: {span}{untimed}, if no two steps run at the same time"
