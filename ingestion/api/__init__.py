"""The endpoints of events and event types: views, how they are described, what they show."""
