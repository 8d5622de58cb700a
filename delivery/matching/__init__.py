"""Which events a subscription wants."""
