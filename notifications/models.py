"""Where notices go beside events and mails."""

from django.db import models

from organizations.models import Organization, TenantQuerySet


class SlackChannel(models.Model):
    """An incoming webhook of Slack, or of what understands the same: its address is the secret, and encrypted."""

    organization = models.OneToOneField(Organization, on_delete=models.CASCADE, primary_key=True, related_name="+")
    url = models.TextField()
    # Of the last message: when it was posted, or else why not.
    posted_at = models.DateTimeField(null=True, blank=True)
    last_error = models.CharField(max_length=300, blank=True)

    objects = TenantQuerySet["SlackChannel"].as_manager()

    def __str__(self) -> str:
        return f"Slack channel of {self.organization}"
