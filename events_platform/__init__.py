"""The wiring: settings, URLs, servers, the Celery app and the command that runs them all."""
