"""New events as they come."""
