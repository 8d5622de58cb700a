"""Charts of an endpoint."""
