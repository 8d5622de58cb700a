"""What openapi-python-client made of the document, in `generated`: sent with, listed, leased and acknowledged."""

import sys

from generated import AuthenticatedClient
from generated.api.events import get_event, list_events, send_event
from generated.api.inbox import ack_events, lease_events
from generated.api.subscriptions import create_subscription
from generated.models import Ack, EventAccepted, LeaseRequest, NewEvent, NewInbox, NewInboxKind, ProblemDocument

client = AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2], raise_on_unexpected_status=True)
inbox = create_subscription.sync(client=client, body=NewInbox(kind=NewInboxKind.INBOX, name="ledger"))
print(inbox.status)
sent = send_event.sync(client=client, body=NewEvent(type_="invoice.paid", data={"amount": 12900}))
assert isinstance(sent, EventAccepted)
refused = send_event.sync(client=client, body=NewEvent(type_="not a type", data=None))
assert isinstance(refused, ProblemDocument)
print(refused.errors[0].pointer)
page = list_events.sync(client=client, type_="invoice.*")
print(page.data[0].id == sent.id, page.next_cursor is None)
print("processed, please", flush=True)
sys.stdin.readline()
lease = lease_events.sync(client=client, body=LeaseRequest(max_=10), inbox="ledger")
print(lease.events[0].id == sent.id, lease.events[0].data["amount"])
print(len(ack_events.sync(client=client, body=Ack(event_ids=[sent.id]), inbox="ledger").acknowledged))
print(len(get_event.sync(sent.id, client=client).deliveries))
