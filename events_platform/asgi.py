"""The server's entrance: `gunicorn -k asgi events_platform.asgi:application`."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "events_platform.settings")
os.environ.setdefault("DATABASE_POOL_SIZE", "16")
os.environ.setdefault("DATABASE_STATEMENT_TIMEOUT", "10")

_django = get_asgi_application()

import events_platform.celery  # noqa: E402, F401 - tasks are sent through the app
from ingestion.intake.door import IntakeDoor  # noqa: E402 - Django must be set up before models are imported
from rest.dear_headers import ContentTypeBound  # noqa: E402 - likewise

application = IntakeDoor(ContentTypeBound(_django))
