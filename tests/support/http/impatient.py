"""A gunicorn worker to wait out: `GUNICORN_CMD_ARGS="--worker-class tests.support.http.impatient.Worker"`."""

from core import bounds
from events_platform.server import Worker

bounds.HEAD_SECONDS = bounds.BODY_SECONDS = bounds.ANSWER_SECONDS = 0.6
bounds.LINGER_SECONDS = 0.3
bounds.LOOK_SECONDS = 0.1

__all__ = ["Worker"]
