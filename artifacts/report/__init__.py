"""Report of a run."""
