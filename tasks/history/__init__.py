"""Find, verify and prune earlier runs, and record the provenance of results."""
