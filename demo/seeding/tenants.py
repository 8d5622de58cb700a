"""The organizations of a made-up history, with an inbox and a webhook each."""

import secrets

from core.secrets import encrypt_secret
from delivery.models import Subscription, SubscriptionKind, SubscriptionStatus
from delivery.operations import default_inboxes
from delivery.webhooks.signing import generate_secret
from demo.seeding.plan import WANTED, Tenant
from organizations.models import Organization
from organizations.plans import Plan

# The history is to stay as long as somebody looks at it, whatever the plan.
_RETENTION_DAYS = 365


def make_tenants(count: int) -> list[Tenant]:
    """The first one is to be the largest."""
    prefix = f"seed-{secrets.token_hex(4)}"
    plans = [Plan.ENTERPRISE, Plan.BUSINESS, Plan.PRO, Plan.FREE]
    organizations = Organization.objects.bulk_create(
        [
            Organization(
                name=f"Seeded {number}",
                slug=f"{prefix}-{number}",
                plan=plans[min(number // 5, 3)],
                retention_days_override=_RETENTION_DAYS,
            )
            for number in range(count)
        ]
    )
    # Their history has consumers.
    inboxes = default_inboxes([organization.pk for organization in organizations], sleep=False)
    webhooks = Subscription.objects.bulk_create([_webhook(organization) for organization in organizations])
    return [
        Tenant(
            number=number,
            organization=organization.pk.hex,
            inbox=inboxes[organization.pk].hex,
            webhook=webhook.pk.hex,
        )
        for number, (organization, webhook) in enumerate(zip(organizations, webhooks, strict=True))
    ]


def _webhook(organization: Organization) -> Subscription:
    return Subscription(
        organization=organization,
        kind=SubscriptionKind.WEBHOOK,
        url=f"https://hooks.example.com/{organization.slug}",
        secret=encrypt_secret(generate_secret()),
        headers={},
        event_types=[WANTED],
        status=SubscriptionStatus.PAUSED,  # nothing of this is to be sent
        max_leases=20,
        failures=0,
    )
