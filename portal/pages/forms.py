"""The form of an endpoint: what its owner decides. The rest of a subscription is the organization's."""

from django import forms

from console.subscriptions.forms import SubscriptionForm
from delivery.models import Subscription
from delivery.operations import SubscriptionChanges


class EndpointForm(forms.Form):
    url = SubscriptionForm.base_fields["url"]
    name = forms.CharField(max_length=100, required=False, help_text="What you call it.")
    event_types = SubscriptionForm.base_fields["event_types"]
    description = SubscriptionForm.base_fields["description"]

    def changes(self) -> SubscriptionChanges:
        return SubscriptionChanges(**self.cleaned_data)


def initial_of(subscription: Subscription) -> dict[str, object]:
    return {name: getattr(subscription, name) for name in EndpointForm.base_fields}
