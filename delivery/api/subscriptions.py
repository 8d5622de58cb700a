"""`/api/v1/subscriptions` and `/api/v1/deliveries`."""

import re
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import msgspec
from django.http.response import HttpResponseBase
from django.utils import timezone
from msgspec import Struct
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core.decoding import decode
from core.postgresql.portions import own_columns
from core.problems import invalid
from core.times import format_time
from delivery.api import delivery_schemas, schemas, webhook_schemas
from delivery.api.attempts import describe_test
from delivery.api.option_schemas import RateLimit
from delivery.api.presenting import describe_deliveries, describe_delivery, describe_subscription, subscription_members
from delivery.api.schemas import (
    SHOWN_STATUSES,
    NewSubscription,
    SubscriptionCreated,
    SubscriptionPatch,
)
from delivery.api.webhook_schemas import SecretRotation, SecretShown, TestEvent
from delivery.models import LARGE_COLUMNS, DeliveryStatus, Subscription, SubscriptionKind
from delivery.operations import (
    SubscriptionChanges,
    WebhookSecret,
    changeable_fields,
    create_subscription,
    default_inboxes,
    delete_subscription,
    fill_page,
    pause_subscription,
    resume_subscription,
    retry_delivery,
    rotate_secret,
    show_secret,
    skip_delivery,
    update_subscription,
    wake_inbox,
)
from delivery.queries import DeliveryCriteria, own_delivery, own_subscription, search_deliveries
from delivery.webhooks.test_send import send_test
from ingestion.formats.decoding import MAX_BODY_BYTES, check_data, on_one_line, require_utf8_bytes
from organizations.keys.authentication import actor_of, caller_of
from organizations.keys.scopes import Scope
from organizations.models import Organization
from rest.lists import Listing, list_answer, read_page, read_text, read_time
from rest.parsing import read_body, read_optional
from rest.versions import etag_of, expected_versions

# A filter with the longest values has some 200 KiB in practice.
BODY_LIMIT = 256 * 1024


class SubscriptionsView(APIView):
    """List and create subscriptions."""

    scopes = {"GET": Scope.SUBSCRIPTIONS_MANAGE, "POST": Scope.SUBSCRIPTIONS_MANAGE}
    operations = schemas.SUBSCRIPTIONS

    def get(self, request: Request) -> HttpResponseBase:
        page = read_page(request, "subscriptions")
        organization_id = caller_of(request).organization_id
        default_inboxes([organization_id])
        rows = Subscription.objects.for_organization(organization_id).not_deleted()
        for name, values in (("kind", SubscriptionKind.values), ("status", SHOWN_STATUSES)):
            if wanted := _read_choice(request, name, values):
                rows = rows.filter(**{name: wanted})
        listing = Listing(
            rows=rows,
            describe=lambda found: map(partial(describe_subscription, now=timezone.now()), found),
            large=own_columns(*LARGE_COLUMNS),
        )
        return list_answer(request, page, listing, owner=organization_id)

    def post(self, request: Request) -> Response:
        wanted: NewSubscription = decode(_body(request), NewSubscription)  # type: ignore[arg-type]
        created = create_subscription(
            organization=Organization.objects.get(pk=caller_of(request).organization_id),
            kind=SubscriptionKind(str(wanted.__struct_config__.tag)),
            changes=_changes(wanted),
            actor=actor_of(request),
        )
        answer = SubscriptionCreated(**subscription_members(created.subscription, now=timezone.now()))
        if created.secret:
            answer.secret = created.secret
        return Response(answer, status=201, headers=etag_of(changeable_fields(created.subscription)))


