"""Values that steps exchange, that are stored, and that reports are rendered from."""
