"""One step of the way per module: pure functions, and one Prefect task over them, that returns a record."""
