"""How every process of the project starts, speaks and ends."""
