"""Render the report of a study."""
