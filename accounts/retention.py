"""What is old among people's sessions and sign-ins."""

from datetime import datetime
from typing import Any

from allauth.usersessions.models import UserSession
from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.contrib.sessions.models import Session
from django.db.models import OuterRef, QuerySet, Subquery


def expired_sessions(*, now: datetime) -> "QuerySet[Session]":
    return Session.objects.filter(expire_date__lt=now).order_by("expire_date")


def ended_places(*, now: datetime) -> "QuerySet[Any]":
    """Where people were signed in with sessions that are over."""
    expiry = Session.objects.filter(session_key=OuterRef("session_key"), expire_date__gte=now).values("session_key")
    places: QuerySet[Any] = UserSession.objects.annotate(alive=Subquery(expiry[:1])).filter(alive=None).order_by("pk")
    return places


def old_sign_ins(*, before: datetime) -> "list[QuerySet[Any]]":
    """What django-axes keeps of attempts to sign in."""
    return [
        model.objects.filter(attempt_time__lt=before).order_by("pk")
        for model in (AccessAttempt, AccessLog, AccessFailureLog)
    ]
