"""Pure functions from predictions to findings."""
