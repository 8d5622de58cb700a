"""Tables that are partitioned by week, by the UUIDv7 of their rows."""
