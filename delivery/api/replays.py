"""`/api/v1/replays`, and `/api/v1/subscriptions/{id}/retry-dead-letters`."""

from datetime import UTC, datetime
from uuid import UUID

from django.http.response import HttpResponseBase
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core.decoding import decode
from core.postgresql.portions import own_columns
from core.problems import invalid
from core.times import format_time
from delivery.api import replay_schemas
from delivery.api.replay_schemas import DeadLettersRetried, DeadLettersToRetry, NewReplay, ReplayShown
from delivery.matching.matching import check_patterns
from delivery.models import Replay
from delivery.operations import ReplayRequest, cancel_job, create_replay, retry_dead_letters
from delivery.queries import own_replay, own_subscription
from organizations.jobs.models import JobStatus
from organizations.keys.authentication import actor_of, caller_of
from organizations.keys.scopes import Scope
from rest.lists import Listing, list_answer, read_page
from rest.parsing import read_body, read_optional

BODY_LIMIT = 64 * 1024


class ReplaysView(APIView):
    """List replays; start one."""

    scopes = {"GET": Scope.SUBSCRIPTIONS_MANAGE, "POST": Scope.SUBSCRIPTIONS_MANAGE}
    operations = replay_schemas.REPLAYS

    def get(self, request: Request) -> HttpResponseBase:
        page = read_page(request, "replays")
        organization_id = caller_of(request).organization_id
        listing = Listing(
            rows=Replay.objects.for_organization(organization_id),
            describe=lambda found: map(describe_replay, found),
            large=own_columns("event_types", "event_ids"),
        )
        return list_answer(request, page, listing, owner=organization_id)

    def post(self, request: Request) -> Response:
        wanted = decode(read_body(request, limit=BODY_LIMIT), NewReplay)
        after, before = wanted.received_after, wanted.received_before
        if wanted.event_ids is not None and (after is not None or before is not None):
            raise invalid("/event_ids", "invalid", "Give event_ids, or received_after and received_before.")
        criteria = ReplayRequest(
            received_after=after and in_utc("/received_after", after),
            received_before=before and in_utc("/received_before", before),
            event_ids=wanted.event_ids,
            event_types=check_patterns(wanted.event_types),
            only_undelivered=wanted.only_undelivered,
        )
        replay = create_replay(
            subscription=own_subscription(caller_of(request).organization_id, wanted.subscription),
            criteria=criteria,
            actor=actor_of(request),
            now=timezone.now(),
            dry_run=wanted.dry_run,
        )
        return Response(describe_replay(replay, is_counted_only=wanted.dry_run), status=202)


class ReplayView(APIView):
    """One replay."""

    scopes = {"GET": Scope.SUBSCRIPTIONS_MANAGE}
    operations = replay_schemas.REPLAY

    def get(self, request: Request, replay_id: UUID) -> Response:
        return Response(describe_replay(own_replay(caller_of(request).organization_id, replay_id)))


class CancelReplayView(APIView):
    """Stop a replay."""

    scopes = {"POST": Scope.SUBSCRIPTIONS_MANAGE}
    operations = replay_schemas.CANCEL

    def post(self, request: Request, replay_id: UUID) -> Response:
        replay = own_replay(caller_of(request).organization_id, replay_id)
        cancel_job(job=replay, actor=actor_of(request), now=timezone.now())
        return Response(describe_replay(replay))


class RetryDeadLettersView(APIView):
    """Retry all dead letters of a subscription."""

    scopes = {"POST": Scope.SUBSCRIPTIONS_MANAGE}
    operations = replay_schemas.RETRY_DEAD_LETTERS

    def post(self, request: Request, subscription_id: UUID) -> Response:
        subscription = own_subscription(caller_of(request).organization_id, subscription_id)
        wanted = read_optional(request, DeadLettersToRetry, limit=BODY_LIMIT)
        outcome = retry_dead_letters(subscription=subscription, actor=actor_of(request), dry_run=wanted.dry_run)
        return Response(
            DeadLettersRetried(total=outcome.total, retried=outcome.retried, remaining=outcome.total - outcome.retried)
        )


def describe_replay(replay: Replay, *, is_counted_only: bool = False) -> ReplayShown:
    """As the API shows it; `is_counted_only` after a dry run."""
    return ReplayShown(
        id=None if is_counted_only else replay.pk,
        subscription=replay.subscription_id,
        status=None if is_counted_only else JobStatus(replay.status),
        total=replay.total,
        looked_at=replay.looked_at,
        created=replay.created,
        received_after=format_time(replay.received_after),
        received_before=format_time(replay.received_before),
        event_ids=replay.event_ids,
        event_types=replay.event_types,
        only_undelivered=replay.only_undelivered,
        created_at=None if is_counted_only else format_time(replay.created_at),
        finished_at=format_time(replay.finished_at) if replay.finished_at else None,
        failure=replay.failure or None,
    )


def in_utc(pointer: str, moment: datetime) -> datetime:
    """PostgreSQL takes no offset of 16 hours or more; 422 for what is beyond the years that Python has."""
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise invalid(pointer, "invalid", "The time is outside of the years 1 to 9999 in UTC.") from error
