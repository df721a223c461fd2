"""How fast the pipeline is, against what a person would otherwise do."""
