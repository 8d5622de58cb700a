"""`/api/v1/portal-links`."""
