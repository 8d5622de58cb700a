"""Questions to PostgreSQL that nobody shall wait for."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction


@contextmanager
def short_statements(milliseconds: int) -> Iterator[None]:
    """A transaction in which no statement takes longer, whatever it waits for: its connection is free again then."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = {milliseconds}")
        yield
