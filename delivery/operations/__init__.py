"""What can be done with deliveries."""

from delivery.operations.fan_out import default_inboxes, fan_out
from delivery.operations.inbox import Acknowledgement, ack_events, find_inbox

__all__ = ["Acknowledgement", "ack_events", "default_inboxes", "fan_out", "find_inbox"]
