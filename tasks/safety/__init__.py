"""Basics of every process: its environment, text without secrets, and the order to stop."""
