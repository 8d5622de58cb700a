"""What core needs of psycopg under private names."""

# What the generators of psycopg raise when an interval of waiting is over. psycopg's own `wait` catches it, so only one
# who waits in its place, with a deadline, sees it.
from psycopg.errors import _WaitTimeout as WaitTimeout

__all__ = ["WaitTimeout"]
