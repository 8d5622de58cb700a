"""Makes an owner for each organization, who is signed in: reads the organizations' slugs, writes the sessions' keys.

Runs in a process of its own under the platform's settings.
"""

import json
import sys

import django


def main() -> None:
    django.setup()
    from django.conf import settings  # noqa: PLC0415 - the app registry must be ready
    from django.contrib.auth.models import User  # noqa: PLC0415
    from django.test import Client  # noqa: PLC0415

    from organizations.models import Membership, Organization, Role  # noqa: PLC0415

    keys = []
    for slug in json.load(sys.stdin):
        user = User.objects.create_user(username=f"owner-of-{slug}")
        organization = Organization.objects.get(slug=slug)
        Membership.objects.create(organization=organization, user=user, role=Role.OWNER)
        client = Client()
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        keys.append(client.cookies[settings.SESSION_COOKIE_NAME].value)
    json.dump(keys, sys.stdout)


if __name__ == "__main__":
    main()
