"""What the console keeps for people."""

from django.conf import settings
from django.db import models
from django.utils import timezone

from organizations.models import Organization, TenantQuerySet


class SavedViewQuerySet(TenantQuerySet["SavedView"]):
    def of(self, owner_id: int) -> "SavedViewQuerySet":
        """One person's: nobody sees, changes or deletes another one's."""
        return self.filter(owner_id=owner_id)


class SavedView(models.Model):
    """A list of events with its filters, under a name; it belongs to one person in one organization."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, db_index=False, related_name="+")
    name = models.CharField(max_length=60)
    # The query string of the list, as the list itself writes it.
    query = models.CharField(max_length=2000, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = SavedViewQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["organization", "owner", "name"], name="one_saved_view_per_name")
        ]

    def __str__(self) -> str:
        return self.name
