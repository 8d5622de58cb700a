"""One event."""
