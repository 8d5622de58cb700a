"""The server's entrance: `gunicorn events_platform.asgi:application`."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "events_platform.settings")
os.environ.setdefault("DATABASE_POOL_SIZE", "16")
os.environ.setdefault("DATABASE_STATEMENT_TIMEOUT", "10")

django.setup(set_prefix=False)

import events_platform.celery  # noqa: E402, F401 - tasks are sent through the app
from core.turns import fair_time  # noqa: E402 - likewise
from events_platform.front_door import FrontDoor  # noqa: E402 - likewise
from rest.doors.dear_headers import ContentTypeBound  # noqa: E402 - likewise
from rest.doors.django_handler import DjangoHandler  # noqa: E402 - Django must be set up before models are

application = FrontDoor(ContentTypeBound(DjangoHandler()), fair_time)
