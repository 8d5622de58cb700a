"""What openapi-generator made of the document, in `openapi_client`: sent with, listed, leased and acknowledged."""

import sys

from openapi_client import (
    Ack,
    ApiClient,
    Configuration,
    CreateSubscriptionBody,
    EventsApi,
    InboxApi,
    LeaseRequest,
    NewEvent,
    NewInbox,
    SubscriptionsApi,
)
from openapi_client.exceptions import UnprocessableEntityException

client = ApiClient(Configuration(host=sys.argv[1], access_token=sys.argv[2]))
events, inboxes = EventsApi(client), InboxApi(client)
wanted = CreateSubscriptionBody(NewInbox(kind="inbox", name="ledger"))
print(SubscriptionsApi(client).create_subscription(wanted).status)
sent = events.send_event(NewEvent(type="invoice.paid", data={"amount": 12900}))
try:
    # Made without a check, as its own would refuse the type before the platform could.
    events.send_event(NewEvent.model_construct(type="not a type", data=None))
except UnprocessableEntityException as refusal:
    print(refusal.data.errors[0].pointer)
page = events.list_events(type="invoice.*")
print(page.data[0].id == sent.id, page.next_cursor is None)
print("processed, please", flush=True)
sys.stdin.readline()
lease = inboxes.lease_events(inbox="ledger", lease_request=LeaseRequest(max=10))
print(lease.events[0].id == sent.id, lease.events[0].data["amount"])
print(len(inboxes.ack_events(Ack(event_ids=[sent.id]), inbox="ledger").acknowledged))
print(len(events.get_event(sent.id).deliveries))
