"""Networks as diagrams."""
