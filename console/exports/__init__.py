"""Exports: the events of a list as a file."""
