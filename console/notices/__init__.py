"""Where notices of the platform go."""
