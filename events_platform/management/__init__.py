"""Management of the whole platform."""
