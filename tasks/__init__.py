"""Steps of the flow, and all that they are made of."""

from tasks.safety import environment

# Whichever module of this package a process imports first, before any library that reads settings.
environment.apply_environment()
