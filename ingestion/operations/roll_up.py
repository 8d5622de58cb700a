"""The servers count by the minute; a day later, counts of an hour become one row: no page shows old minutes."""

from datetime import datetime, timedelta

from django.db import connection

from ingestion.models import hour_of

# The pages of the last 24 hours are by the minute, and their first bar may begin half an hour earlier.
MINUTES_KEPT = timedelta(hours=26)
# Counts do not come late; this makes up for a beat that stood still, and for what is older than this rule.
_LOOK_BACK = timedelta(days=35)

_ROLL_UP = """
WITH minutes AS (
    DELETE FROM ingestion_intakecount
    WHERE minute > %(hour)s AND minute < %(end)s
    RETURNING organization_id, outcome, count
)
INSERT INTO ingestion_intakecount AS known (organization_id, minute, outcome, count)
SELECT organization_id, %(hour)s, outcome, sum(count) FROM minutes GROUP BY organization_id, outcome ORDER BY 1, 3
ON CONFLICT (organization_id, minute, outcome) DO UPDATE SET count = known.count + excluded.count
"""


def roll_up_intake_counts(*, now: datetime) -> int:
    """Put the minutes of each old hour into its first one, hour by hour; returns how many rows that makes.

    An hour is one statement, so a sum is never seen without what it is made of, or twice.
    """
    end = hour_of(now - MINUTES_KEPT)
    made = 0
    with connection.cursor() as cursor:
        for hour in _hours(end - _LOOK_BACK, end):
            cursor.execute(_ROLL_UP, {"hour": hour, "end": hour + timedelta(hours=1)})
            made += cursor.rowcount
    return made


def _hours(start: datetime, end: datetime) -> list[datetime]:
    count = (end - start) // timedelta(hours=1)
    return [start + timedelta(hours=number) for number in range(count)]
