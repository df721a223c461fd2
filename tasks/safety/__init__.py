"""Basics of every process: its environment, text without secrets, and stop requests."""
