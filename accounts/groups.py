"""The groups of staff, and exactly what each may do. `support` reads, `operator` acts, superusers administer."""

from typing import Any

from django.apps import AppConfig
from django.contrib.auth.models import Group, Permission
from django.db.models import Q

from ingestion.models import VIEW_PAYLOAD

SUPPORT, OPERATOR = "support", "operator"

_READS = (
    "organizations.view_organization",
    "organizations.view_membership",
    "organizations.view_apikey",
    "organizations.view_auditentry",
    "ingestion.view_event",
    VIEW_PAYLOAD,  # the data of events, which staff of no group does not see
    "ingestion.view_eventtype",
    "ingestion.view_processingfailure",
    "delivery.view_subscription",
    "delivery.view_delivery",
    "portal.view_portalappearance",
    "portal.view_portallink",
)
_ACTS = (
    "organizations.suspend_organization",  # suspend and resume
    "organizations.add_apikey",  # issue
    "organizations.change_apikey",  # rotate, revoke, find a leaked one
    "ingestion.change_processingfailure",  # process again
    "delivery.change_subscription",  # pause, resume
    "delivery.change_delivery",  # requeue
)
GROUPS = {SUPPORT: _READS, OPERATOR: (*_READS, *_ACTS)}


def keep_groups(sender: AppConfig, using: str, **kwargs: Any) -> None:
    """After each migration: both groups exist and hold what is written here, whatever was clicked meanwhile."""
    for name, wanted in GROUPS.items():
        condition = Q()
        for permission in wanted:
            app, codename = permission.split(".")
            condition |= Q(content_type__app_label=app, codename=codename)
        group, _ = Group.objects.using(using).get_or_create(name=name)
        group.permissions.set(Permission.objects.using(using).filter(condition))
