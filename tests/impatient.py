"""A worker of gunicorn that a test can wait out: `GUNICORN_CMD_ARGS="--worker-class tests.impatient.Worker"`."""

from core import bounds
from events_platform.server import Worker

bounds.HEAD_SECONDS = bounds.BODY_SECONDS = bounds.ANSWER_SECONDS = 0.6
bounds.LINGER_SECONDS = 0.3
bounds.LOOK_SECONDS = 0.1

__all__ = ["Worker"]
