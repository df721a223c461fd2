"""Version of all JSON documents for users: the reports, the analysis document, and the output of `--json`.

It is a module of its own because a change of a module recomputes all steps that import the module.
"""

SCHEMA_VERSION = 2  # increases when a key is removed, is renamed, or changes its meaning
