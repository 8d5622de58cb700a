"""Events in a Django project: sending them when a transaction is committed, and receiving webhooks.

In settings.py::

    INSTALLED_APPS = [..., "events_client.django"]
    EVENTS_CLIENT = {
        "URL": "https://events.example.com",          # or EVP_URL in the environment
        "API_KEY": os.environ["EVP_API_KEY"],         # likewise
        "WEBHOOK_SECRETS": [os.environ["EVENTS_WEBHOOK_SECRET"]],
        "BUFFERED": False,                            # True: send in the background, from the memory of this process
    }

In urls.py: ``path("hooks/events/", events_client.django.receive)``. In `event_handlers.py` of any app::

    @on("invoice.*")
    def invoice_changed(event):
        ...

    send_on_commit("invoice.paid", {"amount": 12900}, subject="inv_1")
"""

from events_client.django.receiving import on, receive
from events_client.django.sending import send_on_commit

__all__ = ["on", "receive", "send_on_commit"]
