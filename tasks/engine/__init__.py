"""Run steps with a cache, a log, a workspace and optional parts."""
