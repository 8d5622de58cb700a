"""The portal: where a tenant's own customers see and manage the subscriptions that carry their tag."""
