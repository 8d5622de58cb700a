"""Deliveries of a subscription, and its dead letters."""
