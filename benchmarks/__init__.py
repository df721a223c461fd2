"""Benchmark the pipeline against the commands that a person would otherwise run."""
