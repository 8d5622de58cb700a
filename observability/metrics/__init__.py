"""`/metrics`: the numbers of a host's processes, and what PostgreSQL and Redis know (docs/operations/monitoring.md)."""
