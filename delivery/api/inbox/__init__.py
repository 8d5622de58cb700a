"""The inbox: events that consumers lease, also by waiting for them."""
