"""API keys: their form, whose a key is, what it may do, when it was used."""
