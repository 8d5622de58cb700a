"""What people do with issues, and when they leave."""

from datetime import datetime

from django.db import transaction

from delivery.issues.models import Issue, IssueQuerySet
from organizations.audit import Actor, record
from organizations.models import Organization


def annotate_issue(
    *, issue: Issue, organization: Organization, note: str, muted_until: datetime | None, actor: Actor
) -> None:
    """Keep a note, and mute it until then, or with None no more."""
    changes = {
        name: [str(before or ""), str(after or "")]
        for name, before, after in (("note", issue.note, note), ("muted_until", issue.muted_until, muted_until))
        if before != after
    }
    if not changes:
        return
    with transaction.atomic():
        Issue.objects.for_organization(organization.pk).filter(pk=issue.pk).update(note=note, muted_until=muted_until)
        record(actor=actor, action="issue.annotated", target=issue, organization=organization, changes=changes)


def old_issues(*, before: datetime) -> IssueQuerySet:
    """Those that were last seen before."""
    return Issue.objects.filter(last_seen_at__lt=before).order_by("pk")
