"""Flows that only call tasks, and the `mnist` command."""

from flows import settings_files

settings_files.watch()  # whichever module of this package a process starts with, and whatever that one imports next
