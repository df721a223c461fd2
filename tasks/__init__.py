"""Steps of the flow, and the modules that they are built from."""

from tasks.safety import environment

# Run on the first import of any module of this package, before any library reads its settings.
environment.apply_environment()
