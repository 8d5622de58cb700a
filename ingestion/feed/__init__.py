"""The feed: an organization's events in the order of their commits, from any event of the last hour on."""
