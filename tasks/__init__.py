"""One step of the way per module: pure functions, and one Prefect task over them, that returns a record."""

from tasks.safety import environment

environment.apply_environment()  # whichever module of this package a process imports first, before any library that reads settings
