"""The server's entrance: `gunicorn events_platform.wsgi:application`."""

import os

from django.core.wsgi import get_wsgi_application

import events_platform.celery  # noqa: F401 - tasks are sent through the app

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "events_platform.settings")
os.environ.setdefault("DATABASE_POOL_SIZE", "16")

application = get_wsgi_application()
