"""Attacks by a tenant, or by nobody with a key, and what they cost a tenant that does nothing out of the ordinary."""