class SubscriptionView(APIView):
    """One subscription."""

    scopes = {
        "GET": Scope.SUBSCRIPTIONS_MANAGE,
        "PATCH": Scope.SUBSCRIPTIONS_MANAGE,
        "DELETE": Scope.SUBSCRIPTIONS_MANAGE,
    }
    operations = schemas.SUBSCRIPTION

    def get(self, request: Request, subscription_id: UUID) -> Response:
        return _shown(own_subscription(caller_of(request).organization_id, subscription_id))

    def patch(self, request: Request, subscription_id: UUID) -> Response:
        subscription = own_subscription(caller_of(request).organization_id, subscription_id)
        changes = _changes(decode(_body(request), SubscriptionPatch))
        return _shown(
            update_subscription(
                subscription=subscription,
                changes=changes,
                actor=actor_of(request),
                expected=expected_versions(request),
            )
        )

    def delete(self, request: Request, subscription_id: UUID) -> Response:
        subscription = own_subscription(caller_of(request).organization_id, subscription_id)
        delete_subscription(subscription=subscription, actor=actor_of(request), expected=expected_versions(request))
        return Response(status=204)


class PauseView(APIView):
    """Hold the deliveries of a subscription."""

    scopes = {"POST": Scope.SUBSCRIPTIONS_MANAGE}
    operations = schemas.PAUSE

    def post(self, request: Request, subscription_id: UUID) -> Response:
        subscription = own_subscription(caller_of(request).organization_id, subscription_id)
        return _shown(pause_subscription(subscription=subscription, actor=actor_of(request)))


class ResumeView(APIView):
    """Deliver again."""

    scopes = {"POST": Scope.SUBSCRIPTIONS_MANAGE}
    operations = schemas.RESUME

    def post(self, request: Request, subscription_id: UUID) -> Response:
        subscription = own_subscription(caller_of(request).organization_id, subscription_id)
        return _shown(resume_subscription(subscription=subscription, actor=actor_of(request)))


class SecretView(APIView):
    """The secret of a webhook."""

    scopes = {"GET": Scope.SUBSCRIPTIONS_MANAGE}
    operations = webhook_schemas.SECRET

    def get(self, request: Request, subscription_id: UUID) -> Response:
        subscription = own_subscription(caller_of(request).organization_id, subscription_id)
        return _secret_shown(show_secret(subscription=subscription, actor=actor_of(request), now=timezone.now()))


class RotateSecretView(APIView):
    """A new secret for a webhook."""

    scopes = {"POST": Scope.SUBSCRIPTIONS_MANAGE}
    operations = webhook_schemas.ROTATE_SECRET

    def post(self, request: Request, subscription_id: UUID) -> Response:
        subscription = own_subscription(caller_of(request).organization_id, subscription_id)
        rotation = read_optional(request, SecretRotation, limit=MAX_BODY_BYTES)
        overlap = timedelta(seconds=rotation.overlap_seconds)
        return _secret_shown(rotate_secret(subscription=subscription, overlap=overlap, actor=actor_of(request)))


class TestView(APIView):
    """Send a test event to a webhook."""

    __test__ = False
    scopes = {"POST": Scope.SUBSCRIPTIONS_MANAGE}
    operations = webhook_schemas.TEST

    def post(self, request: Request, subscription_id: UUID) -> Response:
        subscription = own_subscription(caller_of(request).organization_id, subscription_id)
        event = read_optional(request, TestEvent, limit=MAX_BODY_BYTES)
        data = bytes(event.data)
        require_utf8_bytes(data)
        check_data(data)
        outcome = send_test(
            subscription=subscription,
            event_type=event.type,
            data=on_one_line(data),
            actor=actor_of(request),
            now=timezone.now(),
        )
        return Response(describe_test(outcome))


class SubscriptionDeliveriesView(APIView):
    """The deliveries of a subscription."""

    scopes = {"GET": Scope.SUBSCRIPTIONS_MANAGE}
    operations = delivery_schemas.SUBSCRIPTION_DELIVERIES

    def get(self, request: Request, subscription_id: UUID) -> HttpResponseBase:
        page = read_page(request, f"deliveries:{subscription_id}")
        wanted = _read_criteria(request)
        subscription = own_subscription(caller_of(request).organization_id, subscription_id)
        wake_inbox(subscription)
        fill_page(subscription, before=UUID(page.before) if page.before else None, size=page.limit + 1)
        rows, older = search_deliveries(subscription, wanted, before=page.before, size=page.limit + 1)
        listing = Listing(rows=rows, describe=lambda found: describe_deliveries(found, subscription), older=older)
        return list_answer(request, page, listing, owner=subscription.organization_id)


