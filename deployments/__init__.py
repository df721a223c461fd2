"""Everything that a Prefect server needs to run the flow."""
