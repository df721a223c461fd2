"""Files that a Prefect server needs to run the flows."""
