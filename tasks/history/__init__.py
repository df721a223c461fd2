"""Earlier runs: find, verify and prune them, and say where everything came from."""
