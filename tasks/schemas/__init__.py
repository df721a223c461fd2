"""The values that steps hand on, that are kept, and that reports are made of."""
