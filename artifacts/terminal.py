"""The end of a run in the terminal: a table of the models, the report's path, and how to look at the run in the UI."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from artifacts.words import decided, percent
from tasks.results import RunResult


def show(result: RunResult, look_at: str) -> None:
    """Print a run's result on standard output."""
    console = Console(highlight=False, soft_wrap=True)
    table = Table(title=f"{result.dataset}, run {result.run}", title_justify="left")
    for column in ("model", "parameters", "epochs", "accuracy", "errors", "loss", "fit"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for name, model in result.models.items():
        figures = (f"{model.parameters:,}", f"{model.epochs}", percent(model.accuracy), f"{model.errors:,}")
        table.add_row(name, *figures, f"{model.loss:.4f}", f"{model.fit_seconds:.1f} s")
    console.print(table)
    if result.cached:
        console.print(f"found from earlier runs: {', '.join(result.cached)}")
    console.print(result.verdict)
    console.print(decided(result.decision))
    console.print(f"{result.seconds:.1f} s")
    console.print(f"report:  {Path(result.root) / result.report['html']}")
    console.print(f"in the UI:  {look_at}")
