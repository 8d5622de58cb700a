"""The server's entrance: `gunicorn events_platform.wsgi:application`."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "events_platform.settings")
os.environ.setdefault("DATABASE_POOL_SIZE", "16")
os.environ.setdefault("DATABASE_STATEMENT_TIMEOUT", "10")

application = get_wsgi_application()

import events_platform.celery  # noqa: E402, F401 - tasks are sent through the app
