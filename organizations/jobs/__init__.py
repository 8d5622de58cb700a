"""Work on an organization's rows that takes longer than a request: what such jobs have in common, and who runs them.

It lies here as `organizations` is the lowest room that knows whose work takes turns; delivery, console and lifecycle
above it have the kinds.
"""
