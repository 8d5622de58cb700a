"""The endpoints of subscriptions, deliveries, inboxes and replays."""
