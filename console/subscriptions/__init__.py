"""Subscriptions, and what only webhooks have."""
