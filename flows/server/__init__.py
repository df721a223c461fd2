"""Prefect's server and its worker, as this project runs them."""
