"""Presentation of an analysis: figures, image galleries, Markdown, tables and HTML."""
