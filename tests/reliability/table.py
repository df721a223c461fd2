"""Format the table of docs/reliability.md: one row for each fault, printed by the command that tries it."""

from typing import NamedTuple


class Row(NamedTuple):
    """A fault, the number of trials, the number of survived trials, and the losses in the other trials."""

    fault: str
    tried: int
    survived: int
    lost: str = ""

    def markdown(self) -> str:
        """Return the row as Markdown; the losses are "nothing" if all trials were survived."""
        lost = self.lost or ("nothing" if self.tried == self.survived else "see the log")
        return f"| {self.fault} | {self.tried:,} | {self.survived:,} | {lost} |"


HEAD = "| fault | tried | survived | lost |\n| --- | ---: | ---: | --- |"


def say(line: str) -> None:
    """Print a line of progress."""
    print(line, flush=True)  # noqa: T201
