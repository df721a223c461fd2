"""Read, prepare, alter, measure and occlude images."""
