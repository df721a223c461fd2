"""The table of docs/reliability.md: a row a fault, printed by the command that tries it."""

from typing import NamedTuple


class Row(NamedTuple):
    """A fault, how many times it was tried, how many were survived, and what was lost in the others."""

    fault: str
    tried: int
    survived: int
    lost: str = ""

    def markdown(self) -> str:
        """The row; what was lost is nothing where all were survived."""
        lost = self.lost or ("nothing" if self.tried == self.survived else "see the log")
        return f"| {self.fault} | {self.tried:,} | {self.survived:,} | {lost} |"


HEAD = "| fault | tried | survived | lost |\n| --- | ---: | ---: | --- |"


def say(line: str) -> None:
    """Say how far it is."""
    print(line, flush=True)  # noqa: T201
