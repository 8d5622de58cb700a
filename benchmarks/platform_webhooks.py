"""Makes webhook subscriptions: reads `[{"organization", "url", "event_types", "paused", "order_by"?}]`, writes ids.

Runs in a process of its own under the platform's settings.
"""

import json
import sys

import django


def main() -> None:
    django.setup()
    from core.secrets import encrypt_secret  # noqa: PLC0415
    from delivery.models import Subscription, SubscriptionKind, SubscriptionStatus  # noqa: PLC0415 - the app registry must be ready
    from delivery.webhooks.signing import generate_secret  # noqa: PLC0415
    from organizations.models import Organization  # noqa: PLC0415

    organizations = {organization.slug: organization for organization in Organization.objects.all()}
    made = Subscription.objects.bulk_create(
        [
            Subscription(
                organization=organizations[wanted["organization"]],
                kind=SubscriptionKind.WEBHOOK,
                url=wanted["url"],
                secret=encrypt_secret(generate_secret()),
                event_types=wanted["event_types"],
                headers={},
                order_by=wanted.get("order_by"),
                has_queues="order_by" in wanted,
                status=SubscriptionStatus.PAUSED if wanted["paused"] else SubscriptionStatus.ACTIVE,
            )
            for wanted in json.load(sys.stdin)
        ]
    )
    json.dump([str(subscription.pk) for subscription in made], sys.stdout)


if __name__ == "__main__":
    main()
