"""`/api/v1/jobs/{id}`, and `/api/v1/subscriptions/{id}/dead-letters/retry`."""

from uuid import UUID

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core.times import format_time
from delivery.api import job_schemas
from delivery.api.job_schemas import JobShown, NewRetry
from delivery.api.replays import BODY_LIMIT, in_utc
from delivery.matching.matching import check_patterns
from delivery.models import DeadLetterRetry, Replay
from delivery.operations import cancel_job, start_retry
from delivery.operations.jobs import KINDS
from delivery.queries import own_job, own_subscription
from organizations.jobs.models import JobStatus
from organizations.keys.authentication import actor_of, caller_of
from organizations.keys.scopes import Scope
from rest.parsing import read_optional


class JobView(APIView):
    """One job."""

    scopes = {"GET": Scope.SUBSCRIPTIONS_MANAGE}
    operations = job_schemas.JOB

    def get(self, request: Request, job_id: UUID) -> Response:
        return Response(describe_job(own_job(caller_of(request).organization_id, job_id)))


class CancelJobView(APIView):
    """Stop a job."""

    scopes = {"POST": Scope.SUBSCRIPTIONS_MANAGE}
    operations = job_schemas.CANCEL

    def post(self, request: Request, job_id: UUID) -> Response:
        job = own_job(caller_of(request).organization_id, job_id)
        cancel_job(job=job, actor=actor_of(request), now=timezone.now())
        return Response(describe_job(job))


class StartRetryView(APIView):
    """Start a retry of a subscription's dead letters."""

    scopes = {"POST": Scope.SUBSCRIPTIONS_MANAGE}
    operations = job_schemas.RETRY

    def post(self, request: Request, subscription_id: UUID) -> Response:
        subscription = own_subscription(caller_of(request).organization_id, subscription_id)
        wanted = read_optional(request, NewRetry, limit=BODY_LIMIT)
        after, before = wanted.received_after, wanted.received_before
        retry = DeadLetterRetry(
            organization=subscription.organization,
            subscription=subscription,
            event_types=list(check_patterns(wanted.event_types)),
            error=(wanted.error or "").replace("\x00", ""),
            received_after=after and in_utc("/received_after", after),
            received_before=before and in_utc("/received_before", before),
        )
        start_retry(retry, actor=actor_of(request), dry_run=wanted.dry_run)
        return Response(describe_job(retry, is_counted_only=wanted.dry_run), status=202)


def describe_job(job: Replay | DeadLetterRetry, *, is_counted_only: bool = False) -> JobShown:
    """As the API shows it; `is_counted_only` after a dry run."""
    outcomes = None if is_counted_only or isinstance(job, Replay) else job.outcomes
    unknown = None if isinstance(job, Replay) else 0
    return JobShown(
        id=None if is_counted_only else job.pk,
        kind=KINDS[type(job)],
        subscription=job.subscription_id,
        status=None if is_counted_only else JobStatus(job.status),
        total=job.total,
        done=job.looked_at if isinstance(job, Replay) else job.done,
        delivered=outcomes.delivered if outcomes else unknown,
        failed_again=outcomes.failed_again if outcomes else unknown,
        started_at=None if is_counted_only else format_time(job.created_at),
        finished_at=format_time(job.finished_at) if job.finished_at else None,
        failure=job.failure or None,
    )
