"""Start, output and end of every process of the project."""
