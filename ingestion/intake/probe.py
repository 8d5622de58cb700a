"""The statement that proves that an event could be committed.

One that is rolled back would not prove that a commit works. So it commits: it takes the locks that an event takes,
makes PostgreSQL allocate some disk, and writes one row.
"""

from uuid_utils.compat import uuid7


def probe_statement() -> str:
    """One statement, and so one round trip.

    A full disk keeps new rows out while old ones can still be changed, so the rows of a function are spilled to a
    temporary file of some 300 KiB. No row has the new id: what is deleted is nothing, but the locks are those of an
    event of this moment, in the partition that it would go into.
    """
    new = uuid7()
    return f"""
DO $probe$ BEGIN
    SET LOCAL lock_timeout = '1s';
    SET LOCAL work_mem = '64kB';
    SET LOCAL temp_tablespaces = '';
    PERFORM count(*) FROM generate_series(1, 20000);
    DELETE FROM ingestion_event WHERE id = '{new}';
    DELETE FROM ingestion_outboxentry WHERE id = '{new}';
    DELETE FROM ingestion_idempotencykey WHERE organization_id = '{new}' AND key = '';
    INSERT INTO ingestion_intakeprobe (id, committed_at) VALUES (1, now())
    ON CONFLICT (id) DO UPDATE SET committed_at = excluded.committed_at;
END $probe$
"""  # noqa: S608 - a new id is no input
