"""Charts that the server draws."""
