"""What Celery's clock sends, and how often. A task that is missed is made up for by the next one."""

from typing import Any

from celery.schedules import crontab

from core.broker.wakeup import hint

SCHEDULE: dict[str, dict[str, Any]] = {
    # A lost wake-up costs at most this long. Those that come often are hints: they do not pile up.
    "sweep-outbox": {"task": "ingestion.process_outbox", "schedule": 2.0, "options": hint(seconds=2.0)},
    # A scheduled event that is due waits at most this long.
    "hand-on-due": {"task": "ingestion.hand_on_due", "schedule": 1.0, "options": hint(seconds=1.0)},
    # A retry that is due waits at most this long.
    "sweep-deliveries": {"task": "delivery.send_due", "schedule": 1.0, "options": hint(seconds=1.0)},
    "retry-failed-events": {"task": "ingestion.retry_failed", "schedule": 10.0, "options": hint(seconds=10.0)},
    "remove-expired-idempotency-keys": {
        "task": "ingestion.remove_expired_idempotency_keys",
        "schedule": 60.0,
        "options": hint(seconds=60.0),
    },
    "make-partitions": {"task": "ingestion.make_partitions", "schedule": crontab(minute="17")},
    "roll-up-intake-counts": {"task": "ingestion.roll_up_intake_counts", "schedule": crontab(minute="29")},
    # Also ends the replays of windows that reach up to now, which wait for the last events to be committed.
    "run-replays": {"task": "delivery.run_replays", "schedule": 5.0, "options": hint(seconds=5.0)},
    "retry-dead-letters": {"task": "delivery.retry_dead_letters", "schedule": 5.0, "options": hint(seconds=5.0)},
    "run-exports": {"task": "console.run_exports", "schedule": 5.0, "options": hint(seconds=5.0)},
    "remove-expired-exports": {"task": "console.remove_expired_exports", "schedule": crontab(minute="23")},
    # Both are bounded in time, and only one of each runs at once.
    "retain": {"task": "events_platform.retain", "schedule": crontab(minute="41"), "options": hint(seconds=1800.0)},
    "run-erasures": {"task": "events_platform.run_erasures", "schedule": 10.0, "options": hint(seconds=10.0)},
    # Exports and replays have the worker's place for long tasks for 5 s at a time: mails about passwords go out in the
    # pauses between them.
    "send-mails": {"task": "delivery.send_mails", "schedule": 1.0, "options": hint(seconds=1.0)},
    # It takes up to 5 s: whatever addresses organizations name, it has a place for less than half of the time. It is no
    # multiple of theirs, or it might always find the place taken.
    "post-to-slack": {"task": "notifications.post_due", "schedule": 11.0, "options": hint(seconds=11.0)},
    "request-daily-mails": {
        "task": "notifications.request_daily_mails",
        "schedule": 60.0,
        "options": hint(seconds=60.0),
    },
    "announce-certificate-ends": {
        "task": "notifications.announce_certificate_ends",
        "schedule": 600.0,
        "options": hint(seconds=600.0),
    },
    # What waits for each endpoint, for its charts.
    "sample-queues": {"task": "delivery.sample_queues", "schedule": 60.0, "options": hint(seconds=60.0)},
    # What waits, for the health page.
    "take-sample": {"task": "installation.take_sample", "schedule": 60.0, "options": hint(seconds=60.0)},
    "announce-limits": {"task": "delivery.announce_limits", "schedule": 60.0, "options": hint(seconds=60.0)},
}
