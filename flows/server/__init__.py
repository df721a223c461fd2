"""Prefect's server and worker, configured for this project."""
