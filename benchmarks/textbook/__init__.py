"""The reference: a small events service as one would write it from the tutorials of Django, DRF and Celery.

It is a complete, working project: API keys looked up in the database, a serializer, DRF's throttle, one row and one
Celery task per event, served by gunicorn's sync workers; one more task per webhook. It is kept ordinary on purpose:
neither tuned nor hobbled.
"""

from benchmarks.textbook.celery import app as celery_app

__all__ = ["celery_app"]
