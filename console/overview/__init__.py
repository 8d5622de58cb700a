"""How an organization's events are doing."""
