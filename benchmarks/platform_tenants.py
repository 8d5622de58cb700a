"""Makes organizations with one API key each: reads `[{"name", "plan", "events_per_minute"}]`, writes the keys.

Runs in a process of its own under the platform's settings.
"""

import json
import sys

import django


def main() -> None:
    django.setup()
    from organizations.audit import Actor  # noqa: PLC0415 - the app registry must be ready
    from organizations.keys.scopes import Scope  # noqa: PLC0415
    from organizations.operations import create_organization, issue_key, update_organization  # noqa: PLC0415

    actor = Actor.system("benchmarks")
    keys = []
    for wanted in json.load(sys.stdin):
        organization = create_organization(name=wanted["name"], slug=wanted["name"], plan=wanted["plan"], actor=actor)
        if wanted["events_per_minute"]:
            limit = {"events_per_minute_override": wanted["events_per_minute"]}
            update_organization(organization=organization, changes=limit, actor=actor)
        issued = issue_key(organization=organization, name="benchmark", scopes=list(Scope), actor=actor)
        keys.append(issued.plaintext)
    json.dump(keys, sys.stdout)


if __name__ == "__main__":
    main()