class DeliveryView(APIView):
    """One delivery with its attempts."""

    scopes = {"GET": Scope.SUBSCRIPTIONS_MANAGE}
    operations = delivery_schemas.DELIVERY

    def get(self, request: Request, delivery_id: UUID) -> Response:
        delivery = own_delivery(caller_of(request).organization_id, pk=delivery_id)
        return Response(describe_delivery(delivery, delivery.subscription))


class RetryView(APIView):
    """Try a delivery again now."""

    scopes = {"POST": Scope.SUBSCRIPTIONS_MANAGE}
    operations = delivery_schemas.RETRY

    def post(self, request: Request, delivery_id: UUID) -> Response:
        delivery = own_delivery(caller_of(request).organization_id, pk=delivery_id)
        subscription = delivery.subscription
        retried = retry_delivery(
            delivery=delivery, subscription=subscription, actor=actor_of(request), now=timezone.now()
        )
        return Response(describe_deliveries([retried], subscription)[0], status=202)


class SkipView(APIView):
    """Have what waits behind a delivery go on without it."""

    scopes = {"POST": Scope.SUBSCRIPTIONS_MANAGE}
    operations = delivery_schemas.SKIP

    def post(self, request: Request, delivery_id: UUID) -> Response:
        delivery = own_delivery(caller_of(request).organization_id, pk=delivery_id)
        subscription = delivery.subscription
        skipped = skip_delivery(
            delivery=delivery, subscription=subscription, actor=actor_of(request), now=timezone.now()
        )
        return Response(describe_deliveries([skipped], subscription)[0])


def _shown(subscription: Subscription) -> Response:
    shown = describe_subscription(subscription, now=timezone.now())
    return Response(shown, headers=etag_of(changeable_fields(subscription)))


def _secret_shown(found: WebhookSecret) -> Response:
    until = found.previous_until
    return Response(
        SecretShown(
            secret=found.secret,
            public_key=found.public_key or None,
            previous_secret_expires_at=format_time(until) if until else None,
        )
    )


def _changes(wanted: NewSubscription | SubscriptionPatch) -> SubscriptionChanges:
    given = {name: getattr(wanted, name) for name in wanted.__struct_fields__}
    if isinstance(auth := given.get("auth"), Struct):
        given["auth"] = msgspec.to_builtins(auth)
    if isinstance(rate := given.get("rate_limit"), RateLimit):
        given["rate_limit"] = rate.per_second
    return SubscriptionChanges(**given)


def _body(request: Request) -> bytes:
    body = read_body(request, limit=BODY_LIMIT)
    require_utf8_bytes(body)
    return body


def _read_criteria(request: Request) -> DeliveryCriteria:
    status, code = _read_choice(request, "status", DeliveryStatus.values), request.query_params.get("status_code")
    if code is not None and not re.fullmatch(r"[1-5][0-9]{2}", code):
        raise invalid("/status_code", "invalid", "status_code is a status of HTTP, such as 503.")
    return DeliveryCriteria(
        status=DeliveryStatus(status) if status else None,
        error=read_text(request, "error"),
        status_code=int(code) if code else None,
        event_type=read_text(request, "event_type"),
        time_from=read_time(request, "received_after"),
        time_to=read_time(request, "received_before"),
    )


def _read_choice(request: Request, name: str, values: list[Any]) -> str | None:
    given = request.query_params.get(name)
    if given is not None and given not in values:
        raise invalid(f"/{name}", "invalid", f"{name} is one of {', '.join(values)}.")
    return given
