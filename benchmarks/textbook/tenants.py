"""Makes organizations with one API key each: reads `[{"name", "plan", "events_per_minute"}]`, writes the keys."""

import hashlib
import json
import secrets
import sys

import django

# A plan of the platform and its limit, for requests that name no limit.
_PLANS = {"free": 100, "business": 10_000, "enterprise": 100_000}


def main() -> None:
    django.setup()
    from benchmarks.textbook.models import ApiKey, Organization  # noqa: PLC0415 - the app registry must be ready

    keys = []
    for wanted in json.load(sys.stdin):
        limit = wanted["events_per_minute"] or _PLANS[wanted["plan"]]
        organization = Organization.objects.create(name=wanted["name"], events_per_minute=limit)
        key = f"textbook_{secrets.token_urlsafe(32)}"
        ApiKey.objects.create(organization=organization, key_hash=hashlib.sha256(key.encode()).hexdigest())
        keys.append(key)
    json.dump(keys, sys.stdout)


if __name__ == "__main__":
    main()
