"""All that a person looks at: figures, galleries, and the rendering of one analysis to Markdown, tables and HTML."""
