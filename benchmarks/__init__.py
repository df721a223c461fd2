"""Benchmarks of the pipeline against what a person would otherwise do."""
