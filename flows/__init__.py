"""Flows that only call tasks, and the `mnist` command."""
