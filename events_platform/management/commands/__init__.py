"""Commands that concern the whole platform."""
