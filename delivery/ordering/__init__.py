"""Deliveries of one key go one after another (docs/adr/0027)."""
